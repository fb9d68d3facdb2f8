/* Several who wait for one timer: tasks, and contexts of the program's own. All are woken: when it
 * fires, when it is over, from wherever that is done. And handles that are not, or not any more, those
 * of a timer.
 */
#include "timer.h"

enum { WAITERS = 4, ROUNDS = 30 };

struct wait {
    rt_timer timer;
    atomic_int waiting, ended;
    int64_t expected;
    uint64_t at;
};

static int64_t wait_poll(rt_cx *cx, void *state) {
    struct wait *w = state;
    int64_t r = rt_poll_timer(cx, w->timer);
    if (r == RT_PENDING) {
        atomic_fetch_add(&w->waiting, 1);
        return r;
    }
    CHECK_EQ(r, w->expected);
    if (r == 0) CHECK(rt_now() >= w->at);
    atomic_fetch_add(&w->ended, 1);
    return 0;
}

static bool all_wait(void *arg) { return atomic_load(&((struct wait *)arg)->waiting) >= WAITERS; }

static void *cancel_it(void *arg) {
    CHECK_EQ(rt_timer_cancel(((struct wait *)arg)->timer), 1);
    return NULL;
}

static void *move_it(void *arg) {
    struct wait *w = arg;
    CHECK_EQ(rt_timer_reset(w->timer, w->at), 1);
    return NULL;
}

static int64_t cancel_in_a_task(rt_cx *cx, void *state) {
    (void)cx;
    cancel_it(state);
    return 0;
}

static int64_t move_in_a_task(rt_cx *cx, void *state) {
    (void)cx;
    move_it(state);
    return 0;
}

static int64_t start_in_a_task(rt_cx *cx, void *state) {
    struct wait *w = state;
    w->timer = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    return 0;
}

static void several(bool cancels, bool by_thread, bool by_task) {
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(ROUNDS); round++) {
        struct wait w = {.expected = cancels ? -EBADF : 0};
        struct hand hands[2];
        rt_task tasks[WAITERS], doer;
        if (by_task) CHECK_EQ(rt_block_on(rt, start_in_a_task, &w), 0);
        else w.timer = timer_at(rt, rt_now() + minute);
        for (int i = 0; i < 2; i++) {
            hand_open(&hands[i], rt);
            CHECK_EQ(rt_poll_timer(hands[i].cx, w.timer), RT_PENDING);
            CHECK_EQ(rt_poll_timer(hands[i].cx, w.timer), RT_PENDING);
        }
        for (int i = 0; i < WAITERS; i++) CHECK_EQ(rt_spawn(rt, wait_poll, &w, NULL, &tasks[i]), 0);
        drive_until(rt, all_wait, &w);
        w.at = rt_now() + 200 * us;
        if (by_thread) {
            on_thread(cancels ? cancel_it : move_it, &w);
        } else {
            CHECK_EQ(rt_spawn(rt, cancels ? cancel_in_a_task : move_in_a_task, &w, NULL, &doer), 0);
            CHECK_EQ(join_task(doer), 0);
        }
        for (int i = 0; i < WAITERS; i++) CHECK_EQ(join_task(tasks[i]), 0);
        for (int i = 0; i < 2; i++) {
            AWAIT_EQ(&hands[i], w.expected, rt_poll_timer(hands[i].cx, w.timer));
            hand_close(&hands[i]);
        }
        CHECK_EQ(rt_timer_cancel(w.timer), cancels ? -EBADF : 0);
        while (current_thread() && atomic_load(&hands[0].wakers) + atomic_load(&hands[1].wakers) > 0)
            CHECK_OK(rt_turn(rt, 0));
        while (atomic_load(&hands[0].wakers) + atomic_load(&hands[1].wakers) > 0) sched_yield();
        hand_check(&hands[0]);
        hand_check(&hands[1]);
    }
    timer_runtime_free(rt);
}

static void woken_by_time(void) { several(false, true, false); }
static void woken_by_time_moved_by_a_task(void) { several(false, false, true); }
static void woken_by_a_cancel(void) { several(true, true, true); }
static void woken_by_a_task_that_cancels(void) { several(true, false, true); }
static void woken_by_a_task_that_cancels_a_foreign_one(void) { several(true, false, false); }

/* ---- a task that moves between workers ---- */

enum { ROAMERS = 8 };

struct roamer {
    rt_frame frame;
    rt_timer timer;
    uint64_t at;
    int64_t got;
    int i;
};

/* Uses one timer from wherever it runs. */
static int64_t roam(rt_cx *cx, void *state) {
    struct roamer *r = state;
    RT_BEGIN(&r->frame);
    r->timer = timer_at(rt_cx_runtime(cx), rt_now());
    for (r->i = 0; r->i < scaled(400); r->i++) {
        RT_AWAIT(r->got, rt_poll_timer(cx, r->timer));
        CHECK_EQ(r->got, 0);
        CHECK(rt_now() >= r->at);
        if (r->i % 16 == 0) spin_until(rt_now() + 50 * us); /* others are stolen meanwhile */
        RT_YIELD(cx);
        if (r->i % 5 == 4) {
            CHECK_EQ(rt_timer_cancel(r->timer), 0);
            CHECK_EQ(rt_timer_cancel(r->timer), -EBADF);
            r->at = rt_now() + 20 * us;
            r->timer = timer_at(rt_cx_runtime(cx), r->at);
        } else {
            r->at = rt_now() + 20 * us;
            CHECK_EQ(rt_timer_reset(r->timer, r->at), 0);
        }
        RT_YIELD(cx);
    }
    CHECK_OK(rt_timer_cancel(r->timer));
    RT_END(0);
}

static void roaming(void) {
    static struct roamer roamers[ROAMERS];
    rt_task tasks[ROAMERS];
    memset(roamers, 0, sizeof roamers);
    rt_runtime rt = test_runtime();
    for (int i = 0; i < ROAMERS; i++) CHECK_EQ(rt_spawn(rt, roam, &roamers[i], NULL, &tasks[i]), 0);
    for (int i = 0; i < ROAMERS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    timer_runtime_free(rt);
}

/* ---- handles ---- */

static void none_of(rt_cx *cx, uint64_t handle, int64_t cancelled) {
    CHECK_EQ(rt_timer_reset(handle, rt_now()), -EBADF);
    CHECK_EQ(rt_timer_cancel(handle), cancelled);
    if (cx != NULL) CHECK_EQ(rt_poll_timer(cx, handle), -EBADF);
}

static void *none_of_on_a_thread(void *arg) {
    none_of(NULL, *(uint64_t *)arg, -EBADF);
    return NULL;
}

static rt_timer ended;

static int64_t none_in_a_task(rt_cx *cx, void *state) {
    (void)state;
    rt_timer timer = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    CHECK_EQ(rt_timer_cancel(timer), 1);
    none_of(cx, timer, -EBADF);
    none_of(cx, ended, -EBADF);
    none_of(cx, 0, 0);
    none_of(cx, rt_cx_runtime(cx), -EBADF);
    none_of(cx, rt_task_self(cx), -EBADF);
    /* The entry is used again, by another handle. */
    rt_timer next = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    CHECK(next != timer);
    none_of(cx, timer, -EBADF);
    CHECK_EQ(rt_timer_cancel(next), 1);
    for (int bit = 0; bit < 64; bit++) none_of(cx, next ^ UINT64_C(1) << bit, -EBADF);
    CHECK_EQ(rt_poll_timer(NULL, next), -EINVAL);
    return 0;
}

static void handles(void) {
    struct hand h;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    ended = timer_at(rt, rt_now() + minute);
    CHECK_EQ(rt_timer_cancel(ended), 1);
    none_of(h.cx, ended, -EBADF);
    none_of(h.cx, 0, 0);
    none_of(h.cx, UINT64_MAX, -EBADF);
    CHECK_EQ(rt_block_on(rt, none_in_a_task, NULL), 0);
    on_thread(none_of_on_a_thread, &ended);
    CHECK_EQ(rt_timer_start(rt, 0, NULL), -EINVAL);
    rt_timer timer = 77;
    CHECK_EQ(rt_timer_start(0, 0, &timer), -EBADF);
    CHECK_EQ(timer, 0);
    timer = 77;
    CHECK_EQ(rt_timer_start(ended, 0, &timer), -EBADF);
    CHECK_EQ(timer, 0);
    hand_close(&h);
    timer_runtime_free(rt);
    hand_check(&h);
    none_of(NULL, ended, -EBADF);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(woken_by_time);
    CASE(woken_by_time_moved_by_a_task);
    CASE(woken_by_a_cancel);
    CASE(woken_by_a_task_that_cancels);
    CASE(woken_by_a_task_that_cancels_a_foreign_one);
    CASE(roaming);
    CASE(handles);
    return test_end();
}
