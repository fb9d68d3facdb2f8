/* Tasks that end on other workers while they are added; sets that are freed meanwhile. None is
 * lost, and none comes twice.
 */
#include "op.h"

enum { ROUNDS = 100000, BATCH = 20 };

struct race {
    rt_frame frame;
    rt_set set;
    rt_task tasks[BATCH];
    bool seen[BATCH];
    atomic_int polls[BATCH];
    int rounds, done, i;
    uint64_t key;
    int64_t got;
};

static struct race race;

static int64_t end_soon(rt_cx *cx, void *state) {
    atomic_int *polls = state;
    return atomic_fetch_add(polls, 1) < 1 ? rt_yield(cx) : 0;
}

static void spawn_batch(rt_cx *cx, struct race *r) {
    memset(r->seen, 0, sizeof r->seen);
    for (int i = 0; i < BATCH; i++) {
        atomic_store(&r->polls[i], i % 2);
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), end_soon, &r->polls[i], NULL, &r->tasks[i]), 0);
    }
}

static int64_t add_while_they_end(rt_cx *cx, void *state) {
    struct race *r = state;
    RT_BEGIN(&r->frame);
    r->rounds = scaled(ROUNDS / BATCH);
    for (r->done = 0; r->done < r->rounds; r->done++) {
        spawn_batch(cx, r);
        if (r->done % 3 == 0) RT_YIELD(cx);
        for (int i = 0; i < BATCH; i++)
            CHECK_EQ(rt_set_add(cx, r->set, r->tasks[i], (uint64_t)i), 0);
        for (r->i = 0; r->i < BATCH; r->i++) {
            RT_AWAIT(r->got, rt_poll_set(cx, r->set, &r->key));
            CHECK_EQ(r->got, 0);
            CHECK(!r->seen[r->key]);
            r->seen[r->key] = true;
            CHECK_EQ(rt_poll_join(cx, r->tasks[r->key], &r->got), 0);
            CHECK_EQ(r->got, 0);
        }
        CHECK_EQ(rt_poll_set(cx, r->set, &r->key), -ENOENT);
    }
    RT_END(0);
}

static void ends_race_adds(void) {
    memset(&race, 0, sizeof race);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_set_new(rt, &race.set), 0);
    CHECK_EQ(rt_block_on(rt, add_while_they_end, &race), 0);
    CHECK_EQ(rt_set_free(race.set), 0);
    test_runtime_free(rt);
}

/* ---- freed meanwhile ---- */

struct arena {
    struct race race;
    pthread_barrier_t line;
    _Atomic rt_set set;
    atomic_bool over;
};

static void meet(struct arena *a) {
    int r = pthread_barrier_wait(&a->line);
    CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void *free_sets(void *arg) {
    struct arena *a = arg;
    for (;;) {
        meet(a);
        if (atomic_load(&a->over)) return NULL;
        CHECK_EQ(rt_set_free(atomic_load(&a->set)), 0);
    }
}

/* The tasks can be joined, whatever became of the set. */
static int64_t add_while_it_is_freed(rt_cx *cx, void *state) {
    struct arena *a = state;
    struct race *r = &a->race;
    rt_set set = atomic_load(&a->set);
    RT_BEGIN(&r->frame);
    r->rounds = scaled(ROUNDS / BATCH / 2);
    for (r->done = 0; r->done < r->rounds; r->done++) {
        CHECK_EQ(rt_set_new(rt_cx_runtime(cx), &set), 0);
        atomic_store(&a->set, set);
        spawn_batch(cx, r);
        meet(a);
        for (int i = 0; i < BATCH; i++) {
            r->got = rt_set_add(cx, set, r->tasks[i], (uint64_t)i);
            CHECK(r->got == 0 || r->got == -EBADF);
        }
        do {
            RT_AWAIT(r->got, rt_poll_set(cx, atomic_load(&a->set), &r->key));
            if (r->got == -ENOENT) RT_YIELD(cx);
        } while (r->got != -EBADF);
        for (r->i = 0; r->i < BATCH; r->i++) {
            RT_AWAIT(r->got, rt_poll_join(cx, r->tasks[r->i], &r->got));
            CHECK_EQ(r->got, 0);
        }
    }
    RT_END(0);
}

static void a_free_races_adds(void) {
    static struct arena a;
    memset(&a, 0, sizeof a);
    rt_runtime rt = test_runtime();
    CHECK_EQ(pthread_barrier_init(&a.line, NULL, 2), 0);
    pthread_t thread = thread_start(free_sets, &a);
    CHECK_EQ(rt_block_on(rt, add_while_it_is_freed, &a), 0);
    atomic_store(&a.over, true);
    meet(&a);
    thread_join(thread);
    CHECK_EQ(pthread_barrier_destroy(&a.line), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(ends_race_adds);
    CASE(a_free_races_adds);
    return test_end();
}
