/* Closing beneath operations: the handle is stale at once, they end, and only then the descriptor
 * is closed. So whoever gets its number next is never read from, nor written to.
 */
#include "op.h"

struct closing {
    struct steps steps;
    struct stuck stuck;
    enum stuck_kind kind;
    int turns;
    bool by_operation;
};

static int64_t close_beneath(rt_cx *cx, void *state) {
    struct closing *c = state;
    struct steps *s = &c->steps;
    struct stuck *k = &c->stuck;
    RT_BEGIN(&s->frame);
    stuck_open(k, rt_cx_runtime(cx), c->kind, s->buf);
    s->was = net_identity(k->near);
    CHECK_EQ(stuck_submit(k, cx, &s->op), 0);
    OP_TURNS(s, c->turns);
    if (c->by_operation) CHECK_EQ(rt_submit_close(cx, k->io, &s->other), 0);
    else CHECK_EQ(rt_close(k->io), 0);
    CHECK_EQ(rt_io_fd(k->io), -EBADF);
    CHECK_EQ(rt_close(k->io), -EBADF);
    rt_op late = 77;
    CHECK_EQ(stuck_submit(k, cx, &late), -EBADF);
    CHECK_EQ(late, 0);
    OP_TAKE_EQ(s, -ECANCELED);
    if (c->by_operation) {
        s->op = s->other;
        OP_TAKE_EQ(s, 0);
    }
    CHECK(!net_is_still(k->near, &s->was));
    k->io = 0;
    stuck_close(k);
    RT_END(0);
}

static void close_every_kind(bool by_operation) {
    static const int turns[] = {0, 1, 100};
    for (int i = 0; i < 3 * STUCK_KINDS; i++) {
        struct closing c = {.kind = (enum stuck_kind)(i / 3), .turns = turns[i % 3]};
        c.by_operation = by_operation;
        rt_runtime rt = test_runtime();
        CHECK_EQ(rt_block_on(rt, close_beneath, &c), 0);
        op_runtime_free(rt);
    }
}

static void every_kind_is_cancelled(void) { close_every_kind(false); }
static void also_by_an_operation(void) { close_every_kind(true); }

/* ---- the outcome that was there before ---- */

static int64_t what_happened_before_stays(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    net_put(s->far, "data", 4);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
    CHECK_EQ(net_get(s->far, s->buf + 100, 1), 0); /* nobody used it: closed at once */
    OP_TAKE_EQ(s, 4);
    CHECK(memcmp(s->buf, "data", 4) == 0);
    steps_close(s);
    RT_END(0);
}

/* A borrowed descriptor is left open, and nothing of it is lost. */
static int64_t a_borrowed_one_stays_open(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    int ends[2];
    net_unix_pair(ends);
    s->near = ends[0];
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_IO_BORROWED);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 8, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
    OP_TAKE_EQ(s, -ECANCELED);
    CHECK(net_is_open(s->near));
    net_put(s->far, "data", 4);
    OP_TURNS(s, 100);
    CHECK_EQ(net_get(s->near, s->buf, 4), 4);
    close(s->near);
    steps_close(s);
    RT_END(0);
}

/* ---- the number changes hands ---- */

enum { STRANGERS = 4, BYTES = 32 };

struct numbers {
    struct steps steps;
    int rounds, round;
    int strangers[STRANGERS][2];
    rt_op ops[4];
    char out[4][8];
};

static void fill(int fd, char with) {
    char data[BYTES];
    memset(data, with, sizeof data);
    net_put(fd, data, sizeof data);
}

/* All of its bytes are there, and nothing came from where it is not known. */
static void is_whole(const int fds[2]) {
    char got[BYTES + 1];
    CHECK_SYS(shutdown(fds[1], SHUT_WR));
    CHECK_EQ(net_get(fds[0], got, sizeof got), BYTES);
    for (int i = 0; i < BYTES; i++) CHECK_EQ(got[i], 'S');
    CHECK_EQ(read(fds[1], got, 1), -1);
    close(fds[0]);
    close(fds[1]);
}

static int64_t change_hands(rt_cx *cx, void *state) {
    struct numbers *n = state;
    struct steps *s = &n->steps;
    RT_BEGIN(&s->frame);
    for (n->round = 0; n->round < n->rounds; n->round++) {
        steps_pair(cx, s, net_unix_pair);
        net_stuff(s->near);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(rt_submit_recv(cx, s->io, n->out[i], 8, 0, &n->ops[i]), 0);
        for (int i = 2; i < 4; i++)
            CHECK_EQ(rt_submit_send(cx, s->io, "LLLLLLLL", 8, 0, &n->ops[i]), 0);
        OP_TURNS(s, n->round % 5 == 4 ? 70 : n->round % 5);
        CHECK_EQ(rt_close(s->io), 0);
        s->io = 0;
        if (n->round % 2 == 0) OP_TURNS(s, n->round % 7);
        for (int i = 0; i < STRANGERS; i++) {
            net_unix_pair(n->strangers[i]);
            fill(n->strangers[i][1], 'S');
        }
        for (s->n = 0; s->n < 4; s->n++) {
            RT_AWAIT(s->got, rt_poll_op(cx, n->ops[s->n]));
            CHECK_EQ(s->got, -ECANCELED);
        }
        OP_TURNS(s, n->round % 3);
        for (int i = 0; i < STRANGERS; i++) is_whole(n->strangers[i]);
        close(s->far);
    }
    RT_END(0);
}

static void numbers_change_hands(void) {
    static struct numbers n;
    memset(&n, 0, sizeof n);
    n.rounds = scaled(3000);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, change_hands, &n), 0);
    op_runtime_free(rt);
}

/* ---- the same with a thread that closes, whenever it likes ---- */

struct race {
    struct steps steps;
    rt_io current;
    gate received;
    int round;
};

static int64_t receive_until_closed(rt_cx *cx, void *state) {
    struct race *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (;;) {
        s->got = rt_submit_recv(cx, r->current, s->buf, 4, 0, &s->op);
        if (s->got == 0) OP_TAKE(s);
        if (s->got < 0) break;
        for (int64_t i = 0; i < s->got; i++) CHECK_EQ(s->buf[i], 'L');
        gate_open(&r->received);
    }
    RT_END(s->got);
}

static void *close_and_replace(void *arg) {
    struct race *r = arg;
    int strangers[STRANGERS][2];
    for (int i = r->round % 3; i > 0; i--) gate_wait(&r->received);
    for (int i = 0; i < r->round % 50; i++) sched_yield();
    CHECK_EQ(rt_close(r->current), 0);
    for (int i = 0; i < STRANGERS; i++) {
        net_unix_pair(strangers[i]);
        fill(strangers[i][1], 'S');
    }
    for (int i = 0; i < STRANGERS; i++) is_whole(strangers[i]);
    return NULL;
}

static void a_thread_closes(void) {
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(2000); round++) {
        struct race r = {.round = round};
        int ends[2];
        gate_init(&r.received);
        net_unix_pair(ends);
        fill(ends[1], 'L');
        r.current = io_of(rt, ends[0], 0);
        pthread_t thread = thread_start(close_and_replace, &r);
        int64_t got = rt_block_on(rt, receive_until_closed, &r);
        CHECK(got == -ECANCELED || got == -EBADF);
        thread_join(thread);
        close(ends[1]);
        gate_destroy(&r.received);
    }
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(every_kind_is_cancelled);
    CASE(also_by_an_operation);
    OP_CASE(what_happened_before_stays);
    OP_CASE(a_borrowed_one_stays_open);
    CASE(numbers_change_hands);
    CASE(a_thread_closes);
    return test_end();
}
