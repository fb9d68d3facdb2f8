/* Forgotten operations go on without their task: `done` gets each outcome once, on a worker, before
 * the task's drop function; the handle is spent at once.
 */
#include "op.h"
#include "soon.h"

struct note {
    atomic_int calls;
    int64_t outcome;
};

static void write_down(void *arg, int64_t outcome) {
    struct note *n = arg;
    n->outcome = outcome;
    CHECK_EQ(atomic_fetch_add(&n->calls, 1), 0);
}

struct forgetting {
    struct steps steps;
    struct note notes[2];
    int drops;
    int64_t result;
    rt_runtime rt;
    rt_task other;
};

static struct forgetting forgetting;

static void drop(void *state) {
    struct forgetting *f = state;
    CHECK_EQ(f->drops++, 0);
}

/* As a task with a drop function; what it leaves is in `forgetting`. */
static void play(rt_poll_fn body) {
    memset(&forgetting, 0, sizeof forgetting);
    rt_runtime rt = test_runtime();
    rt_task task;
    forgetting.rt = rt;
    CHECK_EQ(rt_spawn(rt, body, &forgetting, drop, &task), 0);
    int64_t result = join_task(task);
    CHECK_EQ(result, forgetting.result);
    CHECK_EQ(forgetting.drops, 1);
    steps_close(&forgetting.steps);
    op_runtime_free(rt);
}

static int noted(struct forgetting *f, int i) { return atomic_load(&f->notes[i].calls); }

/* ---- what ends later, and what had ended ---- */

static int64_t forget_and_go_on(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    struct steps *s = &f->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, write_down, &f->notes[0]), 0);
    CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
    CHECK_EQ(rt_cancel(s->op), -EBADF);
    CHECK_EQ(rt_op_deadline(s->op, 1), -EBADF);
    CHECK_EQ(rt_op_forget(s->op, write_down, &f->notes[0]), -EBADF);
    OP_TURNS(s, 100);
    CHECK_EQ(noted(f, 0), 0);
    net_put(s->far, "data", 4);
    while (noted(f, 0) == 0) RT_YIELD(cx);
    CHECK_EQ(f->notes[0].outcome, 4);
    CHECK(memcmp(s->buf, "data", 4) == 0);

    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    net_put(s->far, "again", 5);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(rt_op_forget(s->op, write_down, &f->notes[1]), 0);
    CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
    CHECK_EQ(noted(f, 1), 0); /* not inside of a poll */
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(noted(f, 1), 1);
    CHECK_EQ(f->notes[1].outcome, 5);
    OP_TURNS(s, 100);
    RT_END(0);
}

static void done_is_called_once(void) {
    play(forget_and_go_on);
    CHECK_EQ(noted(&forgetting, 0), 1);
    CHECK_EQ(noted(&forgetting, 1), 1);
}

static int64_t forget_without_a_word(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    struct steps *s = &f->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_send(cx, s->io, "first", 5, 0, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, NULL, NULL), 0);
    CHECK_EQ(rt_submit_send(cx, s->io, "second", 6, 0, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, NULL, NULL), 0);
    RT_AWAIT(s->got, rt_poll_quiesce(cx)); /* they count */
    CHECK_EQ(net_get(s->far, s->buf, 11), 11);
    CHECK(memcmp(s->buf, "firstsecond", 11) == 0);
    RT_END(0);
}
static void done_may_be_missing(void) { play(forget_without_a_word); }

/* ---- the end of the task ---- */

static void write_down_before_the_drop(void *arg, int64_t outcome) {
    CHECK_EQ(forgetting.drops, 0);
    memset(forgetting.steps.buf, 0, sizeof forgetting.steps.buf); /* it is the task's again */
    write_down(arg, outcome);
}

static int64_t forget_and_leave(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    struct steps *s = &f->steps;
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, write_down_before_the_drop, &f->notes[0]), 0);
    return 0;
}

static int64_t forget_and_be_aborted(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    f->result = -ECANCELED;
    CHECK_EQ(forget_and_leave(cx, state), 0);
    CHECK_EQ(rt_abort(rt_task_self(cx)), 0);
    return RT_PENDING;
}

/* The task's end cancels it like the others. */
static void the_end_of_the_task_ends_it(void) {
    play(forget_and_leave);
    CHECK_EQ(noted(&forgetting, 0), 1);
    CHECK_EQ(forgetting.notes[0].outcome, -ECANCELED);
    play(forget_and_be_aborted);
    CHECK_EQ(noted(&forgetting, 0), 1);
    CHECK_EQ(forgetting.notes[0].outcome, -ECANCELED);
}

/* ---- what it makes ---- */

/* Nobody was told of the handle, so nobody could close it. */
static int64_t forget_an_accept(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    struct steps *s = &f->steps;
    RT_BEGIN(&s->frame);
    s->near = net_listen(8);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_accept(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, NULL, NULL), 0);
    OP_TURNS(s, 10);
    s->far = net_dial(s->near);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(net_get(s->far, s->buf, 1), 0);
    close(s->far);

    /* With somebody told, it is theirs. */
    CHECK_EQ(rt_submit_accept(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, write_down, &f->notes[0]), 0);
    s->far = net_dial(s->near);
    while (noted(f, 0) == 0) RT_YIELD(cx);
    s->peer = (rt_io)CHECK_OK(f->notes[0].outcome);
    net_put(s->far, "hello", 5);
    OP_EQ(s, 5, rt_submit_recv(cx, s->peer, s->buf, 8, 0, &s->op));
    RT_END(0);
}
static void what_it_made_is_closed(void) { play(forget_an_accept); }

/* ---- calls from within `done` ---- */

/* No lock is held, and this is inside of the runtime. */
static void call_everything(void *arg, int64_t outcome) {
    struct forgetting *f = arg;
    CHECK_EQ(rt_close(f->steps.peer), 0);
    f->steps.peer = 0;
    CHECK_EQ(rt_spawn(f->rt, return_zero, NULL, NULL, NULL), 0);
    CHECK_EQ(rt_free(f->rt), -EDEADLK);
    write_down(&f->notes[0], outcome);
}

static int64_t call_from_done(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    struct steps *s = &f->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    s->peer = io_of(rt_cx_runtime(cx), (int)CHECK_SYS(dup(s->near)), 0);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    CHECK_EQ(rt_op_forget(s->op, call_everything, f), 0);
    net_put(s->far, "x", 1);
    while (noted(f, 0) == 0) RT_YIELD(cx);
    RT_END(0);
}
static void done_may_call_the_library(void) { play(call_from_done); }

/* ---- who may ---- */

static void *from_a_thread(void *arg) {
    struct forgetting *f = arg;
    CHECK_EQ(rt_op_forget(f->steps.op, write_down, &f->notes[0]), -EPERM);
    return NULL;
}

static int64_t from_another_task(rt_cx *cx, void *state) {
    (void)cx;
    from_a_thread(state);
    return 0;
}

static int64_t only_for_the_owner(rt_cx *cx, void *state) {
    struct forgetting *f = state;
    struct steps *s = &f->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    on_thread(from_a_thread, f);
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), from_another_task, f, NULL, &f->other), 0);
    RT_AWAIT(s->got, rt_poll_join(cx, f->other, NULL));
    CHECK_EQ(rt_op_forget(0, write_down, &f->notes[0]), -EBADF);
    net_put(s->far, "x", 1);
    OP_TAKE_EQ(s, 1); /* it was not forgotten */
    CHECK_EQ(noted(f, 0), 0);
    RT_END(0);
}
static void only_the_owner_may(void) { play(only_for_the_owner); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(done_is_called_once);
    CASE(done_may_be_missing);
    CASE(the_end_of_the_task_ends_it);
    CASE(what_it_made_is_closed);
    CASE(done_may_call_the_library);
    CASE(only_the_owner_may);
    return test_end();
}
