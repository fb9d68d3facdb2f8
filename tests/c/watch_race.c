/* Watches from many sides at once: a change from another thread is never lost, what is near one
 * another never runs at the same time, and a handle may be used while it goes stale.
 */
#include "watch.h"

enum { MANY = 6, TIMED = 2, THREADS = 2, LIVES = 100 };

/* Each round wants several threads to run, so a busy machine gets fewer of them. */
static const uint64_t a_while = 300000000;

/* ---- a change is heard ---- */

struct game {
    struct watched w;
    gate heard;
    int rounds;
    atomic_bool over;
};

static void hear(struct watched *w, uint32_t ready) {
    struct game *g = (struct game *)w; /* its first member */
    if (ready != 0) CHECK_EQ(rt_watch_for(w->watch, 0), 0);
    gate_open(&g->heard);
}

/* Had any of them been lost, the gate would stay shut. */
static void *change(void *arg) {
    struct game *g = arg;
    for (uint64_t until = rt_now() + a_while; rt_now() < until;) {
        int i = g->rounds++;
        if (i % 2 == 0) CHECK_EQ(rt_watch_at(g->w.watch, rt_now() + (uint64_t)(i % 5) * 20000), 0);
        else CHECK_EQ(rt_watch_for(g->w.watch, RT_WRITABLE), 0);
        gate_wait(&g->heard);
        /* The function may be in its last steps: what it asked for comes after this otherwise. */
        while (atomic_load(&g->w.inside) != 0) sched_yield();
    }
    atomic_store(&g->over, true);
    return NULL;
}

static void no_change_is_lost(void) {
    rt_runtime rt = test_runtime();
    struct game g = {.over = false};
    watched_pair(&g.w, rt, net_unix_pair, hear);
    gate_init(&g.heard);
    pthread_t thread = thread_start(change, &g);
    drive_until(rt, flag_set, &g.over);
    thread_join(thread);
    CHECK_EQ(atomic_load(&g.w.calls) + atomic_load(&g.w.times), g.rounds);
    watched_close(&g.w);
    gate_destroy(&g.heard);
    test_runtime_free(rt);
}

/* ---- a change in the midst of another's coming ---- */

static _Atomic uint64_t told; /* when the function was called last */

static void tell(struct watched *w, uint32_t ready) {
    (void)w;
    CHECK_EQ(ready, 0);
    atomic_store(&told, rt_now());
}

/* The first time is over at once; the second comes while the worker takes that, and stands. */
static void *overtake(void *arg) {
    struct game *g = arg;
    for (uint64_t until = rt_now() + a_while; rt_now() < until;) {
        int i = g->rounds++;
        CHECK_EQ(rt_watch_at(g->w.watch, rt_now()), 0);
        for (int spin = i * 7 % 700; spin > 0; spin--) atomic_load(&g->over);
        uint64_t at = rt_now() + 1000;
        CHECK_EQ(rt_watch_at(g->w.watch, at), 0);
        while (atomic_load(&told) < at) sched_yield();
    }
    atomic_store(&g->over, true);
    return NULL;
}

static void the_last_time_stands(void) {
    rt_runtime rt = test_runtime();
    struct game g = {.over = false};
    watched_open(&g.w, rt, -1, tell);
    pthread_t thread = thread_start(overtake, &g);
    drive_until(rt, flag_set, &g.over);
    thread_join(thread);
    watched_close(&g.w);
    test_runtime_free(rt);
}

/* ---- one worker ---- */

struct instance {
    struct watched w[MANY]; /* the last TIMED have only a time */
    rt_task task;
    int inside, turns; /* of the library that all of them call: no lock, and not atomic */
    pthread_t thread;
    atomic_bool enough;
};

static struct instance shared;

static void use(void) {
    if (shared.turns == 0) shared.thread = pthread_self();
    CHECK(pthread_equal(shared.thread, pthread_self()));
    CHECK_EQ(shared.inside, 0);
    shared.inside = 1;
    for (int i = 0; i < 50; i++) shared.turns++;
    shared.inside = 0;
    if (shared.turns > 50 * 3000) atomic_store(&shared.enough, true);
}

static void use_in_a_watch(struct watched *w, uint32_t ready) {
    use();
    if (ready == 0) CHECK_EQ(rt_watch_at(w->watch, rt_now() + 10000), 0);
}

static int64_t use_in_a_task(rt_cx *cx, void *state) {
    (void)state;
    use();
    return atomic_load(&shared.enough) ? 0 : rt_yield(cx);
}

static int64_t close_all(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    use();
    for (int i = 0; i < MANY; i++) CHECK_EQ(rt_watch_close(shared.w[i].watch), 0);
    return 0;
}

static rt_task near(rt_runtime rt, uint64_t whom, rt_poll_fn poll) {
    const rt_spawn_opts opts = {
        .size = sizeof opts, .flags = RT_SPAWN_PINNED, .poll = poll, .near = whom};
    rt_task task;
    CHECK_EQ(rt_spawn_with(rt, &opts, &task), 0);
    return task;
}

static void what_is_near_runs_in_turn(void) {
    rt_runtime rt = test_runtime();
    memset(&shared, 0, sizeof shared);
    int ends[2];
    for (int i = 0; i < MANY; i++) { /* near a watch, near a task */
        uint64_t whom = i == 0 ? 0 : i % 2 == 0 ? shared.task : shared.w[0].watch;
        bool timed = i >= MANY - TIMED;
        if (!timed) net_unix_pair(ends);
        watched_open_near(&shared.w[i], rt, whom, timed ? -1 : ends[0], use_in_a_watch);
        if (!timed) shared.w[i].far = ends[1];
        if (i == 0) shared.task = near(rt, shared.w[0].watch, use_in_a_task);
    }
    for (int i = 0; i < MANY; i++)
        if (i < MANY - TIMED) CHECK_EQ(rt_watch_for(shared.w[i].watch, RT_WRITABLE), 0);
        else CHECK_EQ(rt_watch_at(shared.w[i].watch, 0), 0);
    drive_until(rt, flag_set, &shared.enough);
    CHECK_EQ(join_task(near(rt, shared.w[0].watch, close_all)), 0);
    CHECK_EQ(join_task(shared.task), 0);
    for (int i = 0; i < MANY; i++) {
        drive_until(rt, watched_dropped, &shared.w[i]);
        CHECK(atomic_load(&shared.w[i].calls) + atomic_load(&shared.w[i].times) > 0);
        if (i >= MANY - TIMED) continue;
        CHECK_SYS(close(shared.w[i].fd));
        CHECK_SYS(close(shared.w[i].far));
    }
    test_runtime_free(rt);
}

/* ---- used while it goes stale ---- */

static _Atomic rt_watch current;
static atomic_bool over;

static void *meddle(void *arg) {
    unsigned seed = *(unsigned *)arg;
    while (!atomic_load(&over)) {
        rt_watch watch = atomic_load(&current);
        seed = seed * 1664525 + 1013904223;
        int64_t r;
        switch (seed >> 30) {
        case 0: r = rt_watch_for(watch, seed >> 28 & RW); break;
        case 1: r = rt_watch_at(watch, rt_now() + (seed >> 20 & 0xff) * 1000); break;
        case 2: r = rt_watch_at(watch, RT_NEVER); break;
        default: r = seed >> 26 & 15 ? rt_watch_for(watch, RW) : rt_watch_close(watch);
        }
        CHECK(r == 0 || r == -EBADF);
        sched_yield(); /* more threads than processors: let the one that closes have its turn */
    }
    return NULL;
}

static void live_and_end(rt_runtime rt, bool with_runtime) {
    struct watched w;
    watched_pair(&w, rt, net_unix_pair, NULL);
    atomic_store(&current, w.watch);
    for (int i = 0; i < 20; i++) {
        char byte;
        if (i % 3 != 2) net_put(w.far, "x", 1);
        else CHECK_EQ(read(w.fd, &byte, 1), 1);
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
    }
    if (with_runtime) {
        CHECK_EQ(rt_free(rt), 0);
        CHECK_EQ(atomic_load(&w.drops), 1);
    } else {
        int64_t r = rt_watch_close(w.watch);
        CHECK(r == 0 || r == -EBADF);
        drive_until(rt, watched_dropped, &w);
    }
    CHECK_EQ(rt_watch_close(w.watch), -EBADF);
    CHECK_SYS(close(w.fd));
    CHECK_SYS(close(w.far));
}

static void it_may_be_used_while_it_goes(void) {
    pthread_t threads[THREADS];
    unsigned seeds[THREADS] = {1, 77};
    atomic_store(&over, false);
    atomic_store(&current, 0);
    for (int i = 0; i < THREADS; i++) threads[i] = thread_start(meddle, &seeds[i]);
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(LIVES); i++) {
        bool with_runtime = i % 5 == 4;
        live_and_end(rt, with_runtime);
        if (with_runtime) rt = test_runtime();
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(no_change_is_lost);
    CASE(the_last_time_stands);
    CASE(what_is_near_runs_in_turn);
    CASE(it_may_be_used_while_it_goes);
    return test_end();
}
