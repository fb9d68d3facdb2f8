/* The limit of what may be queued on a stream: over it nothing is taken, and a flush tells as many
 * as wait when there is room. Nothing that was taken is lost.
 */
#include "multi.h"

enum { LIMIT = 64 * 1024, PIECE = 1000, WAITERS = 10, PRODUCERS = 8, RECORD = 100 };

struct sending {
    struct steps steps;
    char piece[PIECE];
    char large[10 * LIMIT];
    size_t sent, read;
    uint64_t limit;
    rt_blob blob;
    rt_buf buf;
    int from;
};

static struct sending sending;

static rt_config limited(void) {
    rt_config config = test_config();
    config.send_limit = LIMIT;
    return config;
}

static void play(rt_poll_fn body, uint64_t limit) {
    memset(&sending, 0, sizeof sending);
    sending.limit = limit;
    rt_config config = test_config();
    config.send_limit = limit == 1 << 20 ? 0 : limit;
    play_with(&config, body, &sending);
}

static int64_t send_piece(struct sending *s) {
    net_pattern(s->piece, PIECE, 5, s->sent);
    int64_t r = rt_send(s->steps.io, s->piece, PIECE);
    if (r == PIECE) s->sent += PIECE;
    else CHECK_EQ(r, -EAGAIN);
    return r;
}

/* What is there; it must go on where the last read ended. */
static void read_some(struct sending *s, size_t most) {
    char data[16384];
    ssize_t r = read(s->steps.far, data, most < sizeof data ? most : sizeof data);
    if (r < 0 && errno == EAGAIN) return;
    CHECK_SYS(r);
    CHECK(net_pattern_holds(data, (size_t)r, 5, s->read));
    s->read += (size_t)r;
}

/* ---- over the limit ---- */

static int64_t fill_and_flush(rt_cx *cx, void *state) {
    struct sending *s = state;
    RT_BEGIN(&s->steps.frame);
    steps_pair(cx, &s->steps, net_unix_pair);
    s->sent = far_stuff(s->steps.near, 5, 0);
    CHECK_EQ(rt_poll_flush(cx, s->steps.io, 0), 0);
    for (s->steps.n = 0; s->steps.n < 3; s->steps.n++) {
        size_t before = s->sent;
        while (send_piece(s) == PIECE) continue;
        if (s->steps.n == 0) { /* when the socket has no room at all */
            CHECK(s->sent - before <= s->limit + PIECE);
            CHECK(s->sent - before >= s->limit - PIECE);
        }
        for (int i = 0; i < 100; i++) CHECK_EQ(rt_send(s->steps.io, s->piece, PIECE), -EAGAIN);
        OP_TURNS(&s->steps, 50);
        CHECK_EQ(rt_poll_flush(cx, s->steps.io, s->limit / 2), RT_PENDING);
        CHECK_EQ(rt_send(s->steps.io, s->piece, 1), -EAGAIN);
        while ((s->steps.got = rt_poll_flush(cx, s->steps.io, s->limit / 2)) == RT_PENDING) {
            read_some(s, 3000);
            RT_YIELD(cx);
        }
        CHECK_EQ(s->steps.got, 0);
        CHECK_EQ(send_piece(s), PIECE);
    }
    while ((s->steps.got = rt_poll_flush(cx, s->steps.io, 0)) == RT_PENDING) {
        read_some(s, SIZE_MAX);
        RT_YIELD(cx);
    }
    CHECK_EQ(s->steps.got, 0);
    /* As long as nothing is queued, anything is taken. */
    net_pattern(s->large, sizeof s->large, 5, s->sent);
    CHECK_EQ(rt_send(s->steps.io, s->large, sizeof s->large), sizeof s->large);
    s->sent += sizeof s->large;
    if (s->limit < sizeof s->large / 4) CHECK_EQ(rt_send(s->steps.io, "x", 1), -EAGAIN);
    while (s->read < s->sent) {
        read_some(s, SIZE_MAX);
        RT_YIELD(cx);
    }
    CHECK_EQ(net_drain(s->steps.far), 0);
    steps_close(&s->steps);
    CHECK_EQ(rt_poll_flush(cx, s->steps.io, 0), -EBADF);
    RT_END(0);
}

static void over_a_small_limit(void) { play(fill_and_flush, LIMIT); }
static void over_the_default_limit(void) { play(fill_and_flush, 1 << 20); }

/* ---- several who wait ---- */

struct flusher {
    rt_io io;
    size_t low_water;
    atomic_bool pending, flushed;
    rt_task task;
};

static int64_t wait_for_flush(rt_cx *cx, void *state) {
    struct flusher *f = state;
    int64_t r = rt_poll_flush(cx, f->io, f->low_water);
    atomic_store(&f->pending, r == RT_PENDING);
    if (r == 0) atomic_store(&f->flushed, true);
    return r;
}

static bool all_wait(void *arg) {
    struct flusher *f = arg;
    for (int i = 0; i < WAITERS; i++)
        if (!atomic_load(&f[i].pending)) return false;
    return true;
}

static void several_wait(void) {
    static struct flusher flushers[WAITERS];
    struct hand hand;
    int ends[2];
    rt_config config = limited();
    rt_runtime rt = test_runtime_with(&config);
    memset(flushers, 0, sizeof flushers);
    memset(&sending, 0, sizeof sending);
    hand_open(&hand, rt);
    net_unix_pair(ends);
    net_small_buffer(ends[0]); /* the queue becomes less by little at a time */
    sending.steps.io = io_of(rt, ends[0], 0);
    sending.steps.far = ends[1];
    sending.sent = far_stuff(ends[0], 5, 0);
    while (send_piece(&sending) == PIECE) continue;
    for (int i = 0; i < WAITERS; i++) {
        flushers[i].io = sending.steps.io;
        flushers[i].low_water = (size_t)i * (LIMIT / WAITERS);
        CHECK_EQ(rt_spawn(rt, wait_for_flush, &flushers[i], NULL, &flushers[i].task), 0);
    }
    drive_until(rt, all_wait, flushers);
    CHECK_EQ(rt_poll_flush(hand.cx, sending.steps.io, 0), RT_PENDING);
    deliver(rt);
    CHECK(all_wait(flushers)); /* nothing was read */
    /* The most modest one is first, and it is not the whole that was sent: the socket holds far less than half a
     * limit of it. (The first may be told before it gets to run, and much be read until then.) */
    while (!atomic_load(&flushers[WAITERS - 1].flushed)) {
        read_some(&sending, 1000);
        deliver(rt);
        CHECK(sending.sent - sending.read < LIMIT / 2 || !atomic_load(&flushers[0].flushed));
    }
    while (sending.read < sending.sent) {
        read_some(&sending, SIZE_MAX);
        deliver(rt);
    }
    for (int i = 0; i < WAITERS; i++) CHECK_EQ(join_task(flushers[i].task), 0);
    AWAIT_EQ(&hand, 0, rt_poll_flush(hand.cx, sending.steps.io, 0));
    CHECK_EQ(rt_close(sending.steps.io), 0);
    close(ends[1]);
    hand_close(&hand);
    multi_runtime_free(rt);
    hand_check(&hand);
}

/* ---- many who waited ---- */

/* Its deadline came first, say. */
static int64_t wait_once(rt_cx *cx, void *state) {
    CHECK_EQ(rt_poll_flush(cx, *(rt_io *)state, 0), RT_PENDING);
    return 0;
}

static void who_has_ended_is_forgotten(void) {
    enum { MANY = 1000, FEW = 64 };
    int ends[2];
    rt_runtime rt = test_runtime();
    memset(&sending, 0, sizeof sending);
    net_unix_pair(ends);
    rt_io io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_send(io, sending.large, sizeof sending.large), sizeof sending.large);
    for (int i = 0; i < MANY; i++) CHECK_EQ(rt_block_on(rt, wait_once, &io), 0);
    CHECK(census_take().library.tasks < FEW);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    multi_runtime_free(rt);
}

/* ---- a steady flow from many ---- */

struct producer {
    rt_frame frame;
    rt_io io;
    int number, count;
    int64_t got;
    rt_task task;
};

static int64_t produce(rt_cx *cx, void *state) {
    struct producer *p = state;
    char record[RECORD];
    RT_BEGIN(&p->frame);
    while (p->count > 0) {
        memset(record, p->number, sizeof record);
        p->got = rt_send(p->io, record, sizeof record);
        if (p->got == -EAGAIN) {
            RT_AWAIT(p->got, rt_poll_flush(cx, p->io, p->number % 2 == 0 ? 0 : 2000));
            CHECK_EQ(p->got, 0);
        } else {
            CHECK_EQ(p->got, RECORD);
            p->count--;
        }
    }
    RT_END(0);
}

struct consumer {
    int fd, counts[PRODUCERS], records;
};

static void *consume(void *arg) {
    struct consumer *c = arg;
    unsigned char record[RECORD];
    for (int i = 0; i < c->records; i++) {
        CHECK_EQ(net_get(c->fd, record, RECORD), RECORD);
        for (int at = 1; at < RECORD; at++) CHECK_EQ(record[at], record[0]);
        CHECK(record[0] < PRODUCERS);
        c->counts[record[0]]++;
    }
    return NULL;
}

static void a_steady_flow(void (*connect_ends)(int[2])) {
    struct producer producers[PRODUCERS] = {0};
    struct consumer consumer = {0};
    int ends[2], each = scaled(4000);
    rt_config config = test_config();
    config.send_limit = 4000;
    rt_runtime rt = test_runtime_with(&config);
    connect_ends(ends);
    net_small_buffer(ends[0]);
    consumer.fd = ends[1];
    consumer.records = each * PRODUCERS;
    rt_io io = io_of(rt, ends[0], 0);
    pthread_t thread = thread_start(consume, &consumer);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i].io = io;
        producers[i].number = i;
        producers[i].count = each;
        CHECK_EQ(rt_spawn(rt, produce, &producers[i], NULL, &producers[i].task), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) CHECK_EQ(join_task(producers[i].task), 0);
    struct flusher flusher = {.io = io};
    CHECK_EQ(rt_block_on(rt, wait_for_flush, &flusher), 0);
    thread_join(thread);
    for (int i = 0; i < PRODUCERS; i++) CHECK_EQ(consumer.counts[i], each);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    multi_runtime_free(rt);
}

static void a_steady_flow_over_tcp(void) { a_steady_flow(net_pair); }
static void a_steady_flow_over_unix(void) { a_steady_flow(net_unix_pair); }

/* ---- small pieces ---- */

enum { LEAST = 40, LEAST_OF_A_LEASE = 1024 };

/* Each takes memory, of which the limit is to be one. The peer gets all that was taken, and a flush ends. */
static int64_t send_small(rt_cx *cx, void *state) {
    struct sending *s = state;
    struct steps *t = &s->steps;
    int ends[2];
    RT_BEGIN(&t->frame);
    for (t->n = 0; t->n < 3; t->n++) {
        steps_pair(cx, t, net_unix_pair);
        s->sent = far_stuff(t->near, 5, 0);
        CHECK_EQ(rt_blob_new("b", 1, &s->blob), 0);
        net_unix_pair(ends);
        s->from = ends[1];
        t->peer = io_of(rt_cx_runtime(cx), ends[0], RT_READABLE);
        for (t->got = 1, t->i = 0; t->got == 1; t->i++) {
            if (t->n == 2) {
                net_put(s->from, "l", 1);
                RT_AWAIT(t->got, rt_poll_read_buf(cx, t->peer, &s->buf));
                CHECK_EQ(t->got, 1);
                t->got = rt_send_buf(t->io, &s->buf);
                if (t->got < 0) CHECK_EQ(rt_buf_release(s->buf.lease), 0);
            } else {
                t->got = t->n == 0 ? rt_send(t->io, "a", 1) : rt_send_blob(t->io, s->blob);
            }
        }
        CHECK_EQ(t->got, -EAGAIN);
        CHECK_EQ(t->i - 1, (int)(s->limit / (t->n == 2 ? LEAST_OF_A_LEASE : LEAST) + 1));
        CHECK_EQ(rt_blob_free(s->blob), 0);
        close(s->from);
        for (s->read = 0, s->sent += (size_t)t->i - 1; s->read < s->sent;) {
            ssize_t r = read(t->far, s->large, sizeof s->large);
            if (r > 0) s->read += (size_t)r;
            else CHECK_EQ(errno, EAGAIN);
            RT_YIELD(cx);
        }
        RT_AWAIT(t->got, rt_poll_flush(cx, t->io, 0));
        CHECK_EQ(t->got, 0);
        steps_close(t);
    }
    RT_END(0);
}
static void small_pieces_count_for_their_memory(void) { play(send_small, LIMIT); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(over_a_small_limit);
    CASE(over_the_default_limit);
    CASE(small_pieces_count_for_their_memory);
    CASE(several_wait);
    CASE(who_has_ended_is_forgotten);
    CASE(a_steady_flow_over_tcp);
    CASE(a_steady_flow_over_unix);
    return test_end();
}
