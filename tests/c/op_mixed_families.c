/* Direct calls and operations may take turns on one stream, and may work in opposite directions at
 * once; in the same direction at once the direct call is refused: -EBUSY, and nothing has happened.
 */
#include "op.h"

struct mix {
    struct steps steps;
    struct iovec iov;
    struct msghdr msg;
    rt_buf buf;
    size_t off, stuffed;
};

static int64_t give_back(int64_t got, const rt_buf *buf) {
    if (got > 0) CHECK_EQ(rt_buf_release(buf->lease), 0);
    return got;
}

static int64_t direct_read(rt_cx *cx, struct mix *m, int which) {
    struct steps *s = &m->steps;
    m->iov = (struct iovec){s->buf, 8};
    m->msg = (struct msghdr){.msg_iov = &m->iov, .msg_iovlen = 1};
    switch (which) {
    case 0: return rt_poll_read(cx, s->io, s->buf, 8);
    case 1: return rt_poll_readv(cx, s->io, &m->iov, 1);
    case 2: return give_back(rt_poll_read_buf(cx, s->io, &m->buf), &m->buf);
    default: return rt_poll_recvmsg(cx, s->io, &m->msg, 0);
    }
}

static int64_t direct_write(rt_cx *cx, struct mix *m, int which) {
    struct steps *s = &m->steps;
    m->iov = (struct iovec){"DIRECT", 6};
    m->msg = (struct msghdr){.msg_iov = &m->iov, .msg_iovlen = 1};
    switch (which) {
    case 0: return rt_poll_write(cx, s->io, "DIRECT", 6);
    case 1: return rt_poll_write_all(cx, s->io, "DIRECT", 6, &m->off);
    case 2: return rt_poll_writev(cx, s->io, &m->iov, 1);
    default: return rt_poll_sendmsg(cx, s->io, &m->msg, 0);
    }
}

enum { READS = 4, WRITES = 4 };

static void open_for_both(rt_cx *cx, struct steps *s) {
    int ends[2];
    net_unix_pair(ends);
    s->near = ends[0];
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RW);
}

static int64_t reads_beside_a_receive(rt_cx *cx, void *state) {
    struct mix *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    open_for_both(cx, s);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf + 100, 8, 0, &s->op), 0);
    for (int i = 0; i < READS; i++) CHECK_EQ(direct_read(cx, m, i), -EBUSY);
    OP_TURNS(s, 100);
    for (int i = 0; i < READS; i++) CHECK_EQ(direct_read(cx, m, i), -EBUSY);
    for (s->i = 0; s->i < WRITES; s->i++) { /* the other way is free */
        RT_AWAIT(s->got, direct_write(cx, m, s->i));
        CHECK_EQ(s->got, 6);
    }
    net_put(s->far, "for the op", 8);
    OP_TAKE_EQ(s, 8); /* not a byte of it was read by others */
    CHECK(memcmp(s->buf + 100, "for the ", 8) == 0);
    for (s->i = 0; s->i < READS; s->i++) {
        net_put(s->far, "direct", 6);
        RT_AWAIT(s->got, direct_read(cx, m, s->i));
        CHECK_EQ(s->got, 6);
    }
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf + 100, 8, 0, &s->op), 0);
    OP_TURNS(s, 10);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    CHECK_EQ(direct_read(cx, m, 0), RT_PENDING); /* free again */
    steps_close(s);
    RT_END(0);
}

static int64_t writes_beside_a_send(rt_cx *cx, void *state) {
    struct mix *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    open_for_both(cx, s);
    m->stuffed = net_stuff(s->near);
    CHECK_EQ(rt_submit_send(cx, s->io, "operation", 9, 0, &s->op), 0);
    for (int i = 0; i < WRITES; i++) CHECK_EQ(direct_write(cx, m, i), -EBUSY);
    CHECK_EQ(m->off, 0);
    OP_TURNS(s, 100);
    for (int i = 0; i < WRITES; i++) CHECK_EQ(direct_write(cx, m, i), -EBUSY);
    net_put(s->far, "back", 4); /* the other way is free */
    RT_AWAIT(s->got, direct_read(cx, m, 0));
    CHECK_EQ(s->got, 4);
    while (m->stuffed > 0) {
        m->stuffed -= net_get(s->far, s->buf, m->stuffed < 4096 ? m->stuffed : 4096);
        RT_YIELD(cx);
    }
    OP_TAKE_EQ(s, 9);
    CHECK_EQ(net_get(s->far, s->buf, 9), 9);
    CHECK(memcmp(s->buf, "operation", 9) == 0);
    for (s->i = 0; s->i < WRITES; s->i++) {
        RT_AWAIT(s->got, direct_write(cx, m, s->i));
        CHECK_EQ(s->got, 6);
        CHECK_EQ(net_get(s->far, s->buf, 6), 6);
    }
    steps_close(s);
    RT_END(0);
}

/* Turn by turn, no byte is lost or comes twice, and none out of order. */
static int64_t turn_by_turn(rt_cx *cx, void *state) {
    struct mix *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    open_for_both(cx, s);
    for (s->n = 0; s->n < 1000; s->n++) {
        s->buf[0] = (char)net_pattern_at(5, s->n);
        if (s->n % 3 == 0) RT_AWAIT(s->got, rt_poll_write(cx, s->io, s->buf, 1));
        else OP(s, rt_submit_send(cx, s->io, s->buf, 1, 0, &s->op));
        CHECK_EQ(s->got, 1);
        CHECK_EQ(net_get(s->far, s->buf, 1), 1);
        CHECK(net_pattern_holds(s->buf, 1, 5, s->n));
        net_put(s->far, s->buf, 1);
        if (s->n % 2 == 0) RT_AWAIT(s->got, rt_poll_read(cx, s->io, s->buf, 8));
        else OP(s, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op));
        CHECK_EQ(s->got, 1);
        CHECK(net_pattern_holds(s->buf, 1, 5, s->n));
    }
    steps_close(s);
    RT_END(0);
}

/* Readiness is no transfer: it may be asked for at any time. */
static int64_t readiness_is_free(rt_cx *cx, void *state) {
    struct mix *m = state;
    struct steps *s = &m->steps;
    rt_ready got;
    RT_BEGIN(&s->frame);
    open_for_both(cx, s);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    OP_TURNS(s, 10);
    RT_AWAIT(s->got, rt_poll_ready(cx, s->io, RT_WRITABLE, &got));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(rt_try_ready(s->io, RW, &got), 0);
    CHECK(got.bits & RT_WRITABLE);
    net_put(s->far, "x", 1);
    OP_TAKE_EQ(s, 1);
    steps_close(s);
    RT_END(0);
}

static void play(rt_poll_fn body) {
    static struct mix mix;
    memset(&mix, 0, sizeof mix);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &mix), 0);
    op_runtime_free(rt);
}

static void no_read_beside_a_receive(void) { play(reads_beside_a_receive); }
static void no_write_beside_a_send(void) { play(writes_beside_a_send); }
static void they_may_take_turns(void) { play(turn_by_turn); }
static void readiness_beside_an_operation(void) { play(readiness_is_free); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(no_read_beside_a_receive);
    CASE(no_write_beside_a_send);
    CASE(they_may_take_turns);
    CASE(readiness_beside_an_operation);
    return test_end();
}
