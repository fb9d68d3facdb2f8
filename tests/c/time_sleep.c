/* Sleeping with a slot, and deadlines of waits. */
#include "timer.h"

struct napper {
    rt_frame frame;
    rt_runtime rt;
    rt_timer slot, was;
    uint64_t at;
    int64_t got, n;
    rt_io io;
    int near, far, i;
    char buf[16];
    atomic_int polls, drops;
};

/* ---- the slot ---- */

static int64_t slot_body(rt_cx *cx, void *state) {
    struct napper *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < 3; s->i++) { /* the same slot, again and again */
        s->at = rt_now() + 2 * ms;
        RT_AWAIT(s->got, rt_poll_sleep(cx, &s->slot, s->at));
        CHECK_EQ(s->got, 0);
        CHECK(rt_now() >= s->at);
        CHECK_EQ(s->slot, 0);
        CHECK_EQ(live_timers(rt_cx_runtime(cx)), 0);
    }
    /* A later time moves it, again and again. */
    CHECK_EQ(rt_poll_sleep(cx, &s->slot, rt_now() + minute), RT_PENDING);
    s->was = s->slot;
    for (s->i = 0; s->i < 20; s->i++) {
        s->at = rt_now() + minute;
        CHECK_EQ(rt_poll_sleep(cx, &s->slot, s->at), RT_PENDING);
        CHECK_EQ(s->slot, s->was);
        RT_YIELD(cx);
    }
    CHECK_EQ(live_timers(rt_cx_runtime(cx)), 1);
    CHECK_EQ(rt_timer_cancel(s->slot), 1);
    s->slot = 0;
    /* An earlier one, too. */
    CHECK_EQ(rt_poll_sleep(cx, &s->slot, RT_NEVER), RT_PENDING);
    CHECK_EQ(rt_poll_sleep(cx, &s->slot, rt_now() + minute), RT_PENDING);
    s->at = rt_now() + 2 * ms;
    RT_AWAIT(s->got, rt_poll_sleep(cx, &s->slot, s->at));
    CHECK_EQ(s->got, 0);
    CHECK(rt_now() >= s->at);
    CHECK_EQ(s->slot, 0);
    /* What fired for the time before is not over: the time is another one. */
    while (rt_poll_sleep(cx, &s->slot, rt_now() + ms) != RT_PENDING) continue;
    s->was = s->slot;
    while (rt_poll_timer(cx, s->was) != 0) RT_YIELD(cx);
    s->at = rt_now() + 2 * ms;
    RT_AWAIT(s->got, rt_poll_sleep(cx, &s->slot, s->at));
    CHECK(rt_now() >= s->at);
    /* Who leaves before ends it. */
    CHECK_EQ(rt_poll_sleep(cx, &s->slot, rt_now() + minute), RT_PENDING);
    s->was = s->slot;
    CHECK_EQ(rt_timer_cancel(s->slot), 1);
    /* What the slot has kept is stale. */
    CHECK_EQ(rt_poll_sleep(cx, &s->slot, rt_now() + minute), -EBADF);
    CHECK_EQ(rt_timer_cancel(s->was), -EBADF);
    s->slot = rt_cx_runtime(cx);
    CHECK_EQ(rt_poll_sleep(cx, &s->slot, rt_now()), -EBADF); /* of another kind */
    CHECK_EQ(rt_poll_sleep(cx, NULL, rt_now()), -EINVAL);
    CHECK_EQ(rt_poll_deadline(cx, NULL, rt_now(), RT_PENDING), -EINVAL);
    RT_END(0);
}
static void slots(void) {
    static struct napper s;
    timer_play(slot_body, &s);
}

/* ---- times that are over ---- */

static int64_t over_body(rt_cx *cx, void *state) {
    struct napper *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < 3; s->i++) {
        RT_YIELD(cx); /* with a full budget; the answer comes in this poll */
        s->at = s->i ? rt_now() : 0;
        CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, RT_PENDING), -ETIME);
        CHECK_EQ(s->slot, 0);
        CHECK_EQ(rt_poll_sleep(cx, &s->slot, s->at), 0);
        CHECK_EQ(s->slot, 0);
        /* One that is moved there ends as well. */
        CHECK_EQ(rt_poll_deadline(cx, &s->slot, rt_now() + minute, RT_PENDING), RT_PENDING);
        s->was = s->slot;
        CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, RT_PENDING), -ETIME);
        CHECK_EQ(s->slot, 0);
        CHECK_EQ(rt_timer_cancel(s->was), -EBADF);
        CHECK_EQ(live_timers(rt_cx_runtime(cx)), 0);
    }
    /* Who does nothing else must let others run. */
    for (s->i = 0; rt_poll_sleep(cx, &s->slot, 0) == 0; s->i++) CHECK(s->i < 100000);
    CHECK_EQ(s->slot, 0);
    RT_END(0);
}
static void over(void) {
    static struct napper s;
    timer_play(over_body, &s);
}

/* ---- aborted ---- */

static int64_t nap(rt_cx *cx, void *state) {
    struct napper *s = state;
    int64_t r = rt_poll_sleep(cx, &s->slot, s->at);
    atomic_fetch_add(&s->polls, 1); /* it has its timer by now */
    return r;
}

static void nap_drop(void *state) {
    struct napper *s = state;
    CHECK_EQ(rt_timer_cancel(s->slot), 1);
    atomic_fetch_add(&s->drops, 1);
}

static bool was_polled(void *arg) { return atomic_load(&((struct napper *)arg)->polls) > 0; }

static void aborted(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 20; i++) {
        struct napper s = {.at = i % 2 ? RT_NEVER : rt_now() + minute};
        rt_task task;
        CHECK_EQ(rt_spawn(rt, nap, &s, nap_drop, &task), 0);
        drive_until(rt, was_polled, &s);
        CHECK_EQ(live_timers(rt), 1);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        CHECK_EQ(atomic_load(&s.drops), 1);
        CHECK_EQ(live_timers(rt), 0);
    }
    timer_runtime_free(rt);
}

/* ---- deadlines ---- */

static void nap_pair(rt_cx *cx, struct napper *s) {
    int ends[2];
    net_unix_pair(ends);
    s->near = ends[0];
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RW);
}

static int64_t read_by(rt_cx *cx, struct napper *s) {
    return rt_poll_deadline(cx, &s->slot, s->at, rt_poll_read(cx, s->io, s->buf, sizeof s->buf));
}

static int64_t deadline_body(rt_cx *cx, void *state) {
    struct napper *s = state;
    RT_BEGIN(&s->frame);
    nap_pair(cx, s);
    /* Ready first, even where the deadline has passed. */
    net_put(s->far, "abc", 3);
    s->at = rt_now() - 1;
    while ((s->n = rt_poll_read(cx, s->io, s->buf, 1)) == RT_PENDING) RT_YIELD(cx);
    CHECK_EQ(s->n, 1);
    CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, rt_poll_read(cx, s->io, s->buf, 1)), 1);
    CHECK_EQ(s->slot, 0);
    CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, 5), 5);
    CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, -EIO), -EIO);
    CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, 0), 0);
    RT_AWAIT(s->n, read_by(cx, s));
    CHECK_EQ(s->n, 1);
    for (s->i = 0; s->i < 5; s->i++) {
        s->at = rt_now() + ms;
        RT_AWAIT(s->n, read_by(cx, s));
        CHECK_EQ(s->n, -ETIME);
        CHECK(rt_now() >= s->at);
        CHECK_EQ(s->slot, 0);
        /* What comes later is there for the next one. */
        net_put(s->far, "late", 4);
        s->at = s->i % 2 ? RT_NEVER : rt_now() + minute;
        RT_AWAIT(s->n, read_by(cx, s));
        CHECK_EQ(s->n, 4);
        CHECK(memcmp(s->buf, "late", 4) == 0);
        CHECK_EQ(s->slot, 0);
        CHECK_EQ(live_timers(rt_cx_runtime(cx)), 0);
    }
    /* The inner call is ready while the slot holds a timer that fired. */
    do s->at = rt_now() + ms;
    while (read_by(cx, s) != RT_PENDING);
    s->was = s->slot;
    while (rt_poll_timer(cx, s->was) != 0) RT_YIELD(cx);
    CHECK_EQ(rt_poll_deadline(cx, &s->slot, s->at, 9), 9);
    CHECK_EQ(s->slot, 0);
    CHECK_EQ(rt_timer_cancel(s->was), -EBADF);
    CHECK_EQ(rt_close(s->io), 0);
    close(s->far);
    RT_END(0);
}
static void deadlines(void) {
    static struct napper s;
    timer_play(deadline_body, &s);
}

/* An idle timeout: each piece moves the deadline; when they stop, it comes. */
enum { PIECES = 30 };

static void *put_pieces(void *arg) {
    struct napper *s = arg;
    for (int i = 0; i < PIECES; i++) {
        net_put(s->far, "x", 1);
        usleep(300);
    }
    return NULL;
}

static int64_t idle_body(rt_cx *cx, void *state) {
    struct napper *s = state;
    static pthread_t thread;
    RT_BEGIN(&s->frame);
    nap_pair(cx, s);
    thread = thread_start(put_pieces, s);
    s->i = 0;
    do {
        /* Long enough for all pieces; after the last one it is short. */
        s->at = rt_now() + (s->i < PIECES ? minute : 5 * ms);
        RT_AWAIT(s->n, read_by(cx, s));
        if (s->n > 0) s->i += (int)s->n;
    } while (s->n > 0);
    CHECK_EQ(s->n, -ETIME);
    CHECK_EQ(s->i, PIECES);
    CHECK(rt_now() >= s->at);
    thread_join(thread);
    CHECK_EQ(rt_close(s->io), 0);
    close(s->far);
    RT_END(0);
}
static void idle(void) {
    static struct napper s;
    timer_play(idle_body, &s);
}

/* ---- outside of tasks ---- */

static void by_hand(void) {
    struct hand h;
    rt_timer slot = 0;
    rt_runtime rt = test_runtime();
    hand_open(&h, rt);
    for (int i = 0; i < 5; i++) {
        uint64_t at = rt_now() + ms;
        AWAIT_EQ(&h, 0, rt_poll_sleep(h.cx, &slot, at));
        CHECK(rt_now() >= at);
        CHECK_EQ(slot, 0);
        at = rt_now() + ms;
        AWAIT_EQ(&h, -ETIME, rt_poll_deadline(h.cx, &slot, at, RT_PENDING));
        CHECK(rt_now() >= at);
        CHECK_EQ(slot, 0);
    }
    CHECK_EQ(rt_poll_sleep(h.cx, &slot, rt_now() + minute), RT_PENDING);
    CHECK_EQ(rt_timer_cancel(slot), 1);
    hand_close(&h);
    timer_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE_ONCE(slots, "its states are statics");
    CASE_ONCE(over, "its states are statics");
    CASE_ONCE(aborted, "its states are statics");
    CASE_ONCE(deadlines, "its states are statics");
    CASE_ONCE(idle, "its states are statics");
    CASE_ONCE(by_hand, "its states are statics");
    return test_end();
}
