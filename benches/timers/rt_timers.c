/* What a timer costs: start and cancel with many live, and start, wait and fire, through the C ABI.
 *
 * Usage: rt_timers [--live N] [--rounds N]. Prints nanoseconds for a start and cancel. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <asyncio.h>

static uint64_t live = 100000, rounds = 2000000;

static uint64_t random_state = 88172645463325252u;

/* Up to a minute ahead, and never within this run's first second. */
static uint64_t some_time(uint64_t now) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return now + 1000000000u + random_state % 60000000000u;
}

static int64_t measure(rt_cx *cx, void *state) {
    (void)state;
    rt_runtime rt = rt_cx_runtime(cx);
    uint64_t now = rt_now();
    rt_timer *timers = calloc(live, sizeof *timers);
    for (uint64_t i = 0; i < live; i++)
        if (rt_timer_start(rt, some_time(now), &timers[i]) != 0) abort();
    uint64_t begun = rt_now();
    for (uint64_t i = 0; i < rounds; i++) {
        rt_timer timer;
        if (rt_timer_start(rt, some_time(now), &timer) != 0 || rt_timer_cancel(timer) != 1) abort();
    }
    uint64_t pairs = rt_now() - begun;
    /* The same with another one ended each time than was started. */
    begun = rt_now();
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t which = random_state % live;
        if (rt_timer_cancel(timers[which]) != 1) abort();
        if (rt_timer_start(rt, some_time(now), &timers[which]) != 0) abort();
    }
    uint64_t mixed = rt_now() - begun;
    printf("pair %.1f replace %.1f\n", (double)pairs / (double)rounds, (double)mixed / (double)rounds);
    for (uint64_t i = 0; i < live; i++) rt_timer_cancel(timers[i]);
    free(timers);
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--live")) live = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--rounds")) rounds = strtoull(argv[i + 1], NULL, 10);
    }
    rt_config config;
    rt_config_init(&config, sizeof config);
    config.flavour = RT_CURRENT_THREAD;
    rt_runtime rt;
    if (rt_new(&config, &rt, NULL, 0) != 0) return 1;
    rt_block_on(rt, measure, NULL);
    return rt_free(rt) != 0;
}
