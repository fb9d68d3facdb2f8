/* A TCP echo server: one task that accepts, and one for each connection.
 *
 * It shows the same server in four styles:
 *   await       reads top to bottom, with the macros of asyncio_await.h and the library's calls;
 *   pooled      the same with a buffer of the library's, which a connection has only while there
 *               is something in it;
 *   readiness   makes the system calls itself and tells the library what they said, as a program
 *               does whose read(2) and write(2) are buried in a protocol library;
 *   completion  asks once for all connections, and once for all that a connection receives: each
 *               comes in a buffer of the library's, which goes back to the peer without a copy.
 *
 * Usage: echo_server [--port P] [--engine auto|epoll|uring] [--workers N]
 *                    [--style await|pooled|readiness|completion] [--spin US]
 *
 *   --port     0, the default, lets the kernel pick one; the first line of output says which.
 *   --workers  threads; 0 runs everything on the main one. Default: as many as there are CPUs.
 *   --spin     for how many microseconds to look for work before sleeping; 0: not at all.
 *
 * Try it:
 *   build/c-examples/echo_server --port 7000
 *   nc 127.0.0.1 7000
 * and end it with Ctrl-C or SIGTERM: the last line of output says what it served.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asyncio_await.h>

#include "options.h"

enum {
    BUFFER = 16 * 1024,
    /* Of a connection, in bytes: with more unsent it waits until no more than the lesser is. */
    MUCH_UNSENT = 32 * 1024,
    LITTLE_UNSENT = 16 * 1024,
};

struct style {
    const char *name;
    rt_poll_fn accept, echo; /* the poll functions of the acceptor and of a connection */
    size_t buffer;           /* that a connection has of its own */
};

struct options {
    uint32_t port;
    rt_config config;
    const struct style *style;
};

struct server {
    rt_runtime rt;
    rt_io listener, signals;
    rt_task acceptor;
    const struct style *style;
    int spare;                  /* a descriptor to give up when there is no other left */
    uint64_t connections;       /* the acceptor's alone until the runtime is gone */
    atomic_uint_fast64_t bytes; /* of the connections that ended */

    /* of the acceptor's coroutine */
    rt_frame accept_frame;
    rt_op accepting;
    rt_io accepted;
    int64_t accept_result;

    /* of the main coroutine */
    rt_frame main_frame;
    int which;
    int64_t main_result, acceptor_result;
    struct signalfd_siginfo signal;
};

struct conn {
    /* what each message touches, next to each other: with a thousand connections that can be felt */
    rt_io io;
    rt_frame frame;
    int64_t n, m;
    uint64_t bytes;
    size_t off;
    rt_buf received; /* its lease is zero once the library has it back */
    rt_op receiving;
    size_t unsent; /* at most so much is */

    size_t len; /* of what was read and is not written yet, from `off` on */
    int fd;
    struct server *server;

    char buf[];
};

/* ---- a connection ---- */

/* The one place where a connection ends: when its task returned, and when it was aborted. */
static void drop_conn(void *state) {
    struct conn *c = state;
    atomic_fetch_add(&c->server->bytes, c->bytes);
    rt_buf_release(c->received.lease);
    rt_close(c->io);
    free(c);
}

static int64_t echo_await(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    for (;;) {
        RT_AWAIT(c->n, rt_poll_read(cx, c->io, c->buf, BUFFER));
        if (c->n <= 0) RT_RETURN(c->n);
        RT_AWAIT(c->m, rt_poll_write_all(cx, c->io, c->buf, (size_t)c->n, &c->off));
        if (c->m < 0) RT_RETURN(c->m);
        c->bytes += (uint64_t)c->m;
    }
    RT_END(0);
}

static int64_t echo_pooled(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    for (;;) {
        RT_AWAIT(c->n, rt_poll_read_buf(cx, c->io, &c->received));
        if (c->n <= 0) RT_RETURN(c->n);
        RT_AWAIT(c->m, rt_poll_write_all(cx, c->io, c->received.ptr, c->received.len, &c->off));
        if (c->m < 0) RT_RETURN(c->m);
        rt_buf_release(c->received.lease);
        c->received.lease = 0;
        c->bytes += (uint64_t)c->m;
    }
    RT_END(0);
}

/* What a system call said about a direction: go on, wait for an event, or an error.
 *
 * `seen` is what the library knew before the call. If there was an event since, clearing does
 * nothing, and the next rt_poll_ready is ready at once: no event is lost in between. */
static int64_t after_failure(struct conn *c, rt_ready seen) {
    if (errno == EINTR) return 0;
    if (errno == EAGAIN) return rt_clear_ready(c->io, seen);
    return -errno;
}

/* 1: something is in the buffer; 0: the peer has finished. */
static int64_t fill(rt_cx *cx, struct conn *c) {
    for (;;) {
        rt_ready seen;
        int64_t r = rt_poll_ready(cx, c->io, RT_READABLE, &seen);
        if (r < 0) return r; /* RT_PENDING, too */
        ssize_t n = read(c->fd, c->buf, BUFFER);
        if (n == 0) return 0;
        if (n < 0) {
            if ((r = after_failure(c, seen)) < 0) return r;
            continue;
        }
        /* Less than was asked for: the socket is empty now. That saves the read that says so. The
         * end of the stream is not forgotten, RT_READ_CLOSED outlasts a clear. (A read also stops at
         * an urgent mark: where peers send such data, and must not wait for the next event, clear
         * after EAGAIN only, as the library's own calls do then.) */
        if ((size_t)n < BUFFER) rt_clear_ready(c->io, seen);
        c->len = (size_t)n;
        c->off = 0;
        return 1;
    }
}

static int64_t flush(rt_cx *cx, struct conn *c) {
    while (c->off < c->len) {
        rt_ready seen;
        int64_t r = rt_poll_ready(cx, c->io, RT_WRITABLE, &seen);
        if (r < 0) return r;
        ssize_t n = send(c->fd, c->buf + c->off, c->len - c->off, MSG_NOSIGNAL);
        if (n >= 0) {
            c->off += (size_t)n;
            c->bytes += (uint64_t)n;
        } else if ((r = after_failure(c, seen)) < 0) {
            return r;
        }
    }
    return 0;
}

/* No frame: the buffer says where it was. */
static int64_t echo_readiness(rt_cx *cx, void *state) {
    struct conn *c = state;
    for (;;) {
        int64_t r = flush(cx, c);
        if (r < 0) return r;
        r = fill(cx, c);
        if (r <= 0) return r;
    }
}

/* Sends are queued, in order, and the task goes on receiving: it waits only while its peer leaves
 * much unread. What is unsent when a descriptor is closed gets lost, hence the flush at the end. */
static int64_t echo_completion(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    c->n = rt_submit_recv_multi(cx, c->io, &c->receiving);
    if (c->n < 0) RT_RETURN(c->n);
    for (;;) {
        RT_AWAIT(c->n, rt_poll_recv_next(cx, c->receiving, &c->received));
        if (c->n <= 0) break;
        c->m = rt_send_buf(c->io, &c->received);
        if (c->m < 0) RT_RETURN(c->m);
        c->received.lease = 0;
        c->bytes += (uint64_t)c->n;
        c->unsent += (size_t)c->n;
        if (c->unsent <= MUCH_UNSENT) continue;
        RT_AWAIT(c->m, rt_poll_flush(cx, c->io, LITTLE_UNSENT));
        if (c->m < 0) RT_RETURN(c->m);
        c->unsent = LITTLE_UNSENT;
    }
    RT_AWAIT(c->m, rt_poll_flush(cx, c->io, 0));
    RT_END(c->n < 0 ? c->n : c->m);
}

/* Takes `io`, whether it succeeds or not. */
static void start_conn(struct server *s, rt_io io) {
    struct conn *c = malloc(sizeof *c + s->style->buffer);
    if (c == NULL) {
        rt_close(io);
        return;
    }
    memset(c, 0, sizeof *c); /* the buffer's pages come with the first data */
    c->server = s;
    c->io = io;
    c->fd = (int)rt_io_fd(io);
    s->connections++;
    if (rt_spawn(s->rt, s->style->echo, c, drop_conn, NULL) < 0) drop_conn(c);
}

/* ---- accepting ---- */

/* The process or the system has run out of something, which others will give back. */
static bool is_shortage(int64_t r) {
    return r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM;
}

/* The library does not spin in a shortage: the call after the error waits until it may be over. */
static int64_t accept_await(rt_cx *cx, void *state) {
    struct server *s = state;
    RT_BEGIN(&s->accept_frame);
    for (;;) {
        RT_AWAIT(s->accept_result, rt_poll_accept(cx, s->listener, &s->accepted));
        if (s->accept_result == 0) start_conn(s, s->accepted);
        else if (!is_shortage(s->accept_result)) break;
    }
    RT_END(s->accept_result);
}

/* Out of descriptors, with a client in the queue: the spare one is used to say no. */
static bool refuse_one(struct server *s) {
    if (s->spare < 0) return false;
    close(s->spare);
    int fd = accept4((int)rt_io_fd(s->listener), NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
    s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static int64_t accept_readiness(rt_cx *cx, void *state) {
    struct server *s = state;
    for (;;) {
        rt_ready seen;
        int64_t r = rt_poll_ready(cx, s->listener, RT_READABLE, &seen);
        if (r < 0) return r;
        int fd = accept4((int)rt_io_fd(s->listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        const int error = errno;
        if (fd >= 0) {
            rt_io io;
            if (rt_register_fd(s->rt, fd, RT_READABLE | RT_WRITABLE, &io) == 0) start_conn(s, io);
            else close(fd);
        } else if (error == EAGAIN || (is_shortage(-error) && !refuse_one(s))) {
            /* The next client is an event, and reason enough to try again. */
            rt_clear_ready(s->listener, seen);
        } else if (error != EINTR && error != ECONNABORTED && !is_shortage(-error)) {
            return -error;
        }
    }
}

/* One submission for all that ever connect. Shortages do not end it. */
static int64_t accept_completion(rt_cx *cx, void *state) {
    struct server *s = state;
    RT_BEGIN(&s->accept_frame);
    s->accept_result = rt_submit_accept_multi(cx, s->listener, &s->accepting);
    if (s->accept_result < 0) RT_RETURN(s->accept_result);
    for (;;) {
        RT_AWAIT(s->accept_result, rt_poll_accept_next(cx, s->accepting, &s->accepted));
        if (s->accept_result == 0) start_conn(s, s->accepted);
        else if (!is_shortage(s->accept_result)) break;
    }
    RT_END(s->accept_result);
}

static const struct style styles[] = {
    {"await", accept_await, echo_await, BUFFER},
    {"pooled", accept_await, echo_pooled, 0},
    {"readiness", accept_readiness, echo_readiness, BUFFER},
    {"completion", accept_completion, echo_completion, 0},
};

/* ---- the server ---- */

/* Until somebody asks for the end, or the acceptor cannot go on. */
static int64_t serve(rt_cx *cx, void *state) {
    struct server *s = state;
    RT_BEGIN(&s->main_frame);
    RT_SELECT2(s->which, s->main_result,
               rt_poll_read(cx, s->signals, &s->signal, sizeof s->signal),
               rt_poll_join(cx, s->acceptor, &s->acceptor_result));
    if (s->main_result >= 0 && s->which == 1) s->main_result = s->acceptor_result;
    RT_END(s->main_result);
}

static int fail(const char *what, int64_t r) {
    fprintf(stderr, "echo_server: %s: %s\n", what, rt_strerror(r));
    return -1;
}

/* Gives `fd` to the runtime, or closes it. */
static int adopt(struct server *s, int fd, rt_io *out) {
    int64_t r = rt_register_fd(s->rt, fd, RT_READABLE, out);
    if (r == 0) return 0;
    close(fd);
    return fail("register", r);
}

static int open_runtime(struct server *s, const struct options *o) {
    char why[256] = "";
    int64_t r = rt_new(&o->config, &s->rt, why, sizeof why);
    return r == 0 ? 0 : fail(why, r);
}

static int open_listener(struct server *s, uint16_t *port) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons(*port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail("socket", -errno);
    /* Accepted sockets inherit TCP_NODELAY. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&name, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &len) < 0) {
        int error = errno;
        close(fd);
        return fail("listen", -error);
    }
    *port = ntohs(name.sin_port);
    return adopt(s, fd, &s->listener);
}

/* The signals were blocked before the runtime made its threads, which inherit that. */
static int open_signals(struct server *s, const sigset_t *set) {
    int fd = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? fail("signalfd", -errno) : adopt(s, fd, &s->signals);
}

static int open_server(struct server *s, const struct options *o) {
    uint16_t port = (uint16_t)o->port;
    char about[256];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);

    s->style = o->style;
    s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (s->spare < 0) return fail("/dev/null", -errno);
    if (open_runtime(s, o) < 0 || open_signals(s, &set) < 0 || open_listener(s, &port) < 0)
        return -1;
    int64_t r = rt_spawn(s->rt, s->style->accept, s, NULL, &s->acceptor);
    if (r < 0) return fail("spawn", r);

    rt_describe(s->rt, about, sizeof about);
    printf("listening on 127.0.0.1:%" PRIu16 " (%s)\n", port, about);
    fflush(stdout);
    return 0;
}

/* Works on a server that was opened half-way as well: handles that are 0 are nothing to release. */
static void close_server(struct server *s) {
    rt_free(s->rt); /* drops every connection, and closes the registered descriptors */
    if (s->spare >= 0) close(s->spare);
}

/* ---- the program ---- */

static bool parse_style(struct options *o, const char *value) {
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++) {
        if (strcmp(value, styles[i].name) != 0) continue;
        o->style = &styles[i];
        return true;
    }
    return false;
}

static bool parse_spin(struct options *o, const char *value) {
    uint32_t us;
    if (!parse_number(value, 0, 1000000, &us)) return false;
    o->config.spin_ns = us == 0 ? RT_SPIN_OFF : (uint64_t)us * 1000;
    return true;
}

static bool parse_option(struct options *o, const char *name, const char *value) {
    if (strcmp(name, "--port") == 0) return parse_number(value, 0, UINT16_MAX, &o->port);
    if (strcmp(name, "--style") == 0) return parse_style(o, value);
    if (strcmp(name, "--spin") == 0) return parse_spin(o, value);
    return parse_common(&o->config, name, value);
}

static bool parse(struct options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !parse_option(o, argv[i], argv[i + 1])) return false;
    return true;
}

int main(int argc, char **argv) {
    struct options o = {.style = &styles[0]};
    rt_config_init(&o.config, sizeof o.config);
    if (!parse(&o, argc, argv)) {
        fprintf(stderr, "usage: %s [--port P] " OPTIONS_USAGE
                        " [--style await|pooled|readiness|completion] [--spin US]\n", argv[0]);
        return 2;
    }
    raise_descriptor_limit();

    struct server s = {.spare = -1};
    int64_t r = open_server(&s, &o);
    if (r == 0) {
        r = rt_block_on(s.rt, serve, &s);
        if (r < 0) fail("serve", r);
    }
    close_server(&s);
    if (r >= 0)
        printf("served %" PRIu64 " connections, %" PRIu64 " bytes\n", s.connections,
               (uint64_t)atomic_load(&s.bytes));
    return r < 0 ? 1 : 0;
}
