/* A stream passes from one task to another, whatever became of the first, and no byte is lost; two
 * at once, or two ways of reading at once, do not corrupt each other; stale handles are told.
 */
#include "multi.h"

enum { LINES = 2000, LINE = 16 };

struct shared {
    rt_io io;
    rt_stream stream;
    size_t seen;
    int ends[2];
    pthread_t thread;
};

static struct shared shared;

static void *write_lines(void *arg) {
    struct shared *s = arg;
    char line[LINE + 1];
    for (int i = 0; i < scaled(LINES); i++) {
        snprintf(line, sizeof line, "line %010d\n", i);
        net_put(s->ends[1], line, LINE);
        if (i % 7 == 0) sched_yield();
    }
    close(s->ends[1]);
    return NULL;
}

static void shared_open(rt_runtime rt, void (*connect_ends)(int[2])) {
    memset(&shared, 0, sizeof shared);
    connect_ends(shared.ends);
    shared.io = io_of(rt, shared.ends[0], RW);
    CHECK_EQ(rt_stream_new(shared.io, NULL, &shared.stream), 0);
}

static void shared_close(void) {
    CHECK_EQ(rt_stream_free(shared.stream), 0);
    CHECK_EQ(rt_close(shared.io), 0);
}

/* Reads a few lines, and then ends as it likes: in the middle of a wait, or right after a line. */
struct taker {
    rt_frame frame;
    int64_t got;
    const void *line;
    size_t len;
    int left;
    bool stays; /* until it is aborted */
    atomic_bool waits;
};

static int64_t take_some(rt_cx *cx, void *state) {
    struct taker *t = state;
    RT_BEGIN(&t->frame);
    for (; t->left > 0; t->left--) {
        RT_AWAIT(t->got, rt_poll_read_until(cx, shared.stream, '\n', &t->line, &t->len));
        if (t->got != 1) RT_RETURN(t->got);
        char line[LINE + 1];
        snprintf(line, sizeof line, "line %010d\n", (int)shared.seen++);
        CHECK(t->len == LINE && memcmp(t->line, line, LINE) == 0);
    }
    /* Something is asked for and not taken. */
    t->got = rt_poll_fill(cx, shared.stream, LINE, &t->line, &t->len);
    CHECK(t->got == RT_PENDING || t->got >= 0);
    atomic_store(&t->waits, true);
    while (t->stays) RT_YIELD(cx);
    RT_END(1);
}

static void from_task_to_task(void (*connect_ends)(int[2]), bool first_stays) {
    static struct taker takers[LINES];
    memset(takers, 0, sizeof takers);
    rt_runtime rt = test_runtime();
    shared_open(rt, connect_ends);
    shared.thread = thread_start(write_lines, &shared);
    int64_t got = 1;
    rt_task before = 0;
    for (int i = 0; got == 1; i++) {
        CHECK(i < LINES);
        rt_task task = 0;
        takers[i].left = i % 10;
        takers[i].stays = false;
        if (first_stays && i == 0) {
            takers[0].stays = true;
            takers[0].left = 2;
            CHECK_EQ(rt_spawn(rt, take_some, &takers[0], NULL, &before), 0);
            drive_until(rt, flag_set, &takers[0].waits);
            continue;
        }
        CHECK_EQ(rt_spawn(rt, take_some, &takers[i], NULL, &task), 0);
        got = join_task(task);
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(shared.seen, scaled(LINES));
    if (before != 0) {
        CHECK_EQ(rt_abort(before), 0);
        CHECK_EQ(join_task(before), -ECANCELED);
    }
    thread_join(shared.thread);
    shared_close();
    multi_runtime_free(rt);
}
static void when_the_first_has_ended(void) { from_task_to_task(net_pair, false); }
static void when_the_first_lives_on(void) { from_task_to_task(net_unix_pair, true); }
static void over_a_pipe(void) { from_task_to_task(net_pipe, false); }

/* A context of the program's own reads what a task began to. */
static void by_a_context_after_a_task(void) {
    static struct taker taker;
    struct hand hand;
    const void *line;
    size_t len;
    memset(&taker, 0, sizeof taker);
    rt_runtime rt = test_runtime();
    rt_task task = 0;
    int64_t got;
    shared_open(rt, net_pair);
    taker.left = 3;
    shared.thread = thread_start(write_lines, &shared);
    CHECK_EQ(rt_spawn(rt, take_some, &taker, NULL, &task), 0);
    CHECK_EQ(join_task(task), 1);
    hand_open(&hand, rt);
    do {
        while ((got = rt_poll_read_until(hand.cx, shared.stream, '\n', &line, &len)) == RT_PENDING) {
            if (current_thread()) CHECK_OK(rt_turn(rt, 1000000));
            else gate_wait(&hand.woken);
        }
        if (got == 1) {
            char expected[LINE + 1];
            snprintf(expected, sizeof expected, "line %010d\n", (int)shared.seen++);
            CHECK(len == LINE && memcmp(line, expected, LINE) == 0);
        }
    } while (got == 1);
    CHECK_EQ(got, 0);
    CHECK_EQ(shared.seen, scaled(LINES));
    thread_join(shared.thread);
    shared_close();
    hand_close(&hand);
    multi_runtime_free(rt);
}

/* ---- freeing, closing, and others on the same descriptor ---- */

struct ending {
    rt_frame frame;
    rt_io io;
    rt_stream stream, second;
    int64_t got;
    const void *line;
    size_t len, i;
    int ends[2];
};

/* In a coroutine over `e`: a stream with a line that was given, and more behind it. */
#define HALF_READ(e)                                                                        \
    do {                                                                                    \
        net_pair((e)->ends);                                                                \
        (e)->io = io_of(rt_cx_runtime(cx), (e)->ends[0], RW);                               \
        CHECK_EQ(rt_stream_new((e)->io, NULL, &(e)->stream), 0);                            \
        net_put((e)->ends[1], "one\ntwo\nthree", 13);                                       \
        RT_AWAIT((e)->got, rt_poll_read_until(cx, (e)->stream, '\n', &(e)->line, &(e)->len)); \
        CHECK((e)->got == 1 && (e)->len == 4);                                              \
    } while (0)

static int64_t end_it(rt_cx *cx, void *state) {
    struct ending *e = state;
    char byte;
    RT_BEGIN(&e->frame);
    for (e->i = 0; e->i < 50; e->i++) {
        /* Freed with a line given and with bytes left; the receive ends, and leaves nothing behind. */
        HALF_READ(e);
        CHECK_EQ(rt_stream_free(e->stream), 0);
        CHECK_EQ(rt_poll_read_until(cx, e->stream, '\n', &e->line, &e->len), -EBADF);
        CHECK_EQ(rt_poll_stream_read(cx, e->stream, &byte, 1), -EBADF);
        CHECK_EQ(rt_poll_read_exact(cx, e->stream, &byte, 1), -EBADF);
        CHECK_EQ(rt_poll_fill(cx, e->stream, 1, &e->line, &e->len), -EBADF);
        CHECK_EQ(rt_poll_stream_write(cx, e->stream, "x", 1), -EBADF);
        CHECK_EQ(rt_poll_stream_flush(cx, e->stream), -EBADF);
        CHECK_EQ(rt_stream_consume(e->stream, 0), -EBADF);
        CHECK_EQ(rt_stream_free(e->stream), -EBADF);
        RT_AWAIT(e->got, rt_poll_quiesce(cx));
        CHECK_EQ(e->got, 0);
        CHECK_EQ(leases_out(rt_cx_runtime(cx)), 0);
        /* The descriptor is free for others from now on. */
        net_put(e->ends[1], "!", 1);
        RT_AWAIT(e->got, rt_poll_read(cx, e->io, &byte, 1));
        CHECK(e->got == 1 && byte == '!');
        CHECK_EQ(rt_close(e->io), 0);
        close(e->ends[1]);

        /* Closed first: what was received is read, then the handle is stale. */
        HALF_READ(e);
        CHECK_EQ(rt_close(e->io), 0);
        do RT_AWAIT(e->got, rt_poll_read_until(cx, e->stream, '\n', &e->line, &e->len));
        while (e->got == 1);
        CHECK_EQ(e->got, -EBADF);
        RT_AWAIT(e->got, rt_poll_stream_write(cx, e->stream, "x", 1));
        CHECK_EQ(e->got, -EBADF);
        CHECK_EQ(rt_stream_free(e->stream), 0);
        close(e->ends[1]);

        /* A second stream, or a direct read, beside: an error, or its share of the bytes. */
        HALF_READ(e);
        CHECK_EQ(rt_stream_new(e->io, NULL, &e->second), 0);
        e->got = rt_poll_stream_read(cx, e->second, &byte, 1);
        CHECK(e->got == -EBUSY || e->got == RT_PENDING || e->got == 1);
        e->got = rt_poll_read(cx, e->io, &byte, 1);
        CHECK(e->got == -EBUSY || e->got == RT_PENDING || e->got == 1);
        CHECK_EQ(rt_stream_free(e->second), 0);
        RT_AWAIT(e->got, rt_poll_read_until(cx, e->stream, '\n', &e->line, &e->len));
        CHECK(e->got == 1 && e->len == 4 && memcmp(e->line, "two\n", 4) == 0);
        CHECK_EQ(rt_stream_free(e->stream), 0);
        CHECK_EQ(rt_close(e->io), 0);
        close(e->ends[1]);
    }
    RT_END(0);
}
static void freed_and_closed(void) {
    static struct ending ending;
    memset(&ending, 0, sizeof ending);
    play_alone(end_it, &ending);
}

static void wrong_arguments(void) {
    int ends[2];
    rt_runtime rt = test_runtime();
    rt_stream stream = 77;
    rt_stream_opts opts;
    CHECK_EQ(rt_stream_opts_init(NULL, sizeof opts), -EINVAL);
    CHECK_EQ(rt_stream_opts_init(&opts, 2), -EINVAL);
    CHECK_EQ(rt_stream_opts_init(&opts, sizeof opts), 0);
    CHECK_EQ(rt_stream_new(0, NULL, &stream), -EBADF);
    CHECK_EQ(stream, 0);
    net_unix_pair(ends);
    rt_io io = io_of(rt, ends[0], RW);
    CHECK_EQ(rt_stream_new(io, NULL, NULL), -EINVAL);
    opts.size = 3;
    CHECK_EQ(rt_stream_new(io, &opts, &stream), -EINVAL);
    CHECK_EQ(rt_stream_new(rt, NULL, &stream), -EBADF);
    CHECK_EQ(rt_stream_new(io, NULL, &stream), 0);
    CHECK_EQ(rt_poll_stream_read(NULL, stream, ends, 1), -EINVAL);
    CHECK_EQ(rt_stream_free(io), -EBADF);
    CHECK_EQ(rt_stream_free(0), 0);
    CHECK_EQ(rt_stream_free(stream), 0);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_stream_new(io, NULL, &stream), -EBADF);
    CHECK_EQ(stream, 0);
    close(ends[1]);
    multi_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(when_the_first_has_ended);
    CASE(when_the_first_lives_on);
    CASE(over_a_pipe);
    CASE(by_a_context_after_a_task);
    CASE(freed_and_closed);
    CASE(wrong_arguments);
    return test_end();
}
