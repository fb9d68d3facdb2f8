/* Deadlines: never early, whatever they are; equal ones in the order of their starts; and those that
 * never come.
 */
#include "timer.h"

enum { MOST = 64, ROUNDS = 12, EQUALS = 200 };

/* ---- never early ---- */

struct many {
    rt_frame frame;
    rt_timer timers[MOST];
    uint64_t at[MOST];
    int64_t got;
    int i;
};

/* Waits for all that `m->at` says. */
static int64_t wait_for_all(rt_cx *cx, void *state) {
    struct many *m = state;
    RT_BEGIN(&m->frame);
    for (int i = 0; i < MOST; i++) m->timers[i] = timer_at(rt_cx_runtime(cx), m->at[i]);
    for (m->i = 0; m->i < MOST; m->i++) {
        /* Awake, for who sleeps is late anyway. */
        while ((m->got = rt_poll_timer(cx, m->timers[m->i])) == RT_PENDING) RT_YIELD(cx);
        CHECK_EQ(m->got, 0);
        CHECK(rt_now() >= m->at[m->i]);
        CHECK_EQ(rt_poll_timer(cx, m->timers[m->i]), 0); /* it stays so */
        CHECK_EQ(rt_timer_cancel(m->timers[m->i]), 0);
    }
    RT_END(0);
}

static void never_early(void) {
    static struct many m;
    uint64_t random = 7;
    rt_runtime rt = test_runtime();
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t now = rt_now();
        for (int i = 0; i < MOST; i++) m.at[i] = now + timer_random(&random) % (1u << (random >> 32) % 25);
        CHECK_EQ(rt_block_on(rt, wait_for_all, &m), 0);
    }
    timer_runtime_free(rt);
}

static void on_borders(void) {
    static struct many m;
    rt_runtime rt = test_runtime();
    for (int off = -1; off <= 1; off++) {
        uint64_t tick = rt_now() / TICK * TICK;
        /* 64 ticks are the first level's, 4096 the first two's. */
        for (uint64_t i = 0; i < MOST; i++)
            m.at[i] = tick + (i * i + 1) * TICK - (i % 2 ? 0 : tick % (64 * TICK)) + (uint64_t)off;
        CHECK_EQ(rt_block_on(rt, wait_for_all, &m), 0);
    }
    timer_runtime_free(rt);
}

static void in_the_past(void) {
    static struct many m;
    rt_runtime rt = test_runtime();
    for (uint64_t i = 0; i < MOST; i++) {
        uint64_t past[] = {0, 1, TICK - 1, TICK, TICK + 1, rt_now() - i, rt_now(), rt_now() + i};
        m.at[i] = past[i % 8];
    }
    CHECK_EQ(rt_block_on(rt, wait_for_all, &m), 0);
    timer_runtime_free(rt);
}

/* ---- the order ---- */

static atomic_int fired;

struct ordered {
    int expected;
    rt_timer timer;
};

static void *ordered_clone(void *data) { return data; }
static void ordered_wake(void *data) {
    struct ordered *o = data;
    CHECK_EQ(atomic_fetch_add(&fired, 1), o->expected);
}
static void ordered_drop(void *data) { (void)data; }

static const rt_waker_vtable ordered_vtable = {ordered_clone, ordered_wake, ordered_wake, ordered_drop};

static struct ordered ordered[EQUALS];
static rt_cx *contexts[EQUALS];
static uint64_t together;

/* Equal ones, and others between them that are earlier or later by a nanosecond; a reset counts as
 * a start. All on one worker, in one poll. */
static int64_t start_equals(rt_cx *cx, void *state) {
    rt_runtime rt = rt_cx_runtime(cx);
    (void)state;
    together = (rt_now() + 40 * ms) / TICK * TICK + 3;
    int next[3] = {0, EQUALS / 4, 3 * EQUALS / 4};
    for (int i = 0; i < EQUALS; i++) {
        struct ordered *o = &ordered[i];
        int which = i % 4 == 3 ? 2 : i % 4 == 0 ? 0 : 1;
        o->timer = timer_at(rt, together + (uint64_t)which - (i % 7 == 0 ? 5 * TICK : 0));
        o->expected = next[which]++;
        CHECK_EQ(rt_poll_timer(contexts[i], o->timer), RT_PENDING);
        if (i % 7 == 0) CHECK_EQ(rt_timer_reset(o->timer, together + (uint64_t)which), 1);
    }
    return 0;
}

static bool all_fired(void *arg) {
    (void)arg;
    return atomic_load(&fired) == EQUALS;
}

static void equals_in_order(void) {
    rt_runtime rt = test_runtime();
    atomic_store(&fired, 0);
    for (int i = 0; i < EQUALS; i++) contexts[i] = context_with(rt, &ordered_vtable, &ordered[i]);
    CHECK_EQ(rt_block_on(rt, start_equals, NULL), 0);
    drive_until(rt, all_fired, NULL);
    CHECK(rt_now() >= together);
    for (int i = 0; i < EQUALS; i++) {
        CHECK_EQ(rt_timer_cancel(ordered[i].timer), 0);
        CHECK_EQ(rt_cx_free(contexts[i]), 0);
    }
    timer_runtime_free(rt);
}

/* Tasks of one worker that sleep until the same time. */
struct sleeper {
    rt_frame frame;
    rt_timer slot;
    int64_t got;
    int number, nth;
};

static atomic_int asleep, woken;
static atomic_bool too_late;

static int64_t sleep_together(rt_cx *cx, void *state) {
    struct sleeper *s = state;
    RT_BEGIN(&s->frame);
    s->number = atomic_fetch_add(&asleep, 1);
    s->got = rt_poll_sleep(cx, &s->slot, together);
    if (s->got != RT_PENDING) atomic_store(&too_late, true);
    else RT_AWAIT(s->got, rt_poll_sleep(cx, &s->slot, together));
    CHECK_EQ(s->got, 0);
    CHECK(rt_now() >= together);
    s->nth = atomic_fetch_add(&woken, 1);
    RT_END(0);
}

static void sleep_in_order(rt_runtime rt) {
    static struct sleeper sleepers[EQUALS];
    rt_task tasks[EQUALS];
    memset(sleepers, 0, sizeof sleepers);
    atomic_store(&asleep, 0);
    atomic_store(&woken, 0);
    atomic_store(&too_late, false);
    together = rt_now() + 30 * ms;
    for (int i = 0; i < EQUALS; i++)
        CHECK_EQ(rt_spawn(rt, sleep_together, &sleepers[i], NULL, &tasks[i]), 0);
    for (int i = 0; i < EQUALS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    CHECK_EQ(atomic_load(&woken), EQUALS);
    for (int i = 0; current_thread() && !atomic_load(&too_late) && i < EQUALS; i++)
        CHECK_EQ(sleepers[i].nth, sleepers[i].number);
}

/* Until none came too late to sleep. */
static void tasks_in_order(void) {
    rt_runtime rt = test_runtime();
    do sleep_in_order(rt);
    while (atomic_load(&too_late));
    timer_runtime_free(rt);
}

/* What the driving thread starts outside of a turn comes before what a task starts then. */
static rt_timer outside;

static int64_t start_second(rt_cx *cx, void *state) {
    (void)state;
    ordered[1].timer = timer_at(rt_cx_runtime(cx), together);
    CHECK_EQ(rt_poll_timer(contexts[1], ordered[1].timer), RT_PENDING);
    return 0;
}

static void outside_before_inside(void) {
    if (!current_thread()) return;
    rt_runtime rt = test_runtime();
    atomic_store(&fired, EQUALS - 2);
    together = rt_now() + 10 * ms;
    for (int i = 0; i < 2; i++) {
        ordered[i].expected = EQUALS - 2 + i;
        contexts[i] = context_with(rt, &ordered_vtable, &ordered[i]);
    }
    outside = timer_at(rt, together);
    CHECK_EQ(rt_poll_timer(contexts[0], outside), RT_PENDING);
    CHECK_EQ(rt_block_on(rt, start_second, NULL), 0);
    drive_until(rt, all_fired, NULL);
    CHECK_EQ(rt_timer_cancel(outside), 0);
    CHECK_EQ(rt_timer_cancel(ordered[1].timer), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_cx_free(contexts[i]), 0);
    timer_runtime_free(rt);
}

/* ---- never ---- */

static const uint64_t far_times[] = {UINT64_MAX,
                                     UINT64_MAX - 1,
                                     UINT64_MAX - TICK,
                                     UINT64_C(1) << 63,
                                     (UINT64_C(1) << 63) - 1,
                                     (UINT64_C(1) << 62) + 1,
                                     UINT64_C(1) << 62,
                                     (UINT64_C(1) << 62) - 1,
                                     (UINT64_C(1) << 61) + 1,
                                     UINT64_C(1) << 61,
                                     (UINT64_C(1) << 61) - 1,
                                     (UINT64_C(1) << 61) - 2,
                                     (UINT64_C(1) << 61) - TICK,
                                     (UINT64_C(1) << 61) - TICK - 1,
                                     UINT64_C(1) << 60};
enum { FAR_TIMES = sizeof far_times / sizeof far_times[0] };

struct never {
    rt_frame frame;
    rt_timer timers[FAR_TIMES], moved[FAR_TIMES], every[FAR_TIMES], slot;
    uint64_t until;
    int64_t got;
    int i;
};

static int64_t wait_forever(rt_cx *cx, void *state) {
    struct never *n = state;
    rt_runtime rt = rt_cx_runtime(cx);
    RT_BEGIN(&n->frame);
    for (int i = 0; i < FAR_TIMES; i++) {
        n->timers[i] = timer_at(rt, far_times[i]);
        n->moved[i] = timer_at(rt, 0);
        n->every[i] = timer_every(rt, rt_now(), far_times[i], (uint32_t)i % 3);
    }
    for (n->i = 0; n->i < FAR_TIMES; n->i++) {
        RT_AWAIT(n->got, rt_poll_timer(cx, n->moved[n->i]));
        CHECK_EQ(rt_timer_reset(n->moved[n->i], far_times[n->i]), 0);
        RT_AWAIT(n->got, rt_poll_timer(cx, n->every[n->i]));
        CHECK_EQ(n->got, 1);
    }
    n->until = rt_now() + 20 * ms;
    RT_AWAIT(n->got, rt_poll_sleep(cx, &n->slot, n->until));
    for (int i = 0; i < FAR_TIMES; i++) {
        CHECK_EQ(rt_poll_timer(cx, n->timers[i]), RT_PENDING);
        CHECK_EQ(rt_poll_timer(cx, n->moved[i]), RT_PENDING);
        CHECK_EQ(rt_poll_timer(cx, n->every[i]), RT_PENDING);
        CHECK_EQ(rt_timer_cancel(n->timers[i]), 1);
        CHECK_EQ(rt_timer_cancel(n->every[i]), 1);
        /* One that would never have come can be had now. */
        CHECK_EQ(rt_timer_reset(n->moved[i], rt_now() + ms), 1);
    }
    for (n->i = 0; n->i < FAR_TIMES; n->i++) {
        RT_AWAIT(n->got, rt_poll_timer(cx, n->moved[n->i]));
        CHECK_EQ(n->got, 0);
        CHECK_EQ(rt_timer_cancel(n->moved[n->i]), 0);
    }
    RT_END(0);
}

static void never(void) {
    static struct never n;
    must_end_soon();
    timer_play(wait_forever, &n);
    alarm(0);
}

/* A time that never comes is no reason to be turned. */
static void never_is_no_deadline(void) {
    if (!current_thread()) return;
    rt_runtime rt = test_runtime();
    rt_timer timer = timer_at(rt, RT_NEVER);
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    CHECK_OK(rt_turn(rt, 0));
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    CHECK_EQ(rt_timer_reset(timer, UINT64_MAX - 1), 1);
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    CHECK_EQ(rt_timer_cancel(timer), 1);
    timer_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(never_early);
    CASE(on_borders);
    CASE(in_the_past);
    CASE(equals_in_order);
    CASE(tasks_in_order);
    CASE(outside_before_inside);
    CASE(never);
    CASE(never_is_no_deadline);
    return test_end();
}
