/* once: the configurations are the test's own.
 * When a worker's thread cannot be made, rt_new says so and leaves nothing: no thread, no
 * descriptor, nothing that the library counts, and a library that works. */
#include "child.h"

#include <sys/resource.h>

static int threads_alive(void) {
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    int count = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) count += e->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void must_fail(const rt_config *config) {
    struct test_census before = census_take();
    int threads = threads_alive();
    char why[256] = "";
    rt_runtime rt = 1;
    CHECK(rt_failed(rt_new(config, &rt, why, sizeof why)));
    CHECK_EQ(rt, 0);
    CHECK(why[0] != '\0');
    CHECK(census_agrees(&before, true));
    while (threads_alive() != threads) sched_yield(); /* one that was joined may be listed yet */
}

static void must_work(void) {
    rt_config config;
    CHECK_OK(rt_config_init(&config, sizeof config));
    config.workers = 2;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(rt, return_zero, NULL), 0);
    test_runtime_free(rt);
}

/* There is room for some of the threads, so that those which were made have to be ended again. */
static void run_out_of_memory(void) {
    rt_config config;
    CHECK_OK(rt_config_init(&config, sizeof config));
    config.workers = 16;
    config.stack_size = 256u << 20;
    struct rlimit room = {.rlim_cur = 1ul << 30, .rlim_max = 1ul << 30};
    CHECK_SYS(setrlimit(RLIMIT_AS, &room));
    must_fail(&config);
    must_work();
}

static void ask_for_an_endless_stack(void) {
    rt_config config;
    CHECK_OK(rt_config_init(&config, sizeof config));
    config.stack_size = UINT64_MAX;
    for (config.workers = 0; config.workers <= 2; config.workers++) must_fail(&config);
    must_work();
}

static void memory_for_some_of_the_threads(void) { in_child(run_out_of_memory); }
static void an_endless_stack(void) { in_child(ask_for_an_endless_stack); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (instrumented()) SKIP("valgrind and the sanitizers need the memory that is refused here");
    CASE(memory_for_some_of_the_threads);
    CASE(an_endless_stack);
    return test_end();
}
