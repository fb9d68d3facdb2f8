/* Permits come in the order of asking: nobody overtakes who waits, not by asking for less, not by
 * a try, and not beside a task that is about to take its turn.
 */
#include "sync.h"

enum { CROWD = 50 };

static void in_order_of_asking(void) {
    struct one ones[CROWD];
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    served = 0;
    for (int i = 0; i < CROWD; i++) one_start(rt, &ones[i], sem, (uint64_t)(1 + i % 3));
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(rt_sem_try_acquire(sem, 1), -EAGAIN);
        for (int k = 0; k <= i % 3; k++) {
            CHECK_EQ(atomic_load(&served), i);
            CHECK_EQ(rt_sem_release(sem, 1), 0);
        }
        drive_until(rt, one_served, &ones[i]);
        CHECK_EQ(ones[i].at, i);
    }
    for (int i = 0; i < CROWD; i++) CHECK_EQ(join_task(ones[i].task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* The first wants much: those behind it wait, though there would be enough for them. */
static void not_by_asking_for_less(void) {
    struct one much, little;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(2, &sem), 0);
    served = 0;
    one_start(rt, &much, sem, 3);
    one_start(rt, &little, sem, 1);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EAGAIN);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    drive_until(rt, one_served, &much);
    CHECK_EQ(atomic_load(&served), 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(little.task), 0);
    CHECK_EQ(join_task(much.task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* In one poll, which the waiting task cannot come between: its turn is kept for it. */
static int64_t barge(rt_cx *cx, void *state) {
    rt_sem sem = *(rt_sem *)state;
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EAGAIN);
    CHECK_EQ(rt_poll_acquire(cx, sem, 1), RT_PENDING);
    return 0;
}

static void not_beside_a_task_that_was_called(void) {
    struct one one;
    rt_sem sem;
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    config.workers = 0;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    served = 0;
    one_start(rt, &one, sem, 1);
    CHECK_EQ(rt_block_on(rt, barge, &sem), 0);
    CHECK_EQ(join_task(one.task), 0);
    CHECK_EQ(rt_sem_release(sem, 1), 0); /* who barged is gone, and does not get it */
    CHECK_EQ(rt_sem_try_acquire(sem, 1), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* A budget that is used up does not cost a task its turn. */
static int64_t tired(rt_cx *cx, void *state) {
    struct one *o = state;
    if (o->polls++ == 0) {
        CHECK_EQ(rt_poll_acquire(cx, o->sem, 1), RT_PENDING);
        atomic_store(&o->waits, true);
        return RT_PENDING;
    }
    if (o->polls == 2) {
        rt_sem other;
        CHECK_EQ(rt_sem_new(100000, &other), 0);
        while (rt_poll_acquire(cx, other, 1) == 0) continue;
        CHECK_EQ(rt_sem_free(other), 0);
    }
    CHECK_EQ(o->polls, 2);
    CHECK_EQ(rt_poll_acquire(cx, o->sem, 1), 0);
    one_is_served(o);
    return 0;
}

static void a_tired_task_keeps_its_turn(void) {
    struct one first, second;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    served = 0;
    one_start_with(rt, &first, sem, 1, tired);
    one_start(rt, &second, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(first.task), 0);
    CHECK_EQ(first.at, 0);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(second.task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* ---- ends and mistakes ---- */

static void closed_and_freed(void) {
    struct one ones[4];
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    for (int i = 0; i < 2; i++) one_start(rt, &ones[i], sem, 1);
    CHECK_EQ(rt_sem_close(sem), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(ones[i].task), -EPIPE);
    CHECK_EQ(rt_sem_close(sem), 0);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EPIPE);
    CHECK_EQ(rt_sem_free(sem), 0);
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    for (int i = 2; i < 4; i++) one_start(rt, &ones[i], sem, 1);
    CHECK_EQ(rt_sem_free(sem), 0);
    for (int i = 2; i < 4; i++) CHECK_EQ(join_task(ones[i].task), -EBADF);
    test_runtime_free(rt);
}

static int64_t misuse(rt_cx *cx, void *state) {
    rt_sem sem = *(rt_sem *)state;
    CHECK_EQ(rt_poll_acquire(cx, sem, 0), -EINVAL);
    CHECK_EQ(rt_poll_acquire(NULL, sem, 1), -EINVAL);
    CHECK_EQ(rt_poll_acquire(cx, 0, 1), -EBADF);
    CHECK_EQ(rt_poll_acquire(cx, sem + 1, 1), -EBADF);
    CHECK_EQ(rt_poll_acquire(cx, sem, 2), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    CHECK_EQ(rt_poll_acquire(cx, sem, 1), -EBADF);
    return 0;
}

static void mistakes(void) {
    rt_sem sem = 7;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(UINT64_MAX, &sem), -EINVAL);
    CHECK_EQ(sem, 0);
    CHECK_EQ(rt_sem_new(1, NULL), -EINVAL);
    CHECK_EQ(rt_sem_new(INT64_MAX, &sem), 0);
    CHECK_EQ(rt_sem_release(sem, 1), -EOVERFLOW);
    CHECK_EQ(rt_sem_release(sem, UINT64_MAX), -EOVERFLOW);
    CHECK_EQ(rt_sem_try_acquire(sem, 0), -EINVAL);
    CHECK_EQ(rt_sem_try_acquire(sem, UINT64_MAX), -EAGAIN);
    CHECK_EQ(rt_sem_try_acquire(sem, INT64_MAX), 0);
    CHECK_EQ(rt_sem_release(sem, 2), 0);
    CHECK_EQ(rt_block_on(rt, misuse, &sem), 0);
    CHECK_EQ(rt_sem_release(sem, 1), -EBADF);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EBADF);
    CHECK_EQ(rt_sem_close(sem), -EBADF);
    CHECK_EQ(rt_sem_free(sem), -EBADF);
    CHECK_EQ(rt_sem_free(0), 0);
    CHECK_EQ(rt_sem_free(rt), -EBADF);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_order_of_asking);
    CASE(not_by_asking_for_less);
    CASE(not_beside_a_task_that_was_called);
    CASE(a_tired_task_keeps_its_turn);
    CASE(closed_and_freed);
    CASE(mistakes);
    return test_end();
}
