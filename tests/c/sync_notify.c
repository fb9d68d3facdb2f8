/* Notifications: one is for one who waits, or is kept, at most one; all is for everybody who waits
 * now, and nothing of it is kept.
 */
#include "ready.h"

#include <asyncio_await.h>

enum { CROWD = 100 };

struct ear {
    rt_notify n;
    atomic_bool waits, done;
    int polls;
    rt_task task;
};

static int64_t hear(rt_cx *cx, void *state) {
    struct ear *e = state;
    int64_t r = rt_poll_notified(cx, e->n);
    if (r == RT_PENDING) atomic_store(&e->waits, true);
    else atomic_store(&e->done, true);
    return r;
}

static bool ear_waits(void *arg) { return atomic_load(&((struct ear *)arg)->waits); }

static void ear_start(rt_runtime rt, struct ear *e, rt_notify n, rt_poll_fn poll) {
    memset(e, 0, sizeof *e);
    e->n = n;
    CHECK_EQ(rt_spawn(rt, poll, e, NULL, &e->task), 0);
    drive_until(rt, ear_waits, e);
}

static int64_t ask(rt_cx *cx, void *state) {
    int64_t r = rt_poll_notified(cx, *(rt_notify *)state);
    return r == RT_PENDING ? -EAGAIN : r;
}

static void one_is_kept(void) {
    rt_notify n;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_notify_new(&n), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EAGAIN);
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_notify_one(n), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EAGAIN);
    CHECK_EQ(rt_notify_all(n), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EAGAIN);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

static void one_for_one(void) {
    struct ear ears[CROWD];
    rt_notify n;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_notify_new(&n), 0);
    for (int i = 0; i < CROWD; i++) ear_start(rt, &ears[i], n, hear);
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(rt_notify_one(n), 0);
        CHECK_EQ(join_task(ears[i].task), 0);
        if (i + 1 < CROWD) CHECK(!atomic_load(&ears[i + 1].done));
    }
    for (int i = 0; i < CROWD; i++) ear_start(rt, &ears[i], n, hear);
    for (int i = 0; i < CROWD; i++) CHECK_EQ(rt_notify_one(n), 0); /* before any of them runs, maybe */
    for (int i = 0; i < CROWD; i++) CHECK_EQ(join_task(ears[i].task), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EAGAIN);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

static void all_for_all(void) {
    struct ear ears[CROWD];
    rt_notify n;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_notify_new(&n), 0);
    for (int i = 0; i < CROWD; i++) ear_start(rt, &ears[i], n, hear);
    CHECK_EQ(rt_notify_all(n), 0);
    for (int i = 0; i < CROWD; i++) CHECK_EQ(join_task(ears[i].task), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EAGAIN);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

/* Asks in its first poll and in its third. What came for the second is not for the third. */
static int64_t hear_late(rt_cx *cx, void *state) {
    struct ear *e = state;
    if (e->polls++ == 0) {
        CHECK_EQ(rt_poll_notified(cx, e->n), RT_PENDING);
        atomic_store(&e->waits, true);
        return RT_PENDING;
    }
    if (e->polls == 2) return rt_yield(cx);
    return ask(cx, &e->n);
}

static void what_is_not_taken(void) {
    struct ear late, behind;
    rt_notify n;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_notify_new(&n), 0);
    ear_start(rt, &late, n, hear_late); /* all: gone */
    CHECK_EQ(rt_notify_all(n), 0);
    CHECK_EQ(join_task(late.task), -EAGAIN);
    ear_start(rt, &late, n, hear_late); /* one: the next has it */
    ear_start(rt, &behind, n, hear);
    CHECK_EQ(rt_notify_one(n), 0);
    CHECK_EQ(join_task(late.task), -EAGAIN);
    CHECK_EQ(join_task(behind.task), 0);
    ear_start(rt, &late, n, hear_late); /* one, and there is no next: it is kept */
    CHECK_EQ(rt_notify_one(n), 0);
    CHECK_EQ(join_task(late.task), 0);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EAGAIN);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

static void by_hand(void) {
    struct hand h;
    rt_notify n;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    CHECK_EQ(rt_notify_new(&n), 0);
    for (int all = 0; all < 2; all++) {
        CHECK_EQ(rt_poll_notified(h.cx, n), RT_PENDING);
        CHECK_EQ(rt_poll_notified(h.cx, n), RT_PENDING);
        CHECK_EQ(atomic_load(&h.wakers), 2);
        CHECK_EQ(all ? rt_notify_all(n) : rt_notify_one(n), 0);
        hand_wait(&h);
        CHECK_EQ(rt_poll_notified(h.cx, n), 0);
    }
    CHECK_EQ(rt_poll_notified(h.cx, n), RT_PENDING);
    CHECK_EQ(rt_notify_free(n), 0);
    hand_wait(&h);
    CHECK_EQ(rt_poll_notified(h.cx, n), -EBADF);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

static void stale(void) {
    struct ear ear;
    rt_notify n;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_notify_new(NULL), -EINVAL);
    CHECK_EQ(rt_notify_new(&n), 0);
    ear_start(rt, &ear, n, hear);
    CHECK_EQ(rt_notify_free(n), 0);
    CHECK_EQ(join_task(ear.task), -EBADF);
    CHECK_EQ(rt_notify_free(n), -EBADF);
    CHECK_EQ(rt_notify_one(n), -EBADF);
    CHECK_EQ(rt_notify_all(n), -EBADF);
    CHECK_EQ(rt_block_on(rt, ask, &n), -EBADF);
    CHECK_EQ(rt_notify_free(0), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(one_is_kept);
    CASE(one_for_one);
    CASE(all_for_all);
    CASE(what_is_not_taken);
    CASE(by_hand);
    CASE(stale);
    return test_end();
}
