/* Wakes from many threads coalesce, and a poll follows the last of them that sees what was written
 * before it. */
#include "check.h"

enum { PRODUCERS = 4, ITEMS = 20000 };

/* Counters are relaxed: only the wakes order them, so a wake that lacks its release (or a poll that
 * lacks its acquire) shows as a consumer that never sees the last item. */
struct stream {
    atomic_int items[PRODUCERS];
    atomic_bool given;
    rt_waker waker;
    rt_task task;
    int polls, each;
    bool by_handle;
};

static int64_t consume(rt_cx *cx, void *state) {
    struct stream *s = state;
    s->polls++;
    if (s->polls == 1) {
        CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &s->waker), 0);
        atomic_store(&s->given, true);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        int seen = atomic_load_explicit(&s->items[i], memory_order_relaxed);
        if (seen < s->each) return RT_PENDING;
    }
    return s->polls;
}

struct producer {
    struct stream *stream;
    int number;
};

/* Another producer's wake may have ended the task when the last item is there; only then. */
static void wake_by_handle(struct stream *s, int i) {
    int64_t r = rt_task_wake(s->task);
    CHECK(r == 0 || (r == -EBADF && i == s->each));
}

static void *produce(void *arg) {
    struct producer *p = arg;
    struct stream *s = p->stream;
    for (int i = 1; i <= s->each; i++) {
        atomic_store_explicit(&s->items[p->number], i, memory_order_relaxed);
        if (s->by_handle) wake_by_handle(s, i);
        else CHECK_EQ(rt_waker_wake_by_ref(&s->waker), 0);
    }
    return NULL;
}

static void run_stream(bool by_handle) {
    rt_runtime rt = test_runtime();
    struct stream s = {.each = scaled(ITEMS), .by_handle = by_handle};
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    CHECK_EQ(rt_spawn(rt, consume, &s, NULL, &s.task), 0);
    drive_until(rt, flag_set, &s.given);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&s, i};
        threads[i] = thread_start(produce, &producers[i]);
    }
    CHECK(join_task(s.task) <= (int64_t)PRODUCERS * s.each + 1);
    for (int i = 0; i < PRODUCERS; i++) thread_join(threads[i]);
    CHECK_EQ(rt_waker_drop(&s.waker), 0);
    test_runtime_free(rt);
}

static void the_last_wake_by_reference_is_followed_by_a_poll(void) { run_stream(false); }

static void the_last_wake_by_handle_is_followed_by_a_poll(void) { run_stream(true); }

/* ---- wakes that race the end of the poll ---- */

struct held {
    probe probe;
    rt_waker waker;
    gate inside, leave;
    int data; /* plain: written before each wake, read in the poll after it */
};

static int64_t hold(rt_cx *cx, void *state) {
    struct held *h = state;
    probe_enter(&h->probe);
    if (h->probe.polls > 1) return probe_leave(&h->probe, h->data);
    CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &h->waker), 0);
    gate_open(&h->inside);
    gate_wait(&h->leave);
    return probe_leave(&h->probe, RT_PENDING);
}

static void *wake_many(void *arg) {
    struct held *h = arg;
    gate_wait(&h->inside);
    gate_open(&h->leave); /* from here on the wakes race the end of the poll */
    h->data = 1;
    for (int i = 0; i < 1000; i++) CHECK_EQ(rt_waker_wake_by_ref(&h->waker), 0);
    return NULL;
}

static void drop_held(void *state) { probe_drop(&((struct held *)state)->probe); }

static void the_data_of_the_first_wake_is_seen(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(500); i++) {
        struct held h = {.data = 0};
        rt_task task;
        gate_init(&h.inside);
        gate_init(&h.leave);
        CHECK_EQ(rt_spawn(rt, hold, &h, drop_held, &task), 0);
        pthread_t thread = thread_start(wake_many, &h);
        CHECK_EQ(join_task(task), 1);
        thread_join(thread);
        CHECK_EQ(h.probe.polls, 2);
        CHECK_EQ(rt_waker_drop(&h.waker), 0);
        gate_destroy(&h.inside);
        gate_destroy(&h.leave);
    }
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_last_wake_by_reference_is_followed_by_a_poll);
    CASE(the_last_wake_by_handle_is_followed_by_a_poll);
    CASE(the_data_of_the_first_wake_is_seen);
    return test_end();
}
