/* A task on descriptors that are always ready takes so many results a poll and no more, so that the
 * others run too.
 */
#include "ready.h"

#include <sys/eventfd.h>

enum { BUDGET = 16 };

static rt_runtime runtime_with_budget(uint32_t budget) {
    rt_config config = test_config();
    config.poll_budget = budget;
    if (!current_thread()) config.workers = 1; /* nobody else to run the others */
    return test_runtime_with(&config);
}

/* Ready for ever: each read takes one of very many. */
static int inexhaustible(void) {
    return (int)CHECK_SYS(eventfd(INT32_MAX, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
}

/* ---- a glutton and a bystander ---- */

struct glutton {
    rt_io io;
    int64_t (*bite)(rt_cx *cx, rt_io io);
    atomic_bool stop;
    int most; /* results in one poll */
    uint64_t total;
    int64_t failed;
};

static int64_t devour(rt_cx *cx, void *state) {
    struct glutton *g = state;
    for (int bites = 0;; bites++) {
        if (bites > g->most) g->most = bites;
        /* Woken each time, it goes on: else this would never end. */
        if (atomic_load(&g->stop) && g->total >= 1000) return 0;
        int64_t r = g->bite(cx, g->io);
        if (r == RT_PENDING) return r;
        if (r < 0) return g->failed = r;
        g->total++;
    }
}

static int64_t bite_read(rt_cx *cx, rt_io io) {
    uint64_t value;
    return rt_poll_read(cx, io, &value, sizeof value);
}
static int64_t bite_ready(rt_cx *cx, rt_io io) {
    rt_ready got;
    return rt_poll_ready(cx, io, RT_READABLE, &got);
}
static int64_t bite_level(rt_cx *cx, rt_io io) {
    rt_ready got;
    return rt_poll_level(cx, io, RT_READABLE, &got);
}
static int64_t take_one(int fd, void *arg) {
    ssize_t r = read(fd, arg, 8);
    return r < 0 ? -errno : r;
}
static int64_t bite_try(rt_cx *cx, rt_io io) {
    uint64_t value;
    return rt_poll_try(cx, io, RT_READABLE, take_one, &value);
}

struct bystander {
    int turns;
};

static int64_t stand_by(rt_cx *cx, void *state) {
    struct bystander *b = state;
    return --b->turns > 0 ? rt_yield(cx) : 0;
}

static void others_run(uint32_t configured, int budget, int64_t (*bite)(rt_cx *, rt_io)) {
    rt_runtime rt = runtime_with_budget(configured);
    rt_io io = io_of(rt, inexhaustible(), RT_READABLE);
    struct glutton g = {.io = io, .bite = bite};
    struct bystander b = {.turns = 1000};
    rt_task glutton, bystander;
    CHECK_EQ(rt_spawn(rt, devour, &g, NULL, &glutton), 0);
    CHECK_EQ(rt_spawn(rt, stand_by, &b, NULL, &bystander), 0);
    CHECK_EQ(join_task(bystander), 0);
    atomic_store(&g.stop, true);
    CHECK_EQ(join_task(glutton), 0);
    CHECK_EQ(g.failed, 0);
    CHECK(g.most <= budget);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

static void reads_are_counted(void) { others_run(BUDGET, BUDGET, bite_read); }
static void waits_are_counted(void) { others_run(BUDGET, BUDGET, bite_ready); }
static void level_waits_are_counted(void) { others_run(BUDGET, BUDGET, bite_level); }
static void attempts_are_counted(void) { others_run(BUDGET, BUDGET, bite_try); }
static void the_default_is_128(void) { others_run(0, 128, bite_read); }
static void a_budget_of_one(void) { others_run(1, 1, bite_read); }

/* Without a budget the task stops when it likes. */
static int64_t take_many(rt_cx *cx, void *state) {
    struct glutton *g = state;
    while (g->total < 10000) {
        int64_t r = g->bite(cx, g->io);
        if (r < 0) return r == RT_PENDING && g->total > 0 ? -EAGAIN : r;
        g->total++;
    }
    return 0;
}

static void without_a_budget_there_is_no_end(void) {
    rt_runtime rt = runtime_with_budget(RT_BUDGET_OFF);
    rt_io io = io_of(rt, inexhaustible(), RT_READABLE);
    struct glutton g = {.io = io, .bite = bite_read};
    CHECK_EQ(rt_block_on(rt, take_many, &g), 0);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

/* ---- a peer that floods ---- */

struct flood {
    int fd;
    atomic_bool stop;
};

static void *pour(void *arg) {
    static const char water[65536];
    struct flood *f = arg;
    while (!atomic_load(&f->stop)) {
        ssize_t r = send(f->fd, water, sizeof water, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (r < 0 && errno == EAGAIN) sched_yield();
        else if (r < 0 && errno != EINTR) break;
    }
    return NULL;
}

static int64_t bite_much(rt_cx *cx, rt_io io) {
    char drop[16]; /* so little at a time that the flood never ends */
    return rt_poll_read(cx, io, drop, sizeof drop);
}

static void a_flood_does_not_starve_the_others(void) {
    int fds[2];
    net_pair(fds);
    rt_runtime rt = runtime_with_budget(0);
    rt_io io = io_of(rt, fds[0], RW);
    struct flood flood = {.fd = fds[1]};
    pthread_t thread = thread_start(pour, &flood);
    struct glutton g = {.io = io, .bite = bite_much};
    struct bystander b = {.turns = 5000};
    rt_task glutton, bystander;
    CHECK_EQ(rt_spawn(rt, devour, &g, NULL, &glutton), 0);
    CHECK_EQ(rt_spawn(rt, stand_by, &b, NULL, &bystander), 0);
    CHECK_EQ(join_task(bystander), 0);
    atomic_store(&g.stop, true);
    CHECK_EQ(join_task(glutton), 0);
    CHECK(g.most <= 128);
    atomic_store(&flood.stop, true);
    thread_join(thread);
    CHECK_EQ(rt_close(io), 0);
    close(fds[1]);
    test_runtime_free(rt);
}

/* Many busy descriptors beside a quiet one: the driver is looked at in time. */
static void a_quiet_descriptor_is_heard_beside_busy_ones(void) {
    enum { BUSY = 8 };
    int fds[2];
    net_pair(fds);
    rt_runtime rt = runtime_with_budget(0);
    rt_io quiet = io_of(rt, fds[0], RW);
    struct glutton gluttons[BUSY];
    rt_task tasks[BUSY];
    for (int i = 0; i < BUSY; i++) {
        gluttons[i] = (struct glutton){.io = io_of(rt, inexhaustible(), RT_READABLE),
                                       .bite = bite_read};
        CHECK_EQ(rt_spawn(rt, devour, &gluttons[i], NULL, &tasks[i]), 0);
    }
    for (int i = 0; i < scaled(50); i++) {
        struct waiter reader;
        waiter_park(&reader, rt, quiet, RT_READABLE);
        net_put(fds[1], "x", 1);
        CHECK_EQ(join_task(reader.task), 0);
        net_drain(fds[0]);
        CHECK_EQ(rt_clear_ready(quiet, reader.got), 0);
    }
    for (int i = 0; i < BUSY; i++) {
        atomic_store(&gluttons[i].stop, true);
        CHECK_EQ(join_task(tasks[i]), 0);
        CHECK_EQ(rt_close(gluttons[i].io), 0);
    }
    CHECK_EQ(rt_close(quiet), 0);
    close(fds[1]);
    test_runtime_free(rt);
}

/* ---- the budget is for results: that a handle is stale is none ---- */

struct stale {
    rt_io ready, io;
    rt_timer timer;
    rt_task task;
};

static int64_t ask_for_stale_ones(rt_cx *cx, void *state) {
    struct stale *s = state;
    rt_ready got;
    uint64_t value;
    int64_t result = 1, bitten = bite_read(cx, s->ready);
    if (bitten == RT_PENDING) return bitten;
    CHECK_EQ(bitten, 8);
    CHECK_EQ(bite_read(cx, s->ready), RT_PENDING);
    CHECK_EQ(rt_poll_ready(cx, s->io, RT_READABLE, &got), -EBADF);
    CHECK_EQ(rt_poll_level(cx, s->io, RT_READABLE, &got), -EBADF);
    CHECK_EQ(rt_poll_try(cx, s->io, RT_READABLE, take_one, &value), -EBADF);
    CHECK_EQ(rt_poll_timer(cx, s->timer), -EBADF);
    CHECK_EQ(rt_poll_join(cx, s->task, &result), -EBADF);
    CHECK_EQ(result, 1);
    return 0;
}

static void a_spent_budget_hides_no_stale_handle(void) {
    rt_runtime rt = runtime_with_budget(1);
    struct stale s = {.ready = io_of(rt, inexhaustible(), RT_READABLE), .io = io_of(rt, inexhaustible(), RT_READABLE)};
    struct bystander b = {.turns = 1};
    CHECK_EQ(rt_spawn(rt, stand_by, &b, NULL, &s.task), 0);
    CHECK_EQ(rt_timer_start(rt, 0, &s.timer), 0);
    CHECK_EQ(join_task(s.task), 0);
    CHECK(rt_timer_cancel(s.timer) >= 0);
    CHECK_EQ(rt_close(s.io), 0);
    CHECK_EQ(rt_block_on(rt, ask_for_stale_ones, &s), 0);
    CHECK_EQ(rt_close(s.ready), 0);
    test_runtime_free(rt);
}

/* ---- calls of several steps, and what a poll took before them ---- */

enum { POLLS = 1000 };

struct steps_taken {
    rt_io io, greedy;
    rt_stream stream;
    uint32_t before; /* results that each poll takes before */
    int polls;
    size_t left;
    int64_t (*call)(rt_cx *, struct steps_taken *);
    char buf[100];
};

static int64_t call_after_others(rt_cx *cx, void *state) {
    struct steps_taken *s = state;
    if (++s->polls > POLLS) return -ELOOP;
    for (uint32_t i = 0; i < s->before; i++) {
        int64_t r = bite_read(cx, s->greedy);
        if (r == RT_PENDING) return r; /* it is not known yet that it is ready */
        CHECK_EQ(r, 8);
    }
    return s->call(cx, s);
}

static int64_t call_stream_read(rt_cx *cx, struct steps_taken *s) {
    return rt_poll_stream_read(cx, s->stream, s->buf, sizeof s->buf);
}
static int64_t call_read_exact(rt_cx *cx, struct steps_taken *s) {
    return rt_poll_read_exact(cx, s->stream, s->buf, 5);
}
static int64_t call_fill(rt_cx *cx, struct steps_taken *s) {
    const void *at;
    size_t len;
    return rt_poll_fill(cx, s->stream, 5, &at, &len);
}
static int64_t call_read_until(rt_cx *cx, struct steps_taken *s) {
    const void *line;
    size_t len;
    int64_t r = rt_poll_read_until(cx, s->stream, 'o', &line, &len);
    return r == 1 ? (int64_t)len : r;
}

static rt_io greedy_io(rt_runtime rt) { return io_of(rt, inexhaustible(), RT_READABLE); }

/* A stream's read is one result, also where it first has to wait and to make memory. */
static void a_buffered_read_is_one_result(void) {
    static int64_t (*const calls[])(rt_cx *, struct steps_taken *) = {
        call_stream_read, call_read_exact, call_fill, call_read_until};
    static void (*const kinds[])(int[2]) = {net_pair, net_unix_pair, net_pipe};
    for (int i = 0; i < 4 * 3 * 2; i++) {
        uint32_t before = i % 2 == 0 ? 0 : BUDGET - 1;
        rt_runtime rt = runtime_with_budget(before + 1);
        int ends[2];
        kinds[i / 2 % 3](ends);
        struct steps_taken s = {.before = before, .call = calls[i / 6]};
        s.io = io_of(rt, ends[0], RT_READABLE);
        s.greedy = greedy_io(rt);
        CHECK_EQ(rt_stream_new(s.io, NULL, &s.stream), 0);
        net_put(ends[1], "hello", 5);
        CHECK_EQ(rt_block_on(rt, call_after_others, &s), 5);
        CHECK_EQ(rt_stream_free(s.stream), 0);
        CHECK_EQ(rt_close(s.greedy), 0);
        CHECK_EQ(rt_close(s.io), 0);
        close(ends[1]);
        test_runtime_free(rt);
    }
}

static int64_t call_linger(rt_cx *cx, struct steps_taken *s) { return rt_poll_linger(cx, s->io, &s->left); }

/* That nothing is queued is no result of lingering. */
static void a_lingering_end_is_one_result(void) {
    for (uint32_t before = 0; before < BUDGET; before += BUDGET - 1) {
        rt_runtime rt = runtime_with_budget(before + 1);
        int ends[2];
        net_pair(ends);
        struct steps_taken s = {.before = before, .call = call_linger, .left = 1000};
        s.io = io_of(rt, ends[0], RT_READABLE | RT_WRITABLE);
        s.greedy = greedy_io(rt);
        CHECK_EQ(rt_send(s.io, "bye", 3), 3);
        net_put(ends[1], "rest", 4);
        CHECK_SYS(shutdown(ends[1], SHUT_WR));
        CHECK_EQ(rt_block_on(rt, call_after_others, &s), 0);
        CHECK_EQ(s.left, 996);
        CHECK_EQ(rt_close(s.greedy), 0);
        CHECK_EQ(rt_close(s.io), 0);
        close(ends[1]);
        test_runtime_free(rt);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(reads_are_counted);
    CASE(waits_are_counted);
    CASE(level_waits_are_counted);
    CASE(attempts_are_counted);
    CASE(the_default_is_128);
    CASE(a_budget_of_one);
    CASE(without_a_budget_there_is_no_end);
    CASE(a_flood_does_not_starve_the_others);
    CASE(a_quiet_descriptor_is_heard_beside_busy_ones);
    CASE(a_spent_budget_hides_no_stale_handle);
    CASE(a_buffered_read_is_one_result);
    CASE(a_lingering_end_is_one_result);
    return test_end();
}
