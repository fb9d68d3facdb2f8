/* A shutdown has its place among the sends: what was queued before goes out first, what comes later
 * does not go at all, and the other direction stays as it is.
 */
#include "multi.h"

enum { PIECES = 50, BYTES = 2000 };

struct ending {
    struct steps steps;
    size_t sent, read;
    rt_op ops[PIECES];
    int at;
    char data[PIECES][BYTES];
};

static struct ending ending;

static void play(rt_poll_fn body) {
    memset(&ending, 0, sizeof ending);
    play_alone(body, &ending);
}

static void queue_pieces(rt_cx *cx, struct ending *e) {
    for (int i = 0; i < PIECES; i++) {
        net_pattern(e->data[i], BYTES, 3, e->sent);
        if (i % 2 == 0) CHECK_EQ(rt_send(e->steps.io, e->data[i], BYTES), BYTES);
        else CHECK_EQ(rt_submit_send(cx, e->steps.io, e->data[i], BYTES, 0, &e->ops[i]), 0);
        e->sent += BYTES;
    }
}

/* What is there; false at the end of the stream. */
static bool read_some(struct ending *e) {
    char data[5000];
    ssize_t r = read(e->steps.far, data, sizeof data);
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    if (r < 0) return true;
    CHECK(net_pattern_holds(data, (size_t)r, 3, e->read));
    e->read += (size_t)r;
    return r > 0;
}

static void pair_stuffed(rt_cx *cx, struct ending *e, void (*connect_ends)(int[2])) {
    steps_pair(cx, &e->steps, connect_ends);
    e->sent = far_stuff(e->steps.near, 3, 0);
    e->read = 0;
}

/* ---- after what was queued ---- */

static void (*const kinds[])(int[2]) = {net_pair, net_unix_pair};

static int64_t shut_after_all(rt_cx *cx, void *state) {
    struct ending *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 4; s->n++) {
        pair_stuffed(cx, e, kinds[s->n % 2]);
        queue_pieces(cx, e);
        CHECK_EQ(rt_submit_shutdown(cx, s->io, s->n < 2 ? SHUT_WR : SHUT_RDWR, &s->op), 0);
        CHECK_EQ(rt_submit_send(cx, s->io, "late", 4, 0, &s->other), 0);
        OP_TURNS(s, 100);
        CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
        while (read_some(e)) RT_YIELD(cx);
        CHECK_EQ(e->read, e->sent);
        OP_TAKE_EQ(s, 0);
        RT_AWAIT(s->got, rt_poll_op(cx, s->other));
        CHECK_EQ(s->got, -EPIPE);
        for (e->at = 1; e->at < PIECES; e->at += 2) {
            RT_AWAIT(s->got, rt_poll_op(cx, e->ops[e->at]));
            CHECK_EQ(s->got, BYTES);
        }
        CHECK_EQ(rt_send(s->io, "later", 5), -EPIPE);
        OP_FAILS(s, -EPIPE, rt_submit_send(cx, s->io, "later", 5, 0, &s->op));
        if (s->n < 2) { /* the other direction */
            net_put(s->far, "answer", 6);
            OP_EQ(s, 6, rt_submit_recv(cx, s->io, s->buf, 100, 0, &s->op));
        }
        steps_close(s);
    }
    RT_END(0);
}
static void what_was_queued_goes_first(void) { play(shut_after_all); }

/* ---- when nothing is queued ---- */

static int64_t shut_at_once(rt_cx *cx, void *state) {
    struct ending *e = state;
    struct steps *s = &e->steps;
    char byte;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        steps_pair(cx, s, kinds[s->n]);
        CHECK_EQ(rt_send(s->io, "all", 3), 3);
        OP_EQ(s, 0, rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op));
        CHECK_EQ(net_get(s->far, s->buf, 4), 3);
        CHECK_EQ(rt_send(s->io, "x", 1), -EPIPE);
        OP_EQ(s, 0, rt_submit_shutdown(cx, s->io, SHUT_RD, &s->op));
        CHECK_EQ(rt_close(s->io), 0);
        s->io = 0;
        CHECK_EQ(read(s->far, &byte, 1), 0);
        steps_close(s);
    }
    /* What is not connected cannot be shut down. */
    s->io = io_of(rt_cx_runtime(cx), net_socket(SOCK_STREAM), 0);
    s->far = -1;
    OP_EQ(s, -ENOTCONN, rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op));
    steps_close(s);
    RT_END(0);
}
static void at_once_when_nothing_is_queued(void) { play(shut_at_once); }

/* ---- after datagrams that had room ---- */

enum { DATAGRAMS = 4 };

static void send_datagrams(rt_cx *cx, struct ending *e) {
    static char text[] = "datagram";
    static struct iovec piece = {text, 8};
    static struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    const uint64_t here = RT_OFFSET_CURRENT;
    rt_io io = e->steps.io;
    CHECK_EQ(rt_submit_send(cx, io, text, 8, 0, &e->ops[0]), 0);
    CHECK_EQ(rt_submit_sendmsg(cx, io, &message, 0, &e->ops[1]), 0);
    CHECK_EQ(rt_submit_write(cx, io, text, 8, here, 0, &e->ops[2]), 0);
    CHECK_EQ(rt_submit_writev(cx, io, &piece, 1, here, 0, &e->ops[3]), 0);
}

/* What else is done to the socket comes after them, too. */
static int64_t shut_after_datagrams(rt_cx *cx, void *state) {
    static int other;
    struct ending *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        steps_pair(cx, s, net_udp_pair);
        other = net_bound(SOCK_DGRAM);
        struct sockaddr_in elsewhere = net_name(other);
        send_datagrams(cx, e);
        if (s->n == 0) CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
        else CHECK_SYS(connect(s->near, (struct sockaddr *)&elsewhere, sizeof elsewhere));
        for (e->at = 0; e->at < DATAGRAMS; e->at++) {
            RT_AWAIT(s->got, rt_poll_op(cx, e->ops[e->at]));
            CHECK_EQ(s->got, 8);
            CHECK_EQ(read(s->far, s->buf, 100), 8);
        }
        if (s->n == 0) OP_TAKE_EQ(s, 0);
        close(other);
        steps_close(s);
    }
    RT_END(0);
}
static void datagrams_go_first(void) { play(shut_after_datagrams); }

/* ---- cancelled: as if it had never been ---- */

static int64_t cancel_shutdown(rt_cx *cx, void *state) {
    struct ending *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 10; s->n++) {
        pair_stuffed(cx, e, net_unix_pair);
        queue_pieces(cx, e);
        CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
        OP_TURNS(s, (int)s->n * 10);
        CHECK_EQ(rt_cancel(s->op), 0);
        OP_TAKE_EQ(s, -ECANCELED);
        net_pattern(s->buf, 100, 3, e->sent);
        CHECK_EQ(rt_send(s->io, s->buf, 100), 100);
        e->sent += 100;
        while (e->read < e->sent) {
            CHECK(read_some(e));
            RT_YIELD(cx);
        }
        for (e->at = 1; e->at < PIECES; e->at += 2) {
            RT_AWAIT(s->got, rt_poll_op(cx, e->ops[e->at]));
            CHECK_EQ(s->got, BYTES);
        }
        OP_TURNS(s, 20);
        CHECK_EQ(read(s->far, s->buf, 1), -1); /* not the end */
        CHECK_EQ(rt_send(s->io, "x", 1), 1);
        steps_close(s);
    }
    RT_END(0);
}
static void a_cancelled_one_never_was(void) { play(cancel_shutdown); }

/* ---- after a send that was cut ---- */

static int64_t shut_after_a_cut(rt_cx *cx, void *state) {
    static char much[1 << 20];
    struct ending *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        steps_pair(cx, s, net_unix_pair);
        CHECK_EQ(rt_submit_send(cx, s->io, much, sizeof much, 0, &s->op), 0);
        if (s->n == 1) CHECK_EQ(rt_submit_send(cx, s->io, "more", 4, 0, &e->ops[0]), 0);
        CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->other), 0);
        OP_TURNS(s, 20);
        CHECK_EQ(rt_cancel(s->op), 0);
        OP_TAKE_EQ(s, -ECANCELED);
        if (s->n == 1) RT_AWAIT(s->got, rt_poll_op(cx, e->ops[0]));
        if (s->n == 1) CHECK_EQ(s->got, -EPIPE);
        RT_AWAIT(s->got, rt_poll_op(cx, s->other));
        CHECK_EQ(s->got, 0);
        CHECK(net_drain(s->far) > 0);
        CHECK_EQ(read(s->far, s->buf, 1), 0);
        steps_close(s);
    }
    RT_END(0);
}
static void what_was_cut_before_it_makes_no_difference(void) { play(shut_after_a_cut); }

/* ---- the peer goes instead ---- */

static int64_t lose_the_peer(rt_cx *cx, void *state) {
    struct ending *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    pair_stuffed(cx, e, net_pair);
    queue_pieces(cx, e);
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
    OP_TURNS(s, 20);
    net_reset(s->far);
    s->far = -1;
    OP_TAKE(s);
    CHECK(s->got < 0);
    for (e->at = 1; e->at < PIECES; e->at += 2) {
        RT_AWAIT(s->got, rt_poll_op(cx, e->ops[e->at]));
        CHECK(s->got == -EPIPE || s->got == -ECONNRESET);
    }
    steps_close(s);
    RT_END(0);
}
static void a_reset_ends_it(void) { play(lose_the_peer); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_was_queued_goes_first);
    CASE(at_once_when_nothing_is_queued);
    CASE(datagrams_go_first);
    CASE(a_cancelled_one_never_was);
    CASE(what_was_cut_before_it_makes_no_difference);
    CASE(a_reset_ends_it);
    return test_end();
}
