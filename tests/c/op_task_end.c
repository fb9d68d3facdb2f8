/* A task that ends with operations in flight, in whichever way: its drop function runs after the
 * last of them, its join after that; nobody touches its memory any more, and what the operations
 * made is closed.
 */
#include "op.h"

enum way { RETURN, ABORT, SHUTDOWN, WAYS };

struct ending {
    struct stuck stuck;
    enum way way;
    int turns;
    rt_op op;
    int copy; /* of the near end: stays open */
    gate submitted;
    atomic_int polls, drops;
    rt_task task;
};

/* ---- one operation of every kind ---- */

static int64_t submit_and_end(rt_cx *cx, void *state) {
    struct ending *e = state;
    CHECK_EQ(atomic_load(&e->drops), 0);
    if (atomic_fetch_add(&e->polls, 1) == 0) {
        memset(e->stuck.data, 0x11, PAGE_BYTES);
        CHECK_EQ(stuck_submit(&e->stuck, cx, &e->op), 0);
    }
    if (e->turns-- > 0) return rt_yield(cx);
    gate_open(&e->submitted);
    return e->way == RETURN ? 7 : rt_poll_op(cx, e->op);
}

static void give_memory_back(void *state) {
    struct ending *e = state;
    CHECK_EQ(atomic_fetch_add(&e->drops, 1), 0);
    for (int i = 0; i < STUCK_BYTES; i++) CHECK_EQ(e->stuck.data[i], 0x11);
    page_give(e->stuck.data);
    e->stuck.data = NULL;
    CHECK_EQ(rt_cancel(e->op), -EBADF);
    CHECK_EQ(rt_close(e->stuck.io), 0);
    e->stuck.io = 0;
}

static bool was_submitted(void *arg) {
    struct ending *e = arg;
    return sem_trywait(&e->submitted.sem) == 0;
}

/* Makes the operation possible, now that nobody should carry it out. */
static void tempt(struct ending *e, rt_runtime rt) {
    unsigned char byte = 0, rest[4096];
    ssize_t n;
    if (stuck_sends(e->stuck.kind)) {
        while ((n = read(e->stuck.far, rest, sizeof rest)) > 0)
            for (ssize_t i = 0; i < n; i++) CHECK_EQ(rest[i], 0);
    } else if (e->stuck.kind == STUCK_ACCEPT) {
        close(net_dial(e->copy));
    } else if (e->stuck.kind != STUCK_CONNECT) {
        net_put(e->stuck.far, "x", 1);
    }
    if (rt != 0) deliver(rt);
    if (e->stuck.kind == STUCK_ACCEPT) {
        close(net_take(e->copy));
    } else if (!stuck_sends(e->stuck.kind) && e->stuck.kind != STUCK_CONNECT) {
        CHECK_EQ(net_get(e->copy, &byte, 1), 1);
        CHECK_EQ(byte, 'x');
    } else if (stuck_sends(e->stuck.kind)) {
        CHECK_EQ(read(e->stuck.far, rest, sizeof rest), -1);
    }
}

static void end_one(enum stuck_kind kind, enum way way, int turns) {
    struct ending e = {.way = way, .turns = turns};
    rt_runtime rt = test_runtime();
    gate_init(&e.submitted);
    stuck_open(&e.stuck, rt, kind, page_take());
    e.copy = (int)CHECK_SYS(fcntl(e.stuck.near, F_DUPFD_CLOEXEC, 0));
    CHECK_EQ(rt_spawn(rt, submit_and_end, &e, give_memory_back, &e.task), 0);
    if (way != RETURN) drive_until(rt, was_submitted, &e);
    if (way == ABORT) CHECK_EQ(rt_abort(e.task), 0);
    if (way == SHUTDOWN) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(join_task(e.task), way == RETURN ? 7 : -ECANCELED);
    CHECK_EQ(atomic_load(&e.drops), 1);
    int polls = atomic_load(&e.polls);
    tempt(&e, way == SHUTDOWN ? 0 : rt);
    CHECK_EQ(atomic_load(&e.polls), polls);
    close(e.copy);
    stuck_close(&e.stuck);
    if (way == SHUTDOWN) CHECK_EQ(metrics(rt).ops_live + metrics(rt).ops_abandoned, 0);
    if (way == SHUTDOWN) CHECK_EQ(rt_free(rt), 0);
    else op_runtime_free(rt);
    gate_destroy(&e.submitted);
}

static void end_in(enum way way) {
    static const int turns[] = {0, 1, 100};
    pages_open();
    for (int kind = 0; kind < STUCK_KINDS; kind++)
        for (int i = 0; i < 3; i++) end_one((enum stuck_kind)kind, way, turns[i]);
    pages_close();
}

static void by_returning(void) { end_in(RETURN); }
static void by_an_abort(void) { end_in(ABORT); }
static void by_a_shutdown(void) { end_in(SHUTDOWN); }

/* ---- rt_block_on: the state is the caller's again when it returns ---- */

struct short_stay {
    char bytes[64];
    rt_io io;
};

static int64_t submit_and_return(rt_cx *cx, void *state) {
    struct short_stay *b = state;
    rt_op op;
    for (int i = 0; i < 64; i++)
        CHECK_EQ(rt_submit_recv(cx, b->io, &b->bytes[i], 1, 0, &op), 0);
    return 7;
}

static void block_on_waits_for_them(void) {
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(100); round++) {
        struct short_stay b = {0};
        int ends[2];
        char got[64];
        net_unix_pair(ends);
        b.io = io_of(rt, ends[0], 0);
        CHECK_EQ(rt_block_on(rt, submit_and_return, &b), 7);
        memset(b.bytes, '-', sizeof b.bytes);
        memset(got, 'x', sizeof got);
        net_put(ends[1], got, sizeof got);
        deliver(rt);
        for (int i = 0; i < 64; i++) CHECK_EQ(b.bytes[i], '-');
        CHECK_EQ(net_get(ends[0], got, sizeof got), sizeof got);
        CHECK_EQ(rt_close(b.io), 0);
        close(ends[1]);
    }
    op_runtime_free(rt);
}

/* ---- what they made ---- */

enum { ORPHANS = 16 };

struct parent {
    rt_io io;
    int turns;
    bool opens;
    rt_op ops[ORPHANS];
};

static int64_t make_orphans(rt_cx *cx, void *state) {
    struct parent *p = state;
    for (int i = 0; i < ORPHANS && p->ops[ORPHANS - 1] == 0; i++) {
        if (p->opens) CHECK_EQ(rt_submit_openat(cx, p->io, ".", O_RDONLY, 0, &p->ops[i]), 0);
        else CHECK_EQ(rt_submit_accept(cx, p->io, &p->ops[i]), 0);
    }
    return p->turns-- > 0 ? rt_yield(cx) : 0;
}

/* The connections come while the accepts are cancelled: each was accepted and closed, or waits for
 * somebody else. */
static void connections_are_closed(void) {
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(60); round++) {
        struct parent p = {.turns = round % 6};
        rt_task task;
        int listener = net_listen(ORPHANS), clients[ORPHANS], waiting = 0;
        p.io = io_of(rt, (int)CHECK_SYS(fcntl(listener, F_DUPFD_CLOEXEC, 0)), 0);
        CHECK_EQ(rt_spawn(rt, make_orphans, &p, NULL, &task), 0);
        for (int i = 0; i < ORPHANS; i++) clients[i] = net_dial(listener);
        if (round % 2 == 0) CHECK_EQ(rt_abort(task), 0);
        join_task(task);
        for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; waiting++) {
            net_put(fd, "x", 1);
            close(fd);
        }
        CHECK_EQ(rt_close(p.io), 0);
        close(listener);
        for (int i = 0; i < ORPHANS; i++) {
            char byte;
            waiting -= (int)net_get(clients[i], &byte, 1);
            close(clients[i]);
        }
        CHECK_EQ(waiting, 0);
        settle(rt);
    }
    op_runtime_free(rt);
}

static void files_are_closed(void) {
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(100); round++) {
        struct parent p = {.turns = round % 4, .opens = true};
        rt_task task;
        p.io = io_of(rt, (int)CHECK_SYS(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), 0);
        CHECK_EQ(rt_spawn(rt, make_orphans, &p, NULL, &task), 0);
        if (round % 2 == 0) CHECK_EQ(rt_abort(task), 0);
        join_task(task);
        CHECK_EQ(rt_close(p.io), 0);
        settle(rt);
    }
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(by_returning);
    CASE(by_an_abort);
    CASE(by_a_shutdown);
    CASE(block_on_waits_for_them);
    CASE(connections_are_closed);
    CASE(files_are_closed);
    return test_end();
}
