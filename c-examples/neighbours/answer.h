/* The way back out of somebody else's library: its callback gives an answer, and a coroutine awaits
 * it. Both are on one worker: that of the library's watches.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>

#include <asyncio.h>

/* Zero at first. */
struct answer {
    bool given;
    int64_t result;
    rt_waker waiter;
};

void answer_give(struct answer *a, int64_t result);

/* Awaitable: the result. One task waits. */
int64_t answer_poll(rt_cx *cx, struct answer *a);

/* Nobody waits any more. */
void answer_drop(struct answer *a);

#endif
