#include <errno.h>
#include <stdlib.h>

#include "redis.h"

struct link {
    redisAsyncContext *context; /* NULL once hiredis is done with it */
    rt_watch watch;
    uint32_t interest;
    bool inside; /* of hiredis, by our call */
};

/* A call may be the context's last: then hiredis has called `clean_up`, which left us the link. */
static bool goes_on(struct link *l) {
    if (l->context != NULL) return true;
    rt_watch_close(l->watch);
    free(l);
    return false;
}

/* Errors are for hiredis to find, by the call that it waits for. */
static void on_socket(void *arg, int fd, uint32_t ready) {
    struct link *l = arg;
    (void)fd;
    l->inside = true;
    if (ready & (RT_READABLE | RT_READ_CLOSED | RT_ERROR) && l->interest & RT_READABLE) {
        redisAsyncHandleRead(l->context);
        if (!goes_on(l)) return;
    }
    if (ready & (RT_WRITABLE | RT_WRITE_CLOSED | RT_ERROR) && l->interest & RT_WRITABLE) {
        redisAsyncHandleWrite(l->context);
        if (!goes_on(l)) return;
    }
    l->inside = false;
}

static void want(struct link *l, uint32_t interest) {
    l->interest = interest;
    rt_watch_for(l->watch, interest);
}

static void add_read(void *arg) { want(arg, ((struct link *)arg)->interest | RT_READABLE); }
static void del_read(void *arg) { want(arg, ((struct link *)arg)->interest & ~RT_READABLE); }
static void add_write(void *arg) { want(arg, ((struct link *)arg)->interest | RT_WRITABLE); }
static void del_write(void *arg) { want(arg, ((struct link *)arg)->interest & ~RT_WRITABLE); }

/* hiredis closes the socket after this, and not before. */
static void clean_up(void *arg) {
    struct link *l = arg;
    l->context = NULL;
    if (!l->inside) goes_on(l);
    else rt_watch_close(l->watch), l->watch = 0;
}

int64_t redis_attach(rt_runtime rt, rt_task near, redisAsyncContext *context) {
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL) return -ENOMEM;
    l->context = context;
    int64_t r = rt_watch_open(rt, near, context->c.fd, on_socket, l, NULL, &l->watch);
    if (r < 0) return free(l), r;
    context->ev.data = l;
    context->ev.addRead = add_read, context->ev.delRead = del_read;
    context->ev.addWrite = add_write, context->ev.delWrite = del_write;
    context->ev.cleanup = clean_up;
    return 0;
}
