/* A descriptor with operations in flight cannot be given back: -EBUSY, and nothing has changed.
 * When they have ended it can, though their outcomes were not taken yet.
 */
#include "op.h"

struct busy {
    struct steps steps;
    struct stuck stuck;
    enum stuck_kind kind;
};

static int64_t give_back(rt_cx *cx, void *state) {
    struct busy *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    stuck_open(&b->stuck, rt_cx_runtime(cx), b->kind, s->buf);
    CHECK_EQ(stuck_submit(&b->stuck, cx, &s->op), 0);
    CHECK_EQ(rt_deregister(b->stuck.io), -EBUSY);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_deregister(b->stuck.io), -EBUSY);
    CHECK_EQ(rt_io_fd(b->stuck.io), b->stuck.near);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING); /* nor was it cancelled */
    CHECK_EQ(rt_cancel(s->op), 0);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(rt_deregister(b->stuck.io), 0);
    CHECK_EQ(rt_io_fd(b->stuck.io), -EBADF);
    CHECK(net_is_open(b->stuck.near));
    OP_TAKE_EQ(s, -ECANCELED);
    close(b->stuck.near);
    b->stuck.io = 0;
    stuck_close(&b->stuck);
    RT_END(0);
}

static void every_kind_is_busy(void) {
    for (int kind = 0; kind < STUCK_KINDS; kind++) {
        struct busy b = {.kind = (enum stuck_kind)kind};
        rt_runtime rt = test_runtime();
        CHECK_EQ(rt_block_on(rt, give_back, &b), 0);
        op_runtime_free(rt);
    }
}

/* The other end of a splice is in use as well. */
static int64_t give_back_the_target(rt_cx *cx, void *state) {
    struct busy *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    stuck_open(&b->stuck, rt_cx_runtime(cx), STUCK_SPLICE, s->buf);
    CHECK_EQ(stuck_submit(&b->stuck, cx, &s->op), 0);
    CHECK_EQ(rt_deregister(b->stuck.to), -EBUSY);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_deregister(b->stuck.to), -EBUSY);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    CHECK_EQ(rt_deregister(b->stuck.to), 0);
    b->stuck.to = 0;
    close(b->stuck.spare[1]);
    stuck_close(&b->stuck);
    RT_END(0);
}

static void both_ends_of_a_splice(void) {
    struct busy b = {0};
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, give_back_the_target, &b), 0);
    op_runtime_free(rt);
}

/* The last of several counts, whoever asks. */
static void *ask(void *arg) {
    struct steps *s = arg;
    s->got = rt_deregister(s->io);
    return NULL;
}

static int64_t the_last_one_counts(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 4, 0, &s->op), 0);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf + 8, 4, 0, &s->other), 0);
    on_thread(ask, s);
    CHECK_EQ(s->got, -EBUSY);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    on_thread(ask, s);
    CHECK_EQ(s->got, -EBUSY);
    net_put(s->far, "data", 4);
    s->op = s->other;
    OP_TAKE_EQ(s, 4); /* it goes on as if nobody had asked */
    on_thread(ask, s);
    CHECK_EQ(s->got, 0);
    CHECK_EQ(rt_close(s->io), -EBADF);
    s->io = 0;
    close(s->near);
    steps_close(s);
    RT_END(0);
}

/* What was given back can be registered again, and the old handle means nobody. */
static int64_t it_can_be_registered_again(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (s->n = 0; s->n < 50; s->n++) {
        net_put(s->far, "x", 1);
        OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 4, 0, &s->op));
        CHECK_EQ(rt_deregister(s->io), 0);
        s->op = 77;
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 4, 0, &s->op), -EBADF);
        CHECK_EQ(s->op, 0);
        s->io = io_of(rt_cx_runtime(cx), s->near, s->n % 2 == 0 ? RW : 0);
    }
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(every_kind_is_busy);
    CASE(both_ends_of_a_splice);
    OP_CASE(the_last_one_counts);
    OP_CASE(it_can_be_registered_again);
    return test_end();
}
