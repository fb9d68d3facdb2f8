/* Deadlines of operations: never early, ended with -ETIME, moved and taken back; what happened
 * first stays; only the owner sets them, in its poll.
 */
#include "op.h"

enum { MS = 1000000 };
static const uint64_t far_away = UINT64_C(3600) * 1000 * MS;

struct timed {
    struct steps steps;
    struct stuck stuck;
    enum stuck_kind kind;
    uint64_t at;
};

/* ---- every kind ---- */

static int64_t run_out(rt_cx *cx, void *state) {
    struct timed *t = state;
    struct steps *s = &t->steps;
    RT_BEGIN(&s->frame);
    stuck_open(&t->stuck, rt_cx_runtime(cx), t->kind, s->buf);
    CHECK_EQ(stuck_submit(&t->stuck, cx, &s->op), 0);
    t->at = rt_now() + 5 * MS;
    CHECK_EQ(rt_op_deadline(s->op, t->at), 0);
    OP_TAKE_EQ(s, -ETIME);
    CHECK(rt_now() >= t->at);
    CHECK_EQ(rt_op_deadline(s->op, t->at), -EBADF);
    stuck_close(&t->stuck);
    RT_END(0);
}

static void every_kind_runs_out_of_time(void) {
    for (int kind = 0; kind < STUCK_KINDS; kind++) {
        struct timed t = {.kind = (enum stuck_kind)kind};
        rt_runtime rt = test_runtime();
        CHECK_EQ(rt_block_on(rt, run_out, &t), 0);
        op_runtime_free(rt);
    }
}

/* ---- one operation's time ---- */

static int64_t the_past_is_over_at_once(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (s->n = 0; s->n < 3; s->n++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
        CHECK_EQ(rt_op_deadline(s->op, s->n == 0 ? 0 : s->n == 1 ? 1 : rt_now()), 0);
        OP_TAKE_EQ(s, -ETIME);
    }
    net_put(s->far, "x", 1); /* nothing of them is left that would take it */
    OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

static int64_t a_deadline_can_be_moved(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_deadline(s->op, rt_now() + far_away), 0);
    OP_TURNS(s, 100);
    s->n = rt_now() + 5 * MS;
    CHECK_EQ(rt_op_deadline(s->op, s->n), 0); /* earlier */
    OP_TAKE_EQ(s, -ETIME);
    CHECK(rt_now() >= s->n);

    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_deadline(s->op, rt_now() + 2 * MS), 0);
    s->n = rt_now() + 30 * MS;
    CHECK_EQ(rt_op_deadline(s->op, s->n), 0); /* later */
    OP_TAKE_EQ(s, -ETIME);
    CHECK(rt_now() >= s->n);
    steps_close(s);
    RT_END(0);
}

/* The first one's time is over before the second's, which shows that it would have come. */
static int64_t a_deadline_can_be_taken_back(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->other), 0);
    CHECK_EQ(rt_op_deadline(s->other, rt_now() + 5 * MS), 0);
    CHECK_EQ(rt_op_deadline(s->other, RT_NEVER), 0);
    CHECK_EQ(rt_op_deadline(s->other, RT_NEVER), 0);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf + 8, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_deadline(s->op, rt_now() + 20 * MS), 0);
    OP_TAKE_EQ(s, -ETIME);
    CHECK_EQ(rt_poll_op(cx, s->other), RT_PENDING);
    CHECK_EQ(send(s->far, "late", 4, 0), 4);
    s->op = s->other;
    OP_TAKE_EQ(s, 4);
    CHECK(memcmp(s->buf, "late", 4) == 0);
    steps_close(s);
    RT_END(0);
}

static int64_t what_happened_first_stays(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    net_put(s->far, "done", 4);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(rt_op_deadline(s->op, 1), 0);
    OP_TURNS(s, 100);
    OP_TAKE_EQ(s, 4);

    /* A cancel before the time: that is what it was. */
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_deadline(s->op, rt_now() + far_away), 0);
    OP_TURNS(s, 10);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    steps_close(s);
    RT_END(0);
}

/* Deadlines of operations that ended are nobody's: not of the next ones in their places. */
static int64_t old_deadlines_hit_nobody(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (s->n = 0; s->n < 300; s->n++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
        CHECK_EQ(rt_op_deadline(s->op, rt_now() + 3 * MS), 0);
        net_put(s->far, "x", 1);
        OP_TAKE(s);
        CHECK(s->got == 1 || s->got == -ETIME);
        if (s->got < 0) CHECK_EQ(read(s->near, s->buf, 8), 1);
        CHECK_EQ(read(s->near, s->buf, 8), -1);
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
        OP_TURNS(s, 10);
        net_put(s->far, "y", 1);
        OP_TAKE_EQ(s, 1);
    }
    steps_close(s);
    RT_END(0);
}

/* ---- many ---- */

enum { MANY = 1000 };

struct crowd {
    struct steps steps;
    rt_op ops[MANY];
    uint64_t at[MANY];
    char bytes[MANY];
};

static int64_t run_out_together(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, &c->bytes[i], 1, 0, &c->ops[i]), 0);
        c->at[i] = rt_now() + (uint64_t)(i * 7 % 20) * MS;
        CHECK_EQ(rt_op_deadline(c->ops[i], c->at[i]), 0);
    }
    for (s->i = 0; s->i < MANY; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[s->i]));
        CHECK_EQ(s->got, -ETIME);
        CHECK(rt_now() >= c->at[s->i]);
    }
    steps_close(s);
    RT_END(0);
}

static void many_at_once(void) {
    static struct crowd c;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, run_out_together, &c), 0);
    op_runtime_free(rt);
}

/* ---- who may ---- */

static void *from_a_thread(void *arg) {
    struct steps *s = arg;
    CHECK_EQ(rt_op_deadline(s->op, 1), -EPERM);
    CHECK_EQ(rt_op_deadline(s->op, RT_NEVER), -EPERM);
    return NULL;
}

static int64_t from_another_task(rt_cx *cx, void *state) {
    (void)cx;
    from_a_thread(state);
    return 0;
}

static int64_t only_the_owner_may(rt_cx *cx, void *state) {
    static rt_task other;
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    on_thread(from_a_thread, s);
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), from_another_task, s, NULL, &other), 0);
    RT_AWAIT(s->got, rt_poll_join(cx, other, NULL));
    CHECK_EQ(rt_op_deadline(0, 1), -EBADF);
    CHECK_EQ(rt_op_deadline(s->io, 1), -EBADF);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(every_kind_runs_out_of_time);
    OP_CASE(the_past_is_over_at_once);
    OP_CASE(a_deadline_can_be_moved);
    OP_CASE(a_deadline_can_be_taken_back);
    OP_CASE(what_happened_first_stays);
    OP_CASE(old_deadlines_hit_nobody);
    CASE(many_at_once);
    OP_CASE(only_the_owner_may);
    return test_end();
}
