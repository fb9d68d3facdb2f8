/* A drop function runs on a worker, a pinned task's on its own: whoever aborts the task, from
 * wherever. A state may hold what belongs to its thread.
 */
#include "check.h"

enum { TASKS = 50 };

struct homely {
    atomic_bool polled, dropped;
    pthread_t home, end;
    rt_task task;
};

static int64_t stay(rt_cx *cx, void *state) {
    (void)cx;
    struct homely *h = state;
    h->home = pthread_self();
    atomic_store(&h->polled, true);
    return RT_PENDING;
}

static void leave(void *state) {
    struct homely *h = state;
    h->end = pthread_self();
    atomic_store(&h->dropped, true);
}

static struct homely homely[TASKS];

static bool all_polled(void *arg) {
    (void)arg;
    for (int i = 0; i < TASKS; i++)
        if (!atomic_load(&homely[i].polled)) return false;
    return true;
}

static bool all_dropped(void *arg) {
    (void)arg;
    for (int i = 0; i < TASKS; i++)
        if (!atomic_load(&homely[i].dropped)) return false;
    return true;
}

static void *abort_all(void *arg) {
    (void)arg;
    for (int i = 0; i < TASKS; i++) CHECK_EQ(rt_abort(homely[i].task), 0);
    return NULL;
}

static int64_t abort_in_a_task(rt_cx *cx, void *state) {
    (void)cx;
    abort_all(state);
    return 0;
}

static rt_runtime start(uint32_t flags) {
    rt_runtime rt = test_runtime();
    memset(homely, 0, sizeof homely);
    for (int i = 0; i < TASKS; i++) {
        rt_spawn_opts opts;
        CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
        opts.flags = flags;
        opts.poll = stay;
        opts.state = &homely[i];
        opts.drop = leave;
        CHECK_EQ(rt_spawn_with(rt, &opts, &homely[i].task), 0);
    }
    drive_until(rt, all_polled, NULL);
    return rt;
}

static void end(rt_runtime rt, pthread_t stranger, uint32_t flags) {
    drive_until(rt, all_dropped, NULL);
    for (int i = 0; i < TASKS; i++) {
        CHECK(!pthread_equal(homely[i].end, stranger));
        if (flags == RT_SPAWN_PINNED || current_thread())
            CHECK(pthread_equal(homely[i].end, homely[i].home));
        CHECK_EQ(join_task(homely[i].task), -ECANCELED);
    }
    test_runtime_free(rt);
}

static void aborted_by_a_stranger(void) {
    for (uint32_t pinned = 0; pinned < 2; pinned++) {
        rt_runtime rt = start(pinned ? RT_SPAWN_PINNED : 0);
        pthread_t stranger = thread_start(abort_all, NULL);
        drive_until(rt, all_dropped, NULL);
        end(rt, stranger, pinned ? RT_SPAWN_PINNED : 0);
        thread_join(stranger);
    }
}

static void aborted_by_a_task(void) {
    rt_runtime rt = start(RT_SPAWN_PINNED);
    CHECK_EQ(rt_block_on(rt, abort_in_a_task, NULL), 0);
    drive_until(rt, all_dropped, NULL);
    for (int i = 0; i < TASKS; i++) {
        CHECK(pthread_equal(homely[i].end, homely[i].home));
        CHECK_EQ(join_task(homely[i].task), -ECANCELED);
    }
    test_runtime_free(rt);
}

/* The owner of a current-thread runtime drives its end; a multi-thread one's workers do theirs. */
static void ended_by_a_shutdown(void) {
    rt_runtime rt = start(RT_SPAWN_PINNED);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    for (int i = 0; i < TASKS; i++) {
        CHECK(atomic_load(&homely[i].dropped));
        CHECK(pthread_equal(homely[i].end, homely[i].home));
        CHECK_EQ(join_task(homely[i].task), -ECANCELED);
    }
    CHECK_EQ(rt_free(rt), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(aborted_by_a_stranger);
    CASE(aborted_by_a_task);
    CASE(ended_by_a_shutdown);
    return test_end();
}
