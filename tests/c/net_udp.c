/* Datagrams: each as one message, empty ones too, and the errors that come back for them.
 */
#include "ready.h"

static void boundaries_are_kept(void) {
    struct scene s;
    scene_open(&s, net_udp_pair, RW);
    char got[64];
    for (size_t n = 1; n < 40; n++) {
        char text[64];
        memset(text, (int)('a' + n % 26), n);
        CHECK_EQ(send(s.far, text, n, 0), (ssize_t)n);
    }
    for (size_t n = 1; n < 40; n++) {
        AWAIT_EQ(&s.hand, (int64_t)n, rt_poll_read(s.hand.cx, s.io, got, sizeof got));
        CHECK_EQ(got[0], (char)('a' + n % 26));
    }
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, got, sizeof got), RT_PENDING);
    scene_close(&s);
}

/* A short datagram is no reason to stop reading: the next one may be there already. */
static void an_empty_datagram_is_not_the_end(void) {
    struct scene s;
    scene_open(&s, net_udp_pair, RW);
    char got[8];
    CHECK_EQ(send(s.far, "", 0, 0), 0);
    CHECK_EQ(send(s.far, "after", 5, 0), 5);
    await_ready(&s.hand, s.io, RT_READABLE);
    deliver(s.rt);
    AWAIT_EQ(&s.hand, 0, rt_poll_read(s.hand.cx, s.io, got, sizeof got));
    AWAIT_EQ(&s.hand, 5, rt_poll_read(s.hand.cx, s.io, got, sizeof got));
    CHECK_EQ(bits_of(s.io, RT_READABLE) & RT_READ_CLOSED, 0);
    AWAIT_EQ(&s.hand, 0, rt_poll_write(s.hand.cx, s.io, "", 0));
    scene_close(&s);
}

/* The answer of a host without a listener is an error by itself, and wakes the reader. */
static void a_refusal_wakes_the_reader(void) {
    struct scene s;
    scene_open(&s, net_udp_pair, RW);
    struct waiter reader;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    close(s.far);
    s.far = -1;
    char byte;
    AWAIT_EQ(&s.hand, 1, rt_poll_write(s.hand.cx, s.io, "x", 1));
    CHECK_EQ(join_task(reader.task), 0);
    CHECK(reader.got.bits & RT_ERROR);
    CHECK_EQ(reader.got.bits & RT_READ_CLOSED, 0);
    AWAIT_EQ(&s.hand, -ECONNREFUSED, rt_poll_read(s.hand.cx, s.io, &byte, 1));

    /* The error was taken: the socket works on. */
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, &byte, 1), RT_PENDING);
    AWAIT_EQ(&s.hand, 1, rt_poll_write(s.hand.cx, s.io, "x", 1));
    AWAIT_EQ(&s.hand, -ECONNREFUSED, rt_poll_read(s.hand.cx, s.io, &byte, 1));
    scene_close(&s);
}

/* ---- a server that answers many from one socket ---- */

struct server {
    rt_io io;
    int left;
    bool answering;
    char text[32];
    struct iovec part;
    struct msghdr msg;
    struct sockaddr_in peer;
};

static int64_t answer_all(rt_cx *cx, void *state) {
    struct server *s = state;
    while (s->left > 0) {
        if (!s->answering) {
            s->part = (struct iovec){s->text, sizeof s->text};
            s->msg = (struct msghdr){.msg_name = &s->peer, .msg_namelen = sizeof s->peer,
                                     .msg_iov = &s->part, .msg_iovlen = 1};
            int64_t r = rt_poll_recvmsg(cx, s->io, &s->msg, 0);
            if (r < 0) return r;
            s->part.iov_len = (size_t)r;
            s->answering = true;
        }
        int64_t r = rt_poll_sendmsg(cx, s->io, &s->msg, 0);
        if (r < 0) return r;
        s->answering = false;
        s->left--;
    }
    return 0;
}

static void one_socket_serves_many(void) {
    enum { CLIENTS = 20, EACH = 5 }; /* no more than a socket keeps */
    rt_runtime rt = test_runtime();
    int fd = net_bound(SOCK_DGRAM), clients[CLIENTS];
    struct sockaddr_in name = net_name(fd);
    static struct server server;
    server = (struct server){.io = io_of(rt, fd, RW), .left = CLIENTS * EACH};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, answer_all, &server, NULL, &task), 0);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = net_bound(SOCK_DGRAM);
        CHECK_SYS(connect(clients[i], (struct sockaddr *)&name, sizeof name));
        for (uint32_t k = 0; k < EACH; k++) CHECK_EQ(send(clients[i], &k, sizeof k, 0), sizeof k);
    }
    CHECK_EQ(join_task(task), 0);
    for (int i = 0; i < CLIENTS; i++) {
        for (uint32_t k = 0; k < EACH; k++) {
            uint32_t back = UINT32_MAX;
            net_wait(clients[i], POLLIN);
            CHECK_EQ(recv(clients[i], &back, sizeof back, 0), sizeof back);
            CHECK_EQ(back, k);
        }
        close(clients[i]);
    }
    CHECK_EQ(rt_close(server.io), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(boundaries_are_kept);
    CASE(an_empty_datagram_is_not_the_end);
    CASE(a_refusal_wakes_the_reader);
    CASE(one_socket_serves_many);
    return test_end();
}
