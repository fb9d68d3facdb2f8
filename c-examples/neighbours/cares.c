#include <errno.h>
#include <sys/time.h>

#include "cares.h"

/* When c-ares wants to be called if no answer comes. It says so only when it is asked. */
void cares_asked(struct cares_loop *l) {
    struct timeval in;
    if (ares_timeout(l->channel, NULL, &in) == NULL) {
        rt_watch_at(l->timer, RT_NEVER);
        return;
    }
    uint64_t us = (uint64_t)in.tv_sec * 1000000 + (uint64_t)in.tv_usec;
    rt_watch_at(l->timer, rt_now() + us * 1000);
}

/* An error is read, or written, to be found. */
static void on_socket(void *arg, int fd, uint32_t ready) {
    struct cares_loop *l = arg;
    const uint32_t readable = RT_READABLE | RT_READ_CLOSED | RT_ERROR;
    const uint32_t writable = RT_WRITABLE | RT_WRITE_CLOSED | RT_ERROR;
    ares_process_fd(l->channel, ready & readable ? fd : ARES_SOCKET_BAD,
                    ready & writable ? fd : ARES_SOCKET_BAD);
    cares_asked(l);
}

static void on_time(void *arg, int fd, uint32_t ready) {
    struct cares_loop *l = arg;
    (void)fd, (void)ready;
    ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    cares_asked(l);
}

/* c-ares says what it wants of a socket, at any moment, and 0, 0 before it closes it. A socket that
 * cannot be watched is not heard, and its query ends by its time. */
static void want(void *arg, ares_socket_t fd, int readable, int writable) {
    struct cares_loop *l = arg;
    int at = 0, free_place = CARES_SOCKETS;
    for (; at < CARES_SOCKETS && (l->sockets[at].watch == 0 || l->sockets[at].fd != fd); at++)
        if (l->sockets[at].watch == 0 && free_place == CARES_SOCKETS) free_place = at;
    if (!readable && !writable) {
        if (at == CARES_SOCKETS) return;
        rt_watch_close(l->sockets[at].watch);
        l->sockets[at].watch = 0;
        return;
    }
    if (at == CARES_SOCKETS) {
        if ((at = free_place) == CARES_SOCKETS) return;
        l->sockets[at].fd = fd;
        if (rt_watch_open(l->rt, l->near, fd, on_socket, l, NULL, &l->sockets[at].watch) < 0)
            return;
    }
    rt_watch_for(l->sockets[at].watch, (readable ? RT_READABLE : 0) | (writable ? RT_WRITABLE : 0));
}

int64_t cares_open(rt_runtime rt, rt_task near, struct ares_options *options, int mask,
                   struct cares_loop *l) {
    l->rt = rt, l->near = near;
    options->sock_state_cb = want, options->sock_state_cb_data = l;
    int64_t r = rt_watch_open(rt, near, -1, on_time, l, NULL, &l->timer);
    if (r < 0) return r;
    int status = ares_init_options(&l->channel, options, mask | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS) return 0;
    cares_close(l);
    return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

void cares_close(struct cares_loop *l) {
    if (l->channel != NULL) ares_destroy(l->channel);
    rt_watch_close(l->timer);
    l->channel = NULL, l->timer = 0;
}
