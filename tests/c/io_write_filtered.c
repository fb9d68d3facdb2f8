/* Where a filter refuses pwritev2(2), as old containers do with EPERM, what is no socket is written to all the same, without a
 * SIGPIPE. */
#include "child.h"
#include "ready.h"

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

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_is_no_socket_is_written_to);
    return test_end();
}
