/* Many threads clone, wake and drop wakers of one task while it ends: its memory goes with the last
 * of them, once. */
#include "check.h"

enum { THREADS = 4, ROUNDS = 1000, CLONES = 16 };

struct shared {
    probe probe;
    rt_waker wakers[THREADS];
    atomic_bool given;
};

static int64_t give_wakers(rt_cx *cx, void *state) {
    struct shared *s = state;
    if (!atomic_load(&s->given)) {
        for (int i = 0; i < THREADS; i++)
            CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &s->wakers[i]), 0);
        atomic_store(&s->given, true);
    }
    return probe_poll(cx, &s->probe);
}

static void drop_shared(void *state) { probe_drop(&((struct shared *)state)->probe); }

struct crew {
    pthread_barrier_t line;
    struct shared *shared;
    bool over;
};
struct hand {
    struct crew *crew;
    int number;
};

static void meet(struct crew *c) {
    int r = pthread_barrier_wait(&c->line);
    CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void juggle(rt_waker *w) {
    rt_waker clones[CLONES];
    for (int i = 0; i < CLONES; i++) CHECK_EQ(rt_waker_clone(w, &clones[i]), 0);
    for (int i = 0; i < CLONES; i++) {
        if (i % 3 == 0) CHECK_EQ(rt_waker_wake_by_ref(&clones[i]), 0);
        if (i % 2 == 0) CHECK_EQ(rt_waker_wake(&clones[i]), 0);
        else CHECK_EQ(rt_waker_drop(&clones[i]), 0);
    }
}

static void *lend_a_hand(void *arg) {
    struct hand *h = arg;
    for (;;) {
        meet(h->crew);
        if (h->crew->over) return NULL;
        struct shared *s = h->crew->shared;
        rt_waker *mine = &s->wakers[h->number];
        juggle(mine);
        if (h->number == 0) atomic_store(&s->probe.ready, true);
        CHECK_EQ(rt_waker_wake(mine), 0);
        meet(h->crew);
    }
}

static void the_last_waker_frees_the_task(void) {
    rt_runtime rt = test_runtime();
    struct crew crew = {.over = false};
    struct hand hands[THREADS];
    pthread_t threads[THREADS];
    CHECK_EQ(pthread_barrier_init(&crew.line, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++) {
        hands[i] = (struct hand){&crew, i};
        threads[i] = thread_start(lend_a_hand, &hands[i]);
    }
    for (int n = 0; n < scaled(ROUNDS); n++) {
        struct shared s = {.probe = {.result = n}};
        rt_task task;
        CHECK_EQ(rt_spawn(rt, give_wakers, &s, drop_shared, &task), 0);
        drive_until(rt, flag_set, &s.given);
        crew.shared = &s;
        meet(&crew);
        if (n % 2 == 1) CHECK_EQ(rt_abort(task), 0);
        int64_t result = join_task(task);
        CHECK(result == n || (n % 2 == 1 && result == -ECANCELED));
        CHECK_EQ(s.probe.drops, 1);
        meet(&crew);
    }
    crew.over = true;
    meet(&crew);
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    CHECK_EQ(pthread_barrier_destroy(&crew.line), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_last_waker_frees_the_task);
    return test_end();
}
