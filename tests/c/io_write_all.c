/* Some megabytes through small buffers: every write is short, and every byte arrives in its place.
 * Where it fails midway, *off says how much went.
 */
#include "ready.h"

static const size_t whole = 4 << 20;

/* ---- the far end: reads all, or so much, on a thread of its own ---- */

struct sink {
    int fd;
    size_t stop_at, got;
    bool intact;
};

static void *swallow(void *arg) {
    struct sink *sink = arg;
    static _Thread_local unsigned char piece[3001];
    sink->intact = true;
    while (sink->got < sink->stop_at) {
        size_t want = sink->stop_at - sink->got;
        size_t n = net_get(sink->fd, piece, want < sizeof piece ? want : sizeof piece);
        if (n == 0) break;
        sink->intact &= net_pattern_holds(piece, n, 7, sink->got);
        sink->got += n;
    }
    return NULL;
}

/* ---- the near end: one call, awaited ---- */

struct writer {
    rt_io io;
    const unsigned char *data;
    size_t n, off;
    int polls;
};

static int64_t write_whole(rt_cx *cx, void *state) {
    struct writer *w = state;
    w->polls++;
    size_t before = w->off;
    int64_t r = rt_poll_write_all(cx, w->io, w->data, w->n, &w->off);
    if (r == RT_PENDING) CHECK(w->off >= before && w->off < w->n);
    return r;
}

static unsigned char *new_data(void) {
    unsigned char *data = malloc(whole);
    CHECK(data != NULL);
    net_pattern(data, whole, 7, 0);
    return data;
}

static void small_pair(int out[2]) {
    net_pair(out);
    net_small_buffer(out[0]);
}

static void small_unix_pair(int out[2]) {
    net_unix_pair(out);
    net_small_buffer(out[0]);
}

static void everything_arrives(void (*ends)(int[2])) {
    struct scene s;
    scene_open(&s, ends, RT_WRITABLE);
    unsigned char *data = new_data();
    struct sink sink = {.fd = s.far, .stop_at = whole};
    pthread_t reader = thread_start(swallow, &sink);
    struct writer w = {.io = s.io, .data = data, .n = whole};
    CHECK_EQ(rt_block_on(s.rt, write_whole, &w), whole);
    CHECK_EQ(w.off, 0); /* ready for the next */
    thread_join(reader);
    CHECK_EQ(sink.got, whole);
    CHECK(sink.intact);
    free(data);
    scene_close(&s);
}

static void through_tcp(void) { everything_arrives(small_pair); }
static void through_a_unix_socket(void) { everything_arrives(small_unix_pair); }
static void through_a_pipe(void) { everything_arrives(net_pipe_writer_first); }

/* ---- the same piecewise, with the plain write ---- */

struct piecewise {
    struct writer w;
    int64_t total;
};

static int64_t write_piecewise(rt_cx *cx, void *state) {
    struct writer *w = state;
    while (w->off < w->n) {
        int64_t r = rt_poll_write(cx, w->io, w->data + w->off, w->n - w->off);
        if (r < 0) return r;
        CHECK(r > 0);
        w->off += (size_t)r;
    }
    return (int64_t)w->off;
}

static void short_writes_are_the_callers_to_go_on_with(void) {
    struct scene s;
    scene_open(&s, small_pair, RT_WRITABLE);
    unsigned char *data = new_data();
    struct sink sink = {.fd = s.far, .stop_at = whole};
    pthread_t reader = thread_start(swallow, &sink);
    struct writer w = {.io = s.io, .data = data, .n = whole};
    CHECK_EQ(rt_block_on(s.rt, write_piecewise, &w), whole);
    thread_join(reader);
    CHECK_EQ(sink.got, whole);
    CHECK(sink.intact);
    free(data);
    scene_close(&s);
}

/* ---- midway ---- */

static void *swallow_some_and_go(void *arg) {
    struct sink *sink = arg;
    swallow(sink);
    net_reset(sink->fd);
    return NULL;
}

static void an_error_midway_says_how_much_went(void) {
    struct scene s;
    scene_open(&s, small_pair, RT_WRITABLE);
    unsigned char *data = new_data();
    struct sink sink = {.fd = s.far, .stop_at = 100000};
    pthread_t reader = thread_start(swallow_some_and_go, &sink);
    struct writer w = {.io = s.io, .data = data, .n = whole};
    int64_t r = rt_block_on(s.rt, write_whole, &w);
    thread_join(reader);
    s.far = -1;
    CHECK(r == -ECONNRESET || r == -EPIPE);
    CHECK_EQ(sink.got, 100000);
    CHECK(sink.intact);
    CHECK(w.off >= sink.got);
    CHECK(w.off < whole);
    free(data);
    scene_close(&s);
}

/* Given up midway: what went is known, and the rest can be sent by another call. */
static void an_abort_midway_keeps_the_count(void) {
    struct scene s;
    scene_open(&s, small_unix_pair, RT_WRITABLE);
    unsigned char *data = new_data();
    struct writer w = {.io = s.io, .data = data, .n = whole};
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, write_whole, &w, NULL, &task), 0);
    deliver(s.rt);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);

    struct sink sink = {.fd = s.far, .stop_at = whole};
    pthread_t reader = thread_start(swallow, &sink);
    CHECK_EQ(rt_block_on(s.rt, write_whole, &w), whole);
    CHECK_EQ(w.off, 0);
    thread_join(reader);
    CHECK_EQ(sink.got, whole);
    CHECK(sink.intact);
    free(data);
    scene_close(&s);
}

/* A write of nothing succeeds, but not where the handle is stale. */
static void nothing_is_written_to_a_good_handle(void) {
    struct scene s;
    scene_open(&s, small_unix_pair, RT_WRITABLE);
    int fds[2];
    small_unix_pair(fds);
    rt_io gone = io_of(s.rt, fds[0], RT_WRITABLE);
    struct writer w = {.io = s.io}, stale = {.io = gone};
    CHECK_EQ(rt_block_on(s.rt, write_whole, &w), 0);
    CHECK_EQ(rt_close(gone), 0);
    CHECK_EQ(rt_block_on(s.rt, write_whole, &stale), -EBADF);
    close(fds[1]);
    scene_close(&s);
}

/* What a write of something is refused for, a write of nothing is, too. */
static void nothing_is_refused_as_something_is(void) {
    static const char much[1 << 20];
    struct scene s;
    size_t off = 0;
    int ends[2];
    scene_open(&s, small_unix_pair, RW);
    net_unix_pair(ends);
    rt_io deaf = io_of(s.rt, ends[0], RT_READABLE);
    CHECK_EQ(rt_poll_write_all(s.hand.cx, deaf, much, 1, &off), -EINVAL);
    CHECK_EQ(rt_poll_write_all(s.hand.cx, deaf, much, 0, &off), -EINVAL);
    CHECK_EQ(rt_send(s.io, much, sizeof much), sizeof much);
    CHECK_EQ(rt_poll_write_all(s.hand.cx, s.io, much, 1, &off), -EBUSY);
    CHECK_EQ(rt_poll_write_all(s.hand.cx, s.io, much, 0, &off), -EBUSY);
    CHECK_EQ(off, 0);
    CHECK_EQ(rt_close(deaf), 0);
    close(ends[1]);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(through_tcp);
    CASE(through_a_unix_socket);
    CASE(through_a_pipe);
    CASE(short_writes_are_the_callers_to_go_on_with);
    CASE(an_error_midway_says_how_much_went);
    CASE(an_abort_midway_keeps_the_count);
    CASE(nothing_is_written_to_a_good_handle);
    CASE(nothing_is_refused_as_something_is);
    return test_end();
}
