/* On sockets with message boundaries each send is one message, whatever is queued: the empty ones,
 * too, and those of many pieces. What is given to rt_send and its kin arrives in its order.
 */
#include "multi.h"

enum { MESSAGES = 300, LONGEST = 3000, PIECES = 200 };

struct post {
    struct steps steps;
    int type, at;
    struct iovec iov[PIECES];
    struct msghdr msg;
    char data[MESSAGES][LONGEST];
};

static struct post post;

static int type_of_ends;

static void ends_of_type(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, type_of_ends | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void play(rt_poll_fn body, int type) {
    memset(&post, 0, sizeof post);
    post.type = type_of_ends = type;
    play_alone(body, &post);
}

/* An empty message is an end to seqpacket's reader, and so left out there. */
static size_t length_of(const struct post *p, int i) {
    if (i % 10 == 7 && p->type == SOCK_DGRAM) return 0;
    return 1 + (size_t)(i * 379) % (LONGEST - 1);
}

static void send_message(struct post *p, int i) {
    size_t n = length_of(p, i);
    rt_io io = p->steps.io;
    rt_blob blob;
    net_pattern(p->data[i], n, (uint64_t)i, 0);
    if (i % 2 == 0) {
        CHECK_EQ(rt_send(io, p->data[i], n), n);
    } else {
        CHECK_EQ(rt_blob_new(p->data[i], n, &blob), 0);
        CHECK_EQ(rt_send_blob(io, blob), n);
        CHECK_EQ(rt_blob_free(blob), 0);
    }
}

/* In a coroutine: the next one, by an operation every third time. */
#define SEND_ONE(p)                                                                          \
    if ((p)->at % 3 != 0) {                                                                  \
        send_message(p, (p)->at);                                                            \
    } else {                                                                                 \
        size_t n = length_of(p, (p)->at);                                                    \
        net_pattern((p)->data[(p)->at], n, (uint64_t)(p)->at, 0);                             \
        CHECK_EQ(rt_submit_send(cx, s->io, (p)->data[(p)->at], n, 0, &s->op), 0);             \
        OP_TAKE_EQ(s, length_of(p, (p)->at));                                                \
    }

/* The message, if it is there. */
static bool take_message(struct post *p, int i) {
    char data[LONGEST + 1];
    ssize_t r = recv(p->steps.far, data, sizeof data, 0);
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    if (r < 0) return false;
    CHECK_EQ(r, length_of(p, i));
    CHECK(net_pattern_holds(data, (size_t)r, (uint64_t)i, 0));
    return true;
}

/* ---- one by one, and queued ---- */

static int64_t send_all(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    for (p->at = 0; p->at < 30; p->at++) {
        SEND_ONE(p);
        CHECK(take_message(p, p->at));
    }
    for (int i = 0; i < MESSAGES; i++) send_message(p, i);
    for (p->at = 0; p->at < MESSAGES;) {
        if (take_message(p, p->at)) p->at++;
        else RT_YIELD(cx);
    }
    RT_AWAIT(s->got, rt_poll_flush(cx, s->io, 0));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(recv(s->far, s->buf, 1, 0), -1);
    steps_close(s);
    RT_END(0);
}

static void datagrams(void) { play(send_all, SOCK_DGRAM); }
static void seqpackets(void) { play(send_all, SOCK_SEQPACKET); }

static int64_t send_by_udp(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    for (p->at = 0; p->at < MESSAGES; p->at++) {
        SEND_ONE(p);
        net_wait(s->far, POLLIN);
        CHECK(take_message(p, p->at));
    }
    steps_close(s);
    RT_END(0);
}
static void over_udp(void) { play(send_by_udp, SOCK_DGRAM); }

/* ---- empty ones, while the socket is full ---- */

static int64_t send_empty(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    for (p->at = 0; p->at < 2; p->at++) {
        steps_pair(cx, s, ends_of_type);
        for (s->n = 0; send(s->near, "x", 1, 0) == 1;) s->n++;
        CHECK_EQ(errno, EAGAIN);
        rt_blob blob;
        CHECK_EQ(rt_blob_new("", 0, &blob), 0);
        if (p->at == 0) CHECK_EQ(rt_send(s->io, "", 0), 0);
        if (p->at == 1) CHECK_EQ(rt_send_blob(s->io, blob), 0);
        CHECK_EQ(rt_blob_free(blob), 0);
        CHECK_EQ(rt_send(s->io, "last", 4), 4);
        while (s->n > 0) {
            if (recv(s->far, s->buf, 10, 0) == 1) s->n--;
            RT_YIELD(cx);
        }
        net_wait(s->far, POLLIN);
        CHECK_EQ(recv(s->far, s->buf, 10, 0), 0); /* the empty one has its place */
        while ((s->i = (int)recv(s->far, s->buf, 10, 0)) < 0) RT_YIELD(cx);
        CHECK_EQ(s->i, 4);
        steps_close(s);
    }
    RT_END(0);
}
static void empty_ones_wait_for_their_turn(void) { play(send_empty, SOCK_DGRAM); }

/* ---- messages of many pieces ---- */

static int64_t send_pieces(rt_cx *cx, void *state) {
    struct post *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, ends_of_type);
    net_pattern(p->data[0], PIECES, 1, 0);
    for (int i = 0; i < PIECES; i++) p->iov[i] = (struct iovec){&p->data[0][i], 1};
    p->msg = (struct msghdr){.msg_iov = p->iov, .msg_iovlen = PIECES};
    for (s->n = 0; s->n < 2; s->n++) {
        if (s->n == 0) CHECK_EQ(rt_submit_sendmsg(cx, s->io, &p->msg, 0, &s->op), 0);
        else CHECK_EQ(rt_submit_writev(cx, s->io, p->iov, PIECES, RT_OFFSET_CURRENT, 0, &s->op), 0);
        OP_TAKE_EQ(s, PIECES);
        CHECK_EQ(recv(s->far, s->buf, sizeof s->buf, 0), PIECES);
        CHECK(net_pattern_holds(s->buf, PIECES, 1, 0));
        CHECK_EQ(recv(s->far, s->buf, sizeof s->buf, 0), -1);
    }
    steps_close(s);
    RT_END(0);
}
static void one_message_of_many_pieces(void) { play(send_pieces, SOCK_DGRAM); }
static void one_packet_of_many_pieces(void) { play(send_pieces, SOCK_SEQPACKET); }
static void one_stream_of_many_pieces(void) { play(send_pieces, SOCK_STREAM); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(datagrams);
    CASE(seqpackets);
    CASE(over_udp);
    CASE(empty_ones_wait_for_their_turn);
    CASE(one_stream_of_many_pieces);
    CASE(one_packet_of_many_pieces);
    CASE(one_message_of_many_pieces);
    return test_end();
}
