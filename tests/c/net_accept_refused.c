/* accept4(2) may say EPERM for one connection that a firewall drops, and for every one under a
 * filter of system calls. The second is the caller's to know: it is not tried for ever. */
#include "child.h"
#include "ready.h"

static int64_t accept_one(rt_cx *cx, void *state) {
    rt_io *listener = state, io = 0;
    int64_t r = rt_poll_accept(cx, *listener, &io);
    if (r != RT_PENDING) CHECK_EQ(io, 0);
    return r;
}

static void accept_under_a_filter(void) {
    int fd = net_listen(4), client = net_dial(fd);
    refuse_call(SYS_accept4);
    rt_runtime rt = test_runtime();
    rt_io listener = io_of(rt, fd, RT_READABLE);
    rt_task task;
    CHECK_EQ(rt_spawn(rt, accept_one, &listener, NULL, &task), 0);
    CHECK_EQ(join_soon(task), -EPERM);
    CHECK_EQ(rt_close(listener), 0);
    close(client);
    test_runtime_free(rt);
}

static void a_filter_is_reported(void) { in_child(accept_under_a_filter); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_filter_is_reported);
    return test_end();
}
