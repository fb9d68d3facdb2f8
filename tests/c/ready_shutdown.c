/* Shutting down wakes everybody who waits outside tasks, with an error; later waits fail at once.
 * The descriptors stay good until they are released, and rt_free closes those that it owns.
 */
#include "ready.h"

static int64_t recv_one(int fd, void *arg) {
    ssize_t r = recv(fd, arg, 1, 0);
    return r < 0 ? -errno : r;
}

static int64_t every_poll(struct scene *s, int which) {
    rt_cx *cx = s->hand.cx;
    rt_ready got;
    rt_io out;
    char byte = 'x';
    size_t off = 0;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    switch (which) {
    case 0: return rt_poll_ready(cx, s->io, RT_READABLE, &got);
    case 1: return rt_poll_level(cx, s->io, RT_READABLE, &got);
    case 2: return rt_poll_try(cx, s->io, RT_READABLE, recv_one, &byte);
    case 3: return rt_poll_read(cx, s->io, &byte, 1);
    case 4: return rt_poll_readv(cx, s->io, &iov, 1);
    case 5: return rt_poll_recvmsg(cx, s->io, &msg, 0);
    case 6: return rt_poll_accept(cx, s->io, &out);
    case 7: return rt_poll_write(cx, s->io, &byte, 1);
    case 8: return rt_poll_write_all(cx, s->io, &byte, 1, &off);
    case 9: return rt_poll_writev(cx, s->io, &iov, 1);
    default: return rt_poll_sendmsg(cx, s->io, &msg, 0);
    }
}
enum { POLLS = 11 };

static void those_who_wait_wake_and_later_waits_fail(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    net_stuff(s.near);
    struct hand others[4];
    hand_park(&s.hand, s.io, RW);
    for (int i = 0; i < 4; i++) {
        hand_open(&others[i], s.rt);
        hand_park(&others[i], s.io, i % 2 == 0 ? RT_READABLE : RT_WRITABLE);
    }
    int before = atomic_load(&s.hand.wakes);
    CHECK_EQ(rt_shutdown(s.rt, RT_NEVER), 0);
    CHECK(atomic_load(&s.hand.wakes) > before);
    rt_ready got;
    for (int i = 0; i < 4; i++) {
        CHECK(atomic_load(&others[i].wakes) > 0);
        CHECK_EQ(rt_poll_ready(others[i].cx, s.io, RW, &got), -ESHUTDOWN);
    }
    for (int which = 0; which < POLLS; which++)
        for (int again = 0; again < 2; again++) CHECK_EQ(every_poll(&s, which), -ESHUTDOWN);

    /* A clear does not bring the waiting back. */
    for (uint32_t tick = 0; tick < 16; tick++)
        CHECK_EQ(rt_clear_ready(s.io, (rt_ready){RW, tick}), 0);
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE, &got), -ESHUTDOWN);

    hand_close(&s.hand);
    for (int i = 0; i < 4; i++) hand_close(&others[i]);
    CHECK_EQ(rt_free(s.rt), 0);
    hand_check(&s.hand);
    for (int i = 0; i < 4; i++) hand_check(&others[i]);
    CHECK(!net_is_open(s.near));
    close(s.far);
}

static void descriptors_can_still_be_released(void) {
    rt_runtime rt = test_runtime();
    int fds[4][2];
    rt_io ios[4];
    for (int i = 0; i < 4; i++) {
        net_unix_pair(fds[i]);
        if (i < 3) ios[i] = io_of(rt, fds[i][0], RW);
    }
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    ios[3] = io_of(rt, fds[3][0], RW); /* it may come, and will not wait */
    rt_ready got;
    CHECK_EQ(rt_try_ready(ios[3], RW, &got), -ESHUTDOWN);
    CHECK_EQ(rt_close(ios[3]), 0);
    CHECK(!net_is_open(fds[3][0]));

    CHECK_EQ(rt_io_fd(ios[0]), fds[0][0]);
    CHECK_EQ(rt_close(ios[0]), 0);
    CHECK(!net_is_open(fds[0][0]));
    CHECK_EQ(rt_deregister(ios[1]), 0);
    CHECK(net_is_open(fds[1][0]));
    close(fds[1][0]);
    CHECK_EQ(rt_forget(ios[2]), 0);
    CHECK(net_is_open(fds[2][0]));
    close(fds[2][0]);
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_close(ios[i]), -EBADF);
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < 4; i++) close(fds[i][1]);
}

static void freeing_closes_what_it_owns(void) {
    enum { MANY = 50 };
    static int fds[MANY][2];
    static rt_io ios[MANY];
    rt_runtime rt = test_runtime();
    for (int i = 0; i < MANY; i++) {
        net_unix_pair(fds[i]);
        ios[i] = io_of(rt, fds[i][0], i % 2 == 0 ? RW : RW | RT_IO_BORROWED);
    }
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(net_is_open(fds[i][0]), i % 2 != 0);
        CHECK_EQ(rt_io_fd(ios[i]), -EBADF);
        CHECK_EQ(rt_close(ios[i]), -EBADF);
        if (i % 2 != 0) close(fds[i][0]);
        close(fds[i][1]);
    }
}

/* ---- tasks that wait are aborted, and their drop releases what they hold ---- */

struct connection {
    rt_io io;
    char byte;
    int64_t closed;
};

static int64_t connection_poll(rt_cx *cx, void *state) {
    struct connection *c = state;
    return rt_poll_read(cx, c->io, &c->byte, 1);
}

static void connection_drop(void *state) {
    struct connection *c = state;
    c->closed = rt_close(c->io);
}

static void tasks_release_their_own(void) {
    enum { MANY = 50 };
    static struct connection connections[MANY];
    static int fds[MANY][2];
    rt_runtime rt = test_runtime();
    for (int i = 0; i < MANY; i++) {
        net_unix_pair(fds[i]);
        connections[i] = (struct connection){.io = io_of(rt, fds[i][0], RW), .closed = 1};
        CHECK_EQ(rt_spawn(rt, connection_poll, &connections[i], connection_drop, NULL), 0);
    }
    deliver(rt);
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(connections[i].closed, 0);
        CHECK(!net_is_open(fds[i][0]));
        close(fds[i][1]);
    }
}

/* ---- registering and waiting on another thread meanwhile ---- */

struct race {
    rt_runtime rt;
    struct hand hand;
    gate running;
    int rounds; /* registrations before it waits for good */
};

static void *register_and_wait(void *arg) {
    struct race *race = arg;
    struct hand *h = &race->hand;
    gate_open(&race->running);
    int64_t r = 0;
    for (int round = 0; r == 0; round++) {
        int fds[2];
        rt_ready got;
        rt_io io = 0;
        net_unix_pair(fds);
        r = rt_register_fd(race->rt, fds[0], RT_READABLE, &io);
        if (r < 0) {
            close(fds[0]);
        } else {
            /* Nobody writes: only the shutdown can end the last wait. */
            while ((r = rt_poll_ready(h->cx, io, RT_READABLE, &got)) == RT_PENDING &&
                   round >= race->rounds)
                gate_wait(&h->woken);
            if (r == RT_PENDING) r = 0;
            CHECK_EQ(rt_close(io), 0);
        }
        close(fds[1]);
    }
    CHECK_EQ(r, -ESHUTDOWN);
    return NULL;
}

static void a_registration_that_races_the_end_does_not_sleep(void) {
    for (int i = 0; i < scaled(200); i++) {
        struct race race = {.rt = test_runtime(), .rounds = i % 20};
        gate_init(&race.running);
        hand_open(&race.hand, race.rt);
        pthread_t thread = thread_start(register_and_wait, &race);
        gate_wait(&race.running);
        for (int k = 0; k < i; k++) sched_yield();
        CHECK_EQ(rt_shutdown(race.rt, RT_NEVER), 0);
        thread_join(thread);
        hand_close(&race.hand);
        CHECK_EQ(rt_free(race.rt), 0);
        hand_check(&race.hand);
        gate_destroy(&race.running);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(those_who_wait_wake_and_later_waits_fail);
    CASE(descriptors_can_still_be_released);
    CASE(freeing_closes_what_it_owns);
    CASE(tasks_release_their_own);
    CASE(a_registration_that_races_the_end_does_not_sleep);
    return test_end();
}
