/* A splice into a stream has its place among the sends: behind what was queued before, and before
 * what comes later, be it that it waits for room or for something to read. Whoever cancels it lets
 * those behind it go.
 */
#include "multi.h"
#include "soon.h"

enum { HEAD = 100000 }; /* more than goes into a small buffer */

struct pouring {
    struct steps steps;
    int pipe[2];
    rt_io source;
    rt_op splice, late;
    rt_timer rest;
    uint64_t until;
    size_t stuffed, have;
    int kind, way;
    rt_task task;
    pthread_t closer;
    bool begun;
    int64_t ended, woken;
    char head[HEAD], got[8 << 20]; /* sent, and read by the peer */
};

static struct pouring pouring;

static void play(rt_poll_fn body) {
    memset(&pouring, 0, sizeof pouring);
    play_alone(body, &pouring);
}

/* As net_pair, for packets. */
static void packet_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void (*const kinds[])(int[2]) = {net_pair, net_unix_pair};
enum { KINDS = 2 };

static void open_ends(rt_cx *cx, struct pouring *e, void (*connect_ends)(int[2])) {
    steps_pair(cx, &e->steps, connect_ends);
    net_pipe(e->pipe);
    e->source = io_of(rt_cx_runtime(cx), e->pipe[0], RT_READABLE);
    e->stuffed = e->have = 0;
    memset(e->head, 'h', sizeof e->head);
}

static void close_ends(struct pouring *e) {
    CHECK_EQ(rt_close(e->source), 0);
    if (e->pipe[1] >= 0) close(e->pipe[1]);
    steps_close(&e->steps);
    e->steps.io = e->steps.far = 0;
}

static void fill(struct pouring *e) { e->stuffed = net_stuff(e->steps.near); }

static int64_t pour(rt_cx *cx, struct pouring *e, size_t n) {
    return rt_submit_splice(cx, e->source, RT_OFFSET_CURRENT, e->steps.io, RT_OFFSET_CURRENT, n, 0,
                            &e->splice);
}

/* The peer reads what is there. False at the end of the stream. */
static bool read_some(struct pouring *e) {
    CHECK(e->have < sizeof e->got);
    ssize_t r = read(e->steps.far, e->got + e->have, sizeof e->got - e->have);
    if (r > 0) e->have += (size_t)r;
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    return r != 0;
}

/* Whoever sends has its turn: to yield on and on costs too much under valgrind. */
#define REST(e)                                                           \
    do {                                                                  \
        (e)->until = rt_now() + 20000;                                    \
        RT_AWAIT((e)->woken, rt_poll_sleep(cx, &(e)->rest, (e)->until));   \
    } while (0)

/* Until the peer has so many bytes behind what the socket was filled with. */
#define READ(e, n) \
    while ((e)->have < (e)->stuffed + (n) && read_some(e)) REST(e)

static bool ends_with(struct pouring *e, const char *text) {
    size_t n = strlen(text);
    return e->have >= n && memcmp(e->got + e->have - n, text, n) == 0;
}

/* ---- it waits for room ---- */

static int64_t body_behind_head(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->way = 0; e->way < 2 * KINDS; e->way++) {
        open_ends(cx, e, kinds[e->way % 2]);
        net_small_buffer(s->near);
        net_put(e->pipe[1], "BODY", 4);
        if (e->way < KINDS) CHECK_EQ(rt_send(s->io, e->head, HEAD), HEAD);
        else CHECK_EQ(rt_submit_send(cx, s->io, e->head, HEAD, 0, &s->op), 0);
        CHECK_EQ(pour(cx, e, 4), 0);
        CHECK_EQ(rt_send(s->io, "tail", 4), 4);
        READ(e, HEAD + 8);
        CHECK_EQ(e->have, HEAD + 8);
        CHECK(memchr(e->got, 'B', e->have) == e->got + HEAD);
        CHECK(ends_with(e, "BODYtail"));
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, 4);
        if (e->way >= KINDS) OP_TAKE_EQ(s, HEAD);
        close_ends(e);
    }
    RT_END(0);
}
static void the_body_goes_behind_the_head(void) { play(body_behind_head); }

static void *close_it(void *arg) {
    CHECK_EQ(rt_close(*(rt_io *)arg), 0);
    return NULL;
}

/* It waits for room, and there will be none. */
static int64_t splice_into_what_closes(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->way = 0; e->way < scaled(20) * KINDS; e->way++) {
        open_ends(cx, e, kinds[e->way % 2]);
        fill(e);
        net_put(e->pipe[1], "BODY", 4);
        CHECK_EQ(pour(cx, e, 4), 0);
        OP_TURNS(s, 20);
        e->closer = thread_start(close_it, &s->io);
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, -ECANCELED);
        thread_join(e->closer);
        s->io = 0;
        close_ends(e);
    }
    RT_END(0);
}
static void a_close_of_its_target_cancels_it(void) { play(splice_into_what_closes); }

static int64_t send_behind_splice(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->way = 0; e->way < 2 * KINDS; e->way++) {
        open_ends(cx, e, kinds[e->way % 2]);
        fill(e);
        net_put(e->pipe[1], "BODY", 4);
        CHECK_EQ(pour(cx, e, 4), 0);
        OP_TURNS(s, 20);
        if (e->way < KINDS) CHECK_EQ(rt_send(s->io, "after", 5), 5);
        else CHECK_EQ(rt_submit_send(cx, s->io, "after", 5, 0, &s->op), 0);
        READ(e, 9);
        CHECK(ends_with(e, "BODYafter"));
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, 4);
        if (e->way >= KINDS) OP_TAKE_EQ(s, 5);
        close_ends(e);
    }
    RT_END(0);
}
static void no_send_overtakes_it(void) { play(send_behind_splice); }

static int64_t shutdown_behind_splice(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->kind = 0; e->kind < KINDS; e->kind++) {
        open_ends(cx, e, kinds[e->kind]);
        fill(e);
        net_put(e->pipe[1], "BODY", 4);
        CHECK_EQ(pour(cx, e, 4), 0);
        OP_TURNS(s, 20);
        CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
        while (read_some(e)) REST(e);
        CHECK_EQ(e->have, e->stuffed + 4);
        CHECK(ends_with(e, "BODY"));
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, 4);
        OP_TAKE_EQ(s, 0);
        close_ends(e);
    }
    RT_END(0);
}
static void no_shutdown_overtakes_it(void) { play(shutdown_behind_splice); }

static int64_t splice_between_packets(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    open_ends(cx, e, packet_pair);
    fill(e);
    net_put(e->pipe[1], "BODY", 4);
    CHECK_EQ(rt_send(s->io, "before", 6), 6);
    CHECK_EQ(pour(cx, e, 4), 0);
    CHECK_EQ(rt_submit_send(cx, s->io, "after", 5, 0, &s->op), 0);
    READ(e, 15);
    CHECK(ends_with(e, "beforeBODYafter"));
    RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
    CHECK_EQ(s->got, 4);
    OP_TAKE_EQ(s, 5);
    close_ends(e);
    RT_END(0);
}
static void between_packets_too(void) { play(splice_between_packets); }

/* ---- it waits for something to read ---- */

enum way_on { BYTES_COME, PIPE_ENDS, IS_CANCELLED, TIME_IS_OVER, SOURCE_CLOSES, WAYS_ON };

/* From within a poll. */
static void go_on(struct pouring *e) {
    switch ((enum way_on)e->way) {
    case BYTES_COME: net_put(e->pipe[1], "BODY", 4); return;
    case PIPE_ENDS:
        close(e->pipe[1]);
        e->pipe[1] = -1;
        return;
    case IS_CANCELLED: CHECK_EQ(rt_cancel(e->splice), 0); return;
    case TIME_IS_OVER: CHECK_EQ(rt_op_deadline(e->splice, rt_now()), 0); return;
    default:
        CHECK_EQ(rt_close(e->source), 0);
        e->source = 0;
    }
}

static int64_t wait_for_source(rt_cx *cx, void *state) {
    static const int64_t outcomes[] = {4, 0, -ECANCELED, -ETIME, -ECANCELED};
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->kind = 0; e->kind < KINDS; e->kind++)
        for (e->way = 0; e->way < WAYS_ON; e->way++) {
            open_ends(cx, e, kinds[e->kind]);
            CHECK_EQ(pour(cx, e, 100), 0);
            CHECK_EQ(rt_submit_send(cx, s->io, "after", 5, 0, &s->op), 0);
            CHECK_EQ(rt_send(s->io, "more", 4), 4);
            CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->other), 0);
            OP_TURNS(s, 50);
            CHECK_EQ(rt_poll_op(cx, e->splice), RT_PENDING);
            CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
            CHECK(read_some(e));
            CHECK_EQ(e->have, 0);
            CHECK_EQ(rt_poll_flush(cx, s->io, 0), RT_PENDING);
            go_on(e);
            while (read_some(e)) REST(e);
            CHECK(ends_with(e, e->way == BYTES_COME ? "BODYaftermore" : "aftermore"));
            CHECK_EQ(e->have, e->way == BYTES_COME ? 13 : 9);
            RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
            CHECK_EQ(s->got, outcomes[e->way]);
            OP_TAKE_EQ(s, 5);
            RT_AWAIT(s->got, rt_poll_op(cx, s->other));
            CHECK_EQ(s->got, 0);
            RT_AWAIT(s->got, rt_poll_flush(cx, s->io, 0));
            CHECK_EQ(s->got, 0);
            close_ends(e);
        }
    RT_END(0);
}
static void those_behind_wait_for_its_source(void) { play(wait_for_source); }

/* Nothing of an earlier wait stands in the way. */
static int64_t many_in_a_row(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    open_ends(cx, e, net_unix_pair);
    for (e->way = 0; e->way < 300; e->way++) {
        CHECK_EQ(pour(cx, e, 1), 0);
        CHECK_EQ(rt_send(s->io, "s", 1), 1);
        OP_TURNS(s, e->way % 3);
        if (e->way % 5 == 0) CHECK_EQ(rt_cancel(e->splice), 0);
        else net_put(e->pipe[1], "B", 1);
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, e->way % 5 == 0 ? -ECANCELED : 1);
        read_some(e);
    }
    READ(e, 300 + 240);
    for (size_t at = 0, way = 0; at < e->have; way++) {
        if (way % 5 != 0) CHECK_EQ(e->got[at++], 'B');
        CHECK_EQ(e->got[at++], 's');
    }
    close_ends(e);
    RT_END(0);
}
static void many_times_over(void) { play(many_in_a_row); }

/* ---- what fails ---- */

static int64_t bad_splices(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->kind = 0; e->kind < KINDS; e->kind++) {
        open_ends(cx, e, kinds[e->kind]);
        s->peer = io_of(rt_cx_runtime(cx), e->pipe[1], RT_WRITABLE);
        e->pipe[1] = -1;
        fill(e);
        CHECK_EQ(rt_send(s->io, "one", 3), 3);
        CHECK_EQ(rt_submit_splice(cx, s->peer, RT_OFFSET_CURRENT, s->io, RT_OFFSET_CURRENT, 1, 0,
                                  &s->op), 0); /* the wrong end */
        CHECK_EQ(rt_submit_splice(cx, e->source, 0, s->io, RT_OFFSET_CURRENT, 1, 0, &s->other), 0);
        CHECK_EQ(rt_send(s->io, "two", 3), 3);
        READ(e, 6);
        CHECK(ends_with(e, "onetwo"));
        OP_TAKE_EQ(s, -EBADF);
        RT_AWAIT(s->got, rt_poll_op(cx, s->other));
        CHECK_EQ(s->got, -ESPIPE);
        close_ends(e);
        s->peer = 0;
    }
    RT_END(0);
}
static void one_that_fails_harms_nobody(void) { play(bad_splices); }

static int64_t closed_streams(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->kind = 0; e->kind < KINDS; e->kind++) {
        open_ends(cx, e, kinds[e->kind]);
        CHECK_EQ(pour(cx, e, 1), 0);
        CHECK_EQ(rt_submit_send(cx, s->io, "after", 5, 0, &s->op), 0);
        OP_TURNS(s, 20);
        CHECK_EQ(rt_close(s->io), 0);
        s->io = 0;
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, -ECANCELED);
        OP_TAKE_EQ(s, -ECANCELED);
        close_ends(e);

        open_ends(cx, e, kinds[e->kind]);
        close(s->far);
        s->far = 0;
        net_put(e->pipe[1], "BODY", 4);
        CHECK_EQ(rt_send(s->io, "into nothing", 12), e->kind == 0 ? 12 : -EPIPE);
        net_wait(s->near, 0); /* hung up */
        CHECK_EQ(pour(cx, e, 4), 0);
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK(s->got == -EPIPE || s->got == -ECONNRESET);
        close_ends(e);
    }
    RT_END(0);
}
static void streams_that_end(void) { play(closed_streams); }

/* ---- its task ends ---- */

static int64_t splice_for_ever(rt_cx *cx, void *state) {
    struct pouring *e = state;
    if (!e->begun) CHECK_EQ(pour(cx, e, 100), 0);
    e->begun = true;
    return e->way == 0 ? 0 : RT_PENDING;
}

static int64_t end_its_task(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->way = 0; e->way < 2; e->way++) {
        open_ends(cx, e, net_unix_pair);
        e->begun = false;
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), splice_for_ever, e, NULL, &e->task), 0);
        while (metrics(rt_cx_runtime(cx)).ops_live == 0 && e->way == 1) RT_YIELD(cx);
        CHECK_EQ(rt_send(s->io, "after", 5), 5);
        if (e->way == 1) CHECK_EQ(rt_abort(e->task), 0);
        RT_AWAIT(s->got, rt_poll_join(cx, e->task, &e->ended));
        CHECK_EQ(s->got, 0);
        CHECK_EQ(e->ended, e->way == 0 ? 0 : -ECANCELED);
        READ(e, 5);
        CHECK(ends_with(e, "after"));
        close_ends(e);
    }
    RT_END(0);
}
static void its_task_ends(void) { play(end_its_task); }

/* ---- direct calls ---- */

static int64_t write_directly(int fd, void *arg) {
    const char *text = arg;
    ssize_t r = write(fd, text, strlen(text));
    return r < 0 ? -errno : r;
}

static int64_t direct_calls(rt_cx *cx, void *state) {
    struct pouring *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (e->kind = 0; e->kind < KINDS; e->kind++) {
        open_ends(cx, e, kinds[e->kind]);
        CHECK_EQ(rt_close(s->io), 0);
        close(s->far);
        int ends[2];
        kinds[e->kind](ends);
        s->near = ends[0];
        s->far = ends[1];
        s->io = io_of(rt_cx_runtime(cx), s->near, RW);
        net_small_buffer(s->near);
        CHECK_EQ(rt_send(s->io, e->head, HEAD), HEAD);
        CHECK_EQ(rt_poll_try(cx, s->io, RT_WRITABLE, write_directly, (char *)"x"), -EBUSY);
        CHECK_EQ(rt_poll_try(cx, s->io, RW, write_directly, (char *)"x"), -EBUSY);
        READ(e, HEAD);
        RT_AWAIT(s->got, rt_poll_flush(cx, s->io, 0));
        CHECK_EQ(s->got, 0);
        RT_AWAIT(s->got, rt_poll_try(cx, s->io, RT_WRITABLE, write_directly, (char *)"BODY"));
        CHECK_EQ(s->got, 4);
        READ(e, HEAD + 4);
        CHECK(memchr(e->got, 'B', e->have) == e->got + HEAD);

        CHECK_EQ(pour(cx, e, 100), 0);
        CHECK_EQ(rt_poll_read(cx, e->source, s->buf, 100), -EBUSY);
        CHECK_EQ(rt_poll_write(cx, s->io, "x", 1), -EBUSY);
        net_put(e->pipe[1], "once", 4);
        RT_AWAIT(s->got, rt_poll_op(cx, e->splice));
        CHECK_EQ(s->got, 4);
        READ(e, HEAD + 8);
        CHECK(ends_with(e, "once"));
        net_put(e->pipe[1], "direct", 6);
        RT_AWAIT(s->got, rt_poll_read(cx, e->source, s->buf, 100));
        CHECK_EQ(s->got, 6);
        close_ends(e);
    }
    RT_END(0);
}
static void direct_calls_keep_away(void) { play(direct_calls); }

/* ---- threads send in between ---- */

enum { THREADS = 3, RECORD = 16, SENDS = 2000 };

struct crowd {
    rt_frame frame;
    rt_io source, io;
    rt_op op;
    int64_t got;
    int pipe[2], far, records, left;
};

static struct crowd crowd;

static void *send_records(void *arg) {
    (void)arg;
    for (int i = 0; i < crowd.records; i++) {
        int64_t r;
        while ((r = rt_send(crowd.io, "Record sixteen..", RECORD)) == -EAGAIN) sched_yield();
        CHECK_EQ(r, RECORD);
    }
    return NULL;
}

static void *read_crowd(void *arg) {
    (void)arg;
    char first, rest[RECORD];
    for (int spliced = 0, sent = 0; spliced < crowd.records || sent < THREADS * crowd.records;) {
        CHECK_EQ(net_get(crowd.far, &first, 1), 1);
        if (first == 'B') {
            spliced++;
            continue;
        }
        CHECK_EQ(net_get(crowd.far, rest, RECORD - 1), RECORD - 1);
        CHECK_EQ(first, 'R');
        CHECK(memcmp(rest, "ecord sixteen..", RECORD - 1) == 0);
        sent++;
    }
    return NULL;
}

/* Sometimes there is something to read before, and sometimes only after. */
static int64_t splice_singly(rt_cx *cx, void *state) {
    struct crowd *c = state;
    RT_BEGIN(&c->frame);
    for (c->left = c->records; c->left > 0; c->left--) {
        if (c->left % 2 == 0) net_put(c->pipe[1], "B", 1);
        CHECK_EQ(rt_submit_splice(cx, c->source, RT_OFFSET_CURRENT, c->io, RT_OFFSET_CURRENT, 1, 0,
                                  &c->op), 0);
        if (c->left % 2 != 0) {
            if (c->left % 3 == 0) RT_YIELD(cx);
            net_put(c->pipe[1], "B", 1);
        }
        RT_AWAIT(c->got, rt_poll_op(cx, c->op));
        CHECK_EQ(c->got, 1);
    }
    RT_END(0);
}

static void among_threads(void (*connect_ends)(int[2])) {
    int ends[2];
    pthread_t threads[THREADS];
    rt_task task;
    rt_runtime rt = test_runtime();
    memset(&crowd, 0, sizeof crowd);
    connect_ends(ends);
    net_small_buffer(ends[0]);
    net_pipe(crowd.pipe);
    crowd.far = ends[1];
    crowd.records = scaled(SENDS);
    crowd.io = io_of(rt, ends[0], 0);
    crowd.source = io_of(rt, crowd.pipe[0], 0);
    pthread_t reader = thread_start(read_crowd, NULL);
    for (int i = 0; i < THREADS; i++) threads[i] = thread_start(send_records, NULL);
    CHECK_EQ(rt_spawn(rt, splice_singly, &crowd, NULL, &task), 0);
    CHECK_EQ(join_task(task), 0);
    for (int i = 0; i < THREADS; i++) thread_join_driving(threads[i], rt);
    thread_join_driving(reader, rt);
    CHECK_EQ(rt_close(crowd.io), 0);
    CHECK_EQ(rt_close(crowd.source), 0);
    close(crowd.pipe[1]);
    close(crowd.far);
    multi_runtime_free(rt);
}
static void among_threads_over_tcp(void) { among_threads(net_pair); }
static void among_threads_over_unix(void) { among_threads(net_unix_pair); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(the_body_goes_behind_the_head);
    CASE(a_close_of_its_target_cancels_it);
    CASE(no_send_overtakes_it);
    CASE(no_shutdown_overtakes_it);
    CASE(between_packets_too);
    CASE(those_behind_wait_for_its_source);
    CASE(many_times_over);
    CASE(one_that_fails_harms_nobody);
    CASE(streams_that_end);
    CASE(its_task_ends);
    CASE(direct_calls_keep_away);
    CASE(among_threads_over_tcp);
    CASE(among_threads_over_unix);
    return test_end();
}
