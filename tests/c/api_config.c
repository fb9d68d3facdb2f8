/* Configuration: sizes of older and newer programs, values out of range, an engine that cannot be
 * had, resources that run out. A refusal says why and leaves nothing behind. */
#include "check.h"

#include <sys/resource.h>

enum { LEAST_STACK = 64 * 1024 };

static int64_t seven(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 7;
}

static void runs_with(const rt_config *config) {
    rt_runtime rt = test_runtime_with(config);
    CHECK_EQ(rt_block_on(rt, seven, NULL), 7);
    test_runtime_free(rt);
}

static void refused_with(const rt_config *config, int64_t error) {
    char why[128] = "";
    rt_runtime rt = 0;
    CHECK_EQ(rt_new(config, &rt, why, sizeof why), error);
    CHECK(why[0] != '\0');
    CHECK_EQ(rt, 0);
}

/* ---- sizes ---- */

static void init_clears_what_it_is_told(void) {
    struct {
        rt_config config;
        uint64_t beyond;
    } c;
    memset(&c, 0xff, sizeof c);
    CHECK_EQ(rt_config_init(&c.config, sizeof c.config), 0);
    CHECK_EQ(c.config.size, sizeof c.config);
    CHECK_EQ(c.config.workers, 0);
    CHECK_EQ(c.config.resolver_threads, 0);
    CHECK(c.config.hook_arg == NULL);
    CHECK(c.beyond == UINT64_MAX);
    CHECK_EQ(rt_config_init(&c.config, sizeof c), 0);
    CHECK_EQ(c.config.size, sizeof c);
    CHECK_EQ(c.beyond, 0);
    CHECK_EQ(rt_config_init(&c.config, 0), -EINVAL);
    CHECK_EQ(rt_config_init(&c.config, 3), -EINVAL);
    CHECK_EQ(rt_config_init(NULL, sizeof c), -EINVAL);
}

static void an_older_struct_works(void) {
    rt_config config = test_config();
    uint32_t known = offsetof(rt_config, spin_ns);
    memset((char *)&config + known, 0xff, sizeof config - known); /* must not be read */
    config.size = known;
    runs_with(&config);
}

static void a_newer_struct_works_unless_it_asks_for_more(void) {
    struct {
        rt_config config;
        uint64_t unknown;
    } c = {.config = test_config()};
    c.config.size = sizeof c;
    runs_with(&c.config);
    c.unknown = 1;
    refused_with(&c.config, -EINVAL);
    c.unknown = (uint64_t)1 << 63;
    refused_with(&c.config, -EINVAL);
    c.config.size = 0;
    refused_with(&c.config, -EINVAL);
}

/* ---- values ---- */

static void the_default_configuration_works(void) { runs_with(NULL); }

static void values_out_of_range_are_refused(void) {
    rt_config config = test_config();
    config.flavour = 2;
    refused_with(&config, -EINVAL);
    config = test_config();
    config.flavour = UINT32_MAX;
    refused_with(&config, -EINVAL);
    config = test_config();
    config.engine = 3;
    refused_with(&config, -EINVAL);
}

static void extreme_values_work(void) {
    rt_config config = test_config();
    config.spin_ns = RT_SPIN_OFF;
    config.poll_budget = RT_BUDGET_OFF;
    config.lifo_limit = RT_LIFO_OFF;
    config.event_interval = UINT32_MAX;
    runs_with(&config);
    config.spin_ns = 1000;
    config.poll_budget = 1;
    config.lifo_limit = 1;
    config.event_interval = 1;
    config.max_events = 1;
    config.blocking_threads = 1;
    config.resolver_threads = 1;
    config.stack_size = LEAST_STACK;
    config.thread_name = "a name far longer than the kernel keeps for a thread";
    runs_with(&config);
}

/* ---- engines ---- */

static void an_explicit_engine_is_had_or_refused_with_a_reason(void) {
    rt_config config = test_config();
    config.engine = RT_ENGINE_URING;
    char why[256] = "", text[1024];
    rt_runtime rt = 0;
    int64_t r = rt_new(&config, &rt, why, sizeof why);
    if (r < 0) {
        CHECK(why[0] != '\0');
        CHECK_EQ(rt, 0);
        CHECK_EQ(rt_new(&config, &rt, NULL, 0), r);
        CHECK_EQ(rt_new(&config, &rt, NULL, 100), r);
        char cut[8];
        memset(cut, '#', sizeof cut);
        CHECK_EQ(rt_new(&config, &rt, cut, 4), r);
        CHECK(memcmp(cut, why, 3) == 0 && cut[3] == '\0' && cut[4] == '#');
        return;
    }
    CHECK_OK(rt_describe(rt, text, sizeof text));
    CHECK(strstr(text, "uring") != NULL);
    test_runtime_free(rt);
}

static void an_operator_can_force_epoll(void) {
    CHECK_SYS(setenv("ASYNCIO_ENGINE", "epoll", 1));
    rt_config config = test_config();
    config.engine = RT_ENGINE_AUTO;
    rt_runtime rt = test_runtime_with(&config);
    char text[1024];
    CHECK_OK(rt_describe(rt, text, sizeof text));
    CHECK(strstr(text, "epoll") != NULL);
    CHECK(strstr(text, "ASYNCIO_ENGINE") != NULL); /* it says who decided */
    test_runtime_free(rt);
    CHECK_SYS(unsetenv("ASYNCIO_ENGINE"));
}

/* ---- resources that run out ---- */

static void an_impossible_stack_is_an_error(void) {
    const uint64_t sizes[] = {(uint64_t)1 << 46, UINT64_MAX};
    for (int i = 0; i < 2; i++) {
        rt_config config = test_config();
        config.stack_size = sizes[i];
        rt_runtime rt = 0;
        char why[128] = "";
        CHECK_EQ(rt_new(&config, &rt, why, sizeof why), -EINVAL); /* the current-thread flavour has threads that may block */
        CHECK(strstr(why, "stack") != NULL);
        CHECK_EQ(rt, 0);
    }
}

static void too_small_a_stack_is_an_error(void) {
    const uint64_t sizes[] = {1, 16384, LEAST_STACK - 1};
    for (int i = 0; i < 3; i++) {
        rt_config config = test_config();
        config.stack_size = sizes[i];
        rt_runtime rt = 77;
        char why[128] = "";
        CHECK_EQ(rt_new(&config, &rt, why, sizeof why), -EINVAL);
        CHECK(strstr(why, "stack") != NULL);
        CHECK_EQ(rt, 0);
    }
}

/* However many descriptors are left, creation works or fails whole. */
static void running_out_of_descriptors_is_an_error(void) {
    struct rlimit full, low;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &full));
    int before = open_fds(), failures = 0;
    int lowest = (int)CHECK_SYS(dup(STDERR_FILENO)); /* the limit is on numbers */
    CHECK_SYS(close(lowest));
    rt_config config = test_config();
    for (int left = 0;; left++) {
        low = (struct rlimit){(rlim_t)(lowest + left), full.rlim_max};
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
        rt_runtime rt = 0;
        char why[128] = "";
        int64_t r = rt_new(&config, &rt, why, sizeof why);
        if (r == 0) CHECK_EQ(rt_block_on(rt, seven, NULL), 7);
        if (r == 0) CHECK_EQ(rt_free(rt), 0);
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &full));
        CHECK_EQ(open_fds(), before);
        if (r == 0) break;
        CHECK_EQ(r, -EMFILE);
        CHECK(why[0] != '\0');
        failures++;
    }
    CHECK(failures > 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(init_clears_what_it_is_told);
    CASE(an_older_struct_works);
    CASE(a_newer_struct_works_unless_it_asks_for_more);
    CASE(the_default_configuration_works);
    CASE(values_out_of_range_are_refused);
    CASE(extreme_values_work);
    CASE(an_explicit_engine_is_had_or_refused_with_a_reason);
    CASE(an_operator_can_force_epoll);
    CASE(an_impossible_stack_is_an_error);
    CASE(too_small_a_stack_is_an_error);
    CASE(running_out_of_descriptors_is_an_error);
    return test_end();
}
