/* A storm of signals without SA_RESTART, on every thread, while data goes back and forth: no call
 * ever says EINTR, and nothing is lost.
 */
#include "ready.h"
#include "storm.h"

#include <asyncio_await.h>

/* ---- a conversation of two tasks ---- */

enum { MESSAGE = 3000 };

struct side {
    rt_frame frame;
    rt_io io;
    int rounds, round;
    bool begins;
    int64_t r;
    size_t off, have;
    unsigned char data[MESSAGE];
};

static int64_t converse(rt_cx *cx, void *state) {
    struct side *s = state;
    RT_BEGIN(&s->frame);
    for (s->round = 0; s->round < s->rounds; s->round++) {
        if (s->begins) {
            net_pattern(s->data, MESSAGE, (uint64_t)s->round, 0);
            RT_AWAIT(s->r, rt_poll_write_all(cx, s->io, s->data, MESSAGE, &s->off));
            CHECK_EQ(s->r, MESSAGE);
        }
        for (s->have = 0; s->have < MESSAGE; s->have += (size_t)s->r) {
            RT_AWAIT(s->r, rt_poll_read(cx, s->io, s->data + s->have, MESSAGE - s->have));
            CHECK_OK(s->r);
            CHECK(s->r > 0);
        }
        CHECK(net_pattern_holds(s->data, MESSAGE, (uint64_t)s->round, 0));
        if (!s->begins) {
            RT_AWAIT(s->r, rt_poll_write_all(cx, s->io, s->data, MESSAGE, &s->off));
            CHECK_EQ(s->r, MESSAGE);
        }
    }
    RT_END(0);
}

static void small_pair(int out[2]) {
    net_pair(out);
    net_small_buffer(out[0]);
    net_small_buffer(out[1]);
}

static void tasks_converse(void) {
    struct scene s;
    scene_open(&s, small_pair, RW);
    rt_io far = io_of(s.rt, s.far, RW);
    static struct side sides[2];
    memset(sides, 0, sizeof sides);
    rt_task tasks[2];
    struct storm storm;
    storm_start(&storm);
    for (int i = 0; i < 2; i++) {
        sides[i].io = i == 0 ? s.io : far;
        sides[i].rounds = scaled(5000);
        sides[i].begins = i == 0;
        CHECK_EQ(rt_spawn(s.rt, converse, &sides[i], NULL, &tasks[i]), 0);
    }
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(tasks[i]), 0);
    storm_end(&storm);
    CHECK_EQ(rt_close(far), 0);
    s.far = -1;
    scene_close(&s);
}

static void converse_within_block_on(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    rt_io far = io_of(s.rt, s.far, RW);
    static struct side sides[2];
    memset(sides, 0, sizeof sides);
    rt_task other;
    struct storm storm;
    storm_start(&storm);
    for (int i = 0; i < 2; i++) {
        sides[i].io = i == 0 ? s.io : far;
        sides[i].rounds = scaled(5000);
        sides[i].begins = i == 0;
    }
    CHECK_EQ(rt_spawn(s.rt, converse, &sides[1], NULL, &other), 0);
    CHECK_EQ(rt_block_on(s.rt, converse, &sides[0]), 0);
    CHECK_EQ(join_task(other), 0);
    storm_end(&storm);
    CHECK_EQ(rt_close(far), 0);
    s.far = -1;
    scene_close(&s);
}

/* ---- turns that a signal ends ---- */

static void an_interrupted_turn_is_no_error(void) {
    if (!current_thread()) return; /* rt_turn is the other flavour's */
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct storm storm;
    storm_start(&storm);
    for (int i = 0; i < scaled(200); i++) {
        hand_park(&s.hand, s.io, RT_READABLE);
        int before = atomic_load(&storms);
        while (atomic_load(&storms) == before) CHECK_OK(rt_turn(s.rt, 5000000));
        net_put(s.far, "x", 1);
        int wakes = atomic_load(&s.hand.wakes);
        while (bits_of(s.io, RT_READABLE) == 0) CHECK_OK(rt_turn(s.rt, RT_NEVER));
        CHECK(atomic_load(&s.hand.wakes) > wakes);
        net_drain(s.near);
    }
    storm_end(&storm);
    scene_close(&s);
}

/* ---- accepting and connecting ---- */

struct meeting {
    rt_frame frame;
    rt_io listener, io;
    struct sockaddr_in name;
    int rounds, round;
    int64_t r;
};

static int64_t accept_all(rt_cx *cx, void *state) {
    struct meeting *m = state;
    RT_BEGIN(&m->frame);
    for (m->round = 0; m->round < m->rounds; m->round++) {
        RT_AWAIT(m->r, rt_poll_accept(cx, m->listener, &m->io));
        CHECK_EQ(m->r, 0);
        CHECK_EQ(rt_close(m->io), 0);
    }
    RT_END(0);
}

static int64_t connect_all(rt_cx *cx, void *state) {
    struct meeting *m = state;
    RT_BEGIN(&m->frame);
    for (m->round = 0; m->round < m->rounds; m->round++) {
        m->io = io_of(rt_cx_runtime(cx), net_socket(SOCK_STREAM), RW);
        RT_AWAIT(m->r, rt_poll_connect(cx, m->io, (struct sockaddr *)&m->name, sizeof m->name));
        CHECK_EQ(m->r, 0);
        CHECK_EQ(rt_close(m->io), 0);
    }
    RT_END(0);
}

static void connections_are_made(void) {
    rt_runtime rt = test_runtime();
    int fd = net_listen(64);
    struct meeting server = {.listener = io_of(rt, fd, RT_READABLE), .rounds = scaled(1000)};
    struct meeting client = {.name = net_name(fd), .rounds = scaled(1000)};
    rt_task tasks[2];
    struct storm storm;
    storm_start(&storm);
    CHECK_EQ(rt_spawn(rt, accept_all, &server, NULL, &tasks[0]), 0);
    CHECK_EQ(rt_spawn(rt, connect_all, &client, NULL, &tasks[1]), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(tasks[i]), 0);
    storm_end(&storm);
    CHECK_EQ(rt_close(server.listener), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(tasks_converse);
    CASE(converse_within_block_on);
    CASE(an_interrupted_turn_is_no_error);
    CASE(connections_are_made);
    return test_end();
}
