/* Readiness from two sides: from plain code, through a context of its own (a hand), and from a task
 * (a waiter). And a scene: what most cases begin with.
 */
#ifndef ASYNCIO_TESTS_READY_H
#define ASYNCIO_TESTS_READY_H

#include "net.h"

enum {
    RW = RT_READABLE | RT_WRITABLE,
    CLOSED_BITS = RT_READ_CLOSED | RT_WRITE_CLOSED,
};

/* ---- a hand: a context whose waker counts ---- */

struct hand {
    rt_runtime rt;
    rt_cx *cx;
    gate woken;
    atomic_int wakes;
    atomic_int wakers; /* clones alive */
};

static inline void *hand_clone(void *data) {
    struct hand *h = data;
    atomic_fetch_add(&h->wakers, 1);
    return h;
}

static inline void hand_drop(void *data) {
    struct hand *h = data;
    atomic_fetch_sub(&h->wakers, 1);
}

static inline void hand_wake_by_ref(void *data) {
    struct hand *h = data;
    atomic_fetch_add(&h->wakes, 1);
    gate_open(&h->woken);
}

static inline void hand_wake(void *data) {
    hand_wake_by_ref(data);
    hand_drop(data);
}

static const rt_waker_vtable hand_vtable = {hand_clone, hand_wake, hand_wake_by_ref, hand_drop};

/* A context with a waker of any kind; `data` is what the vtable gets. */
static inline rt_cx *context_with(rt_runtime rt, const rt_waker_vtable *vtable, void *data) {
    rt_waker waker;
    rt_cx *cx = NULL;
    CHECK_EQ(rt_waker_new(vtable, data, &waker), 0);
    CHECK_EQ(rt_cx_new(rt, &waker, &cx), 0);
    CHECK_EQ(rt_waker_drop(&waker), 0);
    return cx;
}

static inline void hand_open(struct hand *h, rt_runtime rt) {
    memset(h, 0, sizeof *h);
    h->rt = rt;
    gate_init(&h->woken);
    atomic_store(&h->wakers, 1);
    h->cx = context_with(rt, &hand_vtable, h);
}

static inline void hand_close(struct hand *h) {
    CHECK_EQ(rt_cx_free(h->cx), 0);
    h->cx = NULL;
}

/* After rt_free, which ends every wait: no waker may be left. */
static inline void hand_check(struct hand *h) {
    CHECK_EQ(atomic_load(&h->wakers), 0);
    gate_destroy(&h->woken);
}

/* Until the waker was called. The thread that owns a current-thread runtime drives it meanwhile. */
static inline void hand_wait(struct hand *h) {
    if (!current_thread()) {
        gate_wait(&h->woken);
        return;
    }
    while (sem_trywait(&h->woken.sem) != 0) CHECK_OK(rt_turn(h->rt, 1000000));
}

/* Calls again, as a task would, until the result is final. */
#define AWAIT(hand, result, ...) \
    while (((result) = (__VA_ARGS__)) == RT_PENDING) hand_wait(hand)

/* The final result must be this one. */
#define AWAIT_EQ(hand, expected, ...)           \
    do {                                        \
        int64_t await_result;                   \
        AWAIT(hand, await_result, __VA_ARGS__); \
        CHECK_EQ(await_result, expected);       \
    } while (0)

/* Until it was woken so many times since hand_open. */
static inline void hand_wait_for(struct hand *h, int wakes) {
    while (atomic_load(&h->wakes) < wakes) hand_wait(h);
}

static inline rt_ready await_ready(struct hand *h, rt_io io, uint32_t interest) {
    rt_ready got = {0, 0};
    AWAIT_EQ(h, 0, rt_poll_ready(h->cx, io, interest, &got));
    return got;
}

/* Until this bit is there; readiness before it is let go. */
static inline rt_ready await_bit(struct hand *h, rt_io io, uint32_t interest, uint32_t bit) {
    for (;;) {
        rt_ready got = await_ready(h, io, interest);
        if (got.bits & bit) return got;
        CHECK_EQ(rt_clear_ready(io, got), 0);
    }
}

static inline uint32_t bits_of(rt_io io, uint32_t interest) {
    rt_ready got = {0, 0};
    CHECK_EQ(rt_try_ready(io, interest, &got), 0);
    return got.bits;
}

/* Leaves the hand waiting for what is not there; readiness that is out of date is cleared. */
static inline void hand_park(struct hand *h, rt_io io, uint32_t interest) {
    rt_ready got;
    int64_t r;
    while ((r = rt_poll_ready(h->cx, io, interest, &got)) == 0) {
        CHECK(!(got.bits & CLOSED_BITS)); /* which would never go */
        CHECK_EQ(rt_clear_ready(io, got), 0);
    }
    CHECK_EQ(r, RT_PENDING);
}

/* ---- a waiter: a task that waits once ---- */

struct waiter {
    rt_io io;
    uint32_t interest;
    rt_ready got;
    atomic_int polls;
    atomic_bool pending;
    rt_task task;
};

static inline int64_t waiter_poll(rt_cx *cx, void *state) {
    struct waiter *w = state;
    int64_t r = rt_poll_ready(cx, w->io, w->interest, &w->got);
    atomic_store(&w->pending, r == RT_PENDING);
    atomic_fetch_add(&w->polls, 1);
    return r;
}

static inline bool waiter_was_polled(void *arg) {
    struct waiter *w = arg;
    return atomic_load(&w->polls) > 0;
}

static inline void waiter_start(struct waiter *w, rt_runtime rt, rt_io io, uint32_t interest) {
    memset(w, 0, sizeof *w);
    w->io = io;
    w->interest = interest;
    CHECK_EQ(rt_spawn(rt, waiter_poll, w, NULL, &w->task), 0);
    drive_until(rt, waiter_was_polled, w);
}

/* Leaves it waiting for what is not there; readiness that is out of date is cleared. */
static inline void waiter_park(struct waiter *w, rt_runtime rt, rt_io io, uint32_t interest) {
    for (;;) {
        waiter_start(w, rt, io, interest);
        if (atomic_load(&w->pending)) return;
        CHECK_EQ(join_task(w->task), 0);
        CHECK(!(w->got.bits & CLOSED_BITS)); /* which would never go */
        CHECK_EQ(rt_clear_ready(io, w->got), 0);
    }
}

/* ---- the runtime ---- */

static inline rt_io io_of(rt_runtime rt, int fd, uint32_t flags) {
    rt_io io = 0;
    CHECK_EQ(rt_register_fd(rt, fd, flags, &io), 0);
    CHECK(io != 0);
    return io;
}

static inline bool count_down(void *arg) {
    int *left = arg;
    return --*left <= 0;
}

/* Gives the drivers the time to deliver what the kernel has. Only for looking that nothing comes:
 * what must come is waited for. */
static inline void deliver(rt_runtime rt) {
    int polls = 500;
    drive_until(rt, count_down, &polls);
}

/* ---- a scene: a runtime, a hand, and two ends of which the first is registered ---- */

struct scene {
    rt_runtime rt;
    struct hand hand;
    int near, far;
    rt_io io;
};

static inline void scene_open(struct scene *s, void (*connect_ends)(int[2]), uint32_t flags) {
    int ends[2];
    connect_ends(ends);
    s->rt = test_runtime();
    hand_open(&s->hand, s->rt);
    s->near = ends[0];
    s->far = ends[1];
    s->io = io_of(s->rt, s->near, flags);
    /* The event of the registration itself is taken here: a case sees the events that it causes. */
    if (flags & RT_WRITABLE) await_ready(&s->hand, s->io, RT_WRITABLE);
}

/* An end of -1, or a handle of 0, is gone already. */
static inline void scene_close(struct scene *s) {
    CHECK_EQ(rt_close(s->io), 0);
    if (s->far >= 0) close(s->far);
    hand_close(&s->hand);
    test_runtime_free(s->rt);
    hand_check(&s->hand);
}

#endif
