/* Far more operations at once than the rings have places: none is lost, neither on the way in nor
 * on the way back, and all of them can be cancelled at once.
 */
#include "op.h"

enum { LINES = 300, EACH = 10, RECEIVES = LINES * EACH, READS = 20000 };

struct crowd {
    struct steps steps;
    int near[LINES], far[LINES], at;
    rt_io lines[LINES];
    rt_op ops[READS];
    unsigned char bytes[READS];
    int count, done;
};

static struct crowd crowd;

/* With a submission queue that is soon full. */
static void play(rt_poll_fn body) {
    memset(&crowd, 0, sizeof crowd);
    rt_config config = test_config();
    config.ring_entries = 64;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(rt, body, &crowd), 0);
    op_runtime_free(rt);
}

static void open_lines(rt_cx *cx, struct crowd *c) {
    for (int i = 0; i < LINES; i++) {
        int ends[2];
        net_unix_pair(ends);
        c->lines[i] = io_of(rt_cx_runtime(cx), ends[0], 0);
        c->near[i] = ends[0];
        c->far[i] = ends[1];
    }
}

static void close_lines(struct crowd *c) {
    for (int i = 0; i < LINES; i++) {
        CHECK_EQ(rt_close(c->lines[i]), 0);
        close(c->far[i]);
    }
}

static void receive_on_all(rt_cx *cx, struct crowd *c) {
    for (int i = 0; i < RECEIVES; i++)
        CHECK_EQ(rt_submit_recv(cx, c->lines[i % LINES], &c->bytes[i], 1, 0, &c->ops[i]), 0);
}

/* ---- cancelled at once ---- */

static int64_t cancel_all(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    for (s->n = 0; s->n < 3; s->n++) {
        receive_on_all(cx, c);
        OP_TURNS(s, s->n == 0 ? 0 : 100); /* in the same poll first */
        for (int i = 0; i < RECEIVES; i++) CHECK_EQ(rt_cancel(c->ops[i]), 0);
        for (c->at = 0; c->at < RECEIVES; c->at++) {
            RT_AWAIT(s->got, rt_poll_op(cx, c->ops[c->at]));
            CHECK_EQ(s->got, -ECANCELED);
        }
        CHECK_EQ(rt_poll_quiesce(cx), 0);
    }
    close_lines(c);
    RT_END(0);
}
static void three_thousand_cancelled_at_once(void) { play(cancel_all); }

static int64_t quiesce_all(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    receive_on_all(cx, c);
    OP_TURNS(s, 100);
    close_lines(c); /* which ends them, too */
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    for (c->at = RECEIVES - 1; c->at >= 0; c->at--) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[c->at]));
        CHECK_EQ(s->got, -ECANCELED);
    }
    RT_END(0);
}
static void three_thousand_closed_at_once(void) { play(quiesce_all); }

/* The task returns, and its end ends them. */
static int64_t leave_all(rt_cx *cx, void *state) {
    struct crowd *c = state;
    receive_on_all(cx, c);
    return 0;
}

static int64_t spawn_and_join(rt_cx *cx, void *state) {
    static rt_task task;
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), leave_all, c, NULL, &task), 0);
    RT_AWAIT(s->got, rt_poll_join(cx, task, &s->got));
    for (int i = 0; i < LINES; i++) CHECK_EQ(rt_deregister(c->lines[i]), 0); /* none is in flight */
    for (int i = 0; i < LINES; i++) net_put(c->far[i], "x", 1);
    OP_TURNS(s, 100);
    for (int i = 0; i < RECEIVES; i++) CHECK_EQ(c->bytes[i], 0);
    for (int i = 0; i < LINES; i++) close(c->near[i]), close(c->far[i]);
    RT_END(0);
}
static void three_thousand_left_at_once(void) { play(spawn_and_join); }

/* ---- completed at once ---- */

/* Every byte that was sent is in one of the places, and each place has one. */
static int64_t complete_all(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    c->count = scaled(READS);
    steps_pair(cx, s, net_unix_pair);
    for (int i = 0; i < c->count; i++)
        CHECK_EQ(rt_submit_recv(cx, s->io, &c->bytes[i], 1, 0, &c->ops[i]), 0);
    OP_TURNS(s, 100);
    memset(s->buf, 'x', sizeof s->buf);
    for (c->done = 0; c->done < c->count; c->done += (int)s->n) {
        s->n = sizeof s->buf;
        if (s->n > (size_t)(c->count - c->done)) s->n = (size_t)(c->count - c->done);
        ssize_t put = write(s->far, s->buf, s->n);
        s->n = put > 0 ? (size_t)put : 0;
        if (put <= 0) RT_YIELD(cx);
    }
    for (c->at = 0; c->at < c->count; c->at++) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[c->at]));
        CHECK_EQ(s->got, 1);
        CHECK_EQ(c->bytes[c->at], 'x');
    }
    CHECK_EQ(read(s->near, s->buf, 1), -1);
    CHECK_EQ(rt_poll_quiesce(cx), 0);
    steps_close(s);
    RT_END(0);
}
static void twenty_thousand_receives(void) { play(complete_all); }

/* The same with a file, in which every read has its own place. */
static int64_t read_all(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    c->count = scaled(READS);
    s->near = scratch_file();
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    net_pattern(c->bytes, READS, 4, 0);
    CHECK_EQ(pwrite(s->near, c->bytes, READS, 0), READS);
    memset(c->bytes, 0, sizeof c->bytes);
    for (int i = 0; i < c->count; i++)
        CHECK_EQ(rt_submit_read(cx, s->io, &c->bytes[i], 1, (uint64_t)i, &c->ops[i]), 0);
    for (c->at = c->count - 1; c->at >= 0; c->at--) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[c->at]));
        CHECK_EQ(s->got, 1);
    }
    CHECK(net_pattern_holds(c->bytes, (size_t)c->count, 4, 0));
    steps_close(s);
    RT_END(0);
}
static void twenty_thousand_reads(void) { play(read_all); }

/* Many cancelled while as many complete: what was received and what was left make up the whole. */
static int64_t cancel_and_complete(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    receive_on_all(cx, c);
    OP_TURNS(s, 100);
    for (int i = 0; i < LINES; i++) net_put(c->far[i], "123456789", 9);
    for (int i = 0; i < RECEIVES; i += 2) CHECK_EQ(rt_cancel(c->ops[i]), 0);
    for (int i = 0; i < LINES; i += 3) CHECK_EQ(shutdown(c->far[i], SHUT_WR), 0);
    for (int i = 1; i < RECEIVES; i += 2) CHECK_EQ(rt_cancel(c->ops[i]), 0);
    c->done = 0;
    for (c->at = 0; c->at < RECEIVES; c->at++) {
        RT_AWAIT(s->got, rt_poll_op(cx, c->ops[c->at]));
        CHECK(s->got == 1 || s->got == -ECANCELED || (s->got == 0 && c->at % LINES % 3 == 0));
        c->done += s->got == 1;
    }
    for (int i = 0; i < LINES; i++) c->done += (int)net_drain(c->near[i]);
    CHECK_EQ(c->done, LINES * 9);
    close_lines(c);
    RT_END(0);
}
static void half_of_them_cancelled(void) { play(cancel_and_complete); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(2 * LINES + 100);
    scratch_make();
    CASE(three_thousand_cancelled_at_once);
    CASE(three_thousand_closed_at_once);
    CASE(twenty_thousand_receives);
    CASE(twenty_thousand_reads);
    CASE(half_of_them_cancelled);
    CASE(three_thousand_left_at_once);
    scratch_remove();
    return test_end();
}
