/* A timer that lives long, and sees many who wait for it and go: it does not collect them. */
#include "check.h"

/* What the process has in memory, in bytes. */
static long resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static rt_timer timer;

static int64_t look_and_go(rt_cx *cx, void *state) {
    (void)state;
    CHECK_EQ(rt_poll_timer(cx, timer), RT_PENDING);
    return 0;
}

static int64_t watch_and_go(rt_cx *cx, void *state) {
    rt_runtime *rt = state;
    rt_set set;
    CHECK_OK(rt_set_new(*rt, &set));
    CHECK_OK(rt_set_add(cx, set, timer, 1));
    CHECK_OK(rt_set_free(set));
    return 0;
}

static void many(rt_poll_fn poll) {
    rt_runtime rt = test_runtime();
    CHECK_OK(rt_timer_start(rt, RT_NEVER, &timer));
    long before = 0;
    int rounds = scaled(20000);
    for (int i = 0; i < rounds; i++) {
        if (i == rounds / 10) before = resident();
        CHECK_EQ(rt_block_on(rt, poll, &rt), 0);
    }
    /* Each would keep a hundred bytes at least. Where everything is slower, other things take memory, too. */
    if (rounds == 20000) CHECK(resident() < before + 1000000);
    CHECK_EQ(rt_timer_cancel(timer), 1);
    test_runtime_free(rt);
}

static void tasks(void) { many(look_and_go); }
static void sets(void) { many(watch_and_go); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(tasks);
    CASE(sets);
    return test_end();
}
