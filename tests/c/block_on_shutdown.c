/* What rt_block_on polls with is the caller's, so it does not return while its poll goes on: not
 * even when a shutdown gave the task up. */
#include "op.h"
#include "soon.h"

enum { MOMENT = 50 * 1000 * 1000 };

struct caller {
    rt_runtime rt;
    gate inside, leave, returned;
    atomic_bool left;
};

static int64_t stay_inside(rt_cx *cx, void *state) {
    (void)cx;
    struct caller *c = state;
    gate_open(&c->inside);
    gate_wait(&c->leave);
    atomic_store(&c->left, true);
    return 7;
}

static void *block(void *arg) {
    struct caller *c = arg;
    int64_t r = rt_block_on(c->rt, stay_inside, c);
    CHECK(atomic_load(&c->left));
    CHECK(r == 7 || r == -ECANCELED);
    gate_open(&c->returned);
    return NULL;
}

static void caller_init(struct caller *c) {
    *c = (struct caller){.rt = test_runtime()};
    gate_init(&c->inside);
    gate_init(&c->leave);
    gate_init(&c->returned);
}

static void caller_destroy(struct caller *c) {
    gate_destroy(&c->inside);
    gate_destroy(&c->leave);
    gate_destroy(&c->returned);
}

static void it_returns_after_its_poll(void) {
    struct caller c;
    caller_init(&c);
    pthread_t blocked = thread_start(block, &c);
    gate_wait(&c.inside);
    CHECK_EQ(rt_shutdown(c.rt, 1000000), 1);
    CHECK(!gate_wait_for(&c.returned, MOMENT));
    gate_open(&c.leave);
    gate_wait_soon(&c.returned);
    thread_join(blocked);
    CHECK_EQ(rt_free(c.rt), 0);
    caller_destroy(&c);
}

/* The free waits for the poll no more than the shutdown did. */
static void a_free_does_not_wait_for_it(void) {
    struct caller c;
    caller_init(&c);
    pthread_t blocked = thread_start(block, &c);
    gate_wait(&c.inside);
    CHECK_EQ(rt_shutdown(c.rt, 1000000), 1);
    CHECK_EQ(rt_free(c.rt), 0);
    CHECK(!atomic_load(&c.left));
    gate_open(&c.leave);
    gate_wait_soon(&c.returned);
    thread_join(blocked);
    caller_destroy(&c);
}

/* ---- what another worker has in hand ---- */

/* Of what fills the stream, more is left than leaves together with what comes behind. */
enum { FIRST = 2 << 20, SECOND = 4 << 20 };

static struct sender {
    rt_runtime rt;
    rt_io io;
    int far;
    gate begun, queued, inside, leave, stopped, returned;
    pthread_t here; /* who runs the task of rt_block_on */
    atomic_bool full;
    struct steps first, second;
    char bytes[SECOND], taken[SECOND];
} sender;

static gate *const sender_gates[] = {&sender.begun, &sender.queued,  &sender.inside,
                                     &sender.leave, &sender.stopped, &sender.returned};
enum { GATES = sizeof sender_gates / sizeof sender_gates[0] };

static int64_t send_behind(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    sender.here = pthread_self();
    gate_open(&sender.begun);
    while (!atomic_load(&sender.full)) RT_YIELD(cx);
    CHECK_EQ(rt_submit_send(cx, sender.io, sender.bytes, SECOND, 0, &s->op), 0);
    gate_open(&sender.queued);
    OP_TAKE(s);
    RT_END(s->got);
}

static void *block_behind(void *arg) {
    (void)arg;
    CHECK_EQ(rt_block_on(sender.rt, send_behind, &sender.second), -ECANCELED);
    gate_open(&sender.returned);
    return NULL;
}

/* The end of a worker's thread: the hook for that is not called where a task was given up in its poll. */
static pthread_key_t end_key;

/* On another worker: fills the stream, so that this worker sends what is behind, too; and is stuck when it has that in hand. */
static int64_t send_first(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    if (pthread_equal(sender.here, pthread_self())) RT_RETURN(1);
    CHECK_EQ(rt_submit_send(cx, sender.io, sender.bytes, FIRST, 0, &s->op), 0);
    atomic_store(&sender.full, true);
    OP_TAKE_EQ(s, FIRST);
    OP_TURNS(s, 3);
    CHECK_EQ(pthread_setspecific(end_key, NULL), 0);
    gate_open(&sender.inside);
    gate_wait(&sender.leave);
    RT_END(0);
}

/* The task ended, because it was on the wrong worker, before the stream was full. */
static bool ended_before(rt_task task) {
    int64_t result, r;
    do r = rt_join(task, 1000000, &result);
    while (r == -ETIME && !atomic_load(&sender.full));
    return r == 0;
}

static void thread_starts(void *arg) {
    (void)arg;
    CHECK_EQ(pthread_setspecific(end_key, &sender), 0);
}

static void thread_ends(void *arg) {
    (void)arg;
    gate_open(&sender.stopped);
}

/* Its operation is another worker's to end, which is stuck until its own has gone. */
static void let_go(bool when_freed) {
    int ends[2];
    memset(&sender, 0, sizeof sender);
    for (int i = 0; i < GATES; i++) gate_init(sender_gates[i]);
    rt_config config = test_config();
    config.on_thread_start = thread_starts;
    sender.rt = test_runtime_with(&config);
    net_unix_pair(ends);
    sender.far = ends[1];
    sender.io = io_of(sender.rt, ends[0], RW);
    pthread_t blocked = thread_start(block_behind, NULL);
    gate_wait(&sender.begun);
    rt_spawn_opts opts;
    CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
    opts.flags = RT_SPAWN_PINNED;
    opts.poll = send_first;
    opts.state = &sender.first;
    rt_task task;
    /* Each worker has its turn. */
    do CHECK_EQ(rt_spawn_with(sender.rt, &opts, &task), 0);
    while (ended_before(task));
    gate_wait(&sender.queued);
    CHECK_EQ(net_get(sender.far, sender.taken, FIRST), FIRST);
    gate_wait(&sender.inside);
    CHECK(CHECK_OK(rt_shutdown(sender.rt, 0)) >= 1);
    for (uint32_t i = 1; i < test_workers; i++) gate_wait_soon(&sender.stopped);
    if (when_freed) CHECK_EQ(rt_free(sender.rt), 0);
    gate_open(&sender.leave);
    gate_wait_soon(&sender.returned);
    thread_join(blocked);
    if (!when_freed) CHECK_EQ(rt_free(sender.rt), 0);
    /* Nobody uses the descriptor any more. */
    CHECK(net_get(sender.far, sender.taken, SECOND) < SECOND);
    close(sender.far);
    for (int i = 0; i < GATES; i++) gate_destroy(sender_gates[i]);
}

static void it_returns_when_a_stuck_worker_lets_go(void) { let_go(false); }
static void it_returns_when_that_is_after_the_free(void) { let_go(true); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("rt_block_on polls on its own thread there");
    must_end_soon();
    CHECK_EQ(pthread_key_create(&end_key, thread_ends), 0);
    CASE_LEAVES(it_returns_after_its_poll, "a call that is stuck in a poll");
    CASE_LEAVES(a_free_does_not_wait_for_it, "a call that is stuck in a poll");
    CASE_LEAVES(it_returns_when_a_stuck_worker_lets_go, "a call whose operation was given up");
    CASE_LEAVES(it_returns_when_that_is_after_the_free, "a call whose operation was given up");
    return test_end();
}
