/* What the examples have in common: the options that choose a runtime, numbers, and a limit.
 *
 *   --engine   auto, the default, epoll or uring.
 *   --workers  threads; 0 runs everything on the main one, which is the default of `options_init`.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <asyncio.h>

#define OPTIONS_USAGE "[--engine auto|epoll|uring] [--workers N]"
#define A_DAY (24 * 60 * 60 * 1000) /* in milliseconds */

static inline void options_init(rt_config *config) {
    rt_config_init(config, sizeof *config);
    config->flavour = RT_CURRENT_THREAD;
}

static inline bool parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out) {
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-') return false;
    if (n < min || n > max) return false;
    *out = (uint32_t)n;
    return true;
}

/* An option that all have. False: it is not one of them, or its value is none. */
static inline bool parse_common(rt_config *config, const char *name, const char *value) {
    static const char *const engines[] = {[RT_ENGINE_AUTO] = "auto",
                                          [RT_ENGINE_EPOLL] = "epoll",
                                          [RT_ENGINE_URING] = "uring"};
    if (strcmp(name, "--workers") == 0) {
        if (!parse_number(value, 0, 1024, &config->workers)) return false;
        config->flavour = config->workers == 0 ? RT_CURRENT_THREAD : RT_MULTI_THREAD;
        return true;
    }
    if (strcmp(name, "--engine") != 0) return false;
    for (uint32_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        if (strcmp(value, engines[i]) != 0) continue;
        config->engine = i;
        return true;
    }
    return false;
}

/* One descriptor a connection, or two: the usual soft limit of 1024 is soon reached. */
static inline void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

#endif
