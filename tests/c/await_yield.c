/* RT_YIELD lets others run, and goes on behind itself: with one thread the task that it waits for
 * could not get on otherwise. */
#include "await.h"

struct pair {
    rt_frame frame;
    atomic_bool *theirs, *mine;
    int turns;
};

static int64_t wait_by_yielding(rt_cx *cx, void *state) {
    struct pair *p = state;
    RT_BEGIN(&p->frame);
    while (!atomic_load(p->theirs)) {
        p->turns++;
        RT_YIELD(cx);
    }
    atomic_store(p->mine, true);
    RT_END(p->turns);
}

static void a_yield_lets_another_run(void) {
    rt_runtime rt = test_runtime();
    atomic_bool go = false, first_done = false, second_done = false;
    struct pair first = {.theirs = &second_done, .mine = &first_done};
    struct pair second = {.theirs = &go, .mine = &second_done};
    rt_task a, b;
    CHECK_EQ(rt_spawn(rt, wait_by_yielding, &first, NULL, &a), 0);
    CHECK_EQ(rt_spawn(rt, wait_by_yielding, &second, NULL, &b), 0);
    atomic_store(&go, true);
    int64_t turns = join_task(a);
    CHECK_EQ(turns, first.turns);
    turns = join_task(b);
    CHECK_EQ(turns, second.turns);
    CHECK(atomic_load(&first_done));
    test_runtime_free(rt);
}

struct counted {
    rt_frame frame;
    int polls, yields, i;
};

enum { YIELDS = 1000 };

static int64_t yield_often(rt_cx *cx, void *state) {
    struct counted *c = state;
    c->polls++;
    RT_BEGIN(&c->frame);
    for (c->i = 0; c->i < YIELDS; c->i++) {
        c->yields++;
        RT_YIELD(cx);
    }
    RT_END(c->yields);
}

/* Each yield costs one poll, no more: nobody else wakes this task. */
static void each_yield_is_one_poll(void) {
    rt_runtime rt = test_runtime();
    struct counted c = {.polls = 0};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, yield_often, &c, NULL, &task), 0);
    CHECK_EQ(join_task(task), YIELDS);
    CHECK_EQ(c.polls, YIELDS + 1);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_yield_lets_another_run);
    CASE(each_yield_is_one_poll);
    return test_end();
}
