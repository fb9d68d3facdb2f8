/* As rt_timers, with libev. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ev.h>

static uint64_t live = 100000, rounds = 2000000;

static uint64_t random_state = 88172645463325252u;

static uint64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* In seconds from now on. */
static ev_tstamp some_time(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return 1 + (double)(random_state % 60000000000u) / 1e9;
}

static void fired(struct ev_loop *loop, ev_timer *timer, int events) {
    (void)loop, (void)timer, (void)events;
    abort();
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--live")) live = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--rounds")) rounds = strtoull(argv[i + 1], NULL, 10);
    }
    struct ev_loop *loop = ev_default_loop(0);
    ev_timer *timers = calloc(live, sizeof *timers), one;
    if (loop == NULL || timers == NULL) return 1;
    for (uint64_t i = 0; i < live; i++) {
        ev_timer_init(&timers[i], fired, some_time(), 0);
        ev_timer_start(loop, &timers[i]);
    }
    ev_init(&one, fired);
    uint64_t begun = clock_now();
    for (uint64_t i = 0; i < rounds; i++) {
        ev_timer_set(&one, some_time(), 0);
        ev_timer_start(loop, &one);
        ev_timer_stop(loop, &one);
    }
    uint64_t pairs = clock_now() - begun;
    begun = clock_now();
    for (uint64_t i = 0; i < rounds; i++) {
        ev_timer *timer = &timers[random_state % live];
        ev_timer_stop(loop, timer);
        ev_timer_set(timer, some_time(), 0);
        ev_timer_start(loop, timer);
    }
    uint64_t mixed = clock_now() - begun;
    printf("pair %.1f replace %.1f\n", (double)pairs / (double)rounds, (double)mixed / (double)rounds);
    return 0;
}
