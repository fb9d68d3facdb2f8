/* Events: tasks of two runtimes and threads wait for one flag, which threads and signal handlers
 * set; and what becomes of those who wait when it is freed.
 */
#include "soon.h"

#include <asyncio_await.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static rt_event new_event(rt_runtime rt) {
    rt_event e = 0;
    CHECK_EQ(rt_event_new(rt, &e), 0);
    CHECK(e != 0);
    return e;
}

struct waiter {
    rt_event e;
    atomic_int waiting; /* how often it found nothing */
    rt_task task;
};

static int64_t wait_and_tell(rt_cx *cx, void *state) {
    struct waiter *w = state;
    int64_t r = rt_poll_event(cx, w->e);
    if (r == RT_PENDING) atomic_fetch_add(&w->waiting, 1);
    return r;
}

static bool waits(void *arg) { return atomic_load(&((struct waiter *)arg)->waiting) > 0; }

static void spawn_waiter(rt_runtime rt, struct waiter *w, rt_event e) {
    w->e = e;
    atomic_store(&w->waiting, 0);
    CHECK_EQ(rt_spawn(rt, wait_and_tell, w, NULL, &w->task), 0);
    drive_until(rt, waits, w);
}

static int64_t poll_once(rt_cx *cx, void *state) {
    int64_t r = rt_poll_event(cx, *(rt_event *)state);
    return r == RT_PENDING ? 1 : r;
}

/* 0: set, 1: not. */
static int64_t look(rt_runtime rt, rt_event e) { return rt_block_on(rt, poll_once, &e); }

/* ---- the flag ---- */

static void a_flag(void) {
    rt_runtime rt = test_runtime();
    rt_event e = new_event(rt);
    CHECK_EQ(look(rt, e), 1);
    CHECK_EQ(rt_event_wait(e, 0), -ETIME);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(rt_event_set(e), 0);
            CHECK_EQ(look(rt, e), 0);
            CHECK_EQ(rt_event_wait(e, RT_NEVER), 0);
        }
        CHECK_EQ(rt_event_reset(e), 0);
        CHECK_EQ(rt_event_reset(e), 0);
        CHECK_EQ(look(rt, e), 1);
        CHECK_EQ(rt_event_wait(e, 0), -ETIME);
    }
    CHECK_EQ(rt_event_free(e), 0);
    CHECK_EQ(rt_event_free(e), -EBADF);
    CHECK_EQ(rt_event_set(e), -EBADF);
    CHECK_EQ(rt_event_reset(e), -EBADF);
    CHECK_EQ(rt_event_wait(e, 0), -EBADF);
    CHECK_EQ(look(rt, e), -EBADF);
    CHECK_EQ(rt_event_free(0), 0);
    CHECK_EQ(rt_event_new(rt, NULL), -EINVAL);
    CHECK_EQ(rt_event_new(0, &e), -EBADF);
    CHECK_EQ(e, 0);
    CHECK_EQ(rt_poll_event(NULL, e), -EINVAL);
    test_runtime_free(rt);
}

/* ---- everybody ---- */

struct sleeper {
    rt_event e;
    uint64_t timeout;
    gate begins;
    pid_t thread;
    int64_t result;
};

static void *sleep_until_set(void *arg) {
    struct sleeper *s = arg;
    s->thread = (pid_t)syscall(SYS_gettid);
    gate_open(&s->begins);
    s->result = rt_event_wait(s->e, s->timeout);
    return NULL;
}

/* Begins to wait, and sleeps, as far as the kernel tells. */
static pthread_t start_sleeper(struct sleeper *s, rt_event e, uint64_t timeout) {
    char path[64], stat[256];
    *s = (struct sleeper){.e = e, .timeout = timeout};
    gate_init(&s->begins);
    pthread_t thread = thread_start(sleep_until_set, s);
    gate_wait(&s->begins);
    gate_destroy(&s->begins);
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)s->thread);
    for (bool asleep = false; !asleep; sched_yield()) {
        FILE *file = fopen(path, "re");
        CHECK(file != NULL);
        CHECK(fgets(stat, sizeof stat, file) != NULL);
        fclose(file);
        asleep = strstr(stat, ") S ") != NULL;
    }
    return thread;
}

static void all_are_woken(void) {
    static struct waiter w[4];
    static struct sleeper s[2];
    pthread_t threads[2];
    rt_runtime a = test_runtime(), b = test_runtime();
    rt_event e = new_event(a);
    for (int i = 0; i < 4; i++) spawn_waiter(i % 2 ? a : b, &w[i], e);
    for (int i = 0; i < 2; i++) threads[i] = start_sleeper(&s[i], e, i ? RT_NEVER : soon_ns);
    CHECK_EQ(rt_event_set(e), 0);
    /* The runtime that made it is first, for on this thread nobody else tells the other. */
    for (int i = 3; i >= 0; i -= 2) CHECK_EQ(join_soon(w[i].task), 0);
    for (int i = 2; i >= 0; i -= 2) CHECK_EQ(join_soon(w[i].task), 0);
    for (int i = 0; i < 2; i++) {
        thread_join(threads[i]);
        CHECK_EQ(s[i].result, 0);
    }
    CHECK_EQ(rt_event_free(e), 0);
    test_runtime_free(b);
    test_runtime_free(a);
}

static void freeing_wakes_all(void) {
    static struct waiter w[2];
    static struct sleeper s;
    rt_runtime rt = test_runtime();
    rt_event e = new_event(rt);
    for (int i = 0; i < 2; i++) spawn_waiter(rt, &w[i], e);
    pthread_t thread = start_sleeper(&s, e, RT_NEVER);
    CHECK_EQ(rt_event_free(e), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_soon(w[i].task), -EBADF);
    thread_join(thread);
    CHECK_EQ(s.result, -EBADF);
    test_runtime_free(rt);
}

static void shutdown_ends_the_tasks_waiting(void) {
    static struct waiter w;
    rt_runtime a = test_runtime(), b = test_runtime();
    rt_event e = new_event(a);
    spawn_waiter(b, &w, e);
    CHECK_EQ(rt_free(a), 0);
    int64_t r = join_soon(w.task);
    CHECK(r == -ESHUTDOWN || r == -EBADF);
    /* For threads it goes on. */
    CHECK_EQ(rt_event_wait(e, 1), -ETIME);
    CHECK_EQ(rt_event_set(e), 0);
    CHECK_EQ(rt_event_wait(e, RT_NEVER), 0);
    CHECK_EQ(look(b, e), 0);
    CHECK_EQ(rt_event_free(e), 0);
    test_runtime_free(b);
}

/* ---- threads ---- */

static void never_too_early(void) {
    rt_runtime rt = test_runtime();
    rt_event e = new_event(rt);
    struct timespec before, after;
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &before));
    CHECK_EQ(rt_event_wait(e, 20000000), -ETIME);
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &after));
    CHECK((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 20000000);
    CHECK_EQ(rt_event_free(e), 0);
    test_runtime_free(rt);
}

static int64_t wait_inside(rt_cx *cx, void *state) {
    (void)cx;
    return rt_event_wait(*(rt_event *)state, 0);
}

static void no_thread_waits_in_a_poll(void) {
    rt_runtime rt = test_runtime();
    rt_event e = new_event(rt);
    CHECK_EQ(rt_block_on(rt, wait_inside, &e), -EDEADLK);
    CHECK_EQ(rt_event_free(e), 0);
    test_runtime_free(rt);
}

/* ---- signal handlers ---- */

static volatile rt_event for_handler;

static void set_it(int sig) {
    (void)sig;
    rt_event_set(for_handler);
}

static void set_by_a_handler(void) {
    static struct waiter w;
    rt_runtime rt = test_runtime();
    rt_event e = for_handler = new_event(rt);
    signal(SIGUSR1, set_it);
    for (int round = 0; round < 10; round++) {
        spawn_waiter(rt, &w, e);
        errno = 1234;
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_EQ(errno, 1234);
        CHECK_EQ(join_soon(w.task), 0);
        CHECK_EQ(rt_event_reset(e), 0);
    }
    fflush(NULL);
    spawn_waiter(rt, &w, e);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) { /* a handler in a child wakes nobody here */
        CHECK_EQ(raise(SIGUSR1), 0);
        _exit(0);
    }
    CHECK_EQ(CHECK_SYS(waitpid(pid, NULL, 0)), pid);
    CHECK_EQ(look(rt, e), 1);
    CHECK_EQ(atomic_load(&w.waiting), 1);
    CHECK_EQ(rt_event_free(e), 0);
    CHECK_EQ(join_soon(w.task), -EBADF);
    CHECK_EQ(raise(SIGUSR1), 0); /* a stale handle does no harm */
    signal(SIGUSR1, SIG_DFL);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(a_flag);
    CASE(all_are_woken);
    CASE(freeing_wakes_all);
    CASE(shutdown_ends_the_tasks_waiting);
    CASE(never_too_early);
    CASE(no_thread_waits_in_a_poll);
    CASE(set_by_a_handler);
    return test_end();
}
