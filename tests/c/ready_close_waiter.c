/* Releasing a descriptor wakes everybody who waits for it, in whatever call, with -EBADF: from the
 * thread that runs the tasks and from another.
 */
#include "ready.h"

/* ---- one task in each kind of wait ---- */

struct sleeper {
    rt_io io;
    int64_t (*wait)(rt_cx *cx, struct sleeper *s);
    atomic_int polls;
    rt_task task;
    size_t off;
    char byte;
};

static int64_t in_ready(rt_cx *cx, struct sleeper *s) {
    rt_ready got;
    return rt_poll_ready(cx, s->io, RT_READABLE, &got);
}
static int64_t in_room(rt_cx *cx, struct sleeper *s) {
    rt_ready got;
    return rt_poll_ready(cx, s->io, RT_WRITABLE, &got);
}
static int64_t in_level(rt_cx *cx, struct sleeper *s) {
    rt_ready got;
    return rt_poll_level(cx, s->io, RT_READABLE, &got);
}
static int64_t in_read(rt_cx *cx, struct sleeper *s) {
    return rt_poll_read(cx, s->io, &s->byte, 1);
}
static int64_t in_read_buf(rt_cx *cx, struct sleeper *s) {
    rt_buf buf;
    return rt_poll_read_buf(cx, s->io, &buf);
}
static int64_t in_readv(rt_cx *cx, struct sleeper *s) {
    struct iovec iov = {&s->byte, 1};
    return rt_poll_readv(cx, s->io, &iov, 1);
}
static int64_t in_write(rt_cx *cx, struct sleeper *s) {
    return rt_poll_write(cx, s->io, &s->byte, 1);
}
static int64_t in_write_all(rt_cx *cx, struct sleeper *s) {
    return rt_poll_write_all(cx, s->io, &s->byte, 1, &s->off);
}
static int64_t in_sendmsg(rt_cx *cx, struct sleeper *s) {
    struct iovec iov = {&s->byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    return rt_poll_sendmsg(cx, s->io, &msg, 0);
}
static int64_t refuse(int fd, void *arg) {
    (void)fd;
    (void)arg;
    return -EAGAIN;
}
static int64_t in_try(rt_cx *cx, struct sleeper *s) {
    return rt_poll_try(cx, s->io, RT_READABLE, refuse, NULL);
}

static int64_t (*const waits[])(rt_cx *, struct sleeper *) = {
    in_ready, in_room, in_level, in_read, in_read_buf, in_readv, in_write, in_write_all, in_sendmsg, in_try,
};
enum { WAITS = sizeof waits / sizeof waits[0] };

static int64_t sleeper_poll(rt_cx *cx, void *state) {
    struct sleeper *s = state;
    int64_t r = s->wait(cx, s);
    atomic_fetch_add(&s->polls, 1);
    return r;
}

static bool all_sleep(void *arg) {
    struct sleeper *sleepers = arg;
    for (int i = 0; i < WAITS; i++)
        if (atomic_load(&sleepers[i].polls) == 0) return false;
    return true;
}

static void sleep_in_all(struct scene *s, struct sleeper *sleepers) {
    net_stuff(s->near);
    hand_park(&s->hand, s->io, RT_WRITABLE);
    for (int i = 0; i < WAITS; i++) {
        sleepers[i] = (struct sleeper){.io = s->io, .wait = waits[i]};
        CHECK_EQ(rt_spawn(s->rt, sleeper_poll, &sleepers[i], NULL, &sleepers[i].task), 0);
    }
    drive_until(s->rt, all_sleep, sleepers);
}

/* ---- who releases, and how ---- */

struct release {
    int64_t (*call)(rt_io);
    rt_io io;
};

static void *release_here(void *arg) {
    struct release *r = arg;
    CHECK_EQ(r->call(r->io), 0);
    return NULL;
}

static void release_wakes_all(int64_t (*call)(rt_io), bool elsewhere, bool closes) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    struct sleeper sleepers[WAITS];
    sleep_in_all(&s, sleepers);
    struct release release = {call, s.io};
    if (elsewhere) on_thread(release_here, &release);
    else release_here(&release);

    for (int i = 0; i < WAITS; i++) CHECK_EQ(join_task(sleepers[i].task), -EBADF);
    rt_ready got;
    AWAIT_EQ(&s.hand, -EBADF, rt_poll_ready(s.hand.cx, s.io, RT_WRITABLE, &got));
    CHECK_EQ(net_is_open(s.near), !closes);
    if (!closes) close(s.near);
    s.io = 0;
    scene_close(&s);
}

static void close_from_here(void) { release_wakes_all(rt_close, false, true); }
static void close_from_another_thread(void) { release_wakes_all(rt_close, true, true); }
static void deregister_from_here(void) { release_wakes_all(rt_deregister, false, false); }
static void deregister_from_another_thread(void) { release_wakes_all(rt_deregister, true, false); }
static void forget_from_here(void) { release_wakes_all(rt_forget, false, false); }
static void forget_from_another_thread(void) { release_wakes_all(rt_forget, true, false); }

/* A borrowed descriptor is let go, not closed. */
static void a_borrowed_one_stays_open(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW | RT_IO_BORROWED);
    struct waiter reader;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    CHECK_EQ(rt_close(s.io), 0);
    CHECK_EQ(join_task(reader.task), -EBADF);
    CHECK(net_is_open(s.near));
    close(s.near);
    s.io = 0;
    scene_close(&s);
}

/* The task that waits is woken by its neighbour, which closes in the middle of its own poll. */
static int64_t close_in_a_poll(rt_cx *cx, void *state) {
    (void)cx;
    return rt_close(*(rt_io *)state);
}

static void a_task_closes_what_another_waits_for(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    for (int i = 0; i < scaled(300); i++) {
        int fds[2];
        net_unix_pair(fds);
        rt_io io = io_of(s.rt, fds[0], RW);
        struct waiter reader;
        waiter_park(&reader, s.rt, io, RT_READABLE);
        rt_task closer;
        CHECK_EQ(rt_spawn(s.rt, close_in_a_poll, &io, NULL, &closer), 0);
        CHECK_EQ(join_task(closer), 0);
        CHECK_EQ(join_task(reader.task), -EBADF);
        close(fds[1]);
    }
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(close_from_here);
    CASE(close_from_another_thread);
    CASE(deregister_from_here);
    CASE(deregister_from_another_thread);
    CASE(forget_from_here);
    CASE(forget_from_another_thread);
    CASE(a_borrowed_one_stays_open);
    CASE(a_task_closes_what_another_waits_for);
    return test_end();
}
