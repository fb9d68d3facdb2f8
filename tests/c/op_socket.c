/* Streams: receiving waits, ends and fails as recv(2) says; sends are whole, in order, and go out
 * before the shutdown that was submitted after them.
 */
#include "op.h"

static int64_t a_receive_waits(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, sizeof s->buf, 0, &s->op), 0);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    net_put(s->far, "hello", 5);
    OP_TAKE_EQ(s, 5);
    CHECK(memcmp(s->buf, "hello", 5) == 0);
    net_put(s->far, "again", 5); /* there before it is asked for */
    OP_EQ(s, 3, rt_submit_recv(cx, s->io, s->buf, 3, 0, &s->op));
    OP_EQ(s, 2, rt_submit_recv(cx, s->io, s->buf + 3, 100, 0, &s->op));
    CHECK(memcmp(s->buf, "again", 5) == 0);
    steps_close(s);
    RT_END(0);
}

static int64_t the_end_is_zero(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    OP_TAKE_EQ(s, 0);
    OP_EQ(s, 0, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op));
    OP_EQ(s, 0, rt_submit_read(cx, s->io, s->buf, 8, RT_OFFSET_CURRENT, &s->op));
    OP_EQ(s, 2, rt_submit_send(cx, s->io, "ok", 2, 0, &s->op)); /* the other way is open */
    CHECK_EQ(net_get(s->far, s->buf, 2), 2);
    steps_close(s);
    RT_END(0);
}

static int64_t a_reset_is_an_error(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    OP_TURNS(s, 100);
    net_reset(s->far);
    s->far = -1;
    OP_TAKE_EQ(s, -ECONNRESET);
    OP_EQ(s, 0, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op)); /* said once, as ever */
    OP_EQ(s, -EPIPE, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

static int64_t flags_are_obeyed(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    net_put(s->far, "abc", 3);
    OP_EQ(s, 3, rt_submit_recv(cx, s->io, s->buf, 8, MSG_PEEK, &s->op));
    OP_EQ(s, 3, rt_submit_recv(cx, s->io, s->buf, 8, MSG_PEEK, &s->op));
    OP_EQ(s, 3, rt_submit_recv(cx, s->io, s->buf + 8, 8, 0, &s->op));
    CHECK(memcmp(s->buf, s->buf + 8, 3) == 0);

    /* Out-of-band data stays out of the stream. */
    OP_EQ(s, 1, rt_submit_send(cx, s->io, "!", 1, MSG_OOB, &s->op));
    OP_EQ(s, 1, rt_submit_send(cx, s->io, ".", 1, 0, &s->op));
    CHECK_EQ(net_get(s->far, s->buf, 1), 1);
    CHECK_EQ(s->buf[0], '.');
    steps_close(s);
    RT_END(0);
}

static int64_t waiting_for_all(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 6, MSG_WAITALL, &s->op), 0);
    net_put(s->far, "abc", 3);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    net_put(s->far, "defg", 4);
    OP_TAKE_EQ(s, 6);
    CHECK(memcmp(s->buf, "abcdef", 6) == 0);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 6, MSG_WAITALL, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    OP_TAKE_EQ(s, 1); /* what there was before the end */
    CHECK_EQ(s->buf[0], 'g');
    steps_close(s);
    RT_END(0);
}

/* An operation waits whatever its flags say of that, and its worker does nothing meanwhile. */

enum { SOME = 100, MANY = 3000, FEW = 10 };

struct waiting {
    struct steps steps;
    int kind;
    uint64_t events;
    struct iovec iov;
    struct msghdr msg;
};

static int64_t submit_waiting(rt_cx *cx, struct waiting *w) {
    struct steps *s = &w->steps;
    w->iov = (struct iovec){s->buf, 6};
    w->msg = (struct msghdr){.msg_iov = &w->iov, .msg_iovlen = 1};
    switch (w->kind) {
    case 0: return rt_submit_send(cx, s->io, s->buf, 6, MSG_DONTWAIT, &s->op);
    case 1: return rt_submit_sendmsg(cx, s->io, &w->msg, MSG_DONTWAIT, &s->op);
    case 2: return rt_submit_recv(cx, s->io, s->buf, 6, MSG_DONTWAIT | MSG_WAITALL, &s->op);
    case 3: return rt_submit_recv(cx, s->io, s->buf, 6, MSG_DONTWAIT, &s->op);
    default: return rt_submit_recvmsg(cx, s->io, &w->msg, MSG_DONTWAIT, &s->op);
    }
}

static int64_t wait_all_the_same(rt_cx *cx, void *state) {
    struct waiting *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    for (w->kind = 0; w->kind < 5; w->kind++) {
        steps_pair(cx, s, net_unix_pair);
        s->n = w->kind < 2 ? net_stuff(s->near) : 0;
        CHECK_EQ(submit_waiting(cx, w), 0);
        OP_TURNS(s, SOME);
        if (w->kind == 2) net_put(s->far, "abc", 3);
        OP_TURNS(s, SOME);
        w->events = metrics(rt_cx_runtime(cx)).events;
        OP_TURNS(s, MANY);
        CHECK(metrics(rt_cx_runtime(cx)).events - w->events < FEW);
        CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
        if (w->kind < 2) CHECK_EQ(net_drain(s->far), s->n);
        else net_put(s->far, "defghi", w->kind == 2 ? 3 : 6);
        OP_TAKE_EQ(s, 6);
        steps_close(s);
    }
    RT_END(0);
}

static void waiting_is_not_for_the_flags(void) {
    static struct waiting w;
    memset(&w, 0, sizeof w);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, wait_all_the_same, &w), 0);
    op_runtime_free(rt);
}

/* ---- sends ---- */

/* The far end on a thread of its own: reads to the end of the stream, all of it the pattern. */
struct sink {
    int fd;
    uint64_t total;
    pthread_t thread;
};

static void *sink_run(void *arg) {
    struct sink *k = arg;
    char piece[3000];
    size_t n;
    do {
        n = net_get(k->fd, piece, sizeof piece);
        CHECK(net_pattern_holds(piece, n, 1, k->total));
        k->total += n;
    } while (n > 0);
    return NULL;
}

enum { SENDS = 200 };

struct sending {
    struct steps steps;
    struct sink sink;
    rt_op ops[SENDS], shutdown;
    size_t sizes[SENDS];
    unsigned char *data;
    uint64_t total;
    void (*ends)(int[2]);
};

/* Sends and writes are one queue. */
static int64_t submit_send(rt_cx *cx, struct sending *w, int i, const unsigned char *at) {
    rt_io io = w->steps.io;
    if (i % 2 == 0) return rt_submit_send(cx, io, at, w->sizes[i], 0, &w->ops[i]);
    return rt_submit_write(cx, io, at, w->sizes[i], RT_OFFSET_CURRENT, 0, &w->ops[i]);
}

static int64_t send_in_order(rt_cx *cx, void *state) {
    struct sending *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, w->ends);
    net_small_buffer(s->near);
    for (int i = 0; i < SENDS; i++) {
        w->sizes[i] = i % 50 == 7 ? 300000 : 1 + (size_t)i * 37 % 5000;
        CHECK_EQ(submit_send(cx, w, i, w->data + w->total), 0);
        w->total += w->sizes[i];
    }
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &w->shutdown), 0);
    w->sink = (struct sink){.fd = s->far};
    w->sink.thread = thread_start(sink_run, &w->sink);
    for (s->i = 0; s->i < SENDS; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, w->ops[s->i]));
        CHECK_EQ(s->got, w->sizes[s->i]);
    }
    RT_AWAIT(s->got, rt_poll_op(cx, w->shutdown));
    CHECK_EQ(s->got, 0);
    OP_EQ(s, -EPIPE, rt_submit_send(cx, s->io, "late", 4, 0, &s->op));
    RT_END(0);
}

static void sends_through(void (*ends)(int[2])) {
    struct sending w = {.ends = ends, .data = malloc(2000000)};
    CHECK(w.data != NULL);
    net_pattern(w.data, 2000000, 1, 0);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, send_in_order, &w), 0);
    thread_join(w.sink.thread); /* it saw the end, though nobody closed */
    CHECK_EQ(w.sink.total, w.total);
    steps_close(&w.steps);
    op_runtime_free(rt);
    free(w.data);
}

static void sends_are_whole_and_in_order(void) { sends_through(net_pair); }
static void also_on_unix_sockets(void) { sends_through(net_unix_pair); }

static int64_t nobody_reads_any_more(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    close(s->far);
    s->far = -1;
    OP_EQ(s, -EPIPE, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    OP_EQ(s, -EPIPE, rt_submit_write(cx, s->io, "x", 1, RT_OFFSET_CURRENT, 0, &s->op));
    steps_close(s);

    /* The peer goes away while a send waits for room. */
    steps_pair(cx, s, net_unix_pair);
    net_stuff(s->near);
    CHECK_EQ(rt_submit_send(cx, s->io, s->buf, sizeof s->buf, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    close(s->far);
    s->far = -1;
    OP_TAKE(s);
    CHECK(s->got == -EPIPE || s->got == -ECONNRESET); /* it had not read what came before */
    steps_close(s);
    RT_END(0);
}

/* ---- shutting down ---- */

static int64_t shutting_down_both_ways(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_RD, &s->other), 0);
    OP_TAKE_EQ(s, 0); /* the receive sees the end */
    s->op = s->other;
    OP_TAKE_EQ(s, 0);
    OP_EQ(s, 2, rt_submit_send(cx, s->io, "ok", 2, 0, &s->op));
    OP_EQ(s, 0, rt_submit_shutdown(cx, s->io, SHUT_RDWR, &s->op));
    CHECK_EQ(net_get(s->far, s->buf, 8), 2);
    steps_close(s);

    s->near = net_socket(SOCK_STREAM);
    s->far = -1;
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    OP_EQ(s, -ENOTCONN, rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op));
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGPIPE, SIG_DFL); /* one that is raised ends the program */
    OP_CASE(a_receive_waits);
    OP_CASE(the_end_is_zero);
    OP_CASE(a_reset_is_an_error);
    OP_CASE(flags_are_obeyed);
    OP_CASE(waiting_for_all);
    CASE(waiting_is_not_for_the_flags);
    CASE(sends_are_whole_and_in_order);
    CASE(also_on_unix_sockets);
    OP_CASE(nobody_reads_any_more);
    OP_CASE(shutting_down_both_ways);
    return test_end();
}
