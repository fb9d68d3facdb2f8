/* Threads that block in channels and oneshots: beside tasks, beside each other, with deadlines that
 * are never early, and refused inside of a runtime.
 */
#include "check.h"

#include <asyncio_await.h>
#include <time.h>

enum { ITEMS = 20000, SHORT = 20000000 };

static uint64_t clock_ns(void) {
    struct timespec t;
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &t));
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct line {
    rt_chan there, back;
    int items;
};

/* A task that sends back what it gets. */
struct echo {
    rt_frame frame;
    struct line *line;
    void *item;
    int64_t r;
};

static int64_t echo(rt_cx *cx, void *state) {
    struct echo *e = state;
    RT_BEGIN(&e->frame);
    for (;;) {
        RT_AWAIT(e->r, rt_poll_chan_recv(cx, e->line->there, &e->item));
        if (e->r < 0) break;
        RT_AWAIT(e->r, rt_poll_chan_send(cx, e->line->back, e->item));
        CHECK_EQ(e->r, 0);
    }
    CHECK_EQ(rt_chan_close(e->line->back), 0);
    RT_END(0);
}

static void *feed(void *arg) {
    struct line *l = arg;
    for (int i = 0; i < l->items; i++) CHECK_EQ(rt_chan_send(l->there, (void *)(intptr_t)i, RT_NEVER), 0);
    CHECK_EQ(rt_chan_close(l->there), 0);
    return NULL;
}

static void *eat(void *arg) {
    struct line *l = arg;
    void *item;
    int64_t r;
    int i = 0;
    while ((r = rt_chan_recv(l->back, &item, RT_NEVER)) == 0) CHECK_EQ((intptr_t)item, i++);
    CHECK_EQ(r, -EPIPE);
    CHECK_EQ(i, l->items);
    return NULL;
}

static void between_threads_and_a_task(void) {
    struct line l = {.items = scaled(ITEMS)};
    struct echo e = {.line = &l};
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_chan_new(2, NULL, &l.there), 0);
    CHECK_EQ(rt_chan_new(2, NULL, &l.back), 0);
    pthread_t feeder = thread_start(feed, &l), eater = thread_start(eat, &l);
    CHECK_EQ(rt_block_on(rt, echo, &e), 0);
    thread_join(feeder);
    thread_join(eater);
    CHECK_EQ(rt_chan_free(l.there), 0);
    CHECK_EQ(rt_chan_free(l.back), 0);
    test_runtime_free(rt);
}

static void between_threads(void) {
    struct line l = {.items = scaled(ITEMS)};
    CHECK_EQ(rt_chan_new(1, NULL, &l.there), 0);
    l.back = l.there;
    pthread_t feeder = thread_start(feed, &l);
    eat(&l);
    thread_join(feeder);
    CHECK_EQ(rt_chan_free(l.there), 0);
}

/* ---- deadlines ---- */

static void never_early(void) {
    rt_chan ch;
    rt_oneshot o;
    void *item;
    CHECK_EQ(rt_chan_new(1, NULL, &ch), 0);
    CHECK_EQ(rt_oneshot_new(NULL, &o), 0);
    uint64_t start = clock_ns();
    CHECK_EQ(rt_chan_recv(ch, &item, SHORT), -ETIME);
    CHECK(clock_ns() - start >= SHORT);
    CHECK_EQ(rt_chan_send(ch, NULL, SHORT), 0);
    start = clock_ns();
    CHECK_EQ(rt_chan_send(ch, NULL, SHORT), -ETIME);
    CHECK(clock_ns() - start >= SHORT);
    start = clock_ns();
    CHECK_EQ(rt_oneshot_wait(o, SHORT, &item), -ETIME);
    CHECK(clock_ns() - start >= SHORT);
    CHECK_EQ(rt_chan_send(ch, NULL, 0), -ETIME);
    CHECK_EQ(rt_chan_recv(ch, &item, 0), 0);
    CHECK_EQ(rt_chan_recv(ch, &item, 0), -ETIME);
    CHECK_EQ(rt_chan_try_send(ch, &ch), 0); /* who gave up is not waited for */
    CHECK_EQ(rt_chan_try_recv(ch, &item), 0);
    CHECK(item == &ch);
    CHECK_EQ(rt_oneshot_send(o, &o), 0);
    CHECK_EQ(rt_oneshot_wait(o, 0, &item), 0);
    CHECK(item == &o);
    CHECK_EQ(rt_chan_free(ch), 0);
}

/* ---- freed under a thread ---- */

static void *receive_stale(void *arg) {
    void *item;
    CHECK_EQ(rt_chan_recv(*(rt_chan *)arg, &item, RT_NEVER), -EBADF);
    return NULL;
}

static void *wait_stale(void *arg) {
    void *item;
    CHECK_EQ(rt_oneshot_wait(*(rt_oneshot *)arg, RT_NEVER, &item), -EBADF);
    return NULL;
}

static void freed_under_a_thread(void) {
    for (int i = scaled(200); i > 0; i--) {
        rt_chan ch;
        rt_oneshot o;
        CHECK_EQ(rt_chan_new(1, NULL, &ch), 0);
        CHECK_EQ(rt_oneshot_new(NULL, &o), 0);
        pthread_t threads[] = {thread_start(receive_stale, &ch), thread_start(wait_stale, &o)};
        if (i % 2 == 0) sched_yield();
        CHECK_EQ(rt_chan_free(ch), 0);
        CHECK_EQ(rt_oneshot_free(o), 0);
        for (int k = 0; k < 2; k++) thread_join(threads[k]);
    }
}

/* ---- inside of a runtime ---- */

static int64_t block_inside(rt_cx *cx, void *state) {
    rt_chan ch;
    rt_oneshot o;
    (void)cx;
    CHECK_EQ(rt_chan_new(1, NULL, &ch), 0);
    CHECK_EQ(rt_oneshot_new(NULL, &o), 0);
    CHECK_EQ(rt_chan_send(ch, NULL, 0), -EDEADLK);
    CHECK_EQ(rt_chan_recv(ch, &state, 0), -EDEADLK);
    CHECK_EQ(rt_oneshot_wait(o, 0, &state), -EDEADLK);
    CHECK_EQ(rt_oneshot_free(o), 0);
    CHECK_EQ(rt_chan_len(ch), 0);
    CHECK_EQ(rt_chan_free(ch), 0);
    return 0;
}

static void not_inside_of_a_runtime(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, block_inside, NULL), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(between_threads_and_a_task);
    CASE(between_threads);
    CASE(never_early);
    CASE(freed_under_a_thread);
    CASE(not_inside_of_a_runtime);
    return test_end();
}
