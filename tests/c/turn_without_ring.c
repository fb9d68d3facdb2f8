/* once: a filter is of one thread, whose the ring is.
 * Where the ring cannot be entered any more, as in a program that puts itself into a sandbox, what is waited for by readiness
 * is heard of all the same.
 */
#include "child.h"
#include "op.h"

static int64_t read_byte(rt_cx *cx, void *state) {
    char byte;
    return rt_poll_read(cx, *(rt_io *)state, &byte, 1);
}

struct receiving {
    rt_io io;
    rt_op op;
    char byte;
};

static int64_t receive_byte(rt_cx *cx, void *state) {
    struct receiving *r = state;
    if (r->op == 0) CHECK_EQ(rt_submit_recv(cx, r->io, &r->byte, 1, 0, &r->op), 0);
    return rt_poll_op(cx, r->op);
}

static void turns_under_a_filter(void) {
    test_workers = 0;
    test_engine = RT_ENGINE_AUTO;
    rt_runtime rt = test_runtime();
    int ends[2], others[2];
    net_pipe(ends);
    net_unix_pair(others);
    rt_io io = io_of(rt, ends[0], RT_READABLE);
    struct receiving r = {.io = io_of(rt, others[0], RW)};
    rt_task reader, receiver;
    CHECK_EQ(rt_spawn(rt, receive_byte, &r, NULL, &receiver), 0);
    CHECK_EQ(rt_spawn(rt, read_byte, &io, NULL, &reader), 0);
    /* Both wait, the one on the ring, if there is one. */
    while (CHECK_OK(rt_turn(rt, 0)) > 0) continue;
    CHECK_OK(rt_turn(rt, 1000000));
    refuse_call(SYS_io_uring_enter);
    for (int i = 0; i < 3; i++) CHECK_OK(rt_turn(rt, 1000000));
    net_put(ends[1], "x", 1);
    CHECK_EQ(join_soon(reader), 1);
}

static void readiness_is_heard_of(void) { in_child(turns_under_a_filter); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(readiness_is_heard_of);
    return test_end();
}
