/* A connection of packets keeps their order as a stream does, whoever sends them and however, and its end comes
 * after them; but each is a message, whole, and one that cannot be sent harms no other.
 */
#include "multi.h"
#include "soon.h"

enum { SOME = 100, ROUNDS = 50, PACKETS = 400, LONGEST = 2000, PIECES = 200, TOO_LONG = 300000 };

enum { GIVE, SEND, SENDMSG, WRITE, WRITEV, WAYS };

struct post {
    struct steps steps;
    rt_op ops[PACKETS], bad;
    int at, type, round;
    size_t read;
    struct iovec iov[PACKETS][2], pieces[PIECES];
    struct msghdr msg[PACKETS];
    char data[PACKETS][LONGEST];
};

static struct post post;
static char too_long[TOO_LONG];

static void ends_of_type(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, post.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void play(rt_poll_fn body, int type) {
    memset(&post, 0, sizeof post);
    post.type = type;
    play_alone(body, &post);
}

static size_t length_of(int i) { return 2 + (size_t)(i * 379) % (LONGEST - 2); }

/* By its way; those of an operation are to be taken. */
static int64_t send_packet(rt_cx *cx, struct post *p, int i, int way) {
    rt_io io = p->steps.io;
    size_t n = length_of(i);
    char *data = p->data[i];
    rt_op *op = &p->ops[i];
    net_pattern(data, n, (uint64_t)i, 0);
    p->iov[i][0] = (struct iovec){data, n / 2};
    p->iov[i][1] = (struct iovec){data + n / 2, n - n / 2};
    p->msg[i] = (struct msghdr){.msg_iov = p->iov[i], .msg_iovlen = 2};
    switch (way) {
    case GIVE: return rt_send(io, data, n) == (int64_t)n ? 0 : -1;
    case SEND: return rt_submit_send(cx, io, data, n, 0, op);
    case SENDMSG: return rt_submit_sendmsg(cx, io, &p->msg[i], 0, op);
    case WRITE: return rt_submit_write(cx, io, data, n, RT_OFFSET_CURRENT, 0, op);
    default: return rt_submit_writev(cx, io, p->iov[i], 2, RT_OFFSET_CURRENT, 0, op);
    }
}

/* The packet, if it is there. */
static bool take_packet(struct post *p, int i) {
    char data[LONGEST + 1];
    ssize_t r = recv(p->steps.far, data, sizeof data, 0);
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    if (r < 0) return false;
    CHECK_EQ(r, length_of(i));
    CHECK(net_pattern_holds(data, (size_t)r, (uint64_t)i, 0));
    return true;
}

/* In a coroutine: takes the far end's packets from `first` on, and the outcomes of what sent them. */
#define TAKE_ALL(p, first, count)                                                            \
    for ((p)->at = (first); (p)->at < (count);) {                                            \
        if (take_packet(p, (p)->at)) (p)->at++;                                              \
        else RT_YIELD(cx);                                                                   \
    }                                                                                        \
    for ((p)->at = (first); (p)->at < (count); (p)->at++) {                                  \
        if ((p)->ops[(p)->at] == 0) continue;                                                \
        RT_AWAIT((p)->steps.got, rt_poll_op(cx, (p)->ops[(p)->at]));                         \
        CHECK_EQ((p)->steps.got, length_of((p)->at));                                        \
    }

/* ---- order ---- */

static int64_t send_all(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    for (int i = 0; i < PACKETS; i++) CHECK_EQ(send_packet(cx, p, i, i % WAYS), 0);
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
    OP_TURNS(s, SOME);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    TAKE_ALL(p, 0, PACKETS);
    OP_TAKE_EQ(s, 0);
    CHECK_EQ(recv(s->far, s->buf, 1, 0), 0);
    OP_EQ(s, -EPIPE, rt_submit_send(cx, s->io, "late", 4, 0, &s->op));
    steps_close(s);
    RT_END(0);
}
static void packets_come_in_order_before_the_end(void) { play(send_all, SOCK_SEQPACKET); }

/* Datagrams that were given to the library come before a shutdown, too. */
static int64_t give_all(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    for (int i = 0; i < PACKETS; i++) CHECK_EQ(send_packet(cx, p, i, GIVE), 0);
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
    OP_TURNS(s, SOME);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    TAKE_ALL(p, 0, PACKETS);
    OP_TAKE_EQ(s, 0);
    OP_EQ(s, -EPIPE, rt_submit_send(cx, s->io, "late", 4, 0, &s->op));
    steps_close(s);
    RT_END(0);
}
static void datagrams_come_before_it(void) { play(give_all, SOCK_DGRAM); }

/* One that is cancelled while it waits leaves no gap and no trace. */
static int64_t cancel_some(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    s->n = net_stuff(s->near);
    for (int i = 0; i < WAYS; i++) CHECK_EQ(send_packet(cx, p, i, i), 0);
    CHECK_EQ(rt_submit_send(cx, s->io, "never", 5, 0, &p->bad), 0);
    for (int i = WAYS; i < 2 * WAYS; i++) CHECK_EQ(send_packet(cx, p, i, i % WAYS), 0);
    OP_TURNS(s, SOME);
    CHECK_EQ(rt_cancel(p->bad), 0);
    RT_AWAIT(s->got, rt_poll_op(cx, p->bad));
    CHECK_EQ(s->got, -ECANCELED);
    for (p->read = 0; p->read < s->n;) p->read += (size_t)CHECK_SYS(recv(s->far, too_long, sizeof too_long, 0));
    TAKE_ALL(p, 0, 2 * WAYS);
    steps_close(s);
    RT_END(0);
}
static void a_cancelled_one_leaves_no_gap(void) { play(cancel_some, SOCK_SEQPACKET); }

/* ---- each by itself ---- */

/* One that is too long is told so, at once and after it had waited; the others go. */
static int64_t send_too_long(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    CHECK_SYS(setsockopt(s->near, SOL_SOCKET, SO_SNDBUF, &(int){TOO_LONG / 3}, sizeof(int))); /* Linux makes it twice that */
    OP_EQ(s, -EMSGSIZE, rt_submit_send(cx, s->io, too_long, TOO_LONG, 0, &s->op));
    CHECK_EQ(rt_send(s->io, too_long, TOO_LONG), -EMSGSIZE);
    for (int i = 0; i < PACKETS; i++) {
        if (i == PACKETS / 2) CHECK_EQ(rt_submit_send(cx, s->io, too_long, TOO_LONG, 0, &p->bad), 0);
        CHECK_EQ(send_packet(cx, p, i, i % WAYS), 0);
    }
    OP_TURNS(s, SOME);
    CHECK_EQ(rt_poll_op(cx, p->bad), RT_PENDING);
    TAKE_ALL(p, 0, PACKETS);
    RT_AWAIT(s->got, rt_poll_op(cx, p->bad));
    CHECK_EQ(s->got, -EMSGSIZE);
    OP_EQ(s, 4, rt_submit_send(cx, s->io, "more", 4, 0, &s->op));
    steps_close(s);
    RT_END(0);
}
static void one_that_is_too_long_fails_alone(void) { play(send_too_long, SOCK_SEQPACKET); }

/* One that fails as it is cancelled has either outcome, and what is behind it goes. */
static int64_t cancel_too_long(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    for (p->round = 0; p->round < ROUNDS; p->round++) {
        steps_pair(cx, s, ends_of_type);
        CHECK_SYS(setsockopt(s->near, SOL_SOCKET, SO_SNDBUF, &(int){TOO_LONG / 3}, sizeof(int)));
        s->n = net_stuff(s->near);
        CHECK_EQ(rt_submit_send(cx, s->io, too_long, TOO_LONG, 0, &p->bad), 0);
        for (int i = 0; i < WAYS; i++) CHECK_EQ(send_packet(cx, p, i, i), 0);
        OP_TURNS(s, p->round * 4);
        if (p->round % 2 == 0) CHECK_EQ(rt_cancel(p->bad), 0);
        for (p->read = 0; p->read < s->n;) p->read += (size_t)CHECK_SYS(recv(s->far, too_long, sizeof too_long, 0));
        if (p->round % 2 != 0) CHECK_EQ(rt_cancel(p->bad), 0);
        RT_AWAIT(s->got, rt_poll_op(cx, p->bad));
        CHECK(s->got == -ECANCELED || s->got == -EMSGSIZE);
        TAKE_ALL(p, 0, WAYS);
        steps_close(s);
    }
    RT_END(0);
}
static void one_that_fails_as_it_is_cancelled_fails_alone(void) { play(cancel_too_long, SOCK_SEQPACKET); }

/* More pieces than a stream sends together are one packet, also after a wait. */
static int64_t send_pieces(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    s->n = net_stuff(s->near);
    net_pattern(p->data[0], PIECES, 1, 0);
    for (int i = 0; i < PIECES; i++) p->pieces[i] = (struct iovec){&p->data[0][i], 1};
    CHECK_EQ(rt_submit_writev(cx, s->io, p->pieces, PIECES, RT_OFFSET_CURRENT, 0, &s->op), 0);
    OP_TURNS(s, SOME);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    for (p->read = 0; p->read < s->n;) p->read += (size_t)CHECK_SYS(recv(s->far, too_long, sizeof too_long, 0));
    OP_TAKE_EQ(s, PIECES);
    CHECK_EQ(recv(s->far, s->buf, sizeof s->buf, 0), PIECES);
    CHECK(net_pattern_holds(s->buf, PIECES, 1, 0));
    steps_close(s);
    RT_END(0);
}
static void pieces_stay_together(void) { play(send_pieces, SOCK_SEQPACKET); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(packets_come_in_order_before_the_end);
    CASE(datagrams_come_before_it);
    CASE(a_cancelled_one_leaves_no_gap);
    CASE(one_that_is_too_long_fails_alone);
    CASE(one_that_fails_as_it_is_cancelled_fails_alone);
    CASE(pieces_stay_together);
    return test_end();
}
