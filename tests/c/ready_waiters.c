/* Any number of tasks and contexts may wait on one descriptor, for the same or for different
 * things. One event wakes all whom it concerns. Who polls again replaces its own waker, nobody
 * else's.
 */
#include "ready.h"

enum { EACH = 5 };

static void one_event_wakes_all_readers_and_no_writer(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    net_stuff(s.near);

    struct waiter readers[EACH], writers[EACH], both[EACH];
    struct hand reading[EACH], writing[EACH];
    for (int i = 0; i < EACH; i++) {
        waiter_park(&readers[i], s.rt, s.io, RT_READABLE);
        waiter_park(&writers[i], s.rt, s.io, RT_WRITABLE);
        waiter_park(&both[i], s.rt, s.io, RW);
        hand_open(&reading[i], s.rt);
        hand_open(&writing[i], s.rt);
        hand_park(&reading[i], s.io, RT_READABLE);
        hand_park(&writing[i], s.io, RT_WRITABLE);
    }

    net_put(s.far, "x", 1);
    for (int i = 0; i < EACH; i++) {
        CHECK_EQ(join_task(readers[i].task), 0);
        CHECK_EQ(readers[i].got.bits, RT_READABLE);
        CHECK_EQ(join_task(both[i].task), 0);
        CHECK_EQ(both[i].got.bits, RT_READABLE);
        CHECK_EQ(await_ready(&reading[i], s.io, RT_READABLE).bits, RT_READABLE);
    }
    deliver(s.rt);
    for (int i = 0; i < EACH; i++) {
        CHECK(atomic_load(&writers[i].pending));
        CHECK_EQ(bits_of(s.io, RT_WRITABLE), 0);
    }

    net_drain(s.far);
    for (int i = 0; i < EACH; i++) {
        CHECK_EQ(join_task(writers[i].task), 0);
        CHECK_EQ(writers[i].got.bits, RT_WRITABLE);
        CHECK_EQ(await_ready(&writing[i], s.io, RT_WRITABLE).bits, RT_WRITABLE);
        hand_close(&reading[i]);
        hand_close(&writing[i]);
    }
    scene_close(&s);
    for (int i = 0; i < EACH; i++) {
        hand_check(&reading[i]);
        hand_check(&writing[i]);
    }
}

static void a_hang_up_wakes_both_directions(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    net_stuff(s.near);
    struct waiter readers[EACH], writers[EACH];
    for (int i = 0; i < EACH; i++) {
        waiter_park(&readers[i], s.rt, s.io, RT_READABLE);
        waiter_park(&writers[i], s.rt, s.io, RT_WRITABLE);
    }
    close(s.far);
    s.far = -1;
    for (int i = 0; i < EACH; i++) {
        CHECK_EQ(join_task(readers[i].task), 0);
        CHECK(readers[i].got.bits & RT_READ_CLOSED);
        CHECK_EQ(join_task(writers[i].task), 0);
        CHECK(writers[i].got.bits & RT_WRITE_CLOSED);
    }
    scene_close(&s);
}

/* ---- replacing one's own waker ---- */

static void polling_again_replaces_only_ones_own_waker(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct hand others[EACH];
    rt_ready got;
    for (int i = 0; i < EACH; i++) {
        hand_open(&others[i], s.rt);
        CHECK_EQ(rt_poll_ready(others[i].cx, s.io, RT_READABLE, &got), RT_PENDING);
    }
    for (int i = 0; i < 100; i++)
        CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE, &got), RT_PENDING);
    /* Whichever of them has a place of its own, each polls last once. */
    for (int i = 0; i < EACH; i++)
        CHECK_EQ(rt_poll_ready(others[i].cx, s.io, RT_READABLE, &got), RT_PENDING);

    int before = atomic_load(&s.hand.wakes);
    net_put(s.far, "x", 1);
    for (int i = 0; i < EACH; i++) {
        hand_wait_for(&others[i], 1);
        CHECK_EQ(await_ready(&others[i], s.io, RT_READABLE).bits, RT_READABLE);
        hand_close(&others[i]);
    }
    hand_wait_for(&s.hand, before + 1);
    deliver(s.rt);
    CHECK(atomic_load(&s.hand.wakes) - before <= 2); /* a hundred polls left one waker */
    scene_close(&s);
    for (int i = 0; i < EACH; i++) hand_check(&others[i]);
}

/* A task that is handed on: first polled for by one hand, then by another. */
static void the_last_of_two_contexts_is_woken_too(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct hand second;
    hand_open(&second, s.rt);
    hand_park(&s.hand, s.io, RT_READABLE);
    hand_park(&second, s.io, RT_READABLE);
    int before = atomic_load(&s.hand.wakes);
    net_put(s.far, "x", 1);
    hand_wait_for(&second, 1);
    hand_wait_for(&s.hand, before + 1);
    hand_close(&second);
    scene_close(&s);
    hand_check(&second);
}

/* ---- one task, several things ---- */

struct chooser {
    rt_io io;
    uint32_t wanted[3];
    uint32_t awaited;
    atomic_int polls;
};

/* Waits for each of its wants at once, until the awaited one is there. */
static int64_t choose(rt_cx *cx, void *state) {
    struct chooser *c = state;
    bool found = false;
    for (int i = 0; i < 3; i++) {
        rt_ready got;
        int64_t r;
        while ((r = rt_poll_ready(cx, c->io, c->wanted[i], &got)) == 0) {
            found |= c->wanted[i] == c->awaited;
            if (found) break;
            rt_clear_ready(c->io, got); /* out of date */
        }
        if (r < 0 && r != RT_PENDING) return r;
    }
    atomic_fetch_add(&c->polls, 1);
    return found ? 0 : RT_PENDING;
}

static bool chooser_polled(void *arg) { return atomic_load(&((struct chooser *)arg)->polls) > 0; }

static void one_task_waits_for_several_things_at_once(void) {
    static const uint32_t orders[][3] = {
        {RT_READABLE, RT_WRITABLE, RT_PRIORITY},
        {RT_PRIORITY, RT_WRITABLE, RT_READABLE},
        {RT_WRITABLE, RT_PRIORITY, RT_READABLE},
    };
    for (size_t order = 0; order < sizeof orders / sizeof orders[0]; order++) {
        for (int which = 0; which < 3; which++) {
            struct scene s;
            scene_open(&s, net_pair, RW | RT_PRIORITY);
            net_stuff(s.near);
            struct chooser c = {.io = s.io, .awaited = orders[order][which]};
            memcpy(c.wanted, orders[order], sizeof c.wanted);
            rt_task task;
            CHECK_EQ(rt_spawn(s.rt, choose, &c, NULL, &task), 0);
            drive_until(s.rt, chooser_polled, &c);

            switch (c.awaited) {
            case RT_READABLE: net_put(s.far, "x", 1); break;
            case RT_PRIORITY: CHECK_SYS(send(s.far, "!", 1, MSG_OOB)); break;
            default: net_drain(s.far); break;
            }
            CHECK_EQ(join_task(task), 0);
            scene_close(&s);
        }
    }
}

static void an_event_one_way_leaves_the_other_way_armed(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    for (int i = 0; i < scaled(200); i++) {
        net_stuff(s.near);
        struct waiter reader, writer;
        waiter_park(&writer, s.rt, s.io, RT_WRITABLE);
        for (int k = 0; k < 3; k++) {
            waiter_park(&reader, s.rt, s.io, RT_READABLE);
            net_put(s.far, "x", 1);
            CHECK_EQ(join_task(reader.task), 0);
            net_drain(s.near);
            CHECK_EQ(rt_clear_ready(s.io, reader.got), 0);
        }
        waiter_park(&reader, s.rt, s.io, RT_READABLE);
        net_drain(s.far);
        CHECK_EQ(join_task(writer.task), 0);
        deliver(s.rt);
        CHECK(atomic_load(&reader.pending));
        net_put(s.far, "x", 1);
        CHECK_EQ(join_task(reader.task), 0);
        net_drain(s.near);
        CHECK_EQ(rt_clear_ready(s.io, reader.got), 0);
    }
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(one_event_wakes_all_readers_and_no_writer);
    CASE(a_hang_up_wakes_both_directions);
    CASE(polling_again_replaces_only_ones_own_waker);
    CASE(the_last_of_two_contexts_is_woken_too);
    CASE(one_task_waits_for_several_things_at_once);
    CASE(an_event_one_way_leaves_the_other_way_armed);
    return test_end();
}
