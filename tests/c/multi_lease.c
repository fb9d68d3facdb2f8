/* Leases: the memory of a received buffer is the program's until it is released, once, by whomever;
 * it outlives the operation, the connection, the task and the runtime.
 */
#include "multi.h"

enum { THREADS = 4, QUEUE = 16, HELD = 8 };

struct holder {
    struct steps steps;
    struct far_end far_end;
    rt_buf buf, held[HELD];
    size_t offset, kept[HELD];
    int count;
};

static struct holder holder;

static struct holder *fresh(void) {
    memset(&holder, 0, sizeof holder);
    return &holder;
}

/* In a coroutine: buffer `i` of those that are held comes from a write of its own. */
#define LEASE(h, i)                                                                      \
    do {                                                                                 \
        unsigned char data[100];                                                         \
        net_pattern(data, sizeof data, (uint64_t)(i), 0);                                \
        net_put((h)->steps.far, data, sizeof data);                                      \
        RT_AWAIT((h)->steps.got, rt_poll_recv_next(cx, (h)->steps.op, &(h)->held[i]));    \
        buf_follows(&(h)->held[i], (h)->steps.got, (uint64_t)(i), 0);                     \
    } while (0)

static void check_held(const struct holder *h) {
    for (int i = 0; i < HELD; i++)
        CHECK(net_pattern_holds(h->held[i].ptr, h->held[i].len, (uint64_t)i, 0));
}

static void release_held(struct holder *h) {
    for (int i = 0; i < HELD; i++) CHECK_EQ(rt_buf_release(h->held[i].lease), 0);
    for (int i = 0; i < HELD; i++) CHECK_EQ(rt_buf_release(h->held[i].lease), -EBADF);
}

/* ---- released by other threads ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    rt_buf bufs[QUEUE];
    size_t offsets[QUEUE];
    int head, tail;
    bool over;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool queue_put(const rt_buf *buf, size_t offset) {
    pthread_mutex_lock(&queue.lock);
    bool room = queue.tail - queue.head < QUEUE;
    if (room) {
        queue.bufs[queue.tail % QUEUE] = *buf;
        queue.offsets[queue.tail++ % QUEUE] = offset;
        pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    return room;
}

static bool queue_get(rt_buf *buf, size_t *offset) {
    pthread_mutex_lock(&queue.lock);
    while (queue.head == queue.tail && !queue.over)
        pthread_cond_wait(&queue.changed, &queue.lock);
    bool any = queue.head != queue.tail;
    if (any) {
        *buf = queue.bufs[queue.head % QUEUE];
        *offset = queue.offsets[queue.head++ % QUEUE];
    }
    pthread_mutex_unlock(&queue.lock);
    return any;
}

static void *check_and_release(void *arg) {
    const struct holder *h = arg;
    rt_buf buf;
    for (size_t offset; queue_get(&buf, &offset);) {
        CHECK(net_pattern_holds(buf.ptr, buf.len, h->far_end.seed, offset));
        memset(buf.ptr, 0xee, buf.len); /* it is ours to write */
        CHECK_EQ(rt_buf_release(buf.lease), 0);
    }
    return NULL;
}

static int64_t hand_on(rt_cx *cx, void *state) {
    struct holder *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (;;) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &h->buf));
        if (s->got <= 0) break;
        while (!queue_put(&h->buf, h->offset)) RT_YIELD(cx);
        h->offset += h->buf.len;
    }
    CHECK_EQ(s->got, 0);
    CHECK_EQ(h->offset, h->far_end.bytes);
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void other_threads_release(void) {
    struct holder *h = fresh();
    pthread_t threads[THREADS];
    int ends[2];
    net_unix_pair(ends);
    h->steps.near = ends[0];
    h->far_end = (struct far_end){
        .fd = ends[1], .bytes = (size_t)scaled(4 << 20), .piece = 3000, .shuts = true};
    queue.over = false;
    rt_runtime rt = test_runtime();
    for (int i = 0; i < THREADS; i++) threads[i] = thread_start(check_and_release, h);
    far_writes(&h->far_end);
    CHECK_EQ(rt_block_on(rt, hand_on, h), 0);
    pthread_mutex_lock(&queue.lock);
    queue.over = true;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    thread_join(h->far_end.thread);
    CHECK_EQ(leases_out(rt), 0);
    close(ends[1]);
    multi_runtime_free(rt);
}

/* ---- once ---- */

static atomic_uint_fast64_t shared_lease;
static atomic_int releases;
static gate begin, done;

static void *release_shared(void *arg) {
    int rounds = *(int *)arg;
    for (int i = 0; i < rounds; i++) {
        gate_wait(&begin);
        int64_t r = rt_buf_release(atomic_load(&shared_lease));
        if (r == 0) atomic_fetch_add(&releases, 1);
        else CHECK_EQ(r, -EBADF);
        gate_open(&done);
    }
    return NULL;
}

static int64_t lease_for_two(rt_cx *cx, void *state) {
    struct holder *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (s->n = 0; s->n < (size_t)h->count; s->n++) {
        LEASE(h, 0);
        atomic_store(&shared_lease, h->held[0].lease);
        for (int i = 0; i < 2; i++) gate_open(&begin);
        for (int i = 0; i < 2; i++) gate_wait(&done);
        CHECK_EQ(atomic_exchange(&releases, 0), 1);
        CHECK_EQ(leases_out(rt_cx_runtime(cx)), 0);
    }
    steps_close(s);
    RT_END(0);
}

static void of_two_releases_one_succeeds(void) {
    struct holder *h = fresh();
    pthread_t threads[2];
    h->count = scaled(2000);
    gate_init(&begin);
    gate_init(&done);
    for (int i = 0; i < 2; i++) threads[i] = thread_start(release_shared, &h->count);
    play_alone(lease_for_two, h);
    for (int i = 0; i < 2; i++) thread_join(threads[i]);
    gate_destroy(&begin);
    gate_destroy(&done);
}

/* A handle of an earlier life does nothing to a later one, though it is the same buffer's. */
static int64_t release_again(rt_cx *cx, void *state) {
    struct holder *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_buf_release(0), 0);
    CHECK_EQ(rt_buf_release(s->io), -EBADF);
    CHECK_EQ(rt_buf_release(UINT64_MAX), -EBADF);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_buf_release(s->op), -EBADF);
    LEASE(h, 0);
    for (s->n = 0; s->n < 300; s->n++) {
        h->buf = h->held[0];
        CHECK_EQ(rt_buf_release(h->buf.lease), 0);
        LEASE(h, 0);
        CHECK(h->held[0].lease != h->buf.lease);
        CHECK_EQ(rt_buf_release(h->buf.lease), -EBADF);
        CHECK_EQ(leases_out(rt_cx_runtime(cx)), 1);
    }
    CHECK_EQ(rt_buf_release(h->held[0].lease), 0);
    steps_close(s);
    RT_END(0);
}

static void a_handle_is_good_once(void) {
    rt_config config = test_config();
    config.buffer_count = 1;
    play_with(&config, release_again, fresh());
}

/* ---- they outlive everything ---- */

static int64_t lease_and_leave(rt_cx *cx, void *state) {
    struct holder *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (s->n = 0; s->n < HELD; s->n++) LEASE(h, s->n);
    CHECK_EQ(rt_cancel(s->op), 0);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &h->buf));
    CHECK_EQ(s->got, -ECANCELED);
    check_held(h); /* the operation is over */
    steps_close(s);
    OP_TURNS(s, 50);
    check_held(h); /* the connection is closed */
    CHECK_EQ(leases_out(rt_cx_runtime(cx)), HELD);
    RT_END(0);
}

static void leases_outlive_task_and_runtime(void) {
    struct holder *h = fresh();
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, lease_and_leave, h), 0);
    settle(rt);
    check_held(h);
    CHECK_EQ(leases_out(rt), HELD);
    CHECK_EQ(rt_free(rt), 0);
    check_held(h);
    rt = test_runtime();
    CHECK_EQ(leases_out(rt), HELD);
    release_held(h);
    CHECK_EQ(leases_out(rt), 0);
    multi_runtime_free(rt);
}

/* The task is aborted, or the runtime shut down, with the operation going on. */
static int64_t lease_and_hang(rt_cx *cx, void *state) {
    struct holder *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (s->n = 0; s->n < HELD; s->n++) LEASE(h, s->n);
    net_put(s->far, "left behind", 11);
    OP_TURNS(s, (int)h->count % 3 * 20);
    for (;;) RT_YIELD(cx);
    RT_END(0);
}

static bool all_leased(void *arg) { return leases_out(*(rt_runtime *)arg) == HELD; }

static void leases_outlive_a_violent_end(void) {
    for (int round = 0; round < 12; round++) {
        struct holder *h = fresh();
        rt_runtime rt = test_runtime();
        h->count = round;
        struct test_until until = {all_leased, &rt};
        rt_task task = spawn_near(rt, lease_and_hang, h, 0);
        CHECK_EQ(join_task(spawn_near(rt, test_until_poll, &until, task)), 0);
        if (round % 2 == 0) CHECK_EQ(rt_abort(task), 0);
        else CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        check_held(h);
        if (round % 4 < 2) release_held(h);
        CHECK_EQ(leases_out(rt), round % 4 < 2 ? 0 : HELD);
        CHECK_EQ(rt_free(rt), 0);
        if (round % 4 >= 2) check_held(h), release_held(h);
        close(h->steps.far);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(other_threads_release);
    CASE(of_two_releases_one_succeeds);
    CASE(a_handle_is_good_once);
    CASE(leases_outlive_task_and_runtime);
    CASE(leases_outlive_a_violent_end);
    return test_end();
}
