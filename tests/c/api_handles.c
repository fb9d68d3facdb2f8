/* A handle that is zero, stale, forged or of another kind gives -EBADF: from every function, in
 * every state, and never anything worse. */
#include "check.h"

#include <sys/eventfd.h>

/* ---- every function that takes a runtime ---- */

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static int64_t on_block_on(uint64_t h) { return rt_block_on(h, end_at_once, NULL); }
static int64_t on_run(uint64_t h) { return rt_run(h); }
static int64_t on_turn(uint64_t h) { return rt_turn(h, 0); }
static int64_t on_stop(uint64_t h) { return rt_stop(h); }
static int64_t on_event_fd(uint64_t h) { return rt_event_fd(h); }
static int64_t on_shutdown(uint64_t h) { return rt_shutdown(h, RT_NEVER); }
static int64_t on_free(uint64_t h) { return rt_free(h); }
static int64_t on_spawn(uint64_t h) { return rt_spawn(h, end_at_once, NULL, NULL, NULL); }

static int64_t on_describe(uint64_t h) {
    char out[16];
    return rt_describe(h, out, sizeof out);
}

static int64_t on_metrics(uint64_t h) {
    rt_metrics_data m = {.size = sizeof m};
    return rt_metrics(h, &m);
}

static int64_t on_spawn_with(uint64_t h) {
    rt_spawn_opts o;
    CHECK_EQ(rt_spawn_opts_init(&o, sizeof o), 0);
    o.poll = end_at_once;
    return rt_spawn_with(h, &o, NULL);
}

static int64_t on_register(uint64_t h) {
    int fd = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    rt_io io;
    int64_t r = rt_register_fd(h, fd, RT_READABLE, &io);
    CHECK(r < 0); /* then the descriptor is still ours */
    CHECK_SYS(close(fd));
    return r;
}

typedef int64_t (*handle_fn)(uint64_t h);
static const handle_fn runtime_calls[] = {
    on_block_on, on_run,   on_turn,     on_stop,    on_event_fd,   on_shutdown,
    on_free,     on_spawn, on_describe, on_metrics, on_spawn_with, on_register,
};

/* ---- every function that takes a task ---- */

static int64_t on_join(uint64_t h) { return rt_join(h, RT_NEVER, NULL); }
static int64_t on_abort(uint64_t h) { return rt_abort(h); }
static int64_t on_detach(uint64_t h) { return rt_detach(h); }
static int64_t on_wake(uint64_t h) { return rt_task_wake(h); }

static int64_t on_name(uint64_t h) {
    char out[16];
    return rt_task_name(h, out, sizeof out);
}

static const handle_fn task_calls[] = {on_join, on_abort, on_detach, on_wake, on_name};

enum { RUNTIME_CALLS = sizeof runtime_calls / sizeof runtime_calls[0] };
enum { TASK_CALLS = sizeof task_calls / sizeof task_calls[0] };

static void refused_by_all(const handle_fn *calls, int count, uint64_t h) {
    for (int i = 0; i < count; i++) {
        int64_t expected = -EBADF;
        if (h == 0 && (calls[i] == on_free || calls[i] == on_detach)) expected = 0;
        int64_t r = calls[i](h);
        if (r != expected) fprintf(stderr, "call %d, handle %#" PRIx64 "\n", i, h);
        CHECK_EQ(r, expected);
    }
}

static void refused_as_runtime(uint64_t h) { refused_by_all(runtime_calls, RUNTIME_CALLS, h); }
static void refused_as_task(uint64_t h) { refused_by_all(task_calls, TASK_CALLS, h); }

/* ---- forged ---- */

static void refuse_forgeries(uint64_t runtime, uint64_t task) {
    const uint64_t made_up[] = {0, 1, 2, UINT32_MAX, (uint64_t)1 << 32, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) {
        refused_as_runtime(made_up[i]);
        refused_as_task(made_up[i]);
    }
    for (int bit = 0; bit < 64; bit++) { /* a wrong generation, kind or index */
        refused_as_runtime(runtime ^ (uint64_t)1 << bit);
        refused_as_task(task ^ (uint64_t)1 << bit);
    }
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 2000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        refused_as_runtime(random);
        refused_as_task(random);
    }
}

static int64_t forge_in_a_poll(rt_cx *cx, void *state) {
    uint64_t task = *(rt_task *)state;
    CHECK_EQ(rt_poll_join(cx, 0, NULL), -EBADF);
    CHECK_EQ(rt_poll_join(cx, rt_cx_runtime(cx), NULL), -EBADF);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t forged = task ^ (uint64_t)1 << bit;
        if (forged == rt_task_self(cx)) continue; /* by chance the one that asks */
        CHECK_EQ(rt_poll_join(cx, forged, NULL), -EBADF);
    }
    return 0;
}

static void forged_handles_are_refused(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    refuse_forgeries(rt, task);
    CHECK_EQ(rt_block_on(rt, forge_in_a_poll, &task), 0);
    CHECK_EQ(p.drops, 0); /* none of them reached it */
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

/* ---- of another kind ---- */

static void handles_of_another_kind_are_refused(void) {
    rt_runtime rt = test_runtime();
    int fd = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    rt_io io = 0;
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE, &io), 0);
    refused_as_runtime(task);
    refused_as_runtime(io);
    refused_as_task(rt);
    refused_as_task(io);
    rt_ready ready = {0};
    CHECK_EQ(rt_try_ready(rt, RT_READABLE, &ready), -EBADF);
    CHECK_EQ(rt_close(task), -EBADF);
    CHECK_EQ(rt_deregister(task), -EBADF);
    CHECK_EQ(rt_io_fd(io), fd);
    CHECK_EQ(rt_close(io), 0);
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

/* ---- stale ---- */

static void stale_handles_are_refused_although_the_slot_lives_on(void) {
    rt_runtime rt = test_runtime();
    rt_task stale[20];
    for (int i = 0; i < 20; i++) {
        probe p = {.ready = true};
        stale[i] = probe_spawn(rt, &p);
        CHECK_EQ(join_task(stale[i]), 0);
    }
    probe p = {0};
    rt_task live = probe_spawn(rt, &p); /* in a slot that one of them had */
    for (int i = 0; i < 20; i++) refused_as_task(stale[i]);
    probe_finish(&p, live);
    CHECK_EQ(join_task(live), 0);
    test_runtime_free(rt);
}

static void everything_is_stale_after_free(void) {
    rt_runtime old = test_runtime();
    probe parked = {0}, ended = {.ready = true};
    rt_task one = probe_spawn(old, &parked), two = probe_spawn(old, &ended);
    drive_until(old, probe_dropped, &ended);
    CHECK_EQ(rt_free(old), 0);
    refused_as_runtime(old);
    refused_as_task(one);
    refused_as_task(two);
    rt_runtime rt = test_runtime(); /* in its place */
    CHECK(rt != old);
    refused_as_runtime(old);
    refused_as_task(one);
    CHECK_EQ(rt_block_on(rt, end_at_once, NULL), 0);
    test_runtime_free(rt);
}

/* ---- stale while it becomes so ---- */

struct racer {
    _Atomic rt_runtime rt;
    _Atomic rt_task task;
    atomic_bool over;
};

/* Two threads that do nothing else would fill the runtime faster than it gets empty. */
static int64_t spawn_unless_full(rt_runtime rt) {
    rt_metrics_data m = {.size = sizeof m};
    int64_t r = rt_metrics(rt, &m);
    return r == 0 && m.tasks_live < 64 ? on_spawn(rt) : r;
}

/* Whatever moment it meets: a real answer, or one of the two errors that say "going" and "gone". */
static void *use_all_the_while(void *arg) {
    struct racer *r = arg;
    while (!atomic_load(&r->over)) {
        rt_runtime rt = atomic_load(&r->rt);
        rt_task task = atomic_load(&r->task);
        int64_t answers[] = {spawn_unless_full(rt), on_metrics(rt), on_describe(rt),
                             on_stop(rt),           on_wake(task),  on_name(task)};
        for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
            CHECK(answers[i] >= 0 || answers[i] == -EBADF || answers[i] == -ESHUTDOWN);
    }
    return NULL;
}

static void a_handle_may_be_used_while_it_goes_stale(void) {
    struct racer r = {.over = false};
    pthread_t users[2];
    for (int i = 0; i < 2; i++) users[i] = thread_start(use_all_the_while, &r);
    for (int i = 0; i < scaled(100); i++) {
        rt_runtime rt = test_runtime();
        probe p = {0}, q = {0};
        rt_task task = probe_spawn(rt, &p);
        atomic_store(&r.task, task);
        atomic_store(&r.rt, rt);
        CHECK_EQ(rt_block_on(rt, end_at_once, NULL), 0);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        atomic_store(&r.task, probe_spawn(rt, &q));
        CHECK_EQ(rt_free(rt), 0);
        CHECK_EQ(p.drops, 1);
        CHECK_EQ(q.drops, 1);
    }
    atomic_store(&r.over, true);
    for (int i = 0; i < 2; i++) thread_join(users[i]);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(forged_handles_are_refused);
    CASE(handles_of_another_kind_are_refused);
    CASE(stale_handles_are_refused_although_the_slot_lives_on);
    CASE(everything_is_stale_after_free);
    CASE(a_handle_may_be_used_while_it_goes_stale);
    return test_end();
}
