/* What direct I/O refuses, and what it passes on from the kernel: blocking descriptors, wrong
 * kinds, empty and impossible requests.
 */
#include "ready.h"

/* ---- blocking descriptors: readiness only ---- */

static void direct_calls_give(struct scene *s, int64_t expected) {
    rt_cx *cx = s->hand.cx;
    char byte = 'x';
    size_t off = 0;
    rt_io out = 0;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct sockaddr_in name = net_name(s->far);
    CHECK_EQ(rt_poll_read(cx, s->io, &byte, 1), expected);
    CHECK_EQ(rt_poll_write(cx, s->io, &byte, 1), expected);
    CHECK_EQ(rt_poll_write_all(cx, s->io, &byte, 1, &off), expected);
    CHECK_EQ(rt_poll_readv(cx, s->io, &iov, 1), expected);
    CHECK_EQ(rt_poll_writev(cx, s->io, &iov, 1), expected);
    CHECK_EQ(rt_poll_recvmsg(cx, s->io, &msg, 0), expected);
    CHECK_EQ(rt_poll_sendmsg(cx, s->io, &msg, 0), expected);
    CHECK_EQ(rt_poll_accept(cx, s->io, &out), expected);
    CHECK_EQ(rt_poll_connect(cx, s->io, (struct sockaddr *)&name, sizeof name), expected);
    CHECK_EQ(out, 0);
    CHECK_EQ(off, 0);
}

static void blocking_pair(int out[2]) {
    net_pair(out);
    net_set_nonblock(out[0], false);
}

static void a_blocking_descriptor(uint32_t flags) {
    struct scene s;
    scene_open(&s, blocking_pair, RW | flags);
    direct_calls_give(&s, -EINVAL);
    net_put(s.far, "x", 1);
    CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);
    direct_calls_give(&s, -EINVAL);
    CHECK_EQ(net_drain(s.far), 0);
    char byte;
    CHECK_EQ(read(s.near, &byte, 1), 1); /* which readiness is for */
    if (flags & RT_IO_BORROWED) {
        CHECK_EQ(rt_close(s.io), 0);
        close(s.near);
        s.io = 0;
    }
    scene_close(&s);
}

static void a_blocking_owned_one(void) { a_blocking_descriptor(0); }
static void a_blocking_borrowed_one(void) { a_blocking_descriptor(RT_IO_BORROWED); }

static void made_nonblocking_it_works(void) {
    struct scene s;
    scene_open(&s, blocking_pair, RW | RT_IO_SET_NONBLOCK);
    char byte;
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, &byte, 1), RT_PENDING);
    net_put(s.far, "x", 1);
    AWAIT_EQ(&s.hand, 1, rt_poll_read(s.hand.cx, s.io, &byte, 1));
    scene_close(&s);
}

/* ---- empty and impossible requests ---- */

static void nothing_asked_is_nothing_done(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    char byte;
    size_t off = 0;
    struct iovec empty[2] = {{&byte, 0}, {&byte, 0}};
    AWAIT_EQ(&s.hand, 0, rt_poll_write(s.hand.cx, s.io, &byte, 0));
    AWAIT_EQ(&s.hand, 0, rt_poll_write_all(s.hand.cx, s.io, &byte, 0, &off));
    AWAIT_EQ(&s.hand, 0, rt_poll_writev(s.hand.cx, s.io, empty, 2));
    CHECK_EQ(off, 0);
    net_put(s.far, "x", 1);
    await_ready(&s.hand, s.io, RT_READABLE);
    AWAIT_EQ(&s.hand, 0, rt_poll_read(s.hand.cx, s.io, &byte, 0));
    AWAIT_EQ(&s.hand, 1, rt_poll_read(s.hand.cx, s.io, &byte, 1)); /* that was no end of stream */
    scene_close(&s);
}

static void impossible_requests_are_errors(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    char byte = 'x';
    enum { TOO_MANY = 1025 };
    struct iovec parts[TOO_MANY];
    for (int i = 0; i < TOO_MANY; i++) parts[i] = (struct iovec){&byte, 1};
    size_t off = 2;
    AWAIT_EQ(&s.hand, -EINVAL, rt_poll_writev(s.hand.cx, s.io, parts, TOO_MANY));
    AWAIT_EQ(&s.hand, -EINVAL, rt_poll_write_all(s.hand.cx, s.io, &byte, 1, &off));
    CHECK_EQ(off, 2);
    CHECK_EQ(net_drain(s.far), 0);
    net_put(s.far, "x", 1);
    AWAIT_EQ(&s.hand, -EINVAL, rt_poll_readv(s.hand.cx, s.io, parts, TOO_MANY));
    scene_close(&s);
}

/* ---- the kernel's own errors ---- */

static void memory_that_is_not_there(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    AWAIT_EQ(&s.hand, -EFAULT, rt_poll_write(s.hand.cx, s.io, (void *)1, 1));
    CHECK_EQ(net_drain(s.far), 0);
    net_put(s.far, "x", 1);
    AWAIT_EQ(&s.hand, -EFAULT, rt_poll_read(s.hand.cx, s.io, (void *)1, 1));
    scene_close(&s);
}

static void the_wrong_kind_of_descriptor(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_io out = 0;
    char byte = 'x';
    net_put(s.far, "x", 1); /* a call waits for readiness before it can find out */
    AWAIT_EQ(&s.hand, -EINVAL, rt_poll_accept(s.hand.cx, s.io, &out));
    CHECK_EQ(out, 0);

    int fds[2];
    net_pipe(fds);
    rt_io reader = io_of(s.rt, fds[0], RT_READABLE), writer = io_of(s.rt, fds[1], RT_WRITABLE);
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    AWAIT_EQ(&s.hand, -ENOTSOCK, rt_poll_sendmsg(s.hand.cx, writer, &msg, 0));
    net_put(fds[1], "x", 1);
    await_ready(&s.hand, reader, RT_READABLE);
    AWAIT_EQ(&s.hand, -ENOTSOCK, rt_poll_recvmsg(s.hand.cx, reader, &msg, 0));
    AWAIT_EQ(&s.hand, -ENOTSOCK, rt_poll_accept(s.hand.cx, reader, &out));
    CHECK_EQ(rt_close(reader), 0);
    CHECK_EQ(rt_close(writer), 0);
    scene_close(&s);
}

static void a_large_datagram_is_refused_not_split(void) {
    static char large[70000];
    struct scene s;
    scene_open(&s, net_udp_pair, RW);
    AWAIT_EQ(&s.hand, -EMSGSIZE, rt_poll_write(s.hand.cx, s.io, large, sizeof large));
    AWAIT_EQ(&s.hand, 1, rt_poll_write(s.hand.cx, s.io, large, 1));
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_blocking_owned_one);
    CASE(a_blocking_borrowed_one);
    CASE(made_nonblocking_it_works);
    CASE(nothing_asked_is_nothing_done);
    CASE(impossible_requests_are_errors);
    if (!under("valgrind")) CASE(memory_that_is_not_there); /* it finds fault with that itself */
    CASE(the_wrong_kind_of_descriptor);
    CASE(a_large_datagram_is_refused_not_split);
    return test_end();
}
