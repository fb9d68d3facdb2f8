/* Random 4 KiB reads of a cached file with the library: one task with 64 operations in flight.
 *
 * Usage: rt_read FILE READS [--engine auto|epoll|uring] [--workers N] [--wait order|set]
 *
 *   --workers  threads; 0, the default, runs everything on the main one.
 *   --wait     order, the default, takes the outcomes in the order of the submissions: for what
 *              takes about equally long, nothing is cheaper. set takes first what is done first.
 */
#include <asyncio.h>

#include "common.h"

struct slot {
    rt_op op;
    uint64_t offset;
    char buf[BLOCK];
};

struct reader {
    struct reads reads;
    rt_runtime rt;
    rt_io io;
    rt_set set;
    unsigned oldest; /* of the slots that are in flight, for the wait in order */
    bool began;
    struct slot slots[DEPTH];
};

struct options {
    const char *path;
    uint64_t reads;
    uint32_t engine, flavour, workers;
    rt_poll_fn poll;
};

static int64_t start_read(rt_cx *cx, struct reader *r, struct slot *slot) {
    slot->op = 0;
    if (!next_read(&r->reads, &slot->offset)) return 0;
    return rt_submit_read(cx, r->io, slot->buf, BLOCK, slot->offset, &slot->op);
}

/* ---- in order ---- */

static int64_t read_in_order(rt_cx *cx, void *state) {
    struct reader *r = state;
    int64_t result;
    for (unsigned i = 0; i < DEPTH && !r->began; i++)
        if ((result = start_read(cx, r, &r->slots[i])) < 0) return result;
    r->began = true;
    while (r->reads.done < r->reads.wanted) {
        struct slot *slot = &r->slots[r->oldest];
        if ((result = rt_poll_op(cx, slot->op)) == RT_PENDING) return RT_PENDING;
        end_read(&r->reads, slot->buf, slot->offset, result);
        if ((result = start_read(cx, r, slot)) < 0) return result;
        r->oldest = (r->oldest + 1) % DEPTH;
    }
    return 0;
}

/* ---- as they are done ---- */

static int64_t start_in_set(rt_cx *cx, struct reader *r, unsigned i) {
    struct slot *slot = &r->slots[i];
    int64_t result = start_read(cx, r, slot);
    return result < 0 || slot->op == 0 ? result : rt_set_add(cx, r->set, slot->op, i);
}

static int64_t read_as_done(rt_cx *cx, void *state) {
    struct reader *r = state;
    int64_t result;
    for (unsigned i = 0; i < DEPTH && !r->began; i++)
        if ((result = start_in_set(cx, r, i)) < 0) return result;
    r->began = true;
    while (r->reads.done < r->reads.wanted) {
        uint64_t i;
        if ((result = rt_poll_set(cx, r->set, &i)) < 0) return result; /* RT_PENDING, too */
        struct slot *slot = &r->slots[i];
        end_read(&r->reads, slot->buf, slot->offset, rt_poll_op(cx, slot->op));
        if ((result = start_in_set(cx, r, (unsigned)i)) < 0) return result;
    }
    return 0;
}

/* ---- the program ---- */

static bool parse_option(struct options *o, const char *name, const char *value) {
    static const char *const engines[] = {[RT_ENGINE_AUTO] = "auto",
                                          [RT_ENGINE_EPOLL] = "epoll",
                                          [RT_ENGINE_URING] = "uring"};
    uint64_t n;
    if (strcmp(name, "--workers") == 0) {
        if (!parse_count(value, &n) || n > 1024) return false;
        o->flavour = n == 0 ? RT_CURRENT_THREAD : RT_MULTI_THREAD;
        o->workers = (uint32_t)n;
        return true;
    }
    if (strcmp(name, "--wait") == 0) {
        o->poll = strcmp(value, "set") == 0 ? read_as_done : read_in_order;
        return o->poll == read_as_done || strcmp(value, "order") == 0;
    }
    if (strcmp(name, "--engine") != 0) return false;
    for (uint32_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        if (strcmp(value, engines[i]) != 0) continue;
        o->engine = i;
        return true;
    }
    return false;
}

static bool parse(struct options *o, int argc, char **argv) {
    if (argc < 3 || argc % 2 == 0 || !parse_count(argv[2], &o->reads)) return false;
    o->path = argv[1];
    for (int i = 3; i < argc; i += 2)
        if (!parse_option(o, argv[i], argv[i + 1])) return false;
    return true;
}

static void check(const char *what, int64_t result) {
    if (result >= 0) return;
    fprintf(stderr, "rt_read: %s: %s\n", what, rt_strerror(result));
    exit(1);
}

static void open_runtime(struct reader *r, const struct options *o) {
    char why[256] = "";
    rt_config config;
    rt_config_init(&config, sizeof config);
    config.engine = o->engine;
    config.flavour = o->flavour;
    config.workers = o->workers;
    check(why, rt_new(&config, &r->rt, why, sizeof why));
}

int main(int argc, char **argv) {
    static struct reader r;
    struct options o = {.flavour = RT_CURRENT_THREAD, .poll = read_in_order};
    if (!parse(&o, argc, argv)) {
        fprintf(stderr, "usage: %s FILE READS [--engine auto|epoll|uring] [--workers N]"
                        " [--wait order|set]\n", argv[0]);
        return 2;
    }
    open_runtime(&r, &o);
    begin_reads(&r.reads, o.path, o.reads);
    check("register", rt_register_fd(r.rt, r.reads.fd, 0, &r.io));
    if (o.poll == read_as_done) check("set", rt_set_new(r.rt, &r.set));
    check("read", rt_block_on(r.rt, o.poll, &r));
    report_reads(&r.reads);
    check("set", rt_set_free(r.set));
    rt_free(r.rt);
    return 0;
}
