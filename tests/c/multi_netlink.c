/* A netlink socket says by ENOBUFS that messages were lost. A receiver ends with that, as it does with any error, on whichever engine.
 */
#include "multi.h"

#include <linux/netlink.h>

enum { GROUP = 1, ROOM = 4096, MESSAGES = 1000 };

static int netlink(unsigned groups) {
    struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = (int)CHECK_SYS(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_USERSOCK));
    CHECK_SYS(bind(fd, (struct sockaddr *)&name, sizeof name));
    return fd;
}

static void tell(int fd) {
    struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = GROUP};
    struct {
        struct nlmsghdr head;
        char text[200];
    } message = {.head = {.nlmsg_len = sizeof message, .nlmsg_type = NLMSG_MIN_TYPE + 1}};
    ssize_t r = sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&group, sizeof group);
    /* That nobody has room for it is the receiver's to hear. */
    if (r < 0 && errno != ENOBUFS && errno != ECONNREFUSED) CHECK_SYS(r);
}

static int64_t overflow(rt_cx *cx, void *state) {
    struct steps *s = state;
    static rt_buf buf;
    RT_BEGIN(&s->frame);
    s->near = netlink(GROUP);
    s->far = netlink(0);
    CHECK_SYS(setsockopt(s->near, SOL_SOCKET, SO_RCVBUF, &(int){ROOM}, sizeof(int)));
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    tell(s->far);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &buf));
    CHECK(s->got > 0);
    CHECK_EQ(rt_buf_release(buf.lease), 0);
    OP_TURNS(s, 100);
    for (int i = 0; i < MESSAGES; i++) tell(s->far);
    for (;;) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &buf));
        if (s->got <= 0) break;
        CHECK_EQ(rt_buf_release(buf.lease), 0);
    }
    CHECK_EQ(s->got, -ENOBUFS);
    /* It goes on with the next. */
    while (recv(s->near, s->buf, sizeof s->buf, 0) > 0) {}
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    tell(s->far);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &buf));
    CHECK(s->got > 0);
    CHECK_EQ(rt_buf_release(buf.lease), 0);
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    OP_CASE(overflow);
    return test_end();
}
