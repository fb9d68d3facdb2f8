/* Pipes: reading waits for what is not there yet, also though the descriptor does not block; the
 * ends are seen; a stream has no offsets; and nobody is killed by writing where nobody reads.
 */
#include "op.h"

/* Both ends are registered. */
static void open_pipe(rt_cx *cx, struct steps *s) {
    steps_pair(cx, s, net_pipe);
    s->peer = io_of(rt_cx_runtime(cx), s->far, 0);
    s->far = -1;
}

static int64_t reading_waits(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    open_pipe(cx, s);
    CHECK_EQ(rt_submit_read(cx, s->io, s->buf, 100, RT_OFFSET_CURRENT, &s->op), 0);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    s->other = s->op;
    OP_EQ(s, 5, rt_submit_write(cx, s->peer, "hello", 5, RT_OFFSET_CURRENT, 0, &s->op));
    s->op = s->other;
    OP_TAKE_EQ(s, 5);
    CHECK(memcmp(s->buf, "hello", 5) == 0);
    steps_close(s);
    RT_END(0);
}

static int64_t the_end_is_zero(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    open_pipe(cx, s);
    CHECK_EQ(rt_submit_read(cx, s->io, s->buf, 100, RT_OFFSET_CURRENT, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_close(s->peer), 0);
    s->peer = 0;
    OP_TAKE_EQ(s, 0);
    OP_EQ(s, 0, rt_submit_read(cx, s->io, s->buf, 100, RT_OFFSET_CURRENT, &s->op));
    steps_close(s);
    RT_END(0);
}

static int64_t nobody_reads_any_more(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    open_pipe(cx, s);
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
    OP_EQ(s, -EPIPE, rt_submit_write(cx, s->peer, "x", 1, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, -EPIPE,
          rt_submit_writev(cx, s->peer, &(struct iovec){s->buf, 9}, 1, RT_OFFSET_CURRENT, 0, &s->op));
    steps_close(s);

    /* The reader goes away while a write waits for room. */
    open_pipe(cx, s);
    net_stuff((int)rt_io_fd(s->peer));
    CHECK_EQ(rt_submit_write(cx, s->peer, s->buf, 4096, RT_OFFSET_CURRENT, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
    OP_TAKE_EQ(s, -EPIPE);
    steps_close(s);
    RT_END(0);
}

/* What the program does with the signal itself is left alone, and so is one that is pending. */
static int64_t the_signal_is_the_programs(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    open_pipe(cx, s);
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
    for (s->n = 0; s->n < 20; s->n++)
        OP_EQ(s, -EPIPE, rt_submit_write(cx, s->peer, "x", 1, RT_OFFSET_CURRENT, 0, &s->op));
    OP_TURNS(s, 100);
    sigset_t mask;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    /* A worker's thread takes no signals; the program's own is left as it was. */
    CHECK_EQ(sigismember(&mask, SIGPIPE), test_workers > 0);
    CHECK_SYS(sigpending(&mask));
    CHECK(!sigismember(&mask, SIGPIPE));
    steps_close(s);
    RT_END(0);
}

static int64_t room_is_waited_for(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    open_pipe(cx, s);
    s->n = net_stuff((int)rt_io_fd(s->peer));
    net_pattern(s->buf, 1000, 3, 0);
    CHECK_EQ(rt_submit_write(cx, s->peer, s->buf, 1000, RT_OFFSET_CURRENT, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    CHECK_EQ(net_drain(s->near), s->n);
    OP_TAKE_EQ(s, 1000); /* at most PIPE_BUF: all of it or nothing */
    OP_EQ(s, 1000, rt_submit_read(cx, s->io, s->buf + 1000, 1500, RT_OFFSET_CURRENT, &s->op));
    CHECK(net_pattern_holds(s->buf + 1000, 1000, 3, 0));
    steps_close(s);
    RT_END(0);
}

static int64_t vectors(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    open_pipe(cx, s);
    struct iovec iov[2] = {{s->buf, 3}, {s->buf + 10, 100}};
    CHECK_EQ(rt_submit_readv(cx, s->io, iov, 2, RT_OFFSET_CURRENT, &s->other), 0);
    OP_TURNS(s, 100);
    memcpy(s->buf + 1000, "abcdef", 6);
    struct iovec out[2] = {{s->buf + 1000, 2}, {s->buf + 1002, 4}};
    OP_EQ(s, 6, rt_submit_writev(cx, s->peer, out, 2, RT_OFFSET_CURRENT, 0, &s->op));
    s->op = s->other;
    OP_TAKE_EQ(s, 6);
    CHECK(memcmp(s->buf, "abc", 3) == 0 && memcmp(s->buf + 10, "def", 3) == 0);
    steps_close(s);
    RT_END(0);
}

/* ---- offsets ---- */

static void no_offset(rt_cx *cx, struct steps *s, rt_io io, uint64_t offset) {
    struct iovec iov = {s->buf, 1};
    s->op = 77;
    CHECK_EQ(rt_submit_read(cx, io, s->buf, 1, offset, &s->op), -ESPIPE);
    CHECK_EQ(s->op, 0);
    CHECK_EQ(rt_submit_write(cx, io, s->buf, 1, offset, 0, &s->op), -ESPIPE);
    CHECK_EQ(rt_submit_readv(cx, io, &iov, 1, offset, &s->op), -ESPIPE);
    CHECK_EQ(rt_submit_writev(cx, io, &iov, 1, offset, 0, &s->op), -ESPIPE);
}

static int64_t streams_have_no_offsets(rt_cx *cx, void *state) {
    struct steps *s = state;
    open_pipe(cx, s);
    no_offset(cx, s, s->io, 0);
    no_offset(cx, s, s->peer, 5);
    steps_close(s);
    steps_pair(cx, s, net_unix_pair);
    s->peer = 0;
    no_offset(cx, s, s->io, 0);
    no_offset(cx, s, s->io, INT64_MAX);
    steps_close(s);
    return 0;
}

/* ---- more than fits, there and back ---- */

enum { ALL = 300000 };

static int64_t write_all(rt_cx *cx, void *state) {
    struct steps *s = state;
    static char data[ALL];
    RT_BEGIN(&s->frame);
    net_pattern(data, ALL, 9, 0);
    for (s->n = 0; s->n < ALL; s->n += (size_t)s->got) {
        OP(s, rt_submit_write(cx, s->io, data + s->n, ALL - s->n, RT_OFFSET_CURRENT, 0, &s->op));
        CHECK(s->got > 0); /* short ones are allowed */
    }
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static int64_t read_all(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    do {
        OP(s, rt_submit_read(cx, s->io, s->buf, 1 + s->n % 4000, RT_OFFSET_CURRENT, &s->op));
        CHECK_OK(s->got);
        CHECK(net_pattern_holds(s->buf, (size_t)s->got, 9, s->n));
        s->n += (size_t)s->got;
    } while (s->got > 0);
    CHECK_EQ(s->n, ALL);
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void more_than_fits_gets_through(void) {
    static struct steps writer, reader;
    int ends[2];
    rt_task tasks[2];
    rt_runtime rt = test_runtime();
    net_pipe(ends);
    reader = (struct steps){.io = io_of(rt, ends[0], 0)};
    writer = (struct steps){.io = io_of(rt, ends[1], 0)};
    CHECK_EQ(rt_spawn(rt, write_all, &writer, NULL, &tasks[0]), 0);
    CHECK_EQ(rt_spawn(rt, read_all, &reader, NULL, &tasks[1]), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(tasks[i]), 0);
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGPIPE, SIG_DFL); /* one that is raised ends the program */
    OP_CASE(reading_waits);
    OP_CASE(the_end_is_zero);
    OP_CASE(nobody_reads_any_more);
    OP_CASE(the_signal_is_the_programs);
    OP_CASE(room_is_waited_for);
    OP_CASE(vectors);
    OP_CASE(streams_have_no_offsets);
    CASE(more_than_fits_gets_through);
    return test_end();
}
