/* What an adapter for somebody else's library is made of: a watch, and an answer.
 *
 * A library that has callbacks and no threads wants one thing of a loop: "call me when this
 * descriptor is readable or writable, as I said last, or at this time". A watch is a task that does
 * so. It is pinned to the worker of another task, and so are all watches of one instance of a
 * library: what runs on one worker never runs at the same time, and the library needs no lock. Who
 * calls the library is a pinned task of that worker as well.
 *
 * An answer is the way back: the library's callback gives it, and a coroutine awaits it.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>

#include <asyncio.h>

struct watch;

/* `ready` is what is ready of what was asked for, and RT_ERROR; 0: the time has come. The function
 * may call everything, be it watch_close for its own watch. */
typedef void watch_fn(void *arg, int fd, uint32_t ready);

/* Watches `fd`, which may be -1 for a watch that has only a time. It stays the library's; it must
 * not be closed before watch_close. At first nothing is asked for. */
int64_t watch_open(rt_runtime rt, rt_task near, int fd, watch_fn *fn, void *arg,
                   struct watch **out);

/* For what to watch: RT_READABLE, RT_WRITABLE, both, or 0. Costs no system call. */
void watch_for(struct watch *w, uint32_t interest);

/* When to call the function, once, on the clock of rt_now; RT_NEVER takes it back. */
void watch_at(struct watch *w, uint64_t at);

/* From here on the function is not called any more, and the descriptor may be closed. NULL is no
 * watch, and nothing happens. Also good after the runtime was freed. */
void watch_close(struct watch *w);

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
