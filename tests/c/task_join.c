/* Joining: by tasks, by threads, by several at once; after the drop; with a timeout. */
#include "check.h"

/* ---- one task joins another ---- */

struct joiner {
    rt_task target;
    int64_t returned, result;
    atomic_int polls;
    atomic_bool waiting;
};

static int64_t join_target(rt_cx *cx, void *state) {
    struct joiner *j = state;
    atomic_fetch_add(&j->polls, 1);
    j->returned = rt_poll_join(cx, j->target, &j->result);
    if (j->returned != RT_PENDING) return 0;
    atomic_store(&j->waiting, true);
    return RT_PENDING;
}

static bool joiner_waits(void *arg) { return atomic_load(&((struct joiner *)arg)->waiting); }

static rt_task spawn_joiner(rt_runtime rt, struct joiner *j) {
    rt_task task;
    CHECK_EQ(rt_spawn(rt, join_target, j, NULL, &task), 0);
    return task;
}

static void check_spent(rt_runtime rt, rt_task task) {
    struct joiner again = {.target = task};
    CHECK_EQ(join_task(spawn_joiner(rt, &again)), 0);
    CHECK_EQ(again.returned, -EBADF);
    CHECK_EQ(rt_join(task, RT_NEVER, NULL), -EBADF);
    CHECK_EQ(rt_abort(task), -EBADF);
    CHECK_EQ(rt_detach(task), -EBADF);
    CHECK_EQ(rt_task_wake(task), -EBADF);
    char name[8];
    CHECK_EQ(rt_task_name(task, name, sizeof name), -EBADF);
}

static void a_task_joins_a_task(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 31};
    struct joiner j = {.target = probe_spawn(rt, &p)};
    rt_task waiting = spawn_joiner(rt, &j);
    drive_until(rt, joiner_waits, &j);
    drive_until(rt, probe_waits, &p);
    probe_finish(&p, j.target);
    CHECK_EQ(join_task(waiting), 0);
    CHECK_EQ(j.returned, 0);
    CHECK_EQ(j.result, 31);
    CHECK_EQ(p.drops, 1);
    check_spent(rt, j.target);
    test_runtime_free(rt);
}

static void an_ended_task_joins_at_once(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = -71, .ready = true};
    struct joiner j = {.target = probe_spawn(rt, &p)};
    drive_until(rt, probe_dropped, &p);
    CHECK_EQ(join_task(spawn_joiner(rt, &j)), 0);
    CHECK_EQ(j.returned, 0);
    CHECK_EQ(j.result, -71);
    test_runtime_free(rt);
}

static int64_t join_without_result(rt_cx *cx, void *state) {
    return rt_poll_join(cx, *(rt_task *)state, NULL);
}

static void the_result_may_be_declined(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 9, .ready = true}, q = {.result = 9, .ready = true};
    rt_task first = probe_spawn(rt, &p), second = probe_spawn(rt, &q);
    CHECK_EQ(rt_join(first, RT_NEVER, NULL), 0);
    CHECK_EQ(rt_block_on(rt, join_without_result, &second), 0);
    test_runtime_free(rt);
}

static void an_aborted_task_joins_as_cancelled(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    struct joiner j = {.target = probe_spawn(rt, &p)};
    rt_task waiting = spawn_joiner(rt, &j);
    drive_until(rt, joiner_waits, &j);
    CHECK_EQ(rt_abort(j.target), 0);
    CHECK_EQ(join_task(waiting), 0);
    CHECK_EQ(j.returned, 0);
    CHECK_EQ(j.result, -ECANCELED);
    CHECK_EQ(p.drops, 1);
    test_runtime_free(rt);
}

/* ---- several joiners: one gets the result, all wake ---- */

enum { JOINERS = 8 };

static void check_one_winner(const struct joiner *joiners, int64_t result) {
    int winners = 0;
    for (int i = 0; i < JOINERS; i++) {
        if (joiners[i].returned == 0) {
            CHECK_EQ(joiners[i].result, result);
            winners++;
        } else {
            CHECK_EQ(joiners[i].returned, -EBADF);
        }
    }
    CHECK_EQ(winners, 1);
}

static void all_joiners_wake_and_one_gets_the_result(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 17};
    rt_task target = probe_spawn(rt, &p), tasks[JOINERS];
    struct joiner joiners[JOINERS] = {{0}};
    for (int i = 0; i < JOINERS; i++) {
        joiners[i].target = target;
        tasks[i] = spawn_joiner(rt, &joiners[i]);
    }
    for (int i = 0; i < JOINERS; i++) drive_until(rt, joiner_waits, &joiners[i]);
    drive_until(rt, probe_waits, &p);
    probe_finish(&p, target);
    for (int i = 0; i < JOINERS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    check_one_winner(joiners, 17);
    test_runtime_free(rt);
}

static void a_joiner_that_is_aborted_leaves_the_rest_waiting(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 3};
    rt_task target = probe_spawn(rt, &p);
    struct joiner quitter = {.target = target}, stayer = {.target = target};
    rt_task quits = spawn_joiner(rt, &quitter), stays = spawn_joiner(rt, &stayer);
    drive_until(rt, joiner_waits, &quitter);
    drive_until(rt, joiner_waits, &stayer);
    CHECK_EQ(rt_abort(quits), 0);
    CHECK_EQ(join_task(quits), -ECANCELED);
    drive_until(rt, probe_waits, &p);
    probe_finish(&p, target);
    CHECK_EQ(join_task(stays), 0);
    CHECK_EQ(stayer.returned, 0);
    CHECK_EQ(stayer.result, 3);
    test_runtime_free(rt);
}

/* Each looks for the end of one that lives on, then ends itself. */
static int64_t look_once(rt_cx *cx, void *state) {
    CHECK_EQ(rt_poll_join(cx, *(rt_task *)state, NULL), RT_PENDING);
    return 0;
}

static void joiners_that_end_do_not_pile_up(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 5};
    rt_task target = probe_spawn(rt, &p);
    struct joiner j = {.target = target};
    rt_task waiting = spawn_joiner(rt, &j);
    drive_until(rt, joiner_waits, &j);
    uint64_t before = census_take().library.tasks;
    for (int i = 0; i < scaled(2000); i++) {
        rt_task task;
        CHECK_EQ(rt_spawn(rt, look_once, &target, NULL, &task), 0);
        CHECK_EQ(join_task(task), 0);
        CHECK(census_take().library.tasks < before + 64);
    }
    drive_until(rt, probe_waits, &p);
    probe_finish(&p, target);
    CHECK_EQ(join_task(waiting), 0);
    CHECK_EQ(j.result, 5);
    test_runtime_free(rt);
}

static void a_detach_wakes_the_joiner_with_an_error(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    struct joiner j = {.target = probe_spawn(rt, &p)};
    rt_task waiting = spawn_joiner(rt, &j);
    drive_until(rt, joiner_waits, &j);
    drive_until(rt, probe_waits, &p);
    CHECK_EQ(rt_detach(j.target), 0);
    probe_finish(&p, j.target); /* at the latest now */
    CHECK_EQ(join_task(waiting), 0);
    CHECK_EQ(j.returned, -EBADF);
    test_runtime_free(rt);
}

/* ---- joining oneself ---- */

static int64_t join_self(rt_cx *cx, void *state) {
    (void)state;
    CHECK_EQ(rt_poll_join(cx, rt_task_self(cx), NULL), -EDEADLK);
    CHECK_EQ(rt_join(rt_task_self(cx), RT_NEVER, NULL), -EDEADLK);
    return 8;
}

static void a_task_cannot_join_itself(void) {
    rt_runtime rt = test_runtime();
    rt_task task;
    CHECK_EQ(rt_spawn(rt, join_self, NULL, NULL, &task), 0);
    CHECK_EQ(join_task(task), 8); /* the refusal did not spend the handle */
    test_runtime_free(rt);
}

/* ---- threads ---- */

static void a_join_may_time_out_and_be_repeated(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 12};
    rt_task task = probe_spawn(rt, &p);
    int64_t result = 77;
    CHECK_EQ(rt_join(task, 0, &result), -ETIME);
    CHECK_EQ(rt_join(task, 2000000, &result), -ETIME);
    CHECK_EQ(result, 77);
    probe_finish(&p, task);
    CHECK_EQ(rt_join(task, RT_NEVER - 1, &result), 0);
    CHECK_EQ(result, 12);
    test_runtime_free(rt);
}

static void a_zero_timeout_takes_what_has_ended(void) {
    rt_runtime rt = test_runtime();
    probe p = {.result = 4, .ready = true};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_dropped, &p);
    int64_t r, result = 0;
    do r = rt_join(task, 0, &result); /* on another worker it may still be on its way out */
    while (r == -ETIME);
    CHECK_EQ(r, 0);
    CHECK_EQ(result, 4);
    test_runtime_free(rt);
}

struct thread_joiner {
    rt_task target;
    atomic_int *left;
    int64_t returned, result;
};

static void *join_on_thread(void *arg) {
    struct thread_joiner *j = arg;
    j->returned = rt_join(j->target, RT_NEVER, &j->result);
    atomic_fetch_sub(j->left, 1);
    return NULL;
}

static bool none_left(void *arg) { return atomic_load((atomic_int *)arg) == 0; }

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void threads_compete_for_a_result(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, end_at_once, NULL), 0); /* this thread owns the runtime from now on */
    probe p = {.result = 5};
    atomic_int left = 3;
    struct thread_joiner joiners[3];
    pthread_t threads[3];
    rt_task target = probe_spawn(rt, &p);
    drive_until(rt, probe_waits, &p);
    for (int i = 0; i < 3; i++) {
        joiners[i] = (struct thread_joiner){.target = target, .left = &left};
        threads[i] = thread_start(join_on_thread, &joiners[i]);
    }
    probe_finish(&p, target);
    drive_until(rt, none_left, &left);
    int winners = 0;
    for (int i = 0; i < 3; i++) {
        thread_join(threads[i]);
        if (joiners[i].returned == 0) winners++;
        else CHECK_EQ(joiners[i].returned, -EBADF);
        if (joiners[i].returned == 0) CHECK_EQ(joiners[i].result, 5);
    }
    CHECK_EQ(winners, 1);
    test_runtime_free(rt);
}

/* With nobody driving a current-thread runtime, the first thread that joins does. */
static void *own_by_joining(void *arg) {
    (void)arg;
    rt_runtime rt = test_runtime();
    probe p = {.result = 6, .ready = true};
    CHECK_EQ(join_task(probe_spawn(rt, &p)), 6);
    test_runtime_free(rt);
    return NULL;
}

static void a_join_drives_a_runtime_that_nobody_drove(void) { on_thread(own_by_joining, NULL); }

/* ---- the drop comes first ---- */

struct ordered {
    int dropped; /* plain on purpose: the join must order it, and ThreadSanitizer looks */
};

static void mark_dropped(void *state) { ((struct ordered *)state)->dropped = 1; }

struct order_check {
    rt_task target;
    struct ordered *ordered;
};

static int64_t join_and_look(rt_cx *cx, void *state) {
    struct order_check *c = state;
    int64_t r = rt_poll_join(cx, c->target, NULL);
    if (r == RT_PENDING) return RT_PENDING;
    CHECK_EQ(r, 0);
    return c->ordered->dropped;
}

static void a_join_resolves_after_the_drop(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(2000); i++) {
        struct ordered o = {0};
        rt_task target;
        CHECK_EQ(rt_spawn(rt, end_at_once, &o, mark_dropped, &target), 0);
        if (i % 2 == 0) {
            struct order_check c = {target, &o};
            CHECK_EQ(rt_block_on(rt, join_and_look, &c), 1);
        } else {
            join_task(target);
            CHECK_EQ(o.dropped, 1);
        }
    }
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_task_joins_a_task);
    CASE(an_ended_task_joins_at_once);
    CASE(the_result_may_be_declined);
    CASE(an_aborted_task_joins_as_cancelled);
    CASE(all_joiners_wake_and_one_gets_the_result);
    CASE(a_joiner_that_is_aborted_leaves_the_rest_waiting);
    CASE(joiners_that_end_do_not_pile_up);
    CASE(a_detach_wakes_the_joiner_with_an_error);
    CASE(a_task_cannot_join_itself);
    CASE(a_join_may_time_out_and_be_repeated);
    CASE(a_zero_timeout_takes_what_has_ended);
    CASE(threads_compete_for_a_result);
    CASE(a_join_drives_a_runtime_that_nobody_drove);
    CASE(a_join_resolves_after_the_drop);
    return test_end();
}
