/* Fetches all that is asked for at once, by libcurl, and says what became of each.
 *
 * It shows a library with callbacks for sockets and one for time (curl.c), and coroutines over it:
 * a task for each URL.
 *
 * Usage: curl_get [--engine auto|epoll|uring] [--workers N] [--timeout 10000] URL..
 *
 *   --timeout  how many milliseconds a transfer may take.
 *
 * A line for each, in their order: the status, how many bytes came, and what libcurl says of it.
 * The program's own status is 0 if libcurl was content with all.
 */
#include <stdio.h>

#include <asyncio_await.h>

#include "../options.h"
#include "curl.h"

enum { AT_ONCE = 8 }; /* connections to one host; the other transfers wait for one of them */

struct get {
    const char *url;
    CURL *easy;
    struct transfer transfer;
    rt_frame frame;
    int64_t code;
    long status;
    size_t bytes;
    rt_task task;
};

struct all {
    rt_runtime rt;
    struct curl_loop loop;
    struct get *gets;
    int count, i;
    uint32_t timeout_ms;
    rt_frame frame;
    int64_t r;
};

static size_t count_bytes(char *bytes, size_t size, size_t n, void *arg) {
    (void)bytes;
    ((struct get *)arg)->bytes += size * n;
    return size * n;
}

static int64_t get(rt_cx *cx, void *state) {
    struct get *g = state;
    RT_BEGIN(&g->frame);
    RT_AWAIT(g->code, curl_poll(cx, &g->transfer));
    curl_easy_getinfo(g->easy, CURLINFO_RESPONSE_CODE, &g->status);
    RT_END(g->code);
}

static int64_t begin(rt_cx *cx, struct all *a, struct get *g) {
    const rt_spawn_opts opts = {.size = sizeof opts,
                                .flags = RT_SPAWN_PINNED,
                                .near = rt_task_self(cx),
                                .poll = get,
                                .state = g};
    if ((g->easy = curl_easy_init()) == NULL) return -ENOMEM;
    curl_easy_setopt(g->easy, CURLOPT_URL, g->url);
    curl_easy_setopt(g->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(g->easy, CURLOPT_TIMEOUT_MS, (long)a->timeout_ms);
    curl_easy_setopt(g->easy, CURLOPT_WRITEFUNCTION, count_bytes);
    curl_easy_setopt(g->easy, CURLOPT_WRITEDATA, g);
    int64_t r = curl_begin(&a->loop, g->easy, &g->transfer);
    return r < 0 ? r : rt_spawn_with(a->rt, &opts, &g->task);
}

static int64_t get_all(rt_cx *cx, void *state) {
    struct all *a = state;
    RT_BEGIN(&a->frame);
    if ((a->r = curl_loop_open(a->rt, rt_task_self(cx), &a->loop)) < 0) RT_RETURN(a->r);
    curl_multi_setopt(a->loop.multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)AT_ONCE);
    for (int i = 0; i < a->count; i++)
        if ((a->r = begin(cx, a, &a->gets[i])) < 0) RT_RETURN(a->r);
    for (a->i = 0; a->i < a->count; a->i++) {
        RT_AWAIT(a->r, rt_poll_join(cx, a->gets[a->i].task, NULL));
        if (a->r < 0) RT_RETURN(a->r);
    }
    RT_END(0);
}

/* After the runtime, whose tasks use all of it. */
static void release(struct all *a) {
    for (int i = 0; i < a->count; i++) {
        curl_cancel(&a->loop, &a->gets[i].transfer);
        curl_easy_cleanup(a->gets[i].easy);
    }
    curl_loop_close(&a->loop);
    free(a->gets);
}

int main(int argc, char **argv) {
    struct all a = {.timeout_ms = 10000};
    char why[256] = "";
    rt_config config;
    options_init(&config);
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2)
        if (!parse_common(&config, argv[at], argv[at + 1]) &&
            (strcmp(argv[at], "--timeout") != 0 ||
             !parse_number(argv[at + 1], 1, A_DAY, &a.timeout_ms)))
            break;
    if (at >= argc || strncmp(argv[at], "--", 2) == 0) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--timeout MS] URL..\n", argv[0]);
        return 2;
    }
    a.gets = calloc((size_t)(argc - at), sizeof *a.gets);
    if (a.gets == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) return 1;
    for (; at < argc; at++) a.gets[a.count++].url = argv[at];

    int64_t r = rt_new(&config, &a.rt, why, sizeof why);
    if (r >= 0) r = rt_block_on(a.rt, get_all, &a);
    rt_free(a.rt);
    if (r < 0) fprintf(stderr, "curl_get: %s %s\n", rt_strerror(r), why);
    bool good = r >= 0;
    for (int i = 0; r >= 0 && i < a.count; i++) {
        struct get *g = &a.gets[i];
        printf("%ld %zu %s\n", g->status, g->bytes, curl_easy_strerror((CURLcode)g->code));
        good = good && g->code == CURLE_OK;
    }
    release(&a);
    curl_global_cleanup();
    return !good;
}
