/* A server's task written with the macros, one coroutine within another, against the kernel: all
 * bytes come back in order through small buffers, and the drop function cleans up wherever the
 * coroutine was. */
#include "await.h"
#include "net.h"

struct relay_frame {
    rt_frame frame;
    int64_t n, m;
    size_t off;
    char buf[3001];
};

struct conn {
    rt_frame frame;
    struct relay_frame relay;
    rt_io io;
    int64_t n, total;
    atomic_int drops;
    bool suspended; /* as the drop function found it */
};

/* One piece there and back: its length, 0 at the end, or an error. */
static int64_t relay(rt_cx *cx, struct relay_frame *f, rt_io io) {
    RT_BEGIN(&f->frame);
    RT_AWAIT(f->n, rt_poll_read(cx, io, f->buf, sizeof f->buf));
    if (f->n <= 0) RT_RETURN(f->n);
    RT_AWAIT(f->m, rt_poll_write_all(cx, io, f->buf, (size_t)f->n, &f->off));
    RT_END(f->m);
}

static int64_t serve(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    do {
        RT_AWAIT(c->n, relay(cx, &c->relay, c->io));
        if (rt_failed(c->n)) RT_RETURN(c->n);
        c->total += c->n;
    } while (c->n > 0);
    RT_END(c->total);
}

static void hang_up(void *state) {
    struct conn *c = state;
    c->suspended = c->frame.resume != 0;
    CHECK_EQ(rt_close(c->io), 0);
    atomic_fetch_add(&c->drops, 1);
}

/* The task, and the far end of its stream in `*peer`. */
static rt_task serve_pair(rt_runtime rt, struct conn *c, int *peer) {
    int ends[2];
    rt_task task;
    net_unix_pair(ends);
    net_small_buffer(ends[0]);
    net_small_buffer(ends[1]);
    CHECK_EQ(rt_register_fd(rt, ends[0], RT_READABLE | RT_WRITABLE, &c->io), 0);
    CHECK_EQ(rt_spawn(rt, serve, c, hang_up, &task), 0);
    *peer = ends[1];
    return task;
}

struct talk {
    int fd;
    size_t bytes;
};

enum { PIECE = 4099, SEED = 7 };

static void *say_all(void *arg) {
    struct talk *t = arg;
    char piece[PIECE];
    for (size_t at = 0; at < t->bytes; at += PIECE) {
        size_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        net_pattern(piece, n, SEED, at);
        net_put(t->fd, piece, n);
    }
    CHECK_SYS(shutdown(t->fd, SHUT_WR));
    return NULL;
}

static void *hear_all(void *arg) {
    struct talk *t = arg;
    char piece[PIECE];
    size_t at = 0, n;
    while ((n = net_get(t->fd, piece, sizeof piece)) > 0) {
        CHECK(net_pattern_holds(piece, n, SEED, at));
        at += n;
    }
    CHECK_EQ(at, t->bytes);
    return NULL;
}

static void all_bytes_come_back(void) {
    rt_runtime rt = test_runtime();
    struct conn c = {.io = 0};
    struct talk t = {.bytes = (size_t)scaled(1 << 20)};
    rt_task task = serve_pair(rt, &c, &t.fd);
    pthread_t speaker = thread_start(say_all, &t), listener = thread_start(hear_all, &t);
    CHECK_EQ(join_task(task), t.bytes);
    thread_join(speaker);
    thread_join(listener);
    close(t.fd);
    CHECK_EQ(c.drops, 1);
    CHECK(!c.suspended);
    CHECK_EQ(c.relay.frame.resume, 0);
    test_runtime_free(rt);
}

static bool waits_in_relay(void *arg) {
    rt_ready seen = {0, 0};
    struct conn *c = arg;
    return rt_try_ready(c->io, RT_READABLE, &seen) == 0 && !(seen.bits & RT_READABLE);
}

/* What the task has answered says that it got past this; then it waits for more. */
static void talk_once(rt_runtime rt, struct conn *c, int peer) {
    char back[4] = "";
    net_put(peer, "ping", 4);
    for (size_t have = 0; have < sizeof back;) {
        ssize_t n = read(peer, back + have, sizeof back - have);
        if (n > 0) have += (size_t)n;
        else if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else CHECK(net_again(peer, POLLIN));
    }
    CHECK(memcmp(back, "ping", 4) == 0);
    drive_until(rt, waits_in_relay, c);
}

static void an_abort_in_the_inner_coroutine(void) {
    rt_runtime rt = test_runtime();
    struct conn c = {.io = 0};
    int peer;
    rt_task task = serve_pair(rt, &c, &peer);
    talk_once(rt, &c, peer);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    CHECK_EQ(c.drops, 1);
    CHECK(c.suspended);
    CHECK(c.relay.frame.resume != 0);
    char byte;
    CHECK_EQ(net_get(peer, &byte, 1), 0); /* the stream was closed */
    close(peer);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(all_bytes_come_back);
    CASE(an_abort_in_the_inner_coroutine);
    return test_end();
}
