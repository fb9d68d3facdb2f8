/* A call that would wait for its own runtime says -EDEADLK: in a poll, in a drop, in a waker that
 * the runtime calls. The runtime goes on as if it had not been asked. */
#include "net.h"

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

struct scene {
    rt_runtime rt;
    rt_task other; /* parked, so that a join of it would really wait */
    probe other_probe;
    atomic_int played;
};

static void play(struct scene *s) {
    int64_t result = 7;
    CHECK_EQ(rt_join(s->other, RT_NEVER, &result), -EDEADLK);
    CHECK_EQ(rt_join(s->other, 0, &result), -EDEADLK);
    CHECK_EQ(result, 7);
    CHECK_EQ(rt_block_on(s->rt, end_at_once, NULL), -EDEADLK);
    CHECK_EQ(rt_run(s->rt), -EDEADLK);
    if (current_thread()) CHECK_EQ(rt_turn(s->rt, 0), -EDEADLK);
    CHECK_EQ(rt_shutdown(s->rt, RT_NEVER), -EDEADLK);
    CHECK_EQ(rt_shutdown(s->rt, 0), -EDEADLK);
    CHECK_EQ(rt_free(s->rt), -EDEADLK);
    atomic_fetch_add(&s->played, 1);
}

static int64_t play_in_poll(rt_cx *cx, void *state) {
    (void)cx;
    play(state);
    return 0;
}

static void play_in_drop(void *state) { play(state); }

static void scene_start(struct scene *s) {
    *s = (struct scene){.rt = test_runtime()};
    s->other = probe_spawn(s->rt, &s->other_probe);
    drive_until(s->rt, probe_polled, &s->other_probe);
}

/* Everything still works: the other task ends, the runtime is freed. */
static void scene_end(struct scene *s, int played) {
    CHECK_EQ(s->played, played);
    probe_finish(&s->other_probe, s->other);
    CHECK_EQ(join_task(s->other), 0);
    test_runtime_free(s->rt);
}

static void in_a_poll(void) {
    struct scene s;
    rt_task task;
    scene_start(&s);
    CHECK_EQ(rt_spawn(s.rt, play_in_poll, &s, NULL, &task), 0);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(rt_block_on(s.rt, play_in_poll, &s), 0);
    scene_end(&s, 2);
}

static void in_a_drop(void) {
    struct scene s;
    rt_task task;
    scene_start(&s);
    CHECK_EQ(rt_spawn(s.rt, end_at_once, &s, play_in_drop, &task), 0);
    CHECK_EQ(join_task(task), 0);
    scene_end(&s, 1);
}

/* An aborted task drops somewhere else in the runtime than one that returned. */
static int64_t stay(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void in_the_drop_of_an_aborted_task(void) {
    struct scene s;
    rt_task task;
    scene_start(&s);
    CHECK_EQ(rt_spawn(s.rt, stay, &s, play_in_drop, &task), 0);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    scene_end(&s, 1);
}

static void in_a_drop_of_the_shutdown(void) {
    struct scene s;
    scene_start(&s);
    CHECK_EQ(rt_spawn(s.rt, stay, &s, play_in_drop, NULL), 0);
    probe *other = &s.other_probe;
    CHECK_EQ(rt_free(s.rt), 0);
    CHECK_EQ(other->drops, 1);
    CHECK_EQ(s.played, 1);
}

/* ---- in a waker ---- */

static void *keep(void *data) { return data; }
static void play_in_waker(void *data) { play(data); }
static void ignore(void *data) { (void)data; }

static const rt_waker_vtable vtable = {keep, play_in_waker, play_in_waker, ignore};

static void in_a_waker(void) {
    struct scene s;
    rt_waker w;
    rt_cx *cx;
    probe p = {0};
    scene_start(&s);
    rt_task target = probe_spawn(s.rt, &p);
    CHECK_EQ(rt_waker_new(&vtable, &s, &w), 0);
    CHECK_EQ(rt_cx_new(s.rt, &w, &cx), 0);
    CHECK_EQ(rt_poll_join(cx, target, NULL), RT_PENDING);
    probe_finish(&p, target);
    while (atomic_load(&s.played) == 0)
        if (current_thread()) CHECK_OK(rt_turn(s.rt, 0));
        else sched_yield();
    CHECK_EQ(rt_poll_join(cx, target, NULL), 0);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&w), 0);
    scene_end(&s, 1);
}

/* A number that was closed behind the library, and is another's now: whoever waited for the first is told by the thread
 * that registers the second, inside of its call. */
static void in_a_waker_that_a_registration_calls(void) {
    struct scene s;
    rt_waker w;
    rt_cx *cx;
    rt_io old, io;
    rt_ready ready;
    int first[2], second[2];
    scene_start(&s);
    net_pipe(first);
    net_pipe(second);
    CHECK_EQ(rt_register_fd(s.rt, first[0], RT_READABLE, &old), 0);
    CHECK_EQ(rt_waker_new(&vtable, &s, &w), 0);
    CHECK_EQ(rt_cx_new(s.rt, &w, &cx), 0);
    CHECK_EQ(rt_poll_ready(cx, old, RT_READABLE, &ready), RT_PENDING);
    CHECK_SYS(dup3(second[0], first[0], O_CLOEXEC));
    CHECK_EQ(rt_register_fd(s.rt, first[0], RT_READABLE, &io), 0);
    CHECK_EQ(rt_poll_ready(cx, old, RT_READABLE, &ready), -EBADF);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&w), 0);
    CHECK_EQ(rt_close(io), 0);
    close(first[1]);
    close(second[0]);
    close(second[1]);
    scene_end(&s, 1);
}

/* ---- in a hook ---- */

static void play_when_armed(void *arg) {
    struct scene *s = atomic_exchange((_Atomic(struct scene *) *)arg, NULL);
    if (s != NULL) play(s);
}

/* Tasks that come and go make the workers park again. */
static void in_a_hook(void) {
    struct scene s = {.rt = 0};
    _Atomic(struct scene *) armed = NULL;
    rt_config config = test_config();
    config.on_park = play_when_armed;
    config.hook_arg = &armed;
    s.rt = test_runtime_with(&config);
    s.other = probe_spawn(s.rt, &s.other_probe);
    drive_until(s.rt, probe_polled, &s.other_probe);
    atomic_store(&armed, &s);
    while (atomic_load(&s.played) == 0) {
        if (current_thread()) CHECK_OK(rt_turn(s.rt, 10 * 1000 * 1000));
        else CHECK_EQ(rt_spawn(s.rt, end_at_once, NULL, NULL, NULL), 0);
        sched_yield();
    }
    scene_end(&s, 1);
}

/* ---- in the poll of another runtime, it is allowed ---- */

struct visit {
    rt_runtime host;
    int64_t result;
};

static int64_t visit_host(rt_cx *cx, void *state) {
    (void)cx;
    struct visit *v = state;
    v->result = rt_block_on(v->host, end_at_once, NULL);
    return 0;
}

static void another_runtimes_poll_may_wait(void) {
    rt_runtime a = test_runtime(), b = test_runtime();
    struct visit v = {b, -1};
    CHECK_EQ(rt_block_on(a, visit_host, &v), 0);
    CHECK_EQ(v.result, 0);
    CHECK_EQ(rt_free(a), 0);
    CHECK_EQ(rt_free(b), 0);
}

/* ---- in a function on a thread for what blocks ---- */

/* Its own end is what it would wait for. Another thread's business is none of a current-thread runtime. */
static int64_t end_from_below(void *arg) {
    rt_runtime rt = *(rt_runtime *)arg;
    int64_t no = current_thread() ? -EPERM : -EDEADLK;
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), no);
    CHECK_EQ(rt_shutdown(rt, 0), no);
    CHECK_EQ(rt_free(rt), no);
    if (!current_thread()) CHECK_EQ(rt_block_on(rt, end_at_once, NULL), 0);
    return 11;
}

static void in_a_function_that_blocks(void) {
    rt_runtime rt = test_runtime();
    rt_task task;
    CHECK_EQ(rt_spawn_blocking(rt, end_from_below, &rt, NULL, &task), 0);
    CHECK_EQ(join_task(task), 11);
    test_runtime_free(rt);
}

/* ---- at the end of a thread ---- */

struct last_will {
    rt_runtime rt;
    pthread_key_t key;
    void (*play)(struct last_will *);
    gate played;
};

static void play_last_will(void *arg) {
    struct last_will *w = arg;
    w->play(w);
    gate_open(&w->played);
}

static void last_will_start(struct last_will *w, void (*play)(struct last_will *)) {
    *w = (struct last_will){.rt = test_runtime(), .play = play};
    gate_init(&w->played);
    CHECK_EQ(pthread_key_create(&w->key, play_last_will), 0);
}

static void last_will_end(struct last_will *w) {
    CHECK_EQ(rt_free(w->rt), 0);
    gate_wait(&w->played);
    CHECK_EQ(pthread_key_delete(w->key), 0);
    gate_destroy(&w->played);
}

static int64_t leave_to_worker(rt_cx *cx, void *state) {
    (void)cx;
    struct last_will *w = state;
    CHECK_EQ(pthread_setspecific(w->key, w), 0);
    return 0;
}

/* The worker has ended, but who frees the runtime waits for the thread. */
static void worker_is_refused(struct last_will *w) {
    CHECK_EQ(rt_free(w->rt), -EDEADLK);
    CHECK_EQ(rt_shutdown(w->rt, 0), -EDEADLK);
    CHECK_EQ(rt_run(w->rt), -EDEADLK);
    CHECK_EQ(rt_block_on(w->rt, end_at_once, NULL), -EDEADLK);
    /* That of another one is an owner like any. (It makes no threads, for which Rust keeps what nobody
     * frees so late.) */
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    rt_runtime other = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(other, end_at_once, NULL), 0);
    CHECK_EQ(rt_free(other), 0);
}

static void in_a_destructor_of_a_workers_thread(void) {
    struct last_will w;
    last_will_start(&w, worker_is_refused);
    CHECK_EQ(rt_block_on(w.rt, leave_to_worker, &w), 0);
    CHECK_EQ(rt_shutdown(w.rt, RT_NEVER), 0);
    gate_wait(&w.played);
    gate_open(&w.played);
    last_will_end(&w);
}

static int64_t leave_below(void *arg) { return leave_to_worker(NULL, arg); }

/* It ends when the runtime is being freed, or when nothing came for it to do. */
static void late_comer_is_refused(struct last_will *w) {
    int64_t r = rt_free(w->rt);
    CHECK(r == -EBADF || r == -EDEADLK);
}

static void in_a_destructor_of_another_thread(void) {
    struct last_will w;
    rt_task task;
    last_will_start(&w, late_comer_is_refused);
    CHECK_EQ(rt_spawn_blocking(w.rt, leave_below, &w, NULL, &task), 0);
    CHECK_EQ(join_task(task), 0);
    settle(w.rt);
    last_will_end(&w);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_a_poll);
    CASE(in_a_drop);
    CASE(in_the_drop_of_an_aborted_task);
    CASE(in_a_drop_of_the_shutdown);
    CASE(in_a_waker);
    CASE(in_a_waker_that_a_registration_calls);
    CASE(in_a_hook);
    CASE(another_runtimes_poll_may_wait);
    CASE(in_a_function_that_blocks);
    if (!current_thread()) CASE(in_a_destructor_of_a_workers_thread);
    CASE(in_a_destructor_of_another_thread);
    return test_end();
}
