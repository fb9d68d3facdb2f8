/* rt_block_on runs one poll function to its result: nested, on a wrong thread, from several
 * threads, across a shutdown. */
#include "check.h"

static int64_t give(rt_cx *cx, void *state) {
    (void)cx;
    return *(int64_t *)state;
}

static void the_result_is_the_calls(void) {
    rt_runtime rt = test_runtime();
    int64_t results[] = {0, 1, -77, -4095, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        CHECK_EQ(rt_block_on(rt, give, &results[i]), results[i]);
    test_runtime_free(rt);
}

static int64_t yield_often(rt_cx *cx, void *state) {
    int *left = state;
    return --*left > 0 ? rt_yield(cx) : 4;
}

static void a_pending_poll_is_polled_again(void) {
    rt_runtime rt = test_runtime();
    int left = 1000;
    CHECK_EQ(rt_block_on(rt, yield_often, &left), 4);
    CHECK_EQ(left, 0);
    test_runtime_free(rt);
}

/* ---- it sleeps until another thread wakes it ---- */

struct sleeper {
    rt_waker waker;
    atomic_bool awake;
    gate asleep;
};

static int64_t sleep_once(rt_cx *cx, void *state) {
    struct sleeper *s = state;
    if (atomic_load(&s->awake)) return 6;
    if (s->waker.opaque[0] == 0) {
        CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &s->waker), 0);
        gate_open(&s->asleep);
    }
    return RT_PENDING;
}

static void *wake_sleeper(void *arg) {
    struct sleeper *s = arg;
    gate_wait(&s->asleep);
    atomic_store(&s->awake, true);
    CHECK_EQ(rt_waker_wake(&s->waker), 0);
    return NULL;
}

static void a_foreign_wake_reaches_it(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(300); i++) {
        struct sleeper s = {.awake = false};
        gate_init(&s.asleep);
        pthread_t other = thread_start(wake_sleeper, &s);
        CHECK_EQ(rt_block_on(rt, sleep_once, &s), 6);
        thread_join(other);
        gate_destroy(&s.asleep);
    }
    test_runtime_free(rt);
}

/* ---- it leaves the others alone ---- */

static void other_tasks_go_on_and_stay(void) {
    rt_runtime rt = test_runtime();
    probe parked = {0}, ended = {.ready = true};
    rt_task kept = probe_spawn(rt, &parked);
    probe_spawn(rt, &ended);
    drive_until(rt, probe_dropped, &ended);
    drive_until(rt, probe_polled, &parked);
    CHECK_EQ(parked.drops, 0); /* the call returned, the task did not end */
    probe_finish(&parked, kept);
    CHECK_EQ(join_task(kept), 0);
    test_runtime_free(rt);
}

static pthread_t seen_thread;

static int64_t same_thread(rt_cx *cx, void *state) {
    int *left = state;
    if (*left == 100) seen_thread = pthread_self();
    CHECK(pthread_equal(seen_thread, pthread_self()));
    return --*left > 0 ? rt_yield(cx) : 0;
}

static void it_stays_on_one_thread(void) {
    rt_runtime rt = test_runtime();
    int left = 100;
    CHECK_EQ(rt_block_on(rt, same_thread, &left), 0);
    CHECK_EQ(pthread_equal(seen_thread, pthread_self()) != 0, current_thread());
    test_runtime_free(rt);
}

/* ---- several threads at once ---- */

static void *block_here(void *arg) {
    rt_runtime rt = *(rt_runtime *)arg;
    for (int i = 0; i < scaled(500); i++) {
        int left = 3;
        CHECK_EQ(rt_block_on(rt, yield_often, &left), 4);
    }
    return NULL;
}

static void several_threads_may_block_at_once(void) {
    if (current_thread()) return; /* belongs to one thread: the next case */
    rt_runtime rt = test_runtime();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) threads[i] = thread_start(block_here, &rt);
    for (int i = 0; i < 4; i++) thread_join(threads[i]);
    test_runtime_free(rt);
}

static void *block_elsewhere(void *arg) {
    int64_t one = 1;
    CHECK_EQ(rt_block_on(*(rt_runtime *)arg, give, &one), current_thread() ? -EPERM : 1);
    CHECK_EQ(rt_turn(*(rt_runtime *)arg, 0), -EPERM);
    return NULL;
}

static void a_current_thread_runtime_belongs_to_its_first_driver(void) {
    rt_runtime rt = test_runtime();
    int64_t two = 2;
    CHECK_EQ(rt_block_on(rt, give, &two), 2);
    on_thread(block_elsewhere, &rt);
    CHECK_EQ(rt_block_on(rt, give, &two), 2);
    test_runtime_free(rt);
}

/* ---- shutdown ---- */

static int64_t park(rt_cx *cx, void *state) {
    (void)cx;
    gate_open(state);
    return RT_PENDING;
}

struct blocked {
    rt_runtime rt;
    gate parked;
};

static void *block_until_shutdown(void *arg) {
    struct blocked *b = arg;
    CHECK_EQ(rt_block_on(b->rt, park, &b->parked), -ECANCELED);
    return NULL;
}

static void a_shutdown_meanwhile_cancels_it(void) {
    if (current_thread()) return; /* its only driver is the one that blocks */
    struct blocked b = {.rt = test_runtime()};
    gate_init(&b.parked);
    pthread_t thread = thread_start(block_until_shutdown, &b);
    gate_wait(&b.parked);
    CHECK_EQ(rt_shutdown(b.rt, RT_NEVER), 0);
    thread_join(thread);
    gate_destroy(&b.parked);
    CHECK_EQ(rt_free(b.rt), 0);
}

static void after_a_shutdown_it_is_refused(void) {
    rt_runtime rt = test_runtime();
    int64_t one = 1;
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_block_on(rt, give, &one), -ESHUTDOWN);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_block_on(rt, give, &one), -EBADF);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_result_is_the_calls);
    CASE(a_pending_poll_is_polled_again);
    CASE(a_foreign_wake_reaches_it);
    CASE(other_tasks_go_on_and_stay);
    CASE(it_stays_on_one_thread);
    CASE(several_threads_may_block_at_once);
    CASE(a_current_thread_runtime_belongs_to_its_first_driver);
    CASE(a_shutdown_meanwhile_cancels_it);
    CASE(after_a_shutdown_it_is_refused);
    return test_end();
}
