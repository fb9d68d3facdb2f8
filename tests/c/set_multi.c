/* A set of operations with many results, which are added again after each: nothing that came
 * before, between or after is missed.
 */
#include "multi.h"

enum { STREAMS = 8, BYTES = 300000, CLIENTS = 300, LISTENER = 77 };

struct stream {
    struct far_end far_end;
    rt_io io;
    rt_op op;
    size_t offset;
};

struct server {
    struct steps steps;
    rt_set set;
    struct stream streams[STREAMS];
    rt_io conn;
    rt_buf buf;
    uint64_t key;
    int copy, count, ends, clients[CLIENTS];
    pthread_t dialler;
};

static struct server server;

static void play(rt_poll_fn body) {
    rt_config config = test_config();
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_set_new(rt, &server.set), 0);
    CHECK_EQ(rt_block_on(rt, body, &server), 0);
    CHECK_EQ(rt_set_free(server.set), 0);
    multi_runtime_free(rt);
}

/* In a coroutine over `v`: the next member, which must not be pending when it is polled. */
#define NEXT_MEMBER(v)                                                     \
    do {                                                                   \
        RT_AWAIT((v)->steps.got, rt_poll_set(cx, (v)->set, &(v)->key));    \
        CHECK_EQ((v)->steps.got, 0);                                       \
    } while (0)

/* ---- receiving ---- */

static int64_t receive_all(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    for (int i = 0; i < STREAMS; i++) {
        struct stream *r = &v->streams[i];
        int ends[2];
        net_unix_pair(ends);
        r->io = io_of(rt_cx_runtime(cx), ends[0], 0);
        r->far_end = (struct far_end){.fd = ends[1],
                                      .seed = (uint64_t)i,
                                      .bytes = (size_t)scaled(BYTES),
                                      .piece = i % 2 ? 1000 : 0,
                                      .shuts = true};
        CHECK_EQ(rt_submit_recv_multi(cx, r->io, &r->op), 0);
        CHECK_EQ(rt_set_add(cx, v->set, r->op, (uint64_t)i), 0);
        far_writes(&r->far_end);
    }
    for (v->ends = 0; v->ends < STREAMS;) {
        NEXT_MEMBER(v);
        struct stream *r = &v->streams[v->key];
        int64_t got = rt_poll_recv_next(cx, r->op, &v->buf);
        CHECK(got != RT_PENDING);
        if (got == 0) {
            CHECK_EQ(r->offset, r->far_end.bytes);
            CHECK_EQ(rt_set_add(cx, v->set, r->op, 0), -EBADF);
            v->ends++;
            continue;
        }
        buf_follows(&v->buf, got, r->far_end.seed, r->offset);
        r->offset += v->buf.len;
        CHECK_EQ(rt_set_add(cx, v->set, r->op, v->key), 0);
        CHECK_EQ(rt_buf_release(v->buf.lease), 0);
    }
    CHECK_EQ(rt_poll_set(cx, v->set, &v->key), -ENOENT);
    for (int i = 0; i < STREAMS; i++) {
        thread_join(v->streams[i].far_end.thread);
        close(v->streams[i].far_end.fd);
        CHECK_EQ(rt_close(v->streams[i].io), 0);
    }
    RT_END(0);
}

static void receivers(void) {
    memset(&server, 0, sizeof server);
    play(receive_all);
}

/* ---- accepting ---- */

static void *dial_all(void *arg) {
    struct server *v = arg;
    for (int i = 0; i < CLIENTS; i++) v->clients[i] = net_dial(v->copy);
    return NULL;
}

/* One connection for each time that the set says so; the end is a member, too. */
static int64_t accept_all(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_accept_multi(cx, s->io, &s->op), 0);
    v->dialler = thread_start(dial_all, v);
    for (v->count = 0; v->count < CLIENTS; v->count++) {
        CHECK_EQ(rt_set_add(cx, v->set, s->op, LISTENER), 0);
        NEXT_MEMBER(v);
        CHECK_EQ(v->key, LISTENER);
        CHECK_EQ(rt_poll_accept_next(cx, s->op, &v->conn), 0);
        CHECK_EQ(rt_close(v->conn), 0);
    }
    thread_join(v->dialler);
    CHECK_EQ(rt_set_add(cx, v->set, s->op, LISTENER), 0);
    CHECK_EQ(rt_poll_set(cx, v->set, &v->key), RT_PENDING);
    CHECK_EQ(rt_cancel(s->op), 0);
    NEXT_MEMBER(v);
    CHECK_EQ(rt_poll_accept_next(cx, s->op, &v->conn), -ECANCELED);
    CHECK_EQ(rt_set_add(cx, v->set, s->op, LISTENER), -EBADF);
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void a_listener(void) {
    memset(&server, 0, sizeof server);
    server.steps.near = net_listen(4096);
    server.copy = (int)CHECK_SYS(fcntl(server.steps.near, F_DUPFD_CLOEXEC, 0));
    play(accept_all);
    for (int i = 0; i < CLIENTS; i++) close(server.clients[i]);
    close(server.copy);
}

/* ---- in vain ---- */

/* What came was taken before the set was asked: the member is ready all the same, once. */
static int64_t take_first(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    CHECK_EQ(rt_set_add(cx, v->set, s->op, 1), 0);
    net_put(s->far, "one", 3);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &v->buf));
    CHECK_EQ(s->got, 3);
    CHECK_EQ(rt_buf_release(v->buf.lease), 0);
    CHECK_EQ(rt_poll_set(cx, v->set, &v->key), 0);
    CHECK_EQ(rt_poll_recv_next(cx, s->op, &v->buf), RT_PENDING);
    CHECK_EQ(rt_poll_set(cx, v->set, &v->key), -ENOENT);
    CHECK_EQ(rt_set_add(cx, v->set, s->op, 2), 0);
    net_put(s->far, "two", 3);
    NEXT_MEMBER(v);
    CHECK_EQ(v->key, 2);
    CHECK_EQ(rt_poll_recv_next(cx, s->op, &v->buf), 3);
    CHECK_EQ(rt_buf_release(v->buf.lease), 0);
    steps_close(s);
    RT_END(0);
}

static void taken_elsewhere(void) {
    memset(&server, 0, sizeof server);
    play(take_first);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(3 * CLIENTS + 100);
    CASE(receivers);
    CASE(a_listener);
    CASE(taken_elsewhere);
    return test_end();
}
