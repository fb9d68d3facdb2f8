/* Detach gives up the right to join, and nothing else. */
#include "check.h"

static void zero_is_accepted(void) { CHECK_EQ(rt_detach(0), 0); }

/* The last to let go of an ended task may be a worker on its way out. */
static void wait_until_stale(rt_task task) {
    while (rt_task_wake(task) != -EBADF) sched_yield();
    CHECK_EQ(rt_abort(task), -EBADF);
    CHECK_EQ(rt_detach(task), -EBADF);
}

static int64_t poll_join_once(rt_cx *cx, void *state) {
    return rt_poll_join(cx, *(rt_task *)state, NULL);
}

static void a_detached_task_cannot_be_joined(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_detach(task), 0);
    CHECK_EQ(rt_join(task, RT_NEVER, NULL), -EBADF);
    CHECK_EQ(rt_block_on(rt, poll_join_once, &task), -EBADF);
    CHECK_EQ(rt_detach(task), -EBADF);
    CHECK_EQ(p.drops, 0);
    drive_until(rt, probe_waits, &p);
    probe_finish(&p, task);
    drive_until(rt, probe_dropped, &p);
    test_runtime_free(rt);
}

static void wake_and_abort_work_until_the_end(void) {
    rt_runtime rt = test_runtime();
    probe woken = {0}, aborted = {0};
    rt_task first = probe_spawn(rt, &woken), second = probe_spawn(rt, &aborted);
    CHECK_EQ(rt_detach(first), 0);
    CHECK_EQ(rt_detach(second), 0);
    drive_until(rt, probe_waits, &woken);
    drive_until(rt, probe_polled, &aborted);
    probe_finish(&woken, first);
    CHECK_EQ(rt_abort(second), 0);
    settle(rt);
    CHECK_EQ(woken.drops, 1);
    CHECK(woken.polls <= 2);
    CHECK_EQ(aborted.drops, 1);
    CHECK_EQ(aborted.polls, 1);
    test_runtime_free(rt);
    CHECK_EQ(rt_task_wake(first), -EBADF);
    CHECK_EQ(rt_abort(second), -EBADF);
}

static void an_ended_task_may_be_detached(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_dropped, &p);
    CHECK_EQ(rt_detach(task), 0);
    settle(rt);
    wait_until_stale(task);
    test_runtime_free(rt);
}

/* ---- in its own poll, and a task born detached ---- */

static int64_t detach_self(rt_cx *cx, void *state) {
    probe *p = state;
    CHECK_EQ(rt_detach(rt_task_self(cx)), 0);
    CHECK_EQ(rt_detach(rt_task_self(cx)), -EBADF);
    probe_enter(p);
    return probe_leave(p, 0);
}

static void a_task_may_detach_itself(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, detach_self, &p, probe_drop, &task), 0);
    drive_until(rt, probe_dropped, &p);
    settle(rt);
    CHECK_EQ(rt_join(task, RT_NEVER, NULL), -EBADF);
    test_runtime_free(rt);
}

struct anonymous {
    probe probe;
    _Atomic rt_task self;
};

static int64_t tell_self(rt_cx *cx, void *state) {
    struct anonymous *a = state;
    atomic_store(&a->self, rt_task_self(cx));
    return probe_poll(cx, &a->probe);
}

static void drop_anonymous(void *state) { probe_drop(&((struct anonymous *)state)->probe); }

static bool self_told(void *arg) { return atomic_load(&((struct anonymous *)arg)->self) != 0; }

static void a_task_born_detached_has_a_handle_of_its_own(void) {
    rt_runtime rt = test_runtime();
    struct anonymous a = {.self = 0};
    CHECK_EQ(rt_spawn(rt, tell_self, &a, drop_anonymous, NULL), 0);
    drive_until(rt, self_told, &a);
    drive_until(rt, probe_waits, &a.probe);
    CHECK_EQ(rt_join(a.self, RT_NEVER, NULL), -EBADF);
    CHECK_EQ(rt_detach(a.self), -EBADF);
    probe_finish(&a.probe, a.self);
    settle(rt);
    CHECK_EQ(a.probe.drops, 1);
    wait_until_stale(a.self);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(zero_is_accepted);
    CASE(a_detached_task_cannot_be_joined);
    CASE(wake_and_abort_work_until_the_end);
    CASE(an_ended_task_may_be_detached);
    CASE(a_task_may_detach_itself);
    CASE(a_task_born_detached_has_a_handle_of_its_own);
    return test_end();
}
