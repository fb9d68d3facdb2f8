/* A turn that a task was called for and does not take is passed on: given up in a select, by the
 * task's end, by an abort; and by contexts outside of tasks, which are not waited for.
 */
#include "ready.h"
#include "sync.h"

/* ---- a select that takes something else ---- */

struct selects {
    rt_frame frame;
    rt_sem sem, other;
    rt_notify stay;
    int which;
    int64_t r;
    atomic_bool waits;
    rt_task task;
};

static int64_t select_two(rt_cx *cx, void *state) {
    struct selects *s = state;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_poll_acquire(cx, s->other, 1), RT_PENDING);
    CHECK_EQ(rt_poll_acquire(cx, s->sem, 1), RT_PENDING);
    atomic_store(&s->waits, true);
    RT_SELECT2(s->which, s->r, rt_poll_acquire(cx, s->other, 1), rt_poll_acquire(cx, s->sem, 1));
    CHECK_EQ(s->which, 0);
    CHECK_EQ(s->r, 0);
    RT_AWAIT(s->r, rt_poll_notified(cx, s->stay)); /* it goes on, and has given up its turn */
    RT_END(s->r);
}

static bool select_waits(void *arg) { return atomic_load(&((struct selects *)arg)->waits); }

/* Both come before the task's next poll. */
static int64_t release_both(rt_cx *cx, void *state) {
    struct selects *s = state;
    (void)cx;
    CHECK_EQ(rt_sem_release(s->sem, 1), 0);
    CHECK_EQ(rt_sem_release(s->other, 1), 0);
    return 0;
}

static void in_a_select(void) {
    struct selects s = {.which = -1};
    struct one behind;
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    config.workers = 0;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_sem_new(0, &s.sem), 0);
    CHECK_EQ(rt_sem_new(0, &s.other), 0);
    CHECK_EQ(rt_notify_new(&s.stay), 0);
    CHECK_EQ(rt_spawn(rt, select_two, &s, NULL, &s.task), 0);
    drive_until(rt, select_waits, &s);
    served = 0;
    one_start(rt, &behind, s.sem, 1);
    CHECK_EQ(rt_block_on(rt, release_both, &s), 0);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(rt_notify_one(s.stay), 0);
    CHECK_EQ(join_task(s.task), 0);
    CHECK_EQ(rt_sem_try_acquire(s.sem, 1), -EAGAIN);
    CHECK_EQ(rt_sem_free(s.sem), 0);
    CHECK_EQ(rt_sem_free(s.other), 0);
    CHECK_EQ(rt_notify_free(s.stay), 0);
    test_runtime_free(rt);
}

/* ---- the end of the task ---- */

/* Asks once, and ends in its second poll. */
static int64_t ask_and_end(rt_cx *cx, void *state) {
    struct one *o = state;
    if (o->polls++ > 0) return 5;
    CHECK_EQ(rt_poll_acquire(cx, o->sem, 1), RT_PENDING);
    atomic_store(&o->waits, true);
    return RT_PENDING;
}

static void by_returning(void) {
    struct one first, behind;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    one_start_with(rt, &first, sem, 1, ask_and_end);
    one_start(rt, &behind, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(first.task), 5);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* It ended before it was called: its place is nobody's. */
static void by_having_ended(void) {
    struct one first, behind;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    one_start_with(rt, &first, sem, 1, ask_and_end);
    CHECK_EQ(rt_task_wake(first.task), 0);
    CHECK_EQ(join_task(first.task), 5);
    one_start(rt, &behind, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* In one poll: the called task has no poll between its call and its abort. */
static int64_t release_and_abort(rt_cx *cx, void *state) {
    struct one *o = state;
    (void)cx;
    CHECK_EQ(rt_sem_release(o->sem, 1), 0);
    CHECK_EQ(rt_abort(o->task), 0);
    return 0;
}

static void by_an_abort(void) {
    struct one first, behind;
    rt_sem sem;
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    config.workers = 0;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    one_start(rt, &first, sem, 1);
    one_start(rt, &behind, sem, 1);
    CHECK_EQ(rt_block_on(rt, release_and_abort, &first), 0);
    CHECK_EQ(join_task(first.task), -ECANCELED);
    CHECK(!one_served(&first));
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* A runtime goes with a task that was called; the next is another runtime's. */
static void by_a_shutdown(void) {
    struct one first, behind;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    config.workers = 0;
    rt_runtime going = test_runtime_with(&config);
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    one_start(going, &first, sem, 1);
    one_start(rt, &behind, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(rt_free(going), 0);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK(!one_served(&first));
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* ---- many that gave up leave nothing behind ---- */

static void the_dead_do_not_pile_up(void) {
    struct one dead, behind;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    for (int i = scaled(5000); i > 0; i--) {
        one_start_with(rt, &dead, sem, 1, ask_and_end);
        CHECK_EQ(rt_task_wake(dead.task), 0);
        CHECK_EQ(join_task(dead.task), 5);
    }
    one_start(rt, &behind, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
}

/* ---- contexts ---- */

/* It is woken, and so is the task behind it, which gets the permit. */
static void a_context_that_does_not_come(void) {
    struct hand h;
    struct one behind;
    rt_sem sem;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    CHECK_EQ(rt_poll_acquire(h.cx, sem, 1), RT_PENDING);
    one_start(rt, &behind, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    hand_wait(&h);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(rt_poll_acquire(h.cx, sem, 1), RT_PENDING); /* it was too late, and waits again */
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    hand_wait(&h);
    AWAIT_EQ(&h, 0, rt_poll_acquire(h.cx, sem, 1));
    CHECK_EQ(rt_sem_try_acquire(sem, 1), -EAGAIN);
    hand_close(&h);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
    hand_check(&h);
}

/* Both were called, and the context is first: the task waits on, in its place. */
static void a_context_that_is_first(void) {
    struct hand h;
    struct one behind, last;
    rt_sem sem;
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    config.workers = 0;
    rt_runtime rt = test_runtime_with(&config);
    hand_open(&h, rt);
    CHECK_EQ(rt_sem_new(0, &sem), 0);
    served = 0;
    CHECK_EQ(rt_poll_acquire(h.cx, sem, 1), RT_PENDING);
    one_start(rt, &behind, sem, 1);
    one_start(rt, &last, sem, 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(rt_poll_acquire(h.cx, sem, 1), 0);
    while (rt_turn(rt, 0) > 0) continue;
    CHECK_EQ(atomic_load(&served), 0);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(behind.task), 0);
    CHECK_EQ(atomic_load(&served), 1);
    CHECK_EQ(rt_sem_release(sem, 1), 0);
    CHECK_EQ(join_task(last.task), 0);
    hand_close(&h);
    CHECK_EQ(rt_sem_free(sem), 0);
    test_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_a_select);
    CASE(by_returning);
    CASE(by_having_ended);
    CASE(by_an_abort);
    CASE(by_a_shutdown);
    CASE(the_dead_do_not_pile_up);
    CASE(a_context_that_does_not_come);
    CASE(a_context_that_is_first);
    return test_end();
}
