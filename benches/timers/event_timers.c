/* As rt_timers, with libevent. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

static uint64_t live = 100000, rounds = 2000000;

static uint64_t random_state = 88172645463325252u;

static uint64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct timeval some_time(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    const uint64_t us = 1000000u + random_state % 60000000000u / 1000u;
    return (struct timeval){.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
}

static void fired(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what, (void)arg;
    abort();
}

static void start(struct event *timer) {
    const struct timeval at = some_time();
    if (event_add(timer, &at) < 0) abort();
}

static struct event *new_timer(struct event_base *base) {
    struct event *timer = evtimer_new(base, fired, NULL);
    if (timer == NULL) abort();
    return timer;
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--live")) live = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--rounds")) rounds = strtoull(argv[i + 1], NULL, 10);
    }
    struct event_config *config = event_config_new();
    if (config == NULL) return 1;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    struct event **timers = calloc(live, sizeof *timers);
    if (base == NULL || timers == NULL) return 1;
    struct event *one = new_timer(base);
    for (uint64_t i = 0; i < live; i++) start(timers[i] = new_timer(base));
    uint64_t begun = clock_now();
    for (uint64_t i = 0; i < rounds; i++) {
        start(one);
        event_del(one);
    }
    uint64_t pairs = clock_now() - begun;
    begun = clock_now();
    for (uint64_t i = 0; i < rounds; i++) {
        struct event *timer = timers[random_state % live];
        event_del(timer);
        start(timer);
    }
    uint64_t mixed = clock_now() - begun;
    printf("pair %.1f replace %.1f\n", (double)pairs / (double)rounds, (double)mixed / (double)rounds);
    return 0;
}
