/* Moving a descriptor to the driver of the worker that polls loses nothing: neither what was there
 * already nor what comes in the middle of the move, nor anybody who waits.
 */
#include "ready.h"

/* ---- a relay of movers: each takes the descriptor to where it runs, and reads one byte ---- */

struct mover {
    rt_io io;
    atomic_int *turn;
    int number, of;
    size_t left;
    bool moved;
};

static int64_t move_and_read(rt_cx *cx, void *state) {
    struct mover *m = state;
    while (m->left > 0) {
        if (atomic_load(m->turn) % m->of != m->number) return rt_yield(cx);
        if (!m->moved) CHECK_EQ(rt_io_rehome(cx, m->io), 0);
        m->moved = true;
        unsigned char byte;
        int64_t r = rt_poll_read(cx, m->io, &byte, 1);
        if (r == RT_PENDING) return r;
        CHECK_EQ(r, 1);
        CHECK_EQ(byte, net_pattern_at(5, (uint64_t)atomic_load(m->turn)));
        m->moved = false;
        m->left--;
        atomic_fetch_add(m->turn, 1);
    }
    return 0;
}

struct source {
    int fd;
    size_t n;
};

static void *send_one_by_one(void *arg) {
    struct source *source = arg;
    for (size_t i = 0; i < source->n; i++) {
        unsigned char byte = net_pattern_at(5, i);
        net_put(source->fd, &byte, 1);
    }
    return NULL;
}

static void nothing_is_lost_on_the_move(void) {
    enum { MOVERS = 4 };
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    atomic_int turn = 0;
    size_t each = (size_t)scaled(1000);
    struct mover movers[MOVERS];
    rt_task tasks[MOVERS];
    struct source source = {s.far, each * MOVERS};
    for (int i = 0; i < MOVERS; i++) {
        movers[i] = (struct mover){s.io, &turn, i, MOVERS, each, false};
        struct rt_spawn_opts opts;
        CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
        opts.flags = RT_SPAWN_PINNED;
        opts.poll = move_and_read;
        opts.state = &movers[i];
        CHECK_EQ(rt_spawn_with(s.rt, &opts, &tasks[i]), 0);
    }
    pthread_t thread = thread_start(send_one_by_one, &source);
    for (int i = 0; i < MOVERS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    thread_join(thread);
    scene_close(&s);
}

/* ---- waiters stay while it moves under them ---- */

static int64_t move(rt_cx *cx, void *state) { return rt_io_rehome(cx, *(rt_io *)state); }

static void waiters_stay(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    for (int i = 0; i < scaled(200); i++) {
        struct waiter readers[3];
        for (int k = 0; k < 3; k++) waiter_park(&readers[k], s.rt, s.io, RT_READABLE);
        rt_task movers[4];
        for (int k = 0; k < 4; k++) CHECK_EQ(rt_spawn(s.rt, move, &s.io, NULL, &movers[k]), 0);
        if (i % 2 == 0) net_put(s.far, "x", 1);
        for (int k = 0; k < 4; k++) CHECK_EQ(join_task(movers[k]), 0);
        if (i % 2 != 0) net_put(s.far, "x", 1);
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(join_task(readers[k].task), 0);
            CHECK_EQ(readers[k].got.bits, RT_READABLE);
        }
        net_drain(s.near);
    }
    scene_close(&s);
}

static void what_was_there_is_still_reported(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    net_put(s.far, "x", 1);
    await_ready(&s.hand, s.io, RT_READABLE);
    CHECK_EQ(rt_block_on(s.rt, move, &s.io), 0);
    CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);
    CHECK_EQ(rt_block_on(s.rt, move, &s.io), 0);
    CHECK_EQ(rt_close(s.io), 0);
    CHECK_EQ(rt_block_on(s.rt, move, &s.io), -EBADF);
    CHECK(!net_is_open(s.near));
    s.io = 0;
    scene_close(&s);
}

/* A context of the program's own is no task's, wherever it is used. */
static int64_t with_another_context(rt_cx *cx, void *state) {
    struct scene *s = state;
    rt_cx *own;
    CHECK_EQ(rt_io_rehome(s->hand.cx, s->io), -EPERM);
    CHECK_EQ(rt_cx_new(s->rt, rt_cx_waker(cx), &own), 0);
    CHECK_EQ(rt_io_rehome(own, s->io), -EPERM);
    CHECK_EQ(rt_io_rehome(own, 0), -EBADF);
    CHECK_EQ(rt_cx_free(own), 0);
    CHECK_EQ(rt_io_rehome(cx, s->io), 0);
    return 0;
}

static void only_tasks_move_it(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    CHECK_EQ(rt_io_rehome(s.hand.cx, s.io), -EPERM);
    CHECK_EQ(rt_block_on(s.rt, with_another_context, &s), 0);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(nothing_is_lost_on_the_move);
    CASE(waiters_stay);
    CASE(what_was_there_is_still_reported);
    CASE(only_tasks_move_it);
    return test_end();
}
