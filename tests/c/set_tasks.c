/* A set of tasks: they come in the order in which they ended, each once, be they aborted, detached
 * or joined by somebody else; and several may wait for one set.
 */
#include "multi.h"

#include <malloc.h>

enum { TASKS = 64 };

struct chain;

struct link {
    struct chain *chain;
    int at;
    rt_task task;
};

struct chain {
    rt_frame frame;
    rt_set set, other;
    struct link links[TASKS];
    int next[TASKS]; /* who ends after each */
    int turn, first;
    int64_t got, result;
    uint64_t key;
    size_t in_use;
    int i, at;
    probe probe;
    rt_task task;
};

static struct chain chain;

static void play(rt_poll_fn body) {
    memset(&chain, 0, sizeof chain);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_set_new(rt, &chain.set), 0);
    CHECK_EQ(rt_set_new(rt, &chain.other), 0);
    CHECK_EQ(rt_block_on(rt, body, &chain), 0);
    CHECK_EQ(rt_set_free(chain.set), 0);
    CHECK_EQ(rt_set_free(chain.other), 0);
    op_runtime_free(rt);
}

/* ---- the order ---- */

/* On one worker, where a task's end is known before the next one runs. */
static int64_t end_in_turn(rt_cx *cx, void *state) {
    struct link *l = state;
    struct chain *c = l->chain;
    (void)cx;
    if (c->turn != l->at) return RT_PENDING;
    c->turn = c->next[l->at];
    if (c->turn != c->first) CHECK_EQ(rt_task_wake(c->links[c->turn].task), 0);
    return l->at;
}

static int64_t in_order(rt_cx *cx, void *state) {
    struct chain *c = state;
    RT_BEGIN(&c->frame);
    c->turn = -1;
    for (int i = 0; i < TASKS; i++) {
        rt_task near = i == 0 ? 0 : c->links[0].task;
        c->links[i] = (struct link){c, i, 0};
        c->links[i].task = spawn_near(rt_cx_runtime(cx), end_in_turn, &c->links[i], near);
        c->next[i] = (i + 37) % TASKS;
        CHECK_EQ(rt_set_add(cx, c->set, c->links[i].task, (uint64_t)i), 0);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), RT_PENDING);
    c->turn = c->first = 5;
    CHECK_EQ(rt_task_wake(c->links[5].task), 0);
    for (c->i = 0, c->at = 5; c->i < TASKS; c->i++, c->at = c->next[c->at]) {
        RT_AWAIT(c->got, rt_poll_set(cx, c->set, &c->key));
        CHECK_EQ(c->got, 0);
        CHECK_EQ(c->key, c->at);
        CHECK_EQ(rt_poll_join(cx, c->links[c->at].task, &c->result), 0);
        CHECK_EQ(c->result, c->at);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);
    RT_END(0);
}
static void ended_in_order(void) { play(in_order); }

/* ---- every end ---- */

enum { RETURNED = 1, ABORTED, DETACHED, JOINED, ENDED, ENDS };

/* Many may be told; one gets the result. */
static int64_t every_end(rt_cx *cx, void *state) {
    static probe probes[ENDS];
    static rt_task tasks[ENDS];
    static bool seen[ENDS];
    struct chain *c = state;
    RT_BEGIN(&c->frame);
    memset(probes, 0, sizeof probes);
    memset(seen, 0, sizeof seen);
    for (int i = 1; i < ENDS; i++) {
        probes[i].result = i;
        tasks[i] = probe_spawn(rt_cx_runtime(cx), &probes[i]);
    }
    probe_finish(&probes[ENDED], tasks[ENDED]);
    while (!probe_dropped(&probes[ENDED])) RT_YIELD(cx);
    for (int i = 1; i < ENDS; i++) {
        CHECK_EQ(rt_set_add(cx, c->set, tasks[i], (uint64_t)i), 0);
        CHECK_EQ(rt_set_add(cx, c->other, tasks[i], (uint64_t)i), 0);
    }
    probe_finish(&probes[RETURNED], tasks[RETURNED]);
    CHECK_EQ(rt_abort(tasks[ABORTED]), 0);
    CHECK_EQ(rt_detach(tasks[DETACHED]), 0);
    probe_finish(&probes[JOINED], tasks[JOINED]);
    RT_AWAIT(c->got, rt_poll_join(cx, tasks[JOINED], &c->result));
    CHECK_EQ(c->result, JOINED);
    for (c->i = 1; c->i < ENDS; c->i++) {
        static const int64_t expected[ENDS] = {0, RETURNED, -ECANCELED, 0, 0, ENDED};
        RT_AWAIT(c->got, rt_poll_set(cx, c->set, &c->key));
        CHECK_EQ(c->got, 0);
        CHECK(!seen[c->key]);
        seen[c->key] = true;
        bool is_spent = c->key == DETACHED || c->key == JOINED;
        CHECK_EQ(rt_poll_join(cx, tasks[c->key], &c->result), is_spent ? -EBADF : 0);
        if (!is_spent) CHECK_EQ(c->result, expected[c->key]);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);
    for (c->i = 1; c->i < ENDS; c->i++) {
        RT_AWAIT(c->got, rt_poll_set(cx, c->other, &c->key));
        CHECK_EQ(c->got, 0);
        CHECK_EQ(rt_poll_join(cx, tasks[c->key], NULL), -EBADF);
    }
    CHECK_EQ(rt_poll_set(cx, c->other, &c->key), -ENOENT);
    CHECK_EQ(rt_abort(tasks[DETACHED]), 0); /* it goes on */
    RT_END(0);
}
static void every_end_is_told(void) { play(every_end); }

/* ---- sets that go ---- */

enum { SETS = 20000, ROOM = 500000 };

/* One task outlives many sets, of which it keeps nothing, and is in the last one. */
static int64_t outlive(rt_cx *cx, void *state) {
    struct chain *c = state;
    RT_BEGIN(&c->frame);
    c->probe.result = 3;
    c->task = probe_spawn(rt_cx_runtime(cx), &c->probe);
    c->in_use = mallinfo2().uordblks;
    for (int i = scaled(SETS); i > 0; i--) {
        rt_set set;
        CHECK_EQ(rt_set_new(rt_cx_runtime(cx), &set), 0);
        CHECK_EQ(rt_set_add(cx, set, c->task, 1), 0);
        CHECK_EQ(rt_poll_set(cx, set, &c->key), RT_PENDING);
        CHECK_EQ(rt_set_free(set), 0);
        CHECK_EQ(rt_poll_set(cx, set, &c->key), -EBADF);
    }
    CHECK(mallinfo2().uordblks < c->in_use + ROOM);
    CHECK_EQ(rt_set_add(cx, c->set, c->task, 4), 0);
    CHECK_EQ(rt_set_add(cx, c->other, c->task, 4), 0);
    probe_finish(&c->probe, c->task);
    RT_AWAIT(c->got, rt_poll_set(cx, c->set, &c->key));
    CHECK_EQ(c->key, 4);
    CHECK_EQ(rt_poll_join(cx, c->task, &c->result), 0);
    CHECK_EQ(c->result, 3);
    RT_END(0); /* the other set is freed with a member that is ready */
}
static void a_task_outlives_sets(void) { play(outlive); }

/* ---- several who wait ---- */

enum { WAITERS = 4, CROWD = 200 };

struct crowd {
    rt_set set;
    atomic_int taken[CROWD], waiting, ended;
    rt_task tasks[CROWD];
    probe probes[CROWD];
    int64_t expected;
};

/* Takes what it gets, until there is nothing left. */
static int64_t take_some(rt_cx *cx, void *state) {
    struct crowd *c = state;
    uint64_t key;
    int64_t r;
    while ((r = rt_poll_set(cx, c->set, &key)) == 0) {
        CHECK_EQ(atomic_fetch_add(&c->taken[key], 1), 0);
        CHECK_EQ(rt_poll_join(cx, c->tasks[key], NULL), 0);
    }
    if (r == RT_PENDING) atomic_fetch_add(&c->waiting, 1);
    else CHECK_EQ(r, c->expected);
    return r;
}

static bool all_wait(void *arg) { return atomic_load(&((struct crowd *)arg)->waiting) >= WAITERS; }

static void *free_it(void *arg) {
    struct crowd *c = arg;
    CHECK_EQ(rt_set_free(c->set), 0);
    return NULL;
}

static int64_t add_crowd(rt_cx *cx, void *state) {
    struct crowd *c = state;
    for (int i = 0; i < CROWD; i++) CHECK_EQ(rt_set_add(cx, c->set, c->tasks[i], (uint64_t)i), 0);
    return 0;
}

static void crowd_wait_for(bool frees) {
    static struct crowd c;
    rt_task waiters[WAITERS];
    memset(&c, 0, sizeof c);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_set_new(rt, &c.set), 0);
    c.expected = frees ? -EBADF : -ENOENT;
    for (int i = 0; i < CROWD; i++) c.tasks[i] = probe_spawn(rt, &c.probes[i]);
    CHECK_EQ(rt_block_on(rt, add_crowd, &c), 0);
    for (int i = 0; i < WAITERS; i++) CHECK_EQ(rt_spawn(rt, take_some, &c, NULL, &waiters[i]), 0);
    drive_until(rt, all_wait, &c);
    for (int i = 0; i < CROWD; i++) drive_until(rt, probe_waits, &c.probes[i]);
    if (frees) on_thread(free_it, &c);
    for (int i = 0; i < CROWD; i++) probe_finish(&c.probes[i], c.tasks[i]);
    for (int i = 0; i < WAITERS; i++) CHECK_EQ(join_task(waiters[i]), c.expected);
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(atomic_load(&c.taken[i]), !frees);
        if (frees) CHECK_EQ(join_task(c.tasks[i]), 0);
    }
    if (!frees) CHECK_EQ(rt_set_free(c.set), 0);
    test_runtime_free(rt);
}
static void several_wait(void) { crowd_wait_for(false); }
static void freed_under_several(void) { crowd_wait_for(true); }

/* ---- outside of tasks ---- */

static void by_hand(void) {
    struct hand h;
    probe p = {.result = 9};
    uint64_t key = 0;
    int64_t result = 0;
    rt_set set;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    CHECK_EQ(rt_set_new(rt, &set), 0);
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_set_add(h.cx, set, task, UINT64_MAX), 0);
    CHECK_EQ(rt_poll_set(h.cx, set, &key), RT_PENDING);
    CHECK_EQ(rt_poll_set(h.cx, set, &key), RT_PENDING);
    CHECK_EQ(atomic_load(&h.wakers), 2);
    probe_finish(&p, task);
    AWAIT_EQ(&h, 0, rt_poll_set(h.cx, set, &key));
    CHECK(key == UINT64_MAX);
    CHECK_EQ(rt_poll_join(h.cx, task, &result), 0);
    CHECK_EQ(result, 9);
    CHECK_EQ(rt_set_free(set), 0);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(ended_in_order);
    CASE(every_end_is_told);
    CASE(a_task_outlives_sets);
    CASE(several_wait);
    CASE(freed_under_several);
    CASE(by_hand);
    return test_end();
}
