/* Peers that are slow or silent: a byte at a time in either direction, half of a connection closed for
 * ever, nothing read at all. Nothing is lost, little is held, and deadlines end it.
 */
#include "multi.h"
#include "serve.h"
#include "soon.h"

#include <malloc.h>

enum { BYTES = 2000, LIMIT = 64 * 1024 };

/* ---- a peer that sends a byte when the one before has arrived ---- */

enum way { BY_READ, BY_OPERATION, BY_MULTISHOT, BY_EXACT, BY_LINE, WAYS };

struct drip {
    rt_frame frame;
    enum way way;
    rt_io io;
    rt_op op;
    rt_stream stream;
    rt_buf lease;
    const void *line;
    size_t len, n;
    int64_t r;
    int far;
    gate arrived;
    char data[BYTES];
};

static void *drip(void *arg) {
    struct drip *d = arg;
    for (int i = 0; i < BYTES; i++) {
        char byte = i % 100 == 99 ? '\n' : (char)('a' + i % 26);
        net_put(d->far, &byte, 1);
        /* A line, and an exact number, are not there before their last byte. */
        if (d->way < BY_EXACT || i % 100 == 99) gate_wait(&d->arrived);
    }
    CHECK_SYS(shutdown(d->far, SHUT_WR));
    return NULL;
}

/* The next piece, whatever the way is. */
static int64_t piece(rt_cx *cx, struct drip *d) {
    char *at = d->data + d->n;
    int64_t r;
    switch (d->way) {
    case BY_READ: return rt_poll_read(cx, d->io, at, BYTES - d->n);
    case BY_EXACT: return rt_poll_read_exact(cx, d->stream, at, 100);
    case BY_OPERATION:
        if (d->op == 0) CHECK_EQ(rt_submit_recv(cx, d->io, at, BYTES - d->n, 0, &d->op), 0);
        r = rt_poll_op(cx, d->op);
        if (r != RT_PENDING) d->op = 0;
        return r;
    case BY_MULTISHOT:
        if (d->op == 0) CHECK_EQ(rt_submit_recv_multi(cx, d->io, &d->op), 0);
        r = rt_poll_recv_next(cx, d->op, &d->lease);
        if (r <= 0) return r;
        memcpy(at, d->lease.ptr, (size_t)r);
        CHECK_EQ(rt_buf_release(d->lease.lease), 0);
        return r;
    default:
        r = rt_poll_read_until(cx, d->stream, '\n', &d->line, &d->len);
        if (r < 0) return r;
        memcpy(at, d->line, d->len);
        return (int64_t)d->len;
    }
}

static int64_t collect(rt_cx *cx, void *state) {
    struct drip *d = state;
    RT_BEGIN(&d->frame);
    if (d->way >= BY_EXACT) CHECK_EQ(rt_stream_new(d->io, NULL, &d->stream), 0);
    for (d->n = 0; d->n < BYTES; d->n += (size_t)d->r) {
        RT_AWAIT(d->r, piece(cx, d));
        CHECK_EQ(d->r, d->way >= BY_EXACT ? 100 : 1);
        gate_open(&d->arrived);
    }
    for (d->n = 0; d->n < BYTES; d->n++)
        CHECK_EQ(d->data[d->n], d->n % 100 == 99 ? '\n' : (char)('a' + d->n % 26));
    if (d->stream != 0) CHECK_EQ(rt_stream_free(d->stream), 0);
    RT_END(0);
}

static void a_byte_at_a_time(void) {
    rt_runtime rt = test_runtime();
    for (int way = 0; way < WAYS; way++) {
        static struct drip d;
        int ends[2];
        memset(&d, 0, sizeof d);
        net_pair(ends);
        d.way = (enum way)way;
        d.io = io_of(rt, ends[0], RW);
        d.far = ends[1];
        gate_init(&d.arrived);
        pthread_t thread = thread_start(drip, &d);
        CHECK_EQ(rt_block_on(rt, collect, &d), 0);
        thread_join(thread);
        gate_destroy(&d.arrived);
        CHECK_EQ(rt_close(d.io), 0);
        close(d.far);
    }
    multi_runtime_free(rt);
}

/* ---- a peer that reads a byte at a time ---- */

struct feed {
    rt_frame frame;
    rt_io io;
    rt_op op;
    size_t off, n;
    int64_t r;
    int way;
    char data[20000];
};

static int64_t feed(rt_cx *cx, void *state) {
    struct feed *f = state;
    RT_BEGIN(&f->frame);
    net_pattern(f->data, sizeof f->data, 3, 0);
    if (f->way == 0) {
        RT_AWAIT(f->r, rt_poll_write_all(cx, f->io, f->data, sizeof f->data, &f->off));
        CHECK_EQ(f->r, sizeof f->data);
    } else if (f->way == 1) {
        for (f->n = 0; f->n < sizeof f->data; f->n += (size_t)f->r) {
            CHECK_EQ(rt_submit_send(cx, f->io, f->data + f->n, sizeof f->data - f->n, 0, &f->op), 0);
            RT_AWAIT(f->r, rt_poll_op(cx, f->op));
            CHECK(f->r > 0);
        }
    } else {
        CHECK_EQ(rt_send(f->io, f->data, sizeof f->data), sizeof f->data);
    }
    RT_AWAIT(f->r, rt_poll_flush(cx, f->io, 0));
    RT_END(f->r);
}

static void read_by_bytes(void) {
    rt_runtime rt = test_runtime();
    for (int way = 0; way < 3; way++) {
        static struct feed f;
        int ends[2];
        memset(&f, 0, sizeof f);
        net_unix_pair(ends);
        net_small_buffer(ends[0]);
        struct far_end far = {.fd = ends[1], .seed = 3, .bytes = sizeof f.data, .piece = 1};
        f.way = way;
        f.io = io_of(rt, ends[0], RW);
        far_reads(&far);
        CHECK_EQ(rt_block_on(rt, feed, &f), 0);
        thread_join_driving(far.thread, rt);
        CHECK_EQ(rt_close(f.io), 0);
        close(ends[1]);
    }
    multi_runtime_free(rt);
}

/* ---- a peer that closed its half, and stays ---- */

struct half {
    rt_frame frame;
    rt_io io;
    rt_op op;
    rt_timer slot;
    uint64_t at;
    int64_t r;
    int way, far;
    size_t off;
    char data[1 << 20];
};

/* It is read to its end; then there is nothing to wait for, but sending goes on as before. */
static int64_t answer_late(rt_cx *cx, void *state) {
    struct half *h = state;
    RT_BEGIN(&h->frame);
    do RT_AWAIT(h->r, rt_poll_read(cx, h->io, h->data, sizeof h->data));
    while (h->r > 0);
    CHECK_EQ(h->r, 0);
    for (h->off = 0; h->off < 3; h->off++) { /* it stays the end, by every way */
        RT_AWAIT(h->r, rt_poll_read(cx, h->io, h->data, 1));
        CHECK_EQ(h->r, 0);
        CHECK_EQ(rt_submit_recv(cx, h->io, h->data, 1, 0, &h->op), 0);
        RT_AWAIT(h->r, rt_poll_op(cx, h->op));
        CHECK_EQ(h->r, 0);
    }
    net_pattern(h->data, sizeof h->data, 4, 0);
    h->off = 0;
    RT_AWAIT(h->r, rt_poll_write_all(cx, h->io, h->data, sizeof h->data, &h->off));
    CHECK_EQ(h->r, sizeof h->data);
    RT_END(0);
}

static void half_closed(void) {
    static struct half h;
    int ends[2];
    rt_runtime rt = test_runtime();
    memset(&h, 0, sizeof h);
    net_pair(ends);
    h.io = io_of(rt, ends[0], RW);
    net_put(ends[1], "question", 8);
    CHECK_SYS(shutdown(ends[1], SHUT_WR));
    struct far_end far = {.fd = ends[1], .seed = 4, .bytes = sizeof h.data};
    far_reads(&far);
    CHECK_EQ(rt_block_on(rt, answer_late, &h), 0);
    thread_join_driving(far.thread, rt);
    CHECK_EQ(rt_close(h.io), 0);
    close(ends[1]);
    op_runtime_free(rt);
}

/* A peer that says nothing is waited for until the deadline, not shorter; then all goes on. */
static int64_t wait_in_vain(rt_cx *cx, void *state) {
    struct half *h = state;
    RT_BEGIN(&h->frame);
    h->at = rt_now() + 10 * MS;
    RT_AWAIT(h->r, rt_poll_deadline(cx, &h->slot, h->at, rt_poll_read(cx, h->io, h->data, 10)));
    CHECK_EQ(h->r, -ETIME);
    CHECK(rt_now() >= h->at);
    h->at = rt_now() + 10 * MS;
    CHECK_EQ(rt_submit_recv(cx, h->io, h->data, 10, 0, &h->op), 0);
    CHECK_EQ(rt_op_deadline(h->op, h->at), 0);
    RT_AWAIT(h->r, rt_poll_op(cx, h->op));
    CHECK_EQ(h->r, -ETIME);
    CHECK(rt_now() >= h->at);
    net_put(h->far, "late", 4);
    RT_AWAIT(h->r, rt_poll_read(cx, h->io, h->data, 10));
    CHECK_EQ(h->r, 4);
    RT_END(0);
}

static void silent(void) {
    static struct half h;
    int ends[2];
    rt_runtime rt = test_runtime();
    memset(&h, 0, sizeof h);
    net_pair(ends);
    h.io = io_of(rt, ends[0], RW);
    h.far = ends[1];
    CHECK_EQ(rt_block_on(rt, wait_in_vain, &h), 0);
    CHECK_EQ(rt_close(h.io), 0);
    close(h.far);
    op_runtime_free(rt);
}

/* ---- peers that never read ---- */

enum { DEAF = 20 };

/* A connection that sends for ever: as much as is taken, then waits for room. */
struct source {
    site *site;
    rt_io io;
    bool pours;
    char piece[10000];
};

static atomic_size_t taken, held; /* held: of the heap, when the first of them is cut */
static atomic_int pouring; /* the others were cut before they came to it */
static atomic_bool measured;

static int64_t pour(rt_cx *cx, void *state) {
    struct source *s = state;
    int64_t r;
    if (!s->pours) atomic_fetch_add(&pouring, 1);
    s->pours = true;
    while ((r = rt_send(s->io, s->piece, sizeof s->piece)) > 0) atomic_fetch_add(&taken, (size_t)r);
    return r == -EAGAIN ? rt_poll_flush(cx, s->io, 0) : r;
}

static void source_drop(void *state) {
    struct source *s = state;
    if (!atomic_exchange(&measured, true)) atomic_store(&held, mallinfo2().uordblks);
    CHECK_EQ(rt_close(s->io), 0);
    atomic_fetch_add(&s->site->ended, 1);
    free(s);
}

static int64_t source_accept(site *s, rt_io io, rt_spawn_opts *task) {
    struct source *source = calloc(1, sizeof *source);
    CHECK(source != NULL);
    *source = (struct source){.site = s, .io = io};
    CHECK_SYS(setsockopt((int)rt_io_fd(io), SOL_SOCKET, SO_SNDBUF, &(int){LIMIT}, sizeof(int)));
    atomic_fetch_add(&s->begun, 1);
    task->poll = pour;
    task->state = source;
    task->drop = source_drop;
    return 0;
}

static void never_read(site *s, int count) {
    int fds[DEAF];
    for (int i = 0; i < count; i++) {
        fds[i] = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        CHECK_SYS(setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &(int){LIMIT}, sizeof(int)));
        CHECK_SYS(connect(fds[i], (struct sockaddr *)&s->name, s->name_len));
    }
    /* They cannot hear that they were cut: that comes behind what they do not read. */
    while (atomic_load(&s->ended) < count) sched_yield();
    for (int i = 0; i < count; i++) close(fds[i]);
}

static void deaf_peers(bool idle) {
    site s = {.accept = source_accept};
    rt_serve_opts opts = site_opts();
    if (idle) opts.idle_ns = 100 * MS;
    else opts.total_ns = 100 * MS;
    atomic_store(&taken, 0);
    atomic_store(&pouring, 0);
    atomic_store(&measured, false);
    rt_config config = test_config();
    config.send_limit = LIMIT;
    s.rt = test_runtime_with(&config);
    size_t before = mallinfo2().uordblks;
    site_serve(&s, net_listen(256), &opts);
    crowd_run(&s, never_read, DEAF);
    drive_until(s.rt, site_none_live, &s);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(idle ? stats.cut_idle : stats.cut_total, DEAF);
    /* The kernel doubles what it is asked for, at both ends; the queue may have one piece more. */
    size_t most = LIMIT + sizeof((struct source *)0)->piece;
    CHECK(atomic_load(&taken) <= DEAF * (most + 12 * LIMIT));
    CHECK(atomic_load(&taken) >= (size_t)atomic_load(&pouring) * LIMIT); /* they were really filled */
    if (!under("valgrind")) {
        size_t now = atomic_load(&held);
        CHECK(now < before || now - before < DEAF * (2 * most + sizeof(struct source)) + (2 << 20));
    }
    site_end(&s);
}

static void never_reading_is_idle(void) { deaf_peers(true); }
static void never_reading_takes_too_long(void) { deaf_peers(false); }

/* A server to which half of its peers have said that they are done, and stay: their connections are
 * over at once, for it answers what came before. */
static void say_it_and_stay(site *s, int count) {
    int fds[DEAF];
    char back[100];
    for (int i = 0; i < count; i++) {
        fds[i] = site_dial(s);
        net_put(fds[i], "last words", 10);
        CHECK_SYS(shutdown(fds[i], SHUT_WR));
    }
    for (int i = 0; i < count; i++) {
        CHECK_EQ(net_get(fds[i], back, sizeof back), 10);
        CHECK(memcmp(back, "last words", 10) == 0);
    }
    while (site_stats(s).live > 0) sched_yield();
    for (int i = 0; i < count; i++) close(fds[i]);
}

static void half_closed_in_a_server(void) {
    site s = {0};
    rt_serve_opts opts = site_opts();
    site_start(&s, &opts);
    crowd_run(&s, say_it_and_stay, DEAF);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(a_byte_at_a_time);
    CASE(read_by_bytes);
    CASE(half_closed);
    CASE(silent);
    CASE(never_reading_is_idle);
    CASE(never_reading_takes_too_long);
    CASE(half_closed_in_a_server);
    return test_end();
}
