/* Operations belong to the task in whose poll they were submitted: other contexts, other tasks and
 * other runtimes are refused with -EPERM, and change nothing.
 */
#include "op.h"

/* ---- contexts of their own, and borrowed ones ---- */

static void no_task_no_operation(void) {
    rt_runtime rt = test_runtime();
    struct hand hand;
    int ends[2];
    net_unix_pair(ends);
    hand_open(&hand, rt);
    rt_io io = io_of(rt, ends[0], 0);
    for (int call = 0; call < CALLS; call++) op_refused((enum op_call)call, hand.cx, io, -EPERM);
    CHECK_EQ(rt_poll_quiesce(hand.cx), -EPERM);
    CHECK_EQ(rt_io_fd(io), ends[0]); /* it was not closed */
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    hand_close(&hand);
    op_runtime_free(rt);
    hand_check(&hand);
}

struct loan {
    struct steps steps;
    rt_cx *cx;
    struct hand hand;
    rt_task other;
};

static void *use_from_a_thread(void *arg) {
    struct loan *l = arg;
    for (int call = 0; call < CALLS; call++)
        op_refused((enum op_call)call, l->cx, l->steps.io, -EPERM);
    CHECK_EQ(rt_poll_op(l->cx, l->steps.op), -EPERM);
    CHECK_EQ(rt_poll_quiesce(l->cx), -EPERM);
    return NULL;
}

static int64_t lend(rt_cx *cx, void *state) {
    struct loan *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    l->cx = cx;
    on_thread(use_from_a_thread, l);
    net_put(s->far, "data", 4);
    OP_TAKE_EQ(s, 4); /* here it is still good */
    steps_close(s);
    RT_END(0);
}

static void play(rt_poll_fn body) {
    static struct loan loan;
    memset(&loan, 0, sizeof loan);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &loan), 0);
    op_runtime_free(rt);
}

static void a_context_on_another_thread(void) { play(lend); }

/* ---- operations of another task ---- */

static int64_t take_what_is_anothers(rt_cx *cx, void *state) {
    struct loan *l = state;
    CHECK_EQ(rt_poll_op(cx, l->steps.op), -EPERM);
    CHECK_EQ(rt_op_deadline(l->steps.op, 1), -EPERM);
    CHECK_EQ(rt_op_forget(l->steps.op, NULL, NULL), -EPERM);
    return 0;
}

#define OTHER_TASK_TRIES(l)                                                                       \
    do {                                                                                          \
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), take_what_is_anothers, (l), NULL, &(l)->other), 0);  \
        RT_AWAIT(s->got, rt_poll_join(cx, (l)->other, NULL));                                     \
    } while (0)

static int64_t keep_own(rt_cx *cx, void *state) {
    struct loan *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    OTHER_TASK_TRIES(l); /* in flight */
    net_put(s->far, "data", 4);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    OTHER_TASK_TRIES(l); /* ended, and not taken */
    OP_TAKE_EQ(s, 4);
    steps_close(s);
    RT_END(0);
}
static void an_operation_of_another_task(void) { play(keep_own); }

static int64_t keep_from_contexts(rt_cx *cx, void *state) {
    struct loan *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    hand_open(&l->hand, rt_cx_runtime(cx));
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_poll_op(l->hand.cx, s->op), -EPERM);
    net_put(s->far, "data", 4);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(rt_poll_op(l->hand.cx, s->op), -EPERM);
    OP_TAKE_EQ(s, 4);
    hand_close(&l->hand);
    hand_check(&l->hand);
    steps_close(s);
    RT_END(0);
}
static void an_operation_from_a_context(void) { play(keep_from_contexts); }

/* ---- descriptors of another runtime ---- */

static int64_t use_foreign(rt_cx *cx, void *state) {
    struct loan *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    for (int call = 0; call < CALLS; call++) op_refused((enum op_call)call, cx, s->io, -EPERM);

    /* One of two is enough. */
    rt_op out = 77;
    s->peer = io_of(rt_cx_runtime(cx), s->far, 0);
    CHECK_EQ(rt_submit_splice(cx, s->peer, RT_OFFSET_CURRENT, s->io, RT_OFFSET_CURRENT, 1, 0, &out),
             -EPERM);
    CHECK_EQ(out, 0);
    CHECK_EQ(rt_submit_renameat(cx, 0, "none", s->io, "other", 0, &out), -EPERM);
    CHECK_EQ(rt_submit_renameat(cx, s->io, "none", 0, "other", 0, &out), -EPERM);
    OP_EQ(s, 2, rt_submit_send(cx, s->peer, "hi", 2, 0, &s->op));
    CHECK_EQ(rt_close(s->peer), 0);
    RT_END(0);
}

static void a_descriptor_of_another_runtime(void) {
    static struct loan loan;
    rt_runtime rt = test_runtime(), other = test_runtime();
    int ends[2];
    char got[2];
    net_unix_pair(ends);
    memset(&loan, 0, sizeof loan);
    loan.steps.io = io_of(other, ends[0], 0);
    loan.steps.far = ends[1];
    CHECK_EQ(rt_block_on(rt, use_foreign, &loan), 0);
    CHECK_EQ(net_get(ends[0], got, 2), 2);
    CHECK_EQ(rt_close(loan.steps.io), 0);
    op_runtime_free(rt);
    op_runtime_free(other);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(no_task_no_operation);
    CASE(a_context_on_another_thread);
    CASE(an_operation_of_another_task);
    CASE(an_operation_from_a_context);
    CASE(a_descriptor_of_another_runtime);
    return test_end();
}
