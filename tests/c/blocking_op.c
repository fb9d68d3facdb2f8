/* A call that blocks, as an operation: its outcome is what it returned; cancelled or out of time it
 * is not called, or goes on and its return is the outcome; the task's end waits for it.
 */
#include "blocking.h"

struct calls {
    rt_runtime rt;
    atomic_bool ends; /* the task does */
    struct steps steps;
    struct job jobs[8];
    rt_op ops[8];
    gate hold;
    atomic_int drops;
};

static const int64_t outcomes[] = {0,       1,          -1,     INT64_MAX, INT64_MIN, INT64_MIN + 1,
                                   -EAGAIN, -ECANCELED, -EINTR, -ETIME,    -512,      INT64_MIN / 2};

static int64_t an_outcome_passes_through(rt_cx *cx, void *state) {
    struct calls *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < sizeof outcomes / sizeof outcomes[0]; s->n++) {
        memset(c->jobs, 0, sizeof c->jobs);
        c->jobs[0].result = outcomes[s->n];
        OP_EQ(s, outcomes[s->n], rt_submit_call(cx, job_run, &c->jobs[0], &s->op));
        CHECK_EQ(atomic_load(&c->jobs[0].runs), 1);
    }
    OP_FAILS(s, -EINVAL, rt_submit_call(cx, NULL, &c->jobs[0], &s->op));
    CHECK_EQ(rt_submit_call(cx, job_run, &c->jobs[0], NULL), -EINVAL);
    RT_END(0);
}

/* The first holds the only thread, the others wait for it. */
static void submit_all(rt_cx *cx, struct calls *c) {
    memset(c->jobs, 0, sizeof c->jobs);
    for (int i = 0; i < 8; i++) {
        c->jobs[i].result = 10 + i;
        c->jobs[i].hold = i == 0 ? &c->hold : NULL;
        CHECK_EQ(rt_submit_call(cx, job_run, &c->jobs[i], &c->ops[i]), 0);
    }
}

static int64_t a_cancel_takes_back_what_is_queued(rt_cx *cx, void *state) {
    struct calls *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    submit_all(cx, c);
    while (!job_begun(&c->jobs[0])) RT_YIELD(cx);
    for (s->i = 0; s->i < 7; s->i++) CHECK_EQ(rt_cancel(c->ops[s->i]), 0);
    for (s->i = 1; s->i < 7; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[s->i]));
        CHECK_EQ(s->got, -ECANCELED);
        CHECK_EQ(atomic_load(&c->jobs[s->i].runs), 0);
    }
    CHECK_EQ(rt_poll_op(cx, c->ops[0]), RT_PENDING);
    gate_open(&c->hold);
    RT_AWAIT(s->got, rt_poll_op(cx, c->ops[0]));
    CHECK_EQ(s->got, 10);
    RT_AWAIT(s->got, rt_poll_op(cx, c->ops[7]));
    CHECK_EQ(s->got, 17);
    RT_END(0);
}

static int64_t a_deadline_does_so_too(rt_cx *cx, void *state) {
    struct calls *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    submit_all(cx, c);
    c->jobs[0].result = -ECANCELED; /* its own word, not the library's */
    while (!job_begun(&c->jobs[0])) RT_YIELD(cx);
    for (s->i = 0; s->i < 7; s->i++) CHECK_EQ(rt_op_deadline(c->ops[s->i], rt_now() + 1000000), 0);
    for (s->i = 1; s->i < 7; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[s->i]));
        CHECK_EQ(s->got, -ETIME);
        CHECK_EQ(atomic_load(&c->jobs[s->i].runs), 0);
    }
    CHECK_EQ(rt_poll_op(cx, c->ops[0]), RT_PENDING);
    gate_open(&c->hold);
    RT_AWAIT(s->got, rt_poll_op(cx, c->ops[0]));
    CHECK_EQ(s->got, -ECANCELED);
    RT_AWAIT(s->got, rt_poll_op(cx, c->ops[7]));
    CHECK_EQ(s->got, 17);
    RT_END(0);
}

static void with_one_thread(rt_poll_fn body) {
    static struct calls c;
    memset(&c, 0, sizeof c);
    gate_init(&c.hold);
    rt_runtime rt = runtime_of_threads(1);
    CHECK_EQ(rt_block_on(rt, body, &c), 0);
    op_runtime_free(rt);
    gate_destroy(&c.hold);
}

static void outcomes_pass_through(void) { with_one_thread(an_outcome_passes_through); }
static void cancels(void) { with_one_thread(a_cancel_takes_back_what_is_queued); }
static void deadlines(void) { with_one_thread(a_deadline_does_so_too); }

/* ---- the end of the task ---- */

static int64_t submits_and_ends(rt_cx *cx, void *state) {
    struct calls *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    submit_all(cx, c);
    while (!job_begun(&c->jobs[0])) RT_YIELD(cx);
    atomic_store(&c->ends, true);
    RT_END(5);
}

/* What was queued was taken back: the call that runs is all that is left. */
static bool one_is_left(void *state) {
    struct calls *c = state;
    return atomic_load(&c->ends) && metrics(c->rt).ops_live == 1;
}

static void calls_dropped(void *state) {
    struct calls *c = state;
    CHECK_EQ(atomic_load(&c->jobs[0].runs), 1);
    CHECK_EQ(atomic_load(&c->jobs[0].inside), 0);
    atomic_fetch_add(&c->drops, 1);
}

static void a_task_is_dropped_after_its_call(void) {
    static struct calls c;
    memset(&c, 0, sizeof c);
    gate_init(&c.hold);
    rt_runtime rt = c.rt = runtime_of_threads(1);
    rt_task task;
    CHECK_EQ(rt_spawn(rt, submits_and_ends, &c, calls_dropped, &task), 0);
    drive_until(rt, one_is_left, &c);
    int64_t result;
    CHECK_EQ(rt_join(task, 1000000, &result), -ETIME);
    CHECK_EQ(atomic_load(&c.drops), 0);
    gate_open(&c.hold);
    CHECK_EQ(join_task(task), 5);
    CHECK_EQ(atomic_load(&c.drops), 1);
    for (int i = 1; i < 8; i++) CHECK_EQ(atomic_load(&c.jobs[i].runs), 0);
    op_runtime_free(rt);
    gate_destroy(&c.hold);
}

static void outside_of_tasks_there_is_none(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    struct job j = {.result = 0};
    rt_op op = 7;
    CHECK_EQ(rt_submit_call(h.cx, job_run, &j, &op), -EPERM);
    CHECK_EQ(op, 0);
    hand_close(&h);
    op_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(outcomes_pass_through);
    CASE(cancels);
    CASE(deadlines);
    CASE(a_task_is_dropped_after_its_call);
    CASE(outside_of_tasks_there_is_none);
    return test_end();
}
