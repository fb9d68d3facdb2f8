/* The peer resets the connection in the middle of a transfer: whoever waits for it, in whichever way,
 * is told -ECONNRESET (or -EPIPE where it sends once more), and never that the stream ended.
 */
#include "multi.h"
#include "serve.h"
#include "soon.h"

enum { SENT = 1000 };

enum way {
    BY_READINESS,
    BY_LEVEL,
    BY_READ,
    BY_OPERATION,
    BY_MESSAGE,
    BY_MULTISHOT,
    BY_STREAM,
    BY_LINE,
    READ_WAYS,
    BY_WRITE = READ_WAYS,
    BY_WRITE_ALL,
    BY_SEND_OPERATION,
    BY_VECTORS,
    BY_QUEUE,
    BY_BUFFERED,
    WAYS
};

/* A task that has got what was sent before, and waits for more: or has filled what there was room for,
 * and waits for room. */
struct waiting {
    rt_frame frame;
    enum way way;
    rt_io io;
    rt_op op;
    rt_stream stream;
    rt_buf lease;
    rt_ready ready;
    const void *line;
    struct iovec iov;
    struct msghdr msg;
    size_t have, len, off;
    int64_t r;
    atomic_bool waits;
    rt_task task;
    char data[1 << 16];
};

static bool is_reset(int64_t r) { return r == -ECONNRESET || r == -EPIPE; }

/* The wait of one way, as an expression of what was asked before. Negative: the end. */
static int64_t wait_on(rt_cx *cx, struct waiting *w) {
    int fd = (int)rt_io_fd(w->io);
    int64_t r;
    switch (w->way) {
    case BY_READINESS:
    case BY_LEVEL:
        for (;;) {
            r = w->way == BY_LEVEL ? rt_poll_level(cx, w->io, RT_READABLE, &w->ready)
                                   : rt_poll_ready(cx, w->io, RT_READABLE, &w->ready);
            if (r != 0) return r;
            ssize_t n = read(fd, w->data, sizeof w->data);
            if (n >= 0) return n;
            if (errno != EAGAIN) return -errno;
            if (w->way == BY_READINESS) CHECK_EQ(rt_clear_ready(w->io, w->ready), 0);
        }
    case BY_READ: return rt_poll_read(cx, w->io, w->data, sizeof w->data);
    case BY_STREAM: return rt_poll_stream_read(cx, w->stream, w->data, sizeof w->data);
    case BY_LINE:
        r = rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len);
        return r == 0 ? (int64_t)w->len : r;
    case BY_WRITE: return rt_poll_write(cx, w->io, w->data, sizeof w->data);
    case BY_WRITE_ALL:
        return rt_poll_write_all(cx, w->io, w->data, sizeof w->data, &w->off);
    case BY_BUFFERED: return rt_poll_stream_write(cx, w->stream, w->data, sizeof w->data);
    case BY_QUEUE:
        while ((r = rt_send(w->io, w->data, sizeof w->data)) > 0) continue;
        /* What broke the stream is the flush's to tell. */
        return r == -EAGAIN || r == -EPIPE ? rt_poll_flush(cx, w->io, 0) : r;
    case BY_MULTISHOT:
        if (w->op == 0) CHECK_EQ(rt_submit_recv_multi(cx, w->io, &w->op), 0);
        r = rt_poll_recv_next(cx, w->op, &w->lease);
        if (r > 0) CHECK_EQ(rt_buf_release(w->lease.lease), 0);
        return r;
    default: break;
    }
    w->iov = (struct iovec){w->data, sizeof w->data};
    w->msg = (struct msghdr){.msg_iov = &w->iov, .msg_iovlen = 1};
    if (w->op == 0) {
        switch (w->way) {
        case BY_OPERATION: r = rt_submit_recv(cx, w->io, w->data, SENT, 0, &w->op); break;
        case BY_MESSAGE: r = rt_submit_recvmsg(cx, w->io, &w->msg, 0, &w->op); break;
        case BY_SEND_OPERATION:
            r = rt_submit_send(cx, w->io, w->data, sizeof w->data, 0, &w->op);
            break;
        default: r = rt_submit_writev(cx, w->io, &w->iov, 1, RT_OFFSET_CURRENT, 0, &w->op);
        }
        if (r != 0) return r;
    }
    r = rt_poll_op(cx, w->op);
    if (r != RT_PENDING) w->op = 0;
    return r;
}

static int64_t wait_task(rt_cx *cx, void *state) {
    struct waiting *w = state;
    for (;;) {
        int64_t r = wait_on(cx, w);
        if (r == RT_PENDING) {
            if (w->way >= READ_WAYS || w->have == SENT) atomic_store(&w->waits, true);
            return r;
        }
        if (r <= 0) return r;
        w->have += (size_t)r;
    }
}

static bool it_waits(void *arg) { return atomic_load(&((struct waiting *)arg)->waits); }

static void one_way(rt_runtime rt, enum way way) {
    static struct waiting w;
    memset(&w, 0, sizeof w);
    w.way = way;
    int ends[2];
    net_pair(ends);
    w.io = io_of(rt, ends[0], RW);
    bool streams = way == BY_STREAM || way == BY_LINE || way == BY_BUFFERED;
    if (streams) CHECK_EQ(rt_stream_new(w.io, NULL, &w.stream), 0);
    if (way < READ_WAYS) {
        memset(w.data, '\n', SENT);
        net_put(ends[1], w.data, SENT);
    }
    memset(w.data, 'x', sizeof w.data);
    CHECK_EQ(rt_spawn(rt, wait_task, &w, NULL, &w.task), 0);
    drive_until(rt, it_waits, &w);
    /* A task that waits behind its first lines has seen them all: nothing but the reset is new. */
    net_reset(ends[1]);
    int64_t r = join_soon(w.task);
    if (!is_reset(r)) fprintf(stderr, "way %d\n", way);
    CHECK(is_reset(r));
    if (way < READ_WAYS) {
        CHECK_EQ(r, -ECONNRESET);
        CHECK_EQ(w.have, SENT);
    }
    if (streams) CHECK_EQ(rt_stream_free(w.stream), 0);
    CHECK_EQ(rt_close(w.io), 0);
}

static void in_the_middle(void) {
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(10); round++)
        for (int way = 0; way < WAYS; way++) one_way(rt, (enum way)way);
    multi_runtime_free(rt);
}

/* ---- both directions at once: each waiter is told ---- */

static void both_directions(void) {
    rt_runtime rt = test_runtime();
    static struct waiting w[2];
    static const enum way pairs[][2] = {{BY_READ, BY_WRITE},
                                        {BY_OPERATION, BY_SEND_OPERATION},
                                        {BY_READ, BY_QUEUE},
                                        {BY_OPERATION, BY_QUEUE},
                                        {BY_MULTISHOT, BY_QUEUE},
                                        {BY_STREAM, BY_QUEUE},
                                        {BY_MULTISHOT, BY_WRITE_ALL}};
    for (size_t pair = 0; pair < sizeof pairs / sizeof pairs[0]; pair++) {
        int ends[2];
        net_pair(ends);
        rt_io io = io_of(rt, ends[0], RW);
        memset(w, 0, sizeof w);
        net_put(ends[1], w[0].data, SENT);
        for (int i = 0; i < 2; i++) {
            w[i].way = pairs[pair][i];
            w[i].io = io;
            if (w[i].way == BY_STREAM) CHECK_EQ(rt_stream_new(io, NULL, &w[i].stream), 0);
            CHECK_EQ(rt_spawn(rt, wait_task, &w[i], NULL, &w[i].task), 0);
        }
        for (int i = 0; i < 2; i++) drive_until(rt, it_waits, &w[i]);
        net_reset(ends[1]);
        int64_t first = join_soon(w[0].task), second = join_soon(w[1].task);
        /* The kernel tells of a reset once; who asks later reads the end, or may not write. */
        CHECK(is_reset(first) || (first == 0 && is_reset(second)));
        CHECK(is_reset(second));
        CHECK(first == -ECONNRESET || second == -ECONNRESET);
        /* It may have told the library, which sends what is queued: that is no end either. */
        if (w[1].way == BY_QUEUE) CHECK_EQ(first, -ECONNRESET);
        CHECK_EQ(rt_stream_free(w[0].stream), 0);
        CHECK_EQ(rt_close(io), 0);
    }
    multi_runtime_free(rt);
}

/* ---- a server's connections: each in the middle of its echo ---- */

static void talk_and_reset(site *s, int count) {
    for (int i = 0; i < count; i++) {
        int fd = site_dial(s);
        net_set_nonblock(fd, true);
        client_echo(fd, i);
        net_stuff(fd); /* whose echoes nobody reads */
        net_reset(fd);
    }
}

static void in_a_server(void) {
    site s = {0};
    rt_serve_opts opts = site_opts();
    site_start(&s, &opts);
    int count = scaled(40);
    crowd_run(&s, talk_and_reset, count);
    drive_until(s.rt, site_none_live, &s);
    CHECK_EQ(site_stats(&s).accepted, count);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGPIPE, SIG_DFL);
    must_end_soon();
    CASE(in_the_middle);
    CASE(both_directions);
    CASE(in_a_server);
    return test_end();
}
