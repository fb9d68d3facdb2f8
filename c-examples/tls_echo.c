/* A TLS echo server: OpenSSL inside of tasks.
 *
 * It shows
 *   - a library that makes the system calls itself, on a descriptor that does not block, and says
 *     what it waits for: rt_poll_try waits for that, and calls it again;
 *   - handshakes on the library's threads. Their mathematics would keep the worker's other tasks
 *     waiting: with an RSA key of 4096 bits for some milliseconds each, with a P-256 key for a
 *     tenth of one. Afterwards a record costs microseconds, and is done in place;
 *   - one deadline over a handshake, whoever holds it up;
 *   - close_notify: a stream that ends without one was cut, and counts as broken; ours goes out
 *     also when the server is asked to end.
 *
 * Usage: tls_echo --cert FILE --key FILE [--port P] [--handshake MS] [--idle SECONDS]
 *                 [--grace SECONDS] [--engine auto|epoll|uring] [--workers N]
 *
 *   --cert       the certificate and those that vouch for it, as PEM.
 *   --port       on 127.0.0.1; 0, the default: the kernel picks one. The output says which.
 *   --handshake  how many milliseconds a client has for it. Default: 10000.
 *   --idle       a connection over which nothing went for so long is cut. 0, the default: none is.
 *   --grace      after SIGTERM or SIGINT those who are here may finish for so long. Default: 5.
 *   --workers    threads; 0: everything runs on the main one. Default: as many as there are CPUs.
 *
 * Try it: openssl req -x509 -newkey rsa:4096 -nodes -subj /CN=me -keyout key.pem -out cert.pem
 *         build/c-examples/tls_echo --port 7000 --cert cert.pem --key key.pem
 *         openssl s_client -connect 127.0.0.1:7000
 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <asyncio_await.h>

#include "options.h"

#define SECOND UINT64_C(1000000000)
#define GOODBYE SECOND /* for a peer to take what we said last */
enum { RECORD = 16 * 1024, OTHER_WAY = -EALREADY };
enum { UNREAD = 1024 * 1024 }; /* bytes that a peer may go on sending meanwhile */

struct conn {
    rt_io io;
    SSL *ssl;
    rt_frame frame, handshake_frame, echo_frame, goodbye_frame;
    rt_timer timer;
    uint64_t until;
    uint32_t wants; /* RT_READABLE or RT_WRITABLE: what OpenSSL waits for */
    rt_ready seen;
    rt_op step;
    int64_t n, r, which;
    size_t len, off;
    unsigned char buf[RECORD];
};

static struct {
    rt_config config;
    const char *cert, *key;
    uint32_t port, handshake_ms, idle, grace;
    SSL_CTX *ctx;
    rt_runtime rt;
    rt_server server;
    rt_signal signals[2];
    atomic_uint_fast64_t bytes, strangers, broken;

    rt_frame frame; /* of the main coroutine */
    int which;
    int64_t r;
    uint64_t until;
} tls = {.handshake_ms = 10000, .grace = 5};

/* ---- OpenSSL's calls, as attempts ---- */

/* What a call said: its result; -EAGAIN, for more of what it was called for; OTHER_WAY, for the
 * other direction, which `wants` has then. Errors of before must not be taken for this call's: the
 * queue is the thread's, and the thread had other tasks. */
static int64_t outcome(struct conn *c, int result) {
    const uint32_t wanted = c->wants;
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_NONE: return result;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_WANT_READ: c->wants = RT_READABLE; break;
    case SSL_ERROR_WANT_WRITE: c->wants = RT_WRITABLE; break;
    case SSL_ERROR_SYSCALL: return errno != 0 ? -errno : -ECONNRESET;
    default: return -EPROTO;
    }
    return c->wants == wanted ? -EAGAIN : OTHER_WAY;
}

static int64_t do_accept(void *arg) {
    struct conn *c = arg;
    ERR_clear_error();
    return outcome(c, SSL_accept(c->ssl));
}

static int64_t do_read(int fd, void *arg) {
    struct conn *c = arg;
    (void)fd;
    ERR_clear_error();
    return outcome(c, SSL_read(c->ssl, c->buf, sizeof c->buf));
}

static int64_t do_write(int fd, void *arg) {
    struct conn *c = arg;
    (void)fd;
    ERR_clear_error();
    return outcome(c, SSL_write(c->ssl, c->buf + c->off, (int)(c->len - c->off)));
}

/* 0 after the first call means that ours went out and theirs did not come: that is all we want. */
static int64_t do_shutdown(int fd, void *arg) {
    struct conn *c = arg;
    (void)fd;
    ERR_clear_error();
    int r = SSL_shutdown(c->ssl);
    return r >= 0 ? 0 : outcome(c, r);
}

/* Awaitable. A call that begins waits for its own direction; readiness that was seen stays until
 * OpenSSL has read everything, so that records which it holds already are not waited for. */
static int64_t poll_tls(rt_cx *cx, struct conn *c, rt_attempt_fn attempt) {
    int64_t r;
    do r = rt_poll_try(cx, c->io, c->wants, attempt, c);
    while (r == OTHER_WAY);
    return r;
}

/* ---- a connection ---- */

/* A step is an operation: should the deadline or an abort come meanwhile, then the drop function,
 * which frees what the step works with, runs after it. */
static int64_t handshake(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->handshake_frame);
    for (c->wants = RT_READABLE;;) {
        RT_AWAIT(c->r, rt_poll_ready(cx, c->io, c->wants, &c->seen));
        if (c->r < 0) RT_RETURN(c->r);
        RT_AWAIT_OP(c->r, cx, c->step, rt_submit_call(cx, do_accept, c, &c->step));
        if (c->r == -EAGAIN) rt_clear_ready(c->io, c->seen);
        else if (c->r != OTHER_WAY) RT_RETURN(c->r);
    }
    RT_END(0);
}

/* Returns 0 at the peer's close_notify, and when the server is asked to end between two records. */
static int64_t echo(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->echo_frame);
    for (;;) {
        c->wants = RT_READABLE;
        RT_SELECT2(c->which, c->n, poll_tls(cx, c, do_read), rt_poll_draining(cx, tls.server));
        if (c->n <= 0) RT_RETURN(c->n);
        c->wants = RT_WRITABLE;
        for (c->len = (size_t)c->n, c->off = 0; c->off < c->len; c->off += (size_t)c->n) {
            RT_AWAIT(c->n, poll_tls(cx, c, do_write));
            if (c->n <= 0) RT_RETURN(c->n < 0 ? c->n : -EPIPE);
        }
        atomic_fetch_add(&tls.bytes, c->len);
    }
    RT_END(0);
}

/* Says the end, and waits for the peer's, so that it hears all of it. */
static int64_t goodbye(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->goodbye_frame);
    c->wants = RT_WRITABLE;
    RT_AWAIT(c->n, poll_tls(cx, c, do_shutdown));
    if (c->n < 0) RT_RETURN(c->n);
    c->len = UNREAD;
    RT_AWAIT(c->n, rt_poll_linger(cx, c->io, &c->len));
    RT_END(c->n);
}

static int64_t serve_one(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    c->until = rt_now() + tls.handshake_ms * UINT64_C(1000000);
    RT_AWAIT(c->n, rt_poll_deadline(cx, &c->timer, c->until, handshake(cx, c)));
    if (c->n < 0) {
        atomic_fetch_add(&tls.strangers, 1);
        RT_RETURN(c->n);
    }
    RT_AWAIT(c->n, echo(cx, c));
    if (c->n < 0) {
        atomic_fetch_add(&tls.broken, 1);
        RT_RETURN(c->n);
    }
    c->until = rt_now() + GOODBYE;
    RT_AWAIT(c->n, rt_poll_deadline(cx, &c->timer, c->until, goodbye(cx, c)));
    RT_END(0);
}

static void drop_conn(void *state) {
    struct conn *c = state;
    rt_timer_cancel(c->timer);
    SSL_free(c->ssl); /* the descriptor is not its own */
    rt_close(c->io);
    free(c);
}

static int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    (void)arg;
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) return -ENOMEM;
    c->ssl = SSL_new(tls.ctx);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, (int)rt_io_fd(io)) != 1)
        return SSL_free(c->ssl), free(c), -ENOMEM;
    c->io = io;
    task->poll = serve_one, task->state = c, task->drop = drop_conn;
    return 0;
}

/* ---- the server ---- */

static int64_t run(rt_cx *cx, void *frame) {
    RT_BEGIN(frame);
    RT_SELECT2(tls.which, tls.r, rt_poll_signal(cx, tls.signals[0]),
               rt_poll_signal(cx, tls.signals[1]));
    if (tls.r < 0) RT_RETURN(tls.r);
    tls.until = rt_now() + tls.grace * SECOND;
    RT_AWAIT(tls.r, rt_poll_drain(cx, tls.server, tls.until));
    RT_END(tls.r);
}

/* Buffers are held only while a record is on its way: an idle connection needs none. */
static int64_t open_tls(char *text, size_t len) {
    tls.ctx = SSL_CTX_new(TLS_server_method());
    if (tls.ctx == NULL) return -ENOMEM;
    SSL_CTX_set_min_proto_version(tls.ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(tls.ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls.ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(tls.ctx, tls.cert) == 1 &&
        SSL_CTX_use_PrivateKey_file(tls.ctx, tls.key, SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_check_private_key(tls.ctx) == 1)
        return 0;
    ERR_error_string_n(ERR_get_error(), text, len);
    return -EINVAL;
}

/* What a failure leaves open goes with the runtime. */
static int64_t open_server(char *text, size_t len) {
    const rt_serve_opts opts = {.size = sizeof opts, .idle_ns = tls.idle * SECOND};
    rt_io listener = 0;
    rt_addr name;
    /* Mathematics: more threads than CPUs would only take turns. */
    tls.config.blocking_threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    int64_t r = open_tls(text, len);
    if (r >= 0) r = rt_new(&tls.config, &tls.rt, text, len);
    if (r >= 0) r = rt_signal_open(tls.rt, SIGTERM, &tls.signals[0]);
    if (r >= 0) r = rt_signal_open(tls.rt, SIGINT, &tls.signals[1]);
    if (r >= 0) r = rt_tcp_listen(tls.rt, "127.0.0.1", (uint16_t)tls.port, NULL, &listener);
    if (r >= 0) r = rt_local_addr(listener, &name);
    if (r >= 0) r = rt_serve(tls.rt, listener, &opts, on_connection, NULL, &tls.server);
    if (r >= 0) rt_describe(tls.rt, text, len);
    if (r >= 0) printf("listening on 127.0.0.1:%d (%s)\n", (int)rt_addr_port(&name), text);
    return r;
}

static bool option(const char *name, const char *value) {
    if (strcmp(name, "--cert") == 0) return tls.cert = value, true;
    if (strcmp(name, "--key") == 0) return tls.key = value, true;
    if (strcmp(name, "--port") == 0) return parse_number(value, 0, UINT16_MAX, &tls.port);
    if (strcmp(name, "--handshake") == 0) return parse_number(value, 1, A_DAY, &tls.handshake_ms);
    if (strcmp(name, "--idle") == 0) return parse_number(value, 0, UINT16_MAX, &tls.idle);
    if (strcmp(name, "--grace") == 0) return parse_number(value, 0, UINT16_MAX, &tls.grace);
    return parse_common(&tls.config, name, value);
}

int main(int argc, char **argv) {
    rt_server_stats_data stats = {.size = sizeof stats};
    char text[256] = "";
    rt_config_init(&tls.config, sizeof tls.config);
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !option(argv[i], argv[i + 1]))
            return fprintf(stderr, "%s: not like that; see the top of its source\n", argv[i]), 2;
    if (tls.cert == NULL || tls.key == NULL)
        return fprintf(stderr, "tls_echo: --cert FILE and --key FILE are missing\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
    raise_descriptor_limit();

    int64_t r = open_server(text, sizeof text);
    if (r >= 0) r = rt_block_on(tls.rt, run, &tls.frame);
    if (r < 0) fprintf(stderr, "tls_echo: %s %s\n", rt_strerror(r), text);
    rt_server_stats(tls.server, &stats);
    rt_server_free(tls.server);
    rt_free(tls.rt);
    for (int i = 0; i < 2; i++) rt_signal_close(tls.signals[i]);
    SSL_CTX_free(tls.ctx);
    if (r < 0) return 1;
    printf("served %" PRIu64 ", strangers %" PRIu64 ", broken %" PRIu64 ", %" PRIu64 " bytes\n",
           stats.accepted, (uint64_t)tls.strangers, (uint64_t)tls.broken, (uint64_t)tls.bytes);
    return 0;
}
