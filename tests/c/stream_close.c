/* A close drops what is queued and could not be sent: the peer sees a beginning of it and the end,
 * operations are cancelled, and buffers, blobs and descriptors come back.
 */
#include "multi.h"

enum { OPS = 20, LEASES = 6, BYTES = 3000, THREADS = 4, RACES = 300 };

enum way { CLOSE, SUBMIT, FREE, SHUTDOWN, WAYS };

struct closing {
    struct steps steps;
    enum way way;
    rt_op ops[OPS];
    rt_buf bufs[LEASES];
    rt_io source; /* of the leases */
    int source_far, at;
    size_t sent;
    char data[OPS][BYTES];
};

static struct closing closing;

/* One stream of a pattern, by every call. The sizes differ, for a lease has what came. */
static void queue_much(rt_cx *cx, struct closing *c) {
    rt_blob blob;
    for (int i = 0; i < OPS; i++) {
        net_pattern(c->data[i], BYTES, 4, c->sent);
        if (i % 2 == 0) {
            CHECK_EQ(rt_submit_send(cx, c->steps.io, c->data[i], BYTES, 0, &c->ops[i]), 0);
        } else if (i % 4 == 1) {
            CHECK_EQ(rt_blob_new(c->data[i], BYTES, &blob), 0);
            CHECK_EQ(rt_send_blob(c->steps.io, blob), BYTES);
            CHECK_EQ(rt_blob_free(blob), 0);
        } else {
            CHECK_EQ(rt_send(c->steps.io, c->data[i], BYTES), BYTES);
        }
        c->sent += BYTES;
    }
    for (int i = 0; i < LEASES; i++) {
        net_pattern(c->bufs[i].ptr, c->bufs[i].len, 4, c->sent);
        c->sent += c->bufs[i].len;
        CHECK_EQ(rt_send_buf(c->steps.io, &c->bufs[i]), c->bufs[i].len);
    }
}

static void pairs(rt_cx *cx, struct closing *c) {
    int ends[2];
    net_unix_pair(ends);
    c->source = io_of(rt_cx_runtime(cx), ends[0], 0);
    c->source_far = ends[1];
    steps_pair(cx, &c->steps, c->at % 2 == 0 ? net_pair : net_unix_pair);
    c->sent = far_stuff(c->steps.near, 4, 0);
}

/* The peer's view: a beginning of what was sent, and the end. */
static void *see_the_end(void *arg) {
    struct closing *c = arg;
    static unsigned char seen[8 << 20];
    size_t n = 0;
    for (;;) {
        ssize_t r = read(c->steps.far, seen + n, sizeof seen - n);
        if (r > 0) n += (size_t)r;
        else if (r == 0 || (errno != EINTR && errno != EAGAIN)) break;
        else net_again(c->steps.far, POLLIN);
    }
    CHECK(n <= c->sent);
    CHECK(net_pattern_holds(seen, n, 4, 0));
    return NULL;
}

static int64_t fill(rt_cx *cx, void *state) {
    struct closing *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    pairs(cx, c);
    CHECK_EQ(rt_submit_recv_multi(cx, c->source, &s->other), 0);
    for (c->at = 0; c->at < LEASES; c->at++) {
        net_put(c->source_far, c->data[0], 100);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->other, &c->bufs[c->at]));
        CHECK(s->got > 0);
    }
    queue_much(cx, c);
    CHECK_EQ(rt_deregister(s->io), -EBUSY);
    CHECK_EQ(rt_poll_write(cx, s->io, "x", 1), -EBUSY);
    OP_TURNS(s, (int)s->n * 10);
    if (c->way == SHUTDOWN || c->way == FREE) RT_RETURN(0);
    if (c->way == CLOSE) CHECK_EQ(rt_close(s->io), 0);
    else CHECK_EQ(rt_submit_close(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_send(s->io, "x", 1), -EBADF);
    CHECK_EQ(rt_poll_flush(cx, s->io, 0), -EBADF);
    for (c->at = 0; c->at < OPS; c->at += 2) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[c->at]));
        CHECK_EQ(s->got, -ECANCELED);
    }
    if (c->way == SUBMIT) OP_TAKE_EQ(s, 0);
    /* The buffers are all there: as many as the pool has. */
    far_stuff(c->source_far, 0, 0);
    for (c->at = 0; c->at < LEASES; c->at++) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->other, &c->bufs[c->at]));
        CHECK(s->got > 0);
    }
    for (int i = 0; i < LEASES; i++) CHECK_EQ(rt_buf_release(c->bufs[i].lease), 0);
    RT_END(0);
}

static void with_a_full_queue(enum way way) {
    for (int round = 0; round < 8; round++) {
        struct closing *c = &closing;
        memset(c, 0, sizeof *c);
        c->way = way;
        c->at = round;
        c->steps.n = (size_t)round / 2 % 3;
        rt_config config = test_config();
        config.buffer_count = LEASES;
        rt_runtime rt = test_runtime_with(&config);
        CHECK_EQ(rt_block_on(rt, fill, c), 0);
        if (way == SHUTDOWN) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
        if (way == SHUTDOWN || way == FREE) CHECK_EQ(rt_free(rt), 0);
        on_thread(see_the_end, c);
        close(c->steps.far);
        close(c->source_far);
        if (way == SHUTDOWN || way == FREE) {
            rt = test_runtime();
            CHECK_EQ(leases_out(rt), 0);
        } else {
            CHECK_EQ(rt_close(c->source), 0);
        }
        multi_runtime_free(rt);
    }
}

static void by_rt_close(void) { with_a_full_queue(CLOSE); }
static void by_an_operation(void) { with_a_full_queue(SUBMIT); }
static void by_rt_free(void) { with_a_full_queue(FREE); }
static void by_a_shutdown(void) { with_a_full_queue(SHUTDOWN); }

/* ---- beside those who send ---- */

static atomic_uint_fast64_t shared_io;

/* Until the connection is closed under it. */
static void *send_on(void *arg) {
    gate *closed = arg;
    static const char data[700];
    rt_io io = atomic_load(&shared_io);
    rt_blob blob;
    CHECK_EQ(rt_blob_new(data, sizeof data, &blob), 0);
    for (int64_t r = 0; r != -EBADF; sched_yield()) {
        r = rt_send(io, data, sizeof data);
        if (r == sizeof data) r = rt_send_blob(io, blob);
        CHECK(r == sizeof data || r == -EAGAIN || r == -EPIPE || r == -EBADF);
    }
    CHECK_EQ(rt_blob_free(blob), 0);
    gate_open(closed);
    return NULL;
}

static void *read_all(void *arg) {
    static char data[65536];
    int fd = *(int *)arg;
    for (ssize_t r = 1; r > 0;) {
        r = read(fd, data, sizeof data);
        if (r < 0 && net_again(fd, POLLIN)) r = 1;
    }
    return NULL;
}

static void beside_threads_that_send(void) {
    rt_config config = test_config();
    config.send_limit = 20000;
    rt_runtime rt = test_runtime_with(&config);
    gate closed;
    gate_init(&closed);
    for (int round = 0; round < scaled(RACES); round++) {
        pthread_t threads[THREADS], reader;
        int ends[2];
        (round % 2 == 0 ? net_pair : net_unix_pair)(ends);
        net_small_buffer(ends[0]);
        rt_io io = io_of(rt, ends[0], 0);
        atomic_store(&shared_io, io);
        reader = thread_start(read_all, &ends[1]);
        for (int i = 0; i < THREADS; i++) threads[i] = thread_start(send_on, &closed);
        int polls = round % 16 * 4;
        if (polls > 0) drive_until(rt, count_down, &polls);
        CHECK_EQ(rt_close(io), 0);
        for (int i = 0; i < THREADS; i++) gate_wait(&closed);
        for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
        thread_join_driving(reader, rt); /* it sees the end when the last user closed it */
        close(ends[1]);
    }
    gate_destroy(&closed);
    multi_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(by_rt_close);
    CASE(by_an_operation);
    CASE(by_rt_free);
    CASE(by_a_shutdown);
    CASE(beside_threads_that_send);
    return test_end();
}
