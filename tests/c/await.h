/* For the tests of the macros: awaitable calls that follow a script, and somebody who polls. The
 * macros themselves never look into a context, so without the library any pointer will do.
 */
#ifndef ASYNCIO_TESTS_AWAIT_H
#define ASYNCIO_TESTS_AWAIT_H

#include <asyncio_await.h>

#include "check.h"

/* Pending so many times, then ready with `result`; and the same again if it is called again. */
struct script {
    int pendings;
    int64_t result;
    int left, calls, done;
};

static inline struct script script(int pendings, int64_t result) {
    return (struct script){.pendings = pendings, .result = result, .left = pendings};
}

static inline int64_t play(struct script *s) {
    s->calls++;
    if (s->left-- > 0) return RT_PENDING;
    s->left = s->pendings;
    s->done++;
    return s->result;
}

static char no_task;
static rt_cx *const no_cx = (rt_cx *)&no_task;

/* Polls until it is ready; returns how often it was pending before. */
static inline int pendings_of(rt_poll_fn poll, void *state, int64_t *result) {
    for (int n = 0;; n++) {
        *result = poll(no_cx, state);
        if (*result != RT_PENDING) return n;
        CHECK(n < 1000000);
    }
}

#endif
