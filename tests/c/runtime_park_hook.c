/* What a park hook schedules is run before the worker sleeps, not after something else wakes it. */
#include "check.h"

/* The hook acts once, when it is armed; then nothing but its act can wake the runtime. */
struct hook {
    rt_runtime rt;
    rt_task task;
    probe probe;
    atomic_bool armed;
    gate ran;
    void (*act)(struct hook *h);
};

static int64_t tell(rt_cx *cx, void *state) {
    struct hook *h = state;
    int64_t r = probe_poll(cx, &h->probe);
    if (r != RT_PENDING) gate_open(&h->ran);
    return r;
}

static void drop_hook(void *state) { probe_drop(&((struct hook *)state)->probe); }

static void act_once(void *arg) {
    struct hook *h = arg;
    if (atomic_exchange(&h->armed, false)) h->act(h);
}

static void spawn_it(struct hook *h) {
    atomic_store(&h->probe.ready, true);
    CHECK_EQ(rt_spawn(h->rt, tell, h, drop_hook, NULL), 0);
}

static void wake_it(struct hook *h) { probe_finish(&h->probe, h->task); }

static void abort_it(struct hook *h) { CHECK_EQ(rt_abort(h->task), 0); }

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void hook_start(struct hook *h, void (*act)(struct hook *), bool on_unpark) {
    *h = (struct hook){.act = act};
    gate_init(&h->ran);
    rt_config config = test_config();
    if (on_unpark) config.on_unpark = act_once;
    else config.on_park = act_once;
    config.hook_arg = h;
    h->rt = test_runtime_with(&config);
}

static void hook_end(struct hook *h) {
    CHECK_EQ(h->probe.drops, 1);
    gate_destroy(&h->ran);
    test_runtime_free(h->rt);
}

/* A worker may be asleep when the hook is armed: an empty task gets one to park again. */
static void arm(struct hook *h) {
    atomic_store(&h->armed, true);
    CHECK_EQ(rt_spawn(h->rt, end_at_once, NULL, NULL, NULL), 0);
}

static void run_until_dropped(struct hook *h) {
    if (current_thread()) {
        while (!probe_dropped(&h->probe)) CHECK_OK(rt_turn(h->rt, RT_NEVER));
    } else {
        while (!probe_dropped(&h->probe)) sched_yield();
    }
}

static void a_task_spawned_as_the_worker_parks_runs(void) {
    struct hook h;
    hook_start(&h, spawn_it, false);
    arm(&h);
    run_until_dropped(&h);
    gate_wait(&h.ran);
    hook_end(&h);
}

/* The worker may not have slept yet: empty tasks until it has, and none once the hook acted. */
static void a_task_spawned_as_the_worker_wakes_runs(void) {
    if (current_thread()) return; /* nothing makes it sleep and wake but this thread */
    struct hook h;
    hook_start(&h, spawn_it, true);
    arm(&h);
    while (flag_set(&h.armed)) {
        CHECK_EQ(rt_spawn(h.rt, end_at_once, NULL, NULL, NULL), 0);
        sched_yield();
    }
    run_until_dropped(&h);
    gate_wait(&h.ran);
    hook_end(&h);
}

static void run_parked(void (*act)(struct hook *), int64_t result) {
    struct hook h;
    hook_start(&h, act, false);
    CHECK_EQ(rt_spawn(h.rt, tell, &h, drop_hook, &h.task), 0);
    drive_until(h.rt, probe_polled, &h.probe);
    arm(&h);
    run_until_dropped(&h);
    CHECK_EQ(join_task(h.task), result);
    hook_end(&h);
}

static void a_task_woken_as_the_worker_parks_runs(void) { run_parked(wake_it, 0); }
static void a_task_aborted_as_the_worker_parks_ends(void) { run_parked(abort_it, -ECANCELED); }

/* The calls that drive take the same care as a turn does. */
static void a_join_sleeps_on_nothing_that_the_hook_woke(void) {
    struct hook h;
    hook_start(&h, wake_it, false);
    CHECK_EQ(rt_spawn(h.rt, tell, &h, drop_hook, &h.task), 0);
    drive_until(h.rt, probe_polled, &h.probe);
    arm(&h);
    CHECK_EQ(join_task(h.task), 0);
    hook_end(&h);
}

static void a_run_sleeps_on_nothing_that_the_hook_woke(void) {
    struct hook h;
    hook_start(&h, wake_it, false);
    CHECK_EQ(rt_spawn(h.rt, tell, &h, drop_hook, &h.task), 0);
    drive_until(h.rt, probe_polled, &h.probe);
    arm(&h);
    CHECK_EQ(rt_run(h.rt), 0);
    CHECK_EQ(join_task(h.task), 0);
    hook_end(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_task_spawned_as_the_worker_parks_runs);
    CASE(a_task_spawned_as_the_worker_wakes_runs);
    CASE(a_task_woken_as_the_worker_parks_runs);
    CASE(a_task_aborted_as_the_worker_parks_ends);
    CASE(a_join_sleeps_on_nothing_that_the_hook_woke);
    CASE(a_run_sleeps_on_nothing_that_the_hook_woke);
    return test_end();
}
