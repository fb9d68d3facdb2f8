/* An echo server on libev's watchers: libev says when, the system calls are ours. */
#include <ev.h>

#include "peer.h"

struct conn {
    ev_io io;
    struct unsent unsent;
};

static void on_event(struct ev_loop *loop, ev_io *io, int events) {
    struct conn *c = (struct conn *)io;
    (void)events;
    const int fd = io->fd;
    const enum next next = echo(fd, &c->unsent);
    const int wanted = next == AWAIT_ROOM ? EV_WRITE : EV_READ;
    if (next != END && io->events & wanted) return;
    ev_io_stop(loop, io);
    if (next == END) {
        close(fd);
        free(c->unsent.data);
        free(c);
    } else {
        ev_io_set(io, fd, wanted);
        ev_io_start(loop, io);
    }
}

static void start_conn(struct ev_loop *loop, int fd) {
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) die("calloc", strerror(errno));
    ev_io_init(&c->io, on_event, fd, EV_READ);
    ev_io_start(loop, &c->io);
}

static void on_listener(struct ev_loop *loop, ev_io *io, int events) {
    int fd;
    (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        start_conn(loop, fd);
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) die("accept", strerror(errno));
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int events) {
    (void)signal, (void)events;
    ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv) {
    ev_io listener;
    ev_signal signal;
    int fd = open_listener(argc, argv, "libev's watchers");
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    if (loop == NULL) die("ev_default_loop", "no epoll");
    ev_signal_init(&signal, on_signal, SIGTERM);
    ev_signal_start(loop, &signal);
    ev_io_init(&listener, on_listener, fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
