/* Three intervals, each with another choice for ticks that were missed, until somebody says stop.
 *
 * It shows
 *   - intervals: what each of the choices makes of a task that was held up for a while;
 *   - a call at a time;
 *   - an event: set by a signal handler of the program's own, or by that call, seen by all.
 *
 * Usage: ticker [--engine auto|epoll|uring] [--workers N] [--period 200] [--for 4000]
 *
 *   --period  milliseconds from tick to tick.
 *   --for     milliseconds until it ends by itself.
 *
 * Try it: build/c-examples/ticker, and Ctrl-C when it is enough
 * A line says when ticks were taken, by whom, and how many at once. Every fifth time the task is
 * held up for three periods and a half. After that "burst" makes up for each of the three that it
 * missed, "skip" takes them together, and "delay" forgets them, and starts anew.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include <asyncio_await.h>

#include "options.h"

#define MS UINT64_C(1000000)

static rt_event stop; /* made before the handler is installed */
static volatile sig_atomic_t interrupted;

struct ticker {
    const char *name;
    uint32_t missed;
    uint64_t start, period;
    rt_timer timer;
    rt_task task;
    uint64_t polls;

    rt_frame frame;
    rt_timer hold;
    uint64_t until;
    int which;
    int64_t n;
};

/* rt_event_set is one of the few calls that a handler may make. */
static void on_interrupt(int signum) {
    (void)signum;
    interrupted = 1;
    rt_event_set(stop);
}

static void time_is_up(void *event) { rt_event_set(*(rt_event *)event); }

/* The event is asked first, so it stops an interval that is always behind, too. */
static int64_t tick(rt_cx *cx, void *state) {
    struct ticker *t = state;
    RT_BEGIN(&t->frame);
    for (;;) {
        RT_SELECT2(t->which, t->n, rt_poll_event(cx, stop), rt_poll_timer(cx, t->timer));
        if (t->which == 0 || t->n < 0) break;
        printf("%6" PRIu64 " ms  %s: %" PRId64 "\n", (rt_now() - t->start) / MS, t->name, t->n);
        if (++t->polls % 5 != 0) continue;
        t->until = rt_now() + t->period * 7 / 2;
        RT_SELECT2(t->which, t->n, rt_poll_event(cx, stop), rt_poll_sleep(cx, &t->hold, t->until));
        if (t->which == 0 || t->n < 0) break;
        printf("%6" PRIu64 " ms  %s was held up\n", (rt_now() - t->start) / MS, t->name);
    }
    RT_END(t->n);
}

static void release(void *state) {
    struct ticker *t = state;
    rt_timer_cancel(t->timer);
    rt_timer_cancel(t->hold);
}

/* All three begin at the same time. */
static int64_t start(rt_runtime rt, struct ticker *tickers, uint32_t period_ms) {
    uint64_t now = rt_now(), period = period_ms * MS;
    for (struct ticker *t = tickers; t->name != NULL; t++) {
        t->start = now;
        t->period = period;
        int64_t r = rt_timer_interval(rt, now + period, period, t->missed, &t->timer);
        if (r == 0) r = rt_spawn(rt, tick, t, release, &t->task);
        if (r < 0) return release(t), r;
    }
    return 0;
}

static int64_t join_all(struct ticker *tickers) {
    int64_t worst = 0, n;
    for (struct ticker *t = tickers; t->name != NULL; t++) {
        int64_t r = rt_join(t->task, RT_NEVER, &n);
        if (worst == 0) worst = r < 0 ? r : n;
    }
    return worst;
}

int main(int argc, char **argv) {
    struct ticker tickers[] = {{.name = "burst", .missed = RT_MISSED_BURST},
                               {.name = "skip", .missed = RT_MISSED_SKIP},
                               {.name = "delay", .missed = RT_MISSED_DELAY},
                               {.name = NULL}};
    struct sigaction handler = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    char why[256] = "";
    uint32_t period = 200, total = 4000;
    rt_runtime rt = 0;
    rt_config config;
    options_init(&config);
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--period") == 0 && parse_number(value, 1, A_DAY, &period)) continue;
        if (strcmp(name, "--for") == 0 && parse_number(value, 1, A_DAY, &total)) continue;
        if (parse_common(&config, name, value)) continue;
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--period MS] [--for MS]\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int64_t r = rt_new(&config, &rt, why, sizeof why);
    if (r == 0) r = rt_event_new(rt, &stop);
    if (r == 0) r = sigaction(SIGINT, &handler, NULL) < 0 ? -errno : 0;
    if (r == 0) r = rt_call_at(rt, rt_now() + total * MS, 0, time_is_up, &stop, NULL, NULL);
    if (r == 0) r = start(rt, tickers, period);
    if (r == 0) r = join_all(tickers);
    rt_free(rt);
    rt_event_free(stop); /* a handler that comes later sets a stale handle: nothing */
    if (r < 0) fprintf(stderr, "ticker: %s %s\n", rt_strerror(r), why);
    else puts(interrupted ? "interrupted" : "the time is up");
    return r < 0;
}
