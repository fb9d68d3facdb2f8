/* Spawning: from outside, from polls, drops and other threads; what a failed spawn leaves alone. */
#include "check.h"

/* ---- results ---- */

static int64_t return_state(rt_cx *cx, void *state) {
    (void)cx;
    return *(int64_t *)state;
}

static void the_result_reaches_the_joiner(void) {
    rt_runtime rt = test_runtime();
    int64_t results[] = {0, 42, -5, -4095, -4097, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        rt_task task;
        CHECK_EQ(rt_spawn(rt, return_state, &results[i], NULL, &task), 0);
        CHECK_EQ(join_task(task), results[i]);
    }
    test_runtime_free(rt);
}

/* ---- the handle is there before the task runs ---- */

struct named {
    rt_task task;
    bool same;
};

static int64_t compare_self(rt_cx *cx, void *state) {
    struct named *n = state;
    n->same = n->task != 0 && rt_task_self(cx) == n->task;
    return 0;
}

static void the_handle_is_written_before_the_first_poll(void) {
    rt_runtime rt = test_runtime();
    rt_task last = 0;
    for (int i = 0; i < scaled(2000); i++) {
        struct named n = {0};
        CHECK_EQ(rt_spawn(rt, compare_self, &n, NULL, &n.task), 0);
        rt_task task = n.task;
        CHECK(task != last); /* the generation tells a reused slot from its last owner */
        last = task;
        CHECK_EQ(join_task(task), 0);
        CHECK(n.same);
    }
    test_runtime_free(rt);
}

/* ---- detached ---- */

static void a_detached_task_runs_and_drops(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true};
    CHECK_EQ(rt_spawn(rt, probe_poll, &p, probe_drop, NULL), 0);
    settle(rt);
    CHECK_EQ(p.polls, 1);
    CHECK_EQ(p.drops, 1);
    test_runtime_free(rt);
}

/* ---- a tree: polls and drops that spawn ---- */

struct tree {
    rt_runtime rt;
    atomic_int nodes, drops;
};
struct node {
    struct tree *tree;
    int depth;
};

static int64_t grow(rt_cx *cx, void *state);

static void wither(void *state) {
    struct node *n = state;
    atomic_fetch_add(&n->tree->drops, 1);
    free(n);
}

static void plant(struct tree *tree, int depth) {
    struct node *n = malloc(sizeof *n);
    CHECK(n != NULL);
    *n = (struct node){tree, depth};
    CHECK_EQ(rt_spawn(tree->rt, grow, n, wither, NULL), 0);
}

static int64_t grow(rt_cx *cx, void *state) {
    struct node *n = state;
    CHECK(rt_cx_runtime(cx) == n->tree->rt);
    atomic_fetch_add(&n->tree->nodes, 1);
    for (int i = 0; i < 2 && n->depth > 0; i++) plant(n->tree, n->depth - 1);
    return 0;
}

static void polls_may_spawn(void) {
    struct tree tree = {.rt = test_runtime()};
    plant(&tree, 10);
    settle(tree.rt);
    CHECK_EQ(tree.nodes, 2047);
    CHECK_EQ(tree.drops, 2047);
    test_runtime_free(tree.rt);
}

struct heir {
    rt_runtime rt;
    probe child;
};

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void spawn_heir(void *state) {
    struct heir *h = state;
    CHECK_EQ(rt_spawn(h->rt, probe_poll, &h->child, probe_drop, NULL), 0);
}

static void drops_may_spawn(void) {
    struct heir h = {.rt = test_runtime(), .child = {.ready = true}};
    rt_task task;
    CHECK_EQ(rt_spawn(h.rt, end_at_once, &h, spawn_heir, &task), 0);
    CHECK_EQ(join_task(task), 0);
    settle(h.rt);
    CHECK_EQ(h.child.polls, 1);
    CHECK_EQ(h.child.drops, 1);
    test_runtime_free(h.rt);
}

/* ---- from other threads ---- */

enum { SPAWNERS = 3, EACH = 1000 };
struct crowd {
    rt_runtime rt;
    atomic_int drops;
    int expected;
};

static void count_drop(void *state) { atomic_fetch_add(&((struct crowd *)state)->drops, 1); }

static void *spawn_many(void *arg) {
    struct crowd *c = arg;
    for (int i = 0; i < scaled(EACH); i++)
        CHECK_EQ(rt_spawn(c->rt, end_at_once, c, count_drop, NULL), 0);
    return NULL;
}

static bool crowd_gone(void *arg) {
    struct crowd *c = arg;
    return atomic_load(&c->drops) == c->expected;
}

static void any_thread_may_spawn(void) {
    struct crowd c = {.rt = test_runtime(), .expected = SPAWNERS * scaled(EACH)};
    pthread_t threads[SPAWNERS];
    for (int i = 0; i < SPAWNERS; i++) threads[i] = thread_start(spawn_many, &c);
    drive_until(c.rt, crowd_gone, &c);
    for (int i = 0; i < SPAWNERS; i++) thread_join(threads[i]);
    test_runtime_free(c.rt);
}

static void tasks_spawned_before_the_first_drive_run(void) {
    struct crowd c = {.rt = test_runtime(), .expected = scaled(EACH)};
    on_thread(spawn_many, &c);
    drive_until(c.rt, crowd_gone, &c);
    test_runtime_free(c.rt);
}

/* ---- failures leave the state to the caller ---- */

static void a_failed_spawn_keeps_the_state(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = 0;
    CHECK_EQ(rt_spawn(0, probe_poll, &p, probe_drop, &task), -EBADF);
    CHECK_EQ(rt_spawn(rt ^ 1, probe_poll, &p, probe_drop, &task), -EBADF);
    CHECK_EQ(rt_spawn(rt, NULL, &p, probe_drop, &task), -EINVAL);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_spawn(rt, probe_poll, &p, probe_drop, &task), -ESHUTDOWN);
    CHECK_EQ(rt_spawn(rt, probe_poll, &p, probe_drop, NULL), -ESHUTDOWN);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_spawn(rt, probe_poll, &p, probe_drop, &task), -EBADF);
    CHECK_EQ(p.polls, 0);
    CHECK_EQ(p.drops, 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_result_reaches_the_joiner);
    CASE(the_handle_is_written_before_the_first_poll);
    CASE(a_detached_task_runs_and_drops);
    CASE(polls_may_spawn);
    CASE(drops_may_spawn);
    CASE(any_thread_may_spawn);
    CASE(tasks_spawned_before_the_first_drive_run);
    CASE(a_failed_spawn_keeps_the_state);
    return test_end();
}
