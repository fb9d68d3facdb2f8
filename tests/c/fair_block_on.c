/* What rt_block_on runs is pinned, and gets its turn although two tasks that may be stolen wake each
 * other for ever. One worker, so that no other can take them. */
#include "soon.h"

struct match {
    _Atomic rt_task players[2];
    atomic_int hits;
    atomic_bool stop;
};
struct player {
    struct match *match;
    int number;
};

static int64_t play(rt_cx *cx, void *state) {
    (void)cx;
    struct player *p = state;
    atomic_fetch_add(&p->match->hits, 1);
    rt_task_wake(atomic_load(&p->match->players[1 - p->number])); /* stale once that one ended */
    return atomic_load(&p->match->stop) ? 0 : RT_PENDING;
}

/* Both are spawned in one poll: none of them runs before the other's handle is known. */
static int64_t start_match(rt_cx *cx, void *state) {
    struct player *players = state;
    for (int i = 0; i < 2; i++) {
        rt_task task = 0;
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), play, &players[i], NULL, &task), 0);
        atomic_store(&players->match->players[i], task);
    }
    return 0;
}

static bool in_full_swing(const struct match *m) { return atomic_load(&m->hits) >= 100; }

static void play_at_phase(rt_runtime rt, int phase) {
    struct match m = {.hits = 0};
    struct player players[2] = {{&m, 0}, {&m, 1}};
    for (int i = 0; i < phase; i++) CHECK_EQ(rt_block_on(rt, return_zero, NULL), 0);
    rt_task starter;
    CHECK_EQ(rt_spawn(rt, start_match, players, NULL, &starter), 0);
    if (current_thread())
        while (!in_full_swing(&m)) CHECK_OK(rt_turn(rt, 0));
    else
        while (!in_full_swing(&m)) sched_yield();
    for (int i = 0; i < 4; i++) CHECK_EQ(rt_block_on(rt, return_zero, NULL), 0);
    atomic_store(&m.stop, true);
    for (int i = 0; i < 2; i++) {
        rt_task task = atomic_load(&m.players[i]);
        CHECK_EQ(rt_task_wake(task), 0);
        CHECK_EQ(join_soon(task), 0);
    }
    CHECK_EQ(join_soon(starter), 0);
}

/* Which of the worker's rounds looks where depends on how many there were before. */
static void a_pair_does_not_starve_it(uint32_t lifo_limit) {
    for (int phase = 0; phase < 10; phase++) {
        rt_config config = test_config();
        if (!current_thread()) config.workers = 1;
        config.lifo_limit = lifo_limit;
        rt_runtime rt = test_runtime_with(&config);
        play_at_phase(rt, phase);
        test_runtime_free(rt);
    }
}

static void a_pair_in_the_slot(void) { a_pair_does_not_starve_it(0); }
static void a_pair_in_the_queue(void) { a_pair_does_not_starve_it(RT_LIFO_OFF); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(a_pair_in_the_slot);
    CASE(a_pair_in_the_queue);
    return test_end();
}
