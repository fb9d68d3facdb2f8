/* Events that are set, reset and freed from many sides at once: a set that nothing takes back
 * reaches everybody, and no call touches an event that is gone.
 */
#include "soon.h"

#include <asyncio_await.h>

enum { ROUNDS = 1500, TASKS = 3, THREADS = 2, STORM = 500 };

/* ---- a ping-pong of sets and resets ---- */

struct game {
    rt_event ready[2], done[TASKS]; /* the rounds take turns with the first two */
    int rounds;
};

struct player {
    struct game *game;
    int at, played;
    rt_task task;
};

/* Had any set been lost, the referee would wait for ever. */
static int64_t play(rt_cx *cx, void *state) {
    struct player *p = state;
    while (p->played < p->game->rounds) {
        int64_t r = rt_poll_event(cx, p->game->ready[(p->played + 1) % 2]);
        if (r != 0) return r;
        p->played++;
        CHECK_EQ(rt_event_set(p->game->done[p->at]), 0);
    }
    return 0;
}

static void *referee(void *arg) {
    struct game *g = arg;
    for (int round = 1; round <= g->rounds; round++) {
        CHECK_EQ(rt_event_reset(g->ready[(round + 1) % 2]), 0);
        CHECK_EQ(rt_event_set(g->ready[round % 2]), 0);
        for (int i = 0; i < TASKS; i++) {
            CHECK_EQ(rt_event_wait(g->done[i], RT_NEVER), 0);
            CHECK_EQ(rt_event_reset(g->done[i]), 0);
        }
    }
    return NULL;
}

static void every_round_reaches_everybody(void) {
    struct game g = {.rounds = scaled(ROUNDS)};
    struct player p[TASKS];
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_event_new(rt, &g.ready[i]), 0);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(rt_event_new(rt, &g.done[i]), 0);
        p[i] = (struct player){.game = &g, .at = i};
        CHECK_EQ(rt_spawn(rt, play, &p[i], NULL, &p[i].task), 0);
    }
    pthread_t thread = thread_start(referee, &g);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(join_task(p[i].task), 0);
    thread_join(thread);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(p[i].played, g.rounds);
        CHECK_EQ(rt_event_free(g.done[i]), 0);
    }
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_event_free(g.ready[i]), 0);
    test_runtime_free(rt);
}

/* ---- freed under everybody ---- */

static _Atomic rt_event current;
static atomic_bool stop;

static void *set_and_reset(void *arg) {
    (void)arg;
    while (!atomic_load(&stop)) {
        int64_t r = rt_event_set(atomic_load(&current));
        CHECK(r == 0 || r == -EBADF);
        r = rt_event_reset(atomic_load(&current));
        CHECK(r == 0 || r == -EBADF);
        sched_yield(); /* more threads than processors: let the one that frees have its turn */
    }
    return NULL;
}

static void *wait_for_any(void *arg) {
    (void)arg;
    while (!atomic_load(&stop)) {
        int64_t r = rt_event_wait(atomic_load(&current), RT_NEVER);
        CHECK(r == 0 || r == -EBADF);
        sched_yield();
    }
    return NULL;
}

static int64_t poll_any(rt_cx *cx, void *state) {
    (void)state;
    while (!atomic_load(&stop)) {
        int64_t r = rt_poll_event(cx, atomic_load(&current));
        if (r == RT_PENDING) return r;
        CHECK(r == 0 || r == -EBADF);
        r = rt_yield(cx);
        if (r != 0) return r;
    }
    return 0;
}

static void set_current(int sig) {
    (void)sig;
    rt_event_set(atomic_load(&current));
}

/* The thread that frees is interrupted by handlers that set what it frees. */
static void *make_and_free(void *arg) {
    rt_runtime rt = *(rt_runtime *)arg;
    for (int i = scaled(STORM); i > 0; i--) {
        rt_event next, last = atomic_load(&current);
        CHECK_EQ(rt_event_new(rt, &next), 0);
        atomic_store(&current, next);
        CHECK_EQ(rt_event_free(last), 0);
    }
    atomic_store(&stop, true);
    CHECK_EQ(rt_event_set(atomic_load(&current)), 0);
    return NULL;
}

static void *annoy(void *arg) {
    while (!atomic_load(&stop)) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

static void freed_under_everybody(void) {
    rt_event first;
    pthread_t threads[2 * THREADS], maker, annoyer;
    rt_task tasks[TASKS];
    rt_runtime rt = test_runtime();
    atomic_store(&stop, false);
    CHECK_EQ(rt_event_new(rt, &first), 0);
    atomic_store(&current, first);
    signal(SIGUSR1, set_current);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = thread_start(set_and_reset, NULL);
        threads[THREADS + i] = thread_start(wait_for_any, NULL);
    }
    for (int i = 0; i < TASKS; i++) CHECK_EQ(rt_spawn(rt, poll_any, NULL, NULL, &tasks[i]), 0);
    maker = thread_start(make_and_free, &rt);
    annoyer = thread_start(annoy, &maker);
    thread_join(annoyer);
    /* It is set in the end, and nobody resets it for good. */
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    thread_join(maker);
    CHECK_EQ(rt_event_set(atomic_load(&current)), 0);
    for (int i = 0; i < THREADS; i++) thread_join(threads[THREADS + i]);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    CHECK_EQ(rt_event_free(atomic_load(&current)), 0);
    signal(SIGUSR1, SIG_DFL);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(every_round_reaches_everybody);
    CASE(freed_under_everybody);
    return test_end();
}
