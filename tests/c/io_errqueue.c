/* MSG_ERRQUEUE reads another queue than that of the data: it takes no data's readiness away, and
 * waits for an error of its own. */
#include "ready.h"
#include "soon.h"

#include <linux/errqueue.h>

struct letter {
    struct msghdr msg;
    struct iovec to;
    char data[64];
    _Alignas(struct cmsghdr) char control[256];
};

static struct msghdr *letter_init(struct letter *l) {
    memset(l, 0, sizeof *l);
    l->to = (struct iovec){l->data, sizeof l->data};
    l->msg.msg_iov = &l->to;
    l->msg.msg_iovlen = 1;
    l->msg.msg_control = l->control;
    l->msg.msg_controllen = sizeof l->control;
    return &l->msg;
}

static void an_empty_queue_leaves_the_data_ready(void) {
    struct scene s;
    struct letter l;
    char data[8];
    scene_open(&s, net_udp_pair, RW);
    CHECK_EQ(send(s.far, "hello", 5, 0), 5);
    await_bit(&s.hand, s.io, RT_READABLE, RT_READABLE);
    CHECK_EQ(rt_poll_recvmsg(s.hand.cx, s.io, letter_init(&l), MSG_ERRQUEUE), RT_PENDING);
    CHECK_EQ(bits_of(s.io, RT_READABLE), RT_READABLE);
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, data, sizeof data), 5);
    CHECK_EQ(memcmp(data, "hello", 5), 0);
    scene_close(&s);
}

/* Two bound sockets, of which the far one takes nothing from the near one: it is connected to
 * itself, so that a datagram to it is answered by "port unreachable". */
static void unwilling_pair(int out[2]) {
    for (int i = 0; i < 2; i++) {
        out[i] = net_bound(SOCK_DGRAM);
        CHECK_SYS(setsockopt(out[i], IPPROTO_IP, IP_RECVERR, &(int){1}, sizeof(int)));
    }
    struct sockaddr_in far = net_name(out[1]);
    for (int i = 0; i < 2; i++)
        CHECK_SYS(connect(out[i], (struct sockaddr *)&far, sizeof far));
}

static int error_in(struct msghdr *msg) {
    CHECK(msg->msg_flags & MSG_ERRQUEUE);
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    while (c != NULL && (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR))
        c = CMSG_NXTHDR(msg, c);
    CHECK(c != NULL);
    struct sock_extended_err e;
    memcpy(&e, CMSG_DATA(c), sizeof e);
    return (int)e.ee_errno;
}

struct collector {
    rt_io io;
    struct letter letter;
    gate waits;
};

static int64_t collect_error(rt_cx *cx, void *state) {
    struct collector *c = state;
    int64_t r = rt_poll_recvmsg(cx, c->io, letter_init(&c->letter), MSG_ERRQUEUE);
    if (r == RT_PENDING) gate_open(&c->waits);
    return r;
}

static bool is_waiting(void *arg) { return sem_trywait(&((struct collector *)arg)->waits.sem) == 0; }

static void an_error_wakes(void) {
    struct scene s;
    struct collector c;
    rt_task task;
    scene_open(&s, unwilling_pair, RW);
    c.io = s.io;
    gate_init(&c.waits);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(rt_spawn(s.rt, collect_error, &c, NULL, &task), 0);
        drive_until(s.rt, is_waiting, &c);
        CHECK_EQ(send(s.near, "anybody", 7, 0), 7);
        CHECK_EQ(join_soon(task), 7); /* the queue gives the datagram back */
        CHECK_EQ(memcmp(c.letter.data, "anybody", 7), 0);
        CHECK_EQ(error_in(&c.letter.msg), ECONNREFUSED);
    }
    gate_destroy(&c.waits);
    scene_close(&s);
}

/* The error of a send that was refused: reported once by itself, and in the queue until it is taken. */
static void refused_send(struct scene *s) {
    char data[8];
    CHECK_EQ(send(s->near, "anybody", 7, 0), 7);
    await_bit(&s->hand, s->io, RT_ERROR, RT_ERROR);
    AWAIT_EQ(&s->hand, -ECONNREFUSED, rt_poll_read(s->hand.cx, s->io, data, sizeof data));
}

static void who_reads_in_vain_leaves_the_error(void) {
    struct scene s;
    struct letter l;
    char data[8];
    scene_open(&s, unwilling_pair, RW);
    refused_send(&s);
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, data, sizeof data), RT_PENDING);
    CHECK_EQ(bits_of(s.io, RT_ERROR), RT_ERROR);

    /* Nor does it try again and again while that lasts. */
    int wakes = atomic_load(&s.hand.wakes);
    deliver(s.rt);
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, data, sizeof data), RT_PENDING);
    deliver(s.rt);
    CHECK_EQ(atomic_load(&s.hand.wakes), wakes);

    CHECK_EQ(rt_poll_recvmsg(s.hand.cx, s.io, letter_init(&l), MSG_ERRQUEUE), 7);
    CHECK_EQ(error_in(&l.msg), ECONNREFUSED);
    CHECK_EQ(rt_poll_recvmsg(s.hand.cx, s.io, letter_init(&l), MSG_ERRQUEUE), RT_PENDING);
    CHECK_EQ(bits_of(s.io, RT_ERROR), 0);
    scene_close(&s);
}

/* A TCP stream with a queue of notifications: that memory was sent which the kernel did not copy. */
static void a_short_read_leaves_the_error(void) {
    struct scene s;
    struct letter l;
    static char page[4096];
    char data[64];
    scene_open(&s, net_pair, RW);
    CHECK_SYS(setsockopt(s.near, SOL_SOCKET, SO_ZEROCOPY, &(int){1}, sizeof(int)));
    CHECK_EQ(send(s.near, page, sizeof page, MSG_ZEROCOPY), sizeof page);
    net_get(s.far, page, sizeof page);
    await_bit(&s.hand, s.io, RT_ERROR, RT_ERROR);
    net_put(s.far, "hello", 5);
    AWAIT_EQ(&s.hand, 5, rt_poll_read(s.hand.cx, s.io, data, sizeof data));
    CHECK_EQ(rt_poll_recvmsg(s.hand.cx, s.io, letter_init(&l), MSG_ERRQUEUE), 0);
    CHECK(l.msg.msg_flags & MSG_ERRQUEUE);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(an_empty_queue_leaves_the_data_ready);
    CASE(an_error_wakes);
    CASE(who_reads_in_vain_leaves_the_error);
    CASE(a_short_read_leaves_the_error);
    return test_end();
}
