/* The peer goes while much is queued: every send ends in an error, flushes tell it, what was queued
 * comes back to where it is from, and no SIGPIPE is raised, though it would end the program.
 */
#include "multi.h"

enum { OPS = 20, LEASES = 6, WAITERS = 3, BYTES = 3000 };

enum peer { RESETS, CLOSES, PEERS };

struct broken {
    struct steps steps;
    enum peer peer;
    rt_op ops[OPS];
    rt_buf bufs[LEASES];
    rt_io source; /* of the leases */
    int source_far, at;

    char data[BYTES];
};

struct waiter_of {
    rt_io io;
    atomic_bool pending;
    rt_task task;
};

static struct broken broken;
static struct waiter_of waiters[WAITERS];

static bool is_broken(int64_t r) { return r == -EPIPE || r == -ECONNRESET; }

static int64_t flush(rt_cx *cx, void *state) {
    struct waiter_of *w = state;
    int64_t r = rt_poll_flush(cx, w->io, 0);
    atomic_store(&w->pending, r == RT_PENDING);
    return r;
}

static bool all_wait(void) {
    for (int i = 0; i < WAITERS; i++)
        if (!atomic_load(&waiters[i].pending)) return false;
    return true;
}

/* One after the other, by every call. */
static void queue_much(rt_cx *cx, struct broken *b) {
    rt_blob blob;
    CHECK_EQ(rt_blob_new(b->data, BYTES, &blob), 0);
    for (int i = 0; i < OPS; i++) {
        CHECK_EQ(rt_send(b->steps.io, b->data, BYTES), BYTES);
        CHECK_EQ(rt_submit_send(cx, b->steps.io, b->data, BYTES, 0, &b->ops[i]), 0);
        CHECK_EQ(rt_send_blob(b->steps.io, blob), BYTES);
        if (i < LEASES) CHECK_EQ(rt_send_buf(b->steps.io, &b->bufs[i]), b->bufs[i].len);
    }
    CHECK_EQ(rt_blob_free(blob), 0);
}

static void go_away(struct broken *b) {
    if (b->peer == RESETS) net_reset(b->steps.far);
    else close(b->steps.far);
    b->steps.far = -1;
}

static void pairs(rt_cx *cx, struct broken *b, void (*connect_ends)(int[2])) {
    int ends[2];
    net_unix_pair(ends);
    b->source = io_of(rt_cx_runtime(cx), ends[0], 0);
    b->source_far = ends[1];
    steps_pair(cx, &b->steps, connect_ends);
    net_stuff(b->steps.near);
}

static void (*ends_of_case)(int[2]);

static int64_t break_it(rt_cx *cx, void *state) {
    struct broken *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    pairs(cx, b, ends_of_case);
    CHECK_EQ(rt_submit_recv_multi(cx, b->source, &s->other), 0);
    for (b->at = 0; b->at < LEASES; b->at++) {
        net_put(b->source_far, b->data, 100);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->other, &b->bufs[b->at]));
        CHECK(s->got > 0);
    }
    queue_much(cx, b);
    for (int i = 0; i < WAITERS; i++) {
        waiters[i].io = s->io;
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), flush, &waiters[i], NULL, &waiters[i].task), 0);
    }
    while (!all_wait()) RT_YIELD(cx);
    go_away(b);
    for (b->at = OPS - 1; b->at >= 0; b->at--) {
        RT_AWAIT(s->got, rt_poll_op(cx, b->ops[b->at]));
        CHECK(is_broken(s->got));
        CHECK_EQ(rt_cancel(b->ops[b->at]), -EBADF);
    }
    for (b->at = 0; b->at < WAITERS; b->at++) {
        int64_t result = 0;
        RT_AWAIT(s->got, rt_poll_join(cx, waiters[b->at].task, &result));
        CHECK(is_broken(result));
    }
    /* From now on it is told at once. */
    rt_blob blob;
    CHECK_EQ(rt_blob_new("blob", 4, &blob), 0);
    for (int i = 0; i < 20; i++) {
        CHECK(is_broken(rt_poll_flush(cx, s->io, 0)));
        CHECK_EQ(rt_send(s->io, "more", 4), -EPIPE);
        CHECK_EQ(rt_send_blob(s->io, blob), -EPIPE);
    }
    CHECK_EQ(rt_blob_free(blob), 0);
    net_put(b->source_far, b->data, 100);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->other, &b->bufs[0]));
    CHECK(s->got > 0);
    CHECK_EQ(rt_send_buf(s->io, &b->bufs[0]), -EPIPE);
    CHECK_EQ(rt_buf_release(b->bufs[0].lease), 0);
    OP_FAILS(s, -EPIPE, rt_submit_send(cx, s->io, "more", 4, 0, &s->op));

    /* The buffers are all there: as many as the pool has. */
    CHECK_EQ(leases_out(rt_cx_runtime(cx)), 0);
    far_stuff(b->source_far, 0, 0);
    for (b->at = 0; b->at < LEASES; b->at++) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->other, &b->bufs[b->at]));
        CHECK(s->got > 0);
    }
    for (int i = 0; i < LEASES; i++) CHECK_EQ(rt_buf_release(b->bufs[i].lease), 0);
    CHECK_EQ(rt_close(b->source), 0);
    close(b->source_far);
    steps_close(s);
    RT_END(0);
}

static void break_streams(void (*connect_ends)(int[2])) {
    for (int peer = 0; peer < PEERS; peer++) {
        for (int round = 0; round < scaled(20); round++) {
            memset(&broken, 0, sizeof broken);
            memset(waiters, 0, sizeof waiters);
            broken.peer = (enum peer)peer;
            ends_of_case = connect_ends;
            rt_config config = test_config();
            config.buffer_count = LEASES;
            play_with(&config, break_it, &broken);
        }
    }
}

static void over_tcp(void) { break_streams(net_pair); }
static void over_unix(void) { break_streams(net_unix_pair); }

/* ---- nothing was queued ---- */

static int64_t find_out(rt_cx *cx, void *state) {
    struct broken *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_case);
    close(s->far);
    s->far = -1;
    while ((s->got = rt_send(s->io, "x", 1)) == 1) RT_YIELD(cx); /* TCP learns of it by an answer */
    CHECK(is_broken(s->got));
    for (int i = 0; i < 20; i++) CHECK_EQ(rt_send(s->io, "x", 1), -EPIPE);
    OP_FAILS(s, -EPIPE, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    CHECK(is_broken(rt_poll_flush(cx, s->io, 0)));
    steps_close(s);
    RT_END(0);
}

static void sends_to_nobody(void) {
    static void (*const kinds[])(int[2]) = {net_pair, net_unix_pair};
    for (int kind = 0; kind < 2; kind++) {
        memset(&broken, 0, sizeof broken);
        ends_of_case = kinds[kind];
        play_alone(find_out, &broken);
    }
}

/* Reading is another matter: what the peer sent before is still there. */
static int64_t still_read(rt_cx *cx, void *state) {
    struct broken *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    net_put(s->far, "last words", 10);
    CHECK_SYS(shutdown(s->far, SHUT_RD));
    while ((s->got = rt_send(s->io, "x", 1)) == 1) RT_YIELD(cx);
    CHECK_EQ(s->got, -EPIPE);
    OP_EQ(s, 10, rt_submit_recv(cx, s->io, s->buf, 100, 0, &s->op));
    CHECK(memcmp(s->buf, "last words", 10) == 0);
    steps_close(s);
    RT_END(0);
}

static void receiving_goes_on(void) {
    memset(&broken, 0, sizeof broken);
    play_alone(still_read, &broken);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGPIPE, SIG_DFL);
    CASE_ONCE(over_tcp, "it counts in statics");
    CASE_ONCE(over_unix, "it counts in statics");
    CASE(sends_to_nobody);
    CASE(receiving_goes_on);
    return test_end();
}
