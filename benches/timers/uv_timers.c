/* What a timer costs with libuv. */
#include <uv.h>

#include "common.h"

static void fired(uv_timer_t *timer) {
    (void)timer;
    abort();
}

/* libuv's ticks are milliseconds. */
static void start(uv_timer_t *timer) {
    if (uv_timer_start(timer, fired, some_delay() / 1000000, 0)) abort();
}

int main(int argc, char **argv) {
    uv_loop_t loop;
    parse(argc, argv);
    uv_timer_t *timers = calloc(live, sizeof *timers), one;
    if (timers == NULL || uv_loop_init(&loop)) return 1;
    uv_timer_init(&loop, &one);
    for (uint64_t i = 0; i < live; i++) {
        uv_timer_init(&loop, &timers[i]);
        start(&timers[i]);
    }
    uint64_t begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        start(&one);
        uv_timer_stop(&one);
    }
    const uint64_t pairs = cpu_time() - begun;
    begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        uv_timer_t *timer = &timers[some_index()];
        uv_timer_stop(timer);
        start(timer);
    }
    report(pairs, cpu_time() - begun);
    return 0;
}
