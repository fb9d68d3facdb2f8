/* once: a turn is of the current-thread flavour.
 * Where a filter refuses epoll_pwait2(2), as old containers do with EPERM, a turn still waits as
 * long as it was told to, and still sees events. */
#include "child.h"
#include "ready.h"

enum { WAIT = 50 * 1000 * 1000 };

static int64_t read_byte(rt_cx *cx, void *state) {
    rt_io *io = state;
    char byte;
    return rt_poll_read(cx, *io, &byte, 1);
}

static void turn_under_a_filter(void) {
#ifdef SYS_epoll_pwait2
    refuse_call(SYS_epoll_pwait2);
#endif
    test_workers = 0;
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task parked = probe_spawn(rt, &p);
    while (CHECK_OK(rt_turn(rt, 0)) > 0) continue;
    uint64_t begun = rt_now();
    /* A signal may end a wait early, also one that the kernel sends to itself. It does not spin. */
    int turns = 0;
    while (rt_now() - begun < WAIT) {
        CHECK_EQ(rt_turn(rt, WAIT), 0);
        turns++;
    }
    CHECK(turns < 10);

    int ends[2];
    net_pipe(ends);
    rt_io io = io_of(rt, ends[0], RT_READABLE);
    rt_task reader;
    CHECK_EQ(rt_spawn(rt, read_byte, &io, NULL, &reader), 0);
    while (CHECK_OK(rt_turn(rt, 0)) > 0) continue;
    net_put(ends[1], "x", 1);
    CHECK_EQ(join_soon(reader), 1);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    probe_finish(&p, parked);
    CHECK_EQ(join_soon(parked), 0);
    test_runtime_free(rt);
}

static void a_turn_waits(void) { in_child(turn_under_a_filter); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_turn_waits);
    return test_end();
}
