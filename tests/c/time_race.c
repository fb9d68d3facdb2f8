/* Cancels and resets that race with the firing, from several threads: what they return adds up, and
 * agrees with what is seen of the timer.
 */
#include "timer.h"

enum { LOT = 400, ROUNDS = 10, THREADS = 2 };

struct raced {
    rt_timer timer;
    atomic_int seen;      /* a poll said that it fired */
    atomic_int cancelled; /* how many ended it, */
    atomic_int in_time;   /* and how many of them before it fired */
    atomic_int refused;
};

struct race {
    rt_runtime rt;
    struct raced all[LOT];
    uint64_t at;
    atomic_int left;
    atomic_bool go;
};

static struct race race;

static uint64_t soon_after(uint64_t *random) { return rt_now() + timer_random(random) % (400 * us); }

static void end_one(struct raced *r) {
    int64_t got = rt_timer_cancel(r->timer);
    if (got == -EBADF) {
        atomic_fetch_add(&r->refused, 1);
        return;
    }
    CHECK(got == 0 || got == 1);
    atomic_fetch_add(&r->cancelled, 1);
    atomic_fetch_add(&r->in_time, (int)got);
}

/* Of a timer that is never reset: who saw it fire, and who ended it in time, cannot both be. */
static int64_t look(rt_cx *cx, void *state) {
    struct raced *r = state;
    int64_t got = rt_poll_timer(cx, r->timer);
    if (got == RT_PENDING) return got;
    if (got == 0) atomic_store(&r->seen, 1);
    else CHECK_EQ(got, -EBADF);
    return 0;
}

static void *end_all(void *arg) {
    uint64_t random = (uint64_t)(uintptr_t)arg * 77 + 5;
    while (!atomic_load(&race.go)) sched_yield();
    uint64_t from = rt_now();
    /* Most of them about when they fire. */
    for (int i = 0; i < LOT; i++) {
        while (rt_now() < from + (uint64_t)i * us) {}
        end_one(&race.all[i]);
        if (timer_random(&random) % 16 == 0) sched_yield();
    }
    return NULL;
}

static int64_t end_some(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    for (int i = 0; i < LOT; i += 3) end_one(&race.all[i]);
    return 0;
}

static void cancels(void) {
    static uint64_t random = 99;
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(ROUNDS * 5) + 1; round++) {
        rt_task tasks[LOT], ender;
        pthread_t threads[THREADS];
        memset(&race, 0, sizeof race);
        for (intptr_t i = 0; i < THREADS; i++) threads[i] = thread_start(end_all, (void *)i);
        for (int i = 0; i < LOT; i++) {
            race.all[i].timer = timer_at(rt, soon_after(&random));
            CHECK_EQ(rt_spawn(rt, look, &race.all[i], NULL, &tasks[i]), 0);
        }
        CHECK_EQ(rt_spawn(rt, end_some, NULL, NULL, &ender), 0);
        atomic_store(&race.go, true);
        for (int i = 0; i < LOT; i++) CHECK_EQ(join_task(tasks[i]), 0);
        CHECK_EQ(join_task(ender), 0);
        for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
        for (int i = 0; i < LOT; i++) {
            struct raced *r = &race.all[i];
            CHECK_EQ(atomic_load(&r->cancelled), 1);
            CHECK_EQ(atomic_load(&r->refused), THREADS + (i % 3 == 0) - 1);
            CHECK(!(atomic_load(&r->seen) && atomic_load(&r->in_time)));
            CHECK_EQ(rt_timer_reset(r->timer, 0), -EBADF);
        }
    }
    timer_runtime_free(rt);
}

/* ---- resets ---- */

enum { RESETS = 3000 };

struct armed {
    rt_timer timer;
    atomic_long armed, stopped; /* how often, and how often in time */
    atomic_long fired;
    atomic_bool over;
};

static struct armed armed;

static void *rearm(void *arg) {
    uint64_t random = (uint64_t)(uintptr_t)arg * 131 + 3;
    for (int i = 0; i < scaled(RESETS); i++) {
        int64_t r = CHECK_OK(rt_timer_reset(armed.timer, rt_now() + timer_random(&random) % (40 * us)));
        CHECK(r <= 1);
        atomic_fetch_add(&armed.armed, 1);
        atomic_fetch_add(&armed.stopped, r);
        spin_until(rt_now() + timer_random(&random) % (30 * us));
    }
    return NULL;
}

/* Sees firings, each once at most: it arms the timer anew itself, and only what had fired says 0. */
static int64_t see(rt_cx *cx, void *state) {
    (void)state;
    while (!atomic_load(&armed.over)) {
        int64_t r = rt_poll_timer(cx, armed.timer);
        if (r == RT_PENDING) return r;
        CHECK_EQ(r, 0);
        r = CHECK_OK(rt_timer_reset(armed.timer, rt_now() + 10 * us));
        atomic_fetch_add(&armed.armed, 1);
        atomic_fetch_add(&armed.stopped, r);
        atomic_fetch_add(&armed.fired, r == 0);
    }
    return 0;
}

static void resets(void) {
    rt_task task;
    pthread_t threads[THREADS];
    memset(&armed, 0, sizeof armed);
    rt_runtime rt = test_runtime();
    armed.timer = timer_at(rt, rt_now());
    atomic_store(&armed.armed, 1);
    CHECK_EQ(rt_spawn(rt, see, NULL, NULL, &task), 0);
    for (intptr_t i = 0; i < THREADS; i++) threads[i] = thread_start(rearm, (void *)i);
    for (int i = 0; i < THREADS; i++)
        while (pthread_tryjoin_np(threads[i], NULL) != 0) {
            if (current_thread()) CHECK_OK(rt_turn(rt, 50 * us));
            else usleep(1000);
        }
    atomic_store(&armed.over, true);
    /* The last of them is still to come, for whoever waits; each reset is done with what was before. */
    CHECK_EQ(join_soon(task), 0);
    int64_t last = CHECK_OK(rt_timer_cancel(armed.timer));
    long lives = atomic_load(&armed.armed), stopped = atomic_load(&armed.stopped) + last;
    CHECK(atomic_load(&armed.fired) <= lives - stopped);
    timer_runtime_free(rt);
}

/* ---- handles that become stale meanwhile ---- */

static _Atomic rt_timer shared[8];
static atomic_bool started, stop;

static void *meddle(void *arg) {
    uint64_t random = (uint64_t)(uintptr_t)arg * 19 + 7;
    struct hand h;
    hand_open(&h, race.rt);
    atomic_store(&started, true);
    while (!atomic_load(&stop)) {
        rt_timer timer = atomic_load(&shared[timer_random(&random) % 8]);
        int64_t r;
        switch (random >> 40 & 3) {
        case 0: r = rt_timer_reset(timer, rt_now() + random % (100 * us)); break;
        case 1: r = rt_timer_cancel(timer); break;
        default: r = rt_poll_timer(h.cx, timer); break;
        }
        CHECK(r == 0 || r == 1 || r == -EBADF || r == RT_PENDING);
    }
    hand_close(&h);
    while (atomic_load(&h.wakers) > 0) sched_yield();
    hand_check(&h);
    return NULL;
}

static int64_t renew(rt_cx *cx, void *state) {
    static int rounds;
    (void)state;
    for (int i = 0; i < 20; i++) {
        rt_timer fresh = timer_at(rt_cx_runtime(cx), rt_now() + (uint64_t)i * 5 * us);
        rt_timer old = atomic_exchange(&shared[i % 8], fresh);
        int64_t r = rt_timer_cancel(old);
        CHECK(r == 0 || r == 1 || r == -EBADF);
    }
    if (++rounds % scaled(5000) != 0) return rt_yield(cx);
    return 0;
}

static void *drain(void *arg) {
    (void)arg;
    for (int i = 0; i < 8; i++) (void)rt_timer_cancel(atomic_exchange(&shared[i], 0));
    return NULL;
}

static void stale(void) {
    rt_task task;
    pthread_t threads[THREADS];
    race.rt = test_runtime();
    atomic_store(&stop, false);
    for (intptr_t i = 0; i < THREADS; i++) threads[i] = thread_start(meddle, (void *)i);
    CHECK_EQ(rt_spawn(race.rt, renew, NULL, NULL, &task), 0);
    CHECK_EQ(join_task(task), 0);
    drain(NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        while (pthread_tryjoin_np(threads[i], NULL) != 0) {
            if (current_thread()) CHECK_OK(rt_turn(race.rt, 50 * us));
            else usleep(1000);
        }
    timer_runtime_free(race.rt);
}

/* The runtime goes while others meddle. */
static void freed_meanwhile(void) {
    for (int round = 0; round < scaled(40); round++) {
        pthread_t thread;
        race.rt = test_runtime();
        atomic_store(&started, false);
        atomic_store(&stop, false);
        for (int i = 0; i < 8; i++) atomic_store(&shared[i], timer_at(race.rt, rt_now() + minute));
        thread = thread_start(meddle, (void *)1);
        while (!atomic_load(&started)) sched_yield();
        if (current_thread()) CHECK_OK(rt_turn(race.rt, 0));
        CHECK_EQ(rt_free(race.rt), 0);
        for (int i = 0; i < 8; i++) CHECK_EQ(rt_timer_cancel(atomic_load(&shared[i])), -EBADF);
        atomic_store(&stop, true);
        thread_join(thread);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(cancels);
    CASE(resets);
    CASE(stale);
    CASE(freed_meanwhile);
    return test_end();
}
