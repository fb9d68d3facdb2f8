/* Calls at a time: once, periodic, taken back before and after; the argument is dropped exactly once,
 * after the last call, or stays the caller's.
 */
#include "timer.h"

struct called {
    atomic_int calls, drops, inside;
    int most; /* takes itself back after so many; 0: never */
    uint64_t at, period, last; /* the period in which the last call was made, from 1 */
    rt_task task;
};

static void call(void *arg) {
    struct called *c = arg;
    CHECK_EQ(atomic_fetch_add(&c->inside, 1), 0);
    CHECK_EQ(atomic_load(&c->drops), 0);
    int before = atomic_fetch_add(&c->calls, 1);
    uint64_t now = rt_now();
    CHECK(now >= c->at + (uint64_t)before * c->period);
    if (c->period) {
        uint64_t nth = (now - c->at) / c->period + 1;
        CHECK(nth > c->last); /* one call a period, however many were missed */
        c->last = nth;
    }
    if (before + 1 == c->most) CHECK_EQ(rt_abort(c->task), 0);
    CHECK_EQ(atomic_fetch_sub(&c->inside, 1), 1);
}

static void dropped(void *arg) {
    struct called *c = arg;
    CHECK_EQ(atomic_load(&c->inside), 0);
    CHECK_EQ(atomic_fetch_add(&c->drops, 1), 0);
}

static bool was_dropped(void *arg) { return atomic_load(&((struct called *)arg)->drops) == 1; }
static bool called_often(void *arg) { return atomic_load(&((struct called *)arg)->calls) >= 5; }

static void start(rt_runtime rt, struct called *c, uint64_t at, uint64_t period) {
    c->at = at;
    c->period = period;
    CHECK_EQ(rt_call_at(rt, at, period, call, c, dropped, &c->task), 0);
    CHECK(c->task != 0);
}

static void once(void) {
    rt_runtime rt = test_runtime();
    uint64_t times[] = {0, 1, rt_now(), rt_now() + 2 * ms};
    for (int i = 0; i < 4; i++) {
        struct called c = {0};
        start(rt, &c, times[i], 0);
        CHECK_EQ(join_soon(c.task), 0);
        CHECK_EQ(atomic_load(&c.calls), 1);
        CHECK_EQ(atomic_load(&c.drops), 1);
        CHECK_EQ(rt_abort(c.task), -EBADF); /* it was joined */
    }
    timer_runtime_free(rt);
}

static void detached(void) {
    rt_runtime rt = test_runtime();
    struct called c = {.at = rt_now() + ms};
    CHECK_EQ(rt_call_at(rt, c.at, 0, call, &c, dropped, NULL), 0);
    drive_until(rt, was_dropped, &c);
    CHECK_EQ(atomic_load(&c.calls), 1);
    c = (struct called){.at = rt_now() + ms};
    CHECK_EQ(rt_call_at(rt, c.at, 0, call, &c, NULL, &c.task), 0); /* nothing to drop */
    CHECK_EQ(join_soon(c.task), 0);
    CHECK_EQ(atomic_load(&c.calls), 1);
    timer_runtime_free(rt);
}

static void periodic(void) {
    struct called c = {0};
    rt_runtime rt = test_runtime();
    start(rt, &c, rt_now() + ms, 200 * us);
    drive_until(rt, called_often, &c);
    CHECK_EQ(rt_abort(c.task), 0);
    CHECK_EQ(join_soon(c.task), -ECANCELED);
    int calls = atomic_load(&c.calls);
    CHECK_EQ(atomic_load(&c.drops), 1);
    deliver(rt);
    CHECK_EQ(atomic_load(&c.calls), calls);
    timer_runtime_free(rt);
}

static bool called(void *arg) { return atomic_load(&((struct called *)arg)->calls) > 0; }

/* Late as it is, one call makes up for all that were missed, and the next is due when it would have been anyway. */
static void skips_what_was_missed(void) {
    rt_runtime rt = test_runtime();
    struct called c = {0};
    start(rt, &c, rt_now() - 100 * ms, ms);
    drive_until(rt, called_often, &c);
    CHECK_EQ(rt_abort(c.task), 0);
    CHECK_EQ(join_soon(c.task), -ECANCELED);
    CHECK_EQ(atomic_load(&c.drops), 1);
    /* Three are missed, and the next is half a period away, which is long. */
    struct called late = {0};
    start(rt, &late, 0, rt_now() / 7 * 2);
    drive_until(rt, called, &late);
    for (int i = 0; i < 10; i++) deliver(rt);
    CHECK_EQ(atomic_load(&late.calls), 1);
    CHECK_EQ(rt_abort(late.task), 0);
    CHECK_EQ(join_soon(late.task), -ECANCELED);
    timer_runtime_free(rt);
}

static void takes_itself_back(void) {
    struct called c = {.most = 3};
    rt_runtime rt = test_runtime();
    start(rt, &c, rt_now() + 20 * ms, 100 * us);
    CHECK_EQ(join_soon(c.task), -ECANCELED);
    CHECK_EQ(atomic_load(&c.calls), 3);
    CHECK_EQ(atomic_load(&c.drops), 1);
    timer_runtime_free(rt);
}

static void taken_back(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 20; i++) {
        struct called c = {0};
        start(rt, &c, i % 2 ? RT_NEVER : rt_now() + minute, 0);
        if (i % 4 == 0) deliver(rt); /* it has its timer by then */
        CHECK_EQ(rt_abort(c.task), 0);
        CHECK_EQ(join_soon(c.task), -ECANCELED);
        CHECK_EQ(atomic_load(&c.calls), 0);
        CHECK_EQ(atomic_load(&c.drops), 1);
        CHECK_EQ(live_timers(rt), 0);
    }
    timer_runtime_free(rt);
}

/* Called or taken back, and joining says which. */
static void *take_back(void *arg) {
    struct called *all = arg;
    for (int i = 0; i < scaled(2000); i++) CHECK_OK(rt_abort(all[i].task));
    return NULL;
}

static void never_both(void) {
    enum { MOST = 2000 };
    static struct called all[MOST];
    memset(all, 0, sizeof all);
    rt_runtime rt = test_runtime();
    uint64_t from = rt_now() + 2 * ms;
    for (int i = 0; i < scaled(MOST); i++) start(rt, &all[i], from + (uint64_t)i * us, 0);
    pthread_t thread = thread_start(take_back, all);
    while (current_thread() && pthread_tryjoin_np(thread, NULL) != 0) CHECK_OK(rt_turn(rt, 50 * us));
    if (!current_thread()) thread_join(thread);
    for (int i = 0; i < scaled(MOST); i++) {
        int64_t r = join_soon(all[i].task);
        CHECK(r == 0 || r == -ECANCELED);
        CHECK_EQ(atomic_load(&all[i].calls), r == 0);
        CHECK_EQ(atomic_load(&all[i].drops), 1);
    }
    timer_runtime_free(rt);
}

static void refused(void) {
    struct called c = {0};
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_call_at(rt, 0, 0, NULL, &c, dropped, &c.task), -EINVAL);
    CHECK_EQ(rt_call_at(0, 0, 0, call, &c, dropped, &c.task), -EBADF);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_call_at(rt, 0, 0, call, &c, dropped, &c.task), -ESHUTDOWN);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_call_at(rt, 0, 0, call, &c, dropped, &c.task), -EBADF);
    CHECK_EQ(c.task, 0);
    CHECK_EQ(atomic_load(&c.calls), 0);
    CHECK_EQ(atomic_load(&c.drops), 0);
}

/* Those that are left when the runtime goes. */
static void at_the_end(void) {
    static struct called all[20];
    memset(all, 0, sizeof all);
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 20; i++) start(rt, &all[i], rt_now() + minute, (uint64_t)i % 2);
    deliver(rt);
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(atomic_load(&all[i].calls), 0);
        CHECK_EQ(atomic_load(&all[i].drops), 1);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(once);
    CASE(detached);
    CASE(periodic);
    CASE(skips_what_was_missed);
    CASE(takes_itself_back);
    CASE(taken_back);
    CASE(never_both);
    CASE(refused);
    CASE(at_the_end);
    return test_end();
}
