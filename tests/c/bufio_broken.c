/* A stream whose connection breaks while something is half read, or half told: what was received
 * stays readable, and a reset is no end.
 */
#include "multi.h"

struct reader {
    rt_frame frame;
    rt_io io;
    rt_stream stream;
    int64_t got;
    const void *at;
    size_t len;
    int ends[2], i;
};

static struct reader reader;
static char data[4096];

static struct reader *fresh(void (*connect_ends)(int[2])) {
    memset(&reader, 0, sizeof reader);
    connect_ends(reader.ends);
    return &reader;
}

static void reader_open(struct reader *r, rt_cx *cx) {
    r->io = io_of(rt_cx_runtime(cx), r->ends[0], RW);
    CHECK_EQ(rt_stream_new(r->io, NULL, &r->stream), 0);
}

static void reader_close(struct reader *r) {
    CHECK_EQ(rt_stream_free(r->stream), 0);
    CHECK_EQ(rt_close(r->io), 0);
}

/* The peer reads no more, which an exact read learns when it sends what was written before. */
static int64_t answer_fails(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    net_put(r->ends[1], "01234", 5);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 5, &r->at, &r->len));
    for (r->i = 0; r->i < 3; r->i++) {
        CHECK_EQ(rt_poll_read_exact(cx, r->stream, data, 10), RT_PENDING);
        RT_YIELD(cx);
    }
    CHECK_SYS(shutdown(r->ends[1], SHUT_RD));
    RT_AWAIT(r->got, rt_poll_stream_write(cx, r->stream, "answer", 6));
    CHECK_EQ(r->got, 6);
    RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 10));
    CHECK_EQ(r->got, -EPIPE);
    memset(data, 0, sizeof data);
    RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, data, 10));
    CHECK(r->got == 5 && memcmp(data, "01234", 5) == 0);
    net_put(r->ends[1], "56789", 5);
    RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 5));
    CHECK(r->got == 5 && memcmp(data, "56789", 5) == 0);
    close(r->ends[1]);
    RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, data, 10));
    CHECK_EQ(r->got, 0);
    reader_close(r);
    RT_END(0);
}
static void what_was_half_read_stays(void) { play_alone(answer_fails, fresh(net_unix_pair)); }

/* The kernel tells of a reset once: here it tells the writer. */
static int64_t reset_while_writing(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    net_put(r->ends[1], "half", 4);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 4, &r->at, &r->len));
    CHECK_EQ(r->got, 4);
    RT_AWAIT(r->got, rt_poll_stream_write(cx, r->stream, "request", 7));
    net_reset(r->ends[1]);
    net_wait(r->ends[0], POLLERR);
    RT_AWAIT(r->got, rt_poll_stream_flush(cx, r->stream));
    CHECK_EQ(r->got, -ECONNRESET);
    for (r->i = 0; r->i < 2; r->i++) {
        RT_AWAIT(r->got, rt_poll_read_exact(cx, r->stream, data, 10));
        CHECK_EQ(r->got, -ECONNRESET);
    }
    RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, data, 10));
    CHECK(r->got == 4 && memcmp(data, "half", 4) == 0);
    RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, data, 10));
    CHECK_EQ(r->got, -ECONNRESET);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->at, &r->len));
    CHECK_EQ(r->got, -ECONNRESET);
    reader_close(r);
    RT_END(0);
}
static void a_reset_is_no_end(void) { play_alone(reset_while_writing, fresh(net_pair)); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_was_half_read_stays);
    CASE(a_reset_is_no_end);
    return test_end();
}
