/* A worker that is kept outside of a poll, by a function of the program's, keeps no task waiting that
 * others could run: neither when it was asleep, nor when it looked for work.
 */
#include "ready.h"
#include "soon.h"

static struct {
    rt_runtime rt;
    rt_task anchor;     /* pinned to the worker that is kept */
    rt_io io;           /* its */
    int far;
    rt_waker waker;
    rt_cx *own;         /* a context of the program's */
    rt_op op;
    char byte;
    atomic_int asleep;
    atomic_bool keeps;  /* whoever comes next to `keep` stays there */
    gate kept, done, free;
} scene;

typedef void hook(void *arg);

/* Until another worker has run a task. */
static void keep(void) {
    if (!atomic_exchange(&scene.keeps, false)) return;
    gate_open(&scene.kept);
    gate_wait_soon(&scene.free);
}

static void falls_asleep(void *arg) { (void)arg, atomic_fetch_add(&scene.asleep, 1); }
static void is_awake(void *arg) { (void)arg, atomic_fetch_sub(&scene.asleep, 1); }

static void all_asleep(void) {
    while (atomic_load(&scene.asleep) < (int)test_workers) sched_yield();
}

static int64_t set_free(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    gate_open(&scene.free);
    return 0;
}

/* Somebody is kept: another one runs what is spawned. */
static void others_go_on(void) {
    rt_task task;
    gate_wait_soon(&scene.kept);
    CHECK_EQ(rt_spawn(scene.rt, set_free, NULL, NULL, &task), 0);
    CHECK_EQ(join_soon(task), 0);
}

static void scene_begin(hook *park, hook *unpark) {
    if (current_thread()) SKIP("one worker has no others");
    memset(&scene, 0, sizeof scene);
    gate_init(&scene.kept);
    gate_init(&scene.done);
    gate_init(&scene.free);
    rt_config config = test_config();
    config.spin_ns = RT_SPIN_OFF;
    config.on_park = park;
    config.on_unpark = unpark;
    scene.rt = test_runtime_with(&config);
}

static void scene_end(void) {
    test_runtime_free(scene.rt);
    gate_destroy(&scene.kept);
    gate_destroy(&scene.done);
    gate_destroy(&scene.free);
}

/* ---- by what came as it slept ---- */

static void keep_when_told(void *arg, int64_t outcome) {
    (void)arg;
    if (outcome == 1) keep();
    else CHECK_EQ(outcome, -ECANCELED);
}

static void *clone_as_is(void *data) { return data; }
static void drop_nothing(void *data) { (void)data; }
static void keep_when_woken(void *data) { (void)data, keep(); }
static const rt_waker_vtable table = {clone_as_is, keep_when_woken, keep_when_woken, drop_nothing};

enum news { TOLD, WOKEN };

/* Stays on its worker, and wakes it for nothing. */
static int64_t anchor(rt_cx *cx, void *state) {
    rt_ready ready;
    enum news *news = state;
    if (scene.io == 0) {
        int ends[2];
        net_pair(ends);
        scene.far = ends[1];
        scene.io = io_of(scene.rt, ends[0], RT_READABLE);
        if (*news == TOLD) {
            CHECK_EQ(rt_submit_recv(cx, scene.io, &scene.byte, 1, 0, &scene.op), 0);
            CHECK_EQ(rt_op_forget(scene.op, keep_when_told, NULL), 0);
        } else {
            CHECK_EQ(rt_poll_ready(scene.own, scene.io, RT_READABLE, &ready), RT_PENDING);
        }
    }
    gate_open(&scene.done);
    return RT_PENDING;
}

static void anchor_begin(enum news *news) {
    rt_spawn_opts opts;
    CHECK_EQ(rt_waker_new(&table, NULL, &scene.waker), 0);
    CHECK_EQ(rt_cx_new(scene.rt, &scene.waker, &scene.own), 0);
    CHECK_EQ(rt_spawn_opts_init(&opts, sizeof opts), 0);
    opts.poll = anchor;
    opts.state = news;
    opts.flags = RT_SPAWN_PINNED;
    CHECK_EQ(rt_spawn_with(scene.rt, &opts, &scene.anchor), 0);
    gate_wait_soon(&scene.done);
    all_asleep();
}

static void anchor_wake(void) {
    CHECK_EQ(rt_task_wake(scene.anchor), 0);
    gate_wait_soon(&scene.done);
}

static void anchor_end(void) {
    CHECK_EQ(rt_abort(scene.anchor), 0);
    CHECK_EQ(join_soon(scene.anchor), -ECANCELED);
    CHECK_EQ(rt_cx_free(scene.own), 0);
    CHECK_EQ(rt_waker_drop(&scene.waker), 0);
    CHECK_EQ(rt_close(scene.io), 0);
    close(scene.far);
}

/* The worker sleeps last, so that it is the one who is chosen first. */
static void kept_by(enum news news) {
    scene_begin(falls_asleep, is_awake);
    anchor_begin(&news);
    anchor_wake();
    all_asleep();
    atomic_store(&scene.keeps, true);
    net_put(scene.far, "x", 1);
    others_go_on();
    anchor_end();
    scene_end();
}

static void by_what_it_is_told(void) { kept_by(TOLD); }
static void by_a_waker(void) { kept_by(WOKEN); }

/* ---- by hooks ---- */

static void falls_asleep_and_is_kept(void *arg) {
    keep();
    falls_asleep(arg);
}

static void is_awake_and_is_kept(void *arg) {
    is_awake(arg);
    keep();
}

/* It had something to do, then looked for more and found none. */
static void by_a_hook_before_it_sleeps(void) {
    enum news news = TOLD;
    scene_begin(falls_asleep_and_is_kept, is_awake);
    anchor_begin(&news);
    atomic_store(&scene.keeps, true);
    anchor_wake();
    others_go_on();
    anchor_end();
    scene_end();
}

/* It was chosen to look for work. */
static void by_a_hook_when_it_wakes(void) {
    rt_task task;
    scene_begin(falls_asleep, is_awake_and_is_kept);
    all_asleep();
    atomic_store(&scene.keeps, true);
    CHECK_EQ(rt_spawn(scene.rt, return_zero, NULL, NULL, &task), 0);
    others_go_on();
    CHECK_EQ(join_soon(task), 0);
    scene_end();
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(by_what_it_is_told);
    CASE(by_a_waker);
    CASE(by_a_hook_before_it_sleeps);
    CASE(by_a_hook_when_it_wakes);
    return test_end();
}
