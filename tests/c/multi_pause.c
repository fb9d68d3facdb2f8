/* A task that does not take its results, or does not give its buffers back: its receiver pauses,
 * and goes on when some came back, from whichever thread. Nothing is lost, and little is held.
 */
#include "multi.h"

enum { HELD = 64, WINDOW = 15, MORE = 200 };

struct pausing {
    struct steps steps;
    struct far_end far_end;
    rt_buf buf, held[HELD];
    size_t offset, written, before;
    int head, tail, quiet;
    gate full;
};

static struct pausing pausing;

static struct pausing *fresh(void) {
    memset(&pausing, 0, sizeof pausing);
    return &pausing;
}

#define NEXT(p)                                                                        \
    do {                                                                               \
        RT_AWAIT((p)->steps.got, rt_poll_recv_next(cx, (p)->steps.op, &(p)->buf));      \
        if ((p)->steps.got <= 0) break;                                                \
        buf_follows(&(p)->buf, (p)->steps.got, (p)->far_end.seed, (p)->offset);         \
        (p)->offset += (p)->buf.len;                                                   \
    } while (0)

/* Writes until nothing more goes, however long the receiver is given. */
#define STUFF(p)                                                                       \
    for ((p)->quiet = 0; (p)->quiet < 20; (p)->quiet++) {                              \
        size_t more = far_stuff((p)->steps.far, (p)->far_end.seed, (p)->written);      \
        (p)->written += more;                                                          \
        if (more > 0) (p)->quiet = 0;                                                  \
        OP_TURNS(&(p)->steps, 10);                                                     \
    }

static size_t room_of_a_pair(void) {
    int ends[2];
    net_unix_pair(ends);
    size_t room = far_stuff(ends[1], 0, 0);
    for (int i = 0; i < 2; i++) close(ends[i]);
    return room;
}

/* ---- a task that does not take ---- */

/* More than 16 results are taken afterwards: a whole pool's worth of them waits in the socket. */
static int64_t take_late(rt_cx *cx, void *state) {
    struct pausing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    STUFF(p);
    CHECK(p->written <= room_of_a_pair() + HELD * 4096);
    CHECK_EQ(leases_out(rt_cx_runtime(cx)), 0);
    for (s->n = 0; s->n < MORE || p->offset < p->written; s->n++) {
        NEXT(p);
        CHECK(s->got > 0);
        CHECK_EQ(rt_buf_release(p->buf.lease), 0);
        if (s->n < MORE) p->written += far_stuff(s->far, p->far_end.seed, p->written);
    }
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    NEXT(p);
    CHECK_EQ(s->got, 0);
    CHECK_EQ(p->offset, p->written);
    steps_close(s);
    RT_END(0);
}
static void what_is_not_taken_is_bounded(void) { play_alone(take_late, fresh()); }

/* The end comes while it pauses: last, all the same. */
static int64_t end_early(rt_cx *cx, void *state) {
    struct pausing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    STUFF(p);
    close(s->far);
    s->far = -1;
    OP_TURNS(s, 50);
    for (;;) {
        NEXT(p);
        if (s->got <= 0) break;
        CHECK_EQ(rt_buf_release(p->buf.lease), 0);
    }
    CHECK_EQ(s->got, 0);
    CHECK_EQ(p->offset, p->written);
    steps_close(s);
    RT_END(0);
}
static void an_end_waits_for_its_turn(void) { play_alone(end_early, fresh()); }

/* A cancel while it pauses: what it received, then the cancel; the next receiver gets the rest. */
static int64_t cancel_paused(rt_cx *cx, void *state) {
    struct pausing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (s->n = 0; s->n < 10; s->n++) {
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        STUFF(p);
        CHECK_EQ(rt_cancel(s->op), 0);
        for (;;) {
            NEXT(p);
            if (s->got <= 0) break;
            CHECK_EQ(rt_buf_release(p->buf.lease), 0);
        }
        CHECK_EQ(s->got, -ECANCELED);
    }
    p->offset += net_drain(s->near);
    CHECK_EQ(p->offset, p->written);
    steps_close(s);
    RT_END(0);
}
static void a_cancel_while_it_pauses(void) { play_alone(cancel_paused, fresh()); }

/* ---- a task that does not give back ---- */

static void *release_all(void *arg) {
    struct pausing *p = arg;
    gate_wait(&p->full);
    for (int i = 0; i < p->tail; i++) CHECK_EQ(rt_buf_release(p->held[i].lease), 0);
    return NULL;
}

/* The task sleeps when another thread gives the buffers back, one after the other. */
static int64_t hold_until_another_releases(rt_cx *cx, void *state) {
    struct pausing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    p->written = far_stuff(s->far, 0, 0);
    for (p->tail = 0, p->quiet = 0; p->quiet < 100; p->quiet++) {
        while ((s->got = rt_poll_recv_next(cx, s->op, &p->held[p->tail])) != RT_PENDING) {
            buf_follows(&p->held[p->tail], s->got, 0, p->offset);
            p->offset += p->held[p->tail++].len;
            CHECK(p->tail < HELD);
            p->quiet = 0;
        }
        RT_YIELD(cx);
    }
    CHECK(p->tail >= 8);
    CHECK(p->offset < p->written);
    gate_open(&p->full);
    while (p->offset < p->written) {
        NEXT(p);
        CHECK(s->got > 0);
        CHECK_EQ(rt_buf_release(p->buf.lease), 0);
    }
    steps_close(s);
    RT_END(0);
}

static void it_goes_on_when_another_thread_releases(void) {
    for (int round = 0; round < scaled(100); round++) {
        struct pausing *p = fresh();
        gate_init(&p->full);
        rt_config config = test_config();
        config.buffer_size = 1024; /* the socket has room for many more than it may hold */
        pthread_t releaser = thread_start(release_all, p);
        play_with(&config, hold_until_another_releases, p);
        thread_join(releaser);
        gate_destroy(&p->full);
    }
}

/* As many as it may have, always: the oldest goes when the next one comes. */
static int64_t hold_a_window(rt_cx *cx, void *state) {
    struct pausing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (;;) {
        NEXT(p);
        if (s->got <= 0) break;
        p->held[p->tail++ % HELD] = p->buf;
        if (p->tail - p->head == WINDOW) {
            int oldest = p->head++ % HELD;
            CHECK_EQ(rt_buf_release(p->held[oldest].lease), 0);
        }
    }
    CHECK_EQ(s->got, 0);
    while (p->head < p->tail) {
        int oldest = p->head++ % HELD;
        CHECK_EQ(rt_buf_release(p->held[oldest].lease), 0);
    }
    CHECK_EQ(p->offset, p->far_end.bytes);
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void a_window_of_buffers(void) {
    for (uint32_t buffers = 0; buffers <= WINDOW; buffers += WINDOW) {
        struct pausing *p = fresh();
        int ends[2];
        net_unix_pair(ends);
        p->steps.near = ends[0];
        p->far_end.fd = ends[1];
        p->far_end.bytes = (size_t)scaled(4 << 20);
        p->far_end.shuts = true;
        rt_config config = test_config();
        config.buffer_count = buffers;
        far_writes(&p->far_end);
        play_with(&config, hold_a_window, p);
        thread_join(p->far_end.thread);
        close(ends[1]);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_is_not_taken_is_bounded);
    CASE(an_end_waits_for_its_turn);
    CASE(a_cancel_while_it_pauses);
    CASE(it_goes_on_when_another_thread_releases);
    CASE(a_window_of_buffers);
    return test_end();
}
