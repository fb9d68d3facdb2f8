/* Intervals: the three ways with missed ticks, a tick that is one of two waiters', and resets. */
#include "timer.h"

static const uint64_t period = 2000000;

/* ---- missed ticks ---- */

struct missed {
    rt_frame frame;
    rt_timer timer;
    uint64_t first, taken_at, due;
    int64_t got;
    int i;
};

enum { MISSED = 7, ROUNDS = 5 };

/* Nobody takes ticks for several periods. */
static void miss_some(struct missed *m) { spin_until(m->due + MISSED * period + period / 2); }

static void missed_start(rt_cx *cx, struct missed *m, uint32_t how) {
    m->due = m->first = rt_now() + period;
    m->timer = timer_every(rt_cx_runtime(cx), m->first, period, how);
}

/* Each comes, one at a time, none before it is due. */
static int64_t burst(rt_cx *cx, void *state) {
    struct missed *m = state;
    RT_BEGIN(&m->frame);
    missed_start(cx, m, RT_MISSED_BURST);
    miss_some(m);
    for (m->i = 0; m->i < 3 * MISSED; m->i++) {
        RT_AWAIT(m->got, rt_poll_timer(cx, m->timer));
        CHECK_EQ(m->got, 1);
        CHECK(rt_now() >= m->first + (uint64_t)m->i * period);
    }
    CHECK_OK(rt_timer_cancel(m->timer));
    RT_END(0);
}

/* All at once, and the next one where it was to come. */
static int64_t skip(rt_cx *cx, void *state) {
    struct missed *m = state;
    RT_BEGIN(&m->frame);
    missed_start(cx, m, RT_MISSED_SKIP);
    for (m->i = 0; m->i < ROUNDS; m->i++) {
        miss_some(m);
        m->taken_at = rt_now();
        RT_AWAIT(m->got, rt_poll_timer(cx, m->timer));
        CHECK(m->got >= 1);
        /* As many as were due, be it a moment before the call or after it. */
        uint64_t next = m->due + (uint64_t)m->got * period;
        CHECK(next > m->taken_at);
        CHECK(next <= rt_now() + period);
        CHECK(m->got > MISSED);
        m->due = next;
    }
    CHECK_OK(rt_timer_cancel(m->timer));
    RT_END(0);
}

/* One, and the next a period after that. */
static int64_t delay(rt_cx *cx, void *state) {
    struct missed *m = state;
    uint64_t before = rt_now(); /* this poll, which takes a tick if one is taken */
    RT_BEGIN(&m->frame);
    missed_start(cx, m, RT_MISSED_DELAY);
    for (m->i = 0; m->i < ROUNDS; m->i++) {
        miss_some(m);
        RT_AWAIT(m->got, rt_poll_timer(cx, m->timer));
        CHECK_EQ(m->got, 1);
        CHECK(rt_now() >= m->due);
        m->due = before + period; /* not before that */
    }
    CHECK_OK(rt_timer_cancel(m->timer));
    RT_END(0);
}

static void missed_with(rt_poll_fn body) {
    struct missed m = {0};
    timer_play(body, &m);
}
static void missed_burst(void) { missed_with(burst); }
static void missed_skip(void) { missed_with(skip); }
static void missed_delay(void) { missed_with(delay); }

/* ---- two who take ---- */

enum { TICKS = 200 };

struct taking {
    rt_timer timer;
    uint64_t first, period;
    atomic_int taken;
};

static int64_t take_ticks(rt_cx *cx, void *state) {
    struct taking *t = state;
    int64_t r;
    while ((r = rt_poll_timer(cx, t->timer)) > 0) {
        int before = atomic_fetch_add(&t->taken, (int)r);
        /* Never more than were due. */
        CHECK(rt_now() >= t->first + (uint64_t)(before + r - 1) * t->period);
        if (before + r >= TICKS) return rt_timer_cancel(t->timer) < 0 ? -EBADF : 1;
    }
    return r;
}

static void two_take(uint32_t how) {
    static struct taking t;
    rt_task tasks[3];
    rt_runtime rt = test_runtime();
    atomic_store(&t.taken, 0);
    t.period = 100 * us;
    t.first = rt_now() + t.period;
    t.timer = timer_every(rt, t.first, t.period, how);
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_spawn(rt, take_ticks, &t, NULL, &tasks[i]), 0);
    int winners = 0;
    for (int i = 0; i < 3; i++) {
        int64_t r = join_task(tasks[i]);
        if (r == 1) winners++;
        else CHECK_EQ(r, -EBADF);
    }
    CHECK_EQ(winners, 1);
    CHECK(atomic_load(&t.taken) >= TICKS);
    timer_runtime_free(rt);
}
static void two_take_bursts(void) { two_take(RT_MISSED_BURST); }
static void two_take_all(void) { two_take(RT_MISSED_SKIP); }

/* ---- resets ---- */

struct reset {
    rt_frame frame;
    rt_timer timer;
    uint64_t from;
    int64_t got;
    int i;
};

/* Ticks go on from the new time, those before it are gone. */
static int64_t reset_it(rt_cx *cx, void *state) {
    struct reset *r = state;
    RT_BEGIN(&r->frame);
    r->timer = timer_every(rt_cx_runtime(cx), rt_now(), period, RT_MISSED_BURST);
    RT_AWAIT(r->got, rt_poll_timer(cx, r->timer));
    CHECK_EQ(r->got, 1);
    spin_until(rt_now() + 5 * period);
    r->from = rt_now() + 3 * period;
    CHECK_OK(rt_timer_reset(r->timer, r->from));
    for (r->i = 0; r->i < 5; r->i++) {
        RT_AWAIT(r->got, rt_poll_timer(cx, r->timer));
        CHECK_EQ(r->got, 1);
        CHECK(rt_now() >= r->from + (uint64_t)r->i * period);
    }
    CHECK_OK(rt_timer_reset(r->timer, RT_NEVER));
    CHECK_EQ(rt_poll_timer(cx, r->timer), RT_PENDING);
    CHECK_EQ(rt_timer_cancel(r->timer), 1);
    RT_END(0);
}
static void resets(void) {
    struct reset r = {0};
    timer_play(reset_it, &r);
}

static void refuses(rt_runtime rt, uint64_t period, uint32_t missed, int64_t error) {
    rt_timer timer = 77;
    CHECK_EQ(rt_timer_interval(rt, 0, period, missed, &timer), error);
    CHECK_EQ(timer, 0);
}

static void refused(void) {
    rt_runtime rt = test_runtime();
    refuses(rt, 0, RT_MISSED_BURST, -EINVAL);
    refuses(rt, 1, 3, -EINVAL);
    refuses(rt, 1, UINT32_MAX, -EINVAL);
    refuses(0, 1, RT_MISSED_SKIP, -EBADF);
    CHECK_EQ(rt_timer_interval(rt, 0, 1, RT_MISSED_SKIP, NULL), -EINVAL);
    timer_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(missed_burst);
    CASE(missed_skip);
    CASE(missed_delay);
    CASE(two_take_bursts);
    CASE(two_take_all);
    CASE(resets);
    CASE(refused);
    return test_end();
}
