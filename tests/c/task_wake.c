/* Waking by handle: when it schedules, when it coalesces, when it is refused. */
#include "check.h"

enum { MANY = 100 };

/* Gives a task that should not run every chance to: each yield goes behind all others. */
static int64_t linger(rt_cx *cx, void *state) {
    int *left = state;
    return (*left)-- > 0 ? rt_yield(cx) : 0;
}

static void drive_a_while(rt_runtime rt) {
    int left = MANY;
    CHECK_EQ(rt_block_on(rt, linger, &left), 0);
}

static bool polled_twice(void *arg) { return atomic_load(&((probe *)arg)->polls) >= 2; }

static void end_probe(rt_runtime rt, probe *p, rt_task task) {
    probe_finish(p, task);
    CHECK_EQ(join_task(task), p->result);
    test_runtime_free(rt);
}

static void a_parked_task_is_polled_only_when_woken(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_polled, &p);
    drive_a_while(rt);
    CHECK_EQ(p.polls, 1);
    CHECK_EQ(rt_task_wake(task), 0);
    drive_until(rt, polled_twice, &p);
    drive_a_while(rt);
    CHECK_EQ(p.polls, 2);
    end_probe(rt, &p, task);
}

static void wakes_before_the_first_poll_coalesce(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    for (int i = 0; i < MANY; i++) CHECK_EQ(rt_task_wake(task), 0);
    if (current_thread()) { /* elsewhere a worker polls in between */
        CHECK_EQ(rt_turn(rt, 0), 1);
        CHECK_EQ(rt_turn(rt, 0), 0);
        CHECK_EQ(p.polls, 1);
    }
    end_probe(rt, &p, task);
}

/* ---- wakes during the poll ---- */

struct busy {
    probe probe;
    rt_task self;
    gate inside, woken;
};

static void *wake_from_outside(void *arg) {
    struct busy *b = arg;
    gate_wait(&b->inside);
    for (int i = 0; i < MANY; i++) CHECK_EQ(rt_task_wake(b->self), 0);
    gate_open(&b->woken);
    return NULL;
}

static int64_t wake_while_polled(rt_cx *cx, void *state) {
    struct busy *b = state;
    probe_enter(&b->probe);
    if (b->probe.polls == 1) {
        gate_open(&b->inside);
        gate_wait(&b->woken);
        for (int i = 0; i < MANY; i++) {
            CHECK_EQ(rt_task_wake(b->self), 0);
            CHECK_EQ(rt_waker_wake_by_ref(rt_cx_waker(cx)), 0);
        }
    }
    return probe_leave(&b->probe, atomic_load(&b->probe.ready) ? 0 : RT_PENDING);
}

static void drop_busy(void *state) { probe_drop(&((struct busy *)state)->probe); }

static void wakes_during_a_poll_cause_one_more(void) {
    rt_runtime rt = test_runtime();
    struct busy b = {.self = 0};
    gate_init(&b.inside);
    gate_init(&b.woken);
    pthread_t waker = thread_start(wake_from_outside, &b);
    CHECK_EQ(rt_spawn(rt, wake_while_polled, &b, drop_busy, &b.self), 0);
    drive_until(rt, polled_twice, &b.probe);
    drive_a_while(rt);
    CHECK_EQ(b.probe.polls, 2);
    thread_join(waker);
    gate_destroy(&b.inside);
    gate_destroy(&b.woken);
    end_probe(rt, &b.probe, b.self);
}

static int64_t wake_and_end(rt_cx *cx, void *state) {
    probe *p = state;
    probe_enter(p);
    CHECK_EQ(rt_task_wake(rt_task_self(cx)), 0);
    return probe_leave(p, 6);
}

static void a_wake_in_the_last_poll_is_harmless(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(1000); i++) {
        probe p = {0};
        rt_task task;
        CHECK_EQ(rt_spawn(rt, wake_and_end, &p, probe_drop, &task), 0);
        CHECK_EQ(join_task(task), 6);
        CHECK_EQ(p.polls, 1);
        CHECK_EQ(p.drops, 1);
    }
    test_runtime_free(rt);
}

/* ---- the end ---- */

static void an_ended_task_accepts_wakes_until_it_is_joined(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true, .result = 2};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_dropped, &p);
    CHECK_EQ(rt_task_wake(task), 0);
    CHECK_EQ(join_task(task), 2);
    CHECK_EQ(p.polls, 1);
    CHECK_EQ(rt_task_wake(task), -EBADF);
    test_runtime_free(rt);
}

/* ---- a foreign thread wakes a sleeping runtime ---- */

struct rally {
    rt_task task;
    atomic_int polls, served;
    int rounds;
};

static int64_t count_rounds(rt_cx *cx, void *state) {
    (void)cx;
    struct rally *r = state;
    int now = atomic_fetch_add(&r->polls, 1);
    return now >= r->rounds ? now : RT_PENDING;
}

static void *serve(void *arg) {
    struct rally *r = arg;
    for (int i = 1; i <= r->rounds; i++) {
        while (atomic_load(&r->polls) < i) sched_yield();
        CHECK_EQ(rt_task_wake(r->task), 0);
    }
    return NULL;
}

/* Each wake waits for the poll before it, so nearly every one finds the worker asleep or about to
 * be. One that is lost ends the rally. */
static void no_foreign_wake_is_lost(void) {
    rt_runtime rt = test_runtime();
    struct rally r = {.rounds = scaled(20000)};
    CHECK_EQ(rt_spawn(rt, count_rounds, &r, NULL, &r.task), 0);
    pthread_t server = thread_start(serve, &r);
    CHECK_EQ(join_task(r.task), r.rounds);
    CHECK_EQ(r.polls, r.rounds + 1); /* and none is counted twice */
    thread_join(server);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_parked_task_is_polled_only_when_woken);
    CASE(wakes_before_the_first_poll_coalesce);
    CASE(wakes_during_a_poll_cause_one_more);
    CASE(a_wake_in_the_last_poll_is_harmless);
    CASE(an_ended_task_accepts_wakes_until_it_is_joined);
    CASE(no_foreign_wake_is_lost);
    return test_end();
}
