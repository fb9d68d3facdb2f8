/* The pool of receive buffers is small, and everybody gets their turn: one buffer serves a hundred
 * peers, and whoever holds many does not starve the others. Afterwards all buffers are there.
 */
#include "multi.h"

enum { PEERS = 100, MESSAGES = 20, LONGEST = 9000, BUFFERS = 40, HELD = 64 };

struct peer {
    rt_frame frame;
    int near, far, message;
    rt_io io;
    rt_op op;
    rt_buf buf;
    int64_t got;
    size_t offset, until;
    rt_task task;
};

static struct peer peers[PEERS];

static void peers_open(rt_runtime rt) {
    memset(peers, 0, sizeof peers);
    for (int i = 0; i < PEERS; i++) {
        int ends[2];
        net_unix_pair(ends);
        peers[i].near = ends[0];
        peers[i].far = ends[1];
        peers[i].io = io_of(rt, ends[0], 0);
    }
}

static void peers_close(void) {
    for (int i = 0; i < PEERS; i++) {
        CHECK_EQ(rt_close(peers[i].io), 0);
        close(peers[i].far);
    }
}

static size_t message_bytes(int peer, int message) {
    return 1 + (size_t)(peer * 731 + message * 1543) % LONGEST;
}

/* ---- one buffer for a hundred ---- */

static int64_t receive_all(rt_cx *cx, void *state) {
    struct peer *p = state;
    RT_BEGIN(&p->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, p->io, &p->op), 0);
    for (;;) {
        RT_AWAIT(p->got, rt_poll_recv_next(cx, p->op, &p->buf));
        if (p->got <= 0) break;
        buf_follows(&p->buf, p->got, (uint64_t)(p - peers), p->offset);
        p->offset += p->buf.len;
        if (p->offset % 3 == 0) RT_YIELD(cx); /* the others want it, too */
        CHECK_EQ(rt_buf_release(p->buf.lease), 0);
    }
    CHECK_EQ(p->offset, p->until);
    RT_END(p->got);
}

/* What a socket does not take at once waits for the other peers' turn. */
static void *write_to_all(void *arg) {
    static char data[LONGEST];
    size_t sent[PEERS] = {0};
    int messages = *(int *)arg;
    for (int message = 0; message < messages; message++) {
        for (int i = 0; i < PEERS; i++) {
            size_t n = message_bytes(i, message);
            net_pattern(data, n, (uint64_t)i, sent[i]);
            net_put(peers[i].far, data, n);
            sent[i] += n;
        }
    }
    for (int i = 0; i < PEERS; i++) CHECK_SYS(shutdown(peers[i].far, SHUT_WR));
    return NULL;
}

static void serve_from(uint32_t buffers) {
    rt_config config = test_config();
    config.buffer_count = buffers;
    rt_runtime rt = test_runtime_with(&config);
    int messages = scaled(MESSAGES);
    peers_open(rt);
    for (int i = 0; i < PEERS; i++) {
        for (int m = 0; m < messages; m++) peers[i].until += message_bytes(i, m);
        CHECK_EQ(rt_spawn(rt, receive_all, &peers[i], NULL, &peers[i].task), 0);
    }
    pthread_t writer = thread_start(write_to_all, &messages);
    for (int i = 0; i < PEERS; i++) CHECK_EQ(join_task(peers[i].task), 0);
    thread_join(writer);
    peers_close();
    multi_runtime_free(rt);
}

static void one_buffer_serves_a_hundred(void) { serve_from(1); }
static void five_buffers_serve_a_hundred(void) { serve_from(5); }
static void many_buffers_serve_a_hundred(void) { serve_from(0); }

/* ---- a flooding peer, and a slow task ---- */

struct slow {
    struct steps steps;
    rt_buf held[HELD];
    size_t offset;
    int count;
    atomic_bool full, may_end;
    uint64_t written;
};

static struct slow slow;

static int64_t hold_all(rt_cx *cx, void *state) {
    struct slow *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    while (!atomic_load(&w->may_end)) {
        w->written += far_stuff(s->far, 7, w->written);
        s->got = rt_poll_recv_next(cx, s->op, &w->held[w->count]);
        if (s->got != RT_PENDING) {
            buf_follows(&w->held[w->count], s->got, 7, w->offset);
            w->offset += w->held[w->count++].len;
            CHECK(w->count < BUFFERS - 4); /* some are left to the others */
        }
        if (w->count >= 8) atomic_store(&w->full, true);
        RT_YIELD(cx);
    }
    for (int i = 0; i < w->count; i++) CHECK_EQ(rt_buf_release(w->held[i].lease), 0);
    while (w->offset < w->written) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->held[0]));
        buf_follows(&w->held[0], s->got, 7, w->offset);
        w->offset += w->held[0].len;
        CHECK_EQ(rt_buf_release(w->held[0].lease), 0);
    }
    CHECK_EQ(rt_close(s->io), 0);
    close(s->far);
    RT_END(0);
}

static int64_t echo_some(rt_cx *cx, void *state) {
    struct peer *p = state;
    char data[100];
    RT_BEGIN(&p->frame);
    while (!atomic_load(&slow.full)) RT_YIELD(cx);
    CHECK_EQ(rt_submit_recv_multi(cx, p->io, &p->op), 0);
    for (p->message = 0; p->message < MESSAGES; p->message++) {
        net_pattern(data, sizeof data, 1, p->until);
        net_put(p->far, data, sizeof data);
        for (p->until += sizeof data; p->offset < p->until; p->offset += p->buf.len) {
            RT_AWAIT(p->got, rt_poll_recv_next(cx, p->op, &p->buf));
            buf_follows(&p->buf, p->got, 1, p->offset);
            CHECK_EQ(rt_send_buf(p->io, &p->buf), p->got);
        }
        CHECK_EQ(net_get(p->far, data, sizeof data), sizeof data);
        CHECK(net_pattern_holds(data, sizeof data, 1, p->until - sizeof data));
    }
    RT_END(0);
}

/* All are on one worker, whose pool it is. */
static void a_slow_task_starves_nobody(void) {
    rt_config config = test_config();
    config.buffer_count = BUFFERS;
    config.buffer_size = 512;
    rt_runtime rt = test_runtime_with(&config);
    int ends[2];
    memset(&slow, 0, sizeof slow);
    net_unix_pair(ends);
    slow.steps.io = io_of(rt, ends[0], 0);
    slow.steps.far = ends[1];
    peers_open(rt);
    rt_task task = spawn_near(rt, hold_all, &slow, 0);
    for (int i = 0; i < PEERS; i++) peers[i].task = spawn_near(rt, echo_some, &peers[i], task);
    for (int i = 0; i < PEERS; i++) CHECK_EQ(join_task(peers[i].task), 0);
    atomic_store(&slow.may_end, true);
    CHECK_EQ(join_task(task), 0);
    peers_close();
    multi_runtime_free(rt);
}

/* ---- the census ---- */

enum { FEW = 8 };

struct census {
    struct steps steps;
    rt_buf held[FEW + 2];
    size_t offset, written;
    int round;
};

/* One receiver gets every buffer of a pool that is smaller than its share, whatever went before, and one from outside. */
static int64_t count_buffers(rt_cx *cx, void *state) {
    struct census *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    for (c->round = 0; c->round < 20; c->round++) {
        c->offset = 0;
        steps_pair(cx, s, net_unix_pair);
        c->written = far_stuff(s->far, 3, 0);
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        for (s->n = 0; s->n <= FEW; s->n++) {
            RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &c->held[s->n]));
            buf_follows(&c->held[s->n], s->got, 3, c->offset);
            c->offset += c->held[s->n].len;
        }
        OP_TURNS(s, 20);
        CHECK_EQ(rt_poll_recv_next(cx, s->op, &c->held[FEW + 1]), RT_PENDING);
        if (c->round % 4 == 1) rt_cancel(s->op);
        for (int i = 0; i <= FEW; i++) CHECK_EQ(rt_buf_release(c->held[i].lease), 0);
        while (c->round % 4 == 2 && c->offset < c->written) {
            RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &c->held[0]));
            buf_follows(&c->held[0], s->got, 3, c->offset);
            c->offset += c->held[0].len;
            CHECK_EQ(rt_buf_release(c->held[0].lease), 0);
        }
        if (c->round % 4 == 3) OP_TURNS(s, 20);
        CHECK_EQ(rt_close(s->io), 0);
        for (;;) { /* what is delivered beside the close is given back, too */
            RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &c->held[0]));
            if (s->got <= 0) break;
            CHECK_EQ(rt_buf_release(c->held[0].lease), 0);
        }
        CHECK_EQ(s->got, -ECANCELED);
        close(s->far);
    }
    RT_END(0);
}

static void no_buffer_is_missing(void) {
    static struct census census;
    memset(&census, 0, sizeof census);
    rt_config config = test_config();
    config.buffer_count = FEW;
    play_with(&config, count_buffers, &census);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(2 * PEERS + 100);
    CASE(one_buffer_serves_a_hundred);
    CASE(five_buffers_serve_a_hundred);
    CASE(many_buffers_serve_a_hundred);
    CASE(a_slow_task_starves_nobody);
    CASE(no_buffer_is_missing);
    return test_end();
}
