/* What a timer costs with libevent. */
#include <event2/event.h>

#include "common.h"

static void fired(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what, (void)arg;
    abort();
}

static void start(struct event *timer) {
    const uint64_t us = some_delay() / 1000;
    const struct timeval delay = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    if (event_add(timer, &delay) < 0) abort();
}

static struct event *new_timer(struct event_base *base) {
    struct event *timer = evtimer_new(base, fired, NULL);
    if (timer == NULL) abort();
    return timer;
}

int main(int argc, char **argv) {
    parse(argc, argv);
    struct event_config *config = event_config_new();
    if (config == NULL) return 1;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    struct event **timers = calloc(live, sizeof *timers);
    if (base == NULL || timers == NULL) return 1;
    struct event *one = new_timer(base);
    for (uint64_t i = 0; i < live; i++) start(timers[i] = new_timer(base));
    uint64_t begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        start(one);
        event_del(one);
    }
    const uint64_t pairs = cpu_time() - begun;
    begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        struct event *timer = timers[some_index()];
        event_del(timer);
        start(timer);
    }
    report(pairs, cpu_time() - begun);
    return 0;
}
