/* Receiving without end: every byte comes once and in order, whatever its message's size. The end
 * of the stream, a reset, a cancel or a close comes last.
 */
#include "multi.h"

enum { QUIET = 50 };

struct receiver {
    struct steps steps;
    struct far_end far_end;
    rt_buf buf;
    size_t offset, left;
    int64_t end;
    rt_io ios[QUIET];
    int fars[QUIET];
    rt_op ops[QUIET];
};

static struct receiver receiver;

static struct receiver *fresh(void) {
    memset(&receiver, 0, sizeof receiver);
    return &receiver;
}

/* In a coroutine over `r`: the next bytes of the pattern, or the end in s->got. */
#define NEXT(r)                                                                        \
    do {                                                                               \
        RT_AWAIT((r)->steps.got, rt_poll_recv_next(cx, (r)->steps.op, &(r)->buf));      \
        if ((r)->steps.got <= 0) break;                                                \
        buf_follows(&(r)->buf, (r)->steps.got, (r)->far_end.seed, (r)->offset);         \
        (r)->offset += (r)->buf.len;                                                   \
        CHECK_EQ(rt_buf_release((r)->buf.lease), 0);                                   \
    } while (0)

#define NEXT_DATA(r)                  \
    do {                              \
        NEXT(r);                      \
        CHECK((r)->steps.got > 0);    \
    } while (0)

/* What comes before the end, and the end. */
#define NEXT_END(r, expected)                                                   \
    do {                                                                        \
        do NEXT(r);                                                             \
        while ((r)->steps.got > 0);                                             \
        CHECK_EQ((r)->steps.got, (expected));                                   \
        CHECK_EQ(rt_poll_recv_next(cx, (r)->steps.op, &(r)->buf), -EBADF);      \
        CHECK_EQ(rt_cancel((r)->steps.op), -EBADF);                             \
    } while (0)

/* The near end only: what happens at the far one would be a result, too. */
static void close_near(struct steps *s) {
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
}

static void put_more(struct receiver *r, size_t at, size_t n) {
    char data[8192];
    net_pattern(data, n, r->far_end.seed, at);
    net_put(r->steps.far, data, n);
}

/* ---- every size ---- */

static int64_t receive_all(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    NEXT_END(r, 0);
    CHECK_EQ(r->offset, r->far_end.bytes);
    /* The other direction is open still. */
    CHECK_EQ(rt_send(s->io, "all", 3), 3);
    RT_AWAIT(s->got, rt_poll_flush(cx, s->io, 0));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void whole_streams(void (*connect_ends)(int[2]), uint32_t buffer_size) {
    static const size_t sizes[] = {0, 1, 2, 4095, 4096, 4097, 100000, 3 << 20};
    static const size_t pieces[] = {0, 1000};
    for (size_t i = 0; i < 16; i++) {
        struct receiver *r = fresh();
        int ends[2];
        char answer[4];
        connect_ends(ends);
        r->steps.near = ends[0];
        size_t bytes = sizes[i % 8] > 100000 ? (size_t)scaled((int)sizes[i % 8]) : sizes[i % 8];
        r->far_end = (struct far_end){ends[1], i, bytes, pieces[i / 8], .shuts = true};
        rt_config config = test_config();
        config.buffer_size = buffer_size;
        far_writes(&r->far_end);
        play_with(&config, receive_all, r);
        thread_join(r->far_end.thread);
        CHECK_EQ(net_get(ends[1], answer, 4), 3);
        close(ends[1]);
    }
}

static void over_tcp(void) { whole_streams(net_pair, 0); }
static void over_unix(void) { whole_streams(net_unix_pair, 0); }
static void in_small_buffers(void) { whole_streams(net_unix_pair, 100); }
static void in_large_buffers(void) { whole_streams(net_pair, 100000); }

static int64_t one_by_one(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (s->n = 0; s->n < 300; s->n++) {
        put_more(r, r->offset, 1 + s->n * 13 % 5000);
        for (r->left = r->offset + 1 + s->n * 13 % 5000; r->offset < r->left;) NEXT_DATA(r);
        CHECK_EQ(r->offset, r->left);
        if (s->n % 7 == 0) OP_TURNS(s, 5);
        CHECK_EQ(rt_poll_recv_next(cx, s->op, &r->buf), RT_PENDING);
    }
    close_near(s);
    NEXT_END(r, -ECANCELED);
    steps_close(s);
    RT_END(0);
}
static void message_by_message(void) { play_alone(one_by_one, fresh()); }

/* ---- the ends ---- */

static int64_t be_reset(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 3; s->n++) {
        r->offset = 0;
        steps_pair(cx, s, net_pair);
        if (s->n > 0) CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        put_more(r, 0, 100);
        while (s->n > 0 && r->offset < 100) NEXT_DATA(r);
        if (s->n > 1) OP_TURNS(s, 100);
        net_reset(s->far);
        s->far = -1;
        if (s->n == 0) CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        NEXT_END(r, -ECONNRESET);
        steps_close(s);
    }
    RT_END(0);
}
static void a_reset_is_told(void) { play_alone(be_reset, fresh()); }

/* ---- the end together with the last bytes ---- */

enum end { CLOSED, SHUT, RESET };

/* What comes while the worker is in a poll is one event to the kernel's receive, which must not take the bytes for all of it.
 * `multi_end` has the same as a race. */
static int64_t end_at_once(rt_cx *cx, struct receiver *r, void (*connect_ends)(int[2]), enum end end) {
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 40; s->n++) {
        r->offset = 0;
        steps_pair(cx, s, connect_ends);
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        if (s->n % 2 == 1) {
            put_more(r, 0, 10);
            while (r->offset < 10) NEXT_DATA(r);
        }
        OP_TURNS(s, (int)s->n % 4 * 5);
        put_more(r, r->offset, 100);
        if (end == SHUT) CHECK_SYS(shutdown(s->far, SHUT_WR));
        else if (end == RESET) net_reset(s->far);
        else close(s->far);
        if (end != SHUT) s->far = -1;
        if (end == RESET) NEXT_END(r, -ECONNRESET);
        else NEXT_END(r, 0);
        /* A reset may overtake them. */
        if (end != RESET) CHECK_EQ(r->offset % 100, s->n % 2 * 10);
        steps_close(s);
    }
    RT_END(0);
}

static int64_t close_unix(rt_cx *cx, void *r) { return end_at_once(cx, r, net_unix_pair, CLOSED); }
static int64_t shut_unix(rt_cx *cx, void *r) { return end_at_once(cx, r, net_unix_pair, SHUT); }
static int64_t close_tcp(rt_cx *cx, void *r) { return end_at_once(cx, r, net_pair, CLOSED); }
static int64_t shut_tcp(rt_cx *cx, void *r) { return end_at_once(cx, r, net_pair, SHUT); }
static int64_t reset_tcp(rt_cx *cx, void *r) { return end_at_once(cx, r, net_pair, RESET); }
static void a_unix_close_with_the_last_bytes(void) { play_alone(close_unix, fresh()); }
static void a_unix_shutdown_with_the_last_bytes(void) { play_alone(shut_unix, fresh()); }
static void a_tcp_close_with_the_last_bytes(void) { play_alone(close_tcp, fresh()); }
static void a_tcp_shutdown_with_the_last_bytes(void) { play_alone(shut_tcp, fresh()); }
static void a_reset_with_the_last_bytes(void) { play_alone(reset_tcp, fresh()); }

/* What was received is taken first; what was not is still there for the next. */
static int64_t be_cancelled(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    for (s->n = 0; s->n < 200; s->n++) {
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        OP_TURNS(s, (int)s->n % 4);
        put_more(r, s->n * 5000, 5000);
        OP_TURNS(s, (int)s->n % 3 * 20);
        /* The kernel keeps so much, and not always more: nobody reads while we wait for room. */
        while (r->offset + 30000 < (s->n + 1) * 5000) NEXT_DATA(r);
        CHECK_EQ(rt_cancel(s->op), 0);
        if (s->n % 2 == 0) OP_TURNS(s, 20);
        NEXT_END(r, -ECANCELED);
    }
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    NEXT_END(r, 0);
    CHECK_EQ(r->offset, 200 * 5000);
    steps_close(s);
    RT_END(0);
}
static void a_cancel_loses_nothing(void) {
    rt_config config = test_config();
    config.event_interval = 1; /* so that a cancel finds the receive at every stage */
    play_with(&config, be_cancelled, fresh());
}

static int64_t be_closed(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 100; s->n++) {
        r->offset = 0;
        steps_pair(cx, s, net_unix_pair);
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        OP_TURNS(s, (int)s->n % 4);
        put_more(r, 0, 8000);
        OP_TURNS(s, (int)s->n % 3 * 20);
        close_near(s);
        if (s->n % 2 == 0) OP_TURNS(s, 20);
        NEXT_END(r, -ECANCELED);
        CHECK(r->offset <= 8000);
        steps_close(s);
    }
    RT_END(0);
}
static void a_close_is_told(void) { play_alone(be_closed, fresh()); }

/* ---- beside others ---- */

static int64_t hold_nothing(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (int i = 0; i < QUIET; i++) {
        steps_pair(cx, s, net_unix_pair);
        r->ios[i] = s->io;
        r->fars[i] = s->far;
        CHECK_EQ(rt_submit_recv_multi(cx, r->ios[i], &r->ops[i]), 0);
    }
    OP_TURNS(s, 100);
    for (s->n = 0; s->n < 3 * QUIET; s->n++) {
        char byte = (char)s->n;
        net_put(r->fars[s->n * 7 % QUIET], &byte, 1);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, r->ops[s->n * 7 % QUIET], &r->buf));
        CHECK_EQ(s->got, 1);
        CHECK_EQ(*(char *)r->buf.ptr, (char)s->n);
        CHECK_EQ(leases_out(rt_cx_runtime(cx)), 1);
        CHECK_EQ(rt_buf_release(r->buf.lease), 0);
        CHECK_EQ(leases_out(rt_cx_runtime(cx)), 0);
    }
    for (int i = 0; i < QUIET; i++) {
        CHECK_EQ(rt_close(r->ios[i]), 0);
        close(r->fars[i]);
    }
    RT_END(0);
}

/* One buffer is enough for many of whom one talks at a time. */
static void the_quiet_hold_no_buffer(void) {
    rt_config config = test_config();
    config.buffer_count = 1;
    play_with(&config, hold_nothing, fresh());
}

static int64_t receive_datagrams(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (s->n = 1; s->n < 4000; s->n = s->n * 3 + 1) {
        put_more(r, r->offset, s->n);
        put_more(r, r->offset + s->n, s->n + 1);
        for (r->left = 0; r->left < 2; r->left++) {
            NEXT_DATA(r);
            CHECK_EQ(r->buf.len, s->n + r->left);
        }
    }
    close_near(s);
    NEXT_END(r, -ECANCELED);
    steps_close(s);
    RT_END(0);
}
static void datagrams_keep_their_bounds(void) { play_alone(receive_datagrams, fresh()); }

/* ---- wrong calls, after which nothing has changed ---- */

static int64_t ask_for_the_wrong(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    rt_io none = 77;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    s->op = 77;
    CHECK_EQ(rt_submit_recv_multi(cx, 0, &s->op), -EBADF);
    CHECK_EQ(s->op, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_poll_read(cx, s->io, s->buf, 1), -EBUSY);
    CHECK_EQ(rt_deregister(s->io), -EBUSY);
    CHECK_EQ(rt_poll_op(cx, s->op), -EINVAL);
    CHECK_EQ(rt_poll_accept_next(cx, s->op, &none), -EINVAL);
    CHECK_EQ(rt_poll_recv_next(cx, s->op, NULL), -EINVAL);
    CHECK_EQ(rt_op_forget(s->op, NULL, NULL), -EINVAL);
    put_more(r, 0, 3000);
    while (r->offset < 3000) NEXT_DATA(r);

    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->other), 0);
    CHECK_EQ(rt_poll_recv_next(cx, s->other, &r->buf), -EINVAL);
    close_near(s);
    NEXT_END(r, -ECANCELED);
    RT_AWAIT(s->got, rt_poll_op(cx, s->other));
    CHECK_EQ(s->got, -ECANCELED);
    steps_close(s);
    RT_END(0);
}
static void wrong_calls_change_nothing(void) { play_alone(ask_for_the_wrong, fresh()); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(over_tcp);
    CASE(over_unix);
    CASE(in_small_buffers);
    CASE(in_large_buffers);
    CASE(message_by_message);
    CASE(a_reset_is_told);
    CASE(a_unix_close_with_the_last_bytes);
    CASE(a_unix_shutdown_with_the_last_bytes);
    CASE(a_tcp_close_with_the_last_bytes);
    CASE(a_tcp_shutdown_with_the_last_bytes);
    CASE(a_reset_with_the_last_bytes);
    CASE(a_cancel_loses_nothing);
    CASE(a_close_is_told);
    CASE(the_quiet_hold_no_buffer);
    CASE(datagrams_keep_their_bounds);
    CASE(wrong_calls_change_nothing);
    return test_end();
}
