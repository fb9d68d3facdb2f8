/* A thread that is cancelled while it is in a call that blocks, or before: the call does its work and returns, and then the
 * thread ends, as its own code says.
 */
#include "process.h"

#include <fcntl.h>

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 11;
}

static bool acts_on_cancels(void) {
    int before;
    CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before), 0);
    CHECK_EQ(pthread_setcancelstate(before, NULL), 0);
    return before == PTHREAD_CANCEL_ENABLE;
}

static void cancel_here(void) { CHECK_EQ(pthread_cancel(pthread_self()), 0); }

/* The thread ended by being cancelled. */
static void join_cancelled(pthread_t thread) {
    void *end;
    CHECK_EQ(pthread_join(thread, &end), 0);
    CHECK(end == PTHREAD_CANCELED);
}

/* ---- a cancel that is there already ---- */

struct calls {
    rt_runtime rt;
    rt_event event;
    rt_chan chan;
    rt_oneshot oneshot;
    rt_task task;
    rt_io io;
    int fd;
    rt_runtime other; /* which stays: the child's */
    rt_process process;
    rt_process_opts opts;
    bool may_act, done;
};

static void prepare(struct calls *c) {
    static char *argv[] = {"true", NULL};
    int ends[2];
    c->rt = test_runtime();
    CHECK_EQ(rt_event_new(c->other, &c->event), 0);
    CHECK_EQ(rt_event_set(c->event), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &c->chan), 0);
    CHECK_EQ(rt_oneshot_new(NULL, &c->oneshot), 0);
    CHECK_EQ(rt_oneshot_send(c->oneshot, c), 0);
    CHECK_EQ(rt_spawn(c->rt, end_at_once, NULL, NULL, &c->task), 0);
    CHECK_SYS(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
    close(ends[1]);
    c->fd = ends[0];
    CHECK_EQ(rt_register_fd(c->rt, c->fd, RT_READABLE, &c->io), 0);
    CHECK_EQ(rt_process_opts_init(&c->opts, sizeof c->opts), 0);
    c->opts.file = "true";
    c->opts.argv = argv;
}

/* None of them acts on the cancel, and what is between them is nothing that does. */
static void block_cancelled(struct calls *c) {
    void *item = NULL;
    int64_t result = 0;
    cancel_here();
    CHECK_EQ(rt_join(c->task, RT_NEVER, &result), 0);
    CHECK_EQ(result, 11);
    CHECK_EQ(rt_block_on(c->rt, end_at_once, NULL), 11);
    CHECK_EQ(rt_run(c->rt), 0);
    if (current_thread()) CHECK_OK(rt_turn(c->rt, 1000000));
    CHECK_EQ(rt_event_wait(c->event, RT_NEVER), 0);
    CHECK_EQ(rt_chan_send(c->chan, c, RT_NEVER), 0);
    CHECK_EQ(rt_chan_send(c->chan, c, 1000000), -ETIME);
    CHECK_EQ(rt_chan_recv(c->chan, &item, RT_NEVER), 0);
    CHECK(item == c);
    CHECK_EQ(rt_oneshot_wait(c->oneshot, RT_NEVER, &item), 0);
    CHECK_EQ(rt_deregister(c->io), 0);
    CHECK_EQ(rt_process_spawn(c->other, &c->opts, &c->process), 0);
    CHECK_EQ(rt_shutdown(c->rt, RT_NEVER), 0);
    CHECK_EQ(rt_free(c->rt), 0);
}

static void *call_cancelled(void *arg) {
    struct calls *c = arg;
    prepare(c);
    if (!c->may_act) CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0);
    block_cancelled(c);
    CHECK_EQ(acts_on_cancels(), c->may_act);
    c->done = true;
    CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL), 0);
    pthread_testcancel();
    return NULL;
}

static int64_t poll_end(rt_cx *cx, void *state) {
    struct calls *c = state;
    return rt_poll_process(cx, c->process, &(rt_exit){0});
}

static void calls_that_block_return_first(void) {
    for (int i = 0; i < 2; i++) {
        struct calls c = {.may_act = i == 0, .other = test_runtime()};
        join_cancelled(thread_start(call_cancelled, &c));
        CHECK(c.done);
        CHECK_EQ(rt_block_on(c.other, poll_end, &c), 0);
        CHECK_EQ(rt_process_close(c.process), 0);
        CHECK_EQ(rt_event_free(c.event), 0);
        CHECK_EQ(rt_chan_free(c.chan), 0);
        close(c.fd);
        test_runtime_free(c.other);
    }
}

/* ---- a cancel in the midst ---- */

struct midst {
    rt_runtime rt;
    rt_event event;
    gate waits;
    int64_t result;
};

static int64_t wait_inside(rt_cx *cx, void *state) {
    struct midst *m = state;
    int64_t r = rt_poll_event(cx, m->event);
    if (r == RT_PENDING) gate_open(&m->waits);
    return r;
}

static void *drive_cancelled(void *arg) {
    struct midst *m = arg;
    m->result = rt_block_on(m->rt, wait_inside, m);
    CHECK_EQ(rt_free(m->rt), 0);
    pthread_testcancel();
    return NULL;
}

/* It does not end the wait. */
static void a_wait_goes_on(void) {
    struct midst m = {.rt = test_runtime(), .result = -1};
    gate_init(&m.waits);
    CHECK_EQ(rt_event_new(m.rt, &m.event), 0);
    pthread_t thread = thread_start(drive_cancelled, &m);
    gate_wait(&m.waits);
    CHECK_EQ(pthread_cancel(thread), 0);
    CHECK_EQ(rt_event_set(m.event), 0);
    join_cancelled(thread);
    CHECK_EQ(m.result, 0);
    CHECK_EQ(rt_event_free(m.event), 0);
    gate_destroy(&m.waits);
}

int main(int argc, char **argv) {
    process_start(argc, argv);
    CASE(calls_that_block_return_first);
    CASE(a_wait_goes_on);
    return test_end();
}
