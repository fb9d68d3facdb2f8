/* Cancelling asks: the outcome is -ECANCELED, or what had happened first, and is to be taken all
 * the same. What was cancelled has done nothing.
 */
#include "op.h"

/* ---- every kind, early and late ---- */

struct cancelling {
    struct steps steps;
    struct stuck stuck;
    enum stuck_kind kind;
    int turns;
};

/* What a cancelled operation might have done: the far end has not seen it, nor lost anything. */
static void has_done_nothing(struct stuck *k) {
    unsigned char byte, rest[4096];
    ssize_t n;
    for (int i = 0; i < STUCK_BYTES; i++) CHECK_EQ(k->data[i], 0x11);
    switch (k->kind) {
    case STUCK_RECV:
    case STUCK_RECVMSG:
    case STUCK_READ:
    case STUCK_READV:
    case STUCK_SPLICE:
        net_put(k->far, "x", 1);
        CHECK_EQ(net_get(k->near, &byte, 1), 1);
        CHECK_EQ(byte, 'x');
        return;
    case STUCK_ACCEPT:
        close(net_dial(k->near));
        close(net_take(k->near));
        return;
    case STUCK_CONNECT: return;
    default:
        while ((n = read(k->far, rest, sizeof rest)) > 0)
            for (ssize_t i = 0; i < n; i++) CHECK_EQ(rest[i], 0);
        CHECK(n < 0 && errno == EAGAIN);
    }
}

static int64_t cancel_one(rt_cx *cx, void *state) {
    struct cancelling *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    memset(s->buf, 0x11, sizeof s->buf);
    stuck_open(&c->stuck, rt_cx_runtime(cx), c->kind, s->buf);
    CHECK_EQ(stuck_submit(&c->stuck, cx, &s->op), 0);
    OP_TURNS(s, c->turns);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    CHECK_EQ(rt_cancel(s->op), 0);
    CHECK_EQ(rt_cancel(s->op), 0); /* once more, with no further effect */
    OP_TAKE_EQ(s, -ECANCELED);
    CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
    CHECK(rt_io_fd(c->stuck.io) >= 0);
    has_done_nothing(&c->stuck);
    stuck_close(&c->stuck);
    RT_END(0);
}

static void every_kind_can_be_cancelled(void) {
    static const int turns[] = {0, 1, 100};
    for (int i = 0; i < 3 * STUCK_KINDS; i++) {
        struct cancelling c = {.kind = (enum stuck_kind)(i / 3), .turns = turns[i % 3]};
        rt_runtime rt = test_runtime();
        CHECK_EQ(rt_block_on(rt, cancel_one, &c), 0);
        op_runtime_free(rt);
    }
}

/* ---- what happened first ---- */

static int64_t what_happened_first_stays(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    net_put(s->far, "done", 4);
    RT_AWAIT(s->got, rt_poll_quiesce(cx)); /* it has ended, and its outcome waits */
    CHECK_EQ(s->got, 0);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TURNS(s, 100);
    OP_TAKE_EQ(s, 4);
    CHECK(memcmp(s->buf, "done", 4) == 0);
    steps_close(s);
    RT_END(0);
}

/* Either way, no byte is lost. */
static int64_t data_beside_a_cancel_is_kept(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (s->n = 0; s->n < 200; s->n++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
        OP_TURNS(s, (int)(s->n % 5));
        if (s->n % 2 == 0) net_put(s->far, "x", 1);
        CHECK_EQ(rt_cancel(s->op), 0);
        if (s->n % 2 != 0) net_put(s->far, "x", 1);
        OP_TAKE(s);
        CHECK(s->got == 1 || s->got == -ECANCELED);
        if (s->got < 0) CHECK_EQ(read(s->near, s->buf, 8), 1);
        CHECK_EQ(read(s->near, s->buf, 8), -1);
    }
    steps_close(s);
    RT_END(0);
}

/* ---- one of several ---- */

enum { SEVERAL = 20 };

struct several {
    struct steps steps;
    rt_op ops[SEVERAL];
    char bytes[SEVERAL][8];
    int cancelled;
};

/* Every second one is cancelled; the others get what comes. */
static int64_t cancel_some(rt_cx *cx, void *state) {
    struct several *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    for (int i = 0; i < SEVERAL; i++)
        CHECK_EQ(rt_submit_recv(cx, s->io, v->bytes[i], 8, 0, &v->ops[i]), 0);
    OP_TURNS(s, 100);
    for (int i = 0; i < SEVERAL; i += 2) CHECK_EQ(rt_cancel(v->ops[i]), 0);
    for (s->n = 0; s->n < SEVERAL; s->n += 2) {
        RT_AWAIT(s->got, rt_poll_op(cx, v->ops[s->n]));
        CHECK_EQ(s->got, -ECANCELED);
    }
    for (int i = 0; i < SEVERAL / 2; i++) CHECK_EQ(send(s->far, "data", 4, 0), 4);
    for (s->n = 1; s->n < SEVERAL; s->n += 2) {
        RT_AWAIT(s->got, rt_poll_op(cx, v->ops[s->n]));
        CHECK_EQ(s->got, 4);
        CHECK(memcmp(v->bytes[s->n], "data", 4) == 0);
    }
    steps_close(s);
    RT_END(0);
}

static void the_others_go_on(void) {
    struct several v = {0};
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, cancel_some, &v), 0);
    op_runtime_free(rt);
}

/* ---- what is no operation ---- */

static int64_t only_operations_can_be_cancelled(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_cancel(0), -EBADF);
    CHECK_EQ(rt_cancel(s->io), -EBADF);
    CHECK_EQ(rt_cancel(rt_task_self(cx)), -EBADF);
    CHECK_EQ(rt_cancel(rt_cx_runtime(cx)), -EBADF);
    CHECK_EQ(rt_cancel(UINT64_MAX), -EBADF);
    net_put(s->far, "x", 1);
    OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op));
    s->other = s->op;
    /* The place is used again; the old handle means nobody. */
    for (s->n = 0; s->n < 100; s->n++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
        CHECK(s->op != s->other);
        CHECK_EQ(rt_cancel(s->other), -EBADF);
        net_put(s->far, "y", 1);
        OP_TAKE_EQ(s, 1);
    }
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(every_kind_can_be_cancelled);
    OP_CASE(what_happened_first_stays);
    OP_CASE(data_beside_a_cancel_is_kept);
    CASE(the_others_go_on);
    OP_CASE(only_operations_can_be_cancelled);
    return test_end();
}
