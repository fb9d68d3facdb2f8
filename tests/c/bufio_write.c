/* Writes are collected, and sent when the buffer is full, when asked for, and when a read of the
 * same stream is about to wait; each byte once and in order, also to a slow peer. What breaks the
 * connection is said by every write from then on.
 */
#include "multi.h"

struct writer {
    rt_frame frame;
    rt_io io;
    rt_stream stream;
    int64_t got;
    const void *line;
    size_t len, i, offset;
    int ends[2];
    rt_stream_opts opts;
    struct far_end far_end;
};

static struct writer writer;
static char data[1 << 20];

static struct writer *fresh(void) {
    memset(&writer, 0, sizeof writer);
    CHECK_EQ(rt_stream_opts_init(&writer.opts, sizeof writer.opts), 0);
    return &writer;
}

static void writer_open(struct writer *w, rt_cx *cx, uint32_t flags) {
    w->io = io_of(rt_cx_runtime(cx), w->ends[0], flags);
    CHECK_EQ(rt_stream_new(w->io, &w->opts, &w->stream), 0);
}

static void writer_close(struct writer *w) {
    CHECK_EQ(rt_stream_free(w->stream), 0);
    CHECK_EQ(rt_close(w->io), 0);
}

#define NOTHING_CAME(fd) CHECK(recv((fd), data, 1, MSG_PEEK) == -1 && errno == EAGAIN)

/* ---- answers ---- */

enum { REQUESTS = 16, ANSWER = 64 };

/* Serves lines until the end. */
static int64_t serve_lines(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    writer_open(w, cx, RW);
    for (;;) {
        RT_AWAIT(w->got, rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len));
        if (w->got != 1) break;
        w->i++;
        memset(data, (int)('a' + w->i % 26), ANSWER);
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, ANSWER));
        CHECK_EQ(w->got, ANSWER);
    }
    CHECK_EQ(w->got, 0);
    writer_close(w);
    RT_END((int64_t)w->i);
}

static void *ask_at_once(void *arg) {
    struct writer *w = arg;
    char requests[REQUESTS * 6], answers[2 * REQUESTS * ANSWER];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < REQUESTS; i++) memcpy(requests + 6 * i, "get x\n", 6);
        net_put(w->ends[1], requests, sizeof requests);
        net_wait(w->ends[1], POLLIN);
        CHECK_EQ(recv(w->ends[1], answers, sizeof answers, 0), REQUESTS * ANSWER);
    }
    CHECK_SYS(shutdown(w->ends[1], SHUT_WR));
    return NULL;
}

static void answers_leave_together(void) {
    struct writer *w = fresh();
    net_pair(w->ends);
    pthread_t thread = thread_start(ask_at_once, w);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, serve_lines, w), 20 * REQUESTS);
    thread_join(thread);
    multi_runtime_free(rt);
    close(w->ends[1]);
}

/* Each request waits for the answer to the one before. */
static void *ask_in_turn(void *arg) {
    struct writer *w = arg;
    char answer[ANSWER];
    for (int i = 0; i < scaled(2000); i++) {
        net_put(w->ends[1], "get", 3);
        if (i % 5 == 0) sched_yield();
        net_put(w->ends[1], " x\n", 3);
        CHECK_EQ(net_get(w->ends[1], answer, ANSWER), ANSWER);
    }
    CHECK_SYS(shutdown(w->ends[1], SHUT_WR));
    return NULL;
}

static void no_answer_is_forgotten(void) {
    struct writer *w = fresh();
    net_unix_pair(w->ends);
    pthread_t thread = thread_start(ask_in_turn, w);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, serve_lines, w), scaled(2000));
    thread_join(thread);
    multi_runtime_free(rt);
    close(w->ends[1]);
}

/* ---- when something is sent ---- */

static int64_t send_when(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    writer_open(w, cx, RW);
    /* Up to the buffer's size nothing goes. */
    net_pattern(data, 101, 5, 0);
    for (w->i = 0; w->i < 100; w->i += 10) {
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data + w->i, 10));
        CHECK_EQ(w->got, 10);
        NOTHING_CAME(w->ends[1]);
    }
    net_pattern(data, 101, 5, 0);
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data + 100, 1));
    CHECK_EQ(w->got, 1);
    RT_AWAIT(w->got, rt_poll_stream_flush(cx, w->stream));
    CHECK_EQ(w->got, 0);
    CHECK_EQ(net_get(w->ends[1], data, 101), 101);
    CHECK(net_pattern_holds(data, 101, 5, 0));
    NOTHING_CAME(w->ends[1]);
    /* What does not fit goes with what was buffered, at once. */
    net_pattern(data, 5010, 6, 0);
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 10));
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data + 10, 5000));
    CHECK_EQ(w->got, 5000);
    CHECK_EQ(recv(w->ends[1], data, sizeof data, 0), 5010);
    CHECK(net_pattern_holds(data, 5010, 6, 0));
    /* Flushing nothing, writing nothing. */
    CHECK_EQ(rt_poll_stream_flush(cx, w->stream), 0);
    CHECK_EQ(rt_poll_stream_write(cx, w->stream, NULL, 0), 0);
    CHECK_EQ(rt_poll_stream_write(cx, w->stream, NULL, 1), -EINVAL);
    NOTHING_CAME(w->ends[1]);
    /* Unflushed bytes are lost with the stream. */
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 10));
    writer_close(w);
    CHECK_EQ(net_get(w->ends[1], data, 1), 0);
    close(w->ends[1]);
    RT_END(0);
}
static void sent_when_full_or_asked_for(void) {
    struct writer *w = fresh();
    w->opts.write_buffer = 100;
    net_unix_pair(w->ends);
    play_alone(send_when, w);
}

/* ---- a slow peer ---- */

enum { ALL = 1 << 22 };

static int64_t write_much(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    writer_open(w, cx, RT_WRITABLE);
    while (w->offset < w->far_end.bytes) {
        w->i++;
        w->len = 1 + w->i * w->i * 37 % 60000;
        if (w->i % 3 != 0) w->len = 1 + w->len % 300;
        if (w->len > w->far_end.bytes - w->offset) w->len = w->far_end.bytes - w->offset;
        net_pattern(data, w->len, 3, w->offset);
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, w->len));
        CHECK_EQ(w->got, w->len);
        w->offset += w->len;
    }
    RT_AWAIT(w->got, rt_poll_stream_flush(cx, w->stream));
    CHECK_EQ(w->got, 0);
    writer_close(w);
    RT_END(0);
}

static void slowly_over(void (*connect_ends)(int[2]), bool is_socket) {
    struct writer *w = fresh();
    w->opts.write_buffer = 5000;
    connect_ends(w->ends);
    if (is_socket) net_small_buffer(w->ends[0]);
    w->far_end = (struct far_end){.fd = w->ends[1], .seed = 3, .bytes = (size_t)scaled(ALL), .piece = 777};
    far_reads(&w->far_end);
    play_alone(write_much, w);
    thread_join(w->far_end.thread);
    close(w->ends[1]);
}
static void to_a_slow_tcp_peer(void) { slowly_over(net_pair, true); }
static void to_a_slow_unix_peer(void) { slowly_over(net_unix_pair, true); }
static void to_a_slow_pipe(void) { slowly_over(net_pipe_writer_first, false); }

static void *drain_then_ask(void *arg) {
    struct writer *w = arg;
    char end[6] = "";
    for (size_t left = w->len; left > 0;) {
        net_wait(w->ends[1], POLLIN);
        ssize_t n = read(w->ends[1], data, left < sizeof data ? left : sizeof data);
        if (n > 0) left -= (size_t)n;
    }
    CHECK_EQ(net_get(w->ends[1], end, 6), 6);
    CHECK(memcmp(end, "answer", 6) == 0);
    net_put(w->ends[1], "next\n", 5);
    return NULL;
}

/* A read that waits while what was written cannot go waits for both. */
static int64_t wait_for_both(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    net_small_buffer(w->ends[0]);
    w->len = net_stuff(w->ends[0]);
    writer_open(w, cx, RW);
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, "answer", 6));
    CHECK_EQ(w->got, 6);
    for (w->i = 0; w->i < 20; w->i++) {
        CHECK_EQ(rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->offset), RT_PENDING);
        RT_YIELD(cx);
    }
    w->far_end.thread = thread_start(drain_then_ask, w);
    RT_AWAIT(w->got, rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->offset));
    CHECK_EQ(w->got, 1);
    writer_close(w);
    RT_END(0);
}
static void waiting_for_both_directions(void) {
    struct writer *w = fresh();
    net_unix_pair(w->ends);
    play_alone(wait_for_both, w);
    thread_join(w->far_end.thread);
    close(w->ends[1]);
}

/* A read that waits while others' sends are queued waits for those as well, and then what was written goes. */
static int64_t wait_behind_a_queue(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    net_small_buffer(w->ends[0]);
    w->len = net_stuff(w->ends[0]) + sizeof data;
    writer_open(w, cx, RW);
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, "ans", 3));
    CHECK_EQ(w->got, 3);
    CHECK_EQ(rt_send(w->io, data, sizeof data), sizeof data);
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, "wer", 3));
    CHECK_EQ(w->got, 3);
    CHECK_EQ(rt_poll_stream_flush(cx, w->stream), -EBUSY);
    for (w->i = 0; w->i < 20; w->i++) {
        CHECK_EQ(rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->offset), RT_PENDING);
        RT_YIELD(cx);
    }
    w->far_end.thread = thread_start(drain_then_ask, w);
    RT_AWAIT(w->got, rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->offset));
    CHECK_EQ(w->got, 1);
    writer_close(w);
    RT_END(0);
}
static void waiting_behind_a_queue(void) {
    void (*const sockets[])(int[2]) = {net_unix_pair, net_pair};
    for (int i = 0; i < 2; i++) {
        struct writer *w = fresh();
        sockets[i](w->ends);
        play_alone(wait_behind_a_queue, w);
        thread_join(w->far_end.thread);
        close(w->ends[1]);
    }
}

/* ---- errors ---- */

static int64_t be_broken(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    for (w->i = 0; w->i < 4; w->i++) {
        net_pair(w->ends);
        writer_open(w, cx, RW);
        if (w->i % 2 == 1) /* a receive is under way on the ring */
            CHECK_EQ(rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len), RT_PENDING);
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 1000));
        CHECK_EQ(w->got, 1000);
        net_reset(w->ends[1]);
        if (w->i / 2 == 1) {
            RT_AWAIT(w->got, rt_poll_stream_read(cx, w->stream, data, 100));
            CHECK_EQ(w->got, -ECONNRESET);
            RT_AWAIT(w->got, rt_poll_stream_read(cx, w->stream, data, 100));
            CHECK_EQ(w->got, -ECONNRESET);
        } else {
            net_wait(w->ends[0], POLLERR);
            for (w->offset = 0; w->offset < 100; w->offset++) RT_YIELD(cx);
            RT_AWAIT(w->got, rt_poll_stream_flush(cx, w->stream));
            CHECK_EQ(w->got, -ECONNRESET);
        }
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 1));
        CHECK_EQ(w->got, -ECONNRESET);
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, sizeof data));
        CHECK_EQ(w->got, -ECONNRESET);
        RT_AWAIT(w->got, rt_poll_stream_flush(cx, w->stream));
        CHECK_EQ(w->got, -ECONNRESET);
        writer_close(w);
    }
    RT_END(0);
}
static void a_reset_is_told_again(void) { play_alone(be_broken, fresh()); }

static int64_t be_refused(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    for (w->i = 0; w->i < 2; w->i++) {
        if (w->i == 0) net_unix_pair(w->ends);
        else net_pipe_writer_first(w->ends);
        writer_open(w, cx, RT_WRITABLE);
        close(w->ends[1]);
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 10));
        CHECK_EQ(w->got, 10);
        RT_AWAIT(w->got, rt_poll_stream_flush(cx, w->stream));
        CHECK_EQ(w->got, -EPIPE); /* and not by a signal, which would have ended us */
        RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 10));
        CHECK_EQ(w->got, -EPIPE);
        CHECK_EQ(rt_poll_stream_read(cx, w->stream, data, 1), -EINVAL); /* not registered for it */
        writer_close(w);
    }
    RT_END(0);
}
static void nobody_reads(void) { play_alone(be_refused, fresh()); }

/* What can never be sent is not taken, and keeps no read from waiting. */
static int64_t write_where_none_may(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    writer_open(w, cx, RT_READABLE);
    CHECK_EQ(rt_poll_stream_write(cx, w->stream, "abc", 3), -EINVAL);
    CHECK_EQ(rt_poll_stream_write(cx, w->stream, data, sizeof data), -EINVAL);
    CHECK_EQ(rt_poll_stream_flush(cx, w->stream), 0);
    for (w->i = 0; w->i < 20; w->i++) {
        CHECK_EQ(rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len), RT_PENDING);
        RT_YIELD(cx);
    }
    net_put(w->ends[1], "line\n", 5);
    RT_AWAIT(w->got, rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len));
    CHECK_EQ(w->got, 1);
    CHECK_EQ(rt_close(w->io), 0);
    CHECK_EQ(rt_poll_stream_write(cx, w->stream, "abc", 3), -EBADF);
    CHECK_EQ(rt_stream_free(w->stream), 0);
    close(w->ends[1]);
    RT_END(0);
}
static void registered_for_reading_alone(void) {
    struct writer *w = fresh();
    net_unix_pair(w->ends);
    play_alone(write_where_none_may, w);
}

/* The call that would wait says that what was written cannot be sent; once. */
static int64_t read_when_broken(rt_cx *cx, void *state) {
    struct writer *w = state;
    RT_BEGIN(&w->frame);
    CHECK_SYS(shutdown(w->ends[0], SHUT_WR));
    writer_open(w, cx, RW);
    RT_AWAIT(w->got, rt_poll_stream_write(cx, w->stream, data, 10));
    CHECK_EQ(w->got, 10);
    RT_AWAIT(w->got, rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len));
    CHECK_EQ(w->got, -EPIPE);
    CHECK_EQ(rt_poll_stream_write(cx, w->stream, data, 10), -EPIPE);
    net_put(w->ends[1], "line\n", 5);
    RT_AWAIT(w->got, rt_poll_read_until(cx, w->stream, '\n', &w->line, &w->len));
    CHECK_EQ(w->got, 1);
    writer_close(w);
    close(w->ends[1]);
    RT_END(0);
}
static void a_read_tells_what_cannot_go(void) {
    struct writer *w = fresh();
    net_unix_pair(w->ends);
    play_alone(read_when_broken, w);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(answers_leave_together);
    CASE(no_answer_is_forgotten);
    CASE(sent_when_full_or_asked_for);
    CASE(to_a_slow_tcp_peer);
    CASE(to_a_slow_unix_peer);
    CASE(to_a_slow_pipe);
    CASE(waiting_for_both_directions);
    CASE(waiting_behind_a_queue);
    CASE(a_reset_is_told_again);
    CASE(nobody_reads);
    CASE(registered_for_reading_alone);
    CASE(a_read_tells_what_cannot_go);
    return test_end();
}
