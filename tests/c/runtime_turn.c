/* rt_turn: one round of a current-thread runtime: what it counts, how long it waits, what ends the
 * wait. The multi-thread flavour refuses it. */
#include "check.h"

static void the_multi_thread_flavour_refuses(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_turn(rt, 0), -EPERM);
    CHECK_EQ(rt_turn(rt, RT_NEVER), -EPERM);
    test_runtime_free(rt);
}

/* ---- what it counts ---- */

static void polls_are_counted(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_turn(rt, 0), 0);
    probe probes[3] = {{.result = 0}};
    rt_task tasks[3];
    for (int i = 0; i < 3; i++) tasks[i] = probe_spawn(rt, &probes[i]);
    CHECK_EQ(rt_turn(rt, RT_NEVER), 3); /* with something ready it does not wait */
    CHECK_EQ(rt_turn(rt, 0), 0);
    CHECK_EQ(rt_turn(rt, 1000), 0);
    probe_finish(&probes[1], tasks[1]);
    CHECK_EQ(rt_turn(rt, RT_NEVER), 1);
    CHECK_EQ(probes[1].drops, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rt_abort(tasks[i]), 0);
        CHECK_EQ(join_task(tasks[i]), i == 1 ? 0 : -ECANCELED);
    }
    test_runtime_free(rt);
}

struct chain {
    probe first, second;
    rt_task next;
};

static int64_t wake_next(rt_cx *cx, void *state) {
    struct chain *c = state;
    probe_finish(&c->second, c->next);
    return probe_poll(cx, &c->first);
}

/* A task woken in a turn runs in it or in the next, and is never forgotten. */
static void what_a_turn_wakes_is_run(void) {
    rt_runtime rt = test_runtime();
    struct chain c = {.first = {.ready = true}};
    c.next = probe_spawn(rt, &c.second);
    CHECK_EQ(rt_turn(rt, 0), 1);
    CHECK_EQ(rt_spawn(rt, wake_next, &c, NULL, NULL), 0);
    int64_t polls = CHECK_OK(rt_turn(rt, 0));
    CHECK_EQ(polls + CHECK_OK(rt_turn(rt, 0)), 2);
    CHECK_EQ(c.second.drops, 1);
    CHECK_EQ(join_task(c.next), 0);
    test_runtime_free(rt);
}

/* ---- it ends ---- */

static int64_t yield_for_ever(rt_cx *cx, void *state) {
    (void)state;
    return rt_yield(cx);
}

static int64_t wake_for_ever(rt_cx *cx, void *state) {
    (void)state;
    CHECK_EQ(rt_waker_wake_by_ref(rt_cx_waker(cx)), 0);
    return RT_PENDING;
}

static void a_task_that_is_always_ready_does_not_hold_it(void) {
    rt_runtime rt = test_runtime();
    rt_task tasks[2];
    CHECK_EQ(rt_spawn(rt, yield_for_ever, NULL, NULL, &tasks[0]), 0);
    CHECK_EQ(rt_spawn(rt, wake_for_ever, NULL, NULL, &tasks[1]), 0);
    for (int i = 0; i < 100; i++) CHECK(rt_turn(rt, RT_NEVER) >= 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(rt_abort(tasks[i]), 0);
        CHECK_EQ(join_task(tasks[i]), -ECANCELED);
    }
    test_runtime_free(rt);
}

/* ---- what ends the wait ---- */

struct visitor {
    rt_runtime rt;
    rt_task task;
    atomic_bool turned;
    pthread_t owner;
    probe probe;
};

static void *wake_from_outside(void *arg) {
    struct visitor *v = arg;
    probe_finish(&v->probe, v->task);
    return NULL;
}

static void *spawn_from_outside(void *arg) {
    struct visitor *v = arg;
    atomic_store(&v->probe.ready, true);
    CHECK_EQ(rt_spawn(v->rt, probe_poll, &v->probe, probe_drop, NULL), 0);
    return NULL;
}

static void *abort_from_outside(void *arg) {
    CHECK_EQ(rt_abort(((struct visitor *)arg)->task), 0);
    return NULL;
}

static void turn_until_dropped(struct visitor *v) {
    while (!probe_dropped(&v->probe)) CHECK_OK(rt_turn(v->rt, RT_NEVER));
}

static void run_visit(void *(*visit)(void *), bool parked, uint64_t timeout) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(300); i++) {
        struct visitor v = {.rt = rt};
        if (parked) v.task = probe_spawn(rt, &v.probe);
        if (parked) CHECK_EQ(rt_turn(rt, 0), 1);
        pthread_t other = thread_start(visit, &v);
        if (timeout != RT_NEVER) CHECK_OK(rt_turn(rt, timeout));
        turn_until_dropped(&v);
        thread_join(other);
        if (parked) CHECK_EQ(rt_join(v.task, 0, NULL), 0);
    }
    test_runtime_free(rt);
}

static void a_foreign_wake_ends_the_wait(void) { run_visit(wake_from_outside, true, RT_NEVER); }
static void a_foreign_spawn_ends_the_wait(void) { run_visit(spawn_from_outside, false, RT_NEVER); }
static void a_foreign_abort_ends_the_wait(void) { run_visit(abort_from_outside, true, RT_NEVER); }

/* Nearly 600 years must not wrap into the past or be refused by the kernel. */
static void a_huge_timeout_is_only_long(void) {
    run_visit(wake_from_outside, true, RT_NEVER - 1);
    run_visit(wake_from_outside, true, (uint64_t)INT64_MAX);
    run_visit(wake_from_outside, true, (uint64_t)INT64_MAX + 1);
}

/* ---- signals ---- */

static void on_signal(int sig) { (void)sig; }

static void *signal_until_turned(void *arg) {
    struct visitor *v = arg;
    while (!atomic_load(&v->turned)) {
        CHECK_EQ(pthread_kill(v->owner, SIGUSR1), 0);
        sched_yield();
    }
    return NULL;
}

static void a_signal_ends_the_wait_without_an_error(void) {
    struct sigaction action = {.sa_handler = on_signal}, old; /* without SA_RESTART */
    CHECK_SYS(sigaction(SIGUSR1, &action, &old));
    struct visitor v = {.rt = test_runtime(), .owner = pthread_self()};
    pthread_t other = thread_start(signal_until_turned, &v);
    CHECK_EQ(rt_turn(v.rt, RT_NEVER), 0);
    for (int i = 0; i < 100; i++) CHECK_EQ(rt_turn(v.rt, 1000), 0);
    atomic_store(&v.turned, true);
    thread_join(other);
    test_runtime_free(v.rt);
    CHECK_SYS(sigaction(SIGUSR1, &old, NULL));
}

/* ---- refused ---- */

static void *turn_elsewhere(void *arg) {
    CHECK_EQ(rt_turn(*(rt_runtime *)arg, 0), -EPERM);
    return NULL;
}

static void the_first_driver_owns_it(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_turn(rt, 0), 0);
    on_thread(turn_elsewhere, &rt);
    CHECK_EQ(rt_turn(rt, 0), 0);
    test_runtime_free(rt);
}

static void after_a_shutdown_it_is_refused(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_turn(rt, 0), -ESHUTDOWN);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_turn(rt, 0), -EBADF);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (!current_thread()) {
        CASE(the_multi_thread_flavour_refuses);
        return test_end();
    }
    CASE(polls_are_counted);
    CASE(what_a_turn_wakes_is_run);
    CASE(a_task_that_is_always_ready_does_not_hold_it);
    CASE(a_foreign_wake_ends_the_wait);
    CASE(a_foreign_spawn_ends_the_wait);
    CASE(a_foreign_abort_ends_the_wait);
    CASE(a_huge_timeout_is_only_long);
    CASE(a_signal_ends_the_wait_without_an_error);
    CASE(the_first_driver_owns_it);
    CASE(after_a_shutdown_it_is_refused);
    return test_end();
}
