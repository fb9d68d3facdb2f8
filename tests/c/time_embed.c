/* Timers in a program with a loop of its own, and timers that are started while the worker sleeps for
 * a later one, or for none.
 */
#include "timer.h"

#include <poll.h>

/* ---- a foreign loop ---- */

static int wait_for(rt_runtime rt) {
    uint64_t deadline = rt_next_deadline(rt), now = rt_now();
    if (deadline == RT_NEVER) return -1;
    return deadline <= now ? 0 : (int)((deadline - now + 999999) / ms);
}

/* Until the hand was called: sleeps in poll(2), and then turns. */
static void loop_until_woken(struct hand *h, bool by_descriptor) {
    while (atomic_load(&h->wakes) == 0) {
        struct pollfd fd = {.events = POLLIN};
        if (by_descriptor) fd.fd = (int)CHECK_OK(rt_event_fd(h->rt));
        CHECK_SYS(poll(&fd, by_descriptor ? 1 : 0, wait_for(h->rt)));
        CHECK_OK(rt_turn(h->rt, 0));
    }
}

static int64_t start_in_a_poll(rt_cx *cx, void *state) {
    *(rt_timer *)state = timer_at(rt_cx_runtime(cx), rt_now() + 5 * ms);
    return 0;
}

/* `inside`: a task starts it, which a turn of no length runs. */
static void in_a_loop(bool by_descriptor, bool inside) {
    struct hand h;
    rt_timer timer = 0;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    if (by_descriptor) CHECK_OK(rt_event_fd(rt));
    if (inside) {
        CHECK_EQ(rt_spawn(rt, start_in_a_poll, &timer, NULL, NULL), 0);
        while (timer == 0) CHECK_OK(rt_turn(rt, 0));
    } else {
        CHECK_OK(rt_turn(rt, 0));
        timer = timer_at(rt, rt_now() + 5 * ms);
    }
    CHECK(rt_next_deadline(rt) != RT_NEVER);
    CHECK_EQ(rt_poll_timer(h.cx, timer), RT_PENDING);
    loop_until_woken(&h, by_descriptor);
    CHECK_EQ(rt_poll_timer(h.cx, timer), 0);
    /* It fired: the loop has nothing to wait for. */
    CHECK_OK(rt_turn(rt, 0));
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    /* Armed anew, it is waited for anew; and not when it is over. */
    CHECK_EQ(rt_timer_reset(timer, rt_now() + 5 * ms), 0);
    CHECK_EQ(rt_poll_timer(h.cx, timer), RT_PENDING);
    atomic_store(&h.wakes, 0);
    loop_until_woken(&h, by_descriptor);
    CHECK_EQ(rt_timer_reset(timer, rt_now() + minute), 0);
    CHECK_OK(rt_turn(rt, 0));
    CHECK(rt_next_deadline(rt) > rt_now() + minute / 2);
    CHECK_EQ(rt_timer_cancel(timer), 1);
    CHECK_OK(rt_turn(rt, 0));
    CHECK(rt_next_deadline(rt) == RT_NEVER);
    hand_close(&h);
    timer_runtime_free(rt);
    hand_check(&h);
}

static void by_deadline(void) { in_a_loop(false, false); }
static void by_deadline_of_a_task(void) { in_a_loop(false, true); }
static void by_descriptor(void) { in_a_loop(true, false); }
static void by_descriptor_of_a_task(void) { in_a_loop(true, true); }

/* Only the descriptor is waited for, which tells of deadlines, too. */
static void by_descriptor_alone(void) {
    struct hand h;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    struct pollfd fd = {.fd = (int)CHECK_OK(rt_event_fd(rt)), .events = POLLIN};
    rt_timer timer = timer_at(rt, rt_now() + 5 * ms);
    CHECK_EQ(rt_poll_timer(h.cx, timer), RT_PENDING);
    while (atomic_load(&h.wakes) == 0) {
        CHECK_EQ(poll(&fd, 1, -1), 1);
        CHECK_OK(rt_turn(rt, 0));
    }
    CHECK_EQ(rt_timer_cancel(timer), 0);
    hand_close(&h);
    timer_runtime_free(rt);
    hand_check(&h);
}

/* ---- while the loop sleeps ---- */

struct late {
    rt_runtime rt;
    rt_timer timer;
    struct hand hand;
    atomic_bool done;
};

static void *start_elsewhere(void *arg) {
    struct late *l = arg;
    /* Most likely it sleeps by now; if not, nothing is the worse. */
    usleep(5000);
    l->timer = timer_at(l->rt, rt_now() + 2 * ms);
    if (rt_poll_timer(l->hand.cx, l->timer) == RT_PENDING) gate_wait(&l->hand.woken);
    CHECK_EQ(rt_timer_cancel(l->timer), 0);
    atomic_store(&l->done, true);
    /* So that a loop that waits for its own descriptor alone comes round. */
    rt_timer none = timer_at(l->rt, 0);
    CHECK_OK(rt_timer_cancel(none));
    return NULL;
}

/* `later`: the worker sleeps for a timer already. */
static void from_a_thread(bool foreign_loop, bool later) {
    static struct late l;
    rt_timer far = 0;
    memset(&l, 0, sizeof l);
    l.rt = test_runtime();
    hand_open(&l.hand, l.rt);
    struct pollfd fd = {.events = POLLIN};
    if (foreign_loop) fd.fd = (int)CHECK_OK(rt_event_fd(l.rt));
    if (later) far = timer_at(l.rt, rt_now() + minute);
    pthread_t thread = thread_start(start_elsewhere, &l);
    while (foreign_loop && !atomic_load(&l.done)) {
        CHECK_OK(rt_turn(l.rt, 0));
        CHECK_SYS(poll(&fd, 1, wait_for(l.rt)));
    }
    while (current_thread() && !atomic_load(&l.done)) CHECK_OK(rt_turn(l.rt, minute));
    thread_join(thread);
    CHECK_EQ(rt_timer_cancel(far), later);
    hand_close(&l.hand);
    timer_runtime_free(l.rt);
    hand_check(&l.hand);
}

static void sleeping_for_none(void) { from_a_thread(false, false); }
static void sleeping_for_a_later_one(void) { from_a_thread(false, true); }
static void a_loop_sleeping_for_none(void) { from_a_thread(true, false); }
static void a_loop_sleeping_for_a_later_one(void) { from_a_thread(true, true); }

/* ---- an earlier one ---- */

struct mover {
    rt_frame frame;
    rt_timer timer, pause;
    int64_t got;
    int i;
};

enum { MOVES = 50 };

/* On one worker: waits for timers that are far away. */
static int64_t wait_for_moved(rt_cx *cx, void *state) {
    struct mover *m = state;
    RT_BEGIN(&m->frame);
    for (m->i = 0; m->i < MOVES; m->i++) {
        RT_AWAIT(m->got, rt_poll_timer(cx, m->timer));
        CHECK_EQ(m->got, 0);
        /* 1 if it was brought near once more meanwhile. */
        CHECK_OK(rt_timer_reset(m->timer, rt_now() + minute));
    }
    RT_END(0);
}

static atomic_bool moved_enough;

static void move_it(struct mover *m) {
    CHECK_OK(rt_timer_reset(m->timer, rt_now() + 300 * us));
}

/* On another worker, or on the same one: brings them near. */
static int64_t move_often(rt_cx *cx, void *state) {
    struct mover *m = state;
    static rt_frame frame;
    static int64_t got;
    static uint64_t until;
    RT_BEGIN(&frame);
    while (!atomic_load(&moved_enough)) {
        move_it(m);
        until = rt_now() + ms;
        RT_AWAIT(got, rt_poll_sleep(cx, &m->pause, until));
        CHECK_EQ(got, 0);
    }
    RT_END(0);
}

static void *move_on_a_thread(void *arg) {
    while (!atomic_load(&moved_enough)) {
        move_it(arg);
        usleep(1000);
    }
    return NULL;
}

static void brought_near(bool by_thread) {
    static struct mover m;
    rt_task waiter, mover = 0;
    pthread_t thread = 0;
    memset(&m, 0, sizeof m);
    atomic_store(&moved_enough, false);
    rt_runtime rt = test_runtime();
    m.timer = timer_at(rt, rt_now() + minute);
    CHECK_EQ(rt_spawn(rt, wait_for_moved, &m, NULL, &waiter), 0);
    if (by_thread) thread = thread_start(move_on_a_thread, &m);
    else CHECK_EQ(rt_spawn(rt, move_often, &m, NULL, &mover), 0);
    CHECK_EQ(join_task(waiter), 0);
    atomic_store(&moved_enough, true);
    if (by_thread) thread_join(thread);
    else CHECK_EQ(join_task(mover), 0);
    CHECK_OK(rt_timer_cancel(m.timer));
    timer_runtime_free(rt);
}

static void brought_near_by_a_thread(void) { brought_near(true); }
static void brought_near_by_a_task(void) { brought_near(false); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    if (current_thread()) {
        CASE(by_deadline);
        CASE(by_deadline_of_a_task);
        CASE(by_descriptor);
        CASE(by_descriptor_of_a_task);
        CASE(by_descriptor_alone);
        CASE(a_loop_sleeping_for_none);
        CASE(a_loop_sleeping_for_a_later_one);
    }
    CASE(sleeping_for_none);
    CASE(sleeping_for_a_later_one);
    CASE(brought_near_by_a_thread);
    CASE(brought_near_by_a_task);
    return test_end();
}
