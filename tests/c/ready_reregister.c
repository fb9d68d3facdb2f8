/* Register, deregister, register again: the descriptor stays open, is the caller's in between, and
 * every registration hears of what is there already and of what comes.
 */
#include "ready.h"

static void again_and_again(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < scaled(2000); i++) {
        net_put(s.far, "x", 1);
        if (i % 2 == 0) CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);
        CHECK_EQ(rt_deregister(s.io), 0);
        CHECK_EQ(rt_io_fd(s.io), -EBADF);
        CHECK_EQ(metrics(s.rt).ios_live, 0);
        CHECK(net_is_open(s.near));

        /* What came before the registration is seen as well. */
        s.io = io_of(s.rt, s.near, RW);
        CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);
        CHECK_EQ(net_drain(s.near), 1);
    }
    scene_close(&s);
}

static void a_fresh_registration_remembers_nothing(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    rt_ready seen = await_ready(&s.hand, s.io, RT_READABLE);
    CHECK_EQ(rt_deregister(s.io), 0);
    net_drain(s.near);
    rt_io first = s.io;
    s.io = io_of(s.rt, s.near, RW);
    CHECK(s.io != first);
    await_ready(&s.hand, s.io, RT_WRITABLE);
    CHECK_EQ(bits_of(s.io, RW), RT_WRITABLE);
    CHECK_EQ(rt_clear_ready(first, seen), -EBADF);
    scene_close(&s);
}

static void the_mode_of_the_descriptor_is_left_alone(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    CHECK_EQ(rt_deregister(s.io), 0);
    CHECK(fcntl(s.near, F_GETFL) & O_NONBLOCK);
    /* It is in no epoll set of ours any more: a closed number would stay known otherwise. */
    net_put(s.far, "x", 1);
    deliver(s.rt);
    char byte;
    CHECK_EQ(read(s.near, &byte, 1), 1);
    close(s.near);
    s.io = 0;
    scene_close(&s);
}

static void deregistering_wakes_all_who_wait(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    net_stuff(s.near);
    enum { EACH = 4 };
    struct waiter readers[EACH], writers[EACH];
    for (int i = 0; i < EACH; i++) {
        waiter_park(&readers[i], s.rt, s.io, RT_READABLE);
        waiter_park(&writers[i], s.rt, s.io, RT_WRITABLE);
    }
    hand_park(&s.hand, s.io, RW);
    CHECK_EQ(rt_deregister(s.io), 0);
    for (int i = 0; i < EACH; i++) {
        CHECK_EQ(join_task(readers[i].task), -EBADF);
        CHECK_EQ(join_task(writers[i].task), -EBADF);
    }
    rt_ready got;
    AWAIT_EQ(&s.hand, -EBADF, rt_poll_ready(s.hand.cx, s.io, RW, &got));
    CHECK(net_is_open(s.near));
    close(s.near);
    s.io = 0;
    scene_close(&s);
}

/* Between two runtimes, as when a connection is handed over. */
static void handed_to_another_runtime(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_runtime second = test_runtime();
    struct hand h;
    hand_open(&h, second);
    for (int i = 0; i < scaled(200); i++) {
        CHECK_EQ(rt_deregister(s.io), 0);
        rt_io there = io_of(second, s.near, RW);
        net_put(s.far, "x", 1);
        await_ready(&h, there, RT_READABLE);
        CHECK_EQ(rt_deregister(there), 0);
        s.io = io_of(s.rt, s.near, RW);
        await_ready(&s.hand, s.io, RT_READABLE);
        net_drain(s.near);
    }
    hand_close(&h);
    test_runtime_free(second);
    hand_check(&h);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(again_and_again);
    CASE(a_fresh_registration_remembers_nothing);
    CASE(the_mode_of_the_descriptor_is_left_alone);
    CASE(deregistering_wakes_all_who_wait);
    CASE(handed_to_another_runtime);
    return test_end();
}
