/* A context of the program's own that is freed takes its places in the queues with it: the next one, which has the
 * same address, begins anew, and nothing is kept or set aside for what is gone.
 */
#include "ready.h"
#include "sync.h"

enum { CROWD = 20 };

/* It is woken no more, and its waker is nobody's. */
static void gone(struct hand *h) {
    hand_close(h);
    hand_check(h);
}

static rt_notify notify_new(void) {
    rt_notify n;
    CHECK_EQ(rt_notify_new(&n), 0);
    return n;
}

/* Where nobody waits: whether one notification was kept, and no more. */
static void one_is_kept(rt_runtime rt, rt_notify n) {
    struct hand h;
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_notify_one(n), 0);
    hand_open(&h, rt);
    CHECK_EQ(rt_poll_notified(h.cx, n), 0);
    CHECK_EQ(rt_poll_notified(h.cx, n), RT_PENDING);
    gone(&h);
}

static void nothing_is_new_to_the_next(void) {
    rt_runtime rt = test_runtime();
    struct hand first, next;
    rt_notify n = notify_new();
    for (int round = 0; round < 2; round++) {
        hand_open(&first, rt);
        CHECK_EQ(rt_poll_notified(first.cx, n), RT_PENDING);
        if (round == 1) CHECK_EQ(rt_notify_all(n), 0);
        CHECK_EQ(atomic_load(&first.wakes), round);
        gone(&first);
        hand_open(&next, rt);
        CHECK_EQ(rt_poll_notified(next.cx, n), RT_PENDING);
        CHECK_EQ(rt_notify_one(n), 0);
        CHECK_EQ(atomic_load(&next.wakes), 1);
        CHECK_EQ(rt_poll_notified(next.cx, n), 0);
        gone(&next);
    }
    one_is_kept(rt, n);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

static void one_is_kept_for_the_next(void) {
    rt_runtime rt = test_runtime();
    struct hand first, next;
    rt_notify n = notify_new();
    hand_open(&first, rt);
    CHECK_EQ(rt_poll_notified(first.cx, n), RT_PENDING);
    CHECK_EQ(rt_notify_one(n), 0);
    gone(&first); /* without having taken it */
    hand_open(&next, rt);
    CHECK_EQ(rt_poll_notified(next.cx, n), 0);
    CHECK_EQ(rt_poll_notified(next.cx, n), RT_PENDING);
    gone(&next);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

static void one_is_kept_for_a_crowd(void) {
    rt_runtime rt = test_runtime();
    struct hand crowd[CROWD];
    rt_notify n = notify_new();
    for (int i = 0; i < CROWD; i++) {
        hand_open(&crowd[i], rt);
        CHECK_EQ(rt_poll_notified(crowd[i].cx, n), RT_PENDING);
    }
    for (int i = 0; i < CROWD; i++) CHECK_EQ(rt_notify_one(n), 0); /* one for each, as long as they live */
    for (int i = 0; i < CROWD; i++) gone(&crowd[i]);
    one_is_kept(rt, n);
    CHECK_EQ(rt_notify_free(n), 0);
    test_runtime_free(rt);
}

/* Both were woken for the one permit, and it was set aside for the task. */
static void nobody_is_overtaken(void) {
    rt_runtime rt = test_runtime();
    struct hand first, next;
    struct one task;
    rt_sem sem;
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    hand_open(&first, rt);
    CHECK_EQ(rt_poll_acquire(first.cx, sem, 1), RT_PENDING);
    one_start(rt, &task, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(atomic_load(&first.wakes), 1);
    gone(&first);
    hand_open(&next, rt);
    CHECK_EQ(rt_poll_acquire(next.cx, sem, 1), RT_PENDING);
    CHECK_EQ(join_task(task.task), 0);
    CHECK_EQ(rt_poll_acquire(next.cx, sem, 1), RT_PENDING);
    gone(&next);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* The waits of one context at all that there is to wait for. */
static void from_everywhere(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    rt_notify n = notify_new();
    rt_sem sem;
    rt_chan full, empty;
    rt_oneshot o;
    void *item;
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &full), 0);
    CHECK_EQ(rt_chan_try_send(full, &item), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &empty), 0);
    CHECK_EQ(rt_oneshot_new(NULL, &o), 0);
    for (int round = 0; round < 3; round++) {
        hand_open(&h, rt);
        for (int again = 0; again < 2; again++) {
            CHECK_EQ(rt_poll_notified(h.cx, n), again ? 0 : RT_PENDING);
            CHECK_EQ(rt_poll_acquire(h.cx, sem, 2), RT_PENDING);
            CHECK_EQ(rt_poll_acquire(h.cx, sem, 3), RT_PENDING); /* instead */
            CHECK_EQ(rt_poll_chan_send(h.cx, full, &item), RT_PENDING);
            CHECK_EQ(rt_poll_chan_recv(h.cx, empty, &item), RT_PENDING);
            CHECK_EQ(rt_poll_oneshot(h.cx, o, &item), RT_PENDING);
            CHECK_EQ(rt_notify_all(n), 0);
        }
        if (round == 2) CHECK_EQ(rt_notify_free(n), 0);
        gone(&h);
    }
    CHECK_EQ(rt_sem_free(sem), 0);
    CHECK_EQ(rt_chan_free(full), 0);
    CHECK_EQ(rt_chan_free(empty), 0);
    CHECK_EQ(rt_oneshot_free(o), 0);
    test_runtime_free(rt);
}

/* ---- it is freed while others notify ---- */

struct storm {
    rt_notify n;
    atomic_bool over;
};

static void *notify_all_the_time(void *arg) {
    struct storm *s = arg;
    while (!atomic_load(&s->over)) {
        CHECK_EQ(rt_notify_one(s->n), 0);
        CHECK_EQ(rt_notify_all(s->n), 0);
    }
    return NULL;
}

static void while_it_is_notified(void) {
    rt_runtime rt = test_runtime();
    struct storm s = {.n = notify_new()};
    pthread_t thread = thread_start(notify_all_the_time, &s);
    uint64_t since = test_clock();
    for (int i = scaled(5000); i > 0 && !long_at_it(since); i--) {
        struct hand h;
        hand_open(&h, rt);
        for (int again = 0; again < 3; again++) (void)rt_poll_notified(h.cx, s.n);
        hand_close(&h);
        while (atomic_load(&h.wakers) > 0) sched_yield(); /* one may be on its way */
        hand_check(&h);
    }
    atomic_store(&s.over, true);
    thread_join(thread);
    one_is_kept(rt, s.n);
    CHECK_EQ(rt_notify_free(s.n), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(nothing_is_new_to_the_next);
    CASE(one_is_kept_for_the_next);
    CASE(one_is_kept_for_a_crowd);
    CASE(nobody_is_overtaken);
    CASE(from_everywhere);
    CASE(while_it_is_notified);
    return test_end();
}
