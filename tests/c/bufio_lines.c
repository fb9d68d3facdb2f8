/* Lines come whole and in order, however they were cut on the way: on sockets, pipes and a
 * terminal, within a buffer and across many; too long ones are an error, the last one may lack its
 * delimiter, and nothing is searched or copied so often that long lines would not end.
 */
#include "multi.h"

#include <termios.h>

enum { LINES = 40, MANY = 1 << 16 };

struct reader {
    rt_frame frame;
    rt_io io;
    rt_stream stream;
    int64_t got;
    const void *line;
    size_t len, i, offset, bytes;
    int ends[2];
    rt_stream_opts opts;
};

static struct reader reader;

static struct reader *fresh(void) {
    memset(&reader, 0, sizeof reader);
    CHECK_EQ(rt_stream_opts_init(&reader.opts, sizeof reader.opts), 0);
    return &reader;
}

static void reader_open(struct reader *r, rt_cx *cx) {
    r->io = io_of(rt_cx_runtime(cx), r->ends[0], RT_READABLE);
    CHECK_EQ(rt_stream_new(r->io, &r->opts, &r->stream), 0);
    CHECK(r->stream != 0);
}

static void reader_close(struct reader *r) {
    CHECK_EQ(rt_stream_free(r->stream), 0);
    CHECK_EQ(rt_stream_free(r->stream), -EBADF);
    CHECK_EQ(rt_close(r->io), 0);
}

/* Line i has this length with its end, and bytes that say where they are. */
static size_t length_of(size_t i) { return i % 10 == 9 ? 1 + i * 131 : 1 + i * 7 % 90; }
static char byte_of(size_t i, size_t at) {
    return at + 1 == length_of(i) ? '\n' : (char)('a' + (i + at) % 26);
}

static size_t text(char *out, size_t lines) {
    size_t n = 0;
    for (size_t i = 0; i < lines; i++)
        for (size_t at = 0; at < length_of(i); at++) out[n++] = byte_of(i, at);
    return n;
}

static void is_line(const struct reader *r, size_t i) {
    CHECK_EQ(r->len, length_of(i));
    for (size_t at = 0; at < r->len; at++) CHECK(((const char *)r->line)[at] == byte_of(i, at));
}

/* ---- a writer that cuts ---- */

struct cutter {
    int fd;
    size_t piece, n;
    char data[MANY * 4];
};
static struct cutter cutter;

static void *cut(void *arg) {
    struct cutter *c = arg;
    size_t piece = c->piece > 0 ? c->piece : c->n;
    for (size_t at = 0; at < c->n; at += piece) {
        net_put(c->fd, c->data + at, c->n - at < piece ? c->n - at : piece);
    }
    close(c->fd);
    return NULL;
}

static int64_t read_lines(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    for (r->i = 0;; r->i++) {
        RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
        if (r->got != 1) break;
        is_line(r, r->i);
    }
    CHECK_EQ(r->got, 0);
    CHECK(r->line == NULL);
    CHECK_EQ(r->len, 0);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK_EQ(r->got, 0);
    reader_close(r);
    RT_END((int64_t)r->i - LINES);
}

static void lines_over(void (*connect_ends)(int[2])) {
    static const size_t pieces[] = {0, 1, 7, 100, 2000};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct reader *r = fresh();
        rt_config config = test_config();
        if (i % 2 == 1) config.buffer_size = 100;
        connect_ends(r->ends);
        cutter.fd = r->ends[1];
        cutter.piece = pieces[i];
        cutter.n = text(cutter.data, LINES);
        pthread_t thread = thread_start(cut, &cutter);
        play_with(&config, read_lines, r);
        thread_join(thread);
    }
}
static void lines_over_tcp(void) { lines_over(net_pair); }
static void lines_over_unix(void) { lines_over(net_unix_pair); }
static void lines_over_a_pipe(void) { lines_over(net_pipe); }

/* Two lines, cut at every place, the parts far apart. */
static int64_t read_cut(rt_cx *cx, void *state) {
    static const char two[] = "first line\nsecond\n";
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    for (r->i = 0; r->i <= sizeof two - 1; r->i++) {
        net_put(r->ends[1], two, r->i);
        if (r->i >= 11) {
            RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
            CHECK(r->got == 1 && r->len == 11 && memcmp(r->line, two, 11) == 0);
        }
        if (r->i < 18)
            while (rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len) == RT_PENDING) {
                if (r->bytes++ % 70 == 69) {
                    net_put(r->ends[1], two + r->i, sizeof two - 1 - r->i);
                    break;
                }
                RT_YIELD(cx);
            }
        if (r->i < 11) {
            RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
            CHECK(r->got == 1 && r->len == 11 && memcmp(r->line, two, 11) == 0);
        }
        RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
        CHECK(r->got == 1 && r->len == 7 && memcmp(r->line, two + 11, 7) == 0);
    }
    close(r->ends[1]);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK_EQ(r->got, 0);
    reader_close(r);
    RT_END(0);
}
static void cut_at_every_place(void) {
    struct reader *r = fresh();
    net_pair(r->ends);
    play_alone(read_cut, r);
}

/* ---- the limit, and the end ---- */

static int64_t read_too_long(rt_cx *cx, void *state) {
    struct reader *r = state;
    static char kept[4];
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    /* As long as may be, then longer by one, whose rest is read otherwise. */
    net_put(r->ends[1], "123456789\n1234567890\n", 21);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 10);
    for (r->i = 0; r->i < 2; r->i++) {
        RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
        CHECK_EQ(r->got, -EMSGSIZE);
    }
    RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, kept, 4));
    CHECK(r->got == 4 && memcmp(kept, "1234", 4) == 0);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 7 && memcmp(r->line, "567890\n", 7) == 0);
    /* No end in sight; it may still be the last line, until it is too long for that, too. */
    net_put(r->ends[1], "1234567890", 10);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 10, &r->line, &r->len));
    for (r->i = 0; r->i < 20; r->i++) {
        CHECK_EQ(rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len), RT_PENDING);
        RT_YIELD(cx);
    }
    net_put(r->ends[1], "1", 1);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK_EQ(r->got, -EMSGSIZE);
    CHECK_EQ(rt_poll_fill(cx, r->stream, 11, &r->line, &r->len), -EMSGSIZE);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 10, &r->line, &r->len));
    CHECK(r->got >= 10 && memcmp(r->line, "1234567890", 10) == 0);
    CHECK_EQ(rt_stream_consume(r->stream, 12), -EINVAL);
    CHECK_EQ(rt_stream_consume(r->stream, 3), 0);
    CHECK_SYS(shutdown(r->ends[1], SHUT_WR));
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 8 && memcmp(r->line, "45678901", 8) == 0);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 0 && r->line == NULL);
    RT_AWAIT(r->got, rt_poll_stream_read(cx, r->stream, kept, 4));
    CHECK_EQ(r->got, 0);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 1, &r->line, &r->len));
    CHECK_EQ(r->got, 0);
    reader_close(r);
    close(r->ends[1]);
    RT_END(0);
}
static void longer_than_the_limit(void) {
    struct reader *r = fresh();
    r->opts.limit = 10;
    net_pair(r->ends);
    play_alone(read_too_long, r);
}

/* Another delimiter finds what was searched for the first. */
static int64_t read_two_ways(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    net_put(r->ends[1], "a:b:c", 5);
    RT_AWAIT(r->got, rt_poll_fill(cx, r->stream, 5, &r->line, &r->len));
    for (r->i = 0; r->i < 20; r->i++) {
        CHECK_EQ(rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len), RT_PENDING);
        RT_YIELD(cx);
    }
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, ':', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 2 && memcmp(r->line, "a:", 2) == 0);
    CHECK_EQ(rt_poll_read_until(cx, r->stream, 256, &r->line, &r->len), -EINVAL);
    CHECK_EQ(rt_poll_read_until(cx, r->stream, -1, &r->line, &r->len), -EINVAL);
    CHECK_EQ(rt_poll_read_until(cx, r->stream, ':', NULL, &r->len), -EINVAL);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, ':', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 2 && memcmp(r->line, "b:", 2) == 0);
    reader_close(r);
    close(r->ends[1]);
    RT_END(0);
}
static void two_delimiters(void) {
    struct reader *r = fresh();
    net_unix_pair(r->ends);
    play_alone(read_two_ways, r);
}

/* ---- a terminal ---- */

static int64_t read_terminal(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    net_put(r->ends[1], "one\ntwo\nth", 10);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 4 && memcmp(r->line, "one\n", 4) == 0);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 4 && memcmp(r->line, "two\n", 4) == 0);
    CHECK_EQ(rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len), RT_PENDING);
    net_put(r->ends[1], "ree\n", 4);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK(r->got == 1 && r->len == 6 && memcmp(r->line, "three\n", 6) == 0);
    CHECK_EQ(rt_poll_stream_write(cx, r->stream, "answer\n", 7), -EINVAL); /* registered for reading only */
    reader_close(r);
    close(r->ends[1]);
    RT_END(0);
}
static void over_a_terminal(void) {
    struct reader *r = fresh();
    r->ends[1] = (int)CHECK_SYS(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    CHECK_SYS(grantpt(r->ends[1]));
    CHECK_SYS(unlockpt(r->ends[1]));
    r->ends[0] = (int)CHECK_SYS(open(ptsname(r->ends[1]), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    play_alone(read_terminal, r);
}

/* ---- a long line that comes in small parts: quadratic work would not end ---- */

static int64_t read_long(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    reader_open(r, cx);
    RT_AWAIT(r->got, rt_poll_read_until(cx, r->stream, '\n', &r->line, &r->len));
    CHECK_EQ(r->got, 1);
    CHECK_EQ(r->len, r->bytes);
    reader_close(r);
    RT_END(0);
}
static void a_long_line_in_small_parts(void) {
    struct reader *r = fresh();
    r->opts.limit = MANY * 4;
    cutter.n = r->bytes = (size_t)scaled(MANY * 4);
    memset(cutter.data, 'x', cutter.n);
    cutter.data[cutter.n - 1] = '\n';
    net_unix_pair(r->ends);
    cutter.fd = r->ends[1];
    cutter.piece = 16;
    pthread_t thread = thread_start(cut, &cutter);
    play_alone(read_long, r);
    thread_join(thread);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(lines_over_tcp);
    CASE(lines_over_unix);
    CASE(lines_over_a_pipe);
    CASE(cut_at_every_place);
    CASE(longer_than_the_limit);
    CASE(two_delimiters);
    CASE(over_a_terminal);
    CASE(a_long_line_in_small_parts);
    return test_end();
}
