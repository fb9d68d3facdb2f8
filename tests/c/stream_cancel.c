/* Queued sends that are cancelled: one of which nothing went leaves no trace; one that was cut is
 * the last that the stream sent. So the peer sees what the outcomes say, and a beginning of what
 * was cut.
 */
#include "multi.h"

enum { OPS = 20, LONGEST = 60000, SMALL = 100, EMPTIES = 300 };

struct sender {
    struct steps steps;
    rt_op ops[EMPTIES];
    int64_t outcomes[EMPTIES];
    size_t lengths[OPS], stuffed, have;
    int at, round;
    unsigned char data[OPS][LONGEST];
    unsigned char seen[OPS * LONGEST];
    rt_task task;
    rt_io io;
};

static struct sender sender;

static struct sender *fresh(void) {
    memset(&sender, 0, sizeof sender);
    return &sender;
}

static uint64_t seed = 1;

static int dice(int sides) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)sides);
}

static void submit_one(rt_cx *cx, struct sender *v, int i, size_t n) {
    v->lengths[i] = n;
    net_pattern(v->data[i], n, (uint64_t)(v->round * OPS + i), 0);
    CHECK_EQ(rt_submit_send(cx, v->steps.io, v->data[i], n, 0, &v->ops[i]), 0);
}

static void stuffed_pair(rt_cx *cx, struct sender *v) {
    steps_pair(cx, &v->steps, net_unix_pair);
    net_small_buffer(v->steps.near);
    v->stuffed = net_stuff(v->steps.near);
}

/* In a coroutine: the outcome of one of them. */
#define OUTCOME(v, i)                                                              \
    do {                                                                           \
        RT_AWAIT((v)->outcomes[i], rt_poll_op(cx, (v)->ops[i]));                    \
        CHECK_EQ(rt_poll_op(cx, (v)->ops[i]), -EBADF);                              \
    } while (0)

static void read_more(struct sender *v, size_t most) {
    ssize_t r = read(v->steps.far, v->seen + v->have, most);
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    else v->have += (size_t)r;
}

/* What the peer saw is what was sent, one after the other. Returns how much of `i` came if that is
 * not all. */
static void check_seen(const struct sender *v, int ops) {
    const unsigned char *at = v->seen + v->stuffed, *end = v->seen + v->have;
    int i = 0;
    for (; i < ops; i++) {
        if (v->outcomes[i] != (int64_t)v->lengths[i]) continue;
        CHECK((size_t)(end - at) >= v->lengths[i]);
        CHECK(memcmp(at, v->data[i], v->lengths[i]) == 0);
        at += v->lengths[i];
    }
    if (at == end) return;
    /* A beginning of one of them, behind which none was sent. */
    size_t cut = (size_t)(end - at);
    for (i = ops - 1; i >= 0 && v->outcomes[i] != (int64_t)v->lengths[i]; i--)
        if (cut < v->lengths[i] && memcmp(at, v->data[i], cut) == 0) return;
    CHECK(!"the rest belongs to none that was cut");
}

/* ---- before anything of them went ---- */

static int64_t cancel_untouched(rt_cx *cx, void *state) {
    struct sender *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    for (v->round = 0; v->round < 50; v->round++) {
        v->have = 0;
        stuffed_pair(cx, v);
        for (int i = 0; i < OPS; i++) submit_one(cx, v, i, SMALL);
        OP_TURNS(s, v->round % 5 * 10);
        for (int i = v->round % 3; i < OPS; i += 3) CHECK_EQ(rt_cancel(v->ops[i]), 0);
        for (v->at = v->round % 3; v->at < OPS; v->at += 3) {
            OUTCOME(v, v->at); /* though the peer does not read */
            CHECK_EQ(v->outcomes[v->at], -ECANCELED);
        }
        CHECK_EQ(rt_send(s->io, "", 0), 0);
        while (rt_poll_flush(cx, s->io, 0) == RT_PENDING) {
            read_more(v, 1000);
            RT_YIELD(cx);
        }
        for (v->at = 0; v->at < OPS; v->at++) {
            if (v->at % 3 == v->round % 3) continue;
            OUTCOME(v, v->at);
            CHECK_EQ(v->outcomes[v->at], SMALL);
        }
        read_more(v, sizeof v->seen - v->have);
        for (int i = 0; i < OPS; i++) CHECK_EQ(v->outcomes[i] == SMALL, i % 3 != v->round % 3);
        check_seen(v, OPS);
        CHECK_EQ(rt_send(s->io, "still open", 10), 10);
        steps_close(s);
    }
    RT_END(0);
}
static void untouched_ones_leave_no_trace(void) { play_alone(cancel_untouched, fresh()); }

/* So many that they do not leave together: the last of them ends as soon as the first. */
static int64_t cancel_hundreds(rt_cx *cx, void *state) {
    struct sender *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    stuffed_pair(cx, v);
    CHECK_EQ(rt_submit_send(cx, s->io, v->data[0], LONGEST, 0, &s->op), 0);
    for (int i = 0; i < EMPTIES; i++)
        CHECK_EQ(rt_submit_send(cx, s->io, "x", (size_t)i % 2, 0, &v->ops[i]), 0);
    OP_TURNS(s, 100);
    for (int i = EMPTIES - 1; i >= 0; i--) CHECK_EQ(rt_cancel(v->ops[i]), 0);
    for (v->at = EMPTIES - 1; v->at >= 0; v->at--) {
        OUTCOME(v, v->at);
        CHECK_EQ(v->outcomes[v->at], -ECANCELED);
    }
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    CHECK_EQ(rt_send(s->io, "end", 3), 3);
    while (rt_poll_flush(cx, s->io, 0) == RT_PENDING) {
        read_more(v, 1000);
        RT_YIELD(cx);
    }
    read_more(v, sizeof v->seen - v->have);
    CHECK_EQ(v->have, v->stuffed + 3);
    CHECK(memcmp(v->seen + v->stuffed, "end", 3) == 0);
    steps_close(s);
    RT_END(0);
}
static void hundreds_of_them(void) { play_alone(cancel_hundreds, fresh()); }

static int64_t expire_untouched(rt_cx *cx, void *state) {
    struct sender *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    stuffed_pair(cx, v);
    for (int i = 0; i < 3; i++) submit_one(cx, v, i, SMALL);
    CHECK_EQ(rt_op_deadline(v->ops[1], rt_now() + 1000000), 0);
    OUTCOME(v, 1);
    CHECK_EQ(v->outcomes[1], -ETIME);
    while (rt_poll_flush(cx, s->io, 0) == RT_PENDING) {
        read_more(v, 1000);
        RT_YIELD(cx);
    }
    OUTCOME(v, 0);
    OUTCOME(v, 2);
    read_more(v, sizeof v->seen - v->have);
    CHECK_EQ(v->have, v->stuffed + 2 * SMALL);
    check_seen(v, 3);
    steps_close(s);
    RT_END(0);
}
static void a_deadline_leaves_no_trace(void) { play_alone(expire_untouched, fresh()); }

/* ---- the end of the task that sends ---- */

static int64_t queue_and_leave(rt_cx *cx, void *state) {
    struct sender *v = state;
    rt_op op;
    if (v->at++ == 0)
        for (int i = 0; i < OPS; i++)
            CHECK_EQ(rt_submit_send(cx, v->io, v->data[i], SMALL, 0, &op), 0);
    return v->at < 10 ? rt_yield(cx) : 0;
}

static int64_t send_beside(rt_cx *cx, void *state) {
    struct sender *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    stuffed_pair(cx, v);
    v->io = s->io;
    CHECK_EQ(rt_send(s->io, "before", 6), 6);
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), queue_and_leave, v, NULL, &v->task), 0);
    RT_AWAIT(s->got, rt_poll_join(cx, v->task, NULL));
    CHECK_EQ(rt_send(s->io, "after", 5), 5);
    while (rt_poll_flush(cx, s->io, 0) == RT_PENDING) {
        read_more(v, 1000);
        RT_YIELD(cx);
    }
    read_more(v, sizeof v->seen - v->have);
    CHECK_EQ(v->have, v->stuffed + 11);
    CHECK(memcmp(v->seen + v->stuffed, "beforeafter", 11) == 0);
    steps_close(s);
    RT_END(0);
}
static void the_end_of_a_task_leaves_no_trace(void) { play_alone(send_beside, fresh()); }

/* ---- after a part of them went ---- */

static int64_t cancel_cut(rt_cx *cx, void *state) {
    struct sender *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    for (v->round = 0; v->round < 10; v->round++) {
        v->have = v->stuffed = 0;
        steps_pair(cx, s, net_unix_pair);
        net_small_buffer(s->near);
        submit_one(cx, v, 0, LONGEST);
        submit_one(cx, v, 1, SMALL);
        OP_TURNS(s, v->round % 4 * 30);
        CHECK_EQ(rt_poll_op(cx, v->ops[0]), RT_PENDING);
        CHECK_EQ(rt_cancel(v->ops[0]), 0);
        OUTCOME(v, 0);
        CHECK_EQ(v->outcomes[0], -ECANCELED);
        OUTCOME(v, 1);
        CHECK_EQ(v->outcomes[1], -EPIPE);
        CHECK_EQ(rt_send(s->io, "x", 1), -EPIPE);
        CHECK_EQ(rt_poll_flush(cx, s->io, 0), -EPIPE);
        OP_FAILS(s, -EPIPE, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
        OP_TURNS(s, 50);
        CHECK_EQ(rt_close(s->io), 0);
        s->io = 0;
        v->have = net_get(s->far, v->seen, sizeof v->seen);
        CHECK(v->have > 0 && v->have < LONGEST);
        check_seen(v, 2);
        steps_close(s);
    }
    RT_END(0);
}
static void cut_ones_are_the_last(void) { play_alone(cancel_cut, fresh()); }

/* ---- at random, while the peer reads ---- */

static int64_t cancel_at_random(rt_cx *cx, void *state) {
    struct sender *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    for (v->round = 0; v->round < scaled(300); v->round++) {
        v->have = v->stuffed = 0;
        steps_pair(cx, s, net_unix_pair);
        net_small_buffer(s->near);
        for (int i = 0; i < OPS; i++)
            submit_one(cx, v, i, 1 + (size_t)dice(v->round % 2 == 0 ? 500 : LONGEST));
        for (s->n = (size_t)dice(40); s->n > 0; s->n--) {
            read_more(v, 1 + (size_t)dice(20000));
            if (dice(4) == 0) RT_YIELD(cx);
            if (dice(8) == 0) CHECK_EQ(rt_cancel(v->ops[dice(OPS)]), 0);
        }
        for (v->at = 0; v->at < OPS;) {
            read_more(v, 20000);
            v->outcomes[v->at] = rt_poll_op(cx, v->ops[v->at]);
            if (v->outcomes[v->at] == RT_PENDING) RT_YIELD(cx);
            else v->at++;
        }
        for (int i = 0; i < OPS; i++)
            CHECK(v->outcomes[i] == (int64_t)v->lengths[i] || v->outcomes[i] == -ECANCELED ||
                  v->outcomes[i] == -EPIPE);
        CHECK_EQ(rt_close(s->io), 0);
        s->io = 0;
        OP_TURNS(s, 3);
        v->have += net_get(s->far, v->seen + v->have, sizeof v->seen - v->have);
        check_seen(v, OPS);
        steps_close(s);
    }
    RT_END(0);
}
static void the_outcomes_are_what_the_peer_saw(void) { play_alone(cancel_at_random, fresh()); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(untouched_ones_leave_no_trace);
    CASE(hundreds_of_them);
    CASE(a_deadline_leaves_no_trace);
    CASE(the_end_of_a_task_leaves_no_trace);
    CASE(cut_ones_are_the_last);
    CASE(the_outcomes_are_what_the_peer_saw);
    return test_end();
}
