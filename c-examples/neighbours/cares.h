/* c-ares in this loop: names are looked up without a thread.
 *
 * All calls are made on the worker of `near`, a pinned task. */
#ifndef CARES_LOOP_H
#define CARES_LOOP_H

#include <ares.h>

#include <asyncio.h>

enum { CARES_SOCKETS = 64 }; /* at once: one or two for each name server */

struct cares_loop {
    rt_runtime rt;
    rt_task near;
    ares_channel channel;
    rt_watch timer;
    struct {
        int fd;
        rt_watch watch; /* 0: the place is free */
    } sockets[CARES_SOCKETS];
};

/* `options` and `mask` are as for ares_init_options. 0; -EINVAL, -ENOMEM and others. */
int64_t cares_open(rt_runtime rt, rt_task near, struct ares_options *options, int mask,
                   struct cares_loop *l);

/* Calls back all who wait, with ARES_EDESTRUCTION. Good for a zeroed loop, too. */
void cares_close(struct cares_loop *l);

/* To be called after whatever was asked of the channel: the times are new then. */
void cares_asked(struct cares_loop *l);

#endif
