/* A context is good during its poll and on its thread; elsewhere it is refused. */
#include "check.h"

/* ---- what it says during the poll ---- */

struct look {
    rt_runtime rt;
    rt_task self;
    int polls;
};

static int64_t look_around(rt_cx *cx, void *state) {
    struct look *l = state;
    CHECK(rt_cx_current() == cx);
    CHECK(rt_cx_runtime(cx) == l->rt);
    CHECK(rt_cx_waker(cx) != NULL);
    CHECK(rt_cx_waker(cx) == rt_cx_waker(cx));
    CHECK(rt_task_self(cx) != 0);
    if (l->self == 0) l->self = rt_task_self(cx);
    CHECK(rt_task_self(cx) == l->self);
    return ++l->polls < 3 ? rt_yield(cx) : 0;
}

static void a_context_says_who_and_where(void) {
    rt_runtime rt = test_runtime();
    struct look spawned = {.rt = rt}, blocked = {.rt = rt};
    rt_task task;
    CHECK(rt_cx_current() == NULL);
    CHECK_EQ(rt_spawn(rt, look_around, &spawned, NULL, &task), 0);
    CHECK_EQ(rt_block_on(rt, look_around, &blocked), 0);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(spawned.self, task);
    CHECK(blocked.self != task);
    CHECK(rt_cx_current() == NULL);
    test_runtime_free(rt);
}

/* ---- a wrong thread, a wrong time ---- */

static void refused(rt_cx *cx, rt_task task) {
    CHECK_EQ(rt_yield(cx), -EPERM);
    CHECK_EQ(rt_poll_join(cx, task, NULL), -EPERM);
}

struct loan {
    rt_cx *cx;
    rt_task other;
    bool dropped;
    gate lent, returned;
};

static void *use_from_elsewhere(void *arg) {
    struct loan *l = arg;
    gate_wait(&l->lent);
    refused(l->cx, l->other);
    CHECK(rt_cx_current() == NULL);
    gate_open(&l->returned);
    return NULL;
}

static int64_t lend(rt_cx *cx, void *state) {
    struct loan *l = state;
    l->cx = cx;
    gate_open(&l->lent);
    gate_wait(&l->returned);
    CHECK_EQ(rt_poll_join(cx, l->other, NULL), RT_PENDING); /* here it still works */
    return 0;
}

static void drop_loan(void *state) {
    struct loan *l = state;
    CHECK(rt_cx_current() == NULL);
    refused(l->cx, l->other);
    l->dropped = true;
}

static void a_context_is_refused_elsewhere_and_later(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    struct loan l = {.other = probe_spawn(rt, &p)};
    gate_init(&l.lent);
    gate_init(&l.returned);
    pthread_t borrower = thread_start(use_from_elsewhere, &l);
    rt_task task;
    CHECK_EQ(rt_spawn(rt, lend, &l, drop_loan, &task), 0);
    CHECK_EQ(join_task(task), 0);
    CHECK(l.dropped);
    thread_join(borrower);
    refused(l.cx, l.other); /* after its poll, and outside any */
    gate_destroy(&l.lent);
    gate_destroy(&l.returned);
    probe_finish(&p, l.other);
    CHECK_EQ(join_task(l.other), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_context_says_who_and_where);
    CASE(a_context_is_refused_elsewhere_and_later);
    return test_end();
}
