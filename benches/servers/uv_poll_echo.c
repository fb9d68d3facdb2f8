/* An echo server on libuv's poll handles: libuv says when, the system calls are ours. */
#include "uv_peer.h"

struct conn {
    uv_poll_t poll;
    int fd, events; /* what is waited for */
    struct unsent unsent;
};

static void on_close(uv_handle_t *handle) {
    struct conn *c = (struct conn *)handle;
    close(c->fd);
    free(c->unsent.data);
    free(c);
}

static void end(struct conn *c) { uv_close((uv_handle_t *)&c->poll, on_close); }

static void on_event(uv_poll_t *poll, int status, int events);

static void await(struct conn *c, int events) {
    if (c->events == events) return;
    c->events = events;
    if (uv_poll_start(&c->poll, events, on_event) < 0) end(c);
}

static void on_event(uv_poll_t *poll, int status, int events) {
    struct conn *c = (struct conn *)poll;
    (void)events;
    enum next next = status < 0 ? END : echo(c->fd, &c->unsent);
    if (next == END) end(c);
    else await(c, next == AWAIT_ROOM ? UV_WRITABLE : UV_READABLE);
}

static void start_conn(uv_loop_t *loop, int fd) {
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) die("calloc", strerror(errno));
    c->fd = fd;
    if (uv_poll_init(loop, &c->poll, fd) < 0) die("uv_poll_init", "no watcher");
    await(c, UV_READABLE);
}

static void on_listener(uv_poll_t *poll, int status, int events) {
    const int listener = *(int *)poll->data;
    int fd;
    (void)status, (void)events;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        start_conn(poll->loop, fd);
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) die("accept", strerror(errno));
}

int main(int argc, char **argv) {
    uv_loop_t loop;
    uv_poll_t listener;
    uv_signal_t signal;
    int fd = open_listener(argc, argv, "libuv's poll handles");
    open_loop(&loop, &signal);
    check("uv_poll_init", uv_poll_init(&loop, &listener, fd));
    listener.data = &fd;
    check("uv_poll_start", uv_poll_start(&listener, UV_READABLE, on_listener));
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
