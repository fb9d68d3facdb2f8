/* Each way of ending a connection is told to those whom it concerns: an end of the peer's sending,
 * an end of one's own, a hang-up, a reset.
 */
#include "ready.h"

static void the_peer_stops_sending(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct waiter reader;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    CHECK_EQ(join_task(reader.task), 0);
    CHECK(reader.got.bits & RT_READ_CLOSED);
    CHECK(!(reader.got.bits & (RT_WRITE_CLOSED | RT_ERROR)));
    CHECK_EQ(bits_of(s.io, RT_WRITABLE), RT_WRITABLE);

    char byte;
    AWAIT_EQ(&s.hand, 0, rt_poll_read(s.hand.cx, s.io, &byte, 1));
    AWAIT_EQ(&s.hand, 1, rt_poll_write(s.hand.cx, s.io, "x", 1));
    CHECK_EQ(net_get(s.far, &byte, 1), 1);
    scene_close(&s);
}

static void data_before_the_end_comes_first(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "last words", 10);
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    await_bit(&s.hand, s.io, RT_READABLE, RT_READ_CLOSED);
    char got[4];
    int64_t r;
    size_t have = 0;
    for (;;) {
        AWAIT(&s.hand, r, rt_poll_read(s.hand.cx, s.io, got, sizeof got));
        if (r <= 0) break;
        CHECK(memcmp(got, &"last words"[have], (size_t)r) == 0);
        have += (size_t)r;
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(have, 10);
    scene_close(&s);
}

static void own_end_leaves_reading_alone(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    CHECK_SYS(shutdown(s.near, SHUT_WR));
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "x", 1));
    net_put(s.far, "still", 5);
    char got[5];
    AWAIT_EQ(&s.hand, 5, rt_poll_read(s.hand.cx, s.io, got, 5));
    deliver(s.rt);
    CHECK_EQ(bits_of(s.io, RT_READABLE) & RT_READ_CLOSED, 0);
    scene_close(&s);
}

static void both_ends_stopped_is_a_hang_up(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    CHECK_SYS(shutdown(s.near, SHUT_WR));
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    CHECK(await_bit(&s.hand, s.io, RT_READABLE, RT_READ_CLOSED).bits & RT_READ_CLOSED);
    CHECK(await_bit(&s.hand, s.io, RT_WRITABLE, RT_WRITE_CLOSED).bits & RT_WRITE_CLOSED);
    scene_close(&s);
}

static void a_reset_reaches_all(void) {
    struct scene s;
    scene_open(&s, net_pair, RW | RT_ERROR | RT_PRIORITY);
    net_stuff(s.near);
    struct waiter reader, writer, on_error, urgent;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    waiter_park(&writer, s.rt, s.io, RT_WRITABLE);
    waiter_park(&on_error, s.rt, s.io, RT_ERROR);
    waiter_park(&urgent, s.rt, s.io, RT_PRIORITY);
    net_reset(s.far);
    s.far = -1;
    CHECK_EQ(join_task(reader.task), 0);
    CHECK_EQ(join_task(writer.task), 0);
    CHECK_EQ(join_task(on_error.task), 0);
    CHECK_EQ(join_task(urgent.task), 0);
    CHECK(reader.got.bits & (RT_ERROR | RT_READ_CLOSED));
    CHECK(writer.got.bits & (RT_ERROR | RT_WRITE_CLOSED));
    CHECK_EQ(on_error.got.bits, RT_ERROR);
    char byte;
    AWAIT_EQ(&s.hand, -ECONNRESET, rt_poll_read(s.hand.cx, s.io, &byte, 1));
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "x", 1));
    scene_close(&s);
}

static void an_interest_in_errors_hears_of_nothing_else(void) {
    struct scene s;
    scene_open(&s, net_pair, RW | RT_ERROR);
    struct waiter w;
    waiter_park(&w, s.rt, s.io, RT_ERROR);
    net_put(s.far, "x", 1);
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    await_bit(&s.hand, s.io, RT_READABLE, RT_READ_CLOSED);
    deliver(s.rt);
    CHECK(atomic_load(&w.pending));
    net_reset(s.far);
    s.far = -1;
    CHECK_EQ(join_task(w.task), 0);
    CHECK_EQ(w.got.bits, RT_ERROR);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_peer_stops_sending);
    CASE(data_before_the_end_comes_first);
    CASE(own_end_leaves_reading_alone);
    CASE(both_ends_stopped_is_a_hang_up);
    CASE(a_reset_reaches_all);
    CASE(an_interest_in_errors_hears_of_nothing_else);
    return test_end();
}
