/* rt_run returns when no task is left or when it was told to stop, before or meanwhile, and says
 * how many tasks it leaves. */
#include "check.h"

static void without_tasks_it_returns_at_once(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_run(rt), 0);
    CHECK_EQ(rt_run(rt), 0);
    test_runtime_free(rt);
}

/* ---- until none is left ---- */

struct family {
    probe probe;
    int generations;
};

static void drop_family(void *state) {
    struct family *f = state;
    probe_drop(&f->probe);
    free(f);
}

static int64_t found_family(rt_cx *cx, void *state) {
    struct family *f = state;
    if (f->generations > 0) {
        struct family *child = calloc(1, sizeof *child);
        CHECK(child != NULL);
        child->generations = f->generations - 1;
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), found_family, child, drop_family, NULL), 0);
    }
    atomic_store(&f->probe.ready, true);
    return probe_poll(cx, &f->probe);
}

static void it_returns_when_the_last_task_ended(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 20; i++) {
        struct family *first = calloc(1, sizeof *first);
        CHECK(first != NULL);
        first->generations = 50;
        CHECK_EQ(rt_spawn(rt, found_family, first, drop_family, NULL), 0);
        CHECK_EQ(rt_run(rt), 0);
        CHECK_EQ(live_tasks(rt), 0);
    }
    test_runtime_free(rt);
}

/* What was waited for need not be waited for again. */
static int64_t work_a_little(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    for (volatile int i = 0; i < 2000; i++) {}
    return 7;
}

static void what_ended_can_be_joined_at_once(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(5000); i++) {
        rt_task task;
        int64_t result = 0;
        CHECK_EQ(rt_spawn(rt, work_a_little, NULL, NULL, &task), 0);
        CHECK_EQ(rt_run(rt), 0);
        CHECK_EQ(rt_join(task, 0, &result), 0);
        CHECK_EQ(result, 7);
    }
    test_runtime_free(rt);
}

struct parked {
    probe probe;
    rt_task task;
};

static void *finish_parked(void *arg) {
    struct parked *p = arg;
    while (!probe_polled(&p->probe)) sched_yield();
    probe_finish(&p->probe, p->task);
    return NULL;
}

static void it_sleeps_while_a_task_is_parked(void) {
    rt_runtime rt = test_runtime();
    struct parked p = {.task = 0};
    p.task = probe_spawn(rt, &p.probe);
    pthread_t other = thread_start(finish_parked, &p);
    CHECK_EQ(rt_run(rt), 0);
    CHECK_EQ(p.probe.drops, 1);
    thread_join(other);
    CHECK_EQ(join_task(p.task), 0); /* an ended task that is not joined is not a task left */
    test_runtime_free(rt);
}

/* ---- stopped ---- */

static void a_stop_before_it_makes_it_return(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_stop(rt), 0);
    CHECK_EQ(rt_stop(rt), 0); /* a second one adds nothing */
    CHECK_EQ(rt_run(rt), 1);
    probe_finish(&p, task);
    CHECK_EQ(rt_run(rt), 0); /* the stop was spent */
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

static int64_t stop_and_stay(rt_cx *cx, void *state) {
    probe *p = state;
    CHECK_EQ(rt_stop(rt_cx_runtime(cx)), 0);
    return probe_poll(cx, p);
}

static void a_task_may_stop_it(void) {
    rt_runtime rt = test_runtime();
    probe stopper = {0}, other = {0};
    rt_task one = probe_spawn(rt, &other), two;
    CHECK_EQ(rt_spawn(rt, stop_and_stay, &stopper, probe_drop, &two), 0);
    CHECK_EQ(rt_run(rt), 2);
    CHECK_EQ(other.drops, 0);
    CHECK_EQ(rt_abort(one), 0);
    CHECK_EQ(rt_abort(two), 0);
    CHECK_EQ(join_task(one), -ECANCELED);
    CHECK_EQ(join_task(two), -ECANCELED);
    test_runtime_free(rt);
}

struct runner {
    rt_runtime rt;
    probe probe;
};

static void *stop_from_outside(void *arg) {
    struct runner *r = arg;
    while (!probe_polled(&r->probe)) sched_yield();
    CHECK_EQ(rt_stop(r->rt), 0);
    return NULL;
}

static void another_thread_may_stop_it(void) {
    struct runner r = {.rt = test_runtime()};
    rt_task task = probe_spawn(r.rt, &r.probe);
    pthread_t other = thread_start(stop_from_outside, &r);
    CHECK_EQ(rt_run(r.rt), 1);
    thread_join(other);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    test_runtime_free(r.rt);
}

static int64_t spin_for_ever(rt_cx *cx, void *state) {
    atomic_fetch_add((atomic_int *)state, 1);
    return rt_yield(cx);
}

static void *stop_spinning(void *arg) {
    CHECK_EQ(rt_stop(*(rt_runtime *)arg), 0);
    return NULL;
}

static void it_stops_although_there_is_always_something_to_do(void) {
    rt_runtime rt = test_runtime();
    atomic_int polls = 0;
    rt_task task;
    CHECK_EQ(rt_spawn(rt, spin_for_ever, &polls, NULL, &task), 0);
    pthread_t other = thread_start(stop_spinning, &rt);
    CHECK_EQ(rt_run(rt), 1);
    thread_join(other);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    test_runtime_free(rt);
}

/* ---- refused ---- */

static void *run_elsewhere(void *arg) {
    CHECK_EQ(rt_run(*(rt_runtime *)arg), current_thread() ? -EPERM : 0);
    return NULL;
}

static void a_wrong_thread_is_refused(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_run(rt), 0);
    on_thread(run_elsewhere, &rt);
    test_runtime_free(rt);
}

static void after_a_shutdown_it_is_refused(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_run(rt), -ESHUTDOWN);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_run(rt), -EBADF);
    CHECK_EQ(rt_stop(rt), -EBADF);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(without_tasks_it_returns_at_once);
    CASE(it_returns_when_the_last_task_ended);
    CASE(what_ended_can_be_joined_at_once);
    CASE(it_sleeps_while_a_task_is_parked);
    CASE(a_stop_before_it_makes_it_return);
    CASE(a_task_may_stop_it);
    CASE(another_thread_may_stop_it);
    CASE(it_stops_although_there_is_always_something_to_do);
    CASE(a_wrong_thread_is_refused);
    CASE(after_a_shutdown_it_is_refused);
    return test_end();
}
