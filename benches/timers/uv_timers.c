/* As rt_timers, with libuv. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

static uint64_t live = 100000, rounds = 2000000;

static uint64_t random_state = 88172645463325252u;

/* In milliseconds, which are libuv's ticks. */
static uint64_t some_time(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return 1000u + random_state % 60000000000u / 1000000u;
}

static void fired(uv_timer_t *timer) {
    (void)timer;
    abort();
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--live")) live = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--rounds")) rounds = strtoull(argv[i + 1], NULL, 10);
    }
    uv_loop_t loop;
    uv_loop_init(&loop);
    uv_timer_t *timers = calloc(live, sizeof *timers), one;
    uv_timer_init(&loop, &one);
    for (uint64_t i = 0; i < live; i++) {
        uv_timer_init(&loop, &timers[i]);
        if (uv_timer_start(&timers[i], fired, some_time(), 0)) abort();
    }
    uint64_t begun = uv_hrtime();
    for (uint64_t i = 0; i < rounds; i++) {
        if (uv_timer_start(&one, fired, some_time(), 0)) abort();
        uv_timer_stop(&one);
    }
    uint64_t pairs = uv_hrtime() - begun;
    begun = uv_hrtime();
    for (uint64_t i = 0; i < rounds; i++) {
        uv_timer_t *timer = &timers[random_state % live];
        uv_timer_stop(timer);
        if (uv_timer_start(timer, fired, some_time(), 0)) abort();
    }
    uint64_t mixed = uv_hrtime() - begun;
    printf("pair %.1f replace %.1f\n", (double)pairs / (double)rounds, (double)mixed / (double)rounds);
    return 0;
}
