/* Descriptors that go along with bytes over Unix sockets: they arrive close-on-exec, as many as
 * there is room for; those without room are closed, and said to be, and no byte is lost for them.
 */
#include "ready.h"

enum { MOST = 253 };

struct link {
    rt_runtime rt;
    struct hand hand;
    rt_io ends[2];
    int marks[MOST + 1]; /* the reading ends of pipes, to tell them apart */
    int count;
    int writer;
};

/* Marks are one pipe's ends, duplicated. */
static void link_open(struct link *l, int kind, int count) {
    memset(l, 0, sizeof *l);
    l->rt = test_runtime();
    hand_open(&l->hand, l->rt);
    CHECK_EQ(rt_unix_pair(l->rt, kind, l->ends), 0);
    int ends[2];
    net_pipe(ends);
    l->marks[0] = ends[0];
    l->writer = ends[1];
    for (l->count = 1; l->count < count; l->count++)
        l->marks[l->count] = (int)CHECK_SYS(fcntl(ends[0], F_DUPFD, 0));
}

static void link_close(struct link *l) {
    for (int i = 0; i < l->count; i++) close(l->marks[i]);
    close(l->writer);
    CHECK_EQ(rt_close(l->ends[0]), 0);
    CHECK_EQ(rt_close(l->ends[1]), 0);
    hand_close(&l->hand);
    test_runtime_free(l->rt);
    hand_check(&l->hand);
}

static int64_t send_fds(struct link *l, const char *bytes, int count) {
    int64_t r;
    AWAIT(&l->hand, r, rt_poll_send_fds(l->hand.cx, l->ends[0], bytes, strlen(bytes), l->marks, (uint32_t)count));
    return r;
}

static char buf[64];
static int fds[MOST + 10];
static uint32_t count, flags;

static int64_t recv_fds(struct link *l, size_t n, uint32_t room) {
    int64_t r;
    memset(buf, 0, sizeof buf);
    memset(fds, 0xff, sizeof fds);
    count = room;
    flags = 77;
    AWAIT(&l->hand, r, rt_poll_recv_fds(l->hand.cx, l->ends[1], buf, n, fds, &count, &flags));
    return r;
}

/* So many came, each the pipe's; they are closed. */
static void check_fds(struct link *l, uint32_t expected, uint32_t expected_flags) {
    struct stat was = net_identity(l->marks[0]);
    CHECK_EQ(count, expected);
    CHECK_EQ(flags, expected_flags);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        CHECK(net_is_still(fds[i], &was));
        close(fds[i]);
    }
    CHECK_EQ(fds[count], -1);
}

static void arrive(int kind, int n) {
    struct link l;
    link_open(&l, kind, n);
    int before = open_fds();
    CHECK_EQ(send_fds(&l, "hello", n), 5);
    CHECK_EQ(recv_fds(&l, sizeof buf, MOST), 5);
    CHECK(strcmp(buf, "hello") == 0);
    check_fds(&l, (uint32_t)n, 0);
    CHECK_EQ(open_fds(), before);
    link_close(&l);
}

static void one(void) { arrive(SOCK_STREAM, 1); }
static void as_many_as_can_be(void) { arrive(SOCK_STREAM, MOST); }
static void in_a_datagram(void) { arrive(SOCK_DGRAM, 3); }
static void in_a_packet(void) { arrive(SOCK_SEQPACKET, 3); }

static void without_any(void) {
    struct link l;
    link_open(&l, SOCK_STREAM, 1);
    CHECK_EQ(send_fds(&l, "hello", 0), 5);
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 5);
    check_fds(&l, 0, 0);
    CHECK_EQ(rt_close(l.ends[0]), 0);
    l.ends[0] = 0;
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 0);
    check_fds(&l, 0, 0);
    link_close(&l);
}

/* What has no room is closed; the bytes are all there. */
static void too_many(void) {
    struct link l;
    link_open(&l, SOCK_STREAM, 5);
    int before = open_fds();
    CHECK_EQ(send_fds(&l, "hello", 5), 5);
    CHECK_EQ(recv_fds(&l, 3, 2), 3);
    CHECK(strcmp(buf, "hel") == 0);
    check_fds(&l, 2, RT_FDS_TRUNCATED);
    CHECK_EQ(recv_fds(&l, sizeof buf, 2), 2);
    CHECK(strcmp(buf, "lo") == 0);
    check_fds(&l, 0, 0);
    CHECK_EQ(send_fds(&l, "x", 5), 1);
    count = 0;
    int64_t r;
    AWAIT(&l.hand, r, rt_poll_recv_fds(l.hand.cx, l.ends[1], buf, 1, NULL, &count, NULL));
    CHECK_EQ(r, 1);
    CHECK_EQ(count, 0);
    CHECK_EQ(open_fds(), before);
    link_close(&l);
}

/* The process has no room for all of them. */
static void no_room_in_the_process(void) {
    if (under("valgrind")) return; /* which has a limit of its own */
    struct link l;
    link_open(&l, SOCK_STREAM, 5);
    struct rlimit limit, low;
    int before = open_fds();
    CHECK_EQ(send_fds(&l, "hello", 5), 5);
    int top = (int)CHECK_SYS(fcntl(l.writer, F_DUPFD, 0));
    close(top);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    low = limit;
    low.rlim_cur = (rlim_t)top + 1;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 5);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
    CHECK(strcmp(buf, "hello") == 0);
    check_fds(&l, 1, RT_FDS_TRUNCATED);
    CHECK_EQ(open_fds(), before);
    link_close(&l);
}

/* Each message's descriptors come with its own bytes. */
static void kept_apart(void) {
    struct link l;
    link_open(&l, SOCK_STREAM, 2);
    CHECK_EQ(send_fds(&l, "one", 1), 3);
    CHECK_EQ(send_fds(&l, "two", 2), 3);
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 3);
    check_fds(&l, 1, 0);
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 3);
    check_fds(&l, 2, 0);
    link_close(&l);
}

/* A call that must wait changes nothing, and goes on when it can. */
static void waits(void) {
    struct link l;
    link_open(&l, SOCK_STREAM, 1);
    count = 5;
    flags = 77;
    CHECK_EQ(rt_poll_recv_fds(l.hand.cx, l.ends[1], buf, 5, fds, &count, &flags), RT_PENDING);
    CHECK(count == 5 && flags == 77);
    CHECK_EQ(send_fds(&l, "x", 1), 1);
    hand_wait(&l.hand);
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 1);
    check_fds(&l, 1, 0);
    net_stuff((int)rt_io_fd(l.ends[0]));
    int64_t r;
    do r = rt_poll_send_fds(l.hand.cx, l.ends[0], "x", 1, l.marks, 1);
    while (r > 0);
    CHECK_EQ(r, RT_PENDING);
    while (net_drain((int)rt_io_fd(l.ends[1])) > 0) {}
    CHECK_EQ(send_fds(&l, "x", 1), 1);
    CHECK_EQ(recv_fds(&l, sizeof buf, 5), 1);
    check_fds(&l, 1, 0);
    link_close(&l);
}

static void bad_arguments(void) {
    struct link l;
    link_open(&l, SOCK_STREAM, MOST + 1);
    rt_cx *cx = l.hand.cx;
    rt_io io = l.ends[0];
    count = 1;
    CHECK_EQ(rt_poll_send_fds(NULL, io, "x", 1, l.marks, 1), -EINVAL);
    CHECK_EQ(rt_poll_send_fds(cx, 12345, "x", 1, l.marks, 1), -EBADF);
    CHECK_EQ(rt_poll_send_fds(cx, io, NULL, 1, l.marks, 1), -EINVAL);
    CHECK_EQ(rt_poll_send_fds(cx, io, "x", 1, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_send_fds(cx, io, "x", 0, l.marks, 1), -EINVAL);
    CHECK_EQ(rt_poll_send_fds(cx, io, "x", 1, l.marks, MOST + 1), -EINVAL);
    AWAIT_EQ(&l.hand, -EBADF, rt_poll_send_fds(cx, io, "x", 1, &(int){-1}, 1));
    CHECK_EQ(rt_poll_recv_fds(NULL, io, buf, 1, fds, &count, NULL), -EINVAL);
    CHECK_EQ(rt_poll_recv_fds(cx, 12345, buf, 1, fds, &count, NULL), -EBADF);
    CHECK_EQ(rt_poll_recv_fds(cx, io, NULL, 1, fds, &count, NULL), -EINVAL);
    CHECK_EQ(rt_poll_recv_fds(cx, io, buf, 1, NULL, &count, NULL), -EINVAL);
    CHECK_EQ(rt_poll_recv_fds(cx, io, buf, 1, fds, NULL, NULL), -EINVAL);
    CHECK_EQ(count, 1);
    link_close(&l);
}

/* Descriptors that the kernel adds are closed: who did not ask for them would not know. */
static void of_the_kernel(void) {
    enum { PASS_PIDFD = 76 };
    struct link l;
    link_open(&l, SOCK_STREAM, 1);
    int fd = (int)rt_io_fd(l.ends[1]);
    if (setsockopt(fd, SOL_SOCKET, PASS_PIDFD, &(int){1}, sizeof(int)) == 0) {
        CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
        int before = open_fds();
        CHECK_EQ(send_fds(&l, "hello", 1), 5);
        CHECK_EQ(recv_fds(&l, sizeof buf, MOST), 5);
        check_fds(&l, 1, 0);
        CHECK_EQ(open_fds(), before);
    }
    link_close(&l);
}

/* Descriptors that come with datagrams which are received without room for them are closed. */
static void with_many(void) {
    struct link l;
    char bytes[4];
    rt_datagram v[2] = {{.buf = bytes, .len = 2}, {.buf = bytes + 2, .len = 2}};
    link_open(&l, SOCK_DGRAM, 5);
    int before = open_fds();
    CHECK_EQ(send_fds(&l, "a", 5), 1);
    CHECK_EQ(send_fds(&l, "b", 2), 1);
    int64_t r;
    AWAIT(&l.hand, r, rt_poll_recv_many(l.hand.cx, l.ends[1], v, 2));
    CHECK_EQ(r, 2);
    CHECK_EQ(v[1].len, 1);
    CHECK_EQ(bytes[2], 'b');
    CHECK_EQ(open_fds(), before);
    link_close(&l);
}

/* What is no Unix socket would send the bytes alone. */
static void elsewhere(void) {
    struct link l;
    link_open(&l, SOCK_STREAM, 1);
    int ends[2];
    net_pair(ends);
    rt_io io;
    CHECK_OK(rt_register_fd(l.rt, ends[0], RT_READABLE | RT_WRITABLE, &io));
    CHECK_EQ(rt_poll_send_fds(l.hand.cx, io, "x", 1, l.marks, 1), -EAFNOSUPPORT);
    int64_t r;
    AWAIT(&l.hand, r, rt_poll_send_fds(l.hand.cx, io, "x", 1, NULL, 0));
    CHECK_EQ(r, 1);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    link_close(&l);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(1024);
    CASE(one);
    CASE(as_many_as_can_be);
    CASE(in_a_datagram);
    CASE(in_a_packet);
    CASE(without_any);
    CASE(too_many);
    CASE(no_room_in_the_process);
    CASE(kept_apart);
    CASE(waits);
    CASE(bad_arguments);
    CASE(of_the_kernel);
    CASE(with_many);
    CASE(elsewhere);
    return test_end();
}
