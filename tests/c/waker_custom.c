/* Wakers made from a table of functions, and contexts outside tasks that carry them: every clone is
 * dropped or spent by a wake, once. */
#include "check.h"

/* ---- a waker that counts; each clone is an allocation of its own, so that a sanitizer sees one
 * that is leaked or used twice ---- */

struct tally {
    atomic_int live, wakes;
    gate woken;
};
struct ticket {
    struct tally *tally;
};

static void *new_ticket(struct tally *t) {
    struct ticket *ticket = malloc(sizeof *ticket);
    CHECK(ticket != NULL);
    ticket->tally = t;
    atomic_fetch_add(&t->live, 1);
    return ticket;
}

static void *ticket_clone(void *data) { return new_ticket(((struct ticket *)data)->tally); }

static void ticket_drop(void *data) {
    struct tally *t = ((struct ticket *)data)->tally;
    free(data);
    CHECK(atomic_fetch_sub(&t->live, 1) > 0);
}

static void ticket_wake_by_ref(void *data) {
    struct tally *t = ((struct ticket *)data)->tally;
    atomic_fetch_add(&t->wakes, 1);
    gate_open(&t->woken);
}

static void ticket_wake(void *data) {
    ticket_wake_by_ref(data);
    ticket_drop(data);
}

static const rt_waker_vtable tickets = {ticket_clone, ticket_wake, ticket_wake_by_ref, ticket_drop};

static rt_waker ticket_waker(struct tally *t) {
    rt_waker w;
    CHECK_EQ(rt_waker_new(&tickets, new_ticket(t), &w), 0);
    return w;
}

static void tally_init(struct tally *t) {
    *t = (struct tally){.live = 0};
    gate_init(&t->woken);
}

/* Comes after the runtime's end: a worker may still be about to drop what it woke with. */
static void tally_end(struct tally *t, int wakes) {
    CHECK_EQ(t->live, 0);
    if (wakes >= 0) CHECK_EQ(t->wakes, wakes);
    gate_destroy(&t->woken);
}

/* ---- by itself ---- */

static void each_call_reaches_its_function(void) {
    struct tally t;
    tally_init(&t);
    rt_waker w = ticket_waker(&t), clone;
    CHECK_EQ(t.live, 1);
    CHECK_EQ(rt_waker_clone(&w, &clone), 0);
    CHECK_EQ(t.live, 2);
    CHECK_EQ(rt_waker_wake_by_ref(&w), 0);
    CHECK_EQ(t.wakes, 1);
    CHECK_EQ(rt_waker_wake(&clone), 0);
    CHECK_EQ(t.wakes, 2);
    CHECK_EQ(t.live, 1);
    CHECK(rt_waker_will_wake(&w, &w));
    CHECK_EQ(rt_waker_drop(&w), 0);
    CHECK_EQ(rt_waker_drop(&w), 0);
    tally_end(&t, 2);
}

static void an_incomplete_table_is_refused(void) {
    struct tally t;
    tally_init(&t);
    void *data = new_ticket(&t);
    rt_waker w = {{0, 0}};
    rt_waker_vtable broken[4] = {tickets, tickets, tickets, tickets};
    broken[0].clone = NULL;
    broken[1].wake = NULL;
    broken[2].wake_by_ref = NULL;
    broken[3].drop = NULL;
    for (int i = 0; i < 4; i++) CHECK_EQ(rt_waker_new(&broken[i], data, &w), -EINVAL);
    CHECK_EQ(rt_waker_new(NULL, data, &w), -EINVAL);
    CHECK_EQ(rt_waker_new(&tickets, data, NULL), -EINVAL);
    CHECK_EQ(t.live, 1); /* a failure leaves the data to us */
    ticket_drop(data);
    tally_end(&t, 0);
}

/* ---- in a context outside tasks ---- */

static rt_cx *new_cx(rt_runtime rt, struct tally *t) {
    rt_waker w = ticket_waker(t);
    rt_cx *cx = NULL;
    CHECK_EQ(rt_cx_new(rt, &w, &cx), 0);
    CHECK(cx != NULL);
    CHECK(rt_cx_runtime(cx) == rt);
    CHECK_EQ(rt_task_self(cx), 0);
    CHECK(rt_cx_current() == NULL);
    CHECK_EQ(rt_waker_drop(&w), 0); /* the context has a clone */
    CHECK(t->live > 0);
    return cx;
}

/* In the current-thread flavour nobody but us runs the tasks. */
static void await_wake(rt_runtime rt, struct tally *t) {
    if (current_thread())
        while (atomic_load(&t->wakes) == 0) CHECK_OK(rt_turn(rt, RT_NEVER));
    gate_wait(&t->woken);
}

static void a_context_outside_tasks_joins(void) {
    rt_runtime rt = test_runtime();
    struct tally t;
    tally_init(&t);
    rt_cx *cx = new_cx(rt, &t);
    probe p = {.result = 13};
    rt_task task = probe_spawn(rt, &p);
    int64_t result = 0;
    for (int i = 0; i < 5; i++) CHECK_EQ(rt_poll_join(cx, task, &result), RT_PENDING);
    CHECK_EQ(t.wakes, 0);
    probe_finish(&p, task);
    await_wake(rt, &t);
    CHECK_EQ(rt_poll_join(cx, task, &result), 0);
    CHECK_EQ(result, 13);
    CHECK_EQ(rt_cx_free(cx), 0);
    test_runtime_free(rt);
    tally_end(&t, 1); /* polled five times, it still waited once */
}

static void a_context_freed_while_it_waits_leaves_nothing(void) {
    rt_runtime rt = test_runtime();
    struct tally t;
    tally_init(&t);
    rt_cx *cx = new_cx(rt, &t);
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_poll_join(cx, task, NULL), RT_PENDING);
    CHECK_EQ(rt_cx_free(cx), 0);
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
    tally_end(&t, -1); /* one late wake is allowed, a leaked waker is not */
}

static void a_waker_is_woken_when_the_runtime_goes(void) {
    rt_runtime rt = test_runtime();
    struct tally t;
    tally_init(&t);
    rt_cx *cx = new_cx(rt, &t);
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    int64_t result = 0;
    CHECK_EQ(rt_poll_join(cx, task, NULL), RT_PENDING);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    gate_wait(&t.woken);
    CHECK_EQ(rt_poll_join(cx, task, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_poll_join(cx, task, &result), -EBADF);
    CHECK_EQ(rt_cx_free(cx), 0);
    tally_end(&t, 1);
}

/* From any one thread at a time: made here, polled there, freed here. */
struct handed {
    rt_cx *cx;
    rt_task task;
};

static void *poll_there(void *arg) {
    struct handed *h = arg;
    CHECK_EQ(rt_poll_join(h->cx, h->task, NULL), RT_PENDING);
    return NULL;
}

static void a_context_may_move_between_threads(void) {
    rt_runtime rt = test_runtime();
    struct tally t;
    tally_init(&t);
    probe p = {.result = 1};
    struct handed h = {new_cx(rt, &t), probe_spawn(rt, &p)};
    on_thread(poll_there, &h);
    CHECK_EQ(rt_poll_join(h.cx, h.task, NULL), RT_PENDING);
    probe_finish(&p, h.task);
    await_wake(rt, &t);
    CHECK_EQ(rt_poll_join(h.cx, h.task, NULL), 0);
    CHECK_EQ(rt_cx_free(h.cx), 0);
    test_runtime_free(rt);
    tally_end(&t, 1);
}

/* ---- a waker that calls back ---- */

struct caller {
    rt_runtime rt;
    probe child;
    rt_task other;
    probe *other_probe;
    gate called;
};

static void *call_clone(void *data) { return data; }
static void call_drop(void *data) { (void)data; }

/* No lock is held here, so everything that does not block works. */
static void call_wake(void *data) {
    struct caller *c = data;
    atomic_store(&c->child.ready, true);
    probe_finish(c->other_probe, c->other);
    CHECK_EQ(rt_spawn(c->rt, probe_poll, &c->child, NULL, NULL), 0);
    metrics(c->rt);
    gate_open(&c->called);
}

static const rt_waker_vtable callers = {call_clone, call_wake, call_wake, call_drop};

static void a_waker_may_call_the_library(void) {
    rt_runtime rt = test_runtime();
    probe first = {.result = 1}, second = {.result = 2};
    struct caller c = {.rt = rt, .other_probe = &second};
    rt_waker w;
    rt_cx *cx;
    gate_init(&c.called);
    rt_task target = probe_spawn(rt, &first);
    c.other = probe_spawn(rt, &second);
    drive_until(rt, probe_waits, &second);
    CHECK_EQ(rt_waker_new(&callers, &c, &w), 0);
    CHECK_EQ(rt_cx_new(rt, &w, &cx), 0);
    CHECK_EQ(rt_poll_join(cx, target, NULL), RT_PENDING);
    probe_finish(&first, target);
    CHECK_EQ(join_task(c.other), 2); /* woken by nobody but the waker */
    gate_wait(&c.called);
    CHECK_EQ(rt_poll_join(cx, target, NULL), 0);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&w), 0);
    settle(rt);
    CHECK(c.child.polls >= 1);
    gate_destroy(&c.called);
    test_runtime_free(rt);
}

/* ---- refusals ---- */

static int64_t free_own_context(rt_cx *cx, void *state) {
    (void)state;
    return rt_cx_free(cx);
}

static void only_a_context_of_ones_own_is_freed_and_once(void) {
    rt_runtime rt = test_runtime();
    struct tally t;
    tally_init(&t);
    CHECK_EQ(rt_block_on(rt, free_own_context, NULL), -EPERM);
    rt_cx *cx = new_cx(rt, &t);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_cx_free(cx), -EPERM);
    CHECK_EQ(rt_poll_join(cx, 1, NULL), -EPERM);
    test_runtime_free(rt);
    tally_end(&t, 0);
}

static void a_context_needs_a_runtime_and_a_waker(void) {
    rt_runtime rt = test_runtime();
    struct tally t;
    tally_init(&t);
    rt_waker w = ticket_waker(&t);
    rt_cx *cx = NULL;
    CHECK_EQ(rt_cx_new(0, &w, &cx), -EBADF);
    CHECK_EQ(rt_cx_new(rt ^ 2, &w, &cx), -EBADF);
    CHECK_EQ(rt_cx_new(rt, NULL, &cx), -EINVAL);
    CHECK_EQ(rt_cx_new(rt, &w, NULL), -EINVAL);
    CHECK_EQ(rt_cx_free(NULL), 0);
    CHECK_EQ(t.live, 1);
    CHECK_EQ(rt_waker_drop(&w), 0);
    tally_end(&t, 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(each_call_reaches_its_function);
    CASE(an_incomplete_table_is_refused);
    CASE(a_context_outside_tasks_joins);
    CASE(a_context_freed_while_it_waits_leaves_nothing);
    CASE(a_waker_is_woken_when_the_runtime_goes);
    CASE(a_context_may_move_between_threads);
    CASE(a_waker_may_call_the_library);
    CASE(only_a_context_of_ones_own_is_freed_and_once);
    CASE(a_context_needs_a_runtime_and_a_waker);
    return test_end();
}
