/* A worker that never comes to sleep, for something is always there when it is about to, hears of its
 * descriptors all the same.
 */
#include "ready.h"
#include "soon.h"

static struct {
    rt_runtime rt;
    _Atomic rt_task busy;
    rt_io io;
    int far;
    atomic_int polls;
    atomic_bool over;
} scene;

enum { POLLS_BEFORE_THE_BYTE = 1000 };

/* Woken by the hook each time that its worker has nothing else to do. */
static int64_t be_busy(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    if (atomic_load(&scene.over)) return 0;
    if (atomic_fetch_add(&scene.polls, 1) == POLLS_BEFORE_THE_BYTE) net_put(scene.far, "x", 1);
    return RT_PENDING;
}

static void keep_busy(void *arg) {
    (void)arg;
    rt_task_wake(atomic_load(&scene.busy)); /* 0: not yet */
}

static int64_t await_byte(rt_cx *cx, void *state) {
    (void)state;
    char byte;
    int64_t n = rt_poll_read(cx, scene.io, &byte, 1);
    if (n != RT_PENDING) atomic_store(&scene.over, true);
    return n;
}

static void a_worker_that_does_not_sleep_looks_at_its_descriptors(void) {
    memset(&scene, 0, sizeof scene);
    int ends[2];
    net_pair(ends);
    rt_config config = test_config();
    config.workers = current_thread() ? 0 : 1;
    config.on_park = keep_busy;
    scene.rt = test_runtime_with(&config);
    scene.io = io_of(scene.rt, ends[0], RT_READABLE);
    scene.far = ends[1];
    rt_task busy;
    CHECK_EQ(rt_spawn(scene.rt, be_busy, NULL, NULL, &busy), 0);
    atomic_store(&scene.busy, busy);
    CHECK_EQ(rt_block_on(scene.rt, await_byte, NULL), 1);
    CHECK_EQ(rt_task_wake(busy), 0);
    CHECK_EQ(join_soon(busy), 0);
    CHECK_EQ(rt_close(scene.io), 0);
    close(scene.far);
    test_runtime_free(scene.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(a_worker_that_does_not_sleep_looks_at_its_descriptors);
    return test_end();
}
