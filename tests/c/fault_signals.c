/* A storm of signals without SA_RESTART against every call that blocks a thread: none returns early,
 * none says EINTR, none misses what it waits for.
 */
#include "op.h"
#include "soon.h"
#include "storm.h"

enum { MS = 1000000, SHORT = 20 * MS };

/* Until so many more signals have hit some thread. */
static void weather(int hits) {
    for (int until = atomic_load(&storms) + hits; atomic_load(&storms) < until;) sched_yield();
}

/* ---- waits that somebody else ends, after some signals ---- */

struct other {
    rt_runtime rt;
    rt_event event;
    rt_chan ch;
    rt_oneshot o;
    rt_task task;
    probe probe;
};

static void *set_later(void *arg) {
    weather(20);
    CHECK_EQ(rt_event_set(((struct other *)arg)->event), 0);
    return NULL;
}

static void *send_later(void *arg) {
    weather(20);
    CHECK_EQ(rt_chan_try_send(((struct other *)arg)->ch, "item"), 0);
    return NULL;
}

static void *take_later(void *arg) {
    void *item = NULL;
    weather(20);
    CHECK_EQ(rt_chan_try_recv(((struct other *)arg)->ch, &item), 0);
    return NULL;
}

static void *give_later(void *arg) {
    weather(20);
    CHECK_EQ(rt_oneshot_send(((struct other *)arg)->o, "item"), 0);
    return NULL;
}

static void *finish_later(void *arg) {
    struct other *o = arg;
    weather(20);
    atomic_store(&o->probe.ready, true);
    rt_task_wake(o->task); /* stale if its first poll came only now, and it ended and was joined */
    return NULL;
}

static void *stop_later(void *arg) {
    weather(20);
    CHECK_EQ(rt_stop(((struct other *)arg)->rt), 0);
    return NULL;
}

static void threads_wait(struct other *o) {
    void *item = NULL;
    CHECK_EQ(rt_event_new(o->rt, &o->event), 0);
    pthread_t thread = thread_start(set_later, o);
    CHECK_EQ(rt_event_wait(o->event, RT_NEVER), 0);
    thread_join(thread);
    CHECK_EQ(rt_event_free(o->event), 0);

    CHECK_EQ(rt_chan_new(1, NULL, &o->ch), 0);
    thread = thread_start(send_later, o);
    CHECK_EQ(rt_chan_recv(o->ch, &item, RT_NEVER), 0);
    thread_join(thread);
    CHECK_EQ(rt_chan_try_send(o->ch, "full"), 0);
    thread = thread_start(take_later, o);
    CHECK_EQ(rt_chan_send(o->ch, "more", RT_NEVER), 0);
    thread_join(thread);
    CHECK_EQ(rt_chan_free(o->ch), 0);

    CHECK_EQ(rt_oneshot_new(NULL, &o->o), 0);
    thread = thread_start(give_later, o);
    CHECK_EQ(rt_oneshot_wait(o->o, RT_NEVER, &item), 0);
    thread_join(thread);
}

static void runtimes_wait(struct other *o) {
    o->probe = (probe){.result = 7};
    o->task = probe_spawn(o->rt, &o->probe);
    pthread_t thread = thread_start(stop_later, o);
    CHECK_EQ(rt_run(o->rt), 1);
    thread_join(thread);
    thread = thread_start(finish_later, o);
    CHECK_EQ(join_task(o->task), 7);
    thread_join(thread);
    o->probe = (probe){.result = 8};
    o->task = probe_spawn(o->rt, &o->probe);
    thread = thread_start(finish_later, o);
    CHECK_EQ(rt_run(o->rt), 0);
    thread_join(thread);
    CHECK_EQ(join_task(o->task), 8);
}

static void nobody_returns_without_a_reason(void) {
    struct storm storm;
    struct other o = {.rt = test_runtime()};
    storm_start(&storm);
    for (int i = 0; i < scaled(20); i++) {
        threads_wait(&o);
        runtimes_wait(&o);
    }
    storm_end(&storm);
    test_runtime_free(o.rt);
}

/* ---- times: never early ---- */

struct sleep {
    rt_timer slot;
    uint64_t at;
};

static int64_t sleep_poll(rt_cx *cx, void *state) {
    struct sleep *s = state;
    return rt_poll_sleep(cx, &s->slot, s->at);
}

static void times_are_kept(void) {
    struct storm storm;
    rt_runtime rt = test_runtime();
    rt_event event;
    rt_chan ch;
    rt_oneshot o;
    void *item;
    CHECK_EQ(rt_event_new(rt, &event), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &ch), 0);
    CHECK_EQ(rt_oneshot_new(NULL, &o), 0);
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    storm_start(&storm);
    uint64_t begun = rt_now();
    CHECK_EQ(rt_event_wait(event, SHORT), -ETIME);
    CHECK(rt_now() - begun >= SHORT);
    begun = rt_now();
    CHECK_EQ(rt_chan_recv(ch, &item, SHORT), -ETIME);
    CHECK(rt_now() - begun >= SHORT);
    CHECK_EQ(rt_chan_try_send(ch, "full"), 0);
    begun = rt_now();
    CHECK_EQ(rt_chan_send(ch, "more", SHORT), -ETIME);
    CHECK(rt_now() - begun >= SHORT);
    begun = rt_now();
    CHECK_EQ(rt_oneshot_wait(o, SHORT, &item), -ETIME);
    CHECK(rt_now() - begun >= SHORT);
    begun = rt_now();
    CHECK_EQ(rt_join(task, SHORT, NULL), -ETIME);
    CHECK(rt_now() - begun >= SHORT);
    struct sleep s = {.at = rt_now() + SHORT};
    CHECK_EQ(rt_block_on(rt, sleep_poll, &s), 0);
    CHECK(rt_now() >= s.at);
    if (current_thread()) { /* a signal ends a turn early, and is no error */
        for (begun = rt_now(); rt_now() - begun < SHORT;) CHECK_OK(rt_turn(rt, SHORT));
        CHECK_OK(rt_turn(rt, RT_NEVER));
    }
    storm_end(&storm);
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(rt_oneshot_free(o), 0);
    CHECK_EQ(rt_chan_free(ch), 0);
    CHECK_EQ(rt_event_free(event), 0);
    test_runtime_free(rt);
}

/* ---- the end ---- */

/* Tasks with operations in flight, calls that block, a name: all of it has an end to be waited for. */
struct work {
    rt_op op;
    rt_io io;
    atomic_bool *begun;
    char buf[64];
};

static int64_t work_poll(rt_cx *cx, void *state) {
    struct work *w = state;
    if (w->op == 0) CHECK_EQ(rt_submit_recv(cx, w->io, w->buf, sizeof w->buf, 0, &w->op), 0);
    int64_t r = rt_poll_op(cx, w->op);
    atomic_store(w->begun, true);
    return r;
}

static int64_t call_for_a_while(void *arg) {
    atomic_store((atomic_bool *)arg, true);
    weather(20);
    return 5;
}

static void ends_are_waited_for(bool shut_down_first) {
    int ends[2];
    atomic_bool begun = false, called = false;
    rt_runtime rt = test_runtime();
    net_unix_pair(ends);
    struct work w = {.io = io_of(rt, ends[0], RW), .begun = &begun};
    probe p = {0};
    rt_task tasks[3] = {probe_spawn(rt, &p)};
    CHECK_EQ(rt_spawn(rt, work_poll, &w, NULL, &tasks[1]), 0);
    drive_until(rt, flag_set, &begun);
    CHECK_EQ(rt_spawn_blocking(rt, call_for_a_while, &called, NULL, &tasks[2]), 0);
    drive_until(rt, flag_set, &called);
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_detach(tasks[i]), 0);
    if (shut_down_first) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_free(rt), 0);
    CHECK(probe_dropped(&p));
    close(ends[1]);
}

static void no_end_is_cut_short(void) {
    struct storm storm;
    storm_start(&storm);
    for (int i = 0; i < scaled(40); i++) ends_are_waited_for(i % 2 == 0);
    storm_end(&storm);
}

/* ---- making things ---- */

struct child {
    rt_frame frame;
    rt_process p;
    rt_exit exit;
    int64_t r;
};

static int64_t child_poll(rt_cx *cx, void *state) {
    struct child *c = state;
    char *argv[] = {"/bin/sh", "-c", "exit 3", NULL};
    rt_process_opts opts;
    RT_BEGIN(&c->frame);
    CHECK_EQ(rt_process_opts_init(&opts, sizeof opts), 0);
    opts.file = argv[0];
    opts.argv = argv;
    CHECK_EQ(rt_process_spawn(rt_cx_runtime(cx), &opts, &c->p), 0);
    RT_AWAIT(c->r, rt_poll_process(cx, c->p, &c->exit));
    CHECK_EQ(c->r, 0);
    CHECK_EQ(rt_process_close(c->p), 0);
    RT_END(c->exit.code);
}

static void things_are_made(void) {
    struct storm storm;
    storm_start(&storm);
    for (int i = 0; i < scaled(20); i++) {
        rt_runtime rt = test_runtime();
        struct child c = {0};
        /* Valgrind has no pidfds. */
        if (!under("valgrind")) CHECK_EQ(rt_block_on(rt, child_poll, &c), 3);
        rt_io listener;
        rt_addr addr;
        rt_task task;
        CHECK_EQ(rt_tcp_listen(rt, "127.0.0.1", 0, NULL, &listener), 0);
        CHECK_EQ(rt_local_addr(listener, &addr), 0);
        CHECK_EQ(rt_tcp_connect(rt, "localhost", (uint16_t)rt_addr_port(&addr), NULL, &task), 0);
        int64_t io = join_task(task);
        CHECK_OK(io);
        CHECK_EQ(rt_close((rt_io)io), 0);
        CHECK_EQ(rt_close(listener), 0);
        op_runtime_free(rt);
    }
    storm_end(&storm);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(nobody_returns_without_a_reason);
    CASE(times_are_kept);
    CASE(no_end_is_cut_short);
    CASE(things_are_made);
    return test_end();
}
