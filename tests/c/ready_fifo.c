/* A named pipe whose writer went and came back: the end of the stream was said, and stays in the
 * registration for ever, yet a reader neither spins on it nor misses what the next writer sends.
 */
#include "ready.h"

struct fifo {
    rt_runtime rt;
    struct hand hand;
    char directory[256], path[256 + 8];
    int reader;
    rt_io io;
};

static int fifo_writer(const struct fifo *f) {
    return (int)CHECK_SYS(open(f->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

static void fifo_open(struct fifo *f) {
    temp_template(f->directory, sizeof f->directory);
    CHECK(mkdtemp(f->directory) != NULL);
    snprintf(f->path, sizeof f->path, "%s/fifo", f->directory);
    CHECK_SYS(mkfifo(f->path, 0600));
    f->reader = (int)CHECK_SYS(open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    f->rt = test_runtime();
    hand_open(&f->hand, f->rt);
    f->io = io_of(f->rt, f->reader, RT_READABLE);
}

static void fifo_close(struct fifo *f) {
    CHECK_EQ(rt_close(f->io), 0);
    CHECK_SYS(unlink(f->path));
    CHECK_SYS(rmdir(f->directory));
    hand_close(&f->hand);
    test_runtime_free(f->rt);
    hand_check(&f->hand);
}

/* One that came and went: the reader has seen the end of its stream. */
static void a_first_writer_ends(struct fifo *f) {
    char got[8];
    int writer = fifo_writer(f);
    net_put(writer, "one", 3);
    AWAIT_EQ(&f->hand, 3, rt_poll_read(f->hand.cx, f->io, got, sizeof got));
    CHECK(memcmp(got, "one", 3) == 0);
    close(writer);
    await_bit(&f->hand, f->io, RT_READABLE, RT_READ_CLOSED);
    AWAIT_EQ(&f->hand, 0, rt_poll_read(f->hand.cx, f->io, got, sizeof got));
}

/* ---- reading ---- */

struct reading {
    rt_io io;
    char got[8];
    atomic_int polls;
};

static int64_t read_some(rt_cx *cx, void *state) {
    struct reading *r = state;
    int64_t n = rt_poll_read(cx, r->io, r->got, sizeof r->got);
    atomic_fetch_add(&r->polls, 1);
    return n;
}

static bool reading_polled(void *arg) { return atomic_load(&((struct reading *)arg)->polls) > 0; }

static void the_next_writer_is_heard(void) {
    struct fifo f;
    fifo_open(&f);
    a_first_writer_ends(&f);
    for (int i = 0; i < 20; i++) {
        int writer = fifo_writer(&f); /* is there, and silent: the reader must wait */
        struct reading r = {.io = f.io};
        rt_task task;
        CHECK_EQ(rt_spawn(f.rt, read_some, &r, NULL, &task), 0);
        drive_until(f.rt, reading_polled, &r);
        deliver(f.rt);
        CHECK(atomic_load(&r.polls) <= 5);

        net_put(writer, "two", 3);
        CHECK_EQ(join_task(task), 3);
        CHECK(memcmp(r.got, "two", 3) == 0);
        close(writer);
        AWAIT_EQ(&f.hand, 0, rt_poll_read(f.hand.cx, f.io, r.got, sizeof r.got));
    }
    fifo_close(&f);
}

/* ---- attempts ---- */

struct attempts {
    rt_io io;
    char got[8];
    atomic_int polls, tried;
};

static int64_t try_read(int fd, void *arg) {
    struct attempts *a = arg;
    atomic_fetch_add(&a->tried, 1);
    ssize_t n = read(fd, a->got, sizeof a->got);
    return n < 0 ? -errno : n;
}

static int64_t attempt(rt_cx *cx, void *state) {
    struct attempts *a = state;
    int64_t r = rt_poll_try(cx, a->io, RT_READABLE, try_read, a);
    atomic_fetch_add(&a->polls, 1);
    return r;
}

static bool attempted(void *arg) { return atomic_load(&((struct attempts *)arg)->polls) > 0; }

static void attempts_are_few_while_there_is_nothing(void) {
    struct fifo f;
    fifo_open(&f);
    a_first_writer_ends(&f);
    int writer = fifo_writer(&f);
    struct attempts a = {.io = f.io};
    rt_task task;
    CHECK_EQ(rt_spawn(f.rt, attempt, &a, NULL, &task), 0);
    drive_until(f.rt, attempted, &a);
    deliver(f.rt);
    CHECK(atomic_load(&a.tried) <= 5);
    net_put(writer, "two", 3);
    CHECK_EQ(join_task(task), 3);
    close(writer);
    fifo_close(&f);
}

static void the_end_is_said_as_often_as_asked(void) {
    struct fifo f;
    fifo_open(&f);
    a_first_writer_ends(&f);
    char byte;
    for (int i = 0; i < 10; i++) AWAIT_EQ(&f.hand, 0, rt_poll_read(f.hand.cx, f.io, &byte, 1));
    fifo_close(&f);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_next_writer_is_heard);
    CASE(attempts_are_few_while_there_is_nothing);
    CASE(the_end_is_said_as_often_as_asked);
    return test_end();
}
