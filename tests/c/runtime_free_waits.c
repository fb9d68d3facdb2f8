/* Tasks that wait for something which outlives their runtime leave their wakers there. The runtime's
 * descriptors go with the runtime all the same, and a wake that comes later finds nothing. */
#include "check.h"

#include <sys/eventfd.h>

enum { LIVES = 4 };

/* What a task waits for: one of these. */
struct outside {
    rt_runtime keeper;
    rt_notify notify;
    rt_sem sem;
    rt_chan chan;
    rt_oneshot oneshot;
    rt_timer timer;
    rt_task target;
    rt_waker waker;
};

struct guest {
    struct outside *at;
    int64_t (*wait)(rt_cx *cx, struct outside *at);
    atomic_bool waits;
};

static int64_t wait_notify(rt_cx *cx, struct outside *at) { return rt_poll_notified(cx, at->notify); }
static int64_t wait_sem(rt_cx *cx, struct outside *at) { return rt_poll_acquire(cx, at->sem, 1); }
static int64_t wait_timer(rt_cx *cx, struct outside *at) { return rt_poll_timer(cx, at->timer); }
static int64_t wait_join(rt_cx *cx, struct outside *at) { return rt_poll_join(cx, at->target, NULL); }

static int64_t wait_chan(rt_cx *cx, struct outside *at) {
    void *item;
    return rt_poll_chan_recv(cx, at->chan, &item);
}

static int64_t wait_oneshot(rt_cx *cx, struct outside *at) {
    void *value;
    return rt_poll_oneshot(cx, at->oneshot, &value);
}

/* As a library of somebody else's does. */
static int64_t wait_waker(rt_cx *cx, struct outside *at) {
    rt_waker_drop(&at->waker);
    CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &at->waker), 0);
    return RT_PENDING;
}

static int64_t guest_poll(rt_cx *cx, void *state) {
    struct guest *g = state;
    CHECK_EQ(g->wait(cx, g->at), RT_PENDING);
    atomic_store(&g->waits, true);
    return RT_PENDING;
}

static bool guest_waits(void *arg) { return atomic_load(&((struct guest *)arg)->waits); }

static int64_t for_ever(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void outside_open(struct outside *o) {
    *o = (struct outside){.keeper = test_runtime()};
    CHECK_EQ(rt_notify_new(&o->notify), 0);
    CHECK_EQ(rt_sem_new(0, &o->sem), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &o->chan), 0);
    CHECK_EQ(rt_oneshot_new(NULL, &o->oneshot), 0);
    CHECK_EQ(rt_timer_start(o->keeper, RT_NEVER, &o->timer), 0);
    CHECK_EQ(rt_spawn(o->keeper, for_ever, NULL, NULL, &o->target), 0);
}

/* Ends everything, which wakes whoever is left in a queue. */
static void outside_close(struct outside *o) {
    CHECK_EQ(rt_notify_free(o->notify), 0);
    CHECK_EQ(rt_sem_free(o->sem), 0);
    CHECK_EQ(rt_chan_free(o->chan), 0);
    CHECK_EQ(rt_oneshot_free(o->oneshot), 0);
    CHECK_EQ(rt_timer_cancel(o->timer), 1);
    rt_waker_wake_by_ref(&o->waker); /* or nobody left one */
    rt_waker_drop(&o->waker);
    CHECK_EQ(rt_abort(o->target), 0);
    CHECK_EQ(join_task(o->target), -ECANCELED);
    test_runtime_free(o->keeper);
}

static void runtimes_come_and_go(int64_t (*wait)(rt_cx *cx, struct outside *at)) {
    struct outside o;
    outside_open(&o);
    int before = open_fds();
    for (int i = 0; i < LIVES; i++) {
        rt_runtime rt = test_runtime();
        struct guest g = {.at = &o, .wait = wait};
        CHECK_EQ(rt_spawn(rt, guest_poll, &g, NULL, NULL), 0);
        drive_until(rt, guest_waits, &g);
        CHECK_EQ(rt_free(rt), 0);
        CHECK_EQ(open_fds(), before);
    }
    outside_close(&o);
}

static void at_a_notification(void) { runtimes_come_and_go(wait_notify); }
static void at_a_semaphore(void) { runtimes_come_and_go(wait_sem); }
static void at_a_channel(void) { runtimes_come_and_go(wait_chan); }
static void at_a_oneshot(void) { runtimes_come_and_go(wait_oneshot); }
static void at_a_timer_of_another_runtime(void) { runtimes_come_and_go(wait_timer); }
static void at_a_task_of_another_runtime(void) { runtimes_come_and_go(wait_join); }
static void at_a_strangers(void) { runtimes_come_and_go(wait_waker); }

/* ---- wakes while it is freed, and after ---- */

enum { STRANGERS = 16 };

struct storm {
    rt_waker waker;
    atomic_bool over;
};

static void *wake_on_and_on(void *arg) {
    struct storm *s = arg;
    while (!atomic_load(&s->over)) CHECK_EQ(rt_waker_wake_by_ref(&s->waker), 0);
    return NULL;
}

/* The numbers that were the runtime's are others' now, and nobody writes to them. */
static void wakes_that_come_late(void) {
    for (int i = 0; i < scaled(100); i++) {
        rt_runtime rt = test_runtime();
        struct outside o = {.keeper = 0};
        struct guest g = {.at = &o, .wait = wait_waker};
        CHECK_EQ(rt_spawn(rt, guest_poll, &g, NULL, NULL), 0);
        drive_until(rt, guest_waits, &g);
        struct storm s;
        CHECK_EQ(rt_waker_clone(&o.waker, &s.waker), 0);
        atomic_init(&s.over, false);
        pthread_t waker = thread_start(wake_on_and_on, &s);
        CHECK_EQ(rt_free(rt), 0);
        int strangers[STRANGERS];
        for (int n = 0; n < STRANGERS; n++)
            strangers[n] = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        atomic_store(&s.over, true);
        thread_join(waker);
        for (int n = 0; n < STRANGERS; n++) {
            uint64_t count;
            CHECK_EQ(test_sys(read(strangers[n], &count, sizeof count)), -EAGAIN);
            CHECK_SYS(close(strangers[n]));
        }
        CHECK_EQ(rt_waker_drop(&s.waker), 0);
        CHECK_EQ(rt_waker_drop(&o.waker), 0);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(at_a_notification);
    CASE(at_a_semaphore);
    CASE(at_a_channel);
    CASE(at_a_oneshot);
    CASE(at_a_timer_of_another_runtime);
    CASE(at_a_task_of_another_runtime);
    CASE(at_a_strangers);
    CASE(wakes_that_come_late);
    return test_end();
}
