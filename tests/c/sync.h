/* What the tests of semaphores share: tasks that ask for permits once, in a known order. */
#ifndef ASYNCIO_TESTS_SYNC_H
#define ASYNCIO_TESTS_SYNC_H

#include "check.h"

#include <asyncio_await.h>

/* How many were served. */
static atomic_int served;

struct one {
    rt_sem sem;
    uint64_t n;
    int polls;
    atomic_bool waits, done;
    int at; /* the how manieth it was */
    rt_task task;
};

static inline void one_is_served(struct one *o) {
    o->at = atomic_fetch_add(&served, 1);
    atomic_store(&o->done, true);
}

static inline int64_t one_poll(rt_cx *cx, void *state) {
    struct one *o = state;
    int64_t r = rt_poll_acquire(cx, o->sem, o->n);
    if (r == 0) one_is_served(o);
    if (r == RT_PENDING) atomic_store(&o->waits, true);
    return r;
}

static inline bool one_waits(void *arg) { return atomic_load(&((struct one *)arg)->waits); }
static inline bool one_served(void *arg) { return atomic_load(&((struct one *)arg)->done); }

/* Returns when it waits. */
static inline void one_start_with(rt_runtime rt, struct one *o, rt_sem sem, uint64_t n,
                                  rt_poll_fn poll) {
    memset(o, 0, sizeof *o);
    o->sem = sem;
    o->n = n;
    CHECK_EQ(rt_spawn(rt, poll, o, NULL, &o->task), 0);
    drive_until(rt, one_waits, o);
}

static inline void one_start(rt_runtime rt, struct one *o, rt_sem sem, uint64_t n) {
    one_start_with(rt, o, sem, n, one_poll);
}

#endif
