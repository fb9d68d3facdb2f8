/* hiredis in this loop: an asynchronous context whose events are a watch's. Times are the loop's:
 * rt_poll_deadline around an answer.
 *
 * All calls are made on the worker of `near`, a pinned task. */
#ifndef REDIS_LOOP_H
#define REDIS_LOOP_H

#include <hiredis/async.h>

#include <asyncio.h>

/* Attaches a context that was made by redisAsyncConnect and its kin, and not used yet. It is
 * hiredis' own: redisAsyncDisconnect and redisAsyncFree end it, and every error does.
 *
 * A context in use when the runtime is freed is to be freed by redisAsyncFree after that. */
int64_t redis_attach(rt_runtime rt, rt_task near, redisAsyncContext *context);

#endif
