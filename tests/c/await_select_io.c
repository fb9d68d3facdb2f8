/* A select over streams and tasks: any of them wakes it, and what did not win keeps its bytes. */
#include "await.h"
#include "net.h"

struct listen2 {
    rt_frame frame;
    rt_io ios[2];
    rt_task task;
    char buf[2][64];
    int which;
    int64_t r, joined, got[2];
    atomic_int rounds;
};

static void listen_open(struct listen2 *l, rt_runtime rt, int peers[2]) {
    for (int i = 0; i < 2; i++) {
        int ends[2];
        net_unix_pair(ends);
        CHECK_EQ(rt_register_fd(rt, ends[0], RT_READABLE, &l->ios[i]), 0);
        peers[i] = ends[1];
    }
}

static void listen_close(struct listen2 *l, rt_runtime rt, int peers[2]) {
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(rt_close(l->ios[i]), 0);
        close(peers[i]);
    }
    test_runtime_free(rt);
}

static int64_t hear_one(rt_cx *cx, void *state) {
    struct listen2 *l = state;
    RT_BEGIN(&l->frame);
    RT_SELECT2(l->which, l->r, rt_poll_read(cx, l->ios[0], l->buf[0], sizeof l->buf[0]),
               rt_poll_read(cx, l->ios[1], l->buf[1], sizeof l->buf[1]));
    RT_END(l->r);
}

static bool both_ready(void *arg) {
    struct listen2 *l = arg;
    for (int i = 0; i < 2; i++) {
        rt_ready seen;
        CHECK_EQ(rt_try_ready(l->ios[i], RT_READABLE, &seen), 0);
        if (!(seen.bits & RT_READABLE)) return false;
    }
    return true;
}

static void the_loser_keeps_its_bytes(void) {
    rt_runtime rt = test_runtime();
    struct listen2 l = {.which = -1};
    int peers[2];
    listen_open(&l, rt, peers);
    net_put(peers[0], "first", 5);
    net_put(peers[1], "second", 6);
    drive_until(rt, both_ready, &l);
    CHECK_EQ(rt_block_on(rt, hear_one, &l), 5);
    CHECK_EQ(l.which, 0);
    CHECK_EQ(rt_block_on(rt, hear_one, &l), 6); /* the first one is silent now */
    CHECK_EQ(l.which, 1);
    CHECK(memcmp(l.buf[0], "first", 5) == 0);
    CHECK(memcmp(l.buf[1], "second", 6) == 0);
    listen_close(&l, rt, peers);
}

static int64_t hear_both(rt_cx *cx, void *state) {
    struct listen2 *l = state;
    RT_BEGIN(&l->frame);
    for (;;) {
        RT_SELECT2(l->which, l->r, rt_poll_read(cx, l->ios[0], l->buf[0], sizeof l->buf[0]),
                   rt_poll_read(cx, l->ios[1], l->buf[1], sizeof l->buf[1]));
        if (l->r <= 0) RT_RETURN(l->r);
        l->got[l->which] += l->r;
        atomic_fetch_add(&l->rounds, 1);
    }
    RT_END(-1);
}

struct wanted {
    struct listen2 *listen;
    int rounds;
};

static bool heard(void *arg) {
    struct wanted *w = arg;
    return atomic_load(&w->listen->rounds) == w->rounds;
}

/* One byte at a time from either side, in an order that has every succession of the two. */
static void either_stream_wakes_it(void) {
    static const int order[] = {0, 1, 1, 0, 0, 1, 0, 1};
    enum { COUNT = sizeof order / sizeof order[0] };
    rt_runtime rt = test_runtime();
    struct listen2 l = {.which = -1};
    int peers[2];
    rt_task task;
    listen_open(&l, rt, peers);
    CHECK_EQ(rt_spawn(rt, hear_both, &l, NULL, &task), 0);
    for (int i = 0; i < COUNT; i++) {
        struct wanted w = {&l, i + 1};
        net_put(peers[order[i]], "x", 1);
        drive_until(rt, heard, &w);
    }
    CHECK_SYS(shutdown(peers[1], SHUT_WR));
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(l.which, 1);
    CHECK_EQ(l.got[0], COUNT / 2);
    CHECK_EQ(l.got[1], COUNT / 2);
    listen_close(&l, rt, peers);
}

static int64_t hear_or_join(rt_cx *cx, void *state) {
    struct listen2 *l = state;
    RT_BEGIN(&l->frame);
    RT_SELECT3(l->which, l->r, rt_poll_read(cx, l->ios[0], l->buf[0], sizeof l->buf[0]),
               rt_poll_read(cx, l->ios[1], l->buf[1], sizeof l->buf[1]),
               rt_poll_join(cx, l->task, &l->joined));
    RT_END(l->r);
}

static void a_task_ends_the_wait_for_a_stream(void) {
    rt_runtime rt = test_runtime();
    struct listen2 l = {.which = -1};
    probe p = {.result = 17};
    int peers[2];
    rt_task task;
    listen_open(&l, rt, peers);
    l.task = probe_spawn(rt, &p);
    CHECK_EQ(rt_spawn(rt, hear_or_join, &l, NULL, &task), 0);
    drive_until(rt, probe_polled, &p);
    probe_finish(&p, l.task);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(l.which, 2);
    CHECK_EQ(l.joined, 17);
    listen_close(&l, rt, peers);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_loser_keeps_its_bytes);
    CASE(either_stream_wakes_it);
    CASE(a_task_ends_the_wait_for_a_stream);
    return test_end();
}
