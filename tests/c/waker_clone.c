/* A waker of the program's own is cloned without a lock, so its clone may call the library: it may bring about
 * the very thing that the caller is about to wait for. Then the poll finds it, or the waker is woken. */
#include "check.h"

typedef int64_t (*poll_what)(rt_cx *cx, uint64_t what);

static uint64_t what;
static void (*on_clone)(void);
static atomic_int wakes, refs;

static void *waker_clone(void *p) {
    atomic_fetch_add(&refs, 1);
    void (*once)(void) = on_clone;
    on_clone = NULL;
    if (once != NULL) once();
    return p;
}

static void waker_drop(void *p) { (void)p, atomic_fetch_sub(&refs, 1); }
static void waker_by_ref(void *p) { (void)p, atomic_fetch_add(&wakes, 1); }
static void waker_wake(void *p) { waker_by_ref(p), waker_drop(p); }

static const rt_waker_vtable TABLE = {waker_clone, waker_wake, waker_by_ref, waker_drop};

struct attempt {
    rt_runtime rt;
    void (*make)(rt_runtime rt);
    poll_what poll;
    void (*change)(void);
    rt_cx *cx;
    int64_t r;
};

static int64_t begin(rt_cx *own, void *state) {
    (void)own;
    struct attempt *a = state;
    rt_waker waker;
    a->make(a->rt);
    atomic_store(&wakes, 0);
    atomic_store(&refs, 1);
    CHECK_OK(rt_waker_new(&TABLE, a, &waker));
    CHECK_OK(rt_cx_new(a->rt, &waker, &a->cx));
    rt_waker_drop(&waker);
    on_clone = a->change;
    a->r = a->poll(a->cx, what);
    CHECK(on_clone == NULL); /* it was cloned */
    return 0;
}

static bool woken(void *arg) { return (void)arg, atomic_load(&wakes) > 0; }
static bool let_go(void *arg) { return (void)arg, atomic_load(&refs) == 0; }

static void finish(struct attempt *a, int64_t expected, void (*end)(void)) {
    if (a->r == RT_PENDING) {
        drive_until(a->rt, woken, NULL);
        a->r = a->poll(a->cx, what);
    }
    CHECK_EQ(a->r, expected);
    rt_cx_free(a->cx);
    end();
    drive_until(a->rt, let_go, NULL); /* whoever woke it may be about to drop it; none is left behind */
}

/* On a worker, and beside it. */
static void change_in_clone(void (*make)(rt_runtime), poll_what poll, void (*change)(void),
                            int64_t expected, void (*end)(void)) {
    struct attempt a = {test_runtime(), make, poll, change, NULL, 0};
    CHECK_EQ(rt_block_on(a.rt, begin, &a), 0);
    finish(&a, expected, end);
    begin(NULL, &a);
    finish(&a, expected, end);
    test_runtime_free(a.rt);
}

static void nothing(void) {}

/* ---- timers ---- */

static void make_timer(rt_runtime rt) { CHECK_OK(rt_timer_start(rt, RT_NEVER, &what)); }
static void cancel_timer(void) { CHECK_EQ(rt_timer_cancel(what), 1); }
static void a_timer_is_cancelled(void) {
    change_in_clone(make_timer, rt_poll_timer, cancel_timer, -EBADF, nothing);
}

/* ---- what tasks share ---- */

static void make_notify(rt_runtime rt) { (void)rt, CHECK_OK(rt_notify_new(&what)); }
static void notify_one(void) { CHECK_OK(rt_notify_one(what)); }
static void free_notify(void) { CHECK_OK(rt_notify_free(what)); }
static void a_notify_is_rung(void) {
    change_in_clone(make_notify, rt_poll_notified, notify_one, 0, free_notify);
}
static void a_notify_is_freed(void) {
    change_in_clone(make_notify, rt_poll_notified, free_notify, -EBADF, nothing);
}

static int64_t poll_acquire(rt_cx *cx, uint64_t sem) { return rt_poll_acquire(cx, sem, 2); }
static void make_sem(rt_runtime rt) { (void)rt, CHECK_OK(rt_sem_new(1, &what)); }
static void release_one(void) { CHECK_OK(rt_sem_release(what, 1)); }
static void close_sem(void) { CHECK_OK(rt_sem_close(what)); }
static void free_sem(void) { CHECK_OK(rt_sem_free(what)); }
static void permits_are_released(void) {
    change_in_clone(make_sem, poll_acquire, release_one, 0, free_sem);
}
static void a_semaphore_is_closed(void) {
    change_in_clone(make_sem, poll_acquire, close_sem, -EPIPE, free_sem);
}
static void a_semaphore_is_freed(void) {
    change_in_clone(make_sem, poll_acquire, free_sem, -EBADF, nothing);
}

static int64_t poll_recv(rt_cx *cx, uint64_t ch) {
    void *item;
    return rt_poll_chan_recv(cx, ch, &item);
}
static int64_t poll_send(rt_cx *cx, uint64_t ch) { return rt_poll_chan_send(cx, ch, &what); }
static void make_chan(rt_runtime rt) { (void)rt, CHECK_OK(rt_chan_new(1, NULL, &what)); }
static void send_one(void) { CHECK_OK(rt_chan_try_send(what, &what)); }
static void make_full_chan(rt_runtime rt) { make_chan(rt), send_one(); }
static void recv_one(void) {
    void *item;
    CHECK_OK(rt_chan_try_recv(what, &item));
}
static void close_chan(void) { CHECK_OK(rt_chan_close(what)); }
static void free_chan(void) { CHECK_OK(rt_chan_free(what)); }
static void an_item_is_sent(void) {
    change_in_clone(make_chan, poll_recv, send_one, 0, free_chan);
}
static void an_item_is_received(void) {
    change_in_clone(make_full_chan, poll_send, recv_one, 0, free_chan);
}
static void a_channel_is_closed(void) {
    change_in_clone(make_chan, poll_recv, close_chan, -EPIPE, free_chan);
}
static void a_channel_is_freed(void) {
    change_in_clone(make_full_chan, poll_send, free_chan, -EBADF, nothing);
}

static int64_t poll_oneshot(rt_cx *cx, uint64_t o) {
    void *item;
    return rt_poll_oneshot(cx, o, &item);
}
static void make_oneshot(rt_runtime rt) { (void)rt, CHECK_OK(rt_oneshot_new(NULL, &what)); }
static void send_oneshot(void) { CHECK_OK(rt_oneshot_send(what, &what)); }
static void free_oneshot(void) { CHECK_OK(rt_oneshot_free(what)); }
static void a_oneshot_is_sent(void) {
    change_in_clone(make_oneshot, poll_oneshot, send_oneshot, 0, nothing);
}
static void a_oneshot_is_freed(void) {
    change_in_clone(make_oneshot, poll_oneshot, free_oneshot, -EBADF, nothing);
}

/* ---- what has a descriptor ---- */

static void make_event(rt_runtime rt) { CHECK_OK(rt_event_new(rt, &what)); }
static void free_event(void) { CHECK_OK(rt_event_free(what)); }
static void set_event(void) { CHECK_OK(rt_event_set(what)); }
static void an_event_is_set(void) {
    change_in_clone(make_event, rt_poll_event, set_event, 0, free_event);
}
static void an_event_is_freed(void) {
    change_in_clone(make_event, rt_poll_event, free_event, -EBADF, nothing);
}

static void make_signal(rt_runtime rt) { CHECK_OK(rt_signal_open(rt, SIGUSR1, &what)); }
static void close_signal(void) { CHECK_OK(rt_signal_close(what)); }
static void a_listener_is_closed(void) {
    change_in_clone(make_signal, rt_poll_signal, close_signal, -EBADF, nothing);
}

/* ---- tasks and sets ---- */

static int64_t poll_join(rt_cx *cx, uint64_t task) {
    int64_t result, r = rt_poll_join(cx, task, &result);
    return r == 0 ? result : r;
}
static void make_task(rt_runtime rt) {
    static probe probes[4]; /* aborted ones may end late, though not later than their runtime */
    static int used;
    probe *p = &probes[used++ % 4];
    memset(p, 0, sizeof *p);
    what = probe_spawn(rt, p);
}
static void detach(void) { CHECK_OK(rt_detach(what)); }
static void abort_task(void) { CHECK_OK(rt_abort(what)); }
static void a_task_is_detached(void) {
    change_in_clone(make_task, poll_join, detach, -EBADF, abort_task);
}
static void a_task_is_aborted(void) {
    change_in_clone(make_task, poll_join, abort_task, -ECANCELED, nothing);
}

static rt_timer member;
static int64_t add_member(rt_cx *cx, void *state) {
    (void)state;
    return rt_set_add(cx, what, member, 7);
}
static int64_t poll_set(rt_cx *cx, uint64_t set) {
    uint64_t key;
    return rt_poll_set(cx, set, &key);
}
static void make_set(rt_runtime rt) {
    CHECK_OK(rt_set_new(rt, &what));
    CHECK_OK(rt_timer_start(rt, RT_NEVER, &member));
    rt_waker none;
    rt_cx *cx;
    CHECK_OK(rt_waker_new(&TABLE, NULL, &none));
    CHECK_OK(rt_cx_new(rt, &none, &cx));
    rt_waker_drop(&none);
    CHECK_OK(add_member(cx, NULL));
    rt_cx_free(cx);
}
static void cancel_member(void) { CHECK_EQ(rt_timer_cancel(member), 1); }
static void free_set(void) { CHECK_OK(rt_set_free(what)); }
static void a_member_is_ready(void) {
    change_in_clone(make_set, poll_set, cancel_member, 0, free_set);
}
static void a_set_is_freed(void) {
    change_in_clone(make_set, poll_set, free_set, -EBADF, cancel_member);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_timer_is_cancelled);
    CASE(a_notify_is_rung);
    CASE(a_notify_is_freed);
    CASE(permits_are_released);
    CASE(a_semaphore_is_closed);
    CASE(a_semaphore_is_freed);
    CASE(an_item_is_sent);
    CASE(an_item_is_received);
    CASE(a_channel_is_closed);
    CASE(a_channel_is_freed);
    CASE(a_oneshot_is_sent);
    CASE(a_oneshot_is_freed);
    CASE(an_event_is_set);
    CASE(an_event_is_freed);
    CASE(a_listener_is_closed);
    CASE(a_task_is_detached);
    CASE(a_task_is_aborted);
    CASE(a_member_is_ready);
    CASE(a_set_is_freed);
    return test_end();
}
