/* Quiescing waits until nothing of the task is in flight. Outcomes that were not taken stay. */
#include "op.h"

static int64_t nothing_is_quiet(rt_cx *cx, void *state) {
    struct steps *s = state;
    CHECK_EQ(rt_poll_quiesce(cx), 0);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_poll_quiesce(cx), 0); /* a descriptor is no operation */
    steps_close(s);
    return 0;
}

enum { SEVERAL = 8 };

struct several {
    struct steps steps;
    rt_op ops[SEVERAL];
    char bytes[SEVERAL];
    atomic_int forgotten;
};

static int64_t quiesce(rt_cx *cx, void *state) {
    struct several *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    for (int i = 0; i < SEVERAL; i++)
        CHECK_EQ(rt_submit_recv(cx, s->io, &v->bytes[i], 1, 0, &v->ops[i]), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_quiesce(cx), RT_PENDING);
    for (int i = 1; i < SEVERAL; i++) CHECK_EQ(send(s->far, "x", 1, 0), 1);
    OP_TURNS(s, 1000);
    CHECK_EQ(rt_poll_quiesce(cx), RT_PENDING); /* one is left */
    CHECK_EQ(send(s->far, "x", 1, 0), 1);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(s->got, 0);
    for (s->i = 0; s->i < SEVERAL; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, v->ops[s->i]));
        CHECK_EQ(s->got, 1);
        CHECK_EQ(v->bytes[s->i], 'x');
    }
    CHECK_EQ(rt_poll_quiesce(cx), 0);
    steps_close(s);
    RT_END(0);
}

static void play(rt_poll_fn body) {
    static struct several several;
    memset(&several, 0, sizeof several);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &several), 0);
    op_runtime_free(rt);
}

static void outcomes_stay(void) { play(quiesce); }

/* The usual end of a connection: cancel everything, then wait until the memory is one's own. */
static int64_t cancel_and_quiesce(rt_cx *cx, void *state) {
    struct several *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (int i = 0; i < SEVERAL; i++)
        CHECK_EQ(rt_submit_recv(cx, s->io, &v->bytes[i], 1, 0, &v->ops[i]), 0);
    for (int i = 0; i < SEVERAL; i++) CHECK_EQ(rt_cancel(v->ops[i]), 0);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(s->got, 0);
    memset(v->bytes, '-', SEVERAL);
    net_put(s->far, "abcdefgh", SEVERAL);
    OP_TURNS(s, 100);
    for (int i = 0; i < SEVERAL; i++) CHECK_EQ(v->bytes[i], '-');
    CHECK_EQ(net_get(s->near, s->buf, SEVERAL), SEVERAL);
    for (s->i = 0; s->i < SEVERAL; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, v->ops[s->i]));
        CHECK_EQ(s->got, -ECANCELED);
    }
    steps_close(s);
    RT_END(0);
}
static void cancelled_memory_is_ones_own(void) { play(cancel_and_quiesce); }

static void count(void *arg, int64_t outcome) {
    CHECK_EQ(outcome, 1);
    atomic_fetch_add((atomic_int *)arg, 1);
}

static int64_t forgotten_ones(rt_cx *cx, void *state) {
    struct several *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (int i = 0; i < SEVERAL; i++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, &v->bytes[i], 1, 0, &s->op), 0);
        CHECK_EQ(rt_op_forget(s->op, count, &v->forgotten), 0);
    }
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_quiesce(cx), RT_PENDING);
    net_put(s->far, "abcdefgh", SEVERAL);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(atomic_load(&v->forgotten), SEVERAL);
    steps_close(s);
    RT_END(0);
}
static void forgotten_ones_count(void) { play(forgotten_ones); }

/* Those of other tasks do not. */
static int64_t keep_one_in_flight(rt_cx *cx, void *state) {
    struct steps *s = state;
    if (s->op == 0) CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    return rt_poll_op(cx, s->op);
}

static int64_t others_do_not_count(rt_cx *cx, void *state) {
    static struct steps of_other;
    static rt_task other;
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    memset(&of_other, 0, sizeof of_other);
    of_other.io = s->io;
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), keep_one_in_flight, &of_other, NULL, &other), 0);
    while (metrics(rt_cx_runtime(cx)).ops_live == 0) RT_YIELD(cx);
    CHECK_EQ(rt_poll_quiesce(cx), 0);
    net_put(s->far, "data", 4);
    RT_AWAIT(s->got, rt_poll_join(cx, other, &s->got));
    CHECK_EQ(rt_poll_quiesce(cx), 0);
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    OP_CASE(nothing_is_quiet);
    CASE(outcomes_stay);
    CASE(cancelled_memory_is_ones_own);
    CASE(forgotten_ones_count);
    OP_CASE(others_do_not_count);
    return test_end();
}
