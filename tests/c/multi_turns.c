/* Receivers that paused go on, whether their task asks for more or has a set ask; and in their turn: who has nothing gets something
 * as long as others, with as many buffers as there are, give theirs back and get them again.
 */
#include "multi.h"

/* After so many polls the driver was looked at for each buffer. */
enum { LOOKS = 2000 };

enum { BUFFERS = 4, SIZE = 512, WINDOW = 16, BUSY = BUFFERS, CYCLES = 100 };

struct turns {
    struct steps steps, others;
    rt_set set;
    rt_buf held[WINDOW], buf;
    uint64_t key;
    size_t offset;
    int count;
};

static struct turns turns;

static void play_turns(rt_poll_fn body, uint32_t buffers) {
    rt_config config = test_config();
    config.buffer_count = buffers;
    config.buffer_size = SIZE;
    memset(&turns, 0, sizeof turns);
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_set_new(rt, &turns.set), 0);
    CHECK_EQ(rt_block_on(rt, body, &turns), 0);
    CHECK_EQ(rt_set_free(turns.set), 0);
    multi_runtime_free(rt);
}

/* In a coroutine over `t`: the set has the receiver, which has something. */
#define MEMBER_GIVES(t, out)                                                \
    do {                                                                    \
        CHECK_EQ(rt_set_add(cx, (t)->set, (t)->steps.op, 1), 0);            \
        RT_AWAIT((t)->steps.got, rt_poll_set(cx, (t)->set, &(t)->key));     \
        CHECK_EQ((t)->steps.got, 0);                                        \
        (t)->steps.got = rt_poll_recv_next(cx, (t)->steps.op, (out));       \
    } while (0)

/* ---- sets ---- */

/* Nothing went on when the first came back, for others waited to be taken. */
static int64_t keep_many(rt_cx *cx, void *state) {
    struct turns *t = state;
    struct steps *s = &t->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    far_stuff(s->far, 7, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    OP_TURNS(s, LOOKS);
    for (t->count = 0; t->count < WINDOW; t->count++) {
        MEMBER_GIVES(t, &t->held[t->count]);
        buf_follows(&t->held[t->count], s->got, 7, t->offset);
        t->offset += t->held[t->count].len;
        if (t->count > 0) continue;
        CHECK_EQ(rt_buf_release(t->held[0].lease), 0);
        OP_TURNS(s, LOOKS);
    }
    MEMBER_GIVES(t, &t->buf);
    buf_follows(&t->buf, s->got, 7, t->offset);
    CHECK_EQ(rt_buf_release(t->buf.lease), 0);
    for (int i = 1; i < WINDOW; i++) CHECK_EQ(rt_buf_release(t->held[i].lease), 0);
    steps_close(s);
    RT_END(0);
}
static void a_set_asks_for_more_than_many(void) { play_turns(keep_many, 4 * WINDOW); }

static int64_t keep_one(rt_cx *cx, void *state) {
    struct turns *t = state;
    struct steps *s = &t->steps, *o = &t->others;
    RT_BEGIN(&s->frame);
    steps_pair(cx, o, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, o->io, &o->op), 0);
    for (t->count = 1; t->count < BUFFERS; t->count++) {
        net_put(o->far, "x", 1);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, o->op, &t->held[t->count]));
        CHECK_EQ(s->got, 1);
    }
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    net_put(s->far, "one", 3);
    OP_TURNS(s, LOOKS); /* it has the last one, and found that there are no more */
    MEMBER_GIVES(t, &t->held[0]);
    CHECK_EQ(s->got, 3);
    net_put(s->far, "two", 3);
    MEMBER_GIVES(t, &t->buf);
    CHECK_EQ(s->got, 3);
    CHECK(memcmp(t->buf.ptr, "two", 3) == 0);
    CHECK_EQ(rt_buf_release(t->buf.lease), 0);
    for (t->count = 0; t->count < BUFFERS; t->count++) CHECK_EQ(rt_buf_release(t->held[t->count].lease), 0);
    steps_close(s);
    steps_close(o);
    RT_END(0);
}
static void a_set_asks_where_the_pool_is_empty(void) { play_turns(keep_one, BUFFERS); }

/* ---- turns ---- */

/* `others` has the whole pool, and gives one back while the receiver stands in line, with a loan. The rest its task takes and keeps: then
 * it has nothing, and gets a loan as well. */
static int64_t give_one_back(rt_cx *cx, void *state) {
    struct turns *t = state;
    struct steps *s = &t->steps, *o = &t->others;
    RT_BEGIN(&s->frame);
    steps_pair(cx, o, net_unix_pair);
    far_stuff(o->far, 7, 0);
    CHECK_EQ(rt_submit_recv_multi(cx, o->io, &o->op), 0);
    OP_TURNS(s, LOOKS);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    net_put(s->far, "one", 3);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &t->held[0]));
    CHECK_EQ(s->got, 3);
    CHECK_EQ(rt_poll_recv_next(cx, s->op, &t->held[1]), RT_PENDING);
    net_put(s->far, "two", 3);
    OP_TURNS(s, LOOKS);
    CHECK(rt_poll_recv_next(cx, o->op, &t->buf) > 0);
    CHECK_EQ(rt_buf_release(t->buf.lease), 0);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &t->held[1]));
    CHECK_EQ(s->got, 3);
    for (t->count = 2; t->count < 2 + BUFFERS; t->count++) {
        RT_AWAIT(s->got, rt_poll_recv_next(cx, o->op, &t->held[t->count]));
        CHECK(s->got > 0);
    }
    for (int i = 0; i < t->count; i++) CHECK_EQ(rt_buf_release(t->held[i].lease), 0);
    steps_close(s);
    steps_close(o);
    RT_END(0);
}
static void who_had_everything_is_lent_to(void) { play_turns(give_one_back, BUFFERS); }

struct busy {
    struct steps steps;
    rt_buf buf;
    rt_task task;
};

static struct busy busy[BUSY], late;
static atomic_int cycles;
static atomic_bool served;

/* Gives its buffer back, and does something else before it asks for more, which is there. */
static int64_t be_busy(rt_cx *cx, void *state) {
    struct busy *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    while (!atomic_load(&served)) {
        far_stuff(s->far, 7, 0);
        RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &b->buf));
        CHECK(s->got > 0);
        CHECK_EQ(rt_buf_release(b->buf.lease), 0);
        atomic_fetch_add(&cycles, 1);
        OP_TURNS(s, 20);
    }
    steps_close(s);
    RT_END(0);
}

static int64_t come_late(rt_cx *cx, void *state) {
    struct busy *b = state;
    struct steps *s = &b->steps;
    RT_BEGIN(&s->frame);
    while (atomic_load(&cycles) < CYCLES) RT_YIELD(cx);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
    net_put(s->far, "hello", 5);
    RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &b->buf));
    atomic_store(&served, true);
    CHECK_EQ(s->got, 5);
    CHECK_EQ(rt_buf_release(b->buf.lease), 0);
    steps_close(s);
    RT_END(0);
}

static void who_comes_late_has_a_turn(void) {
    rt_config config = test_config();
    config.buffer_count = BUFFERS;
    config.buffer_size = SIZE;
    rt_runtime rt = test_runtime_with(&config);
    memset(busy, 0, sizeof busy);
    memset(&late, 0, sizeof late);
    atomic_store(&cycles, 0);
    atomic_store(&served, false);
    for (int i = 0; i < BUSY; i++) busy[i].task = spawn_near(rt, be_busy, &busy[i], busy[0].task);
    late.task = spawn_near(rt, come_late, &late, busy[0].task);
    CHECK_EQ(join_task(late.task), 0);
    for (int i = 0; i < BUSY; i++) CHECK_EQ(join_task(busy[i].task), 0);
    multi_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_set_asks_for_more_than_many);
    CASE(a_set_asks_where_the_pool_is_empty);
    CASE(who_had_everything_is_lent_to);
    CASE(who_comes_late_has_a_turn);
    return test_end();
}
