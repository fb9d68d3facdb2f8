/* What was received is sent on without a copy: the lease passes to the library, once, and only if
 * the send was accepted.
 */
#include "multi.h"

enum { CONNECTIONS = 20, BUFFERS = 8, SIZE = 1024 };

/* ---- echoes ---- */

struct echo {
    rt_frame frame;
    rt_io io;
    rt_op op;
    rt_buf buf;
    int64_t got;
    struct far_end writer, reader;
    rt_task task;
};

static int64_t echo_all(rt_cx *cx, void *state) {
    struct echo *e = state;
    RT_BEGIN(&e->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, e->io, &e->op), 0);
    for (;;) {
        RT_AWAIT(e->got, rt_poll_recv_next(cx, e->op, &e->buf));
        if (e->got <= 0) break;
        while ((e->got = rt_send_buf(e->io, &e->buf)) == -EAGAIN) {
            RT_AWAIT(e->got, rt_poll_flush(cx, e->io, 0));
            CHECK_EQ(e->got, 0);
        }
        CHECK_EQ(e->got, e->buf.len);
    }
    CHECK_EQ(e->got, 0);
    RT_AWAIT(e->got, rt_poll_flush(cx, e->io, 0));
    CHECK_EQ(e->got, 0);
    RT_END(0);
}

static void echo_bytes(int connections, size_t bytes, void (*connect_ends)(int[2]),
                       uint64_t limit) {
    static struct echo echoes[CONNECTIONS];
    rt_config config = test_config();
    config.buffer_count = BUFFERS;
    config.buffer_size = SIZE;
    config.send_limit = limit;
    rt_runtime rt = test_runtime_with(&config);
    memset(echoes, 0, sizeof echoes);
    for (int i = 0; i < connections; i++) {
        struct echo *e = &echoes[i];
        int ends[2];
        connect_ends(ends);
        net_small_buffer(ends[0]);
        e->io = io_of(rt, ends[0], 0);
        e->writer = (struct far_end){ends[1], (uint64_t)i, bytes, .shuts = true};
        e->reader = e->writer;
        CHECK_EQ(rt_spawn(rt, echo_all, e, NULL, &e->task), 0);
        far_writes(&e->writer);
        far_reads(&e->reader);
    }
    for (int i = 0; i < connections; i++) {
        struct echo *e = &echoes[i];
        CHECK_EQ(join_task(e->task), 0);
        thread_join(e->writer.thread);
        thread_join(e->reader.thread);
        CHECK_EQ(rt_close(e->io), 0);
        close(e->writer.fd);
    }
    multi_runtime_free(rt);
}

static void one_echo_over_tcp(void) { echo_bytes(1, (size_t)scaled(3 << 20), net_pair, 0); }
static void one_echo_over_unix(void) { echo_bytes(1, (size_t)scaled(3 << 20), net_unix_pair, 0); }
static void one_echo_with_a_limit(void) {
    echo_bytes(1, (size_t)scaled(1 << 20), net_unix_pair, 100);
}
static void many_echoes(void) {
    echo_bytes(CONNECTIONS, (size_t)scaled(200000), net_unix_pair, 0);
}

/* ---- what is refused, and whose the lease is then ---- */

struct refusal {
    struct steps steps;
    rt_buf buf, other;
};

/* In a coroutine: a lease of 500 bytes. */
#define LEASE(f)                                                                         \
    do {                                                                                 \
        char data[500];                                                                  \
        net_pattern(data, sizeof data, 2, 0);                                            \
        net_put((f)->steps.far, data, sizeof data);                                      \
        RT_AWAIT((f)->steps.got, rt_poll_recv_next(cx, (f)->steps.op, &(f)->buf));        \
        CHECK_EQ((f)->steps.got, sizeof data);                                           \
        buf_follows(&(f)->buf, (f)->steps.got, 2, 0);                                     \
    } while (0)

static void refused_bytes(struct refusal *f, ptrdiff_t offset, size_t len) {
    rt_buf wrong = f->buf;
    wrong.ptr = (void *)((uintptr_t)f->buf.ptr + (uintptr_t)offset);
    wrong.len = len;
    CHECK_EQ(rt_send_buf(f->steps.io, &wrong), -EINVAL);
}

static int64_t try_everything(rt_cx *cx, void *state) {
    struct refusal *f = state;
    struct steps *s = &f->steps;
    rt_runtime rt = rt_cx_runtime(cx);
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);

    /* Bytes outside of it, on either side and around the end of the address space. */
    LEASE(f);
    refused_bytes(f, -1, 10);
    refused_bytes(f, 0, SIZE + 1);
    refused_bytes(f, SIZE, 1);
    refused_bytes(f, 100, SIZE);
    refused_bytes(f, 1, SIZE_MAX);
    refused_bytes(f, -100, SIZE_MAX);
    CHECK_EQ(rt_send_buf(s->io, NULL), -EINVAL);
    CHECK_EQ(leases_out(rt), 1);
    CHECK(net_pattern_holds(f->buf.ptr, 500, 2, 0));

    /* A stale connection, and one that is none. */
    CHECK_EQ(rt_send_buf(0, &f->buf), -EBADF);
    CHECK_EQ(rt_send_buf(f->buf.lease, &f->buf), -EBADF);
    CHECK_EQ(leases_out(rt), 1);

    /* A part of it: the lease goes as a whole. */
    f->other = f->buf;
    f->other.ptr = (char *)f->buf.ptr + 100;
    f->other.len = 50;
    CHECK_EQ(rt_send_buf(s->io, &f->other), 50);
    CHECK_EQ(rt_send_buf(s->io, &f->other), -EBADF);
    CHECK_EQ(rt_buf_release(f->buf.lease), -EBADF);
    CHECK_EQ(net_get(s->far, s->buf, 50), 50);
    CHECK(net_pattern_holds(s->buf, 50, 2, 100));

    /* Nothing of it. */
    LEASE(f);
    f->buf.len = 0;
    CHECK_EQ(rt_send_buf(s->io, &f->buf), 0);
    CHECK_EQ(rt_buf_release(f->buf.lease), -EBADF);
    CHECK_EQ(net_drain(s->far), 0);

    /* Released before. */
    LEASE(f);
    CHECK_EQ(rt_buf_release(f->buf.lease), 0);
    CHECK_EQ(rt_send_buf(s->io, &f->buf), -EBADF);

    /* Over the limit. */
    LEASE(f);
    net_stuff(s->near);
    CHECK_EQ(rt_send(s->io, s->buf, 2000), 2000);
    CHECK_EQ(rt_send_buf(s->io, &f->buf), -EAGAIN);
    CHECK_EQ(leases_out(rt), 1);
    CHECK(net_pattern_holds(f->buf.ptr, 500, 2, 0));
    CHECK_EQ(rt_buf_release(f->buf.lease), 0);
    LEASE(f);
    CHECK_EQ(rt_close(s->io), 0);
    CHECK_EQ(rt_send_buf(s->io, &f->buf), -EBADF);
    CHECK_EQ(rt_buf_release(f->buf.lease), 0);
    s->io = 0;
    steps_close(s);
    RT_END(0);
}

static void what_is_refused_stays_the_callers(void) {
    static struct refusal refusal;
    memset(&refusal, 0, sizeof refusal);
    rt_config config = test_config();
    config.buffer_size = SIZE;
    config.send_limit = 1500;
    play_with(&config, try_everything, &refusal);
}

/* ---- to a stream of another runtime ---- */

static int64_t lease_one(rt_cx *cx, void *state) {
    struct refusal *f = state;
    struct steps *s = &f->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    LEASE(f);
    RT_END(0);
}

static int64_t flush(rt_cx *cx, void *state) { return rt_poll_flush(cx, *(rt_io *)state, 0); }

static void a_lease_may_go_elsewhere(void) {
    static struct refusal first;
    char data[500];
    for (int round = 0; round < 4; round++) {
        memset(&first, 0, sizeof first);
        rt_runtime here = test_runtime(), there = test_runtime();
        int ends[2];
        net_unix_pair(ends);
        rt_io io = io_of(there, ends[0], 0);
        CHECK_EQ(rt_block_on(here, lease_one, &first), 0);
        steps_close(&first.steps);
        settle(here);
        size_t before = round % 2 == 0 ? 0 : net_stuff(ends[0]); /* then it must queue */
        if (round < 2) CHECK_EQ(rt_free(here), 0);
        CHECK_EQ(rt_send_buf(io, &first.buf), 500);
        if (round >= 2) CHECK_EQ(rt_free(here), 0);
        for (size_t n; before > 0; before -= n) {
            n = before < sizeof data ? before : sizeof data;
            CHECK_EQ(net_get(ends[1], data, n), n);
        }
        CHECK_EQ(rt_block_on(there, flush, &io), 0);
        CHECK_EQ(net_get(ends[1], data, 500), 500);
        CHECK(net_pattern_holds(data, 500, 2, 0));
        CHECK_EQ(rt_close(io), 0);
        close(ends[1]);
        multi_runtime_free(there);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(one_echo_over_tcp);
    CASE(one_echo_over_unix);
    CASE(one_echo_with_a_limit);
    CASE(many_echoes);
    CASE(what_is_refused_stays_the_callers);
    CASE(a_lease_may_go_elsewhere);
    return test_end();
}
