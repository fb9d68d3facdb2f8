/* No permit is lost or made, whatever is aborted when: tasks of two runtimes acquire and release
 * while threads abort them at random.
 */
#include "check.h"

enum { TASKS = 24, ROUNDS = 40000, PERMITS = 3, THREADS = 2 };

struct holder {
    rt_sem sem;
    uint64_t n; /* what it asks for */
    bool has;
    unsigned seed;
    uint64_t rounds;
};

struct storm {
    rt_sem sem;
    rt_runtime rts[2];
    unsigned seed;
};

static atomic_int out; /* permits that tasks hold */

static void holder_take(struct holder *h) {
    h->has = true;
    CHECK(atomic_fetch_add(&out, (int)h->n) + (int)h->n <= PERMITS);
}

static void holder_give(struct holder *h) {
    h->has = false;
    atomic_fetch_sub(&out, (int)h->n);
    CHECK_EQ(rt_sem_release(h->sem, h->n), 0);
}

/* Acquires, holds for a poll or not, gives back; sometimes it looks away from its turn. */
static int64_t hold(rt_cx *cx, void *state) {
    struct holder *h = state;
    if (h->has) holder_give(h);
    if (h->rounds-- == 0) return 0;
    if (rand_r(&h->seed) % 4 == 0) return rt_yield(cx);
    h->n = 1 + (uint64_t)rand_r(&h->seed) % PERMITS;
    int64_t r = rt_poll_acquire(cx, h->sem, h->n);
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, 0);
    holder_take(h);
    return rt_yield(cx);
}

static void holder_drop(void *state) {
    struct holder *h = state;
    if (h->has) holder_give(h);
    free(h);
}

static rt_task holder_spawn(struct storm *s) {
    struct holder *h = malloc(sizeof *h);
    rt_task task = 0;
    CHECK(h != NULL);
    *h = (struct holder){s->sem, 0, false, (unsigned)rand_r(&s->seed), UINT64_MAX};
    CHECK_EQ(rt_spawn(s->rts[rand_r(&s->seed) % 2], hold, h, holder_drop, &task), 0);
    return task;
}

/* Every task is this thread's: it aborts them, and spawns others instead. */
static void *storm_run(void *arg) {
    struct storm *s = arg;
    rt_task tasks[TASKS];
    for (int i = 0; i < TASKS; i++) tasks[i] = holder_spawn(s);
    for (int i = scaled(ROUNDS); i > 0; i--) {
        int at = rand_r(&s->seed) % TASKS;
        CHECK_EQ(rt_abort(tasks[at]), 0);
        CHECK_EQ(rt_detach(tasks[at]), 0);
        tasks[at] = holder_spawn(s);
        if (rand_r(&s->seed) % 2 == 0 && rt_sem_try_acquire(s->sem, 1) == 0) {
            CHECK(atomic_load(&out) < PERMITS);
            CHECK_EQ(rt_sem_release(s->sem, 1), 0);
        }
    }
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(rt_abort(tasks[i]), 0);
        CHECK_EQ(rt_detach(tasks[i]), 0);
    }
    return NULL;
}

static void permits_are_conserved(void) {
    struct storm storms[THREADS];
    pthread_t threads[THREADS];
    rt_sem sem;
    rt_config config = test_config();
    config.flavour = RT_MULTI_THREAD; /* they run by themselves */
    config.workers = test_workers == 0 ? 1 : test_workers;
    rt_runtime rts[2] = {test_runtime_with(&config), test_runtime_with(&config)};
    CHECK_EQ(rt_sem_new(PERMITS, &sem), 0);
    for (int i = 0; i < THREADS; i++) {
        storms[i] = (struct storm){sem, {rts[0], rts[1]}, 17u + (unsigned)i};
        threads[i] = thread_start(storm_run, &storms[i]);
    }
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_free(rts[i]), 0);
    CHECK_EQ(atomic_load(&out), 0);
    CHECK_EQ(rt_sem_try_acquire(sem, PERMITS), 0);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EAGAIN);
    CHECK_EQ(rt_sem_free(sem), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(permits_are_conserved);
    return test_end();
}
