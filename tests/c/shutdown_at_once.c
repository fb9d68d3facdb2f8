/* Idle tasks hold no shutdown up: where this thread is the one that drives, no time is enough to
 * drop them all, and elsewhere a finite time is. */
#include "soon.h"

enum { TASKS = 100 };

static void spawn_idle(rt_runtime rt, probe *p, uint32_t flags) {
    rt_spawn_opts opts;
    CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
    opts.flags = flags;
    opts.poll = probe_poll;
    opts.state = p;
    opts.drop = probe_drop;
    CHECK_EQ(rt_spawn_with(rt, &opts, NULL), 0);
}

static void idle_tasks_are_dropped(uint32_t flags, bool polled) {
    rt_runtime rt = test_runtime();
    probe probes[TASKS] = {{.result = 0}};
    for (int i = 0; i < TASKS; i++) spawn_idle(rt, &probes[i], flags);
    for (int i = 0; polled && i < TASKS; i++) drive_until(rt, probe_polled, &probes[i]);
    CHECK_EQ(rt_shutdown(rt, current_thread() ? 0 : soon_ns), 0);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(probes[i].drops, 1);
    CHECK_EQ(metrics(rt).tasks_abandoned, 0);
    CHECK_EQ(live_tasks(rt), 0);
    CHECK_EQ(rt_free(rt), 0);
}

static void parked_tasks(void) { idle_tasks_are_dropped(0, true); }
static void parked_pinned_tasks(void) { idle_tasks_are_dropped(RT_SPAWN_PINNED, true); }
static void tasks_that_never_ran(void) { idle_tasks_are_dropped(0, false); }
static void pinned_tasks_that_never_ran(void) { idle_tasks_are_dropped(RT_SPAWN_PINNED, false); }

/* Their drop functions wake and abort each other; this adds no work that time would be needed for. */
struct chain {
    probe probe;
    rt_task next;
};

static void drop_and_wake(void *state) {
    struct chain *c = state;
    probe_drop(&c->probe);
    rt_task_wake(c->next);
    rt_abort(c->next);
}

static void tasks_that_wake_the_next(void) {
    rt_runtime rt = test_runtime();
    struct chain chain[TASKS] = {{.next = 0}};
    rt_task last = 0;
    for (int i = 0; i < TASKS; i++) {
        chain[i].next = last;
        CHECK_EQ(rt_spawn(rt, probe_poll, &chain[i].probe, drop_and_wake, &last), 0);
    }
    for (int i = 0; i < TASKS; i++) drive_until(rt, probe_polled, &chain[i].probe);
    CHECK_EQ(rt_shutdown(rt, current_thread() ? 0 : soon_ns), 0);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(chain[i].probe.drops, 1);
    CHECK_EQ(rt_free(rt), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(parked_tasks);
    CASE(parked_pinned_tasks);
    CASE(tasks_that_never_ran);
    CASE(pinned_tasks_that_never_ran);
    CASE(tasks_that_wake_the_next);
    return test_end();
}
