/* After a fork the child gets -EPERM from every call and touches nothing that it shares with the
 * parent. A child that is forked before the library was used has a library of its own. */
#include "check.h"

#include <poll.h>
#include <sys/wait.h>

/* Runs in a child; whatever fails there exits with 1. */
static void in_child(void (*run)(void *), void *arg) {
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        run(arg);
        _exit(0);
    }
    int status;
    pid_t waited;
    do waited = waitpid(pid, &status, 0);
    while (waited == -1 && errno == EINTR);
    CHECK_EQ(waited, pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static int64_t nine(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 9;
}

static void use_it_all(void *arg) {
    (void)arg;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, nine, NULL), 9);
    test_runtime_free(rt);
}

/* Must be the first case. */
static void a_child_of_an_unused_library_works(void) { in_child(use_it_all, NULL); }

/* ---- a used library ---- */

struct parent {
    rt_runtime rt;
    rt_task task;
    probe probe;
    rt_waker waker;
    rt_cx *cx;
};

static int64_t give_waker(rt_cx *cx, void *state) {
    struct parent *p = state;
    if (!probe_polled(&p->probe)) CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &p->waker), 0);
    return probe_poll(cx, &p->probe);
}

static void drop_parent(void *state) { probe_drop(&((struct parent *)state)->probe); }

static void runtime_calls_are_refused(rt_runtime rt) {
    char text[64];
    rt_metrics_data m = {.size = sizeof m};
    rt_runtime other = 0;
    CHECK_EQ(rt_new(NULL, &other, text, sizeof text), -EPERM);
    CHECK_EQ(other, 0);
    CHECK_EQ(rt_block_on(rt, nine, NULL), -EPERM);
    CHECK_EQ(rt_run(rt), -EPERM);
    CHECK_EQ(rt_turn(rt, 0), -EPERM);
    CHECK_EQ(rt_stop(rt), -EPERM);
    CHECK_EQ(rt_event_fd(rt), -EPERM);
    CHECK_EQ(rt_describe(rt, text, sizeof text), -EPERM);
    CHECK_EQ(rt_metrics(rt, &m), -EPERM);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), -EPERM);
    CHECK_EQ(rt_free(rt), -EPERM);
}

static void task_calls_are_refused(rt_runtime rt, rt_task task) {
    char text[64];
    rt_task other;
    rt_spawn_opts o = {.size = sizeof o, .poll = nine};
    CHECK_EQ(rt_spawn(rt, nine, NULL, NULL, &other), -EPERM);
    CHECK_EQ(rt_spawn_with(rt, &o, &other), -EPERM);
    CHECK_EQ(rt_task_name(task, text, sizeof text), -EPERM);
    CHECK_EQ(rt_task_wake(task), -EPERM);
    CHECK_EQ(rt_join(task, 0, NULL), -EPERM);
    CHECK_EQ(rt_abort(task), -EPERM);
    CHECK_EQ(rt_detach(task), -EPERM);
}

static void waker_calls_are_refused(struct parent *p) {
    rt_waker clone = {{0, 0}};
    rt_cx *cx = NULL;
    CHECK_EQ(rt_waker_clone(&p->waker, &clone), -EPERM);
    CHECK_EQ(rt_waker_wake_by_ref(&p->waker), -EPERM);
    CHECK_EQ(rt_cx_new(p->rt, &p->waker, &cx), -EPERM);
    CHECK_EQ(rt_poll_join(p->cx, p->task, NULL), -EPERM);
    rt_waker copy = p->waker; /* a copy of the bytes: the parent's stays as it is */
    CHECK_EQ(rt_waker_wake(&copy), -EPERM);
    CHECK_EQ(rt_waker_drop(&p->waker), -EPERM);
    CHECK_EQ(rt_cx_free(p->cx), -EPERM);
}

static void everything_is_refused(void *arg) {
    struct parent *p = arg;
    waker_calls_are_refused(p);
    task_calls_are_refused(p->rt, p->task);
    runtime_calls_are_refused(p->rt);
}

/* Whether the parent's descriptor says that there is something to do. */
static bool stirred(rt_runtime rt) {
    struct pollfd p = {.fd = (int)CHECK_OK(rt_event_fd(rt)), .events = POLLIN};
    return CHECK_SYS(poll(&p, 1, 0)) > 0;
}

static void make_quiet(rt_runtime rt) {
    if (!current_thread()) return;
    while (CHECK_OK(rt_turn(rt, 0)) > 0 || stirred(rt)) continue;
}

/* Had the child woken anything through what both share, the parent's task would be polled again. */
static void check_parent_unharmed(struct parent *p) {
    if (current_thread()) CHECK(!stirred(p->rt));
    int polls = p->probe.polls;
    CHECK_EQ(rt_block_on(p->rt, nine, NULL), 9);
    CHECK_EQ(p->probe.polls, polls);
    probe_finish(&p->probe, p->task);
    CHECK_EQ(join_task(p->task), 0);
}

static void a_child_is_refused_everything(void) {
    struct parent p = {.rt = test_runtime()};
    CHECK_EQ(rt_spawn(p.rt, give_waker, &p, drop_parent, &p.task), 0);
    drive_until(p.rt, probe_polled, &p.probe);
    CHECK_EQ(rt_cx_new(p.rt, &p.waker, &p.cx), 0);
    make_quiet(p.rt);
    in_child(everything_is_refused, &p);
    check_parent_unharmed(&p);
    CHECK_EQ(rt_waker_drop(&p.waker), 0);
    CHECK_EQ(rt_cx_free(p.cx), 0);
    test_runtime_free(p.rt);
}

/* ---- forked in a poll ---- */

static void use_in_poll(void *arg) {
    rt_cx *cx = arg;
    CHECK_EQ(rt_yield(cx), -EPERM);
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), nine, NULL, NULL, NULL), -EPERM);
}

static int64_t fork_in_poll(rt_cx *cx, void *state) {
    (void)state;
    in_child(use_in_poll, cx);
    return 0;
}

static void a_child_forked_in_a_poll_is_refused_too(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, fork_in_poll, NULL), 0);
    test_runtime_free(rt);
}

/* ---- forked after the last runtime went ---- */

static void create(void *arg) {
    (void)arg;
    rt_runtime rt = 0;
    char why[64] = "";
    CHECK_EQ(rt_new(NULL, &rt, why, sizeof why), -EPERM);
    CHECK(why[0] != '\0');
}

static void a_library_once_used_stays_the_parents(void) {
    test_runtime_free(test_runtime());
    in_child(create, NULL);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_child_of_an_unused_library_works);
    CASE(a_child_is_refused_everything);
    CASE(a_child_forked_in_a_poll_is_refused_too);
    CASE(a_library_once_used_stays_the_parents);
    return test_end();
}
