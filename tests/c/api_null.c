/* NULL where it is not allowed gives -EINVAL (0, NULL or false from the functions that return a
 * handle, a pointer or a truth), and nothing happens. */
#include "check.h"

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void in_runtime_calls(void) {
    rt_runtime rt = test_runtime();
    rt_config config = test_config();
    CHECK_EQ(rt_config_init(NULL, sizeof config), -EINVAL);
    CHECK_EQ(rt_new(&config, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(rt_new(&config, NULL, NULL, 100), -EINVAL);
    CHECK_EQ(rt_block_on(rt, NULL, NULL), -EINVAL);
    CHECK_EQ(rt_metrics(rt, NULL), -EINVAL);
    CHECK_EQ(rt_census(NULL), -EINVAL);
    CHECK_EQ(rt_census(&(rt_census_data){.size = 3}), -EINVAL);
    test_runtime_free(rt);
}

static void in_task_calls(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p), other;
    CHECK_EQ(rt_spawn(rt, NULL, NULL, NULL, &other), -EINVAL);
    CHECK_EQ(rt_spawn_with(rt, NULL, &other), -EINVAL);
    CHECK_EQ(rt_spawn_opts_init(NULL, sizeof(rt_spawn_opts)), -EINVAL);
    CHECK_EQ(rt_poll_join(NULL, task, NULL), -EINVAL);
    CHECK_EQ(rt_yield(NULL), -EINVAL);
    CHECK_EQ(rt_task_self(NULL), 0);
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

static void in_context_calls(void) {
    CHECK_EQ(rt_cx_runtime(NULL), 0);
    CHECK(rt_cx_waker(NULL) == NULL);
    CHECK(rt_cx_current() == NULL);
    CHECK_EQ(rt_cx_free(NULL), 0);
}

/* Without room the length is the answer; room that is not there is a mistake. */
static void a_text_may_be_declined(void) {
    rt_runtime rt = test_runtime();
    char all[1024];
    int64_t n = CHECK_OK(rt_describe(rt, all, sizeof all));
    CHECK_EQ(rt_describe(rt, NULL, 0), n);
    CHECK_EQ(rt_describe(rt, NULL, sizeof all), -EINVAL);
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_task_name(task, NULL, 0), 0);
    CHECK_EQ(rt_task_name(task, NULL, 10), -EINVAL);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    test_runtime_free(rt);
}

static void a_state_may_be_null(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, end_at_once, NULL), 0);
    CHECK_EQ(rt_spawn(rt, end_at_once, NULL, NULL, NULL), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_runtime_calls);
    CASE(in_task_calls);
    CASE(in_context_calls);
    CASE(a_text_may_be_declined);
    CASE(a_state_may_be_null);
    return test_end();
}
