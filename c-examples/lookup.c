/* The addresses of names, which are looked up side by side, and printed as the answers come.
 *
 * It shows
 *   - names into addresses, with no worker waiting: slow servers delay only who asked them;
 *   - a deadline for each, though nobody can stop the system's resolver: it is left alone;
 *   - a set, which says which of many tasks has ended.
 *
 * Usage: lookup [--engine auto|epoll|uring] [--workers N] [--port 80] [--timeout 5000] NAME...
 *
 *   --port     the addresses' port.
 *   --timeout  how many milliseconds each answer may take.
 *
 * Try it: build/c-examples/lookup localhost ::1 example.com
 * Each line has a name and one of its addresses, the best ones first. The status is 1 if a name has
 * none, or none could be had; stderr then says why.
 */
#include <stdio.h>

#include <asyncio_await.h>

#include "options.h"

enum { MOST = 16 }; /* addresses of a name */

struct lookups;

struct lookup {
    const struct lookups *all;
    const char *name;
    rt_task task;
    int64_t r; /* how many addresses there are, or an error */
    rt_addr addresses[MOST];

    rt_op op;
    rt_timer timer;
};

struct lookups {
    struct lookup *each;
    size_t count, left;
    uint32_t port, timeout_ms;
    uint64_t at; /* the deadline */
    rt_set set;
    bool failed;

    rt_frame frame;
    int64_t r;
    uint64_t key;
};

/* Two polls in one, and so no coroutine is needed. An operation that is late ends with its task. */
static int64_t look_up(rt_cx *cx, void *state) {
    struct lookup *l = state;
    return rt_poll_deadline(cx, &l->timer, l->all->at,
                            rt_poll_resolve(cx, &l->op, l->name, (uint16_t)l->all->port, 0,
                                            l->addresses, MOST));
}

static void release(void *state) {
    struct lookup *l = state;
    rt_timer_cancel(l->timer);
}

static void print(struct lookups *all, const struct lookup *l) {
    char text[128];
    int64_t r = l->r;
    for (int64_t i = 0; i < l->r && r >= 0; i++) {
        r = rt_addr_text(&l->addresses[i], text, sizeof text);
        if (r >= 0) printf("%s %s\n", l->name, text);
    }
    if (r >= 0) return;
    fprintf(stderr, "lookup: %s: %s\n", l->name, rt_strerror(r));
    all->failed = true;
}

/* A member's key is its place. */
static int64_t start(rt_cx *cx, struct lookups *all) {
    int64_t r = rt_set_new(rt_cx_runtime(cx), &all->set);
    for (size_t i = 0; i < all->count && r == 0; i++) {
        struct lookup *l = &all->each[i];
        l->all = all;
        r = rt_spawn(rt_cx_runtime(cx), look_up, l, release, &l->task);
        if (r == 0) r = rt_set_add(cx, all->set, l->task, i);
    }
    return r;
}

static int64_t look_all_up(rt_cx *cx, void *state) {
    struct lookups *all = state;
    RT_BEGIN(&all->frame);
    if ((all->r = start(cx, all)) < 0) RT_RETURN(all->r);
    for (all->left = all->count; all->left > 0; all->left--) {
        RT_AWAIT(all->r, rt_poll_set(cx, all->set, &all->key));
        if (all->r < 0) RT_RETURN(all->r);
        RT_AWAIT(all->r, rt_poll_join(cx, all->each[all->key].task, &all->each[all->key].r));
        if (all->r < 0) RT_RETURN(all->r);
        print(all, &all->each[all->key]);
    }
    RT_END(0);
}

int main(int argc, char **argv) {
    struct lookups all = {.port = 80, .timeout_ms = 5000};
    char why[256] = "";
    int i = 1;
    rt_runtime rt = 0;
    rt_config config;
    options_init(&config);
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--port") == 0 && parse_number(value, 0, 65535, &all.port)) continue;
        if (strcmp(name, "--timeout") == 0 && parse_number(value, 0, A_DAY, &all.timeout_ms))
            continue;
        if (!parse_common(&config, name, value)) break;
    }
    if (i == argc || strncmp(argv[i], "--", 2) == 0) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--port P] [--timeout MS] NAME...\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    all.count = (size_t)(argc - i);
    all.at = rt_now() + all.timeout_ms * UINT64_C(1000000);
    all.each = calloc(all.count, sizeof *all.each);
    int64_t r = all.each == NULL ? -ENOMEM : rt_new(&config, &rt, why, sizeof why);
    for (size_t k = 0; r == 0 && k < all.count; k++) all.each[k].name = argv[i + (int)k];
    if (r == 0) r = rt_block_on(rt, look_all_up, &all);
    rt_free(rt); /* and with it the tasks that are left, if it ended early */
    rt_set_free(all.set);
    free(all.each);
    if (r == 0 && ferror(stdout)) r = -EIO;
    if (r < 0) fprintf(stderr, "lookup: %s %s\n", rt_strerror(r), why);
    return r < 0 || all.failed;
}
