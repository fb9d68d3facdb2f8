/* When rt_free has returned no hook of the runtime runs any more, nor begins to: not on the workers
 * that ended, and not on one that is stuck, in a poll or in a drop, and comes back later. */
#include "soon.h"

/* How long a hook lingers to see whether rt_free returns meanwhile. */
enum { MOMENT = 100 * 1000 * 1000 };

static struct {
    gate inside, leave, freed, thread_ended;
    atomic_bool gone;
    atomic_int stops;
} scene;
static pthread_key_t end_key;

static void tell_thread_end(void *arg) {
    (void)arg;
    gate_open(&scene.thread_ended);
}

static void must_be_in_time(void *arg) {
    CHECK(arg == &scene);
    CHECK(!atomic_load(&scene.gone));
}

static void linger(void *arg) {
    must_be_in_time(arg);
    atomic_fetch_add(&scene.stops, 1);
    CHECK(!gate_wait_for(&scene.freed, MOMENT));
    must_be_in_time(arg);
}

static void get_stuck(void) {
    CHECK_EQ(pthread_setspecific(end_key, &scene), 0);
    gate_open(&scene.inside);
    gate_wait(&scene.leave);
}

static int64_t stuck_poll(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    get_stuck();
    return 0;
}

static void stuck_drop(void *state) {
    (void)state;
    get_stuck();
}

static void run_stuck(rt_poll_fn poll, rt_drop_fn drop) {
    memset(&scene, 0, sizeof scene);
    gate_init(&scene.inside);
    gate_init(&scene.leave);
    gate_init(&scene.freed);
    gate_init(&scene.thread_ended);
    rt_config config = test_config();
    config.on_thread_stop = linger;
    config.on_park = must_be_in_time;
    config.on_unpark = must_be_in_time;
    config.hook_arg = &scene;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_spawn(rt, poll, NULL, drop, NULL), 0);
    gate_wait(&scene.inside);
    CHECK_EQ(rt_shutdown(rt, 1000000), 1);
    CHECK_EQ(rt_free(rt), 0);
    atomic_store(&scene.gone, true);
    gate_open(&scene.freed);
    int stops = atomic_load(&scene.stops);
    CHECK(stops < (int)test_workers);
    gate_open(&scene.leave);
    gate_wait_soon(&scene.thread_ended);
    CHECK_EQ(atomic_load(&scene.stops), stops);
}

static void no_hook_outlives_a_stuck_poll(void) { run_stuck(stuck_poll, NULL); }
static void no_hook_outlives_a_stuck_drop(void) { run_stuck(return_zero, stuck_drop); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("a stuck poll holds the only thread there is");
    must_end_soon();
    CHECK_EQ(pthread_key_create(&end_key, tell_thread_end), 0);
    CASE_LEAVES(no_hook_outlives_a_stuck_poll, "a worker that is stuck in a poll");
    CASE_LEAVES(no_hook_outlives_a_stuck_drop, "a worker that is stuck in a drop");
    return test_end();
}
