/* Files: what operations read and write, where, and what they do to sizes and to the disk. The
 * handle of an opened file serves like one that was registered.
 */
#include "op.h"

#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>


static void scratch_open(rt_cx *cx, struct steps *s) {
    s->dir = io_of(rt_cx_runtime(cx), scratch_fd(), 0);
}


/* Opens `file` in the scratch directory as s->io. */
#define OPEN(s, flags)                                                          \
    do {                                                                        \
        OP(s, rt_submit_openat(cx, (s)->dir, "file", (flags), 0600, &(s)->op)); \
        (s)->io = (rt_io)CHECK_OK((s)->got);                                    \
        CHECK((s)->io != 0);                                                    \
    } while (0)

#define UNLINK(s) OP_EQ(s, 0, rt_submit_unlinkat(cx, (s)->dir, "file", 0, &(s)->op))

enum { NEW = O_RDWR | O_CREAT | O_EXCL };

static int64_t what_was_written_is_read(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW);
    CHECK(fcntl((int)rt_io_fd(s->io), F_GETFD) & FD_CLOEXEC);
    OP_EQ(s, 5, rt_submit_write(cx, s->io, "hello", 5, 0, 0, &s->op));
    OP_EQ(s, 6, rt_submit_write(cx, s->io, " world", 6, 5, 0, &s->op));
    OP_EQ(s, 11, rt_submit_read(cx, s->io, s->buf, sizeof s->buf, 0, &s->op));
    CHECK(memcmp(s->buf, "hello world", 11) == 0);
    OP_EQ(s, 3, rt_submit_read(cx, s->io, s->buf, 3, 4, &s->op));
    CHECK(memcmp(s->buf, "o w", 3) == 0);
    OP_EQ(s, 1, rt_submit_read(cx, s->io, s->buf, 100, 10, &s->op));
    OP_EQ(s, 0, rt_submit_read(cx, s->io, s->buf, 100, 11, &s->op));
    OP_EQ(s, 0, rt_submit_read(cx, s->io, s->buf, 100, 1000000, &s->op));
    OP_EQ(s, 0, rt_submit_read(cx, s->io, s->buf, 0, 0, &s->op));

    /* A hole reads as zeroes. */
    OP_EQ(s, 1, rt_submit_write(cx, s->io, "x", 1, 4095, 0, &s->op));
    OP_EQ(s, 4096, rt_submit_read(cx, s->io, s->buf, 4096, 0, &s->op));
    for (s->i = 11; s->i < 4095; s->i++) CHECK_EQ(s->buf[s->i], 0);
    CHECK_EQ(s->buf[4095], 'x');
    CHECK_EQ(lseek((int)rt_io_fd(s->io), 0, SEEK_CUR), 0); /* offsets leave the position alone */
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

static int64_t the_current_position_moves(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW);
    OP_EQ(s, 3, rt_submit_write(cx, s->io, "abc", 3, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, 3, rt_submit_write(cx, s->io, "def", 3, RT_OFFSET_CURRENT, 0, &s->op));
    CHECK_EQ(lseek((int)rt_io_fd(s->io), 0, SEEK_CUR), 6);
    OP_EQ(s, 0, rt_submit_read(cx, s->io, s->buf, 10, RT_OFFSET_CURRENT, &s->op));
    CHECK_EQ(lseek((int)rt_io_fd(s->io), 1, SEEK_SET), 1);
    OP_EQ(s, 2, rt_submit_read(cx, s->io, s->buf, 2, RT_OFFSET_CURRENT, &s->op));
    OP_EQ(s, 3, rt_submit_read(cx, s->io, s->buf + 2, 10, RT_OFFSET_CURRENT, &s->op));
    CHECK(memcmp(s->buf, "bcdef", 5) == 0);
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

static int64_t appending_ignores_offsets(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW | O_APPEND);
    OP_EQ(s, 3, rt_submit_write(cx, s->io, "abc", 3, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, 3, rt_submit_write(cx, s->io, "def", 3, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, 6, rt_submit_read(cx, s->io, s->buf, 10, 0, &s->op));
    CHECK(memcmp(s->buf, "abcdef", 6) == 0);
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

/* The array of vectors is copied: it may be gone before the operation begins. */
static int64_t with_passing_vectors(rt_cx *cx, struct steps *s, bool reads, uint64_t offset) {
    struct iovec iov[3] = {{s->buf, 2}, {s->buf + 100, 0}, {s->buf + 200, 4}};
    int64_t r = reads ? rt_submit_readv(cx, s->io, iov, 3, offset, &s->op)
                      : rt_submit_writev(cx, s->io, iov, 3, offset, 0, &s->op);
    memset(iov, 0xff, sizeof iov);
    return r;
}

static int64_t vectors_are_gathered_and_scattered(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW);
    memcpy(s->buf, "ab", 2);
    memcpy(s->buf + 200, "cdef", 4);
    OP_EQ(s, 6, with_passing_vectors(cx, s, false, 10));
    memset(s->buf, 0, sizeof s->buf);
    OP_EQ(s, 5, with_passing_vectors(cx, s, true, 11));
    CHECK(memcmp(s->buf, "bc", 2) == 0 && memcmp(s->buf + 200, "def", 4) == 0);
    CHECK_EQ(s->buf[100], 0);
    OP_EQ(s, 6, with_passing_vectors(cx, s, false, RT_OFFSET_CURRENT));
    CHECK_EQ(lseek((int)rt_io_fd(s->io), 0, SEEK_CUR), 6);
    OP_EQ(s, 0, rt_submit_readv(cx, s->io, &(struct iovec){0}, 0, 0, &s->op));
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

static off_t size_of(rt_io io) { return net_identity((int)rt_io_fd(io)).st_size; }

/* Whether this file system knows it at all. */
static bool can_allocate(rt_io io) {
    return fallocate((int)rt_io_fd(io), FALLOC_FL_KEEP_SIZE, 0, 1) == 0 || errno != EOPNOTSUPP;
}

static int64_t sizes_change(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW);
    OP_EQ(s, 0, rt_submit_ftruncate(cx, s->io, 10000, &s->op));
    CHECK_EQ(size_of(s->io), 10000);
    OP_EQ(s, 0, rt_submit_ftruncate(cx, s->io, 10, &s->op));
    CHECK_EQ(size_of(s->io), 10);
    if (can_allocate(s->io)) {
        OP_EQ(s, 0, rt_submit_fallocate(cx, s->io, FALLOC_FL_KEEP_SIZE, 0, 8192, &s->op));
        CHECK_EQ(size_of(s->io), 10);
        CHECK(net_identity((int)rt_io_fd(s->io)).st_blocks >= 16);
        OP_EQ(s, 0, rt_submit_fallocate(cx, s->io, 0, 100, 8000, &s->op));
        CHECK_EQ(size_of(s->io), 8100);
    }
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

static int64_t syncing_succeeds(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW);
    OP_EQ(s, 5, rt_submit_write(cx, s->io, "hello", 5, 0, 0, &s->op));
    OP_EQ(s, 0, rt_submit_fdatasync(cx, s->io, &s->op));
    OP_EQ(s, 0, rt_submit_fsync(cx, s->io, &s->op));
    OP_EQ(s, 0, rt_submit_fsync(cx, s->dir, &s->op));
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

/* What the system says is the outcome: the submission itself succeeds. */
static int64_t errors_are_outcomes(rt_cx *cx, void *state) {
    static struct msghdr nothing;
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, O_WRONLY | O_CREAT | O_EXCL);
    OP_EQ(s, -EBADF, rt_submit_read(cx, s->io, s->buf, 1, 0, &s->op));
    CHECK(rt_io_fd(s->io) >= 0); /* the handle is as good as before */
    OP_EQ(s, 1, rt_submit_write(cx, s->io, "x", 1, 0, 0, &s->op));
    OP_EQ(s, -EISDIR, rt_submit_read(cx, s->dir, s->buf, 1, 0, &s->op));
    OP_EQ(s, -EBADF, rt_submit_write(cx, s->dir, "x", 1, 0, 0, &s->op));
    OP_EQ(s, -EINVAL, rt_submit_ftruncate(cx, s->dir, 0, &s->op));
    OP_EQ(s, -ENOTSOCK, rt_submit_recvmsg(cx, s->io, &nothing, 0, &s->op));
    OP_EQ(s, -ENOTSOCK, rt_submit_sendmsg(cx, s->io, &nothing, 0, &s->op));
    OP_EQ(s, -ENOTSOCK, rt_submit_recv(cx, s->dir, s->buf, 1, 0, &s->op));
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

/* A read of nothing is asked of what is read, which may have something to say to that. */
static int64_t reads_of_nothing(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OP_EQ(s, -EISDIR, rt_submit_read(cx, s->dir, s->buf, 0, RT_OFFSET_CURRENT, &s->op));
    OP_EQ(s, -EISDIR, rt_submit_read(cx, s->dir, s->buf, 0, 0, &s->op));
    OPEN(s, O_WRONLY | O_CREAT | O_EXCL);
    OP_EQ(s, -EBADF, rt_submit_read(cx, s->io, s->buf, 0, 0, &s->op));
    CHECK_EQ(rt_close(s->io), 0);

    /* Where nothing happens there is none. */
    s->io = io_of(rt_cx_runtime(cx), (int)CHECK_SYS(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), 0);
    CHECK_EQ(rt_submit_read(cx, s->io, s->buf, 0, RT_OFFSET_CURRENT, &s->op), 0);
    OP_TURNS(s, 10);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

/* One into no parts is asked of nobody. */
static int64_t reads_into_no_parts(rt_cx *cx, void *state) {
    static struct iovec empty[2];
    const uint64_t here = RT_OFFSET_CURRENT;
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OP_EQ(s, 0, rt_submit_readv(cx, s->dir, empty, 2, here, &s->op));
    OPEN(s, O_WRONLY | O_CREAT | O_EXCL);
    OP_EQ(s, -EBADF, rt_submit_readv(cx, s->io, empty, 2, here, &s->op));
    OP_EQ(s, -EBADF, rt_submit_readv(cx, s->io, NULL, 0, 0, &s->op));
    CHECK_EQ(rt_close(s->io), 0);

    /* A counter wants room for 8 bytes. */
    s->io = io_of(rt_cx_runtime(cx), (int)CHECK_SYS(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC)), 0);
    OP_EQ(s, 0, rt_submit_readv(cx, s->io, NULL, 0, here, &s->op));
    OP_EQ(s, 0, rt_submit_readv(cx, s->io, empty, 2, here, &s->op));
    OP_EQ(s, -EINVAL, rt_submit_read(cx, s->io, NULL, 0, here, &s->op));
    OP_EQ(s, 0, rt_submit_writev(cx, s->io, NULL, 0, here, 0, &s->op));
    OP_EQ(s, 8, rt_submit_read(cx, s->io, s->buf, 8, here, &s->op));
    CHECK_EQ(s->buf[0], 3);
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

/* ---- closing ---- */

static int64_t a_close_has_an_outcome(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OPEN(s, NEW);
    s->near = (int)rt_io_fd(s->io);
    s->was = net_identity(s->near);
    CHECK_EQ(rt_submit_close(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_io_fd(s->io), -EBADF); /* at once */
    CHECK_EQ(rt_submit_close(cx, s->io, &s->other), -EBADF);
    CHECK_EQ(s->other, 0);
    OP_TAKE_EQ(s, 0);
    CHECK(!net_is_still(s->near, &s->was));
    s->io = 0;
    UNLINK(s);
    steps_close(s);
    RT_END(0);
}

/* ---- a lot of data, many operations at once ---- */

enum { PIECES = 64, PIECE = 65536 };

struct bulk {
    struct steps steps;
    rt_op ops[PIECES];
    unsigned char *data;
};

static unsigned char *piece(struct bulk *b, int i) { return b->data + i * PIECE; }
static uint64_t piece_offset(int i) { return (uint64_t)i * PIECE; }

static int64_t write_and_read_a_lot(rt_cx *cx, void *state) {
    struct bulk *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), scratch_file(), 0);
    net_pattern(b->data, (size_t)PIECES * PIECE, 7, 0);
    for (int i = PIECES - 1; i >= 0; i--)
        CHECK_EQ(rt_submit_write(cx, s->io, piece(b, i), PIECE, piece_offset(i), 0, &b->ops[i]), 0);
    for (s->i = 0; s->i < PIECES; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, b->ops[s->i]));
        CHECK_EQ(s->got, PIECE);
    }
    memset(b->data, 0, (size_t)PIECES * PIECE);
    for (int i = 0; i < PIECES; i++)
        CHECK_EQ(rt_submit_read(cx, s->io, piece(b, i), PIECE, piece_offset(i), &b->ops[i]), 0);
    for (s->i = PIECES - 1; s->i >= 0; s->i--) {
        RT_AWAIT(s->got, rt_poll_op(cx, b->ops[s->i]));
        CHECK_EQ(s->got, PIECE);
    }
    CHECK(net_pattern_holds(b->data, (size_t)PIECES * PIECE, 7, 0));
    steps_close(s);
    RT_END(0);
}

static void many_pieces_at_once(void) {
    struct bulk *b = calloc(1, sizeof *b);
    CHECK(b != NULL && (b->data = malloc((size_t)PIECES * PIECE)) != NULL);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, write_and_read_a_lot, b), 0);
    op_runtime_free(rt);
    free(b->data);
    free(b);
}

/* ---- the limit of the process's ---- */

enum { LIMIT = 1 << 30 };

static void limit_files(rlim_t to) {
    struct rlimit limit;
    CHECK_SYS(getrlimit(RLIMIT_FSIZE, &limit));
    limit.rlim_cur = to;
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &limit));
}

/* Without the signal, whose default action would end us. A direct write does not wait for a thread of the kernel's to be tried. */
static int64_t beyond_the_limit(rt_cx *cx, void *state) {
    static char page[4096] __attribute__((aligned(4096)));
    static const struct iovec part = {page, sizeof page};
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < 2; s->i++) {
        s->near = scratch_file();
        if (s->i == 1 && fcntl(s->near, F_SETFL, O_DIRECT) < 0) {
            printf("no direct writes here\n");
            close(s->near);
            break;
        }
        s->io = io_of(rt_cx_runtime(cx), s->near, 0);
        limit_files(LIMIT);
        OP_EQ(s, -EFBIG, rt_submit_write(cx, s->io, page, sizeof page, LIMIT, 0, &s->op));
        OP_EQ(s, -EFBIG, rt_submit_writev(cx, s->io, &part, 1, LIMIT, 0, &s->op));
        OP_EQ(s, -EFBIG, rt_submit_ftruncate(cx, s->io, LIMIT + 1, &s->op));
        OP_EQ(s, -EFBIG, rt_submit_fallocate(cx, s->io, 0, LIMIT, 4096, &s->op));
        OP_EQ(s, sizeof page, rt_submit_write(cx, s->io, page, sizeof page, 0, 0, &s->op));
        limit_files(RLIM_INFINITY);
        steps_close(s);
    }
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    scratch_make();
    OP_CASE(what_was_written_is_read);
    OP_CASE(the_current_position_moves);
    OP_CASE(appending_ignores_offsets);
    OP_CASE(vectors_are_gathered_and_scattered);
    OP_CASE(sizes_change);
    OP_CASE(syncing_succeeds);
    OP_CASE(errors_are_outcomes);
    OP_CASE(reads_of_nothing);
    OP_CASE(reads_into_no_parts);
    OP_CASE(a_close_has_an_outcome);
    OP_CASE(beyond_the_limit);
    CASE(many_pieces_at_once);
    scratch_remove();
    return test_end();
}
