/* What the tests of timers share: a random source, timers that must start, and an end that misses
 * none.
 */
#ifndef ASYNCIO_TESTS_TIMER_H
#define ASYNCIO_TESTS_TIMER_H

#include <asyncio_await.h>

#include "ready.h"
#include "soon.h"

static const uint64_t us = 1000, ms = 1000000, minute = UINT64_C(60000000000);

/* What a tick of the library's is, for deadlines on both sides of its borders. */
enum { TICK = 16384 };

static inline uint64_t timer_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline rt_timer timer_at(rt_runtime rt, uint64_t at) {
    rt_timer timer = 0;
    CHECK_EQ(rt_timer_start(rt, at, &timer), 0);
    CHECK(timer != 0);
    return timer;
}

static inline rt_timer timer_every(rt_runtime rt, uint64_t first, uint64_t period, uint32_t missed) {
    rt_timer timer = 0;
    CHECK_EQ(rt_timer_interval(rt, first, period, missed, &timer), 0);
    CHECK(timer != 0);
    return timer;
}

static inline uint64_t live_timers(rt_runtime rt) { return metrics(rt).timers_live; }

/* The usual end: whoever made timers ended them. */
static inline void timer_runtime_free(rt_runtime rt) {
    settle(rt);
    CHECK_EQ(live_timers(rt), 0);
    CHECK_EQ(rt_free(rt), 0);
}

/* A coroutine as the only task of a runtime of its own. */
static inline void timer_play(rt_poll_fn body, void *state) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, state), 0);
    timer_runtime_free(rt);
}

/* Keeps this thread busy until the time. */
static inline void spin_until(uint64_t at) {
    while (rt_now() < at) {}
}

#endif
