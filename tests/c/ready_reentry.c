/* No lock is held while the caller's code runs: everything may be called from poll functions, from
 * wakers (their clone, wake and drop) and from drop functions.
 */
#include "ready.h"

/* ---- from the poll function of the one who waits ---- */

struct closer {
    rt_io io;
    atomic_int polls;
};

static int64_t close_own_when_woken(rt_cx *cx, void *state) {
    struct closer *c = state;
    rt_ready got;
    int64_t r = rt_poll_ready(cx, c->io, RT_READABLE, &got);
    atomic_fetch_add(&c->polls, 1);
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, 0);
    CHECK_EQ(rt_close(c->io), 0);
    return rt_poll_ready(cx, c->io, RT_READABLE, &got);
}

static bool closer_polled(void *arg) { return atomic_load(&((struct closer *)arg)->polls) > 0; }

static void a_waiter_closes_its_own(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct closer c = {.io = s.io};
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, close_own_when_woken, &c, NULL, &task), 0);
    drive_until(s.rt, closer_polled, &c);
    net_put(s.far, "x", 1);
    CHECK_EQ(join_task(task), -EBADF);
    CHECK(!net_is_open(s.near));
    s.io = 0;
    scene_close(&s);
}

/* ---- from a waker ---- */

/* A waker that, in each of its functions, uses the descriptor that it is stored in. */
struct meddler {
    rt_runtime rt;
    rt_cx *cx;
    rt_io io;
    int64_t (*release)(rt_io);
    atomic_int wakers;
    atomic_bool woken;
    rt_io born;
    int born_far;
};

static void meddle(struct meddler *m) {
    rt_ready seen;
    if (rt_try_ready(m->io, RW, &seen) == 0) rt_clear_ready(m->io, (rt_ready){0, seen.tick});
    rt_io_fd(m->io);
    metrics(m->rt);
}

static void *meddler_clone(void *data) {
    struct meddler *m = data;
    meddle(m);
    atomic_fetch_add(&m->wakers, 1);
    return m;
}

static void meddler_drop(void *data) {
    struct meddler *m = data;
    meddle(m);
    atomic_fetch_sub(&m->wakers, 1);
}

static void meddler_wake_by_ref(void *data) {
    struct meddler *m = data;
    meddle(m);
    if (m->born == 0) {
        int fds[2];
        net_unix_pair(fds);
        m->born = io_of(m->rt, fds[0], RW);
        m->born_far = fds[1];
        if (m->release != NULL) CHECK_EQ(m->release(m->io), 0);
    }
    atomic_store(&m->woken, true);
}

static void meddler_wake(void *data) {
    meddler_wake_by_ref(data);
    meddler_drop(data);
}

static const rt_waker_vtable meddler_vtable = {meddler_clone, meddler_wake, meddler_wake_by_ref,
                                               meddler_drop};

static void a_waker_that(int64_t (*release)(rt_io)) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    struct meddler m = {.rt = s.rt, .io = s.io, .release = release};
    atomic_store(&m.wakers, 1);
    m.cx = context_with(s.rt, &meddler_vtable, &m);
    struct waiter other;
    waiter_park(&other, s.rt, s.io, RT_READABLE);
    rt_ready got;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(rt_poll_ready(m.cx, s.io, RT_READABLE, &got), RT_PENDING);

    net_put(s.far, "x", 1);
    drive_until(s.rt, flag_set, &m.woken);
    int64_t r = join_task(other.task);
    CHECK(r == 0 || (release != NULL && r == -EBADF));

    net_put(m.born_far, "y", 1);
    await_ready(&s.hand, m.born, RT_READABLE);
    CHECK_EQ(rt_close(m.born), 0);
    close(m.born_far);
    CHECK_EQ(rt_cx_free(m.cx), 0);
    if (release != NULL) s.io = 0;
    if (release == rt_deregister) close(s.near);
    scene_close(&s);
    CHECK_EQ(atomic_load(&m.wakers), 0);
}

static void a_waker_registers(void) { a_waker_that(NULL); }
static void a_waker_closes(void) { a_waker_that(rt_close); }
static void a_waker_deregisters(void) { a_waker_that(rt_deregister); }

/* ---- from a drop function ---- */

struct heir {
    rt_runtime rt;
    rt_io io;
    rt_io born;
    int born_far;
    rt_task next;
};

static int64_t wait_to_read(rt_cx *cx, void *state) {
    rt_ready got;
    return rt_poll_ready(cx, ((struct heir *)state)->io, RT_READABLE, &got);
}

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx;
    (void)state;
    return 9;
}

static void close_register_and_spawn(void *state) {
    struct heir *h = state;
    CHECK_EQ(rt_close(h->io), 0);
    int fds[2];
    net_unix_pair(fds);
    h->born = io_of(h->rt, fds[0], RW);
    h->born_far = fds[1];
    CHECK_EQ(rt_spawn(h->rt, end_at_once, NULL, NULL, &h->next), 0);
}

static void a_drop_function_does_everything(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    for (int i = 0; i < scaled(200); i++) {
        int fds[2];
        net_unix_pair(fds);
        struct heir h = {.rt = s.rt, .io = io_of(s.rt, fds[0], RW)};
        rt_task task;
        CHECK_EQ(rt_spawn(s.rt, wait_to_read, &h, close_register_and_spawn, &task), 0);
        if (i % 2 == 0) CHECK_EQ(rt_abort(task), 0);
        else net_put(fds[1], "x", 1);
        CHECK_EQ(join_task(task), i % 2 == 0 ? -ECANCELED : 0);
        CHECK_EQ(join_task(h.next), 9);
        CHECK_EQ(rt_close(h.born), 0);
        close(h.born_far);
        close(fds[1]);
    }
    scene_close(&s);
}

/* ---- from an attempt ---- */

struct attempt {
    rt_io io, other;
    int64_t other_polled;
    rt_cx *cx;
};

static int64_t use_everything(int fd, void *arg) {
    struct attempt *a = arg;
    rt_ready got;
    CHECK_EQ(rt_io_fd(a->io), fd);
    CHECK_EQ(rt_try_ready(a->io, RW, &got), 0);
    CHECK_EQ(rt_clear_ready(a->io, (rt_ready){0, got.tick}), 0);
    a->other_polled = rt_poll_ready(a->cx, a->other, RT_WRITABLE, &got);
    CHECK_EQ(rt_deregister(a->io), -EDEADLK);
    CHECK_EQ(rt_deregister(a->other), 0);
    return 3;
}

static int64_t poll_attempt(rt_cx *cx, void *state) {
    struct attempt *a = state;
    a->cx = cx;
    return rt_poll_try(cx, a->io, RT_WRITABLE, use_everything, a);
}

static void an_attempt_uses_other_descriptors(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct attempt a = {.io = s.io, .other = io_of(s.rt, s.far, RW)};
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), 3);
    CHECK(a.other_polled == 0 || a.other_polled == RT_PENDING);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_waiter_closes_its_own);
    CASE(a_waker_registers);
    CASE(a_waker_closes);
    CASE(a_waker_deregisters);
    CASE(a_drop_function_does_everything);
    CASE(an_attempt_uses_other_descriptors);
    return test_end();
}
