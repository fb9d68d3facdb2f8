/* What the echo servers on libevent have in common: what ends a connection, and a loop that ends on SIGTERM. */
#ifndef BENCH_EVENT_PEER_H
#define BENCH_EVENT_PEER_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "peer.h"

static inline void on_event(struct bufferevent *b, short what, void *arg) {
    (void)what, (void)arg;
    bufferevent_free(b);
}

static inline void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)number, (void)what;
    event_base_loopbreak(arg);
}

/* Until SIGTERM. */
static inline void serve(struct event_base *base, int fd, evconnlistener_cb on_connection) {
    struct event *signal = evsignal_new(base, SIGTERM, on_signal, base);
    struct evconnlistener *listener =
        evconnlistener_new(base, on_connection, base, LEV_OPT_CLOSE_ON_FREE, 0, fd);
    if (signal == NULL || listener == NULL || event_add(signal, NULL) < 0)
        die("event_base", "no listener");
    event_base_dispatch(base);
    evconnlistener_free(listener);
    event_free(signal);
    event_base_free(base);
}

#endif
