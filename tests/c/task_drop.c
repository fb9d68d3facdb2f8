/* The drop runs once, never beside a poll, whatever wakes and aborts storm in from outside. */
#include "check.h"

enum { TASKS = 64, STORMERS = 3 };

struct storm {
    rt_task tasks[TASKS];
    probe probes[TASKS];
    atomic_int running;
    int rounds;
};
struct stormer {
    struct storm *storm;
    unsigned seed;
};

static unsigned next_random(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

/* Nobody joins meanwhile, so every handle stays good. */
static void *blow(void *arg) {
    struct stormer *me = arg;
    struct storm *s = me->storm;
    for (int i = 0; i < s->rounds; i++) {
        unsigned n = next_random(&me->seed) % TASKS;
        CHECK_EQ(rt_task_wake(s->tasks[n]), 0);
        unsigned act = next_random(&me->seed) % 1000;
        if (act == 0) CHECK_EQ(rt_abort(s->tasks[n]), 0);
        if (act == 1) atomic_store(&s->probes[n].ready, true);
    }
    atomic_fetch_sub(&s->running, 1);
    return NULL;
}

static bool calm(void *arg) { return atomic_load(&((struct storm *)arg)->running) == 0; }

static void check_outcome(probe *p, int64_t result) {
    CHECK(result == 99 || result == -ECANCELED);
    if (result == 99) CHECK(p->ready);
    CHECK_EQ(p->drops, 1);
    CHECK_EQ(p->inside, 0);
}

static void a_storm_of_wakes_and_aborts(void) {
    rt_runtime rt = test_runtime();
    struct storm s = {.running = STORMERS, .rounds = scaled(100000)};
    struct stormer stormers[STORMERS];
    pthread_t threads[STORMERS];
    for (int i = 0; i < TASKS; i++) {
        s.probes[i].result = 99;
        s.tasks[i] = probe_spawn(rt, &s.probes[i]);
    }
    for (int i = 0; i < STORMERS; i++) {
        stormers[i] = (struct stormer){&s, 7u + (unsigned)i};
        threads[i] = thread_start(blow, &stormers[i]);
    }
    drive_until(rt, calm, &s);
    for (int i = 0; i < STORMERS; i++) thread_join(threads[i]);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(rt_abort(s.tasks[i]), 0);
        check_outcome(&s.probes[i], join_task(s.tasks[i]));
    }
    test_runtime_free(rt);
}

/* ---- who drops, and when ---- */

static void a_task_that_returned_is_dropped_without_a_join(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_dropped, &p);
    CHECK_EQ(p.polls, 1);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(p.drops, 1);
    test_runtime_free(rt);
}

static void a_parked_task_keeps_its_state_until_the_runtime_goes(void) {
    rt_runtime rt = test_runtime();
    probe kept = {0}, detached = {0}, ended = {.ready = true};
    rt_task task = probe_spawn(rt, &kept), unjoined = probe_spawn(rt, &ended);
    CHECK_EQ(rt_detach(probe_spawn(rt, &detached)), 0);
    drive_until(rt, probe_polled, &kept);
    drive_until(rt, probe_polled, &detached);
    drive_until(rt, probe_dropped, &ended);
    CHECK_EQ(kept.drops, 0);
    CHECK_EQ(detached.drops, 0);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(kept.drops, 1);
    CHECK_EQ(detached.drops, 1);
    CHECK_EQ(ended.drops, 1);
    CHECK_EQ(rt_join(task, 0, NULL), -EBADF);
    CHECK_EQ(rt_join(unjoined, 0, NULL), -EBADF);
}

/* A state that holds a waker of its own task must not keep that task alive for ever. */
struct selfish {
    rt_waker own;
    atomic_bool stored;
    atomic_int drops;
};

static int64_t keep_own_waker(rt_cx *cx, void *state) {
    struct selfish *s = state;
    if (!atomic_load(&s->stored)) CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &s->own), 0);
    atomic_store(&s->stored, true);
    return RT_PENDING;
}

static void drop_own_waker(void *state) {
    struct selfish *s = state;
    CHECK_EQ(rt_waker_wake_by_ref(&s->own), 0); /* while it ends: no effect */
    CHECK_EQ(rt_waker_drop(&s->own), 0);
    atomic_fetch_add(&s->drops, 1);
}

static void a_state_may_hold_its_own_waker(void) {
    rt_runtime rt = test_runtime();
    struct selfish aborted = {.drops = 0}, abandoned = {.drops = 0};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, keep_own_waker, &aborted, drop_own_waker, &task), 0);
    CHECK_EQ(rt_spawn(rt, keep_own_waker, &abandoned, drop_own_waker, NULL), 0);
    drive_until(rt, flag_set, &aborted.stored);
    drive_until(rt, flag_set, &abandoned.stored);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    CHECK_EQ(aborted.drops, 1);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(abandoned.drops, 1);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_storm_of_wakes_and_aborts);
    CASE(a_task_that_returned_is_dropped_without_a_join);
    CASE(a_parked_task_keeps_its_state_until_the_runtime_goes);
    CASE(a_state_may_hold_its_own_waker);
    return test_end();
}
