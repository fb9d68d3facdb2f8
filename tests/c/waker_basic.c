/* A task's waker: borrowed in the poll, cloned to keep, spent by wake and drop; and how long a
 * clone stays good: longer than its task, longer than its runtime. */
#include "check.h"

/* ---- a task that gives a clone of its waker away ---- */

struct giver {
    probe probe;
    rt_waker clone;
    atomic_bool given;
};

static int64_t give_waker(rt_cx *cx, void *state) {
    struct giver *g = state;
    const rt_waker *borrowed = rt_cx_waker(cx);
    CHECK(borrowed != NULL);
    if (!atomic_load(&g->given)) {
        CHECK_EQ(rt_waker_clone(borrowed, &g->clone), 0);
        CHECK(rt_waker_will_wake(borrowed, &g->clone));
        CHECK(rt_waker_will_wake(&g->clone, borrowed));
        atomic_store(&g->given, true);
    }
    return probe_poll(cx, &g->probe);
}

static void drop_giver(void *state) { probe_drop(&((struct giver *)state)->probe); }

static rt_task spawn_giver(rt_runtime rt, struct giver *g) {
    rt_task task;
    CHECK_EQ(rt_spawn(rt, give_waker, g, drop_giver, &task), 0);
    drive_until(rt, flag_set, &g->given);
    return task;
}

static bool is_zero(const rt_waker *w) { return w->opaque[0] == 0 && w->opaque[1] == 0; }

static void end_giver(rt_runtime rt, struct giver *g, rt_task task) {
    probe_finish(&g->probe, task);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

static void wake_consumes_and_polls_again(void) {
    rt_runtime rt = test_runtime();
    struct giver g = {.given = false};
    rt_task task = spawn_giver(rt, &g);
    atomic_store(&g.probe.ready, true);
    CHECK_EQ(rt_waker_wake(&g.clone), 0);
    CHECK(is_zero(&g.clone));
    CHECK_EQ(rt_waker_wake(&g.clone), -EINVAL); /* spent */
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

static void wake_by_ref_keeps_it(void) {
    rt_runtime rt = test_runtime();
    struct giver g = {.given = false};
    rt_task task = spawn_giver(rt, &g);
    atomic_store(&g.probe.ready, true);
    CHECK_EQ(rt_waker_wake_by_ref(&g.clone), 0);
    CHECK(!is_zero(&g.clone));
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(rt_waker_drop(&g.clone), 0);
    CHECK(is_zero(&g.clone));
    CHECK_EQ(rt_waker_drop(&g.clone), 0); /* a zeroed one is always accepted */
    test_runtime_free(rt);
}

static void a_zeroed_waker_wakes_nobody(void) {
    rt_waker zero = {{0, 0}}, out = {{0, 0}};
    CHECK_EQ(rt_waker_drop(&zero), 0);
    CHECK_EQ(rt_waker_wake(&zero), -EINVAL);
    CHECK_EQ(rt_waker_wake_by_ref(&zero), -EINVAL);
    CHECK_EQ(rt_waker_clone(&zero, &out), -EINVAL);
    CHECK(!rt_waker_will_wake(&zero, &out));
    CHECK(is_zero(&zero) && is_zero(&out));
}

static void wakers_of_two_tasks_differ(void) {
    rt_runtime rt = test_runtime();
    struct giver a = {.given = false}, b = {.given = false};
    rt_task first = spawn_giver(rt, &a), second = spawn_giver(rt, &b);
    CHECK(!rt_waker_will_wake(&a.clone, &b.clone));
    rt_waker copy;
    CHECK_EQ(rt_waker_clone(&a.clone, &copy), 0);
    CHECK(rt_waker_will_wake(&a.clone, &copy));
    CHECK_EQ(rt_waker_drop(&copy), 0);
    CHECK_EQ(rt_waker_drop(&a.clone), 0);
    CHECK_EQ(rt_waker_drop(&b.clone), 0);
    probe_finish(&a.probe, first);
    CHECK_EQ(join_task(first), 0);
    end_giver(rt, &b, second);
}

/* ---- longer than the task ---- */

static void use_up(rt_waker *w) {
    rt_waker copy;
    CHECK_EQ(rt_waker_clone(w, &copy), 0);
    CHECK(rt_waker_will_wake(w, &copy));
    CHECK_EQ(rt_waker_wake_by_ref(w), 0);
    CHECK_EQ(rt_waker_wake(&copy), 0);
    CHECK_EQ(rt_waker_drop(w), 0);
}

static void a_waker_may_outlive_its_task(void) {
    rt_runtime rt = test_runtime();
    struct giver g = {.given = false}, other = {.given = false};
    rt_task task = spawn_giver(rt, &g);
    probe_finish(&g.probe, task);
    CHECK_EQ(join_task(task), 0);
    int polls = g.probe.polls;
    rt_task next = spawn_giver(rt, &other); /* likely to use the memory of the first */
    CHECK(!rt_waker_will_wake(&g.clone, &other.clone));
    use_up(&g.clone);
    CHECK_EQ(g.probe.polls, polls);
    CHECK_EQ(rt_waker_drop(&other.clone), 0);
    end_giver(rt, &other, next);
}

static void *use_up_on_thread(void *arg) {
    use_up(arg);
    return NULL;
}

static void a_waker_may_outlive_its_runtime(void) {
    rt_runtime rt = test_runtime();
    struct giver parked = {.given = false}, ended = {.given = false};
    spawn_giver(rt, &parked);
    rt_task task = spawn_giver(rt, &ended);
    probe_finish(&ended.probe, task);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(parked.probe.drops, 1);
    use_up(&parked.clone);
    on_thread(use_up_on_thread, &ended.clone);
    CHECK_EQ(parked.probe.drops, 1);
}

static void a_waker_may_be_used_between_shutdown_and_free(void) {
    rt_runtime rt = test_runtime();
    struct giver g = {.given = false};
    spawn_giver(rt, &g);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    use_up(&g.clone);
    CHECK_EQ(rt_free(rt), 0);
}

/* ---- NULL ---- */

static void null_is_refused(void) {
    rt_waker w = {{0, 0}};
    CHECK_EQ(rt_waker_clone(NULL, &w), -EINVAL);
    CHECK_EQ(rt_waker_clone(&w, NULL), -EINVAL);
    CHECK_EQ(rt_waker_wake(NULL), -EINVAL);
    CHECK_EQ(rt_waker_wake_by_ref(NULL), -EINVAL);
    CHECK_EQ(rt_waker_drop(NULL), -EINVAL);
    CHECK(!rt_waker_will_wake(NULL, &w));
    CHECK(!rt_waker_will_wake(&w, NULL));
    CHECK(!rt_waker_will_wake(NULL, NULL));
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(wake_consumes_and_polls_again);
    CASE(wake_by_ref_keeps_it);
    CASE(a_zeroed_waker_wakes_nobody);
    CASE(wakers_of_two_tasks_differ);
    CASE(a_waker_may_outlive_its_task);
    CASE(a_waker_may_outlive_its_runtime);
    CASE(a_waker_may_be_used_between_shutdown_and_free);
    CASE(null_is_refused);
    return test_end();
}
