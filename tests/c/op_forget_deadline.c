/* A deadline that was set before the operation was forgotten holds: the outcome is -ETIME, and the task may end. */
#include "op.h"
#include "soon.h"

static _Atomic int64_t told;

static void tell(void *arg, int64_t outcome) {
    (void)arg;
    atomic_store(&told, outcome);
}

static int64_t forget(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_deadline(s->op, rt_now() + 20000000), 0);
    CHECK_EQ(rt_op_forget(s->op, tell, NULL), 0);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(atomic_load(&told), -ETIME);
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    OP_CASE(forget);
    return test_end();
}
