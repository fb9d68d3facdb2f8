/* A storm of several signals, sent by a process to another: no kind of them is lost, whoever
 * listens, while other listeners come and go. Real-time signals are counted to the last one.
 */
#include "soon.h"

#include <asyncio_await.h>
#include <sys/wait.h>

enum { KINDS = 5, ROUNDS = 400, QUEUED = 2000, PER_KIND = 3 };

static const int kinds[KINDS] = {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH, SIGURG};

/* A task that answers each thing that it hears, by the pipe on which the sender waits. */
struct answer {
    rt_signal s;
    int fd;
    int64_t total, until;
};

static int64_t answer_all(rt_cx *cx, void *state) {
    struct answer *a = state;
    int64_t r;
    while ((r = rt_poll_signal(cx, a->s)) > 0) {
        a->total += r;
        if (a->fd >= 0) CHECK_EQ(CHECK_SYS(write(a->fd, "x", 1)), 1);
        if (a->total >= a->until) return a->total;
    }
    return r;
}

/* ---- nothing is lost ---- */

/* Sends one of each kind, then waits until all listeners of all kinds said that they heard it: had
 * any been lost, it would wait for ever. */
static void send_and_wait(int answers, int rounds) {
    for (int round = 0; round < rounds; round++) {
        for (int k = 0; k < KINDS; k++) CHECK_SYS(kill(getppid(), kinds[(k + round) % KINDS]));
        for (int left = KINDS * PER_KIND; left > 0;) {
            char got[KINDS * PER_KIND];
            int64_t n = CHECK_SYS(read(answers, got, (size_t)left));
            CHECK(n > 0);
            left -= (int)n;
        }
    }
}

/* Others come and go meanwhile, on a thread of their own. */
struct crowd {
    rt_runtime rt;
    atomic_bool stop;
};

static void *come_and_go(void *arg) {
    struct crowd *c = arg;
    rt_signal s[KINDS];
    while (!atomic_load(&c->stop)) {
        for (int k = 0; k < KINDS; k++) CHECK_EQ(rt_signal_open(c->rt, kinds[k], &s[k]), 0);
        for (int k = 0; k < KINDS; k++) CHECK_EQ(rt_signal_close(s[k]), 0);
        sched_yield();
    }
    return NULL;
}

static pid_t sender(int answers[2], int rounds) {
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        close(answers[1]); /* so that the parent's end is seen */
        must_end_soon();
        send_and_wait(answers[0], rounds);
        _exit(0);
    }
    return pid;
}

static void no_kind_is_lost(void) {
    static struct answer a[KINDS][PER_KIND];
    rt_task tasks[KINDS][PER_KIND];
    int answers[2], status, rounds = scaled(ROUNDS);
    struct crowd c = {.rt = test_runtime(), .stop = false};
    rt_runtime other = current_thread() ? c.rt : test_runtime();
    CHECK_SYS(pipe(answers));
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < PER_KIND; i++) {
            rt_runtime rt = i == 0 ? other : c.rt;
            a[k][i] = (struct answer){.fd = answers[1], .until = rounds};
            CHECK_EQ(rt_signal_open(rt, kinds[k], &a[k][i].s), 0);
            CHECK_EQ(rt_spawn(rt, answer_all, &a[k][i], NULL, &tasks[k][i]), 0);
        }
    pid_t pid = sender(answers, rounds);
    pthread_t thread = thread_start(come_and_go, &c);
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < PER_KIND; i++) CHECK_EQ(join_task(tasks[k][i]), rounds);
    atomic_store(&c.stop, true);
    thread_join(thread);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < PER_KIND; i++) CHECK_EQ(rt_signal_close(a[k][i].s), 0);
    CHECK_SYS(close(answers[0]));
    CHECK_SYS(close(answers[1]));
    if (other != c.rt) test_runtime_free(other);
    test_runtime_free(c.rt);
}

/* ---- the kernel queues real-time signals, so each delivery counts ---- */

static void queue_many(pid_t to, int n) {
    for (int i = 0; i < n; i++)
        while (sigqueue(to, SIGRTMIN + 1, (union sigval){.sival_int = i}) == -1) {
            CHECK_EQ(errno, EAGAIN); /* the queue is full */
            sched_yield();
        }
}

static void each_delivery_counts(void) {
    int status, n = scaled(QUEUED);
    rt_runtime rt = test_runtime();
    struct answer a = {.fd = -1, .until = n};
    rt_task task;
    CHECK_EQ(rt_signal_open(rt, SIGRTMIN + 1, &a.s), 0);
    CHECK_EQ(rt_spawn(rt, answer_all, &a, NULL, &task), 0);
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        queue_many(getppid(), n);
        _exit(0);
    }
    CHECK_EQ(join_task(task), n);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(rt_signal_close(a.s), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (under("tsan")) SKIP("ThreadSanitizer holds signals back until a call that it watches");
    must_end_soon();
    CASE(no_kind_is_lost);
    CASE(each_delivery_counts);
    return test_end();
}
