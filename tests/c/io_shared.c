/* Several tasks read from one descriptor, and several write to one: each message goes to exactly
 * one of them, none is lost, and nobody who waits is forgotten.
 */
#include "ready.h"

enum { TASKS = 5 };

static void packet_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

struct shared {
    rt_io io;
    uint32_t messages;
    atomic_uint next;
    atomic_uchar *seen;
};

/* ---- reading ---- */

static int64_t read_numbers(rt_cx *cx, void *state) {
    struct shared *s = state;
    for (;;) {
        uint32_t number;
        int64_t r = rt_poll_read(cx, s->io, &number, sizeof number);
        if (r <= 0) return r;
        CHECK_EQ(r, sizeof number);
        CHECK(number < s->messages);
        CHECK_EQ(atomic_fetch_add(&s->seen[number], 1), 0);
    }
}

static void *write_numbers(void *arg) {
    struct shared *s = arg;
    for (uint32_t i = 0; i < s->messages; i++) net_put((int)s->io, &i, sizeof i);
    CHECK_SYS(shutdown((int)s->io, SHUT_WR)); /* all of the readers hear of the end */
    return NULL;
}

static void all_seen_once(struct shared *s) {
    for (uint32_t i = 0; i < s->messages; i++) CHECK_EQ(atomic_load(&s->seen[i]), 1);
    free(s->seen);
}

static void readers_share_what_comes(void) {
    struct scene s;
    scene_open(&s, packet_pair, RW);
    uint32_t messages = (uint32_t)scaled(20000);
    struct shared shared = {s.io, messages, 0, calloc(messages, 1)};
    struct shared source = {(rt_io)s.far, messages, 0, NULL}; /* a plain writer: the fd itself */
    rt_task tasks[TASKS];
    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(rt_spawn(s.rt, read_numbers, &shared, NULL, &tasks[i]), 0);
    pthread_t thread = thread_start(write_numbers, &source);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    thread_join(thread);
    all_seen_once(&shared);
    scene_close(&s);
}

/* ---- writing ---- */

struct writer {
    struct shared *shared;
    uint32_t number;
    bool taken;
};

static int64_t write_the_next(rt_cx *cx, void *state) {
    struct writer *w = state;
    for (;;) {
        if (!w->taken) w->number = atomic_fetch_add(&w->shared->next, 1);
        if (w->number >= w->shared->messages) return 0;
        w->taken = true;
        int64_t r = rt_poll_write(cx, w->shared->io, &w->number, sizeof w->number);
        if (r < 0) return r;
        CHECK_EQ(r, sizeof w->number);
        w->taken = false;
    }
}

static void *read_all_numbers(void *arg) {
    struct shared *s = arg;
    for (uint32_t i = 0; i < s->messages; i++) {
        uint32_t number = UINT32_MAX;
        CHECK_EQ(net_get((int)s->io, &number, sizeof number), sizeof number);
        CHECK(number < s->messages);
        CHECK_EQ(atomic_fetch_add(&s->seen[number], 1), 0);
    }
    return NULL;
}

static void writers_share_the_room(void) {
    struct scene s;
    scene_open(&s, packet_pair, RW);
    net_small_buffer(s.near);
    uint32_t messages = (uint32_t)scaled(20000);
    struct shared shared = {s.io, messages, 0, NULL};
    struct shared sink = {(rt_io)s.far, messages, 0, calloc(messages, 1)};
    struct writer writers[TASKS] = {{0}};
    rt_task tasks[TASKS];
    for (int i = 0; i < TASKS; i++) {
        writers[i].shared = &shared;
        CHECK_EQ(rt_spawn(s.rt, write_the_next, &writers[i], NULL, &tasks[i]), 0);
    }
    pthread_t thread = thread_start(read_all_numbers, &sink);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    thread_join(thread);
    all_seen_once(&sink);
    scene_close(&s);
}

/* ---- both directions of one descriptor in two tasks, to and fro ---- */

struct pump {
    rt_io io;
    size_t total, at, off;
    unsigned char data[8192];
};

static int64_t pump_out(rt_cx *cx, void *state) {
    struct pump *p = state;
    while (p->at < p->total) {
        if (p->off == 0) net_pattern(p->data, sizeof p->data, 4, p->at);
        int64_t r = rt_poll_write_all(cx, p->io, p->data, sizeof p->data, &p->off);
        if (r < 0) return r;
        p->at += (size_t)r;
    }
    return 0;
}

static int64_t pump_in(rt_cx *cx, void *state) {
    struct pump *p = state;
    while (p->at < p->total) {
        int64_t r = rt_poll_read(cx, p->io, p->data, sizeof p->data);
        if (r < 0) return r;
        CHECK(r > 0);
        CHECK(net_pattern_holds(p->data, (size_t)r, 4, p->at));
        p->at += (size_t)r;
    }
    return 0;
}

static void both_directions_at_once(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_io far = io_of(s.rt, s.far, RW);
    size_t total = (size_t)scaled(1024) * 8192;
    static struct pump pumps[4];
    rt_task tasks[4];
    for (int i = 0; i < 4; i++) {
        pumps[i] = (struct pump){.io = i < 2 ? s.io : far, .total = total};
        rt_poll_fn poll = i % 2 == 0 ? pump_out : pump_in;
        CHECK_EQ(rt_spawn(s.rt, poll, &pumps[i], NULL, &tasks[i]), 0);
    }
    for (int i = 0; i < 4; i++) CHECK_EQ(join_task(tasks[i]), 0);
    CHECK_EQ(rt_close(far), 0);
    s.far = -1;
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(readers_share_what_comes);
    CASE(writers_share_the_room);
    CASE(both_directions_at_once);
    return test_end();
}
