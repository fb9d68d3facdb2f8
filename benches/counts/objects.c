/* Makes so many of something and ends, so that one can count what they took.
 *
 * Usage: objects tasks|timers|descriptors|spawns N
 *
 *   tasks        that wait for ever, without a state of their own
 *   timers       that run
 *   descriptors  that are registered
 *   spawns       of tasks, one after the other, each joined before the next
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <asyncio.h>

static uint64_t wanted;

static void check(const char *what, int64_t result) {
    if (result >= 0) return;
    fprintf(stderr, "objects: %s: %s\n", what, rt_strerror(result));
    exit(1);
}

static int64_t wait_for_ever(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static int64_t at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

/* The first poll makes them, the second one ends after all of them were polled. */
static int64_t make_tasks(rt_cx *cx, void *state) {
    uint64_t *made = state;
    if (*made) return 0;
    *made = 1;
    for (uint64_t i = 0; i < wanted; i++)
        check("spawn", rt_spawn(rt_cx_runtime(cx), wait_for_ever, NULL, NULL, NULL));
    rt_task_wake(rt_task_self(cx));
    return RT_PENDING;
}

static int64_t make_timers(rt_cx *cx, void *state) {
    (void)state;
    for (uint64_t i = 0; i < wanted; i++) {
        rt_timer timer;
        const uint64_t ahead = (3600 + i) * UINT64_C(1000000000);
        check("timer", rt_timer_start(rt_cx_runtime(cx), rt_now() + ahead, &timer));
    }
    return 0;
}

static int64_t make_descriptors(rt_cx *cx, void *state) {
    (void)state;
    for (uint64_t i = 0; i < wanted; i++) {
        rt_io io;
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        check("register", rt_register_fd(rt_cx_runtime(cx), fd, RT_READABLE, &io));
    }
    return 0;
}

static int64_t spawn_and_join(rt_cx *cx, void *state) {
    rt_task *task = state;
    for (; wanted > 0; wanted--) {
        if (*task == 0) check("spawn", rt_spawn(rt_cx_runtime(cx), at_once, NULL, NULL, task));
        if (rt_poll_join(cx, *task, NULL) == RT_PENDING) return RT_PENDING;
        *task = 0;
    }
    return 0;
}

static const struct {
    const char *name;
    rt_poll_fn make;
} kinds[] = {
    {"tasks", make_tasks},
    {"timers", make_timers},
    {"descriptors", make_descriptors},
    {"spawns", spawn_and_join},
};

int main(int argc, char **argv) {
    struct rlimit limit;
    rt_poll_fn make = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(argv[1], kinds[i].name) == 0) make = kinds[i].make;
    if (make == NULL) {
        fprintf(stderr, "usage: %s tasks|timers|descriptors|spawns N\n", argv[0]);
        return 2;
    }
    wanted = strtoull(argv[2], NULL, 10);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    rt_config config;
    rt_config_init(&config, sizeof config);
    config.flavour = RT_CURRENT_THREAD;
    config.engine = RT_ENGINE_EPOLL;
    rt_runtime rt;
    uint64_t zero = 0; /* what a kind knows at its start */
    check("rt_new", rt_new(&config, &rt, NULL, 0));
    check(argv[1], rt_block_on(rt, make, &zero));
    return rt_free(rt) != 0;
}
