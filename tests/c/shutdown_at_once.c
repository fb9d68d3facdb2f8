/* Idle tasks hold no shutdown up: where this thread is the one that drives, no time is enough to
 * drop them all, and elsewhere a finite time is. */
#include "soon.h"

#include <sys/socket.h>

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

/* What a task waits for is with the kernel: its end takes a cancel, and what comes of that. */
struct receiver {
    probe probe;
    rt_io near, far;
    rt_op op;
    char buf[16];
};

static int64_t receive(rt_cx *cx, void *state) {
    struct receiver *r = state;
    probe_enter(&r->probe);
    if (r->op == 0) CHECK_EQ(rt_submit_recv(cx, r->near, r->buf, sizeof r->buf, 0, &r->op), 0);
    return probe_leave(&r->probe, rt_poll_op(cx, r->op));
}

static void drop_receiver(void *state) { probe_drop(&((struct receiver *)state)->probe); }

static void tasks_with_operations(void) {
    rt_runtime rt = test_runtime();
    static struct receiver receivers[TASKS];
    memset(receivers, 0, sizeof receivers);
    for (int i = 0; i < TASKS; i++) {
        struct receiver *r = &receivers[i];
        rt_io pair[2];
        CHECK_EQ(rt_unix_pair(rt, SOCK_STREAM, pair), 0);
        r->near = pair[0];
        r->far = pair[1];
        CHECK_EQ(rt_spawn(rt, receive, r, drop_receiver, NULL), 0);
    }
    for (int i = 0; i < TASKS; i++) drive_until(rt, probe_polled, &receivers[i].probe);
    CHECK_EQ(rt_shutdown(rt, current_thread() ? 0 : soon_ns), 0);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(receivers[i].probe.drops, 1);
    CHECK_EQ(metrics(rt).ops_abandoned, 0);
    CHECK_EQ(rt_free(rt), 0);
}

/* Another thread wakes them all the time. */
struct alarm_clock {
    rt_task tasks[TASKS];
    atomic_bool rings, over;
};

static void *wake_them(void *arg) {
    struct alarm_clock *c = arg;
    while (!atomic_load(&c->over)) {
        for (int i = 0; i < TASKS; i++) rt_task_wake(c->tasks[i]);
        atomic_store(&c->rings, true);
    }
    return NULL;
}

static void tasks_that_are_woken(void) {
    uint64_t since = test_clock();
    for (int round = 0; round < scaled(200) && !long_at_it(since); round++) {
        rt_runtime rt = test_runtime();
        probe probes[TASKS] = {{.result = 0}};
        struct alarm_clock c = {.over = false};
        for (int i = 0; i < TASKS; i++) c.tasks[i] = probe_spawn(rt, &probes[i]);
        for (int i = 0; i < TASKS; i++) drive_until(rt, probe_polled, &probes[i]);
        pthread_t waking = thread_start(wake_them, &c);
        drive_until(rt, flag_set, &c.rings);
        CHECK_EQ(rt_shutdown(rt, current_thread() ? 0 : soon_ns), 0);
        for (int i = 0; i < TASKS; i++) CHECK_EQ(probes[i].drops, 1);
        atomic_store(&c.over, true);
        thread_join(waking);
        CHECK_EQ(rt_free(rt), 0);
    }
}

/* A task whose end takes as long as a shutdown without a timeout waits: it is counted, or can be joined at once. The state
 * outlives the runtime, for a drop function that was given up may still run. */
static _Atomic uint64_t ends_at;

static int64_t waits_for_ever(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void drop_late(void *state) {
    (void)state;
    while (rt_now() < atomic_load(&ends_at)) sched_yield();
}

static void tasks_that_end_at_the_deadline(void) {
    enum { MS = 1000 * 1000, ROUNDS = 100 };
    for (int i = 0; i < scaled(ROUNDS); i++) {
        rt_runtime rt = test_runtime();
        rt_task task;
        atomic_store(&ends_at, 0);
        CHECK_EQ(rt_spawn(rt, waits_for_ever, NULL, drop_late, &task), 0);
        atomic_store(&ends_at, rt_now() + 10 * MS - MS / 10 + (uint64_t)i * MS / 4 / ROUNDS);
        int64_t given_up = CHECK_OK(rt_shutdown(rt, 0));
        int64_t result = 1;
        int64_t joined = rt_join(task, 0, &result);
        CHECK(given_up == 1 || (given_up == 0 && joined == 0 && result == -ECANCELED));
        CHECK_EQ(rt_free(rt), 0);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(parked_tasks);
    CASE(parked_pinned_tasks);
    CASE(tasks_that_never_ran);
    CASE(pinned_tasks_that_never_ran);
    CASE(tasks_that_wake_the_next);
    CASE(tasks_with_operations);
    CASE(tasks_that_are_woken);
    CASE_LEAVES(tasks_that_end_at_the_deadline, "tasks whose end came too late");
    return test_end();
}
