/* Who waits for more permits than there are keeps those behind it waiting, but not when its task has
 * ended: neither those who wait already, nor those who come.
 */
#include "sync.h"

/* Asks for three, which there are not, and for nothing else. */
static rt_sem start_greedy(rt_runtime rt, struct one *greedy, rt_poll_fn poll) {
    rt_sem sem;
    CHECK_EQ(rt_sem_new(1, &sem), 0);
    one_start_with(rt, greedy, sem, 3, poll);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EAGAIN);
    return sem;
}

static void end_all(rt_runtime rt, rt_sem sem) {
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

static void aborted_before_somebody(void) {
    rt_runtime rt = test_runtime();
    struct one greedy, modest;
    rt_sem sem = start_greedy(rt, &greedy, one_poll);
    one_start(rt, &modest, sem, 1);
    CHECK_EQ(rt_abort(greedy.task), 0);
    CHECK_EQ(join_task(modest.task), 0);
    CHECK_EQ(join_task(greedy.task), -ECANCELED);
    end_all(rt, sem);
}

static void aborted_before_nobody(void) {
    rt_runtime rt = test_runtime();
    struct one greedy;
    rt_sem sem = start_greedy(rt, &greedy, one_poll);
    CHECK_EQ(rt_abort(greedy.task), 0);
    CHECK_EQ(join_task(greedy.task), -ECANCELED);
    CHECK_EQ(rt_sem_try_acquire(sem, 1), 0);
    end_all(rt, sem);
}

/* Looks away at its second poll. */
static int64_t ask_once(rt_cx *cx, void *state) {
    struct one *o = state;
    return atomic_load(&o->waits) ? 7 : one_poll(cx, state);
}

static void returned_before_somebody(void) {
    rt_runtime rt = test_runtime();
    struct one greedy, modest;
    rt_sem sem = start_greedy(rt, &greedy, ask_once);
    one_start(rt, &modest, sem, 1);
    CHECK_EQ(rt_task_wake(greedy.task), 0);
    CHECK_EQ(join_task(modest.task), 0);
    CHECK_EQ(join_task(greedy.task), 7);
    end_all(rt, sem);
}

/* It is served, and ends later: what it had of the semaphore is over by then. */
static int64_t ask_and_stay(rt_cx *cx, void *state) {
    struct one *o = state;
    if (!atomic_load(&o->done) && rt_poll_acquire(cx, o->sem, o->n) == 0) one_is_served(o);
    atomic_store(&o->waits, true);
    return RT_PENDING;
}

static void served_and_freed(void) {
    rt_runtime rt = test_runtime();
    struct one greedy;
    rt_sem sem = start_greedy(rt, &greedy, ask_and_stay);
    CHECK_EQ(rt_sem_release(sem, 2), 0);
    drive_until(rt, one_served, &greedy);
    CHECK_EQ(rt_sem_free(sem), 0);
    CHECK_EQ(rt_abort(greedy.task), 0);
    CHECK_EQ(join_task(greedy.task), -ECANCELED);

    /* And one that waits when it is freed. */
    sem = start_greedy(rt, &greedy, ask_and_stay);
    CHECK_EQ(rt_sem_free(sem), 0);
    CHECK_EQ(rt_abort(greedy.task), 0);
    CHECK_EQ(join_task(greedy.task), -ECANCELED);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(aborted_before_somebody);
    CASE(aborted_before_nobody);
    CASE(returned_before_somebody);
    CASE(served_and_freed);
    return test_end();
}
