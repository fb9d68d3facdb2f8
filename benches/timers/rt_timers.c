/* What a timer costs through the C ABI. */
#include <asyncio.h>

#include "common.h"

static int64_t measure(rt_cx *cx, void *state) {
    (void)state;
    rt_runtime rt = rt_cx_runtime(cx);
    const uint64_t now = rt_now();
    rt_timer *timers = calloc(live, sizeof *timers), one;
    for (uint64_t i = 0; i < live; i++)
        if (rt_timer_start(rt, now + some_delay(), &timers[i]) != 0) abort();
    uint64_t begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++)
        if (rt_timer_start(rt, now + some_delay(), &one) != 0 || rt_timer_cancel(one) != 1) abort();
    const uint64_t pairs = cpu_time() - begun;
    begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        rt_timer *timer = &timers[some_index()];
        if (rt_timer_cancel(*timer) != 1) abort();
        if (rt_timer_start(rt, now + some_delay(), timer) != 0) abort();
    }
    report(pairs, cpu_time() - begun);
    for (uint64_t i = 0; i < live; i++) rt_timer_cancel(timers[i]);
    free(timers);
    return 0;
}

int main(int argc, char **argv) {
    rt_config config;
    rt_runtime rt;
    parse(argc, argv);
    rt_config_init(&config, sizeof config);
    config.flavour = RT_CURRENT_THREAD;
    if (rt_new(&config, &rt, NULL, 0) != 0) return 1;
    rt_block_on(rt, measure, NULL);
    return rt_free(rt) != 0;
}
