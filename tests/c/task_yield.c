/* rt_yield goes behind all others; and with one worker nobody can hide an unfair order. */
#include "check.h"

enum { RUNNERS = 5, LAPS = 50 };

struct race {
    int order[RUNNERS * LAPS];
    int count;
};
struct runner {
    struct race *race;
    int number, laps;
};

static int64_t run_laps(rt_cx *cx, void *state) {
    struct runner *r = state;
    r->race->order[r->race->count++] = r->number;
    return ++r->laps < LAPS ? rt_yield(cx) : 0;
}

struct starter {
    struct runner runners[RUNNERS];
    rt_task tasks[RUNNERS];
};

/* Spawned in one poll, they all start in the queue of the same worker. */
static int64_t start_all(rt_cx *cx, void *state) {
    struct starter *s = state;
    for (int i = 0; i < RUNNERS; i++)
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), run_laps, &s->runners[i], NULL, &s->tasks[i]), 0);
    return 0;
}

static rt_runtime one_worker(void) {
    rt_config config = test_config();
    if (!current_thread()) config.workers = 1;
    return test_runtime_with(&config);
}

static void a_yield_goes_behind_all_others(void) {
    rt_runtime rt = one_worker();
    struct race race = {.count = 0};
    struct starter s;
    for (int i = 0; i < RUNNERS; i++) s.runners[i] = (struct runner){&race, i, 0};
    CHECK_EQ(rt_block_on(rt, start_all, &s), 0);
    for (int i = 0; i < RUNNERS; i++) CHECK_EQ(join_task(s.tasks[i]), 0);
    CHECK_EQ(race.count, RUNNERS * LAPS);
    for (int i = RUNNERS; i < race.count; i++) CHECK_EQ(race.order[i], race.order[i - RUNNERS]);
    test_runtime_free(rt);
}

struct once {
    int polls;
    int64_t yielded;
};

static int64_t yield_once(rt_cx *cx, void *state) {
    struct once *o = state;
    if (o->polls++ > 0) return 1;
    o->yielded = rt_yield(cx);
    return o->yielded;
}

static void a_yield_is_pending_and_wakes_itself(void) {
    rt_runtime rt = test_runtime();
    struct once o = {0};
    CHECK_EQ(rt_block_on(rt, yield_once, &o), 1);
    CHECK_EQ(o.yielded, RT_PENDING);
    CHECK_EQ(o.polls, 2);
    test_runtime_free(rt);
}

/* A yield whose PENDING is not returned must not leave a wake that outlives the task. */
static int64_t yield_and_end(rt_cx *cx, void *state) {
    (void)state;
    CHECK_EQ(rt_yield(cx), RT_PENDING);
    return 3;
}

static void a_task_may_end_after_it_yielded(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(1000); i++) {
        rt_task task;
        CHECK_EQ(rt_spawn(rt, yield_and_end, NULL, NULL, &task), 0);
        CHECK_EQ(join_task(task), 3);
    }
    test_runtime_free(rt);
}

static void outside_a_poll_there_is_nothing_to_yield(void) { CHECK_EQ(rt_yield(NULL), -EINVAL); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_yield_goes_behind_all_others);
    CASE(a_yield_is_pending_and_wakes_itself);
    CASE(a_task_may_end_after_it_yielded);
    CASE(outside_a_poll_there_is_nothing_to_yield);
    return test_end();
}
