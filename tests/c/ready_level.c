/* rt_poll_level asks the kernel again: for foreign code that reads as much as it likes and stops
 * before EAGAIN. It neither misses what is left nor reports what is gone.
 */
#include "ready.h"

static rt_ready await_level(struct scene *s, uint32_t interest) {
    rt_ready got;
    AWAIT_EQ(&s->hand, 0, rt_poll_level(s->hand.cx, s->io, interest, &got));
    return got;
}

static void what_is_left_is_reported(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "0123456789", 10);
    for (char want = '0'; want <= '9'; want++) {
        CHECK_EQ(await_level(&s, RT_READABLE).bits, RT_READABLE);
        char byte;
        CHECK_EQ(read(s.near, &byte, 1), 1);
        CHECK_EQ(byte, want);
    }
    rt_ready got;
    CHECK_EQ(rt_poll_level(s.hand.cx, s.io, RT_READABLE, &got), RT_PENDING);
    scene_close(&s);
}

static void clearing_does_not_hide_what_is_left(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "0123456789", 10);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(rt_clear_ready(s.io, await_level(&s, RT_READABLE)), 0);
        CHECK_EQ(await_level(&s, RT_READABLE).bits, RT_READABLE);
        char byte;
        CHECK_EQ(read(s.near, &byte, 1), 1);
    }
    scene_close(&s);
}

static void what_is_gone_is_not_reported(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_ready got;
    for (int i = 0; i < scaled(300); i++) {
        net_put(s.far, "abc", 3);
        CHECK_EQ(await_level(&s, RT_READABLE).bits, RT_READABLE);
        char all[3];
        CHECK_EQ(net_get(s.near, all, 3), 3); /* all of it, and no EAGAIN seen */
        CHECK_EQ(rt_poll_level(s.hand.cx, s.io, RT_READABLE, &got), RT_PENDING);
        CHECK_EQ(rt_poll_level(s.hand.cx, s.io, RT_READABLE, &got), RT_PENDING);
    }
    scene_close(&s);
}

static void room_is_looked_at_too(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    CHECK_EQ(await_level(&s, RW).bits, RT_WRITABLE);
    net_stuff(s.near);
    rt_ready got;
    CHECK_EQ(rt_poll_level(s.hand.cx, s.io, RT_WRITABLE, &got), RT_PENDING);
    CHECK_EQ(rt_poll_level(s.hand.cx, s.io, RW, &got), RT_PENDING);
    net_drain(s.far);
    CHECK_EQ(await_level(&s, RT_WRITABLE).bits, RT_WRITABLE);
    scene_close(&s);
}

static void the_end_is_reported(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    while (!(await_level(&s, RT_READABLE).bits & RT_READ_CLOSED)) deliver(s.rt);
    CHECK_EQ(net_drain(s.near), 1);
    CHECK(await_level(&s, RT_READABLE).bits & RT_READ_CLOSED);
    CHECK_EQ(await_level(&s, RT_WRITABLE).bits, RT_WRITABLE);
    scene_close(&s);
}

/* ---- a task: the wait after a partial read must end by the next event ---- */

struct sipper {
    rt_io io;
    int fd;
    size_t got;
    atomic_int polls;
};

enum { SIPS = 64 };

static int64_t sip(rt_cx *cx, void *state) {
    struct sipper *s = state;
    atomic_fetch_add(&s->polls, 1);
    while (s->got < SIPS) {
        rt_ready ready;
        int64_t r = rt_poll_level(cx, s->io, RT_READABLE, &ready);
        if (r != 0) return r;
        char byte;
        CHECK_EQ(read(s->fd, &byte, 1), 1);
        CHECK_EQ((unsigned char)byte, net_pattern_at(1, s->got));
        s->got++;
    }
    return 0;
}

static bool sipper_polled(void *arg) { return atomic_load(&((struct sipper *)arg)->polls) > 0; }

static void a_task_sips_what_comes_in_drops(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct sipper sipper = {.io = s.io, .fd = s.near};
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, sip, &sipper, NULL, &task), 0);
    drive_until(s.rt, sipper_polled, &sipper);
    for (size_t at = 0; at < SIPS; at += 4) {
        unsigned char drops[4];
        net_pattern(drops, sizeof drops, 1, at);
        net_put(s.far, drops, sizeof drops);
        if (at % 16 == 0) deliver(s.rt);
    }
    CHECK_EQ(join_task(task), 0);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_is_left_is_reported);
    CASE(clearing_does_not_hide_what_is_left);
    CASE(what_is_gone_is_not_reported);
    CASE(room_is_looked_at_too);
    CASE(the_end_is_reported);
    CASE(a_task_sips_what_comes_in_drops);
    return test_end();
}
