/* Abort at every moment of a task's life: unpolled, in a poll, parked, ended, joined. */
#include "check.h"

static void before_the_first_poll(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(1000); i++) {
        probe p = {0};
        rt_task task = probe_spawn(rt, &p);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        CHECK_EQ(p.drops, 1);
        if (current_thread()) CHECK_EQ(p.polls, 0); /* nobody drove in between */
    }
    test_runtime_free(rt);
}

static void while_parked(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_polled, &p);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    CHECK_EQ(p.polls, 1); /* an abort is not a wake */
    CHECK_EQ(p.drops, 1);
    test_runtime_free(rt);
}

static void twice(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    CHECK_EQ(p.drops, 1);
    test_runtime_free(rt);
}

static void after_the_end(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true, .result = 5};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_dropped, &p);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), 5);
    CHECK_EQ(p.drops, 1);
    CHECK_EQ(rt_abort(task), -EBADF);
    test_runtime_free(rt);
}

static void with_a_wake_under_way(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(1000); i++) {
        probe p = {0};
        rt_task task = probe_spawn(rt, &p);
        CHECK_EQ(rt_task_wake(task), 0);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(rt_task_wake(task), 0); /* not joined yet, so the handle is good */
        CHECK_EQ(join_task(task), -ECANCELED);
        CHECK_EQ(p.drops, 1);
    }
    test_runtime_free(rt);
}

/* ---- in its own poll ---- */

struct self_abort {
    probe probe;
    int64_t returns;
};

static int64_t abort_self(rt_cx *cx, void *state) {
    struct self_abort *s = state;
    probe_enter(&s->probe);
    CHECK_EQ(rt_abort(rt_task_self(cx)), 0);
    CHECK_EQ(s->probe.drops, 0);
    return probe_leave(&s->probe, s->returns);
}

static void drop_self_abort(void *state) { probe_drop(&((struct self_abort *)state)->probe); }

static int64_t run_self_abort(int64_t returns) {
    rt_runtime rt = test_runtime();
    struct self_abort s = {.returns = returns};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, abort_self, &s, drop_self_abort, &task), 0);
    int64_t result = join_task(task);
    CHECK_EQ(s.probe.polls, 1);
    CHECK_EQ(s.probe.drops, 1);
    test_runtime_free(rt);
    return result;
}

static void in_its_own_poll_that_stays_pending(void) {
    CHECK_EQ(run_self_abort(RT_PENDING), -ECANCELED);
}

static void in_its_own_poll_that_returns(void) { CHECK_EQ(run_self_abort(7), 7); }

/* ---- in its poll, from another thread ---- */

struct held {
    probe probe;
    gate inside, leave;
    int64_t returns;
    rt_task task;
};

static int64_t hold(rt_cx *cx, void *state) {
    (void)cx;
    struct held *h = state;
    probe_enter(&h->probe);
    gate_open(&h->inside);
    gate_wait(&h->leave);
    return probe_leave(&h->probe, h->returns);
}

static void drop_held(void *state) { probe_drop(&((struct held *)state)->probe); }

static void *abort_inside(void *arg) {
    struct held *h = arg;
    gate_wait(&h->inside);
    CHECK_EQ(rt_abort(h->task), 0);
    CHECK_EQ(h->probe.drops, 0); /* the poll still runs */
    gate_open(&h->leave);
    return NULL;
}

static void run_held(int64_t returns, int64_t expected) {
    rt_runtime rt = test_runtime();
    struct held h = {.returns = returns};
    gate_init(&h.inside);
    gate_init(&h.leave);
    CHECK_EQ(rt_spawn(rt, hold, &h, drop_held, &h.task), 0);
    pthread_t aborter = thread_start(abort_inside, &h);
    CHECK_EQ(join_task(h.task), expected);
    thread_join(aborter);
    CHECK_EQ(h.probe.polls, 1);
    CHECK_EQ(h.probe.drops, 1);
    gate_destroy(&h.inside);
    gate_destroy(&h.leave);
    test_runtime_free(rt);
}

static void in_a_poll_that_stays_pending(void) { run_held(RT_PENDING, -ECANCELED); }

static void in_a_poll_that_returns(void) { run_held(9, 9); }

/* ---- from another task, from a drop ---- */

static int64_t abort_other(rt_cx *cx, void *state) {
    (void)cx;
    return rt_abort(*(rt_task *)state);
}

static void from_another_task(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task victim = probe_spawn(rt, &p);
    CHECK_EQ(rt_block_on(rt, abort_other, &victim), 0);
    CHECK_EQ(join_task(victim), -ECANCELED);
    CHECK_EQ(p.drops, 1);
    test_runtime_free(rt);
}

struct chain {
    probe probe;
    rt_task self, next; /* dropped: asks itself and the next one to end */
};

static int64_t chain_poll(rt_cx *cx, void *state) {
    return probe_poll(cx, &((struct chain *)state)->probe);
}

static void chain_drop(void *state) {
    struct chain *c = state;
    probe_drop(&c->probe);
    CHECK_EQ(rt_abort(c->self), 0); /* harmless: it is ending */
    CHECK_EQ(rt_task_wake(c->self), 0);
    if (c->next != 0) CHECK_EQ(rt_abort(c->next), 0);
}

enum { LINKS = 50 };

static void from_drops_in_a_chain(void) {
    rt_runtime rt = test_runtime();
    struct chain links[LINKS] = {{.self = 0}};
    for (int i = LINKS - 1; i >= 0; i--) {
        if (i + 1 < LINKS) links[i].next = links[i + 1].self;
        CHECK_EQ(rt_spawn(rt, chain_poll, &links[i], chain_drop, &links[i].self), 0);
    }
    CHECK_EQ(rt_abort(links[0].self), 0);
    for (int i = 0; i < LINKS; i++) {
        CHECK_EQ(join_task(links[i].self), -ECANCELED);
        CHECK_EQ(links[i].probe.drops, 1);
    }
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(before_the_first_poll);
    CASE(while_parked);
    CASE(twice);
    CASE(after_the_end);
    CASE(with_a_wake_under_way);
    CASE(in_its_own_poll_that_stays_pending);
    CASE(in_its_own_poll_that_returns);
    CASE(in_a_poll_that_stays_pending);
    CASE(in_a_poll_that_returns);
    CASE(from_another_task);
    CASE(from_drops_in_a_chain);
    return test_end();
}
