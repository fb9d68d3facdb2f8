/* What the programs that measure timers have in common: how many, when, and the clock.
 *
 * Usage of each: NAME [--live N] [--rounds N]. It prints the CPU time, in nanoseconds, to start a timer and cancel it with
 * so many live ("pair"), and to cancel one of these and start it anew ("replace"). Nothing ever waits, so that the CPU time
 * is all the time that there is, but for what others took on a busy machine.
 */
#ifndef BENCH_TIMERS_COMMON_H
#define BENCH_TIMERS_COMMON_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t live = 100000, rounds = 2000000;

static uint64_t random_state = 88172645463325252u;

/* Nanoseconds from now on: up to a minute, and never within this run's first second. */
static inline uint64_t some_delay(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return 1000000000u + random_state % 60000000000u;
}

/* One of those that are live. */
static inline uint64_t some_index(void) { return random_state % live; }

static inline uint64_t cpu_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline void parse(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--live")) live = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--rounds")) rounds = strtoull(argv[i + 1], NULL, 10);
    }
}

static inline void report(uint64_t pairs, uint64_t replaced) {
    printf("pair %.1f replace %.1f\n", (double)pairs / (double)rounds, (double)replaced / (double)rounds);
}

#endif
