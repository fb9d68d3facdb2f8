/* What a timer costs with libev. */
#include <ev.h>

#include "common.h"

static void fired(struct ev_loop *loop, ev_timer *timer, int events) {
    (void)loop, (void)timer, (void)events;
    abort();
}

static void start(struct ev_loop *loop, ev_timer *timer) {
    ev_timer_set(timer, (double)some_delay() / 1e9, 0);
    ev_timer_start(loop, timer);
}

int main(int argc, char **argv) {
    parse(argc, argv);
    struct ev_loop *loop = ev_default_loop(0);
    ev_timer *timers = calloc(live, sizeof *timers), one;
    if (loop == NULL || timers == NULL) return 1;
    ev_init(&one, fired);
    for (uint64_t i = 0; i < live; i++) {
        ev_init(&timers[i], fired);
        start(loop, &timers[i]);
    }
    uint64_t begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        start(loop, &one);
        ev_timer_stop(loop, &one);
    }
    const uint64_t pairs = cpu_time() - begun;
    begun = cpu_time();
    for (uint64_t i = 0; i < rounds; i++) {
        ev_timer *timer = &timers[some_index()];
        ev_timer_stop(loop, timer);
        start(loop, timer);
    }
    report(pairs, cpu_time() - begun);
    return 0;
}
