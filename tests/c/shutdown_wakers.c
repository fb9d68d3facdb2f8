/* A program's waker that is called by rt_shutdown, on whatever thread, is inside of the runtime: what
 * would wait for that call gives -EDEADLK. A clone function may even free the runtime.
 */
#include "ready.h"
#include "soon.h"

static rt_runtime scene_rt;
static atomic_int wakes, clones;
static bool frees_in_clone;

static int64_t never(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void wakes_inside(void *data) {
    (void)data;
    CHECK_EQ(rt_free(scene_rt), -EDEADLK);
    CHECK_EQ(rt_shutdown(scene_rt, RT_NEVER), -EDEADLK);
    CHECK_EQ(rt_block_on(scene_rt, never, NULL), -EDEADLK);
    atomic_fetch_add(&wakes, 1);
}

static void *clones_inside(void *data) {
    atomic_fetch_add(&clones, 1);
    if (frees_in_clone) {
        frees_in_clone = false;
        CHECK_EQ(rt_free(scene_rt), 0);
    }
    return data;
}

static void drops(void *data) { (void)data; }

static const rt_waker_vtable table = {clones_inside, wakes_inside, wakes_inside, drops};

static void woken_by_a_shutdown(void) {
    scene_rt = test_runtime();
    atomic_store(&wakes, 0);
    rt_io io = 0, pair[2];
    CHECK_EQ(rt_unix_pair(scene_rt, SOCK_STREAM, pair), 0);
    io = pair[0];
    rt_waker waker;
    rt_cx *cx;
    CHECK_EQ(rt_waker_new(&table, NULL, &waker), 0);
    CHECK_EQ(rt_cx_new(scene_rt, &waker, &cx), 0);
    rt_ready ready;
    CHECK_EQ(rt_poll_ready(cx, io, RT_READABLE, &ready), RT_PENDING);
    CHECK_EQ(rt_shutdown(scene_rt, RT_NEVER), 0);
    CHECK_EQ(wakes, 1);
    CHECK_EQ(rt_free(scene_rt), 0);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&waker), 0);
}

static void freed_by_a_clone(void) {
    scene_rt = test_runtime();
    rt_waker waker;
    rt_cx *cx;
    CHECK_EQ(rt_waker_new(&table, NULL, &waker), 0);
    frees_in_clone = true;
    CHECK_EQ(rt_cx_new(scene_rt, &waker, &cx), 0);
    CHECK_EQ(rt_metrics(scene_rt, &(rt_metrics_data){.size = sizeof(rt_metrics_data)}), -EBADF);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&waker), 0);
}

/* ---- a waker that does not return for a while ---- */

static gate inside, leave;

static void blocks(void *data) {
    (void)data;
    gate_open(&inside);
    gate_wait(&leave);
}

static void *clones_as_is(void *data) { return data; }

static const rt_waker_vtable blocking_table = {clones_as_is, blocks, blocks, drops};

/* A shutdown waits for a worker that is inside of it no longer than for a task. */
static void blocked_in_a_worker(void) {
    if (current_thread()) return; /* it would block this thread */
    rt_runtime rt = test_runtime();
    gate_init(&inside);
    gate_init(&leave);
    int ends[2];
    net_pair(ends);
    rt_io io;
    CHECK_EQ(rt_register_fd(rt, ends[0], RT_READABLE | RT_IO_SET_NONBLOCK, &io), 0);
    rt_waker waker;
    rt_cx *cx;
    CHECK_EQ(rt_waker_new(&blocking_table, NULL, &waker), 0);
    CHECK_EQ(rt_cx_new(rt, &waker, &cx), 0);
    rt_ready ready;
    CHECK_EQ(rt_poll_ready(cx, io, RT_READABLE, &ready), RT_PENDING);
    net_put(ends[1], "x", 1);
    gate_wait_soon(&inside);
    CHECK_EQ(rt_shutdown(rt, 0), 0);
    CHECK_EQ(rt_shutdown(rt, 1000000), 0);
    gate_open(&leave);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&waker), 0);
    CHECK_SYS(close(ends[1]));
    gate_destroy(&inside);
    gate_destroy(&leave);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(woken_by_a_shutdown);
    CASE(freed_by_a_clone);
    CASE(blocked_in_a_worker);
    return test_end();
}
