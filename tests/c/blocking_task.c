/* A call that blocks, as a task: its result is what it returned, whatever that is; aborted it is
 * not called, or goes on and its return wins; the argument is dropped once.
 */
#include "blocking.h"

static const int64_t results[] = {
    0,       1,        -1,   INT64_MAX,   INT64_MIN, INT64_MIN + 1, INT64_MIN / 2, -EINTR,
    -EAGAIN, -ECANCELED, -ETIME, -ESHUTDOWN, -EBADF,    -512,          1000000007, (int64_t)1 << 40,
};
enum { RESULTS = sizeof results / sizeof results[0] };

static void a_result_passes_through(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < RESULTS; i++) {
        struct job j = {.result = results[i]};
        CHECK_EQ(join_task(job_spawn(rt, &j)), results[i]);
        job_ended(&j, 1);
    }
    struct job j = {.result = RT_PENDING};
    CHECK_EQ(join_task(job_spawn(rt, &j)), RT_PENDING);
    job_ended(&j, 1);
    op_runtime_free(rt);
}

static bool dropped(void *arg) { return atomic_load(&((struct job *)arg)->drops) == 1; }

static void it_need_not_be_joined_or_dropped(void) {
    rt_runtime rt = test_runtime();
    struct job j = {.result = -7};
    CHECK_EQ(rt_spawn_blocking(rt, job_run, &j, job_drop, NULL), 0);
    drive_until(rt, dropped, &j);
    job_ended(&j, 1);
    struct job k = {.result = -7};
    rt_task task;
    CHECK_EQ(rt_spawn_blocking(rt, job_run, &k, NULL, &task), 0);
    CHECK_EQ(join_task(task), -7);
    CHECK_EQ(atomic_load(&k.drops), 0);
    op_runtime_free(rt);
}

static int64_t joins(rt_cx *cx, void *state) {
    rt_task *task = state;
    int64_t result;
    int64_t r = rt_poll_join(cx, *task, &result);
    return r < 0 ? r : result;
}

static void a_task_joins_it(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(1000); i++) {
        struct job j = {.result = i};
        rt_task task = job_spawn(rt, &j);
        CHECK_EQ(rt_block_on(rt, joins, &task), i);
        job_ended(&j, 1);
    }
    op_runtime_free(rt);
}

static void what_was_not_spawned_is_the_callers(void) {
    rt_runtime rt = test_runtime();
    struct job j = {.result = 1};
    rt_task task = 5;
    CHECK_EQ(rt_spawn_blocking(0, job_run, &j, job_drop, &task), -EBADF);
    CHECK_EQ(rt_spawn_blocking(rt, NULL, &j, job_drop, &task), -EINVAL);
    CHECK_EQ(rt_shutdown(rt, 0), 0);
    CHECK_EQ(rt_spawn_blocking(rt, job_run, &j, job_drop, &task), -ESHUTDOWN);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_spawn_blocking(rt, job_run, &j, job_drop, &task), -EBADF);
    CHECK_EQ(task, 5);
    CHECK_EQ(atomic_load(&j.runs) + atomic_load(&j.drops), 0);
}

/* ---- aborts ---- */

static void the_return_of_what_runs_wins(void) {
    rt_runtime rt = test_runtime();
    gate hold;
    gate_init(&hold);
    for (int i = 0; i < RESULTS; i++) {
        struct job j = {.result = results[i], .hold = &hold};
        rt_task task = job_spawn(rt, &j);
        drive_until(rt, job_runs, &j);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(rt_abort(task), 0);
        int64_t result;
        CHECK_EQ(rt_join(task, 1000000, &result), -ETIME); /* it goes on, and so does its task */
        CHECK_EQ(atomic_load(&j.drops), 0);
        gate_open(&hold);
        CHECK_EQ(join_task(task), results[i]);
        job_ended(&j, 1);
    }
    gate_destroy(&hold);
    op_runtime_free(rt);
}

static void what_is_queued_is_not_called(void) {
    rt_runtime rt = runtime_of_threads(1);
    gate hold;
    gate_init(&hold);
    struct job first = {.result = -3, .hold = &hold};
    struct job queued[50] = {{0}};
    rt_task task = job_spawn(rt, &first), tasks[50];
    drive_until(rt, job_runs, &first);
    for (int i = 0; i < 50; i++) tasks[i] = job_spawn(rt, &queued[i]);
    if (current_thread()) CHECK_OK(rt_turn(rt, 0));
    for (int i = 0; i < 50; i += 2) CHECK_EQ(rt_abort(tasks[(i * 7) % 50]), 0);
    for (int i = 0; i < 50; i += 2) {
        CHECK_EQ(join_task(tasks[i]), -ECANCELED); /* though the thread is busy */
        job_ended(&queued[i], 0);
    }
    gate_open(&hold);
    CHECK_EQ(join_task(task), -3);
    for (int i = 1; i < 50; i += 2) {
        CHECK_EQ(join_task(tasks[i]), 0);
        job_ended(&queued[i], 1);
    }
    gate_destroy(&hold);
    op_runtime_free(rt);
}

static void aborted_before_it_was_polled(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(1000); i++) {
        struct job j = {.result = 9};
        rt_task task = job_spawn(rt, &j);
        if (current_thread()) CHECK_EQ(atomic_load(&j.runs), 0); /* nobody drives yet */
        CHECK_EQ(rt_abort(task), 0);
        int64_t result = join_task(task);
        CHECK(result == 9 || result == -ECANCELED);
        CHECK(!current_thread() || result == -ECANCELED);
        job_ended(&j, result == 9);
    }
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_result_passes_through);
    CASE(it_need_not_be_joined_or_dropped);
    CASE(a_task_joins_it);
    CASE(what_was_not_spawned_is_the_callers);
    CASE(the_return_of_what_runs_wins);
    CASE(what_is_queued_is_not_called);
    CASE(aborted_before_it_was_polled);
    return test_end();
}
