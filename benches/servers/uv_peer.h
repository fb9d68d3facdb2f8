/* What the echo servers on libuv have in common: a loop that ends on SIGTERM, and a listening stream. */
#ifndef BENCH_UV_PEER_H
#define BENCH_UV_PEER_H

#include <uv.h>

#include "peer.h"

static inline void check(const char *what, int error) {
    if (error < 0) die(what, uv_strerror(error));
}

static inline void on_signal(uv_signal_t *signal, int number) {
    (void)number;
    uv_stop(signal->loop);
}

static inline void open_loop(uv_loop_t *loop, uv_signal_t *signal) {
    check("uv_loop_init", uv_loop_init(loop));
    check("uv_signal_init", uv_signal_init(loop, signal));
    check("uv_signal_start", uv_signal_start(signal, on_signal, SIGTERM));
}

/* Returns when SIGTERM came. */
static inline void serve_streams(int fd, uv_connection_cb on_connection) {
    uv_loop_t loop;
    uv_signal_t signal;
    uv_tcp_t listener;
    open_loop(&loop, &signal);
    check("uv_tcp_init", uv_tcp_init(&loop, &listener));
    check("uv_tcp_open", uv_tcp_open(&listener, fd));
    check("uv_listen", uv_listen((uv_stream_t *)&listener, SOMAXCONN, on_connection));
    uv_run(&loop, UV_RUN_DEFAULT);
}

#endif
