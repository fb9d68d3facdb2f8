/* Child processes: how they end, as any number of tasks are told; signals that reach them and no
 * others; and what cannot be run.
 */
#include "process.h"

#include <sys/epoll.h>

static rt_process spawn_sh(rt_runtime rt, const char *script) {
    rt_process p = 0;
    rt_process_opts o;
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    CHECK_EQ(rt_process_opts_init(&o, sizeof o), 0);
    o.file = "/bin/sh";
    o.argv = argv;
    CHECK_EQ(rt_process_spawn(rt, &o, &p), 0);
    CHECK(p != 0);
    return p;
}

struct end {
    rt_process p;
    rt_exit exit;
};

static int64_t poll_end(rt_cx *cx, void *state) {
    struct end *e = state;
    return rt_poll_process(cx, e->p, &e->exit);
}

static rt_exit end_of(rt_runtime rt, rt_process p) {
    struct end e = {p, {-1, -1, 9}};
    CHECK_EQ(rt_block_on(rt, poll_end, &e), 0);
    return e.exit;
}

/* ---- how they end ---- */

static void an_exit_code(void) {
    rt_runtime rt = test_runtime();
    rt_process p = spawn_sh(rt, "exit 37");
    for (int i = 0; i < 3; i++) { /* and it stays so */
        rt_exit e = end_of(rt, p);
        CHECK_EQ(e.code, 37);
        CHECK_EQ(e.signal, 0);
        CHECK_EQ(e.core_dumped, 0);
    }
    no_children();
    CHECK_EQ(rt_process_signal(p, 0), -ESRCH);
    CHECK_EQ(rt_process_close(p), 0);
    CHECK_EQ(rt_process_close(p), -EBADF);
    CHECK_EQ(rt_process_pid(p), -EBADF);
    struct end stale = {p, {0, 0, 0}};
    CHECK_EQ(rt_block_on(rt, poll_end, &stale), -EBADF);
    test_runtime_free(rt);
}

static void killed_by_its_pidfd(void) {
    rt_runtime rt = test_runtime();
    rt_process p = spawn_sh(rt, "exec sleep 1000");
    CHECK_EQ(rt_process_signal(p, 0), 0);
    CHECK_EQ(kill((pid_t)CHECK_OK(rt_process_pid(p)), 0), 0);
    CHECK_EQ(rt_process_signal(p, 12345), -EINVAL);
    CHECK_EQ(rt_process_signal(p, SIGTERM), 0);
    rt_exit e = end_of(rt, p);
    CHECK_EQ(e.code, 0);
    CHECK_EQ(e.signal, SIGTERM);
    CHECK_EQ(rt_process_signal(p, SIGTERM), -ESRCH);
    CHECK_EQ(rt_process_close(p), 0);
    no_children();
    test_runtime_free(rt);
}

/* One that has ended is not signalled, although nobody has asked for its end yet. */
static void ended_and_not_asked_for(void) {
    rt_runtime rt = test_runtime();
    rt_process p = spawn_sh(rt, "exit 0");
    siginfo_t info;
    CHECK_SYS(waitid(P_PID, (id_t)CHECK_OK(rt_process_pid(p)), &info, WEXITED | WNOWAIT));
    CHECK_EQ(rt_process_signal(p, SIGKILL), -ESRCH);
    CHECK_EQ(end_of(rt, p).code, 0);
    CHECK_EQ(rt_process_close(p), 0);
    test_runtime_free(rt);
}

/* ---- many ---- */

enum { MANY = 200, WAITERS = 3 };

struct watched {
    struct end ends[WAITERS];
    rt_task tasks[WAITERS];
};

static void two_hundred_at_once(void) {
    static struct watched w[MANY];
    int n = scaled(MANY);
    rt_runtime rt = test_runtime(), other = test_runtime();
    for (int i = 0; i < n; i++) {
        char script[32];
        snprintf(script, sizeof script, "exit %d", i % 256);
        rt_process p = spawn_sh(rt, script);
        for (int k = 0; k < WAITERS; k++) {
            w[i].ends[k].p = p;
            rt_runtime of = k == WAITERS - 1 ? other : rt;
            CHECK_EQ(rt_spawn(of, poll_end, &w[i].ends[k], NULL, &w[i].tasks[k]), 0);
        }
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < WAITERS; k++) {
            CHECK_EQ(join_task(w[i].tasks[k]), 0);
            CHECK_EQ(w[i].ends[k].exit.code, i % 256);
            CHECK_EQ(w[i].ends[k].exit.signal, 0);
        }
        CHECK_EQ(rt_process_close(w[i].ends[0].p), 0);
    }
    no_children();
    test_runtime_free(other);
    test_runtime_free(rt);
}

/* ---- children of the program's own making ---- */

static void a_forked_child(void) {
    rt_runtime rt = test_runtime();
    rt_process p = 1, again = 0, third = 0;
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) _exit(5);
    CHECK_EQ(rt_process_open(rt, pid, &p), 0);
    CHECK_EQ(rt_process_open(rt, pid, &again), 0);
    CHECK_EQ(rt_process_open(rt, pid, &third), 0);
    CHECK_EQ(rt_process_pid(p), pid);
    /* Closing does not reap it. */
    CHECK_EQ(rt_process_close(third), 0);
    CHECK_EQ(end_of(rt, p).code, 5);
    struct end e = {again, {0, 0, 0}};
    CHECK_EQ(rt_block_on(rt, poll_end, &e), -ECHILD);
    CHECK_EQ(rt_block_on(rt, poll_end, &e), -ECHILD);
    CHECK_EQ(rt_process_close(again), 0);
    CHECK_EQ(rt_process_close(p), 0);
    CHECK_EQ(rt_process_open(rt, pid, &p), -ECHILD);
    CHECK_EQ(p, 0);
    CHECK_EQ(rt_process_open(rt, getpid(), &p), -ECHILD);
    CHECK_EQ(rt_process_open(rt, 1, &p), -ECHILD);
    CHECK_EQ(rt_process_open(rt, 0, &p), -ECHILD);
    CHECK_EQ(rt_process_open(rt, -1, &p), -ECHILD);
    CHECK_EQ(rt_process_open(rt, pid, NULL), -EINVAL);
    CHECK_EQ(rt_process_open(0, pid, &p), -EBADF);
    test_runtime_free(rt);
}

/* ---- what cannot be run ---- */

static void what_cannot_be_run(void) {
    rt_runtime rt = test_runtime();
    rt_process p;
    rt_process_opts o;
    CHECK_EQ(rt_process_opts_init(NULL, sizeof o), -EINVAL);
    CHECK_EQ(rt_process_opts_init(&o, sizeof o), 0);
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -EINVAL); /* no file */
    o.file = "/no/such/program";
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -ENOENT);
    CHECK_EQ(p, 0);
    o.file = "no-such-program-on-the-path";
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -ENOENT);
    o.stdin_fd = o.stdout_fd = o.stderr_fd = RT_STDIO_PIPE; /* nothing is left of them: the census */
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -ENOENT);
    o.file = "/etc"; /* a folder */
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -EACCES);
    o.file = "true";
    o.cwd = "/no/such/folder";
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -ENOENT);
    o.cwd = NULL;
    o.stdin_fd = -3;
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -EINVAL);
    o.stdin_fd = 1000;
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -EBADF);
    o.stdin_fd = RT_STDIO_INHERIT;
    o.flags = 1;
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -EINVAL);
    o.flags = 0;
    CHECK_EQ(rt_process_spawn(0, &o, &p), -EBADF);
    CHECK_EQ(rt_process_spawn(rt, NULL, &p), -EINVAL);
    CHECK_EQ(rt_process_spawn(rt, &o, NULL), -EINVAL);
    signal(SIGCHLD, SIG_IGN);
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -ECHILD);
    signal(SIGCHLD, SIG_DFL);
    no_children();
    CHECK_EQ(rt_process_spawn(rt, &o, &p), 0);
    CHECK_EQ(end_of(rt, p).code, 0);
    CHECK_EQ(rt_process_close(p), 0);
    CHECK_EQ(rt_process_close(0), 0);
    CHECK_EQ(rt_process_signal(0, SIGKILL), -EBADF);
    test_runtime_free(rt);
}

/* The outcome that somebody else took is told, and once known it stays. */
static void reaped_by_somebody_else(void) {
    rt_runtime rt = test_runtime();
    struct end e = {spawn_sh(rt, "exit 1"), {0, 0, 0}};
    pid_t pid = (pid_t)CHECK_OK(rt_process_pid(e.p));
    CHECK_EQ(CHECK_SYS(waitpid(pid, NULL, 0)), pid);
    CHECK_EQ(rt_block_on(rt, poll_end, &e), -ECHILD);
    CHECK_EQ(rt_process_signal(e.p, SIGKILL), -ESRCH);
    CHECK_EQ(rt_process_close(e.p), 0);
    test_runtime_free(rt);
}

/* ---- from a worker, and with waiters that see it go ---- */

struct inside {
    rt_frame frame;
    struct end end;
    int64_t r;
};

static int64_t spawn_inside(rt_cx *cx, void *state) {
    struct inside *s = state;
    RT_BEGIN(&s->frame);
    s->end.p = spawn_sh(rt_cx_runtime(cx), "exit 11");
    RT_AWAIT(s->r, rt_poll_process(cx, s->end.p, &s->end.exit));
    CHECK_EQ(s->r, 0);
    CHECK_EQ(rt_process_close(s->end.p), 0);
    RT_END(s->end.exit.code);
}

static void spawned_from_a_worker(void) {
    rt_runtime rt = test_runtime();
    rt_task tasks[8];
    static struct inside s[8];
    memset(s, 0, sizeof s);
    for (int i = 0; i < 8; i++) CHECK_EQ(rt_spawn(rt, spawn_inside, &s[i], NULL, &tasks[i]), 0);
    for (int i = 0; i < 8; i++) CHECK_EQ(join_task(tasks[i]), 11);
    test_runtime_free(rt);
}

static atomic_int waiting;

static int64_t wait_and_tell(rt_cx *cx, void *state) {
    int64_t r = poll_end(cx, state);
    if (r == RT_PENDING) atomic_fetch_add(&waiting, 1);
    return r;
}

static bool one_waits(void *arg) {
    (void)arg;
    return atomic_load(&waiting) > 0;
}

static void closing_wakes_who_waits(void) {
    rt_runtime rt = test_runtime();
    rt_task task;
    struct end e = {spawn_sh(rt, "exec sleep 1000"), {0, 0, 0}};
    pid_t pid = (pid_t)CHECK_OK(rt_process_pid(e.p));
    atomic_store(&waiting, 0);
    CHECK_EQ(rt_spawn(rt, wait_and_tell, &e, NULL, &task), 0);
    drive_until(rt, one_waits, NULL);
    CHECK_EQ(rt_process_close(e.p), 0);
    CHECK_EQ(join_task(task), -EBADF);
    CHECK_EQ(kill(pid, 0), 0); /* it goes on */
    CHECK_EQ(kill(pid, SIGKILL), 0);
    test_runtime_free(rt); /* waits for the reaper's registration to go */
    no_children();
}

/* ---- nobody waits ---- */

/* Looks without reaping. */
static bool none_left(void *arg) {
    siginfo_t info;
    (void)arg;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1 && errno == ECHILD;
}

/* One that has ended, one that ends later, and one that ends after its runtime. */
static void closed_without_waiting(void) {
    rt_runtime rt = test_runtime();
    rt_process ended = spawn_sh(rt, "exit 0"), later = spawn_sh(rt, "exec sleep 1000");
    pid_t pid = (pid_t)CHECK_OK(rt_process_pid(later));
    siginfo_t info;
    CHECK_SYS(waitid(P_PID, (id_t)CHECK_OK(rt_process_pid(ended)), &info, WEXITED | WNOWAIT));
    CHECK_EQ(rt_process_close(ended), 0);
    CHECK_EQ(rt_process_close(later), 0);
    CHECK_EQ(live_tasks(rt), 0); /* a runtime does not go on because of a child */
    CHECK_EQ(kill(pid, SIGKILL), 0);
    drive_until(rt, none_left, NULL);
    rt_process orphan = spawn_sh(rt, "exec sleep 1000");
    pid = (pid_t)CHECK_OK(rt_process_pid(orphan));
    CHECK_EQ(rt_process_close(orphan), 0);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(CHECK_SYS(waitpid(pid, NULL, 0)), pid);
}

/* A handle outlives its runtime. */
static void after_the_runtime(void) {
    rt_runtime rt = test_runtime();
    rt_process p = spawn_sh(rt, "exec sleep 1000");
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_process_signal(p, SIGKILL), 0);
    rt = test_runtime();
    struct end e = {p, {0, 0, 0}};
    CHECK(rt_failed(rt_block_on(rt, poll_end, &e)));
    pid_t pid = (pid_t)CHECK_OK(rt_process_pid(p));
    siginfo_t info;
    CHECK_SYS(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    CHECK_EQ(rt_process_close(p), 0);
    no_children();
    test_runtime_free(rt);
}

/* In place of the C library's. By its number a process may be another's by now. */
static atomic_int signals_by_number;
int kill(pid_t pid, int signum) {
    atomic_fetch_add(&signals_by_number, 1);
    return (int)syscall(SYS_kill, pid, signum);
}

static atomic_bool no_watches;
int epoll_ctl(int set, int op, int fd, struct epoll_event *event) {
    if (atomic_load(&no_watches)) return errno = ENOSPC, -1;
    return (int)syscall(SYS_epoll_ctl, set, op, fd, event);
}

/* The child runs when it turns out that nobody could tell its end. */
static void out_of_watches(void) {
    char *argv[] = {"sh", "-c", "exec sleep 1000", NULL};
    rt_runtime rt = test_runtime();
    rt_process p = 1;
    rt_process_opts o;
    CHECK_EQ(rt_process_opts_init(&o, sizeof o), 0);
    o.file = "/bin/sh";
    o.argv = argv;
    int before = atomic_load(&signals_by_number);
    atomic_store(&no_watches, true);
    CHECK_EQ(rt_process_spawn(rt, &o, &p), -ENOSPC);
    atomic_store(&no_watches, false);
    CHECK_EQ(p, 0);
    no_children();
    CHECK_EQ(atomic_load(&signals_by_number), before);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    process_start(argc, argv);
    CASE(an_exit_code);
    CASE(killed_by_its_pidfd);
    CASE(ended_and_not_asked_for);
    CASE(two_hundred_at_once);
    CASE(a_forked_child);
    CASE(what_cannot_be_run);
    CASE(reaped_by_somebody_else);
    CASE(spawned_from_a_worker);
    CASE(closing_wakes_who_waits);
    CASE(closed_without_waiting);
    CASE(after_the_runtime);
    CASE(out_of_watches);
    return test_end();
}
