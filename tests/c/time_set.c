/* Timers in sets: ready once for each add, when they fire or are over; intervals are added again. */
#include "timer.h"

#include <malloc.h>

enum { MEMBERS = 100 };

struct many {
    rt_frame frame;
    rt_set set, other;
    rt_timer timers[MEMBERS];
    uint64_t at[MEMBERS], key, random;
    bool seen[MEMBERS];
    int64_t got;
    int i, ticks;
};

static void play(rt_poll_fn body) {
    static struct many m;
    memset(&m, 0, sizeof m);
    m.random = 4711;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_set_new(rt, &m.set), 0);
    CHECK_EQ(rt_set_new(rt, &m.other), 0);
    CHECK_EQ(rt_block_on(rt, body, &m), 0);
    CHECK_EQ(rt_set_free(m.set), 0);
    CHECK_EQ(rt_set_free(m.other), 0);
    timer_runtime_free(rt);
}

static int64_t ready_once(rt_cx *cx, void *state) {
    struct many *m = state;
    RT_BEGIN(&m->frame);
    for (uint64_t i = 0; i < MEMBERS; i++) {
        m->at[i] = i % 10 == 0 ? 0 : rt_now() + timer_random(&m->random) % (5 * ms);
        m->timers[i] = timer_at(rt_cx_runtime(cx), m->at[i]);
        CHECK_EQ(rt_set_add(cx, m->set, m->timers[i], i), 0);
        CHECK_EQ(rt_set_add(cx, m->other, m->timers[i], i), 0);
    }
    for (m->i = 0; m->i < MEMBERS; m->i++) {
        RT_AWAIT(m->got, rt_poll_set(cx, m->set, &m->key));
        CHECK_EQ(m->got, 0);
        CHECK(m->key < MEMBERS && !m->seen[m->key]);
        CHECK(rt_now() >= m->at[m->key]);
        m->seen[m->key] = true;
        CHECK_EQ(rt_poll_timer(cx, m->timers[m->key]), 0);
    }
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), -ENOENT);
    /* What has fired is ready at once when it is added again. */
    for (uint64_t i = 0; i < MEMBERS; i++) {
        CHECK_EQ(rt_set_add(cx, m->set, m->timers[i], i), 0);
        CHECK_EQ(rt_poll_set(cx, m->set, &m->key), 0);
        CHECK_EQ(m->key, i);
        CHECK_EQ(rt_poll_set(cx, m->set, &m->key), -ENOENT);
    }
    for (m->i = 0; m->i < MEMBERS; m->i++) { /* the other one tells of all, too */
        RT_AWAIT(m->got, rt_poll_set(cx, m->other, &m->key));
        CHECK_EQ(m->got, 0);
        CHECK(m->seen[m->key]);
        m->seen[m->key] = false;
        CHECK_EQ(rt_timer_cancel(m->timers[m->key]), 0);
    }
    RT_END(0);
}
static void once_an_add(void) { play(ready_once); }

static void *cancel_odd(void *arg) {
    struct many *m = arg;
    for (int i = 1; i < MEMBERS; i += 2) CHECK_EQ(rt_timer_cancel(m->timers[i]), 1);
    return NULL;
}

static int64_t over(rt_cx *cx, void *state) {
    struct many *m = state;
    RT_BEGIN(&m->frame);
    for (uint64_t i = 0; i < MEMBERS; i++) {
        m->timers[i] = timer_at(rt_cx_runtime(cx), rt_now() + minute);
        CHECK_EQ(rt_set_add(cx, m->set, m->timers[i], i), 0);
    }
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), RT_PENDING);
    for (int i = 0; i < MEMBERS; i += 2) CHECK_EQ(rt_timer_cancel(m->timers[i]), 1);
    on_thread(cancel_odd, m);
    for (m->i = 0; m->i < MEMBERS; m->i++) {
        RT_AWAIT(m->got, rt_poll_set(cx, m->set, &m->key));
        CHECK_EQ(m->got, 0);
        CHECK(!m->seen[m->key]);
        m->seen[m->key] = true;
        CHECK_EQ(rt_poll_timer(cx, m->timers[m->key]), -EBADF);
        CHECK_EQ(rt_set_add(cx, m->set, m->timers[m->key], 0), -EBADF);
    }
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), -ENOENT);
    RT_END(0);
}
static void cancelled(void) { play(over); }

/* A reset moves a member, and it is told of once. */
static int64_t moved(rt_cx *cx, void *state) {
    struct many *m = state;
    RT_BEGIN(&m->frame);
    m->timers[0] = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    CHECK_EQ(rt_set_add(cx, m->set, m->timers[0], 5), 0);
    RT_YIELD(cx);
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), RT_PENDING);
    m->at[0] = rt_now() + ms;
    CHECK_EQ(rt_timer_reset(m->timers[0], m->at[0]), 1);
    RT_AWAIT(m->got, rt_poll_set(cx, m->set, &m->key));
    CHECK_EQ(m->key, 5);
    CHECK(rt_now() >= m->at[0]);
    CHECK_EQ(rt_timer_reset(m->timers[0], rt_now() + ms), 0);
    while (rt_poll_timer(cx, m->timers[0]) != 0) RT_YIELD(cx);
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), -ENOENT); /* not a member any more */
    CHECK_EQ(rt_timer_cancel(m->timers[0]), 0);
    RT_END(0);
}
static void moved_in_a_set(void) { play(moved); }

enum { TICKS = 50 };

static int64_t intervals(rt_cx *cx, void *state) {
    struct many *m = state;
    RT_BEGIN(&m->frame);
    for (uint64_t i = 0; i < 4; i++) {
        m->at[i] = rt_now() + i * 100 * us;
        m->timers[i] = timer_every(rt_cx_runtime(cx), m->at[i], (i + 1) * 100 * us, (uint32_t)i % 3);
        CHECK_EQ(rt_set_add(cx, m->set, m->timers[i], i), 0);
    }
    while (m->ticks < TICKS) {
        RT_AWAIT(m->got, rt_poll_set(cx, m->set, &m->key));
        CHECK_EQ(m->got, 0);
        RT_AWAIT(m->got, rt_poll_timer(cx, m->timers[m->key]));
        CHECK(m->got >= 1);
        m->ticks += (int)m->got;
        CHECK_EQ(rt_set_add(cx, m->set, m->timers[m->key], m->key), 0);
    }
    for (int i = 0; i < 4; i++) CHECK_OK(rt_timer_cancel(m->timers[i]));
    RT_END(0);
}
static void intervals_again(void) { play(intervals); }

/* Who is alone with a timer finds it ready when the set says so, however soon it is added again. */
static void ready_is_ready(void) {
    enum { READY = 3000 };
    struct hand h;
    uint64_t key;
    rt_set set;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    CHECK_EQ(rt_set_new(rt, &set), 0);
    rt_timer timer = timer_every(rt, rt_now(), 20 * us, RT_MISSED_SKIP);
    uint64_t enough = rt_now() + 500 * ms;
    for (int i = 0; i < scaled(READY) && rt_now() < enough; i++) {
        CHECK_EQ(rt_set_add(h.cx, set, timer, (uint64_t)i), 0);
        int64_t r;
        while ((r = rt_poll_set(h.cx, set, &key)) == RT_PENDING)
            if (current_thread()) CHECK_OK(rt_turn(rt, 0));
            else sched_yield();
        CHECK_EQ(r, 0);
        CHECK_EQ(key, i);
        CHECK(rt_poll_timer(h.cx, timer) >= 1);
    }
    CHECK_OK(rt_timer_cancel(timer));
    CHECK_EQ(rt_set_free(set), 0);
    hand_close(&h);
    timer_runtime_free(rt);
    hand_check(&h);
}

/* A timer outlives many sets, of which it keeps nothing. */
static int64_t outlive(rt_cx *cx, void *state) {
    enum { SETS = 5000, ROOM = 65536 };
    struct many *m = state;
    m->timers[0] = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    size_t in_use = mallinfo2().uordblks;
    for (int i = scaled(SETS); i > 0; i--) {
        rt_set set;
        CHECK_EQ(rt_set_new(rt_cx_runtime(cx), &set), 0);
        CHECK_EQ(rt_set_add(cx, set, m->timers[0], 1), 0);
        CHECK_EQ(rt_poll_set(cx, set, &m->key), RT_PENDING);
        CHECK_EQ(rt_set_free(set), 0);
    }
    CHECK(mallinfo2().uordblks < in_use + ROOM);
    CHECK_EQ(rt_timer_cancel(m->timers[0]), 1);
    return 0;
}
static void a_timer_outlives_sets(void) { play(outlive); }

static void refused(void) {
    struct hand h;
    uint64_t key;
    rt_set set;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    CHECK_EQ(rt_set_new(rt, &set), 0);
    rt_timer timer = timer_at(rt, rt_now() + ms);
    CHECK_EQ(rt_set_add(h.cx, set, timer, 1), 0);
    AWAIT_EQ(&h, 0, rt_poll_set(h.cx, set, &key));
    CHECK_EQ(key, 1);
    CHECK_EQ(rt_timer_cancel(timer), 0);
    CHECK_EQ(rt_set_add(h.cx, set, timer, 1), -EBADF);
    CHECK_EQ(rt_poll_set(h.cx, set, &key), -ENOENT);
    /* The set goes first. */
    timer = timer_at(rt, rt_now() + minute);
    CHECK_EQ(rt_set_add(h.cx, set, timer, 1), 0);
    CHECK_EQ(rt_set_free(set), 0);
    CHECK_EQ(rt_timer_cancel(timer), 1);
    hand_close(&h);
    timer_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(once_an_add);
    CASE(cancelled);
    CASE(moved_in_a_set);
    CASE(intervals_again);
    CASE(ready_is_ready);
    CASE(a_timer_outlives_sets);
    CASE(refused);
    return test_end();
}
