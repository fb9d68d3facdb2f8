/* A call of a stream's that is not made again, because its task ended or because its context was
 * freed: what it received is there for whoever reads next, though his buffer be the same; what it
 * wrote in part is followed by nothing, for its rest never comes.
 */
#include "multi.h"

enum { MUCH = 2000000, SMALL = 64, LARGE = 40000 };

static void (*const kinds[])(int[2]) = {net_pair, net_unix_pair, net_pipe};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static char buffer[MUCH];

struct stage {
    rt_runtime rt;
    rt_io io;
    rt_stream stream;
    int far;
    struct hand hands[2], *hand;
};

static void stage_open(struct stage *s, void (*connect_ends)(int[2]), uint32_t flags) {
    int ends[2];
    memset(s, 0, sizeof *s);
    connect_ends(ends);
    s->rt = test_runtime();
    s->far = ends[1];
    s->io = io_of(s->rt, ends[0], flags);
    CHECK_EQ(rt_stream_new(s->io, NULL, &s->stream), 0);
    s->hand = &s->hands[0];
    hand_open(s->hand, s->rt);
}

static void stage_close(struct stage *s) {
    hand_close(s->hand);
    CHECK_EQ(rt_stream_free(s->stream), 0);
    CHECK_EQ(rt_close(s->io), 0);
    close(s->far);
    multi_runtime_free(s->rt);
}

/* The next context has the same address. What the first one's waker is about is there as long as
 * something may be waited for.
 */
static void other_context(struct stage *s) {
    hand_close(s->hand);
    s->hand = &s->hands[1];
    hand_open(s->hand, s->rt);
}

/* ---- a call in a task of its own, until it is cut ---- */

enum call { EXACT, WRITE };

struct caller {
    enum call call;
    struct stage *stage;
    size_t n, first;
    bool room; /* a part of it goes at once */
    atomic_bool began;
};

static bool has_begun(void *arg) { return atomic_load(&((struct caller *)arg)->began); }

static int64_t make_call(rt_cx *cx, void *state) {
    struct caller *c = state;
    int64_t r;
    if (c->call == WRITE) {
        rt_ready ready;
        r = rt_poll_ready(cx, c->stage->io, RT_WRITABLE, &ready);
        if (r == RT_PENDING && c->room) return r;
        r = rt_poll_stream_write(cx, c->stage->stream, buffer, c->n);
    } else {
        const void *at;
        size_t len;
        if (!has_begun(c)) {
            r = rt_poll_fill(cx, c->stage->stream, c->first, &at, &len);
            if (r == RT_PENDING) return r;
            CHECK_EQ(r, (int64_t)c->first);
        }
        r = rt_poll_read_exact(cx, c->stage->stream, buffer, c->n);
    }
    atomic_store(&c->began, true);
    return r;
}

static rt_task caller_start(struct caller *c) {
    rt_task task = 0;
    CHECK_EQ(rt_spawn(c->stage->rt, make_call, c, NULL, &task), 0);
    drive_until(c->stage->rt, has_begun, c);
    return task;
}

static void caller_cut(rt_task task) {
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
}

/* ---- reading ---- */

static void read_on(size_t n, size_t first, bool by_task) {
    for (int kind = 0; kind < KINDS; kind++) {
        static char data[LARGE];
        struct stage s;
        stage_open(&s, kinds[kind], RT_READABLE);
        net_pattern(data, n, 7, 0);
        net_put(s.far, data, first);
        struct caller a = {.call = EXACT, .stage = &s, .n = n, .first = first};
        if (by_task) {
            caller_cut(caller_start(&a));
        } else {
            const void *at;
            size_t len;
            AWAIT_EQ(s.hand, (int64_t)first, rt_poll_fill(s.hand->cx, s.stream, first, &at, &len));
            CHECK_EQ(rt_poll_read_exact(s.hand->cx, s.stream, buffer, n), RT_PENDING);
            other_context(&s);
        }
        memset(buffer, '-', n); /* its memory is gone */
        net_put(s.far, data + first, n - first);
        if (kind % 2 == 0) {
            AWAIT_EQ(s.hand, (int64_t)n, rt_poll_read_exact(s.hand->cx, s.stream, buffer, n));
        } else {
            AWAIT_EQ(s.hand, (int64_t)first - 1,
                     rt_poll_read_exact(s.hand->cx, s.stream, buffer, first - 1));
            CHECK(net_pattern_holds(buffer, first - 1, 7, 0));
            AWAIT_EQ(s.hand, (int64_t)(n - first + 1),
                     rt_poll_read_exact(s.hand->cx, s.stream, buffer + first - 1, n - first + 1));
        }
        CHECK(net_pattern_holds(buffer, n, 7, 0));
        stage_close(&s);
    }
}
static void few_bytes_of_a_task(void) { read_on(SMALL, 3, true); }
static void many_bytes_of_a_task(void) { read_on(LARGE, 20000, true); }
static void few_bytes_of_a_context(void) { read_on(SMALL, 3, false); }
static void many_bytes_of_a_context(void) { read_on(LARGE, 20000, false); }

/* A task that looks away reads on as it likes. */
struct fickle {
    rt_frame frame;
    struct stage *stage;
    const void *at;
    size_t len;
    int64_t got;
};

static int64_t change_its_mind(rt_cx *cx, void *state) {
    struct fickle *f = state;
    rt_stream stream = f->stage->stream;
    RT_BEGIN(&f->frame);
    RT_AWAIT(f->got, rt_poll_fill(cx, stream, 8, &f->at, &f->len));
    CHECK_EQ(rt_poll_read_exact(cx, stream, buffer, 100), RT_PENDING);
    CHECK_EQ(rt_poll_read_exact(cx, stream, buffer + 1, 99), RT_PENDING);
    RT_AWAIT(f->got, rt_poll_read_until(cx, stream, '\n', &f->at, &f->len));
    CHECK(f->got == 1 && f->len == 4 && memcmp(f->at, "one\n", 4) == 0);
    CHECK_EQ(rt_poll_read_exact(cx, stream, buffer, 100), RT_PENDING);
    RT_AWAIT(f->got, rt_poll_stream_read(cx, stream, buffer, 100));
    CHECK(f->got == 4 && memcmp(buffer, "two\n", 4) == 0);
    RT_END(0);
}

static void a_call_that_is_given_up(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct stage s;
        stage_open(&s, kinds[kind], RT_READABLE);
        net_put(s.far, "one\ntwo\n", 8);
        struct fickle f = {.stage = &s};
        CHECK_EQ(rt_block_on(s.rt, change_its_mind, &f), 0);
        stage_close(&s);
    }
}

/* ---- writing ---- */

static void (*const written[])(int[2]) = {net_pair, net_unix_pair, net_pipe_writer_first};

static size_t read_all(struct stage *s, char expected) {
    static char data[65536];
    ssize_t n;
    size_t all = 0;
    while ((n = read(s->far, data, sizeof data)) > 0) {
        for (ssize_t i = 0; i < n; i++) CHECK_EQ(data[i], expected);
        all += (size_t)n;
    }
    return all;
}

/* Nothing follows a message of which a part is missing. */
static void is_cut(struct stage *s) {
    memset(buffer, 'B', MUCH);
    net_wait(s->far, POLLIN);
    CHECK(read_all(s, 'A') > 0);
    AWAIT_EQ(s->hand, -EPIPE, rt_poll_stream_write(s->hand->cx, s->stream, buffer, MUCH));
    AWAIT_EQ(s->hand, -EPIPE, rt_poll_stream_write(s->hand->cx, s->stream, "x", 1));
    AWAIT_EQ(s->hand, -EPIPE, rt_poll_stream_flush(s->hand->cx, s->stream));
    read_all(s, 'A');
}

static void what_a_task_wrote_in_part(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct stage s;
        stage_open(&s, written[kind], kind < 2 ? RW : RT_WRITABLE);
        memset(buffer, 'A', MUCH);
        struct caller a = {.call = WRITE, .stage = &s, .n = MUCH, .room = true};
        rt_task task = caller_start(&a);
        /* As long as it may go on, others wait for it. */
        CHECK_EQ(rt_poll_stream_write(s.hand->cx, s.stream, buffer, MUCH), -EBUSY);
        CHECK_EQ(rt_poll_stream_write(s.hand->cx, s.stream, "x", 1), -EBUSY);
        caller_cut(task);
        if (kind == 0) AWAIT_EQ(s.hand, -EPIPE, rt_poll_stream_flush(s.hand->cx, s.stream));
        is_cut(&s);
        if (kind < 2) {
            char byte;
            net_put(s.far, "!", 1);
            AWAIT_EQ(s.hand, 1, rt_poll_stream_read(s.hand->cx, s.stream, &byte, 1));
        }
        stage_close(&s);
    }
}

static void what_a_context_wrote_in_part(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct stage s;
        stage_open(&s, written[kind], RT_WRITABLE);
        memset(buffer, 'A', MUCH);
        await_ready(s.hand, s.io, RT_WRITABLE);
        CHECK_EQ(rt_poll_stream_write(s.hand->cx, s.stream, buffer, MUCH), RT_PENDING);
        other_context(&s);
        is_cut(&s);
        stage_close(&s);
    }
}

/* Nothing had gone: nothing is missing. */
static void what_had_not_begun(void) {
    struct stage s;
    stage_open(&s, net_unix_pair, RW);
    struct caller a = {.call = WRITE, .stage = &s, .n = MUCH};
    size_t stuffed = net_stuff((int)CHECK_OK(rt_io_fd(s.io)));
    memset(buffer, 'A', MUCH);
    caller_cut(caller_start(&a));
    CHECK_EQ(read_all(&s, 0), stuffed);
    AWAIT_EQ(s.hand, 5, rt_poll_stream_write(s.hand->cx, s.stream, "BBBBB", 5));
    AWAIT_EQ(s.hand, 0, rt_poll_stream_flush(s.hand->cx, s.stream));
    CHECK_EQ(read_all(&s, 'B'), 5);
    stage_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(few_bytes_of_a_task);
    CASE(many_bytes_of_a_task);
    CASE(few_bytes_of_a_context);
    CASE(many_bytes_of_a_context);
    CASE(a_call_that_is_given_up);
    CASE(what_a_task_wrote_in_part);
    CASE(what_a_context_wrote_in_part);
    CASE(what_had_not_begun);
    return test_end();
}
