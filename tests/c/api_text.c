/* The functions that say something: errors, version, description, metrics; and time. */
#include "check.h"

/* ---- errors ---- */

static const char *text(int64_t r) {
    const char *s = rt_strerror(r);
    CHECK(s != NULL && s[0] != '\0');
    CHECK(s == rt_strerror(r)); /* static: the same every time */
    return s;
}

static void every_result_has_a_text(void) {
    CHECK(strcmp(text(0), "success") == 0);
    CHECK(strcmp(text(1), "success") == 0);
    CHECK(strcmp(text(INT64_MAX), "success") == 0);
    for (int64_t r = 1; r <= 4200; r++) text(-r);
    for (int r = 1; r < 4096; r++) /* what the system knows, we know */
        if (strncmp(strerror(r), "Unknown", 7) != 0) CHECK(strcmp(text(-r), text(-4095)) != 0);
    text(INT64_MIN);
    text(INT32_MIN);
    CHECK(strcmp(text(RT_PENDING), text(-4095)) != 0);
}

static void errors_are_named(void) {
    struct {
        int64_t code;
        const char *name;
    } const own[] = {
        {-EBADF, "EBADF"},         {-EINVAL, "EINVAL"},     {-ECANCELED, "ECANCELED"},
        {-ESHUTDOWN, "ESHUTDOWN"}, {-ETIME, "ETIME"},       {-EDEADLK, "EDEADLK"},
        {-EPERM, "EPERM"},         {-EBUSY, "EBUSY"},       {-EEXIST, "EEXIST"},
        {-ENOSYS, "ENOSYS"},       {-EAGAIN, "EAGAIN"},     {-ECONNREFUSED, "ECONNREFUSED"},
        {-EMFILE, "EMFILE"},       {-ETIMEDOUT, "ETIMEDOUT"}, {-EPIPE, "EPIPE"},
        {-ENOTRECOVERABLE, "ENOTRECOVERABLE"},
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        CHECK(strncmp(text(own[i].code), own[i].name, strlen(own[i].name)) == 0);
    CHECK(strcmp(text(-ETIME), text(-ETIMEDOUT)) != 0);
}

static void only_errors_are_failures(void) {
    CHECK(!rt_failed(0));
    CHECK(!rt_failed(INT64_MAX));
    CHECK(!rt_failed(RT_PENDING));
    CHECK(rt_failed(-1));
    CHECK(rt_failed(-4095));
    CHECK(rt_failed(-4097));
    CHECK(rt_failed(INT64_MIN));
}

static void the_version_is_known(void) { CHECK(strcmp(rt_version(), "0.1.0") == 0); }

/* ---- description ---- */

static bool says(const char *description, const char *word) {
    return strstr(description, word) != NULL;
}

static void a_description_says_what_runs(void) {
    rt_runtime rt = test_runtime();
    char all[1024];
    int64_t n = CHECK_OK(rt_describe(rt, all, sizeof all));
    CHECK(n > 0 && n < (int64_t)sizeof all);
    CHECK_EQ(strlen(all), n);
    CHECK(says(all, current_thread() ? "current" : "multi"));
    CHECK(says(all, "epoll") || says(all, "uring"));
    if (test_engine == RT_ENGINE_EPOLL) CHECK(says(all, "epoll"));
    test_runtime_free(rt);
}

static void a_description_is_cut_to_fit(void) {
    rt_runtime rt = test_runtime();
    char all[1024], part[1024];
    int64_t n = CHECK_OK(rt_describe(rt, all, sizeof all));
    CHECK_EQ(rt_describe(rt, NULL, 0), n);
    for (size_t len = 1; len <= (size_t)n + 2; len++) {
        size_t fits = len - 1 < (size_t)n ? len - 1 : (size_t)n;
        memset(part, '#', sizeof part);
        CHECK_EQ(rt_describe(rt, part, len), n);
        CHECK_EQ(strlen(part), fits);
        CHECK(memcmp(part, all, fits) == 0);
        CHECK_EQ(part[len], '#');
    }
    memset(part, '#', sizeof part);
    CHECK_EQ(rt_describe(rt, part, 0), n);
    CHECK_EQ(part[0], '#');
    test_runtime_free(rt);
}

/* ---- metrics ---- */

static void tasks_and_polls_are_counted(void) {
    rt_runtime rt = test_runtime();
    rt_metrics_data start = metrics(rt);
    CHECK_EQ(start.size, sizeof start);
    CHECK_EQ(start.tasks_live, 0);
    CHECK_EQ(start.tasks_abandoned, 0);
    CHECK_EQ(start.ios_live, 0);
    if (current_thread()) CHECK(start.workers <= 1);
    else CHECK_EQ(start.workers, test_workers);
    probe probes[3] = {{.result = 0}};
    rt_task tasks[3];
    for (int i = 0; i < 3; i++) {
        tasks[i] = probe_spawn(rt, &probes[i]);
        CHECK_EQ(live_tasks(rt), i + 1);
    }
    for (int i = 0; i < 3; i++) drive_until(rt, probe_polled, &probes[i]);
    for (int i = 0; i < 3; i++) {
        probe_finish(&probes[i], tasks[i]);
        CHECK_EQ(join_task(tasks[i]), 0);
    }
    settle(rt);
    /* A worker adds those of a batch when it is over. */
    while (metrics(rt).polls < start.polls + 6) sched_yield();
    test_runtime_free(rt);
}

static void metrics_fit_older_and_newer_structs(void) {
    rt_runtime rt = test_runtime();
    rt_metrics_data older;
    memset(&older, 0xee, sizeof older);
    older.size = offsetof(rt_metrics_data, polls);
    CHECK_EQ(rt_metrics(rt, &older), 0);
    CHECK_EQ(older.tasks_live, 0);
    CHECK(older.polls == UINT64_C(0xeeeeeeeeeeeeeeee)); /* not ours to write */

    struct {
        rt_metrics_data known;
        uint64_t unknown;
    } newer = {.known = {.size = sizeof newer}};
    CHECK_EQ(rt_metrics(rt, &newer.known), 0);
    CHECK_EQ(newer.unknown, 0);

    rt_metrics_data broken = {.size = 0};
    CHECK_EQ(rt_metrics(rt, &broken), -EINVAL);
    CHECK_EQ(rt_metrics(rt, NULL), -EINVAL);
    test_runtime_free(rt);
}

/* ---- time ---- */

static void time_does_not_go_back(void) {
    uint64_t last = rt_now();
    CHECK(last > 0);
    for (int i = 0; i < 10000; i++) {
        uint64_t now = rt_now();
        CHECK(now >= last);
        last = now;
    }
}

static void without_timers_there_is_no_deadline(void) {
    rt_runtime rt = test_runtime();
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    test_runtime_free(rt);
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    CHECK(rt_next_deadline(0) == RT_NEVER);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(every_result_has_a_text);
    CASE(errors_are_named);
    CASE(only_errors_are_failures);
    CASE(the_version_is_known);
    CASE(a_description_says_what_runs);
    CASE(a_description_is_cut_to_fit);
    CASE(tasks_and_polls_are_counted);
    CASE(metrics_fit_older_and_newer_structs);
    CASE(time_does_not_go_back);
    CASE(without_timers_there_is_no_deadline);
    return test_end();
}
