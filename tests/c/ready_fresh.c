/* A fresh connected socket is writable and not readable. Readiness stays as it was seen until
 * EAGAIN or a clear, and then there is none until the next event. A wait returns the bits it asked
 * for.
 */
#include "ready.h"

static void a_fresh_socket_is_writable_and_not_readable(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_ready got;
    CHECK_EQ(await_ready(&s.hand, s.io, RT_WRITABLE).bits, RT_WRITABLE);
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE, &got), RT_PENDING);
    CHECK_EQ(bits_of(s.io, RW | RT_ERROR), RT_WRITABLE);
    CHECK_EQ(await_ready(&s.hand, s.io, RW).bits, RT_WRITABLE);
    scene_close(&s);
}

static void only_the_asked_bits_are_returned(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    rt_ready readable = await_ready(&s.hand, s.io, RT_READABLE);
    rt_ready writable = await_ready(&s.hand, s.io, RT_WRITABLE);
    CHECK_EQ(readable.bits, RT_READABLE);
    CHECK_EQ(writable.bits, RT_WRITABLE);
    CHECK_EQ(bits_of(s.io, RT_READABLE), RT_READABLE);
    CHECK_EQ(bits_of(s.io, RT_WRITABLE), RT_WRITABLE);
    CHECK_EQ(bits_of(s.io, RT_PRIORITY), 0);

    /* Clearing what one direction saw must leave the other alone. */
    net_drain(s.near);
    CHECK_EQ(rt_clear_ready(s.io, await_ready(&s.hand, s.io, RT_READABLE)), 0);
    CHECK_EQ(bits_of(s.io, RW), RT_WRITABLE);
    scene_close(&s);
}

static void readiness_is_kept_until_it_is_cleared(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    await_ready(&s.hand, s.io, RT_READABLE);
    CHECK_EQ(net_drain(s.near), 1); /* by a plain read: the library does not know */

    rt_ready seen;
    for (int i = 0; i < 1000; i++) seen = await_ready(&s.hand, s.io, RT_READABLE);
    CHECK_EQ(rt_clear_ready(s.io, seen), 0);
    CHECK_EQ(bits_of(s.io, RT_READABLE), 0);
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE, &seen), RT_PENDING);
    deliver(s.rt);
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE, &seen), RT_PENDING);

    net_put(s.far, "y", 1);
    CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);
    scene_close(&s);
}

static void a_read_keeps_readiness_and_eagain_ends_it(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "abc", 3);
    for (const char *want = "abc"; *want != '\0'; want++) {
        char byte;
        AWAIT_EQ(&s.hand, 1, rt_poll_read(s.hand.cx, s.io, &byte, 1));
        CHECK_EQ(byte, *want);
        CHECK_EQ(bits_of(s.io, RT_READABLE), RT_READABLE);
    }
    char byte;
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, &byte, 1), RT_PENDING);
    CHECK_EQ(bits_of(s.io, RW), RT_WRITABLE);

    net_put(s.far, "d", 1);
    AWAIT_EQ(&s.hand, 1, rt_poll_read(s.hand.cx, s.io, &byte, 1));
    CHECK_EQ(byte, 'd');
    scene_close(&s);
}

static void a_full_socket_is_writable_again_after_a_drain(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    rt_ready seen = await_ready(&s.hand, s.io, RT_WRITABLE);
    net_stuff(s.near);
    CHECK_EQ(rt_clear_ready(s.io, seen), 0);
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_WRITABLE, &seen), RT_PENDING);
    net_drain(s.far);
    CHECK_EQ(await_ready(&s.hand, s.io, RT_WRITABLE).bits, RT_WRITABLE);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_fresh_socket_is_writable_and_not_readable);
    CASE(only_the_asked_bits_are_returned);
    CASE(readiness_is_kept_until_it_is_cleared);
    CASE(a_read_keeps_readiness_and_eagain_ends_it);
    CASE(a_full_socket_is_writable_again_after_a_drain);
    return test_end();
}
