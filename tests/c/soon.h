/* Waits with a limit, for tests of what once hung: they say so soon, and not when the runner gives
 * up. The limits are far beyond what a busy machine needs.
 */
#ifndef ASYNCIO_TESTS_SOON_H
#define ASYNCIO_TESTS_SOON_H

#include "check.h"

#include <time.h>

enum { SOON = 15 }; /* seconds */

static const uint64_t soon_ns = SOON * UINT64_C(1000000000);

/* The rest of the program must end in time, or the case that goes on is named as stuck. It is a whole program: of
 * a processor that four others want it gets a fifth. */
static inline void must_end_soon(void) {
    signal(SIGALRM, test_on_sigterm);
    alarm(4 * SOON);
}

/* Whether the gate let us through within so many nanoseconds. */
static inline bool gate_wait_for(gate *g, uint64_t ns) {
    struct timespec until;
    CHECK_SYS(clock_gettime(CLOCK_REALTIME, &until));
    uint64_t nsec = (uint64_t)until.tv_nsec + ns;
    until.tv_sec += (time_t)(nsec / 1000000000);
    until.tv_nsec = (long)(nsec % 1000000000);
    int r;
    do r = sem_timedwait(&g->sem, &until);
    while (r == -1 && errno == EINTR);
    if (r == -1 && errno == ETIMEDOUT) return false;
    CHECK_SYS(r);
    return true;
}

/* A macro, so that a failure names the caller's line. */
#define gate_wait_soon(g) CHECK(gate_wait_for((g), soon_ns))

/* The task must end in time. Drives a current-thread runtime. */
static inline int64_t join_soon(rt_task task) {
    int64_t result = RT_PENDING;
    CHECK_EQ(rt_join(task, soon_ns, &result), 0);
    return result;
}

static inline int64_t return_zero(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

#endif
