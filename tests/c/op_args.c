/* Arguments that cannot be: refused with the error of the contract, no handle is written, and
 * nothing happens. What only the system can tell may be an outcome.
 */
#include "op.h"

#include <limits.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/* ---- what all have in common ---- */

static int64_t no_context_or_no_place(rt_cx *cx, void *state) {
    struct steps *s = state;
    steps_pair(cx, s, net_unix_pair);
    for (int call = 0; call < CALLS; call++) {
        op_refused((enum op_call)call, NULL, s->io, -EINVAL);
        CHECK_EQ(op_submit((enum op_call)call, cx, s->io, NULL), -EINVAL);
    }
    CHECK_EQ(rt_poll_op(NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_quiesce(NULL), -EINVAL);
    CHECK_EQ(rt_io_fd(s->io), s->near); /* not closed either */
    CHECK_EQ(rt_poll_quiesce(cx), 0);
    steps_close(s);
    return 0;
}

static int64_t no_descriptor(rt_cx *cx, void *state) {
    struct steps *s = state;
    steps_pair(cx, s, net_unix_pair);
    rt_io stale = io_of(rt_cx_runtime(cx), (int)CHECK_SYS(dup(s->near)), 0);
    CHECK_EQ(rt_close(stale), 0);
    const rt_io wrong[] = {stale, rt_cx_runtime(cx), rt_task_self(cx), 12345, UINT64_MAX};
    for (int call = 0; call < CALLS; call++) {
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
            op_refused((enum op_call)call, cx, wrong[i], -EBADF);
        if (call < IO_CALLS) op_refused((enum op_call)call, cx, 0, -EBADF);
    }
    rt_op out = 77;
    CHECK_EQ(rt_submit_splice(cx, s->io, RT_OFFSET_CURRENT, stale, RT_OFFSET_CURRENT, 1, 0, &out),
             -EBADF);
    CHECK_EQ(rt_submit_renameat(cx, 0, "a", stale, "b", 0, &out), -EBADF);
    CHECK_EQ(out, 0);
    steps_close(s);
    return 0;
}

static int64_t no_operation(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    OP_EQ(s, 1, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    const rt_op wrong[] = {0, s->op, s->io, rt_cx_runtime(cx), rt_task_self(cx), UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_EQ(rt_poll_op(cx, wrong[i]), -EBADF);
        CHECK_EQ(rt_cancel(wrong[i]), -EBADF);
        CHECK_EQ(rt_op_deadline(wrong[i], 1), -EBADF);
        CHECK_EQ(rt_op_forget(wrong[i], NULL, NULL), -EBADF);
    }
    steps_close(s);
    RT_END(0);
}

/* A descriptor that blocks would block a worker. */
static int64_t descriptors_that_block(rt_cx *cx, void *state) {
    struct steps *s = state;
    int ends[2];
    CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), ends[0], 0);
    for (int call = 0; call < TRANSFERS; call++)
        op_refused((enum op_call)call, cx, s->io, -EINVAL);
    steps_close(s);

    CHECK_SYS(pipe2(ends, O_CLOEXEC));
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), ends[0], 0);
    for (int call = CALL_READ; call <= CALL_SPLICE; call++)
        op_refused((enum op_call)call, cx, s->io, -EINVAL);
    steps_close(s);
    return 0;
}

/* ---- pointers ---- */

/* Submissions that must be refused at once. */
#define REFUSED(s, error, ...)       \
    do {                             \
        (s)->op = 77;                \
        CHECK_EQ(__VA_ARGS__, error); \
        CHECK_EQ((s)->op, 0);        \
    } while (0)

static int64_t nothing_to_work_on(rt_cx *cx, void *state) {
    struct steps *s = state;
    const uint64_t here = RT_OFFSET_CURRENT;
    struct iovec iov = {s->buf, 8};
    steps_pair(cx, s, net_unix_pair);
    rt_io io = s->io;
    REFUSED(s, -EINVAL, rt_submit_recv(cx, io, NULL, 8, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_send(cx, io, NULL, 8, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_read(cx, io, NULL, 8, here, &s->op));
    REFUSED(s, -EINVAL, rt_submit_write(cx, io, NULL, 8, here, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_recvmsg(cx, io, NULL, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_sendmsg(cx, io, NULL, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_readv(cx, io, NULL, 1, here, &s->op));
    REFUSED(s, -EINVAL, rt_submit_writev(cx, io, NULL, 1, here, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_connect(cx, io, NULL, 16, &s->op));
    REFUSED(s, -EINVAL, rt_submit_openat(cx, 0, NULL, O_RDONLY, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_statx(cx, 0, NULL, 0, STATX_SIZE, &s->x, &s->op));
    REFUSED(s, -EINVAL, rt_submit_statx(cx, 0, "/", 0, STATX_SIZE, NULL, &s->op));
    REFUSED(s, -EINVAL, rt_submit_unlinkat(cx, 0, NULL, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_mkdirat(cx, 0, NULL, 0700, &s->op));
    REFUSED(s, -EINVAL, rt_submit_renameat(cx, 0, NULL, 0, "b", 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_renameat(cx, 0, "a", 0, NULL, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_readv(cx, io, &iov, -1, here, &s->op));
    REFUSED(s, -EINVAL, rt_submit_writev(cx, io, &iov, -1, here, 0, &s->op));
    REFUSED(s, -EINVAL, rt_submit_readv(cx, io, &iov, INT_MIN, here, &s->op));
    steps_close(s);
    return 0;
}

/* ---- numbers ---- */

static int64_t offsets_beyond_files(rt_cx *cx, void *state) {
    struct steps *s = state;
    struct iovec iov = {s->buf, 8};
    const uint64_t here = RT_OFFSET_CURRENT;
    const uint64_t beyond[] = {(uint64_t)INT64_MAX + 1, UINT64_MAX - 1};
    int pipe[2];
    net_pipe(pipe);
    s->io = io_of(rt_cx_runtime(cx), scratch_file(), 0);
    rt_io in = io_of(rt_cx_runtime(cx), pipe[0], 0), out = io_of(rt_cx_runtime(cx), pipe[1], 0);
    for (int i = 0; i < 2; i++) {
        uint64_t off = beyond[i];
        REFUSED(s, -EINVAL, rt_submit_read(cx, s->io, s->buf, 8, off, &s->op));
        REFUSED(s, -EINVAL, rt_submit_write(cx, s->io, s->buf, 8, off, 0, &s->op));
        REFUSED(s, -EINVAL, rt_submit_readv(cx, s->io, &iov, 1, off, &s->op));
        REFUSED(s, -EINVAL, rt_submit_writev(cx, s->io, &iov, 1, off, 0, &s->op));
        REFUSED(s, -EINVAL, rt_submit_ftruncate(cx, s->io, off, &s->op));
        REFUSED(s, -EINVAL, rt_submit_fallocate(cx, s->io, 0, off, 1, &s->op));
        REFUSED(s, -EINVAL, rt_submit_fallocate(cx, s->io, 0, 0, off, &s->op));
        REFUSED(s, -EINVAL, rt_submit_splice(cx, s->io, off, out, here, 1, 0, &s->op));
        REFUSED(s, -EINVAL, rt_submit_splice(cx, in, here, s->io, off, 1, 0, &s->op));
    }
    CHECK_EQ(net_identity((int)rt_io_fd(s->io)).st_size, 0);
    CHECK_EQ(rt_close(in), 0);
    CHECK_EQ(rt_close(out), 0);
    steps_close(s);
    return 0;
}

static int64_t what_the_system_refuses(rt_cx *cx, void *state) {
    static struct iovec many[IOV_MAX + 1];
    static char long_name[PATH_MAX + 10];
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    memset(long_name, 'x', sizeof long_name - 1);
    s->io = io_of(rt_cx_runtime(cx), scratch_file(), 0);
    OP_FAILS(s, -EINVAL, rt_submit_fallocate(cx, s->io, 0, 0, 0, &s->op));
    OP_FAILS(s, -EFBIG, rt_submit_fallocate(cx, s->io, 0, 1, INT64_MAX, &s->op));
    OP_FAILS(s, -EFBIG, rt_submit_fallocate(cx, s->io, 0, INT64_MAX, INT64_MAX, &s->op));
    OP_FAILS(s, -EOPNOTSUPP, rt_submit_fallocate(cx, s->io, 1 << 30, 0, 1, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_readv(cx, s->io, many, IOV_MAX + 1, 0, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_writev(cx, s->io, many, IOV_MAX + 1, 0, 0, &s->op));
    OP_FAILS(s, -ENOTSOCK, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op));
    OP_FAILS(s, -ENOTSOCK, rt_submit_send(cx, s->io, s->buf, 8, 0, &s->op));
    OP_FAILS(s, -ENOTSOCK, rt_submit_accept(cx, s->io, &s->op));
    OP_FAILS(s, -ENOTSOCK, rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op));
    OP_FAILS(s, -ENOTSOCK, op_submit(CALL_CONNECT, cx, s->io, &s->op));
    CHECK_EQ(rt_close(s->io), 0);

    steps_pair(cx, s, net_unix_pair);
    OP_FAILS(s, -EINVAL, rt_submit_shutdown(cx, s->io, 17, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_fsync(cx, s->io, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_ftruncate(cx, s->io, 0, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_connect(cx, s->io, (struct sockaddr *)s->buf, 0, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_connect(cx, s->io, (struct sockaddr *)s->buf, 4000, &s->op));

    OP_FAILS(s, -ENAMETOOLONG, rt_submit_openat(cx, 0, long_name, O_RDONLY, 0, &s->op));
    OP_FAILS(s, -ENAMETOOLONG, rt_submit_mkdirat(cx, 0, long_name, 0700, &s->op));
    OP_FAILS(s, -ENOENT, rt_submit_openat(cx, 0, "", O_RDONLY, 0, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_unlinkat(cx, 0, "none", 1 << 30, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_renameat(cx, 0, "none", 0, "other", 1u << 30, &s->op));
    OP_FAILS(s, -EINVAL, rt_submit_statx(cx, 0, "/", 1 << 30, STATX_SIZE, &s->x, &s->op));
    OP_FAILS(s, -ENOTDIR, rt_submit_openat(cx, s->io, "none", O_RDONLY, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

/* ---- what is something else, whatever it says of waiting ---- */

enum { NO_SOCKETS = 4 };
static int no_socket(int kind) {
    int fds[2];
    switch (kind) {
    case 0: return (int)CHECK_SYS(memfd_create("no socket", MFD_CLOEXEC));
    case 1: return (int)CHECK_SYS(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    case 2: return (int)CHECK_SYS(eventfd(0, EFD_CLOEXEC));
    default:
        net_pipe(fds);
        close(fds[1]);
        return fds[0];
    }
}

static int64_t no_sockets(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < NO_SOCKETS; s->i++) {
        s->near = no_socket(s->i);
        CHECK_SYS(fcntl(s->near, F_SETFL, CHECK_SYS(fcntl(s->near, F_GETFL)) | O_NONBLOCK));
        s->io = io_of(rt_cx_runtime(cx), s->near, 0);
        OP_EQ(s, -ENOTSOCK, rt_submit_accept(cx, s->io, &s->op));
        OP_EQ(s, -ENOTSOCK, rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op));
        CHECK_EQ(rt_submit_accept_multi(cx, s->io, &s->op), 0);
        RT_AWAIT(s->got, rt_poll_accept_next(cx, s->op, &s->peer));
        CHECK_EQ(s->got, -ENOTSOCK);
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &(rt_buf){0}));
        CHECK_EQ(s->got, -ENOTSOCK);
        CHECK_EQ(rt_close(s->io), 0);
    }
    s->io = 0;
    steps_close(s);
    RT_END(0);
}

static int64_t writes_to_a_process(rt_cx *cx, void *state) {
    static struct iovec part = {"x", 1};
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    s->near = (int)syscall(SYS_pidfd_open, getpid(), O_NONBLOCK);
    if (s->near < 0) {
        puts("writes_to_a_process: skipped: there are no pidfds here");
        return 0;
    }
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    OP_EQ(s, -EINVAL, rt_submit_write(cx, s->io, "x", 1, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, -EINVAL, rt_submit_write(cx, s->io, "x", 0, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, -EINVAL, rt_submit_writev(cx, s->io, &part, 1, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, -EINVAL, rt_submit_read(cx, s->io, s->buf, 8, RT_OFFSET_CURRENT, &s->op));
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    scratch_make();
    OP_CASE(no_context_or_no_place);
    OP_CASE(no_descriptor);
    OP_CASE(no_operation);
    OP_CASE(descriptors_that_block);
    OP_CASE(nothing_to_work_on);
    OP_CASE(offsets_beyond_files);
    OP_CASE(what_the_system_refuses);
    OP_CASE(no_sockets);
    OP_CASE(writes_to_a_process);
    scratch_remove();
    return test_end();
}
