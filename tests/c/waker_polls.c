/* Wakers of the program's own that poll again, at once and until there is nothing more: they wait anew while
 * those who are to be woken are still being woken. Each is woken for what came, and not for having waited anew. */
#include "check.h"

/* The crowd is more than the library wakes at a time. */
enum { POLLERS = 2, CROWD = 40, ROUNDS = 3, MANY = 1000 };

static const uint64_t NS_PER_MS = 1000000;

struct poller {
    rt_cx *cx;
    rt_timer timer;
    rt_set set;
    rt_notify notify;
    rt_waker waker;
    atomic_int got, wakes;
};

static struct poller pollers[CROWD];

static void poll_all(struct poller *p) {
    while (p->timer != 0 && rt_poll_timer(p->cx, p->timer) > 0) atomic_fetch_add(&p->got, 1);
    uint64_t key;
    while (p->set != 0 && rt_poll_set(p->cx, p->set, &key) == 0) atomic_fetch_add(&p->got, 1);
    while (p->notify != 0 && rt_poll_notified(p->cx, p->notify) == 0) atomic_fetch_add(&p->got, 1);
}

static void *waker_clone(void *p) { return p; }
static void waker_drop(void *p) { (void)p; }

static void waker_wake(void *data) {
    struct poller *p = data;
    /* One who is woken for nothing again and again would never come to an end here. */
    CHECK(atomic_fetch_add(&p->wakes, 1) < MANY);
    poll_all(p);
}

static const rt_waker_vtable TABLE = {waker_clone, waker_wake, waker_wake, waker_drop};

static void start(rt_runtime rt, struct poller *p) {
    *p = (struct poller){0};
    CHECK_OK(rt_waker_new(&TABLE, p, &p->waker));
    CHECK_OK(rt_cx_new(rt, &p->waker, &p->cx));
}

static void end(struct poller *p) {
    rt_cx_free(p->cx);
    rt_waker_drop(&p->waker);
}

static bool enough(void *arg) {
    (void)arg;
    int sum = 0;
    for (int i = 0; i < POLLERS; i++) sum += atomic_load(&pollers[i].got);
    return sum >= ROUNDS;
}

static void an_interval(void) {
    rt_runtime rt = test_runtime();
    rt_timer timer;
    CHECK_OK(rt_timer_interval(rt, rt_now() + 5 * NS_PER_MS, 5 * NS_PER_MS, RT_MISSED_SKIP, &timer));
    for (int i = 0; i < POLLERS; i++) start(rt, &pollers[i]);
    for (int i = 0; i < POLLERS; i++) pollers[i].timer = timer, poll_all(&pollers[i]);
    drive_until(rt, enough, NULL);
    CHECK_OK(rt_timer_cancel(timer)); /* 0: one more tick came, which nobody has taken yet */
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < POLLERS; i++) end(&pollers[i]);
}

static bool has_one_got_it(void *arg) {
    (void)arg;
    int sum = 0;
    for (int i = 0; i < CROWD; i++) sum += atomic_load(&pollers[i].got);
    return sum == 1;
}

static int64_t add_all(rt_cx *cx, void *state) {
    rt_timer *timers = state;
    CHECK_OK(rt_set_add(cx, pollers[0].set, timers[0], 1));
    CHECK_OK(rt_set_add(cx, pollers[0].set, timers[1], 2));
    return 0;
}

static void a_set(void) {
    rt_runtime rt = test_runtime();
    rt_timer timers[2];
    CHECK_OK(rt_timer_start(rt, rt_now() + 5 * NS_PER_MS, &timers[0]));
    CHECK_OK(rt_timer_start(rt, RT_NEVER, &timers[1]));
    rt_set set;
    CHECK_OK(rt_set_new(rt, &set));
    for (int i = 0; i < CROWD; i++) start(rt, &pollers[i]), pollers[i].set = set;
    CHECK_EQ(rt_block_on(rt, add_all, timers), 0);
    for (int i = 0; i < CROWD; i++) poll_all(&pollers[i]);
    drive_until(rt, has_one_got_it, NULL);
    CHECK_EQ(rt_set_free(set), 0);
    CHECK_EQ(rt_timer_cancel(timers[0]), 0);
    CHECK_EQ(rt_timer_cancel(timers[1]), 1);
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < CROWD; i++) end(&pollers[i]);
}

/* Each waits, so each is notified. */
static void two_wait_for_a_notify(void) {
    rt_runtime rt = test_runtime();
    rt_notify notify;
    CHECK_OK(rt_notify_new(&notify));
    for (int i = 0; i < POLLERS; i++) {
        start(rt, &pollers[i]);
        CHECK_EQ(rt_poll_notified(pollers[i].cx, notify), RT_PENDING);
    }
    CHECK_OK(rt_notify_one(notify));
    CHECK_OK(rt_notify_one(notify));
    for (int i = 0; i < POLLERS; i++) {
        CHECK(atomic_load(&pollers[i].wakes) > 0);
        CHECK_EQ(rt_poll_notified(pollers[i].cx, notify), 0);
    }
    /* Nobody waits: one is kept. */
    for (int i = 0; i < 3; i++) CHECK_OK(rt_notify_one(notify));
    CHECK_EQ(rt_poll_notified(pollers[0].cx, notify), 0);
    CHECK_EQ(rt_poll_notified(pollers[0].cx, notify), RT_PENDING);
    CHECK_EQ(rt_notify_free(notify), 0);
    for (int i = 0; i < POLLERS; i++) end(&pollers[i]);
    CHECK_EQ(rt_free(rt), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(an_interval);
    CASE(a_set);
    CASE(two_wait_for_a_notify);
    return test_end();
}
