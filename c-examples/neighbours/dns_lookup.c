/* Looks names up, all at once, by c-ares, and says what was found in their order.
 *
 * It shows a library that has many sockets, opens and closes them at will, and says its times only
 * when it is asked (cares.c). Without c-ares there is rt_poll_resolve, which asks the system's
 * resolver by threads.
 *
 * Usage: dns_lookup [--engine auto|epoll|uring] [--workers N] [--timeout 2000]
 *                   [--server ADDRESS:PORT] NAME..
 *
 *   --server   whom to ask. Default: as the system is configured.
 *   --timeout  how many milliseconds a server has, the first time; it is asked twice.
 *
 * A line for each: the name and its IPv4 addresses, or what c-ares says of it.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

#include <asyncio_await.h>

#include "../options.h"
#include "answer.h"
#include "cares.h"

enum { TRIES = 2 };

struct lookup {
    const char *name;
    struct answer answer;
    struct ares_addrinfo *found;
};

struct all {
    rt_runtime rt;
    struct cares_loop loop;
    const char *server;
    uint32_t timeout_ms;
    struct lookup *lookups;
    int count, i;
    rt_frame frame;
    int64_t r;
};

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *found) {
    struct lookup *l = arg;
    (void)timeouts;
    l->found = found;
    answer_give(&l->answer, status);
}

static int64_t look_all_up(rt_cx *cx, void *state) {
    struct all *a = state;
    struct ares_options options = {.timeout = (int)a->timeout_ms, .tries = TRIES};
    const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    const struct ares_addrinfo_hints hints = {.ai_family = AF_INET};
    RT_BEGIN(&a->frame);
    a->r = cares_open(a->rt, rt_task_self(cx), &options, mask, &a->loop);
    if (a->r < 0) RT_RETURN(a->r);
    if (a->server != NULL && ares_set_servers_ports_csv(a->loop.channel, a->server) != ARES_SUCCESS)
        RT_RETURN(-EINVAL);
    for (int i = 0; i < a->count; i++) {
        struct lookup *l = &a->lookups[i];
        ares_getaddrinfo(a->loop.channel, l->name, NULL, &hints, on_answer, l);
    }
    cares_asked(&a->loop);
    for (a->i = 0; a->i < a->count; a->i++)
        RT_AWAIT(a->r, answer_poll(cx, &a->lookups[a->i].answer));
    RT_END(0);
}

static bool show(const struct lookup *l) {
    char text[INET_ADDRSTRLEN];
    printf("%s", l->name);
    if (l->answer.result != ARES_SUCCESS) {
        printf(": %s\n", ares_strerror((int)l->answer.result));
        return false;
    }
    for (struct ares_addrinfo_node *node = l->found->nodes; node != NULL; node = node->ai_next)
        printf(" %s", inet_ntop(AF_INET, &((struct sockaddr_in *)node->ai_addr)->sin_addr, text,
                                sizeof text));
    printf("\n");
    return true;
}

int main(int argc, char **argv) {
    struct all a = {.timeout_ms = 2000};
    char why[256] = "";
    rt_config config;
    options_init(&config);
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--server") == 0) a.server = argv[at + 1];
        else if (!parse_common(&config, argv[at], argv[at + 1]) &&
                 (strcmp(argv[at], "--timeout") != 0 ||
                  !parse_number(argv[at + 1], 1, A_DAY, &a.timeout_ms)))
            break;
    }
    if (at >= argc || strncmp(argv[at], "--", 2) == 0) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--timeout MS] [--server ADDRESS:PORT]"
                        " NAME..\n", argv[0]);
        return 2;
    }
    a.lookups = calloc((size_t)(argc - at), sizeof *a.lookups);
    if (a.lookups == NULL || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) return 1;
    for (; at < argc; at++) a.lookups[a.count++].name = argv[at];

    int64_t r = rt_new(&config, &a.rt, why, sizeof why);
    if (r >= 0) r = rt_block_on(a.rt, look_all_up, &a);
    rt_free(a.rt);
    cares_close(&a.loop);
    if (r < 0) fprintf(stderr, "dns_lookup: %s %s\n", rt_strerror(r), why);
    bool good = r >= 0;
    for (int i = 0; i < a.count; i++) {
        if (r >= 0) good = show(&a.lookups[i]) && good;
        if (a.lookups[i].found != NULL) ares_freeaddrinfo(a.lookups[i].found);
        answer_drop(&a.lookups[i].answer);
    }
    free(a.lookups);
    ares_library_cleanup();
    return !good;
}
