/* What the tests of calls that block share: a job that counts, and one that waits for a gate. */
#ifndef ASYNCIO_TESTS_BLOCKING_H
#define ASYNCIO_TESTS_BLOCKING_H

#include "op.h"

/* Runs once at most, and not beside its drop nor after it. */
struct job {
    int64_t result;
    gate *hold; /* waits for it, if there is one */
    atomic_int runs, drops, inside;
    struct crowd *crowd;
};

/* How many run at a time. */
struct crowd {
    atomic_int now, most, begun;
};

static inline void crowd_enter(struct crowd *c) {
    int now = atomic_fetch_add(&c->now, 1) + 1;
    for (int most = atomic_load(&c->most); most < now;)
        if (atomic_compare_exchange_weak(&c->most, &most, now)) break;
    atomic_fetch_add(&c->begun, 1);
}

static inline int64_t job_run(void *arg) {
    struct job *j = arg;
    CHECK_EQ(atomic_fetch_add(&j->inside, 1), 0);
    CHECK_EQ(atomic_load(&j->drops), 0);
    CHECK_EQ(atomic_fetch_add(&j->runs, 1), 0);
    CHECK(rt_cx_current() == NULL);
    if (j->crowd != NULL) crowd_enter(j->crowd);
    if (j->hold != NULL) gate_wait(j->hold);
    if (j->crowd != NULL) atomic_fetch_sub(&j->crowd->now, 1);
    int64_t result = j->result;
    CHECK_EQ(atomic_fetch_sub(&j->inside, 1), 1);
    return result;
}

static inline void job_drop(void *arg) {
    struct job *j = arg;
    CHECK_EQ(atomic_load(&j->inside), 0);
    CHECK_EQ(atomic_fetch_add(&j->drops, 1), 0);
}

static inline rt_task job_spawn(rt_runtime rt, struct job *j) {
    rt_task task = 0;
    CHECK_EQ(rt_spawn_blocking(rt, job_run, j, job_drop, &task), 0);
    CHECK(task != 0);
    return task;
}

static inline bool job_begun(void *arg) { return atomic_load(&((struct job *)arg)->runs) > 0; }

static inline bool job_runs(void *arg) { return atomic_load(&((struct job *)arg)->inside) > 0; }

static inline void job_ended(const struct job *j, int runs) {
    CHECK_EQ(atomic_load(&j->runs), runs);
    CHECK_EQ(atomic_load(&j->drops), 1);
}

/* A runtime with so many threads for calls that block. */
static inline rt_runtime runtime_of_threads(uint32_t threads) {
    rt_config config = test_config();
    config.blocking_threads = threads;
    return test_runtime_with(&config);
}

#endif
