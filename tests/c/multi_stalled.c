/* Others have all of the pool's buffers, and do not give them back: peers that nobody reads, and peers that do not read. Who has
 * nothing gets what comes nevertheless, one buffer at a time, and what is given back wakes who waits for that.
 */
#include "multi.h"

#include <poll.h>

enum { BUFFERS = 8, SIZE = 512, FLOODS = 6, TIMES = 50 };

struct stalled {
    struct steps steps;
    rt_frame inner;
    struct steps floods[FLOODS];
    rt_buf held, taken, before;
    rt_stream answer, left[FLOODS];
    rt_task later;
    const void *data;
    size_t len, offset, written;
    int turns;
};

static struct stalled stalled;

static rt_config few_buffers(void) {
    rt_config config = test_config();
    config.buffer_count = BUFFERS;
    config.buffer_size = SIZE;
    return config;
}

static void play_stalled(rt_poll_fn body) {
    rt_config config = few_buffers();
    memset(&stalled, 0, sizeof stalled);
    play_with(&config, body, &stalled);
}

/* Takes everything, in a case that is over. */
static void flood(rt_cx *cx, struct stalled *w) {
    for (int i = 0; i < FLOODS; i++) {
        steps_pair(cx, &w->floods[i], net_unix_pair);
        far_stuff(w->floods[i].far, 7, 0);
        CHECK_EQ(rt_submit_recv_multi(cx, w->floods[i].io, &w->floods[i].op), 0);
    }
}

/* In a coroutine over `w`: a receiver comes when others have everything. */
#define STARVING(pair)                                              \
    do {                                                            \
        flood(cx, w);                                               \
        OP_TURNS(s, 50);                                            \
        steps_pair(cx, s, pair);                                    \
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);       \
    } while (0)

static void flood_end(struct stalled *w) {
    for (int i = 0; i < FLOODS; i++) steps_close(&w->floods[i]);
}

static void put(struct stalled *w, size_t bytes) {
    char data[SIZE];
    net_pattern(data, bytes, 1, w->written);
    net_put(w->steps.far, data, bytes);
    w->written += bytes;
}

static void follows(struct stalled *w, const rt_buf *buf) {
    buf_follows(buf, w->steps.got, 1, w->offset);
    w->offset += buf->len;
}

/* ---- a receiver ---- */

static int64_t receive(rt_cx *cx, void *state) {
    struct stalled *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    STARVING(net_unix_pair);
    OP_TURNS(s, 20);
    for (s->n = 0; s->n < TIMES; s->n++) {
        put(w, 100);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->taken));
        follows(w, &w->taken);
        CHECK_EQ(rt_buf_release(w->taken.lease), 0);
    }
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->taken));
    CHECK_EQ(s->got, 0);
    steps_close(s);
    flood_end(w);
    RT_END(0);
}
static void a_receiver_gets_what_comes(void) { play_stalled(receive); }

/* ---- one that keeps what it borrowed ---- */

static void *release(void *arg) {
    CHECK_EQ(rt_buf_release(((rt_buf *)arg)->lease), 0);
    return NULL;
}

static int64_t release_later(rt_cx *cx, void *state) {
    struct stalled *w = state;
    RT_BEGIN(&w->inner);
    for (w->turns = 0; w->turns < 20; w->turns++) RT_YIELD(cx);
    thread_join(thread_start(release, &w->before));
    RT_END(0);
}

/* A second one is not to be had until the first is given back: by its task, or by another thread while the task waits. */
static int64_t keep(rt_cx *cx, void *state) {
    struct stalled *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    STARVING(net_unix_pair);
    put(w, SIZE);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->held));
    follows(w, &w->held);
    for (s->n = 0; s->n < TIMES; s->n++) {
        put(w, SIZE);
        OP_TURNS(s, 20);
        CHECK_EQ(rt_poll_recv_next(cx, s->op, &w->taken), RT_PENDING);
        w->before = w->held;
        memset(&w->inner, 0, sizeof w->inner);
        w->later = 0;
        if (s->n % 2 == 0) CHECK_EQ(rt_buf_release(w->held.lease), 0);
        else CHECK_EQ(rt_spawn(rt_cx_runtime(cx), release_later, w, NULL, &w->later), 0);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->held));
        follows(w, &w->held);
        if (w->later != 0) {
            RT_AWAIT(s->got, rt_poll_join(cx, w->later, NULL));
            CHECK_EQ(s->got, 0);
        }
    }
    /* Or until the pool has one again. */
    put(w, SIZE);
    OP_TURNS(s, 20);
    CHECK_EQ(rt_poll_recv_next(cx, s->op, &w->taken), RT_PENDING);
    flood_end(w);
    for (w->turns = 0; w->turns < FLOODS; w->turns++) {
        for (;;) {
            RT_AWAIT(s->got, rt_poll_recv_next(cx, w->floods[w->turns].op, &w->taken));
            if (s->got <= 0) break;
            CHECK_EQ(rt_buf_release(w->taken.lease), 0);
        }
        CHECK_EQ(s->got, -ECANCELED);
    }
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->taken));
    follows(w, &w->taken);
    CHECK_EQ(rt_buf_release(w->taken.lease), 0);
    /* It outlives its receiver. */
    CHECK_EQ(rt_cancel(s->op), 0);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->taken));
    CHECK_EQ(s->got, -ECANCELED);
    OP_TURNS(s, 20);
    CHECK(net_pattern_holds(w->held.ptr, w->held.len, 1, w->offset - 2 * SIZE));
    CHECK_EQ(rt_buf_release(w->held.lease), 0);
    steps_close(s);
    RT_END(0);
}
static void it_may_have_one_at_a_time(void) { play_stalled(keep); }

/* ---- what is borrowed outlives its operation, task and runtime ---- */

static int64_t borrow(rt_cx *cx, void *state) {
    struct stalled *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    STARVING(net_unix_pair);
    put(w, SIZE);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->held));
    put(w, SIZE);
    OP_TURNS(s, 20);
    CHECK_EQ(rt_poll_recv_next(cx, s->op, &w->taken), RT_PENDING); /* so the first was borrowed */
    steps_close(s);
    flood_end(w);
    RT_END(0);
}

static void it_outlives_its_runtime(void) {
    rt_config config = few_buffers();
    memset(&stalled, 0, sizeof stalled);
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(rt, borrow, &stalled), 0);
    settle(rt);
    CHECK_EQ(rt_free(rt), 0);
    follows(&stalled, &stalled.held);
    CHECK_EQ(rt_buf_release(stalled.held.lease), 0);
    CHECK_EQ(rt_buf_release(stalled.held.lease), -EBADF);
}

/* ---- a loop of the program's own ---- */

/* The descriptor says when there is a turn to make, also for who is to be lent something. */
static void a_loop_around_it_sleeps_in_peace(void) {
    if (!current_thread()) return;
    rt_config config = few_buffers();
    memset(&stalled, 0, sizeof stalled);
    rt_runtime rt = test_runtime_with(&config);
    struct pollfd p = {.fd = (int)CHECK_OK(rt_event_fd(rt)), .events = POLLIN};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, receive, &stalled, NULL, &task), 0);
    while (metrics(rt).tasks_live > 0) {
        int n = poll(&p, 1, -1);
        if (n != -1 || errno != EINTR) CHECK_EQ(n, 1);
        CHECK_OK(rt_turn(rt, 0));
    }
    CHECK_EQ(join_task(task), 0);
    multi_runtime_free(rt);
}

/* ---- buffered streams ---- */

static void stream_pair(rt_cx *cx, struct steps *s, rt_stream *out) {
    int ends[2];
    net_unix_pair(ends);
    s->near = ends[0];
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_READABLE | RT_WRITABLE);
    CHECK_EQ(rt_stream_new(s->io, NULL, out), 0);
}

/* What comes by one stream is left where it is, until the other has answered. */
static int64_t ask(rt_cx *cx, void *state) {
    struct stalled *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < FLOODS; s->i++) {
        stream_pair(cx, &w->floods[s->i], &w->left[s->i]);
        far_stuff(w->floods[s->i].far, 7, 0);
        RT_AWAIT(s->got, rt_poll_stream_read(cx, w->left[s->i], s->buf, 10));
        CHECK_EQ(s->got, 10);
    }
    OP_TURNS(s, 50);
    stream_pair(cx, s, &w->answer);
    for (s->n = 0; s->n < TIMES; s->n++) {
        net_put(s->far, "an answer of", 12);
        OP_TURNS(s, 20);
        net_put(s->far, " two parts\n", 11);
        RT_AWAIT(s->got, rt_poll_read_until(cx, w->answer, '\n', &w->data, &w->len));
        CHECK_EQ(w->len, 23);
        CHECK(memcmp(w->data, "an answer of two parts\n", 23) == 0);
    }
    CHECK_EQ(rt_stream_free(w->answer), 0);
    for (int i = 0; i < FLOODS; i++) CHECK_EQ(rt_stream_free(w->left[i]), 0);
    steps_close(s);
    flood_end(w);
    RT_END(0);
}
static void a_stream_is_answered(void) { play_stalled(ask); }

/* ---- peers that do not read ---- */

struct echo {
    struct steps steps;
    rt_buf buf;
    rt_task task;
};

static struct echo echoes[FLOODS + 1];

static int64_t echo(rt_cx *cx, void *state) {
    struct echo *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (;;) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &e->buf));
        if (s->got <= 0) break;
        s->got = rt_send_buf(s->io, &e->buf);
        if (s->got < 0) break;
    }
    if (s->got < 0) CHECK_EQ(rt_buf_release(e->buf.lease), 0);
    RT_END(0);
}

/* Their answers wait, in the buffers that they came in. The last one reads, and is answered. */
static int64_t ask_echo(rt_cx *cx, void *state) {
    struct stalled *w = state;
    struct steps *s = &w->steps;
    char data[100];
    RT_BEGIN(&s->frame);
    for (int i = 0; i <= FLOODS; i++) {
        steps_pair(cx, &echoes[i].steps, net_unix_pair);
        echoes[i].task = spawn_near(rt_cx_runtime(cx), echo, &echoes[i], rt_task_self(cx));
    }
    for (s->n = 0; s->n < 50; s->n++) {
        for (int i = 0; i < FLOODS; i++) far_stuff(echoes[i].steps.far, 7, 0);
        RT_YIELD(cx);
    }
    for (s->n = 0; s->n < TIMES; s->n++) {
        net_pattern(data, sizeof data, 1, s->n * sizeof data);
        net_put(echoes[FLOODS].steps.far, data, sizeof data);
        for (w->len = 0; w->len < sizeof data; w->len += (size_t)s->got) {
            while ((s->got = recv(echoes[FLOODS].steps.far, s->buf + w->len, sizeof data - w->len,
                                  MSG_DONTWAIT)) < 0) {
                CHECK_EQ(errno, EAGAIN);
                RT_YIELD(cx);
            }
        }
        CHECK(net_pattern_holds(s->buf, sizeof data, 1, s->n * sizeof data));
    }
    for (int i = 0; i <= FLOODS; i++) close(echoes[i].steps.far);
    for (s->i = 0; s->i <= FLOODS; s->i++) RT_AWAIT(s->got, rt_poll_join(cx, echoes[s->i].task, NULL));
    for (int i = 0; i <= FLOODS; i++) CHECK_EQ(rt_close(echoes[i].steps.io), 0);
    RT_END(0);
}
static void answers_that_nobody_reads_stop_nobody(void) {
    memset(echoes, 0, sizeof echoes);
    play_stalled(ask_echo);
}

/* ---- datagrams ---- */

static void packets(int ends[2]) { CHECK_SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends)); }

static int64_t take_packets(rt_cx *cx, void *state) {
    struct stalled *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    STARVING(packets);
    for (s->n = 0; s->n < TIMES; s->n++) {
        put(w, 1 + s->n);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->taken));
        CHECK_EQ(w->taken.len, 1 + s->n);
        follows(w, &w->taken);
        CHECK_EQ(rt_buf_release(w->taken.lease), 0);
    }
    CHECK_EQ(send(s->far, "", 0, 0), 0);
    put(w, 5);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &w->taken));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(recv(s->near, s->buf, sizeof s->buf, MSG_DONTWAIT), 5); /* the empty one is gone */
    steps_close(s);
    flood_end(w);
    RT_END(0);
}
static void packets_come_one_by_one(void) { play_stalled(take_packets); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_receiver_gets_what_comes);
    CASE(it_may_have_one_at_a_time);
    CASE(it_outlives_its_runtime);
    CASE(a_loop_around_it_sleeps_in_peace);
    CASE(a_stream_is_answered);
    CASE(answers_that_nobody_reads_stop_nobody);
    CASE(packets_come_one_by_one);
    return test_end();
}
