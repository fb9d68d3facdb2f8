/* Clearing needs the tick that was seen: an older one changes nothing. A subset of the bits may be
 * cleared. "Closed" survives every clear, and is never said of a connection that is open.
 */
#include "ready.h"

static void a_stale_tick_clears_nothing(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "1", 1);
    rt_ready older = await_ready(&s.hand, s.io, RT_READABLE);
    net_drain(s.near);
    CHECK_EQ(rt_clear_ready(s.io, older), 0);

    for (int i = 0; i < scaled(2000); i++) {
        net_put(s.far, "2", 1);
        rt_ready newer = await_ready(&s.hand, s.io, RT_READABLE);
        CHECK(newer.tick != older.tick);
        CHECK_EQ(rt_clear_ready(s.io, older), 0);
        CHECK_EQ(bits_of(s.io, RT_READABLE), RT_READABLE);
        net_drain(s.near);
        CHECK_EQ(rt_clear_ready(s.io, newer), 0);
        CHECK_EQ(bits_of(s.io, RT_READABLE), 0);
        older = newer;
    }
    scene_close(&s);
}

static void any_other_tick_clears_nothing(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    rt_ready seen = await_ready(&s.hand, s.io, RT_READABLE);
    for (unsigned bit = 0; bit < 32; bit++) {
        rt_ready forged = {seen.bits, seen.tick ^ (1u << bit)};
        CHECK_EQ(rt_clear_ready(s.io, forged), 0);
        CHECK_EQ(bits_of(s.io, RT_READABLE), RT_READABLE);
    }
    CHECK_EQ(rt_clear_ready(s.io, seen), 0);
    CHECK_EQ(bits_of(s.io, RT_READABLE), 0);
    scene_close(&s);
}

static void a_subset_of_the_bits_can_be_cleared(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    await_ready(&s.hand, s.io, RT_READABLE);
    await_ready(&s.hand, s.io, RT_WRITABLE);
    rt_ready seen = await_ready(&s.hand, s.io, RW);
    CHECK_EQ(seen.bits, RW);

    CHECK_EQ(rt_clear_ready(s.io, (rt_ready){0, seen.tick}), 0);
    CHECK_EQ(bits_of(s.io, RW), RW);
    CHECK_EQ(rt_clear_ready(s.io, (rt_ready){RT_READABLE, seen.tick}), 0);
    CHECK_EQ(bits_of(s.io, RW), RT_WRITABLE);
    CHECK_EQ(rt_clear_ready(s.io, (rt_ready){RT_WRITABLE, seen.tick}), 0);
    CHECK_EQ(bits_of(s.io, RW), 0);
    scene_close(&s);
}

static void closed_survives_a_clear(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    for (int i = 0; i < 100; i++) {
        rt_ready seen = await_ready(&s.hand, s.io, RT_READABLE);
        CHECK(seen.bits & RT_READ_CLOSED);
        CHECK(!(seen.bits & (RT_WRITE_CLOSED | RT_ERROR)));
        CHECK_EQ(rt_clear_ready(s.io, seen), 0);
        CHECK(bits_of(s.io, RT_READABLE) & RT_READ_CLOSED);
    }
    CHECK_EQ(await_ready(&s.hand, s.io, RT_WRITABLE).bits, RT_WRITABLE);
    scene_close(&s);
}

static void both_closed_bits_survive_a_clear(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    close(s.far);
    s.far = -1;
    for (int i = 0; i < 100; i++) {
        rt_ready reading = await_ready(&s.hand, s.io, RT_READABLE);
        rt_ready writing = await_ready(&s.hand, s.io, RT_WRITABLE);
        CHECK(reading.bits & RT_READ_CLOSED);
        CHECK(writing.bits & RT_WRITE_CLOSED);
        CHECK(!(reading.bits & RT_WRITE_CLOSED));
        CHECK(!(writing.bits & RT_READ_CLOSED));
        CHECK_EQ(rt_clear_ready(s.io, reading), 0);
        CHECK_EQ(rt_clear_ready(s.io, writing), 0);
    }
    scene_close(&s);
}

static void an_open_connection_is_never_called_closed(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < scaled(500); i++) {
        struct waiter readers[3];
        for (int k = 0; k < 3; k++) waiter_park(&readers[k], s.rt, s.io, RT_READABLE);
        net_put(s.far, "x", 1);
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(join_task(readers[k].task), 0);
            CHECK_EQ(readers[k].got.bits, RT_READABLE);
        }
        net_drain(s.near);
        CHECK_EQ(rt_clear_ready(s.io, readers[0].got), 0);
        CHECK_EQ(bits_of(s.io, RW) & CLOSED_BITS, 0);
    }
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_stale_tick_clears_nothing);
    CASE(any_other_tick_clears_nothing);
    CASE(a_subset_of_the_bits_can_be_cleared);
    CASE(closed_survives_a_clear);
    CASE(both_closed_bits_survive_a_clear);
    CASE(an_open_connection_is_never_called_closed);
    return test_end();
}
