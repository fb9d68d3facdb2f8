/* The end of a watch: by its own function, on its worker, from outside, by its runtime. No call begins
 * after it, the argument is dropped once, after the last call, and the handle is stale for ever.
 */
#include "watch.h"

static void refused_by_all(rt_watch watch) {
    CHECK_EQ(rt_watch_for(watch, RT_READABLE), -EBADF);
    CHECK_EQ(rt_watch_for(watch, 0), -EBADF);
    CHECK_EQ(rt_watch_at(watch, 0), -EBADF);
    CHECK_EQ(rt_watch_close(watch), watch == 0 ? 0 : -EBADF);
}

/* ---- by its function ---- */

/* The number is watched anew before the function returns. */
static void close_and_open(struct watched *w, uint32_t ready) {
    struct watched *next = w + 1;
    CHECK_EQ(ready, RT_READABLE);
    CHECK_EQ(rt_watch_close(w->watch), 0);
    refused_by_all(w->watch);
    CHECK_EQ(atomic_load(&w->drops), 0);
    watched_open(next, w->rt, w->fd, NULL);
    CHECK_EQ(rt_watch_for(next->watch, RT_READABLE), 0);
    w->fd = -1;
}

static void by_its_own_function(void) {
    rt_runtime rt = test_runtime();
    struct watched w[2];
    watched_pair(&w[0], rt, net_pair, close_and_open);
    CHECK_EQ(rt_watch_for(w[0].watch, RT_READABLE), 0);
    net_put(w[0].far, "x", 1);
    drive_until(rt, watched_dropped, &w[0]);
    CHECK_EQ(atomic_load(&w[0].calls), 1);
    watched_await(&w[1], 3);
    watched_close(&w[1]);
    CHECK_SYS(close(w[0].far));
    test_runtime_free(rt);
}

static void free_argument(void *arg, int fd, uint32_t ready) {
    rt_watch *watch = arg;
    CHECK_EQ(ready, 0);
    CHECK_EQ(fd, -1);
    CHECK_EQ(rt_watch_close(*watch), 0);
    free(watch);
}

/* Nothing of the argument is looked at after that. */
static void and_its_argument_with_it(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 10; i++) {
        rt_watch *watch = malloc(sizeof *watch);
        CHECK(watch != NULL);
        CHECK_EQ(rt_watch_open(rt, 0, -1, free_argument, watch, NULL, watch), 0);
        rt_watch handle = *watch;
        CHECK_EQ(rt_watch_at(handle, 0), 0);
    }
    test_runtime_free(rt);
}

/* ---- on its worker ---- */


/* All is there for a call, which must not come: both watches may be in the midst of their wakes. */
static int64_t close_here(rt_cx *cx, void *state) {
    struct watched *w = state;
    (void)cx;
    net_put(w->far, "x", 1);
    CHECK_EQ(rt_watch_for(w->watch, RW), 0);
    CHECK_EQ(rt_watch_at(w->watch, 0), 0);
    CHECK_EQ(rt_watch_close(w->watch), 0);
    CHECK_SYS(close(w->fd));
    w->fd = -2;
    return 0;
}

static void on_its_worker(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 50; i++) {
        struct watched w;
        rt_task task;
        watched_pair(&w, rt, net_unix_pair, NULL);
        const rt_spawn_opts opts = {.size = sizeof opts,
                                    .flags = RT_SPAWN_PINNED,
                                    .poll = close_here,
                                    .state = &w,
                                    .near = w.watch};
        CHECK_EQ(rt_spawn_with(rt, &opts, &task), 0);
        CHECK_EQ(join_task(task), 0);
        drive_until(rt, watched_dropped, &w);
        CHECK_EQ(atomic_load(&w.calls) + atomic_load(&w.times), 0);
        CHECK_SYS(close(w.far));
    }
    test_runtime_free(rt);
}

/* ---- from outside ---- */

static void from_outside(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    net_put(w.far, "x", 1);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    watched_await(&w, 3);
    CHECK_EQ(rt_watch_close(w.watch), 0);
    refused_by_all(w.watch);
    drive_until(rt, watched_dropped, &w);
    int calls = atomic_load(&w.calls);
    rt_io io = io_of(rt, w.fd, RT_READABLE); /* nothing of it is left, and it is open */
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), calls);
    CHECK_EQ(rt_close(io), 0);
    CHECK_SYS(close(w.far));
    test_runtime_free(rt);
}

/* ---- by its runtime ---- */

static void by_its_runtime(void) {
    rt_runtime rt = test_runtime();
    struct watched idle, busy, timed;
    watched_pair(&idle, rt, net_pair, NULL);
    watched_pair(&busy, rt, net_pair, NULL);
    watched_open(&timed, rt, -1, NULL);
    CHECK_EQ(rt_watch_for(busy.watch, RT_WRITABLE), 0);
    CHECK_EQ(rt_watch_at(timed.watch, rt_now() + UINT64_C(3600000000000)), 0);
    watched_await(&busy, 1);
    CHECK_EQ(rt_free(rt), 0);
    struct watched *all[] = {&idle, &busy, &timed};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(atomic_load(&all[i]->drops), 1);
        refused_by_all(all[i]->watch);
        if (all[i]->fd < 0) continue;
        CHECK_SYS(close(all[i]->fd));
        CHECK_SYS(close(all[i]->far));
    }
    rt_runtime next = test_runtime(); /* in its place */
    refused_by_all(idle.watch);
    test_runtime_free(next);
}

static void a_runtime_that_shuts_down_opens_none(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    struct watched w = {.fd = -1};
    CHECK_EQ(rt_watch_open(rt, 0, -1, watched_call, &w, watched_drop, &w.watch), -ESHUTDOWN);
    CHECK_EQ(atomic_load(&w.drops), 0);
    CHECK_EQ(w.watch, 0);
    test_runtime_free(rt);
}

/* A watch is something that the runtime goes on for. */
static void the_last_one(struct watched *w, uint32_t ready) {
    CHECK_EQ(ready, 0);
    CHECK_EQ(rt_watch_close(w->watch), 0);
}

static void a_runtime_goes_on_for_it(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_open(&w, rt, -1, the_last_one);
    CHECK_EQ(rt_watch_at(w.watch, rt_now() + 1000000), 0);
    CHECK_EQ(rt_run(rt), 0);
    CHECK_EQ(atomic_load(&w.times), 1);
    CHECK_EQ(atomic_load(&w.drops), 1);
    test_runtime_free(rt);
}

/* ---- by a descriptor that was closed behind it ---- */

static void by_another_descriptor_of_its_number(void) {
    rt_runtime rt = test_runtime();
    struct watched old, new;
    watched_pair(&old, rt, net_pair, NULL);
    CHECK_EQ(rt_watch_for(old.watch, RT_READABLE), 0);
    deliver(rt);
    int ends[2];
    net_pair(ends);
    CHECK_SYS(dup2(ends[0], old.fd));
    watched_open(&new, rt, old.fd, NULL);
    drive_until(rt, watched_dropped, &old);
    CHECK_EQ(atomic_load(&old.calls), 0);
    refused_by_all(old.watch);
    CHECK_EQ(rt_watch_for(new.watch, RT_WRITABLE), 0);
    watched_await(&new, 1);
    watched_close(&new);
    for (int i = 0; i < 2; i++) CHECK_SYS(close(ends[i]));
    CHECK_SYS(close(old.far));
    test_runtime_free(rt);
}

/* ---- handles ---- */

static void handles_that_are_none(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    rt_io io = io_of(rt, w.far, RT_READABLE | RT_IO_BORROWED);
    rt_event event;
    CHECK_EQ(rt_event_new(rt, &event), 0);
    const uint64_t made_up[] = {0, 1, UINT32_MAX, (uint64_t)1 << 32, UINT64_MAX, rt, io, event};
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) refused_by_all(made_up[i]);
    for (int bit = 0; bit < 64; bit++) refused_by_all(w.watch ^ (uint64_t)1 << bit);
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 2000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        refused_by_all(random);
    }
    CHECK_EQ(rt_close(w.watch), -EBADF);
    CHECK_EQ(rt_abort(w.watch), -EBADF);
    CHECK_EQ(rt_event_free(w.watch), -EBADF);
    CHECK_EQ(atomic_load(&w.drops), 0);
    CHECK_EQ(rt_event_free(event), 0);
    CHECK_EQ(rt_deregister(io), 0);
    watched_close(&w);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(by_its_own_function);
    CASE(and_its_argument_with_it);
    CASE(on_its_worker);
    CASE(from_outside);
    CASE(by_its_runtime);
    CASE(a_runtime_that_shuts_down_opens_none);
    CASE(a_runtime_goes_on_for_it);
    CASE(by_another_descriptor_of_its_number);
    CASE(handles_that_are_none);
    return test_end();
}
