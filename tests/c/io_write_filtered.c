/* Where a filter refuses pwritev2(2), as old containers do with EPERM, what is no socket is written to all the same, without a
 * SIGPIPE; and so are files.
 */
#include "child.h"
#include "op.h"

static void writes_under_a_filter(void) {
    char got[2];
    struct scene s;
    refuse_call(SYS_pwritev2);
    scene_open(&s, net_pipe_writer_first, RT_WRITABLE);
    AWAIT_EQ(&s.hand, 1, rt_poll_write(s.hand.cx, s.io, "x", 1));
    const struct iovec part = {.iov_base = "y", .iov_len = 1};
    AWAIT_EQ(&s.hand, 1, rt_poll_writev(s.hand.cx, s.io, &part, 1));
    CHECK_EQ(net_get(s.far, got, 2), 2);
    CHECK_EQ(memcmp(got, "xy", 2), 0);
    close(s.far);
    s.far = -1;
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "z", 1));
    scene_close(&s);
}

static void what_is_no_socket_is_written_to(void) { in_child(writes_under_a_filter); }

static int64_t write_a_file(rt_cx *cx, void *state) {
    static struct iovec parts[2] = {{"gh", 2}, {"i", 1}};
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    s->near = scratch_file();
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    OP_EQ(s, 3, rt_submit_write(cx, s->io, "abc", 3, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, 3, rt_submit_write(cx, s->io, "def", 3, 3, 0, &s->op));
    OP_EQ(s, 3, rt_submit_writev(cx, s->io, parts, 2, 6, 0, &s->op));
    CHECK_EQ(lseek(s->near, 0, SEEK_CUR), 3);
    OP_EQ(s, 3, rt_submit_writev(cx, s->io, parts, 2, RT_OFFSET_CURRENT, 0, &s->op));
    CHECK_EQ(lseek(s->near, 0, SEEK_CUR), 6);
    CHECK_EQ(pread(s->near, s->buf, sizeof s->buf, 0), 9);
    CHECK_EQ(memcmp(s->buf, "abcghighi", 9), 0);
    steps_close(s);
    RT_END(0);
}

static void files_under_a_filter(void) {
    refuse_call(SYS_pwritev2);
    op_body = write_a_file;
    op_play();
}

static void a_file_is_written_to(void) { in_child(files_under_a_filter); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    scratch_make();
    CASE(what_is_no_socket_is_written_to);
    CASE(a_file_is_written_to);
    scratch_remove();
    return test_end();
}
