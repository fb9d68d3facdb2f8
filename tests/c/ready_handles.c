/* Every call of readiness and direct I/O, with handles that are zero, forged, stale or of another
 * kind, and with NULL where something must be: an error, nothing else, on every thread.
 */
#include "ready.h"

static int64_t never_called(int fd, void *arg) {
    (void)fd;
    *(bool *)arg = true;
    return 0;
}

/* The calls that want a context, each with arguments that are right but for the handle. */
static void polls_give(rt_cx *cx, rt_io io, int64_t expected) {
    char byte = 'x';
    bool called = false;
    size_t off = 0;
    rt_io out = 0;
    rt_ready ready;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct sockaddr_in name = {.sin_family = AF_INET};
    CHECK_EQ(rt_poll_ready(cx, io, RT_READABLE, &ready), expected);
    CHECK_EQ(rt_poll_level(cx, io, RT_READABLE, &ready), expected);
    CHECK_EQ(rt_poll_try(cx, io, RT_READABLE, never_called, &called), expected);
    CHECK_EQ(rt_poll_try(cx, io, RT_WRITABLE, never_called, &called), expected);
    CHECK_EQ(rt_poll_read(cx, io, &byte, 1), expected);
    CHECK_EQ(rt_poll_write(cx, io, &byte, 1), expected);
    CHECK_EQ(rt_poll_write_all(cx, io, &byte, 1, &off), expected);
    CHECK_EQ(rt_poll_readv(cx, io, &iov, 1), expected);
    CHECK_EQ(rt_poll_writev(cx, io, &iov, 1), expected);
    CHECK_EQ(rt_poll_recvmsg(cx, io, &msg, 0), expected);
    CHECK_EQ(rt_poll_sendmsg(cx, io, &msg, 0), expected);
    CHECK_EQ(rt_poll_accept(cx, io, &out), expected);
    CHECK_EQ(rt_poll_connect(cx, io, (struct sockaddr *)&name, sizeof name), expected);
    CHECK(!called);
    CHECK_EQ(out, 0);
    CHECK_EQ(off, 0);
}

static void plain_calls_give(rt_io io, int64_t expected) {
    rt_ready ready = {RT_READABLE, 1};
    CHECK_EQ(rt_try_ready(io, RT_READABLE, &ready), expected);
    CHECK_EQ(rt_clear_ready(io, ready), expected);
    CHECK_EQ(rt_io_fd(io), expected);
    int64_t released = io == 0 ? 0 : expected;
    CHECK_EQ(rt_close(io), released);
    CHECK_EQ(rt_deregister(io), released);
    CHECK_EQ(rt_forget(io), released);
}

/* ---- handles ---- */

enum { HANDLES = 12 };
struct handles {
    rt_io bad[HANDLES];
};

static int64_t try_handles(rt_cx *cx, void *state) {
    struct handles *h = state;
    for (int i = 0; i < HANDLES; i++) {
        polls_give(cx, h->bad[i], -EBADF);
        plain_calls_give(h->bad[i], -EBADF);
        CHECK_EQ(rt_io_rehome(cx, h->bad[i]), -EBADF);
    }
    polls_give(cx, rt_task_self(cx), -EBADF);
    plain_calls_give(rt_task_self(cx), -EBADF);
    return 0;
}

static void *try_handles_here(void *arg) {
    struct handles *h = arg;
    for (int i = 0; i < HANDLES; i++) plain_calls_give(h->bad[i], -EBADF);
    return NULL;
}

static rt_io stale_io(rt_runtime rt) {
    int fds[2];
    net_pipe(fds);
    rt_io io = io_of(rt, fds[0], RT_READABLE);
    CHECK_EQ(rt_close(io), 0);
    close(fds[1]);
    return io;
}

static rt_io io_of_a_freed_runtime(void) {
    int fds[2];
    rt_runtime gone = test_runtime();
    net_pipe(fds);
    rt_io io = io_of(gone, fds[0], RT_READABLE);
    CHECK_EQ(rt_free(gone), 0);
    CHECK(!net_is_open(fds[0]));
    close(fds[1]);
    return io;
}

static void bad_handles_are_refused(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct handles h = {{
        0,
        UINT64_MAX,
        1,
        0x0123456789abcdef,
        s.rt,
        stale_io(s.rt),
        io_of_a_freed_runtime(),
        s.io + 1,
        s.io ^ 1ull << 63, /* another generation */
        s.io ^ 1ull << 32,
        s.io ^ 1ull << 28, /* another kind */
        s.io ^ 1ull << 31,
    }};
    CHECK_EQ(rt_block_on(s.rt, try_handles, &h), 0);
    on_thread(try_handles_here, &h);
    for (int i = 0; i < HANDLES; i++) polls_give(s.hand.cx, h.bad[i], -EBADF);
    scene_close(&s);
}

static void released_handles_are_stale_at_once(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    int64_t (*release[])(rt_io) = {rt_close, rt_deregister, rt_forget};
    for (int i = 0; i < 3; i++) {
        int fd = (int)CHECK_SYS(fcntl(s.far, F_DUPFD_CLOEXEC, 0));
        rt_io io = io_of(s.rt, fd, RW);
        CHECK_EQ(release[i](io), 0);
        polls_give(s.hand.cx, io, -EBADF);
        plain_calls_give(io, -EBADF);
        CHECK_EQ(net_is_open(fd), i > 0);
        if (i > 0) close(fd);
    }
    scene_close(&s);
}

/* What is queued is another descriptor's, which has the place of the one that was closed. */
static void a_stale_handle_is_not_busy(void) {
    enum { MOST_TRIES = 10000, LEN = 1000, PLACE = (1 << 28) - 1 };
    static const char data[LEN];
    struct scene s;
    int ends[2];
    scene_open(&s, net_pair, RW);
    rt_io stale = stale_io(s.rt), io = 0;
    for (int i = 0; io == 0 || (io & PLACE) != (stale & PLACE); i++) {
        CHECK(i < MOST_TRIES);
        CHECK_EQ(rt_close(io), 0);
        if (io != 0) close(ends[1]);
        net_unix_pair(ends);
        io = io_of(s.rt, ends[0], RW);
    }
    net_stuff(ends[0]);
    CHECK_EQ(rt_send(io, data, LEN), LEN);
    CHECK_EQ(rt_poll_try(s.hand.cx, io, RT_WRITABLE, never_called, &(bool){false}), -EBUSY);
    polls_give(s.hand.cx, stale, -EBADF);
    plain_calls_give(stale, -EBADF);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    scene_close(&s);
}

/* ---- NULL and unknown bits ---- */

static void null_is_refused(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_cx *cx = s.hand.cx;
    struct iovec iov = {NULL, 0};
    size_t off = 0;
    struct sockaddr_in name = net_name(s.far);
    polls_give(NULL, s.io, -EINVAL);
    CHECK_EQ(rt_io_rehome(NULL, s.io), -EINVAL);
    CHECK_EQ(rt_io_rehome(cx, s.io), -EPERM); /* no worker polls here */
    CHECK_EQ(rt_poll_ready(cx, s.io, RT_READABLE, NULL), -EINVAL);
    CHECK_EQ(rt_poll_level(cx, s.io, RT_READABLE, NULL), -EINVAL);
    CHECK_EQ(rt_poll_try(cx, s.io, RT_READABLE, NULL, &off), -EINVAL);
    CHECK_EQ(rt_try_ready(s.io, RT_READABLE, NULL), -EINVAL);
    CHECK_EQ(rt_poll_read(cx, s.io, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_write(cx, s.io, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_write_all(cx, s.io, NULL, 1, &off), -EINVAL);
    CHECK_EQ(rt_poll_write_all(cx, s.io, "x", 1, NULL), -EINVAL);
    CHECK_EQ(rt_poll_readv(cx, s.io, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_writev(cx, s.io, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_readv(cx, s.io, &iov, -1), -EINVAL);
    CHECK_EQ(rt_poll_writev(cx, s.io, &iov, -1), -EINVAL);
    CHECK_EQ(rt_poll_recvmsg(cx, s.io, NULL, 0), -EINVAL);
    CHECK_EQ(rt_poll_sendmsg(cx, s.io, NULL, 0), -EINVAL);
    CHECK_EQ(rt_poll_accept(cx, s.io, NULL), -EINVAL);
    CHECK_EQ(rt_poll_connect(cx, s.io, NULL, sizeof name), -EINVAL);
    CHECK_EQ(rt_poll_connect(cx, s.io, (struct sockaddr *)&name, 0), -EINVAL);
    scene_close(&s);
}

static void no_interest_and_unknown_interest_are_refused(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_ready none;
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, 0, &none), -EINVAL);
    CHECK_EQ(rt_poll_level(s.hand.cx, s.io, 0, &none), -EINVAL);
    CHECK_EQ(rt_try_ready(s.io, 0, &none), -EINVAL);
    const uint32_t known = RW | RT_PRIORITY | RT_ERROR | CLOSED_BITS;
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (bit & known) continue;
        rt_ready got;
        bool called = false;
        CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE | bit, &got), -EINVAL);
        CHECK_EQ(rt_poll_level(s.hand.cx, s.io, RT_READABLE | bit, &got), -EINVAL);
        CHECK_EQ(rt_poll_try(s.hand.cx, s.io, RT_WRITABLE | bit, never_called, &called), -EINVAL);
        CHECK_EQ(rt_try_ready(s.io, RT_READABLE | bit, &got), -EINVAL);
        CHECK(!called);
    }
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(bad_handles_are_refused);
    CASE(released_handles_are_stale_at_once);
    CASE(a_stale_handle_is_not_busy);
    CASE(null_is_refused);
    CASE(no_interest_and_unknown_interest_are_refused);
    return test_end();
}
