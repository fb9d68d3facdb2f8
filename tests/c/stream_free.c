/* Sends that are queued while their runtime is freed: whoever sends or closes then, on another thread or on a worker
 * that ends, neither hangs nor spoils what later runtimes begin. */
#include "multi.h"
#include "soon.h"

enum { ROUNDS = 300, SOCKETS = 100, MUCH = 1 << 20 };

static char data[MUCH];

/* Of a pair each: near ends that are registered anew every round, and that a far end never empties. */
struct crowd {
    rt_io ios[SOCKETS];
    int near[SOCKETS], far[SOCKETS];
    atomic_bool begun;
};

static void crowd_pair(struct crowd *c) {
    for (int i = 0; i < SOCKETS; i++) {
        int ends[2];
        net_unix_pair(ends);
        c->near[i] = ends[0];
        c->far[i] = ends[1];
    }
}

static void crowd_close_far(struct crowd *c) {
    for (int i = 0; i < SOCKETS; i++) close(c->far[i]);
}

/* The thread begins, and then the runtime is freed: a little later from round to round. */
static void free_beside(rt_runtime rt, struct crowd *c, void *(*run)(void *), int round) {
    atomic_store(&c->begun, false);
    pthread_t beside = thread_start(run, c);
    while (!atomic_load(&c->begun)) sched_yield();
    for (volatile int wait = round % 50 * 500; wait > 0; wait--) {}
    CHECK_EQ(rt_free(rt), 0);
    thread_join(beside);
}

static bool goes_on(int round, uint64_t since) {
    return round == 0 || (round < scaled(ROUNDS) && !long_at_it(since));
}

/* ---- sends ---- */

struct waits {
    struct crowd *crowd;
    rt_op ops[SOCKETS];
    char bytes[SOCKETS];
};

static int by_number(const void *a, const void *b) {
    rt_op one = *(const rt_op *)a, other = *(const rt_op *)b;
    return (one > other) - (one < other);
}

/* Operations that wait at the same time have each a place of their own, which is the low 27 bits of a handle. */
static int64_t begin_one_each(rt_cx *cx, void *state) {
    struct waits *w = state;
    for (int i = 0; i < SOCKETS; i++) {
        CHECK_EQ(rt_submit_recv(cx, w->crowd->ios[i], &w->bytes[i], 1, 0, &w->ops[i]), 0);
        w->ops[i] &= (1 << 27) - 1;
    }
    qsort(w->ops, SOCKETS, sizeof w->ops[0], by_number);
    for (int i = 1; i < SOCKETS; i++) CHECK(w->ops[i - 1] != w->ops[i]);
    return 0;
}

static void *send_to_all(void *arg) {
    struct crowd *c = arg;
    atomic_store(&c->begun, true);
    for (int i = 0; i < SOCKETS; i++) {
        int64_t sent = rt_send(c->ios[i], data, 100);
        if (sent != -EBADF) CHECK_EQ(sent, 100);
    }
    return NULL;
}

static void senders(void) {
    static struct crowd c;
    static struct waits w;
    w.crowd = &c;
    crowd_pair(&c);
    for (int i = 0; i < SOCKETS; i++) net_stuff(c.near[i]);
    uint64_t since = test_clock();
    for (int round = 0; goes_on(round, since); round++) {
        rt_runtime rt = test_runtime();
        for (int i = 0; i < SOCKETS; i++) c.ios[i] = io_of(rt, c.near[i], RT_IO_BORROWED);
        CHECK_EQ(rt_block_on(rt, begin_one_each, &w), 0);
        free_beside(rt, &c, send_to_all, round);
    }
    for (int i = 0; i < SOCKETS; i++) close(c.near[i]);
    crowd_close_far(&c);
}

/* ---- closes ---- */

static void *close_all(void *arg) {
    struct crowd *c = arg;
    atomic_store(&c->begun, true);
    for (int i = 0; i < SOCKETS; i++) {
        int64_t closed = rt_close(c->ios[i]);
        if (closed != -EBADF) CHECK_EQ(closed, 0);
    }
    return NULL;
}

static void closers(void) {
    static struct crowd c;
    uint64_t since = test_clock();
    for (int round = 0; goes_on(round, since); round++) {
        rt_runtime rt = test_runtime();
        crowd_pair(&c);
        for (int i = 0; i < SOCKETS; i++) {
            c.ios[i] = io_of(rt, c.near[i], 0);
            CHECK_EQ(rt_send(c.ios[i], data, MUCH), MUCH);
        }
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        free_beside(rt, &c, close_all, round);
        crowd_close_far(&c);
    }
}

/* ---- a hook ---- */

struct late {
    rt_io io;
    int64_t sent;
};

/* The worker's operations have ended by then. */
static void send_late(void *arg) {
    struct late *l = arg;
    l->sent = rt_send(l->io, data, MUCH);
}

static void a_worker_that_has_ended(void) {
    struct late l = {0};
    int ends[2];
    rt_config config = test_config();
    config.workers = current_thread() ? 0 : 1;
    config.on_thread_stop = send_late;
    config.hook_arg = &l;
    rt_runtime rt = test_runtime_with(&config);
    net_unix_pair(ends);
    l.io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(l.sent, current_thread() ? 0 : MUCH);
    CHECK_EQ(rt_close(l.io), -EBADF);
    close(ends[1]);
}

/* ---- a task that was given up ---- */

struct given_up {
    rt_io io;
    rt_op ops[3];
    gate inside, leave, thread_ended;
};

static pthread_key_t end_key;

static void tell_thread_end(void *arg) { gate_open(&((struct given_up *)arg)->thread_ended); }

static int64_t send_and_wait(rt_cx *cx, void *state) {
    struct given_up *g = state;
    if (g->ops[0] == 0)
        for (int i = 0; i < 3; i++) CHECK_EQ(rt_submit_send(cx, g->io, data, MUCH, 0, &g->ops[i]), 0);
    return rt_poll_op(cx, g->ops[0]);
}

static int64_t get_stuck(rt_cx *cx, void *state) {
    struct given_up *g = state;
    (void)cx;
    CHECK_EQ(pthread_setspecific(end_key, g), 0);
    gate_open(&g->inside);
    gate_wait(&g->leave);
    return 0;
}

/* It waited behind a task that was stuck: the worker that comes back ends its sends, for nobody else will. */
static void a_task_that_was_given_up(void) {
    static struct given_up g;
    int ends[2];
    rt_config config = test_config();
    config.workers = 1;
    rt_runtime rt = test_runtime_with(&config);
    net_unix_pair(ends);
    gate_init(&g.inside);
    gate_init(&g.leave);
    gate_init(&g.thread_ended);
    g.io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_spawn(rt, send_and_wait, &g, NULL, NULL), 0);
    while (metrics(rt).ops_live == 0) sched_yield();
    CHECK_EQ(rt_spawn(rt, get_stuck, &g, NULL, NULL), 0);
    gate_wait(&g.inside);
    CHECK_EQ(rt_shutdown(rt, 0), 2);
    gate_open(&g.leave);
    gate_wait_soon(&g.thread_ended);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_close(g.io), -EBADF);
    /* The descriptor's users have left. */
    net_drain(ends[1]);
    CHECK_EQ(read(ends[1], data, 1), 0);
    close(ends[1]);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(senders);
    CASE(closers);
    CASE(a_worker_that_has_ended);
    if (!current_thread()) {
        CHECK_EQ(pthread_key_create(&end_key, tell_thread_end), 0);
        CASE_LEAVES(a_task_that_was_given_up, "a task that was given up");
    }
    return test_end();
}
