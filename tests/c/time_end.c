/* The runtime goes while timers are live: who waits is woken, handles become stale, and what the
 * program's functions start meanwhile is refused, or ends with all others.
 */
#include "timer.h"

enum { LIVE = 50 };

/* ---- who waits ---- */

static int64_t wait_on_a_worker(rt_cx *cx, void *state) {
    rt_timer *timers = state;
    for (int i = 0; i < LIVE; i += 2) timers[i] = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    return 0;
}

static void ends(bool shuts_down) {
    rt_timer timers[LIVE];
    struct hand hands[3];
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, wait_on_a_worker, timers), 0);
    for (int i = 1; i < LIVE; i += 2) timers[i] = timer_at(rt, i % 3 ? RT_NEVER : rt_now() + minute);
    for (int h = 0; h < 3; h++) {
        hand_open(&hands[h], rt);
        for (int i = 0; i < LIVE; i++)
            CHECK_EQ(rt_poll_timer(hands[h].cx, timers[i]), RT_PENDING);
    }
    CHECK_EQ(live_timers(rt), LIVE);
    if (shuts_down) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    else CHECK_EQ(rt_free(rt), 0);
    for (int h = 0; h < 3; h++) {
        CHECK_EQ(atomic_load(&hands[h].wakes), LIVE);
        for (int i = 0; i < LIVE; i++)
            CHECK(rt_poll_timer(hands[h].cx, timers[i]) != RT_PENDING);
    }
    for (int i = 0; i < LIVE; i++) {
        CHECK_EQ(rt_timer_reset(timers[i], 0), -EBADF);
        CHECK_EQ(rt_timer_cancel(timers[i]), -EBADF);
    }
    rt_timer timer = 77;
    CHECK_EQ(rt_timer_start(rt, 0, &timer), shuts_down ? -ESHUTDOWN : -EBADF);
    CHECK_EQ(timer, 0);
    for (int h = 0; h < 3; h++) hand_close(&hands[h]);
    if (shuts_down) CHECK_EQ(rt_free(rt), 0);
    for (int h = 0; h < 3; h++) hand_check(&hands[h]);
}

static void freed(void) { ends(false); }
static void shut_down(void) { ends(true); }

/* ---- drop functions ---- */

struct leaver {
    rt_runtime rt;
    rt_timer slot, own, fresh;
    atomic_int drops;
};

static int64_t leaver_poll(rt_cx *cx, void *state) {
    struct leaver *l = state;
    if (l->own == 0) l->own = timer_at(l->rt, rt_now() + minute);
    CHECK_EQ(rt_poll_timer(cx, l->own), RT_PENDING);
    return rt_poll_sleep(cx, &l->slot, rt_now() + minute);
}

/* Ends its own, meddles with another's, and starts one that nobody ends. */
static void leaver_drop(void *state) {
    struct leaver *l = state;
    CHECK_EQ(rt_timer_cancel(l->slot), 1);
    CHECK_EQ(rt_timer_reset(l->own, 0), 1);
    CHECK_OK(rt_timer_cancel(l->own));
    int64_t r = rt_timer_start(l->rt, rt_now() + minute, &l->fresh);
    CHECK(r == 0 || (r == -ESHUTDOWN && l->fresh == 0));
    atomic_fetch_add(&l->drops, 1);
}

static void drop_functions(void) {
    static struct leaver leavers[LIVE];
    for (int round = 0; round < scaled(20); round++) {
        rt_runtime rt = test_runtime();
        for (int i = 0; i < LIVE; i++) {
            leavers[i] = (struct leaver){.rt = rt};
            CHECK_EQ(rt_spawn(rt, leaver_poll, &leavers[i], leaver_drop, NULL), 0);
        }
        while (live_timers(rt) < 2 * LIVE) deliver(rt);
        CHECK_EQ(rt_free(rt), 0);
        for (int i = 0; i < LIVE; i++) {
            CHECK_EQ(atomic_load(&leavers[i].drops), 1);
            if (leavers[i].fresh != 0) CHECK_EQ(rt_timer_cancel(leavers[i].fresh), -EBADF);
        }
    }
}

/* ---- wakers ---- */

/* A waker that starts timers when it is called, wherever that is. */
struct starter {
    rt_runtime rt;
    rt_timer timers[LIVE], fresh[4 * LIVE];
    int calls;
};

static struct starter starter;

static void *starter_clone(void *data) { return data; }
static void starter_drop(void *data) { (void)data; }

static void starter_wake(void *data) {
    struct starter *s = data;
    if (s->calls == 4 * LIVE) return;
    rt_timer *fresh = &s->fresh[s->calls++];
    int64_t r = rt_timer_start(s->rt, rt_now() + minute, fresh);
    if (r != 0) CHECK(r == -ESHUTDOWN || r == -EBADF);
    if (r != 0) CHECK_EQ(*fresh, 0);
    (void)rt_timer_cancel(s->timers[(s->calls * 7) % LIVE]);
    (void)rt_timer_reset(s->timers[(s->calls * 11) % LIVE], rt_now());
}

static const rt_waker_vtable starter_vtable = {starter_clone, starter_wake, starter_wake, starter_drop};

/* On one worker, which keeps entries of those that are over. */
static int64_t start_many(rt_cx *cx, void *state) {
    struct starter *s = state;
    rt_timer spare[LIVE];
    rt_cx *own = context_with(s->rt, &starter_vtable, s);
    for (int i = 0; i < LIVE; i++) spare[i] = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    for (int i = 0; i < LIVE; i++) {
        s->timers[i] = timer_at(rt_cx_runtime(cx), rt_now() + minute);
        CHECK_EQ(rt_poll_timer(own, s->timers[i]), RT_PENDING);
    }
    for (int i = 0; i < LIVE; i++) CHECK_EQ(rt_timer_cancel(spare[i]), 1);
    CHECK_EQ(rt_cx_free(own), 0);
    return 0;
}

static void wakers_that_start(void) {
    rt_config config = test_config();
    if (!current_thread()) config.workers = 1; /* one thread calls the wakers */
    memset(&starter, 0, sizeof starter);
    starter.rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(starter.rt, start_many, &starter), 0);
    CHECK_EQ(rt_free(starter.rt), 0);
    CHECK(starter.calls > 0);
    for (int i = 0; i < starter.calls; i++)
        if (starter.fresh[i] != 0) CHECK_EQ(rt_timer_cancel(starter.fresh[i]), -EBADF);
    for (int i = 0; i < LIVE; i++) CHECK_EQ(rt_timer_cancel(starter.timers[i]), -EBADF);
}

/* ---- hooks ---- */

static rt_timer in_hook[8];
static atomic_int hooks;
static rt_runtime hooked;

static void start_in_hook(void *arg) {
    (void)arg;
    rt_timer *timer = &in_hook[atomic_fetch_add(&hooks, 1)];
    int64_t r = rt_timer_start(hooked, rt_now() + minute, timer);
    CHECK(r == -ESHUTDOWN || r == -EBADF);
    CHECK_EQ(*timer, 0);
}

static void after_a_worker(void) {
    if (current_thread()) return;
    rt_config config = test_config();
    config.on_thread_stop = start_in_hook;
    atomic_store(&hooks, 0);
    hooked = test_runtime_with(&config);
    CHECK_EQ(rt_free(hooked), 0);
    CHECK_EQ(atomic_load(&hooks), test_workers);
}

/* ---- a worker that is stuck ---- */

static gate unstick;
static rt_timer of_the_stuck;
static atomic_bool is_stuck, went_on;

static int64_t get_stuck(rt_cx *cx, void *state) {
    (void)state;
    of_the_stuck = timer_at(rt_cx_runtime(cx), rt_now() + minute);
    atomic_store(&is_stuck, true);
    gate_wait(&unstick);
    atomic_store(&went_on, true);
    return 0;
}

static void behind_a_stuck_worker(void) {
    if (current_thread()) return;
    struct hand h;
    gate_init(&unstick);
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    CHECK_EQ(rt_spawn(rt, get_stuck, NULL, NULL, NULL), 0);
    while (!atomic_load(&is_stuck)) sched_yield();
    CHECK_EQ(rt_poll_timer(h.cx, of_the_stuck), RT_PENDING);
    CHECK_EQ(rt_shutdown(rt, 0), 1);
    gate_wait_soon(&h.woken);
    CHECK_EQ(rt_poll_timer(h.cx, of_the_stuck), -EBADF);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_timer_cancel(of_the_stuck), -EBADF);
    hand_close(&h);
    gate_open(&unstick);
    while (!atomic_load(&went_on)) sched_yield();
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(freed);
    CASE(shut_down);
    CASE(drop_functions);
    CASE(wakers_that_start);
    CASE(after_a_worker);
    CASE_LEAVES(behind_a_stuck_worker, "a worker that is stuck in a poll");
    return test_end();
}
