/* What is queued on a socket: who sent it hears that it went, whatever is queued behind it; who
 * waits for less is woken; what was cancelled does not count, and what is empty does.
 */
#include "multi.h"

enum { ONE = 300000, QUEUED = 4 << 20, HIGH = 3 << 20, LIMIT = 65536, PIECE = 4096, HEARTBEATS = 2000, LEAST = 40 };

static struct steps steps;
static char data[QUEUED];

static void play(rt_poll_fn body, uint64_t limit) {
    memset(&steps, 0, sizeof steps);
    rt_config config = test_config();
    config.send_limit = limit;
    play_with(&config, body, &steps);
}

/* Reads so much of what is still to come. */
static void take_from(int fd, size_t *left) {
    static char sink[65536];
    ssize_t r = read(fd, sink, *left < sizeof sink ? *left : sizeof sink);
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    else *left -= (size_t)r;
}

/* ---- told as it goes ---- */

static void (*connect_ends)(int[2]);

static int64_t first_of_two(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, connect_ends);
    s->n = net_stuff(s->near) + ONE;
    CHECK_EQ(rt_submit_send(cx, s->io, data, ONE, 0, &s->op), 0);
    CHECK_EQ(rt_submit_send(cx, s->io, data, ONE, 0, &s->other), 0);
    while (s->n > 0) {
        take_from(s->far, &s->n);
        RT_YIELD(cx);
    }
    OP_TAKE_EQ(s, ONE); /* the peer has it all, and takes no more now */
    s->n = ONE;
    while (s->n > 0) {
        take_from(s->far, &s->n);
        RT_YIELD(cx);
    }
    s->op = s->other;
    OP_TAKE_EQ(s, ONE);
    steps_close(s);
    RT_END(0);
}
static void the_first_is_told_before_the_second_went(void) {
    connect_ends = net_unix_pair;
    play(first_of_two, 0);
    connect_ends = net_pair;
    play(first_of_two, 0);
}

/* ---- waiting for two at once ---- */

struct impatient {
    rt_io io;
    int polls;
    atomic_bool waits, woken;
};

static int64_t wait_for_both(rt_cx *cx, void *state) {
    struct impatient *w = state;
    if (w->polls++ > 0) {
        CHECK_EQ(rt_poll_flush(cx, w->io, HIGH), 0);
        atomic_store(&w->woken, true);
        return 0;
    }
    CHECK_EQ(rt_poll_flush(cx, w->io, HIGH), RT_PENDING);
    CHECK_EQ(rt_poll_flush(cx, w->io, 0), RT_PENDING);
    atomic_store(&w->waits, true);
    return RT_PENDING;
}

static void the_higher_of_two_low_waters_wakes(void) {
    struct impatient w = {0};
    rt_task task;
    int ends[2];
    rt_runtime rt = test_runtime();
    net_unix_pair(ends);
    w.io = io_of(rt, ends[0], 0);
    size_t left = net_stuff(ends[0]) + QUEUED - HIGH;
    CHECK_EQ(rt_send(w.io, data, QUEUED), QUEUED);
    CHECK_EQ(rt_spawn(rt, wait_for_both, &w, NULL, &task), 0);
    drive_until(rt, flag_set, &w.waits);
    while (left > 0) {
        take_from(ends[1], &left);
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else sched_yield();
    }
    drive_until(rt, flag_set, &w.woken);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(rt_close(w.io), 0);
    close(ends[1]);
    multi_runtime_free(rt);
}

/* ---- at the limit ---- */

static int64_t fill_to_the_limit(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    net_stuff(s->near);
    for (s->i = 0; s->i < LIMIT / PIECE; s->i++) CHECK_EQ(rt_send(s->io, data, PIECE), PIECE);
    /* A flush to the limit and a send agree on what is over it. */
    CHECK_EQ(rt_poll_flush(cx, s->io, LIMIT), 0);
    CHECK_EQ(rt_send(s->io, data, PIECE), PIECE);
    CHECK_EQ(rt_poll_flush(cx, s->io, LIMIT), RT_PENDING);
    CHECK_EQ(rt_send(s->io, data, PIECE), -EAGAIN);
    steps_close(s);
    RT_END(0);
}
static void who_waits_for_the_limit_may_send(void) { play(fill_to_the_limit, LIMIT); }

/* ---- cancelled behind what is stuck ---- */

static int64_t cancel_many(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    net_stuff(s->near);
    CHECK_EQ(rt_send(s->io, "x", 1), 1);
    for (s->i = 0; s->i < HEARTBEATS; s->i++) {
        CHECK_EQ(rt_submit_send(cx, s->io, data, 64, 0, &s->op), 0);
        CHECK_EQ(rt_cancel(s->op), 0);
        OP_TAKE_EQ(s, -ECANCELED);
    }
    RT_AWAIT(s->got, rt_poll_flush(cx, s->io, LEAST)); /* as much as a small one counts for */
    CHECK_EQ(s->got, 0);
    CHECK_EQ(rt_send(s->io, "y", 1), 1);
    steps_close(s);
    RT_END(0);
}
static void what_was_cancelled_does_not_count(void) { play(cancel_many, LIMIT); }

/* ---- a message of nothing ---- */

static void packet_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static int64_t send_no_bytes_of(const struct steps *s, rt_buf *lease) {
    lease->len = 0;
    return rt_send_buf(s->io, lease);
}

/* From memory of the program's, then from a leased buffer. */
static int64_t send_nothing(rt_cx *cx, void *state) {
    struct steps *s = state;
    static rt_buf lease;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        steps_pair(cx, s, packet_pair);
        if (s->n == 1) {
            CHECK_SYS(write(s->far, "x", 1));
            CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
            RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &lease));
            CHECK_EQ(s->got, 1);
        }
        net_stuff(s->near);
        CHECK_EQ(s->n == 0 ? rt_send(s->io, "", 0) : send_no_bytes_of(s, &lease), 0);
        CHECK_EQ(rt_poll_flush(cx, s->io, 0), RT_PENDING);
        do {
            s->got = read(s->far, s->buf, sizeof s->buf);
            if (s->got < 0) CHECK_EQ(errno, EAGAIN);
            RT_YIELD(cx);
        } while (s->got != 0); /* the peer's end is open: this is the message */
        RT_AWAIT(s->got, rt_poll_flush(cx, s->io, 0));
        CHECK_EQ(s->got, 0);
        steps_close(s);
    }
    RT_END(0);
}
static void a_message_of_nothing_is_waited_for(void) { play(send_nothing, 0); }

/* ---- what a queue keeps ---- */

enum { PAIRS = 8, BURST = 20000, LITTLE = 16384 };

struct bursts {
    struct steps pairs[PAIRS];
    rt_frame frame;
    size_t before;
    int at;
};

static int64_t burst(rt_cx *cx, void *state) {
    static struct bursts b;
    (void)state;
    RT_BEGIN(&b.frame);
    for (b.at = 0; b.at < PAIRS; b.at++) {
        steps_pair(cx, &b.pairs[b.at], net_unix_pair);
        CHECK_EQ(rt_send(b.pairs[b.at].io, "x", 1), 1);
    }
    b.before = heap_in_use();
    for (b.at = 0; b.at < PAIRS; b.at++) {
        net_stuff(b.pairs[b.at].near);
        for (int i = 0; i < BURST; i++) CHECK_EQ(rt_send(b.pairs[b.at].io, "hello", 5), 5);
        while (rt_poll_flush(cx, b.pairs[b.at].io, 0) == RT_PENDING) {
            net_drain(b.pairs[b.at].far);
            RT_YIELD(cx);
        }
    }
    CHECK(heap_settled(b.before) <= b.before + (size_t)PAIRS * LITTLE);
    for (b.at = 0; b.at < PAIRS; b.at++) steps_close(&b.pairs[b.at]);
    memset(&b, 0, sizeof b);
    RT_END(0);
}
static void a_burst_is_forgotten(void) { play(burst, 0); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_first_is_told_before_the_second_went);
    CASE(the_higher_of_two_low_waters_wakes);
    CASE(who_waits_for_the_limit_may_send);
    CASE(what_was_cancelled_does_not_count);
    CASE(a_message_of_nothing_is_waited_for);
    CASE(a_burst_is_forgotten);
    return test_end();
}
