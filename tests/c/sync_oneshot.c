/* A oneshot: every way in which it can end, for the sender and for the receiver.
 */
#include "ready.h"

static atomic_int drops;
static void drop_item(void *p) {
    CHECK(p == &drops);
    atomic_fetch_add(&drops, 1);
}

struct wait {
    rt_oneshot o;
    void *item;
    atomic_bool waits;
    rt_task task;
};

static int64_t wait_poll(rt_cx *cx, void *state) {
    struct wait *w = state;
    int64_t r = rt_poll_oneshot(cx, w->o, &w->item);
    if (r == RT_PENDING) atomic_store(&w->waits, true);
    return r;
}

static bool is_waiting(void *arg) { return atomic_load(&((struct wait *)arg)->waits); }

static void wait_start(rt_runtime rt, struct wait *w, rt_oneshot o) {
    memset(w, 0, sizeof *w);
    w->o = o;
    CHECK_EQ(rt_spawn(rt, wait_poll, w, NULL, &w->task), 0);
    drive_until(rt, is_waiting, w);
}

static rt_oneshot fresh(void) {
    rt_oneshot o = 0;
    atomic_store(&drops, 0);
    CHECK_EQ(rt_oneshot_new(drop_item, &o), 0);
    return o;
}

static void spent(rt_oneshot o) {
    void *item;
    CHECK_EQ(rt_oneshot_send(o, &drops), -EBADF);
    CHECK_EQ(rt_oneshot_close(o), -EBADF);
    CHECK_EQ(rt_oneshot_free(o), -EBADF);
    CHECK_EQ(rt_oneshot_wait(o, 0, &item), -EBADF);
}

static void sent_and_received(void) {
    struct wait w;
    rt_runtime rt = test_runtime();
    for (int before = 0; before < 2; before++) {
        rt_oneshot o = fresh();
        if (before) {
            CHECK_EQ(rt_oneshot_send(o, &drops), 0);
            CHECK_EQ(rt_oneshot_send(o, &drops), -EALREADY);
            CHECK_EQ(rt_oneshot_close(o), -EALREADY);
            w = (struct wait){.o = o};
            CHECK_EQ(rt_block_on(rt, wait_poll, &w), 0);
        } else {
            wait_start(rt, &w, o);
            CHECK_EQ(rt_oneshot_send(o, &drops), 0);
            CHECK_EQ(join_task(w.task), 0);
        }
        CHECK(w.item == &drops);
        CHECK_EQ(atomic_load(&drops), 0);
        spent(o);
    }
    test_runtime_free(rt);
}

static void the_sender_gives_up(void) {
    struct wait w;
    rt_runtime rt = test_runtime();
    for (int before = 0; before < 2; before++) {
        rt_oneshot o = fresh();
        if (before) {
            CHECK_EQ(rt_oneshot_close(o), 0);
            CHECK_EQ(rt_oneshot_close(o), 0);
            CHECK_EQ(rt_oneshot_send(o, &drops), -EPIPE);
            w = (struct wait){.o = o};
            CHECK_EQ(rt_block_on(rt, wait_poll, &w), -EPIPE);
        } else {
            wait_start(rt, &w, o);
            CHECK_EQ(rt_oneshot_close(o), 0);
            CHECK_EQ(join_task(w.task), -EPIPE);
        }
        CHECK_EQ(atomic_load(&drops), 0);
        spent(o);
    }
    test_runtime_free(rt);
}

static void the_receiver_gives_up(void) {
    struct wait w;
    rt_runtime rt = test_runtime();
    rt_oneshot o = fresh();
    CHECK_EQ(rt_oneshot_free(o), 0);
    spent(o);
    CHECK_EQ(atomic_load(&drops), 0);
    o = fresh();
    CHECK_EQ(rt_oneshot_send(o, &drops), 0);
    CHECK_EQ(rt_oneshot_free(o), 0);
    CHECK_EQ(atomic_load(&drops), 1);
    spent(o);
    o = fresh();
    wait_start(rt, &w, o);
    CHECK_EQ(rt_oneshot_free(o), 0);
    CHECK_EQ(join_task(w.task), -EBADF);
    test_runtime_free(rt);
}

static void *wait_on_a_thread(void *arg) {
    void *item;
    CHECK_EQ(rt_oneshot_wait(*(rt_oneshot *)arg, RT_NEVER, &item), -EPIPE);
    return NULL;
}

/* Tasks, a thread and a context: the last of them spends the handle. */
static void all_hear_that_the_sender_gave_up(void) {
    enum { TASKS = 3 };
    struct wait tasks[TASKS], late;
    struct hand hand;
    void *item;
    rt_runtime rt = test_runtime();
    rt_oneshot o = fresh();
    hand_open(&hand, rt);
    CHECK_EQ(rt_poll_oneshot(hand.cx, o, &item), RT_PENDING);
    pthread_t thread = thread_start(wait_on_a_thread, &o);
    CHECK_EQ(rt_oneshot_wait(o, 0, &item), -ETIME);
    for (int i = 0; i < TASKS; i++) wait_start(rt, &tasks[i], o);
    CHECK_EQ(rt_abort(tasks[0].task), 0);
    CHECK_EQ(join_task(tasks[0].task), -ECANCELED);
    CHECK_EQ(rt_oneshot_close(o), 0);
    for (int i = 1; i < TASKS; i++) CHECK_EQ(join_task(tasks[i].task), -EPIPE);
    thread_join(thread);
    CHECK_EQ(rt_oneshot_send(o, &drops), -EPIPE);
    late = (struct wait){.o = o};
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_block_on(rt, wait_poll, &late), -EPIPE);
    CHECK_EQ(atomic_load(&hand.wakes), 1);
    CHECK_EQ(rt_poll_oneshot(hand.cx, o, &item), -EPIPE);
    spent(o);
    hand_close(&hand);
    hand_check(&hand);
    test_runtime_free(rt);
}

/* Who is to hear of it may still leave, and free it. */
static void freed_before_all_have_heard(void) {
    struct hand hands[2];
    void *item;
    rt_runtime rt = test_runtime();
    rt_oneshot o = fresh();
    for (int i = 0; i < 2; i++) {
        hand_open(&hands[i], rt);
        CHECK_EQ(rt_poll_oneshot(hands[i].cx, o, &item), RT_PENDING);
    }
    CHECK_EQ(rt_oneshot_close(o), 0);
    CHECK_EQ(rt_poll_oneshot(hands[0].cx, o, &item), -EPIPE);
    CHECK_EQ(rt_oneshot_free(o), 0);
    CHECK_EQ(rt_poll_oneshot(hands[1].cx, o, &item), -EBADF);
    spent(o);
    for (int i = 0; i < 2; i++) {
        hand_close(&hands[i]);
        hand_check(&hands[i]);
    }
    test_runtime_free(rt);
}

/* A receiver that was aborted before it took the item leaves it to the next. */
static void one_of_two_receives(void) {
    struct wait a, b;
    rt_runtime rt = test_runtime();
    rt_oneshot o = fresh();
    wait_start(rt, &a, o);
    wait_start(rt, &b, o);
    CHECK_EQ(rt_abort(a.task), 0);
    CHECK_EQ(rt_oneshot_send(o, &drops), 0);
    CHECK_EQ(join_task(a.task), -ECANCELED);
    CHECK_EQ(join_task(b.task), 0);
    CHECK(b.item == &drops);
    o = fresh();
    wait_start(rt, &a, o);
    wait_start(rt, &b, o);
    CHECK_EQ(rt_oneshot_send(o, &drops), 0);
    CHECK_EQ(join_task(a.task), 0);
    CHECK_EQ(join_task(b.task), -EBADF);
    CHECK_EQ(atomic_load(&drops), 0);
    test_runtime_free(rt);
}

/* ---- races: each item is received or dropped or refused ---- */

struct race {
    rt_oneshot o;
    int64_t sent;
};

static void *send_it(void *arg) {
    struct race *r = arg;
    r->sent = rt_oneshot_send(r->o, &drops);
    return NULL;
}

static void a_send_races_the_end(void) {
    uint64_t since = test_clock();
    for (int i = scaled(1000); i > 0 && !long_at_it(since); i--) {
        struct race r = {fresh(), 0};
        void *item = NULL;
        pthread_t sender = thread_start(send_it, &r);
        int64_t got = -EBADF;
        if (i % 3 == 0) CHECK_EQ(rt_oneshot_free(r.o), 0);
        else got = rt_oneshot_wait(r.o, i % 3 == 1 ? 0 : RT_NEVER, &item);
        thread_join(sender);
        if (got == -ETIME) CHECK_EQ(rt_oneshot_free(r.o), 0);
        CHECK_EQ(atomic_load(&drops) + (got == 0), r.sent == 0);
    }
}

struct frees {
    _Atomic(rt_oneshot) o;
    _Atomic int64_t freed;
    atomic_bool over;
};

/* Frees each oneshot that it is shown. */
static void *free_them(void *arg) {
    struct frees *f = arg;
    while (!atomic_load(&f->over)) {
        rt_oneshot o = atomic_load(&f->o);
        if (o == 0) {
            sched_yield();
            continue;
        }
        atomic_store(&f->o, 0);
        atomic_store(&f->freed, rt_oneshot_free(o));
    }
    return NULL;
}

/* Either the item is received, or it is dropped and the receiver hears of it. Two threads take turns, so a busy
 * machine gets fewer of them. */
static void a_receive_races_the_end(void) {
    struct frees f = {.freed = RT_PENDING};
    pthread_t freer = thread_start(free_them, &f);
    uint64_t since = test_clock();
    for (int i = scaled(20000); i > 0 && !long_at_it(since); i--) {
        rt_oneshot o = fresh();
        void *item = NULL;
        CHECK_EQ(rt_oneshot_send(o, &drops), 0);
        atomic_store(&f.o, o);
        int64_t got = rt_oneshot_wait(o, RT_NEVER, &item), freed;
        while ((freed = atomic_exchange(&f.freed, RT_PENDING)) == RT_PENDING) sched_yield();
        CHECK_EQ(got, freed == 0 ? -EBADF : 0);
        CHECK_EQ(freed, got == 0 ? -EBADF : 0);
        CHECK_EQ(atomic_load(&drops), freed == 0);
    }
    atomic_store(&f.over, true);
    thread_join(freer);
}

static void mistakes(void) {
    void *item;
    rt_oneshot o;
    CHECK_EQ(rt_oneshot_new(NULL, NULL), -EINVAL);
    CHECK_EQ(rt_oneshot_new(NULL, &o), 0);
    CHECK_EQ(rt_oneshot_wait(o, 0, NULL), -EINVAL);
    CHECK_EQ(rt_oneshot_wait(o ^ 1, 0, &item), -EBADF);
    CHECK_EQ(rt_oneshot_send(0, NULL), -EBADF);
    CHECK_EQ(rt_oneshot_close(0), 0);
    CHECK_EQ(rt_oneshot_free(0), 0);
    CHECK_EQ(rt_oneshot_send(o, NULL), 0);
    CHECK_EQ(rt_oneshot_free(o), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(sent_and_received);
    CASE(the_sender_gives_up);
    CASE(all_hear_that_the_sender_gave_up);
    CASE(freed_before_all_have_heard);
    CASE(the_receiver_gives_up);
    CASE(one_of_two_receives);
    CASE(a_send_races_the_end);
    CASE(a_receive_races_the_end);
    CASE(mistakes);
    return test_end();
}
