/* Listeners of signals: several of one signal, on several runtimes, beside the program's own
 * handlers; what they count, and what is no signal to listen to.
 */
#include "soon.h"

#include <asyncio_await.h>
#include <sys/wait.h>

static int64_t poll_signal(rt_cx *cx, void *state) { return rt_poll_signal(cx, *(rt_signal *)state); }

static rt_signal open_signal(rt_runtime rt, int signum) {
    rt_signal s = 0;
    CHECK_EQ(rt_signal_open(rt, signum, &s), 0);
    CHECK(s != 0);
    return s;
}

/* What the listener heard, of which there must be something. */
static int64_t heard(rt_runtime rt, rt_signal s) { return rt_block_on(rt, poll_signal, &s); }

static void raise_here(int signum) { CHECK_EQ(raise(signum), 0); }

/* Whether a poll finds nothing. */
static int64_t poll_once(rt_cx *cx, void *state) {
    int64_t r = rt_poll_signal(cx, *(rt_signal *)state);
    return r == RT_PENDING ? 0 : r;
}

static bool is_silent(rt_runtime rt, rt_signal s) { return rt_block_on(rt, poll_once, &s) == 0; }

/* ---- counting ---- */

static void deliveries_are_counted(void) {
    rt_runtime rt = test_runtime();
    rt_signal s = open_signal(rt, SIGUSR1);
    CHECK(is_silent(rt, s));
    for (int i = 0; i < 7; i++) raise_here(SIGUSR1);
    CHECK_EQ(heard(rt, s), 7);
    CHECK(is_silent(rt, s));
    raise_here(SIGUSR1);
    CHECK_EQ(heard(rt, s), 1);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

static void errno_is_kept(void) {
    rt_runtime rt = test_runtime();
    rt_signal s = open_signal(rt, SIGUSR1);
    errno = 1234;
    raise_here(SIGUSR1);
    CHECK_EQ(errno, 1234);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

/* ---- several ---- */

enum { LISTENERS = 4 };

static void closing_one_leaves_the_others(void) {
    rt_runtime rt = test_runtime();
    rt_signal s[LISTENERS];
    for (int i = 0; i < LISTENERS; i++) s[i] = open_signal(rt, SIGUSR1);
    rt_signal other = open_signal(rt, SIGUSR2);
    for (int gone = 0; gone < LISTENERS; gone++) {
        raise_here(SIGUSR1);
        for (int i = gone; i < LISTENERS; i++) CHECK_EQ(heard(rt, s[i]), 1);
        CHECK_EQ(rt_signal_close(s[gone]), 0);
        CHECK_EQ(rt_signal_close(s[gone]), -EBADF);
        CHECK_EQ(heard(rt, s[gone]), -EBADF);
    }
    raise_here(SIGUSR1); /* nobody hears it, and it ends nobody */
    CHECK(is_silent(rt, other));
    raise_here(SIGUSR2);
    CHECK_EQ(heard(rt, other), 1);
    CHECK_EQ(rt_signal_close(other), 0);
    test_runtime_free(rt);
}

static void two_runtimes(void) {
    rt_runtime a = test_runtime(), b = test_runtime();
    rt_signal of_a = open_signal(a, SIGUSR1), of_b = open_signal(b, SIGUSR1);
    rt_task task;
    CHECK_EQ(rt_spawn(a, poll_signal, &of_a, NULL, &task), 0);
    raise_here(SIGUSR1);
    CHECK_EQ(heard(b, of_b), 1);
    CHECK_EQ(join_soon(task), 1);
    CHECK_EQ(rt_free(a), 0);
    raise_here(SIGUSR1); /* writes to nothing of the runtime that is gone */
    CHECK_EQ(heard(b, of_b), 1);
    CHECK(rt_failed(heard(b, of_a)));
    CHECK_EQ(rt_signal_close(of_a), 0);
    raise_here(SIGUSR1);
    CHECK_EQ(heard(b, of_b), 1);
    CHECK_EQ(rt_signal_close(of_b), 0);
    test_runtime_free(b);
}

/* ---- several who wait for one ---- */

struct waiter {
    rt_signal s;
    atomic_int *waiting;
};

static int64_t wait_and_tell(rt_cx *cx, void *state) {
    struct waiter *w = state;
    int64_t r = rt_poll_signal(cx, w->s);
    if (r == RT_PENDING) atomic_fetch_add(w->waiting, 1);
    return r;
}

static bool three_wait(void *arg) { return atomic_load((atomic_int *)arg) >= 3; }

static void closing_wakes_all_who_wait(void) {
    rt_runtime rt = test_runtime();
    atomic_int waiting = 0;
    rt_task tasks[3];
    struct waiter w = {open_signal(rt, SIGUSR1), &waiting};
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_spawn(rt, wait_and_tell, &w, NULL, &tasks[i]), 0);
    drive_until(rt, three_wait, &waiting);
    CHECK_EQ(rt_signal_close(w.s), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(join_soon(tasks[i]), -EBADF);
    test_runtime_free(rt);
}

static void one_of_several_gets_it(void) {
    rt_runtime rt = test_runtime();
    atomic_int waiting = 0;
    rt_task tasks[3];
    struct waiter w = {open_signal(rt, SIGUSR1), &waiting};
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_spawn(rt, wait_and_tell, &w, NULL, &tasks[i]), 0);
    drive_until(rt, three_wait, &waiting);
    int64_t raised = 0, taken = 0, got;
    for (int i = 0; i < 3; i++) {
        /* Whoever finds that another one took it waits for more. */
        for (; rt_join(tasks[i], 1000000, &got) == -ETIME; raised++) raise_here(SIGUSR1);
        CHECK(got > 0);
        taken += got;
    }
    CHECK(taken <= raised);
    CHECK_EQ(rt_signal_close(w.s), 0);
    test_runtime_free(rt);
}

static void shutdown_ends_the_waiting(void) {
    rt_runtime a = test_runtime(), b = test_runtime();
    rt_signal s = open_signal(a, SIGUSR1);
    atomic_int waiting = 0;
    struct waiter w = {s, &waiting};
    rt_task task;
    CHECK_EQ(rt_spawn(b, wait_and_tell, &w, NULL, &task), 0);
    CHECK_EQ(rt_shutdown(a, RT_NEVER), 0);
    CHECK_EQ(join_soon(task), -ESHUTDOWN);
    CHECK_EQ(rt_signal_close(s), 0);
    CHECK_EQ(rt_free(a), 0);
    test_runtime_free(b);
}

/* ---- the program's own handlers ---- */

static atomic_int own_calls, own_value;

static void own_handler(int sig) {
    (void)sig;
    atomic_fetch_add(&own_calls, 1);
}

static void own_action(int sig, siginfo_t *info, void *context) {
    CHECK(sig == SIGWINCH && context != NULL);
    atomic_store(&own_value, info->si_value.sival_int);
    atomic_fetch_add(&own_calls, 1);
}

/* With and without information, and for SIGCHLD: each child is told to the program and to us. */
static void handlers_that_were_there_are_called(void) {
    rt_runtime rt = test_runtime();
    signal(SIGCHLD, own_handler);
    struct sigaction act = {.sa_sigaction = own_action, .sa_flags = SA_SIGINFO};
    CHECK_SYS(sigaction(SIGWINCH, &act, NULL));
    rt_signal child = open_signal(rt, SIGCHLD), winch = open_signal(rt, SIGWINCH);
    for (int i = 1; i <= 5; i++) {
        pid_t pid = (pid_t)CHECK_SYS(fork());
        if (pid == 0) _exit(0);
        CHECK_EQ(heard(rt, child), 1);
        CHECK_EQ(CHECK_SYS(waitpid(pid, NULL, 0)), pid);
        CHECK_EQ(atomic_load(&own_calls), i);
    }
    atomic_store(&own_calls, 0);
    CHECK_EQ(sigqueue(getpid(), SIGWINCH, (union sigval){.sival_int = 77}), 0);
    CHECK_EQ(heard(rt, winch), 1);
    CHECK_EQ(atomic_load(&own_calls), 1);
    CHECK_EQ(atomic_load(&own_value), 77);
    CHECK_EQ(rt_signal_close(child), 0);
    CHECK_EQ(rt_signal_close(winch), 0);
    raise_here(SIGCHLD); /* also after the last listener */
    CHECK_EQ(atomic_load(&own_calls), 2);
    test_runtime_free(rt);
}

/* ---- as they were installed ---- */

enum { KEPT = SA_RESTART | SA_ONSTACK | SA_NODEFER | SA_NOCLDSTOP | SA_NOCLDWAIT, STACK = 65536 };

static _Atomic(char *) alternate;
static atomic_int seen_on_alternate, seen_masked, seen_calls;

static void look_around(int sig) {
    (void)sig;
    char here, *stack = atomic_load(&alternate);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    atomic_store(&seen_masked, sigismember(&mask, SIGUSR2));
    atomic_store(&seen_on_alternate, stack != NULL && &here >= stack && &here < stack + STACK);
    atomic_fetch_add(&seen_calls, 1);
}

struct prodded {
    pthread_t thread;
    int signum;
    atomic_bool enough;
};

static void *prod(void *arg) {
    struct prodded *p = arg;
    while (!atomic_load(&p->enough)) {
        CHECK_EQ(pthread_kill(p->thread, p->signum), 0);
        sched_yield();
    }
    return NULL;
}

/* The signal comes again and again, until the read ends. */
static void a_read_is_interrupted(int signum) {
    int ends[2];
    struct prodded p = {.thread = pthread_self(), .signum = signum};
    CHECK_SYS(pipe(ends));
    pthread_t thread = thread_start(prod, &p);
    CHECK_EQ(read(ends[0], &(char){0}, 1), -1);
    CHECK_EQ(errno, EINTR);
    atomic_store(&p.enough, true);
    thread_join(thread);
    close(ends[0]);
    close(ends[1]);
}

static struct sigaction action_of(int signum) {
    struct sigaction act;
    CHECK_SYS(sigaction(signum, NULL, &act));
    return act;
}

static void a_handler_keeps_its_flags_and_mask(void) {
    rt_runtime rt = test_runtime();
    int signum = SIGURG;
    struct sigaction own = {.sa_handler = look_around, .sa_flags = SA_ONSTACK};
    sigemptyset(&own.sa_mask);
    sigaddset(&own.sa_mask, SIGUSR2);
    CHECK_SYS(sigaction(signum, &own, NULL));
    stack_t none, stack = {.ss_sp = malloc(STACK), .ss_size = STACK};
    CHECK(stack.ss_sp != NULL);
    CHECK_SYS(sigaltstack(&stack, &none));
    atomic_store(&alternate, stack.ss_sp);
    for (int listeners = 0; listeners < 3; listeners++) {
        rt_signal s[2] = {0, 0};
        for (int i = 0; i < listeners; i++) s[i] = open_signal(rt, signum);
        struct sigaction now = action_of(signum);
        CHECK_EQ(now.sa_flags & KEPT, SA_ONSTACK);
        CHECK(sigismember(&now.sa_mask, SIGUSR2) == 1 && sigismember(&now.sa_mask, SIGUSR1) == 0);
        atomic_store(&seen_calls, 0);
        raise_here(signum);
        CHECK_EQ(atomic_load(&seen_calls), 1);
        CHECK_EQ(atomic_load(&seen_masked), 1);
        CHECK_EQ(atomic_load(&seen_on_alternate), 1);
        for (int i = 0; i < listeners; i++) CHECK_EQ(heard(rt, s[i]), 1);
        a_read_is_interrupted(signum);
        for (int i = 0; i < listeners; i++) CHECK_EQ(rt_signal_close(s[i]), 0);
    }
    CHECK_SYS(sigaltstack(&none, NULL));
    atomic_store(&alternate, NULL);
    free(stack.ss_sp);
    test_runtime_free(rt);
}

/* Which was to be called on this thread's stack, and to interrupt nothing. */
static void a_handler_of_the_other_kind_keeps_them(void) {
    rt_runtime rt = test_runtime();
    int signum = SIGIO;
    struct sigaction own = {.sa_handler = look_around, .sa_flags = SA_RESTART | SA_NODEFER | SA_NOCLDSTOP};
    sigemptyset(&own.sa_mask);
    CHECK_SYS(sigaction(signum, &own, NULL));
    rt_signal s = open_signal(rt, signum);
    struct sigaction now = action_of(signum);
    CHECK_EQ(now.sa_flags & KEPT, SA_RESTART | SA_NODEFER | SA_NOCLDSTOP);
    CHECK_EQ(sigismember(&now.sa_mask, SIGUSR2), 0);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

static void without_a_handler_nothing_is_interrupted(void) {
    rt_runtime rt = test_runtime();
    int signum = SIGVTALRM;
    rt_signal s = open_signal(rt, signum);
    CHECK_EQ(action_of(signum).sa_flags & KEPT, SA_RESTART);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

/* ---- what the program sets later ---- */

static void replace_by(int signum, void (*handler)(int), int flags) {
    struct sigaction act = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&act.sa_mask);
    CHECK_SYS(sigaction(signum, &act, NULL));
}

/* The first time it is closed, the second time it goes on, deaf, until it hears again with the other. */
static void a_listener_hears_after_the_default_was_restored(void) {
    rt_runtime rt = test_runtime();
    void (*const restored[])(int) = {SIG_DFL, SIG_IGN};
    for (size_t i = 0; i < 2; i++) {
        rt_signal first = open_signal(rt, SIGUSR2);
        struct sigaction ours = action_of(SIGUSR2);
        raise_here(SIGUSR2);
        CHECK_EQ(heard(rt, first), 1);
        if (i == 0) CHECK_EQ(rt_signal_close(first), 0);
        replace_by(SIGUSR2, restored[i], 0);
        rt_signal second = open_signal(rt, SIGUSR2);
        CHECK(action_of(SIGUSR2).sa_sigaction == ours.sa_sigaction);
        CHECK_EQ(action_of(SIGUSR2).sa_flags & KEPT, ours.sa_flags & KEPT);
        raise_here(SIGUSR2);
        CHECK_EQ(heard(rt, second), 1);
        if (i == 1) {
            CHECK_EQ(heard(rt, first), 1);
            CHECK_EQ(rt_signal_close(first), 0);
        }
        CHECK_EQ(rt_signal_close(second), 0);
    }
    test_runtime_free(rt);
}

/* It stays as it is, and who would hear nothing is told so, until it goes. */
static void no_listener_beside_a_later_handler(void) {
    rt_runtime rt = test_runtime();
    int signum = SIGVTALRM;
    rt_signal s = open_signal(rt, signum), t = 1;
    replace_by(signum, look_around, SA_NODEFER);
    CHECK_EQ(rt_signal_open(rt, signum, &t), -EBUSY);
    CHECK_EQ(t, 0);
    CHECK(action_of(signum).sa_handler == look_around);
    CHECK_EQ(action_of(signum).sa_flags & KEPT, SA_NODEFER);
    atomic_store(&seen_calls, 0);
    raise_here(signum);
    CHECK_EQ(atomic_load(&seen_calls), 1);
    CHECK(is_silent(rt, s));
    replace_by(signum, SIG_DFL, 0);
    t = open_signal(rt, signum);
    raise_here(signum);
    CHECK_EQ(atomic_load(&seen_calls), 1);
    CHECK_EQ(heard(rt, s), 1);
    CHECK_EQ(heard(rt, t), 1);
    CHECK_EQ(rt_signal_close(s), 0);
    CHECK_EQ(rt_signal_close(t), 0);
    test_runtime_free(rt);
}

/* ---- forks ---- */

/* The child shares the eventfd; a signal that it gets is its own affair. */
static void a_child_wakes_nobody_in_its_parent(void) {
    rt_runtime rt = test_runtime();
    rt_signal s = open_signal(rt, SIGUSR1);
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        rt_signal t = 1;
        raise_here(SIGUSR1);
        CHECK_EQ(rt_signal_open(rt, SIGUSR1, &t), -EPERM);
        CHECK_EQ(rt_signal_close(s), -EPERM);
        _exit(0);
    }
    int status;
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    CHECK(is_silent(rt, s));
    raise_here(SIGUSR1);
    CHECK_EQ(heard(rt, s), 1);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

/* ---- what cannot be listened to ---- */

static void what_cannot_be_listened_to(void) {
    static const int bad[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGILL, SIGFPE, SIGBUS, 0,
                              -1, 32, 33, 65, 12345, INT32_MAX, INT32_MIN};
    rt_runtime rt = test_runtime();
    rt_signal s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        s = 1;
        CHECK_EQ(rt_signal_open(rt, bad[i], &s), -EINVAL);
        CHECK_EQ(s, 0);
    }
    CHECK_EQ(rt_signal_open(rt, SIGUSR1, NULL), -EINVAL);
    CHECK_EQ(rt_signal_open(0, SIGUSR1, &s), -EBADF);
    CHECK_EQ(rt_signal_close(0), 0);
    CHECK_EQ(rt_signal_close(rt), -EBADF);
    CHECK_EQ(rt_poll_signal(NULL, s), -EINVAL);
    CHECK_EQ(heard(rt, 0), -EBADF);
    /* Real-time signals are signals, too. */
    s = open_signal(rt, SIGRTMIN);
    raise_here(SIGRTMIN);
    CHECK_EQ(heard(rt, s), 1);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(deliveries_are_counted);
    CASE(errno_is_kept);
    CASE(closing_one_leaves_the_others);
    CASE(two_runtimes);
    CASE(closing_wakes_all_who_wait);
    CASE(one_of_several_gets_it);
    CASE(shutdown_ends_the_waiting);
    if (!under("tsan")) /* as in signal_storm.c */
        CASE_ONCE(handlers_that_were_there_are_called, "its handlers cannot be installed again");
    if (under("valgrind"))
        printf("%s: no handler on a stack of its own: valgrind takes the next frame for a stack as well\n", test_program);
    else if (!under("tsan"))
        CASE_ONCE(a_handler_keeps_its_flags_and_mask, "the library's is there");
    CASE_ONCE(a_handler_of_the_other_kind_keeps_them, "the library's is there");
    CASE(without_a_handler_nothing_is_interrupted);
    CASE(a_listener_hears_after_the_default_was_restored);
    CASE(no_listener_beside_a_later_handler);
    CASE(a_child_wakes_nobody_in_its_parent);
    CASE(what_cannot_be_listened_to);
    return test_end();
}
