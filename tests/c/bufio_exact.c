/* Reading a number of bytes, and looking at what is there: over any number of polls, from any
 * place between lines, and up to an end that comes too early, after which nothing is lost.
 */
#include "multi.h"

enum { LARGE = 1 << 20 };

struct reader {
    rt_frame frame;
    rt_io io;
    rt_stream stream;
    int64_t got;
    const void *at;
    size_t len, i, offset, want;
    int ends[2];
    rt_stream_opts opts;
    struct far_end far_end;
};

static struct reader reader;
static char data[LARGE];

static struct reader *fresh(void) {
    memset(&reader, 0, sizeof reader);
    CHECK_EQ(rt_stream_opts_init(&reader.opts, sizeof reader.opts), 0);
    return &reader;
}

static void reader_open(struct reader *r, rt_cx *cx) {
    r->io = io_of(rt_cx_runtime(cx), r->ends[0], RT_READABLE);
    CHECK_EQ(rt_stream_new(r->io, &r->opts, &r->stream), 0);
}

static void reader_close(struct reader *r) {
    CHECK_EQ(rt_stream_free(r->stream), 0);
    CHECK_EQ(rt_close(r->io), 0);
}

/* In a coroutine over `r`: these bytes were the next of the pattern. */
#define FOLLOWS(r, bytes, n)                                             \
    do {                                                                 \
        CHECK(net_pattern_holds((bytes), (n), (r)->far_end.seed, (r)->offset)); \
        (r)->offset += (n);                                              \
    } while (0)

/* Every way of reading, in turns. */
static int64_t read_in_turns(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    for (r->i = 0; r->offset < r->far_end.bytes; r->i++) {
        r->want = 1 + r->i * 977 % 9000;
        if (r->want > r->far_end.bytes - r->offset) r->want = r->far_end.bytes - r->offset;
        if (r->i % 4 == 0) {
            RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, data, r->want));
            CHECK(r->got > 0 && (size_t)r->got <= r->want);
            FOLLOWS(r, data, (size_t)r->got);
        } else if (r->i % 4 == 1) {
            RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, r->want));
            CHECK_EQ(r->got, r->want);
            FOLLOWS(r, data, r->want);
        } else if (r->i % 4 == 2) {
            RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, r->want, &r->at, &r->len));
            CHECK(r->got == (int64_t)r->len && r->len >= r->want);
            FOLLOWS(r, r->at, r->len / 2);
            CHECK_EQ(rt_stream_consume(r->stream, r->len / 2), 0);
        } else {
            RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, (int)r->i % 256, &r->at, &r->len));
            CHECK_EQ(r->got, 1);
            CHECK(memchr(r->at, (int)r->i % 256, r->len) == (const char *)r->at + r->len - 1 ||
                  r->offset + r->len == r->far_end.bytes);
            FOLLOWS(r, r->at, r->len);
        }
    }
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 1, &r->at, &r->len));
    CHECK(r->got == 0 && r->at == NULL && r->len == 0);
    reader_close(r);
    RT_END(0);
}

static void in_turns_over(void (*connect_ends)(int[2])) {
    static const size_t pieces[] = {0, 7, 1000};
    for (size_t i = 0; i < 3; i++) {
        struct reader *r = fresh();
        rt_config config = test_config();
        config.buffer_size = i == 1 ? 200 : 0;
        connect_ends(r->ends);
        r->far_end = (struct far_end){.fd = r->ends[1], .seed = i, .piece = pieces[i]};
        r->far_end.bytes = (size_t)scaled(i == 1 ? 50000 : LARGE);
        r->far_end.shuts = true;
        far_writes(&r->far_end);
        play_with(&config, read_in_turns, r);
        thread_join(r->far_end.thread);
        close(r->ends[1]);
    }
}
static void in_turns_over_tcp(void) { in_turns_over(net_pair); }
static void in_turns_over_unix(void) { in_turns_over(net_unix_pair); }

/* ---- the end in the middle ---- */

static int64_t end_early(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    net_put(r->ends[1], "01234", 5);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 5, &r->at, &r->len));
    for (r->i = 0; r->i < 20; r->i++) {
        CHECK_EQ(rt_poll_read_exact(cx, r->stream, data, 10), RT_PENDING);
        RT_YIELD(cx);
    }
    /* What came is there for every other call as well. */
    CHECK_EQ(rt_poll_read_exact(cx, r->stream, data, 9), RT_PENDING);
    CHECK_EQ(rt_poll_fill(cx, r->stream, 1, &r->at, &r->len), 5);
    CHECK(memcmp(r->at, "01234", 5) == 0);
    CHECK_EQ(rt_stream_consume(r->stream, 0), 0);
    CHECK_EQ(rt_poll_read_until(cx, r->stream, '5', &r->at, &r->len), RT_PENDING);
    net_put(r->ends[1], "567", 3);
    close(r->ends[1]);
    for (r->i = 0; r->i < 2; r->i++) {
        RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 10));
        CHECK_EQ(r->got, -ENODATA);
    }
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '2', &r->at, &r->len));
    CHECK(r->got == 1 && r->len == 3 && memcmp(r->at, "012", 3) == 0);
    RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 5));
    CHECK(r->got == 5 && memcmp(data, "34567", 5) == 0);
    RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 0));
    CHECK_EQ(r->got, 0);
    RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 1));
    CHECK_EQ(r->got, -ENODATA);
    reader_close(r);
    RT_END(0);
}
static void an_early_end_loses_nothing(void) {
    void (*const kinds[])(int[2]) = {net_pair, net_unix_pair, net_pipe};
    for (int i = 0; i < 3; i++) {
        struct reader *r = fresh();
        kinds[i](r->ends);
        play_alone(end_early, r);
    }
}

/* ---- what a waiting stream holds ---- */

enum { QUIET = 20 };
struct quiet {
    rt_frame frame;
    rt_io ios[QUIET];
    rt_stream streams[QUIET];
    int fars[QUIET], i, n;
    int64_t got;
    const void *line;
    size_t len;
};

/* One buffer serves many streams, of which each has half a line. */
static int64_t hold_nothing(rt_cx *cx, void *state) {
    struct quiet *q = state;
    RT_BEGIN(&q->frame);
    for (int i = 0; i < QUIET; i++) {
        int ends[2];
        net_pair(ends);
        q->fars[i] = ends[1];
        q->ios[i] = io_of(rt_cx_runtime(cx), ends[0], RW);
        CHECK_EQ(rt_stream_new(q->ios[i], NULL, &q->streams[i]), 0);
    }
    for (q->n = 0; q->n < 3; q->n++) {
        for (q->i = 0; q->i < QUIET; q->i++) {
            net_put(q->fars[q->i], "half", 4);
            RT_AWAIT(q->got, rt_poll_fill(cx, q->streams[q->i], 4, &q->line, &q->len));
            CHECK_EQ(rt_poll_fill(cx, q->streams[q->i], 5, &q->line, &q->len), RT_PENDING);
        }
        for (q->i = 0; q->i < QUIET; q->i++) {
            net_put(q->fars[q->i], "line\n", 5);
            RT_AWAIT(q->got, rt_poll_read_until(cx, q->streams[q->i], '\n', &q->line, &q->len));
            CHECK(q->got == 1 && q->len == 9 && memcmp(q->line, "halfline\n", 9) == 0);
        }
    }
    CHECK_EQ(leases_out(rt_cx_runtime(cx)), 0);
    for (int i = 0; i < QUIET; i++) {
        CHECK_EQ(rt_stream_free(q->streams[i]), 0);
        CHECK_EQ(rt_close(q->ios[i]), 0);
        close(q->fars[i]);
    }
    RT_END(0);
}
static void half_lines_hold_no_lease(void) {
    static struct quiet quiet;
    memset(&quiet, 0, sizeof quiet);
    rt_config config = test_config();
    config.buffer_count = 1;
    play_with(&config, hold_nothing, &quiet);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_turns_over_tcp);
    CASE(in_turns_over_unix);
    CASE(an_early_end_loses_nothing);
    CASE(half_lines_hold_no_lease);
    return test_end();
}
