/* A socket of datagrams that was shut down for reading: what is queued comes, and then there is nothing to wait for, as a recv(2)
 * that may block says. It makes no difference which call receives, nor whether it waited when the socket was shut down.
 */
#include "op.h"
#include "soon.h"

static void unix_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void packet_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void (*const pairs[])(int[2]) = {net_udp_pair, unix_pair, packet_pair};
enum { PACKETS = 2 }; /* which of them is a connection */
static const int ways[] = {SHUT_RD, SHUT_RDWR};

enum { PAIRS = sizeof pairs / sizeof pairs[0], WAYS = sizeof ways / sizeof ways[0] };
enum { RECV, RECVMSG, READ, READV, MULTI, POLL_READ, POLL_READV, POLL_RECVMSG, RECEIVES };

struct shut {
    struct steps steps;
    struct iovec iov;
    struct msghdr msg;
    char name[64], control[64];
    rt_buf buf;
    int call, pair, way;
};

static int64_t submit(rt_cx *cx, struct shut *h) {
    struct steps *s = &h->steps;
    switch (h->call) {
    case RECV: return rt_submit_recv(cx, s->io, s->buf, sizeof s->buf, 0, &s->op);
    case RECVMSG: return rt_submit_recvmsg(cx, s->io, &h->msg, 0, &s->op);
    case READ: return rt_submit_read(cx, s->io, s->buf, sizeof s->buf, RT_OFFSET_CURRENT, &s->op);
    case READV: return rt_submit_readv(cx, s->io, &h->iov, 1, RT_OFFSET_CURRENT, &s->op);
    case MULTI: return rt_submit_recv_multi(cx, s->io, &s->op);
    default: return 0;
    }
}

static int64_t receive(rt_cx *cx, struct shut *h) {
    struct steps *s = &h->steps;
    switch (h->call) {
    case MULTI: return rt_poll_recv_next(cx, s->op, &h->buf);
    case POLL_READ: return rt_poll_read(cx, s->io, s->buf, sizeof s->buf);
    case POLL_READV: return rt_poll_readv(cx, s->io, &h->iov, 1);
    case POLL_RECVMSG: return rt_poll_recvmsg(cx, s->io, &h->msg, 0);
    default: return rt_poll_op(cx, s->op);
    }
}

static void begin(rt_cx *cx, struct shut *h) {
    h->iov = (struct iovec){h->steps.buf, sizeof h->steps.buf};
    h->msg = (struct msghdr){.msg_iov = &h->iov, .msg_iovlen = 1, .msg_flags = MSG_TRUNC};
    h->msg.msg_name = h->name, h->msg.msg_namelen = sizeof h->name;
    h->msg.msg_control = h->control, h->msg.msg_controllen = sizeof h->control;
    CHECK_EQ(submit(cx, h), 0);
}

/* It is from nobody, and nothing came with it. */
static void check_end(const struct shut *h, int64_t got) {
    CHECK_EQ(got, 0);
    if (h->call != RECVMSG && h->call != POLL_RECVMSG) return;
    CHECK_EQ(h->msg.msg_namelen, 0);
    CHECK_EQ(h->msg.msg_controllen, 0);
    CHECK_EQ(h->msg.msg_flags & MSG_TRUNC, 0);
}

static void open_pair(rt_cx *cx, struct shut *h) {
    int ends[2];
    pairs[h->pair](ends);
    h->steps.near = ends[0];
    h->steps.far = ends[1];
    h->steps.io = io_of(rt_cx_runtime(cx), ends[0], RW);
}

/* In a coroutine: each call on each kind of socket, shut down in each way. Datagrams have no end for a receiver of many. */
#define EVERY(h)                                                                  \
    for ((h)->call = 0; (h)->call < RECEIVES; (h)->call++)                        \
        for ((h)->pair = (h)->call == MULTI ? PACKETS : 0; (h)->pair < PAIRS; (h)->pair++) \
            for ((h)->way = 0; (h)->way < WAYS; (h)->way++)

static int64_t wait_first(rt_cx *cx, void *state) {
    struct shut *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    EVERY(h) {
        open_pair(cx, h);
        begin(cx, h);
        CHECK_EQ(receive(cx, h), RT_PENDING);
        OP_TURNS(s, 100);
        CHECK_EQ(receive(cx, h), RT_PENDING);
        CHECK_SYS(shutdown(s->near, ways[h->way]));
        RT_AWAIT(s->got, receive(cx, h));
        check_end(h, s->got);
        steps_close(s);
    }
    RT_END(0);
}

static int64_t shut_first(rt_cx *cx, void *state) {
    struct shut *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    EVERY(h) {
        open_pair(cx, h);
        CHECK_EQ(send(s->far, "queued", 6, 0), 6);
        CHECK_SYS(shutdown(s->near, ways[h->way]));
        for (s->n = 0; s->n < 3; s->n++) {
            if (s->n == 0 || h->call != MULTI) begin(cx, h);
            RT_AWAIT(s->got, receive(cx, h));
            if (s->n == 0) CHECK_EQ(s->got, 6);
            else check_end(h, s->got);
            if (h->call == MULTI && s->n == 0) CHECK_EQ(rt_buf_release(h->buf.lease), 0);
            if (h->call == MULTI && s->n == 1) break;
        }
        steps_close(s);
    }
    RT_END(0);
}

/* One direction says nothing of the other. */
static int64_t shut_other(rt_cx *cx, void *state) {
    struct shut *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    for (h->pair = 0; h->pair < PACKETS; h->pair++) {
        open_pair(cx, h);
        begin(cx, h);
        CHECK_SYS(shutdown(s->near, SHUT_WR));
        OP_TURNS(s, 100);
        CHECK_EQ(receive(cx, h), RT_PENDING);
        CHECK_EQ(send(s->far, "late", 4, 0), 4);
        OP_TAKE_EQ(s, 4);
        steps_close(s);
    }
    RT_END(0);
}

static int64_t receive_many(rt_cx *cx, void *state) {
    struct shut *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    h->call = MULTI;
    for (h->pair = 0; h->pair < PACKETS; h->pair++) {
        open_pair(cx, h);
        begin(cx, h);
        for (s->n = 0; s->n < 2; s->n++) {
            OP_TURNS(s, 100);
            CHECK_EQ(receive(cx, h), RT_PENDING);
            CHECK_SYS(shutdown(s->near, SHUT_RD));
        }
        CHECK_EQ(rt_cancel(s->op), 0);
        RT_AWAIT(s->got, receive(cx, h));
        CHECK_EQ(s->got, -ECANCELED);
        steps_close(s);
    }
    RT_END(0);
}

static void play(rt_poll_fn body) {
    static struct shut shut;
    memset(&shut, 0, sizeof shut);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &shut), 0);
    op_runtime_free(rt);
}

static void who_waits_is_told(void) { play(wait_first); }
static void who_comes_later_is_told(void) { play(shut_first); }
static void who_may_read_on_waits(void) { play(shut_other); }
static void who_receives_many_is_cancelled(void) { play(receive_many); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(who_waits_is_told);
    CASE(who_comes_later_is_told);
    CASE(who_may_read_on_waits);
    CASE(who_receives_many_is_cancelled);
    return test_end();
}
