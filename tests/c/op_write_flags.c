/* What a write says of itself alone: that the disk shall have it, and that it goes to the end of the
 * file. And which flags are none of its business.
 */
#include "op.h"

#include <sys/syscall.h>

static void file_open(rt_cx *cx, struct steps *s) {
    s->io = io_of(rt_cx_runtime(cx), s->near = scratch_file(), 0);
}

/* By either call. */
static int64_t write_with(rt_cx *cx, struct steps *s, bool parts, uint64_t at, int flags) {
    struct iovec iov[2] = {{s->buf, 1}, {s->buf + 1, 2}};
    return parts ? rt_submit_writev(cx, s->io, iov, 2, at, flags, &s->op)
                 : rt_submit_write(cx, s->io, s->buf, 3, at, flags, &s->op);
}

#define WRITE(s, text, at, flags)                                          \
    do {                                                                   \
        memcpy((s)->buf, (text), 3);                                       \
        OP_EQ(s, 3, write_with(cx, s, (s)->n % 2 == 1, (at), (flags)));        \
    } while (0)

static void holds(struct steps *s, const char *text) {
    char found[100] = "";
    CHECK_EQ(pread(s->near, found, sizeof found, 0), strlen(text));
    CHECK_EQ(memcmp(found, text, strlen(text)), 0);
}

/* ---- to the end ---- */

static int64_t wherever_the_end_is(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        file_open(cx, s);
        WRITE(s, "abc", 0, RWF_APPEND);
        WRITE(s, "def", 1, RWF_APPEND);
        holds(s, "abcdef");
        CHECK_EQ(lseek(s->near, 0, SEEK_CUR), 0); /* which is left alone */
        WRITE(s, "ABC", 0, 0);                    /* and so is the file's own manner */
        holds(s, "ABCdef");
        WRITE(s, "ghi", RT_OFFSET_CURRENT, RWF_APPEND);
        holds(s, "ABCdefghi");
        CHECK_EQ(lseek(s->near, 0, SEEK_CUR), 9);
        CHECK_EQ(lseek(s->near, 3, SEEK_SET), 3);
        WRITE(s, "DEF", RT_OFFSET_CURRENT, RWF_DSYNC);
        holds(s, "ABCDEFghi");
        CHECK_EQ(lseek(s->near, 0, SEEK_CUR), 6);
        WRITE(s, "jkl", 3, RWF_APPEND | RWF_SYNC);
        holds(s, "ABCDEFghijkl");
        steps_close(s);
    }
    RT_END(0);
}

/* ---- on the disk ---- */

/* How many pages of a file have bytes that the disk has not. -1: that cannot be known here. */
static int64_t dirty_pages(int fd) {
    struct { uint64_t off, len; } all = {0, 0};
    struct { uint64_t cache, dirty, writeback, evicted, recently_evicted; } found = {0};
    const long cachestat = 451;
    if (syscall(cachestat, fd, &all, &found, 0) < 0) return -1;
    return (int64_t)(found.dirty + found.writeback);
}

/* A write without the flag says whether this file system tells. */
static int64_t when_the_outcome_comes(rt_cx *cx, void *state) {
    static const int flags[] = {RWF_DSYNC, RWF_SYNC, RWF_DSYNC | RWF_APPEND};
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 6; s->n++) {
        file_open(cx, s);
        WRITE(s, "abc", 0, 0);
        s->i = dirty_pages(s->near) > 0;
        WRITE(s, "def", 0, flags[s->n / 2]);
        if (s->i) CHECK_EQ(dirty_pages(s->near), 0);
        holds(s, flags[s->n / 2] & RWF_APPEND ? "abcdef" : "def");
        steps_close(s);
    }
    RT_END(0);
}

/* ---- what is refused ---- */

static int64_t other_flags(rt_cx *cx, void *state) {
    static const int others[] = {RWF_NOWAIT, RWF_HIPRI, RWF_DSYNC | RWF_NOWAIT, 0x100, 1 << 30, -1};
    struct steps *s = state;
    file_open(cx, s);
    for (int i = 0; i < 12; i++) {
        s->op = 77;
        CHECK_EQ(write_with(cx, s, i % 2 == 0, 0, others[i / 2]), -EINVAL);
        CHECK_EQ(s->op, 0);
    }
    holds(s, "");
    CHECK_EQ(rt_close(s->io), 0);
    return 0;
}

static int64_t what_is_no_file(rt_cx *cx, void *state) {
    static void (*const kinds[])(int[2]) = {net_pipe_writer_first, net_unix_pair, net_udp_pair};
    static const int flags[] = {RWF_DSYNC, RWF_SYNC, RWF_APPEND};
    struct steps *s = state;
    for (int kind = 0; kind < 3; kind++) {
        steps_pair(cx, s, kinds[kind]);
        for (int i = 0; i < 6; i++) {
            s->op = 77;
            CHECK_EQ(write_with(cx, s, i % 2 == 0, RT_OFFSET_CURRENT, flags[i / 2]), -EINVAL);
            CHECK_EQ(s->op, 0);
        }
        CHECK_EQ(write_with(cx, s, false, 0, RWF_DSYNC), -ESPIPE);
        char byte;
        CHECK_EQ(read(s->far, &byte, 1), -1);
        CHECK_EQ(errno, EAGAIN);
        steps_close(s);
    }
    return 0;
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    scratch_make();
    OP_CASE(wherever_the_end_is);
    OP_CASE(when_the_outcome_comes);
    OP_CASE(other_flags);
    OP_CASE(what_is_no_file);
    scratch_remove();
    return test_end();
}
