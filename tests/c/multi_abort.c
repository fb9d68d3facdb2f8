/* Tasks that end, in whichever way and at whichever moment, with receivers and listeners going on:
 * no descriptor, no lease and no buffer is left behind.
 */
#include "multi.h"

enum { BATCH = 50, ROUNDS = 10000, SHUTDOWNS = 200, BUFFERS = 8 };

enum way { RETURN, ABORT, CLOSE, CANCEL, WAYS };

struct scene_of {
    rt_runtime rt;
    rt_io listener;
    int copy; /* of the listener */
    bool may_shut_down;
};

static struct scene_of all;

struct victim {
    struct steps steps;
    enum way way;
    int turns, far, client;
    rt_buf held;
    rt_io conn;
    rt_op accepts;
    bool submitted;
    rt_task task;
};

static struct victim victims[BATCH];

static uint64_t seed = 1;

static int dice(int sides) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)sides);
}

/* ---- one of them ---- */

static void take_what_is_there(rt_cx *cx, struct victim *v) {
    rt_io conn = 0;
    if (v->held.lease == 0 && rt_poll_recv_next(cx, v->steps.op, &v->held) <= 0) v->held.lease = 0;
    if (v->conn == 0 && rt_poll_accept_next(cx, v->accepts, &conn) == 0) v->conn = conn;
}

static int64_t live_and_end(rt_cx *cx, void *state) {
    struct victim *v = state;
    if (!v->submitted) {
        v->submitted = true;
        int64_t receives = rt_submit_recv_multi(cx, v->steps.io, &v->steps.op);
        int64_t accepts = rt_submit_accept_multi(cx, all.listener, &v->accepts);
        CHECK(receives == 0 || (receives == -ESHUTDOWN && all.may_shut_down));
        CHECK(accepts == 0 || (accepts == -ESHUTDOWN && all.may_shut_down));
    }
    if (v->turns % 2 == 1) take_what_is_there(cx, v);
    if (v->turns-- > 0 || v->way == ABORT) return rt_yield(cx);
    if (v->way == CLOSE) CHECK_EQ(rt_close(v->steps.io), 0), v->steps.io = 0;
    if (v->way == CANCEL) rt_cancel(v->steps.op), rt_cancel(v->accepts);
    return 0;
}

static void give_back(void *state) {
    struct victim *v = state;
    CHECK_EQ(rt_buf_release(v->held.lease), 0);
    CHECK_EQ(rt_close(v->conn), 0);
    CHECK_EQ(rt_close(v->steps.io), 0);
}

static void victim_start(struct victim *v) {
    int ends[2];
    memset(v, 0, sizeof *v);
    net_unix_pair(ends);
    v->steps.io = io_of(all.rt, ends[0], 0);
    v->far = ends[1];
    v->client = -1;
    v->way = (enum way)dice(WAYS);
    v->turns = dice(6);
    CHECK_EQ(rt_spawn(all.rt, live_and_end, v, give_back, &v->task), 0);
}

/* Data and connections come beside the end; where nobody reads any more they may not. */
static void victim_tempt(struct victim *v) {
    static char data[9000];
    if (dice(4) > 0 && send(v->far, data, (size_t)(1 + dice(9000)), MSG_NOSIGNAL) < 0)
        CHECK(errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
    if (dice(3) == 0) v->client = net_dial(all.copy);
    if (v->way == ABORT) CHECK_EQ(rt_abort(v->task), 0);
}

static void victim_end(struct victim *v) {
    CHECK_EQ(join_task(v->task), v->way == ABORT ? -ECANCELED : 0);
    close(v->far);
    if (v->client >= 0) close(v->client);
}

/* ---- many of them ---- */

static void scene_make(void) {
    rt_config config = test_config();
    config.buffer_count = BUFFERS;
    all.rt = test_runtime_with(&config);
    int fd = net_listen(4096);
    all.copy = (int)CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    all.listener = io_of(all.rt, fd, 0);
}

/* Connections that nobody accepted must not fill the queue. */
static void empty_the_queue(void) {
    for (int fd; (fd = accept(all.copy, NULL, NULL)) >= 0;) close(fd);
}

/* The pools have as many buffers as ever: one receiver gets them all, and waits for more. */
struct census {
    struct steps steps;
    rt_buf held[BUFFERS];
};

static int64_t count_buffers(rt_cx *cx, void *state) {
    struct census *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    far_stuff(s->far, 0, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    for (s->n = 0; s->n < BUFFERS; s->n++) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &c->held[s->n]));
        CHECK(s->got > 0);
    }
    for (int i = 0; i < BUFFERS; i++) CHECK_EQ(rt_buf_release(c->held[i].lease), 0);
    steps_close(s);
    RT_END(0);
}

static void buffers_are_all_there(void) {
    static struct census census;
    for (int i = 0; i < 4; i++) { /* on one worker or another */
        memset(&census, 0, sizeof census);
        CHECK_EQ(rt_block_on(all.rt, count_buffers, &census), 0);
    }
}

static void ten_thousand_rounds(void) {
    scene_make();
    for (int round = 0; round < scaled(ROUNDS) / BATCH + 1; round++) {
        for (int i = 0; i < BATCH; i++) victim_start(&victims[i]);
        if (current_thread())
            for (int turns = dice(4); turns > 0; turns--) CHECK_OK(rt_turn(all.rt, 0));
        for (int i = 0; i < BATCH; i++) victim_tempt(&victims[i]);
        for (int i = 0; i < BATCH; i++) victim_end(&victims[i]);
        empty_the_queue();
    }
    CHECK_EQ(leases_out(all.rt), 0);
    buffers_are_all_there();
    CHECK_EQ(rt_close(all.listener), 0);
    close(all.copy);
    multi_runtime_free(all.rt);
}

static void shutdowns_in_the_middle(void) {
    all.may_shut_down = true;
    for (int round = 0; round < scaled(SHUTDOWNS); round++) {
        scene_make();
        for (int i = 0; i < BATCH; i++) victim_start(&victims[i]);
        if (current_thread())
            for (int turns = dice(4); turns > 0; turns--) CHECK_OK(rt_turn(all.rt, 0));
        for (int i = 0; i < BATCH; i++) victim_tempt(&victims[i]);
        if (round % 4 > 0) CHECK_EQ(rt_shutdown(all.rt, RT_NEVER), 0);
        if (round % 4 > 0) CHECK_EQ(leases_out(all.rt), 0);
        CHECK_EQ(rt_free(all.rt), 0);
        close(all.copy);
        for (int i = 0; i < BATCH; i++) {
            close(victims[i].far);
            if (victims[i].client >= 0) close(victims[i].client);
        }
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(6 * BATCH + 1000);
    CASE(ten_thousand_rounds);
    CASE(shutdowns_in_the_middle);
    return test_end();
}
