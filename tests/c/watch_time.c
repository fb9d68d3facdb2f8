/* A watch calls its function at the time that was given last: once, never early, at once if it is over. */
#include "watch.h"

static const uint64_t ms = 1000000, hour = UINT64_C(3600000000000);

static void a_time_comes_once_and_not_early(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_open(&w, rt, -1, NULL);
    const uint64_t late[] = {0, 1, 20000, ms, 3 * ms};
    for (int i = 0; i < 5; i++) {
        uint64_t at = rt_now() + late[i];
        CHECK_EQ(rt_watch_at(w.watch, at), 0);
        watched_await(&w, i + 1);
        CHECK(rt_now() >= at);
    }
    CHECK_EQ(rt_watch_at(w.watch, 0), 0);
    watched_await(&w, 6);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.times), 6);
    watched_close(&w);
    test_runtime_free(rt);
}

/* A watch of a later time, on the same worker, says that the first had its chance. */
static void a_time_is_taken_back(void) {
    rt_runtime rt = test_runtime();
    struct watched w, later;
    watched_open(&w, rt, -1, NULL);
    watched_open_near(&later, rt, w.watch, -1, NULL);
    for (int i = 1; i <= 5; i++) {
        uint64_t at = rt_now() + 5 * ms;
        CHECK_EQ(rt_watch_at(w.watch, at), 0);
        if (i % 2 == 0) deliver(rt); /* its timer was made, or not */
        CHECK_EQ(rt_watch_at(w.watch, RT_NEVER), 0);
        if (rt_now() >= at) break; /* too late to take it back: a slow machine shows nothing */
        CHECK_EQ(rt_watch_at(later.watch, at + 1), 0);
        watched_await(&later, i);
        CHECK_EQ(atomic_load(&w.times), 0);
    }
    watched_close(&w);
    watched_close(&later);
    test_runtime_free(rt);
}

static void a_time_is_moved(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_open(&w, rt, -1, NULL);
    CHECK_EQ(rt_watch_at(w.watch, rt_now() + hour), 0);
    deliver(rt);
    CHECK_EQ(rt_watch_at(w.watch, rt_now() + ms), 0);
    watched_await(&w, 1);
    uint64_t soon = rt_now() + 5 * ms, at = soon + ms;
    CHECK_EQ(rt_watch_at(w.watch, soon), 0);
    CHECK_EQ(rt_watch_at(w.watch, at), 0);
    bool in_time = rt_now() < soon;
    watched_await(&w, 2);
    CHECK(rt_now() >= (in_time ? at : soon));
    watched_close(&w);
    test_runtime_free(rt);
}

/* ---- from the function ---- */

static void again_soon(struct watched *w, uint32_t ready) {
    CHECK_EQ(ready, 0);
    watched_at(w, rt_now() + 50000);
}

static void the_function_gives_the_next_time(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_open(&w, rt, -1, again_soon);
    uint64_t began = rt_now();
    CHECK_EQ(rt_watch_at(w.watch, began), 0);
    watched_await(&w, 20);
    CHECK(rt_now() >= began + 19 * 50000);
    watched_close(&w);
    test_runtime_free(rt);
}

static void at_once(struct watched *w, uint32_t ready) {
    if (ready == 0) watched_at(w, rt_now());
}


static bool both_came(void *arg) {
    struct watched *w = arg;
    return atomic_load(&w->calls) >= 500 && atomic_load(&w->times) >= 500;
}

/* Neither a descriptor that is always ready nor a time that is always over keeps anybody waiting. */
static void neither_starves_the_other(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, at_once);
    net_put(w.far, "x", 1);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    CHECK_EQ(rt_watch_at(w.watch, rt_now()), 0);
    drive_until(rt, both_came, &w);
    watched_close(&w);
    test_runtime_free(rt);
}

/* ---- what it costs ---- */

static bool no_timers(void *arg) { return metrics(*(rt_runtime *)arg).timers_live == 0; }
static bool one_timer(void *arg) { return metrics(*(rt_runtime *)arg).timers_live == 1; }

static void no_timer_is_kept_without_a_time(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_open(&w, rt, -1, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rt_watch_at(w.watch, rt_now() + hour), 0);
        drive_until(rt, one_timer, &rt);
        CHECK_EQ(rt_watch_at(w.watch, i == 1 ? rt_now() : RT_NEVER), 0);
        drive_until(rt, no_timers, &rt);
    }
    CHECK_EQ(rt_watch_at(w.watch, rt_now() + hour), 0);
    drive_until(rt, one_timer, &rt);
    watched_close(&w);
    drive_until(rt, no_timers, &rt);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(a_time_comes_once_and_not_early);
    CASE(a_time_is_taken_back);
    CASE(a_time_is_moved);
    CASE(the_function_gives_the_next_time);
    CASE(neither_starves_the_other);
    CASE(no_timer_is_kept_without_a_time);
    return test_end();
}
