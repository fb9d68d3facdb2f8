/* An error alone wakes: whoever waits for room in a full pipe hears that its reader closed, then
 * gets EPIPE, and no SIGPIPE.
 */
#include "ready.h"

static atomic_int sigpipes;
static void count_sigpipe(int sig) {
    (void)sig;
    atomic_fetch_add(&sigpipes, 1);
}

static void full_pipe(struct scene *s, uint32_t flags) {
    scene_open(s, net_pipe_writer_first, flags);
    net_stuff(s->near);
}

static void a_waiter_for_room_wakes(void) {
    struct scene s;
    full_pipe(&s, RT_WRITABLE);
    struct waiter writers[3];
    for (int i = 0; i < 3; i++) waiter_park(&writers[i], s.rt, s.io, RT_WRITABLE);
    hand_park(&s.hand, s.io, RT_WRITABLE);
    close(s.far);
    s.far = -1;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(join_task(writers[i].task), 0);
        CHECK(writers[i].got.bits & (RT_ERROR | RT_WRITE_CLOSED));
    }
    CHECK(await_ready(&s.hand, s.io, RT_WRITABLE).bits & (RT_ERROR | RT_WRITE_CLOSED));
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "x", 1));
    scene_close(&s);
    CHECK_EQ(atomic_load(&sigpipes), 0);
}

/* Whatever the waiter asked for, it will not come any more. */
static void every_interest_wakes(void) {
    static const uint32_t interests[] = {RT_READABLE, RT_WRITABLE, RT_ERROR, RW};
    for (size_t i = 0; i < sizeof interests / sizeof interests[0]; i++) {
        struct scene s;
        full_pipe(&s, RW | RT_ERROR);
        struct waiter w;
        waiter_park(&w, s.rt, s.io, interests[i]);
        close(s.far);
        s.far = -1;
        CHECK_EQ(join_task(w.task), 0);
        CHECK(w.got.bits & (RT_ERROR | CLOSED_BITS));
        scene_close(&s);
    }
}

struct writing {
    rt_io io;
    atomic_int polls;
};

static int64_t write_a_byte(rt_cx *cx, void *state) {
    struct writing *w = state;
    int64_t r = rt_poll_write(cx, w->io, "x", 1);
    atomic_fetch_add(&w->polls, 1);
    return r;
}

static bool writing_polled(void *arg) { return atomic_load(&((struct writing *)arg)->polls) > 0; }

static void a_pending_write_gives_epipe(void) {
    struct scene s;
    full_pipe(&s, RT_WRITABLE);
    struct writing w = {.io = s.io};
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, write_a_byte, &w, NULL, &task), 0);
    drive_until(s.rt, writing_polled, &w);
    close(s.far);
    s.far = -1;
    CHECK_EQ(join_task(task), -EPIPE);
    scene_close(&s);
    CHECK_EQ(atomic_load(&sigpipes), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGPIPE, count_sigpipe);
    CASE(a_waiter_for_room_wakes);
    CASE(every_interest_wakes);
    CASE(a_pending_write_gives_epipe);
    return test_end();
}
