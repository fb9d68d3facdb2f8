/* What the operations of rt_block_on's task work on is the caller's as well: it does not return
 * while one of them might write there, not even when a shutdown gave the task up. */
#include "op.h"
#include "soon.h"

enum { BYTES = 4096, MOMENT = 50 * 1000 * 1000, SCRIBBLE_MORE = 0x55 };

struct caller {
    rt_runtime rt;
    rt_io io;
    rt_op op;
    rt_task stuck;
    int near, far;
    gate inside, leave, returned, over;
};

/* What the caller keeps on its stack. */
struct local {
    struct caller *caller;
    unsigned char buf[BYTES];
};

static int64_t stay_inside(rt_cx *cx, void *state) {
    (void)cx;
    struct caller *c = state;
    gate_open(&c->inside);
    gate_wait(&c->leave);
    return 0;
}

/* Its worker goes on to a task that holds it. */
static int64_t receive(rt_cx *cx, void *state) {
    struct local *l = state;
    struct caller *c = l->caller;
    if (c->op == 0) {
        rt_spawn_opts opts;
        CHECK_EQ(rt_submit_recv(cx, c->io, l->buf, BYTES, 0, &c->op), 0);
        CHECK_EQ(rt_poll_op(cx, c->op), RT_PENDING);
        CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
        opts.flags = RT_SPAWN_PINNED;
        opts.poll = stay_inside;
        opts.state = c;
        opts.near = rt_task_self(cx);
        CHECK_EQ(rt_spawn_with(c->rt, &opts, &c->stuck), 0);
    }
    return rt_poll_op(cx, c->op);
}

static void *block(void *arg) {
    struct caller *c = arg;
    struct local l = {.caller = c};
    int64_t r = rt_block_on(c->rt, receive, &l);
    CHECK(r == -ECANCELED || r > 0);
    memset(l.buf, SCRIBBLE_MORE, BYTES); /* whoever has this memory next */
    gate_open(&c->returned);
    gate_wait(&c->over);
    for (int i = 0; i < BYTES; i++) CHECK_EQ(l.buf[i], SCRIBBLE_MORE);
    return NULL;
}

static void given_up(bool data_comes_first) {
    struct caller c = {.rt = test_runtime()};
    int ends[2];
    net_unix_pair(ends);
    c.near = ends[0];
    c.far = ends[1];
    c.io = io_of(c.rt, c.near, 0);
    gate_init(&c.inside);
    gate_init(&c.leave);
    gate_init(&c.returned);
    gate_init(&c.over);
    pthread_t blocked = thread_start(block, &c);
    gate_wait_soon(&c.inside);
    CHECK(rt_shutdown(c.rt, 0) >= 1);
    /* It may wait for the worker, or else be done with the memory already. */
    bool returned = gate_wait_for(&c.returned, MOMENT);
    if (data_comes_first) net_put(c.far, "hello", 5);
    gate_open(&c.leave);
    if (!returned) gate_wait_soon(&c.returned);
    if (!data_comes_first) net_put(c.far, "hello", 5);
    while (metrics(c.rt).ops_live > metrics(c.rt).ops_abandoned) sched_yield();
    CHECK_EQ(rt_free(c.rt), 0);
    net_wait(c.far, POLLIN | POLLRDHUP); /* nobody has the descriptor any more */
    gate_open(&c.over);
    thread_join(blocked);
    close(c.far);
    gate_destroy(&c.inside);
    gate_destroy(&c.leave);
    gate_destroy(&c.returned);
    gate_destroy(&c.over);
}

static void data_comes_while_the_worker_is_held(void) { given_up(true); }
static void data_comes_after_it_returned(void) { given_up(false); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("no shutdown comes beside rt_block_on there");
    must_end_soon();
    CASE_LEAVES(data_comes_while_the_worker_is_held, "a worker that is stuck in a poll");
    CASE_LEAVES(data_comes_after_it_returned, "a worker that is stuck in a poll");
    return test_end();
}
