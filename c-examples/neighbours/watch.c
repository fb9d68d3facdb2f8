#include <errno.h>
#include <stdlib.h>

#include "watch.h"

struct watch {
    int fd;
    rt_io io;
    rt_task task;
    uint32_t interest;
    uint64_t at;
    rt_timer timer;
    watch_fn *fn;
    void *arg;
    bool inside, closed;
    int owners; /* who opened it, and its task: both on one worker, or one after the other */
};

static void let_go(struct watch *w) {
    if (--w->owners == 0) free(w);
}

/* Asks the kernel each time, since a library need not have read everything when it returns. */
static int64_t poll_watch(rt_cx *cx, void *state) {
    struct watch *w = state;
    while (!w->closed) {
        rt_ready ready = {0};
        int64_t r = RT_PENDING;
        if (w->interest != 0) r = rt_poll_level(cx, w->io, w->interest, &ready);
        if (r == RT_PENDING && w->at != RT_NEVER) {
            r = rt_poll_sleep(cx, &w->timer, w->at);
            if (r == 0) w->at = RT_NEVER;
        }
        if (r < 0) return r;
        w->inside = true;
        w->fn(w->arg, w->fd, ready.bits);
        w->inside = false;
    }
    return 0;
}

static void drop_watch(void *state) {
    struct watch *w = state;
    rt_timer_cancel(w->timer);
    let_go(w);
}

int64_t watch_open(rt_runtime rt, rt_task near, int fd, watch_fn *fn, void *arg,
                   struct watch **out) {
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL) return -ENOMEM;
    w->fd = fd, w->fn = fn, w->arg = arg, w->at = RT_NEVER, w->owners = 2;
    const rt_spawn_opts opts = {.size = sizeof opts,
                                .flags = RT_SPAWN_PINNED,
                                .poll = poll_watch,
                                .state = w,
                                .drop = drop_watch,
                                .near = near};
    int64_t r = 0;
    if (fd >= 0)
        r = rt_register_fd(rt, fd, RT_READABLE | RT_WRITABLE | RT_IO_BORROWED, &w->io);
    if (r >= 0 && (r = rt_spawn_with(rt, &opts, &w->task)) < 0) rt_deregister(w->io);
    if (r < 0) return free(w), r;
    rt_detach(w->task);
    return *out = w, 0;
}

/* Inside of its function the task looks again anyway. */
static void changed(struct watch *w) {
    if (!w->inside) rt_task_wake(w->task);
}

void watch_for(struct watch *w, uint32_t interest) {
    if (w->interest == interest) return;
    w->interest = interest;
    changed(w);
}

void watch_at(struct watch *w, uint64_t at) {
    if (w->at == at) return;
    w->at = at;
    changed(w);
}

void watch_close(struct watch *w) {
    if (w == NULL) return;
    w->closed = true;
    rt_deregister(w->io);
    rt_abort(w->task);
    let_go(w);
}

void answer_give(struct answer *a, int64_t result) {
    a->given = true;
    a->result = result;
    rt_waker_wake(&a->waiter); /* if there is one */
}

int64_t answer_poll(rt_cx *cx, struct answer *a) {
    if (a->given) return a->result;
    if (!rt_waker_will_wake(&a->waiter, rt_cx_waker(cx))) {
        rt_waker_drop(&a->waiter);
        rt_waker_clone(rt_cx_waker(cx), &a->waiter);
    }
    return RT_PENDING;
}

void answer_drop(struct answer *a) { rt_waker_drop(&a->waiter); }
