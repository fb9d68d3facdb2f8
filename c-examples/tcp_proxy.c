/* A TCP proxy: what comes to it goes to one other address, and back, and never through its memory.
 *
 * It shows
 *   - splice(2) both ways by rt_poll_try, which makes any call that does not block awaitable;
 *   - two coroutines of one task, each with an end of its own: either side may finish while the
 *     other goes on;
 *   - back pressure: a side is read from only when the other has taken what came before;
 *   - ends that are told apart: a finished stream is passed on as that, a broken one as a reset;
 *   - a server with limits, a deadline for idle connections, and an end that lets them finish.
 *
 * Usage: tcp_proxy --to HOST:PORT [--port P] [--max N] [--idle SECONDS] [--connect MS]
 *                  [--grace SECONDS] [--engine auto|epoll|uring] [--workers N]
 *
 *   --port     on 127.0.0.1; 0, the default: the kernel picks one. The output says which.
 *   --max      how many connections at once; more wait in the backlog. Default: as many as there
 *              may be descriptors for.
 *   --idle     a connection over which nothing went for so long is cut. 0, the default: none is.
 *   --connect  how many milliseconds the other side may take to answer. Default: 10000.
 *   --grace    after SIGTERM or SIGINT those who are here may finish for so long. Default: 5.
 *   --workers  threads; 0: everything runs on the main one. Default: as many as there are CPUs.
 *
 * Try it: build/c-examples/tcp_proxy --port 7000 --to example.com:80 and curl 127.0.0.1:7000
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asyncio_await.h>

#include "options.h"

#define SECOND UINT64_C(1000000000)
enum {
    CHUNK = 64 * 1024, /* as much as a pipe holds */
    SPARE_PIPES = 64,  /* that are kept for the next who needs one */
    OTHER_FDS = 64     /* beside the workers', the spare pipes' and the connections' */
};

struct pipe {
    struct pipe *next;
    int out, in;
};

/* One direction. It has a pipe only while something is on its way: so an idle connection costs no
 * more than its sockets. */
struct flow {
    rt_frame frame;
    rt_io from, to;
    struct pipe *pipe;
    size_t held; /* bytes in the pipe */
    uint64_t bytes;
    int64_t n, result;
    bool over;
};

struct conn {
    rt_io client, upstream;
    rt_op connecting;
    rt_frame frame;
    int64_t r;
    struct flow flows[2]; /* there, and back */
    bool finished;        /* both streams came to their ends */
};

static struct {
    rt_config config;
    char host[256];
    uint32_t to, port, max, idle, connect_ms, grace;
    rt_runtime rt;
    rt_server server;
    rt_signal signals[2];
    atomic_uint_fast64_t bytes[2], unreachable, broken;

    pthread_mutex_t lock; /* of the spare pipes */
    struct pipe *spare;
    size_t spares;

    rt_frame frame; /* of the main coroutine */
    int which;
    int64_t r;
    uint64_t until;
} proxy = {.max = UINT32_MAX, .connect_ms = 10000, .grace = 5, .lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- pipes ---- */

static int64_t get_pipe(struct pipe **out) {
    int fds[2];
    pthread_mutex_lock(&proxy.lock);
    struct pipe *p = proxy.spare;
    if (p != NULL) proxy.spare = p->next, proxy.spares--;
    pthread_mutex_unlock(&proxy.lock);
    if (p == NULL) {
        if ((p = malloc(sizeof *p)) == NULL) return -ENOMEM;
        if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
            int64_t r = -errno;
            return free(p), r;
        }
        p->out = fds[0], p->in = fds[1];
    }
    return *out = p, 0;
}

static void close_pipe(struct pipe *p) {
    close(p->out);
    close(p->in);
    free(p);
}

/* Takes an empty one back. */
static void put_pipe(struct pipe *p) {
    pthread_mutex_lock(&proxy.lock);
    bool keep = proxy.spares < SPARE_PIPES;
    if (keep) p->next = proxy.spare, proxy.spare = p, proxy.spares++;
    pthread_mutex_unlock(&proxy.lock);
    if (!keep) close_pipe(p);
}

/* ---- a direction ---- */

/* The pipe is empty, so that -EAGAIN speaks of the socket; and then it is for others to use.
 *
 * Unless an urgent byte is next: splice(2) never passes one, and says EAGAIN before it for ever, or
 * that the stream is over. recv(2) leaves it out, and brings the byte behind it. */
static int64_t take(int fd, void *arg) {
    struct flow *f = arg;
    int64_t r = f->pipe == NULL ? get_pipe(&f->pipe) : 0;
    if (r < 0) return r;
    ssize_t n = splice(fd, NULL, f->pipe->in, NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) return n;
    if (n == 0 || errno == EAGAIN) {
        char byte;
        n = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (n > 0) return write(f->pipe->in, &byte, 1) == 1 ? 1 : -EIO;
    }
    r = n < 0 ? -errno : 0;
    put_pipe(f->pipe);
    f->pipe = NULL;
    return r;
}

static int64_t give(int fd, void *arg) {
    struct flow *f = arg;
    ssize_t n = splice(f->pipe->out, NULL, fd, NULL, f->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return n < 0 ? -errno : n;
}

/* Not by rt_submit_splice: the kernel gives a ring's splices to threads, as they may block. Here a
 * call is made when it will not.
 *
 * Returns 0 at the end of the stream, which is passed on. With something still held it was the
 * giving that failed, else the taking. */
static int64_t pump(rt_cx *cx, struct flow *f) {
    RT_BEGIN(&f->frame);
    for (;;) {
        RT_AWAIT(f->n, rt_poll_try(cx, f->from, RT_READABLE, take, f));
        if (f->n < 0) RT_RETURN(f->n);
        if (f->n == 0) break;
        for (f->held = (size_t)f->n; f->held > 0; f->held -= (size_t)f->n) {
            RT_AWAIT(f->n, rt_poll_try(cx, f->to, RT_WRITABLE, give, f));
            if (f->n < 0) RT_RETURN(f->n);
            f->bytes += (uint64_t)f->n;
        }
    }
    /* A peer that went meanwhile is the other direction's to see. */
    shutdown((int)rt_io_fd(f->to), SHUT_WR);
    RT_END(0);
}

/* Both directions at once: a poll goes on with each that has not ended.
 *
 * From a side that broke nothing more will come, and nothing can be sent to it. One that only takes
 * no more may have said why, as a server does that refuses a long request in the middle: what it
 * said is delivered, up to its end. */
static int64_t relay(rt_cx *cx, struct conn *c) {
    for (int i = 0; i < 2; i++) {
        struct flow *f = &c->flows[i];
        if (f->over) continue;
        f->result = pump(cx, f);
        f->over = f->result != RT_PENDING;
        if (f->over && f->result < 0 && f->held == 0) return f->result;
    }
    if (!c->flows[0].over || !c->flows[1].over) return RT_PENDING;
    return c->flows[0].result < 0 ? c->flows[0].result : c->flows[1].result;
}

/* ---- a connection ---- */

/* Only the first poll's options count. */
static int64_t connect_upstream(rt_cx *cx, struct conn *c) {
    const rt_tcp_opts opts = {.size = sizeof opts,
                              .deadline = rt_now() + proxy.connect_ms * UINT64_C(1000000)};
    return rt_poll_tcp_connect(cx, &c->connecting, proxy.host, (uint16_t)proxy.to, &opts,
                               &c->upstream);
}

static int64_t serve_one(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    RT_AWAIT(c->r, connect_upstream(cx, c));
    if (c->r < 0) {
        atomic_fetch_add(&proxy.unreachable, 1);
        RT_RETURN(c->r);
    }
    c->flows[0].from = c->flows[1].to = c->client;
    c->flows[0].to = c->flows[1].from = c->upstream;
    RT_AWAIT(c->r, relay(cx, c));
    c->finished = c->r == 0;
    RT_END(c->r);
}

/* The one place where a connection ends: it finished, broke, or was cut. What is not whole must not
 * look as if it were, so that both sides are told by a reset. */
static void drop_conn(void *state) {
    const struct linger reset = {.l_onoff = 1};
    struct conn *c = state;
    if (c->upstream != 0 && !c->finished) {
        atomic_fetch_add(&proxy.broken, 1);
        setsockopt((int)rt_io_fd(c->client), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        setsockopt((int)rt_io_fd(c->upstream), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    rt_close(c->client);
    rt_close(c->upstream);
    for (int i = 0; i < 2; i++) {
        atomic_fetch_add(&proxy.bytes[i], c->flows[i].bytes);
        if (c->flows[i].pipe != NULL) close_pipe(c->flows[i].pipe);
    }
    free(c);
}

static int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    (void)arg;
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) return -ENOMEM;
    c->client = io;
    task->poll = serve_one, task->state = c, task->drop = drop_conn;
    return 0;
}

/* ---- the server ---- */

static int64_t run(rt_cx *cx, void *frame) {
    RT_BEGIN(frame);
    RT_SELECT2(proxy.which, proxy.r, rt_poll_signal(cx, proxy.signals[0]),
               rt_poll_signal(cx, proxy.signals[1]));
    if (proxy.r < 0) RT_RETURN(proxy.r);
    proxy.until = rt_now() + proxy.grace * SECOND;
    RT_AWAIT(proxy.r, rt_poll_drain(cx, proxy.server, proxy.until));
    RT_END(proxy.r);
}

/* Two sockets and two pipes a connection at most, each of two ends: nobody is let in for whom there
 * might be no descriptors later. */
static uint64_t connections_possible(void) {
    rt_metrics_data metrics = {.size = sizeof metrics};
    struct rlimit limit;
    rt_metrics(proxy.rt, &metrics);
    raise_descriptor_limit();
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return 1;
    const uint64_t others = OTHER_FDS + 2 * SPARE_PIPES + 5 * (uint64_t)metrics.workers;
    return limit.rlim_cur < others + 6 ? 1 : (limit.rlim_cur - others) / 6;
}

/* What a failure leaves open goes with the runtime. */
static int64_t open_proxy(char *text, size_t len) {
    rt_serve_opts opts = {.size = sizeof opts, .idle_ns = proxy.idle * SECOND};
    rt_io listener = 0;
    rt_addr name;
    int64_t r = rt_new(&proxy.config, &proxy.rt, text, len);
    if (r >= 0) opts.max_connections = connections_possible();
    if (proxy.max < opts.max_connections) opts.max_connections = proxy.max;
    if (r >= 0) r = rt_signal_open(proxy.rt, SIGTERM, &proxy.signals[0]);
    if (r >= 0) r = rt_signal_open(proxy.rt, SIGINT, &proxy.signals[1]);
    if (r >= 0) r = rt_tcp_listen(proxy.rt, "127.0.0.1", (uint16_t)proxy.port, NULL, &listener);
    if (r >= 0) r = rt_local_addr(listener, &name);
    if (r >= 0) r = rt_serve(proxy.rt, listener, &opts, on_connection, NULL, &proxy.server);
    if (r >= 0) rt_describe(proxy.rt, text, len);
    if (r >= 0) printf("listening on 127.0.0.1:%d (%s)\n", (int)rt_addr_port(&name), text);
    return r;
}

/* HOST:PORT, where a HOST with colons stands [in brackets]. */
static bool parse_target(const char *text) {
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !parse_number(colon + 1, 1, UINT16_MAX, &proxy.to)) return false;
    size_t len = (size_t)(colon - text);
    if (len > 1 && text[0] == '[' && text[len - 1] == ']') text++, len -= 2;
    if (len == 0 || len >= sizeof proxy.host) return false;
    memcpy(proxy.host, text, len);
    proxy.host[len] = '\0';
    return true;
}

static bool option(const char *name, const char *value) {
    if (strcmp(name, "--to") == 0) return parse_target(value);
    if (strcmp(name, "--port") == 0) return parse_number(value, 0, UINT16_MAX, &proxy.port);
    if (strcmp(name, "--max") == 0) return parse_number(value, 1, UINT32_MAX, &proxy.max);
    if (strcmp(name, "--idle") == 0) return parse_number(value, 0, UINT16_MAX, &proxy.idle);
    if (strcmp(name, "--connect") == 0) return parse_number(value, 1, A_DAY, &proxy.connect_ms);
    if (strcmp(name, "--grace") == 0) return parse_number(value, 0, UINT16_MAX, &proxy.grace);
    return parse_common(&proxy.config, name, value);
}

int main(int argc, char **argv) {
    rt_server_stats_data stats = {.size = sizeof stats};
    char text[256] = "";
    rt_config_init(&proxy.config, sizeof proxy.config);
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !option(argv[i], argv[i + 1]))
            return fprintf(stderr, "%s: not like that; see the top of its source\n", argv[i]), 2;
    if (proxy.host[0] == '\0') return fprintf(stderr, "tcp_proxy: --to HOST:PORT is missing\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN); /* splice knows no MSG_NOSIGNAL */

    int64_t r = open_proxy(text, sizeof text);
    if (r >= 0) r = rt_block_on(proxy.rt, run, &proxy.frame);
    if (r < 0) fprintf(stderr, "tcp_proxy: %s %s\n", rt_strerror(r), text);
    rt_server_stats(proxy.server, &stats);
    rt_server_free(proxy.server);
    rt_free(proxy.rt);
    for (int i = 0; i < 2; i++) rt_signal_close(proxy.signals[i]);
    for (struct pipe *p; (p = proxy.spare) != NULL; close_pipe(p)) proxy.spare = p->next;
    if (r < 0) return 1;
    printf("served %" PRIu64 ", unreachable %" PRIu64 ", broken %" PRIu64 ", %" PRIu64
           " bytes there, %" PRIu64 " back\n",
           stats.accepted, (uint64_t)proxy.unreachable, (uint64_t)proxy.broken,
           (uint64_t)proxy.bytes[0], (uint64_t)proxy.bytes[1]);
    return 0;
}
