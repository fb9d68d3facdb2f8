/* A set of operations: members come in the order in which they became ready, each once, and what
 * they yield is there.
 */
#include "op.h"

enum { LINES = 64, ROUNDS = 300 };

struct crowd {
    struct steps steps;
    rt_set set;
    rt_io lines[LINES];
    int far[LINES], order[LINES], left[LINES];
    rt_op ops[LINES];
    unsigned char bytes[LINES];
    bool seen[LINES];
    uint64_t key, live;
    int rounds;
};

static struct crowd crowd;

static void play(rt_poll_fn body) {
    memset(&crowd, 0, sizeof crowd);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_set_new(rt, &crowd.set), 0);
    CHECK(crowd.set != 0);
    CHECK_EQ(rt_block_on(rt, body, &crowd), 0);
    CHECK_EQ(rt_set_free(crowd.set), 0);
    CHECK_EQ(rt_set_free(crowd.set), -EBADF);
    op_runtime_free(rt);
}

/* Every line is a pair of sockets, or a pipe. */
static void open_lines(rt_cx *cx, struct crowd *c) {
    for (int i = 0; i < LINES; i++) {
        int ends[2];
        if (i % 3 == 0) net_pipe(ends);
        else net_unix_pair(ends);
        c->lines[i] = io_of(rt_cx_runtime(cx), ends[0], 0);
        c->far[i] = ends[1];
        c->order[i] = (i * 37 + 11) % LINES;
    }
}

static void close_lines(struct crowd *c) {
    for (int i = 0; i < LINES; i++) {
        CHECK_EQ(rt_close(c->lines[i]), 0);
        close(c->far[i]);
    }
}

static void read_line(rt_cx *cx, struct crowd *c, int i) {
    if (i % 2 == 0 || i % 3 == 0)
        CHECK_EQ(rt_submit_read(cx, c->lines[i], &c->bytes[i], 1, RT_OFFSET_CURRENT, &c->ops[i]), 0);
    else CHECK_EQ(rt_submit_recv(cx, c->lines[i], &c->bytes[i], 1, 0, &c->ops[i]), 0);
}

static void add_all(rt_cx *cx, struct crowd *c) {
    for (int i = 0; i < LINES; i++)
        CHECK_EQ(rt_set_add(cx, c->set, c->ops[i], (uint64_t)i + 1000), 0);
}

static void put_line(struct crowd *c, int i) {
    unsigned char byte = (unsigned char)(i + 1);
    net_put(c->far[i], &byte, 1);
}

/* The member that is ready must be this one; it is taken. */
static void take_line(rt_cx *cx, struct crowd *c, int i) {
    CHECK_EQ(c->key, i + 1000);
    CHECK_EQ(rt_poll_op(cx, c->ops[i]), 1);
    CHECK_EQ(c->bytes[i], i + 1);
    CHECK_EQ(rt_cancel(c->ops[i]), -EBADF);
}

/* ---- the order ---- */

static int64_t in_order(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);

    /* One after the other, while the task waits. */
    for (int i = 0; i < LINES; i++) read_line(cx, c, i);
    add_all(cx, c);
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), RT_PENDING);
    for (s->n = 0; s->n < LINES; s->n++) {
        put_line(c, c->order[s->n]);
        RT_AWAIT(s->got, rt_poll_set(cx, c->set, &c->key));
        CHECK_EQ(s->got, 0);
        take_line(cx, c, c->order[s->n]);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);

    /* All before the task looks. Each is over before the next one's byte is sent. */
    for (int i = 0; i < LINES; i++) read_line(cx, c, i);
    add_all(cx, c);
    c->live = metrics(rt_cx_runtime(cx)).ops_live;
    for (s->n = 0; s->n < LINES; s->n++) {
        put_line(c, c->order[s->n]);
        while (metrics(rt_cx_runtime(cx)).ops_live != c->live - s->n - 1) RT_YIELD(cx);
    }
    for (s->n = 0; s->n < LINES; s->n++) {
        RT_AWAIT(s->got, rt_poll_set(cx, c->set, &c->key));
        CHECK_EQ(s->got, 0);
        take_line(cx, c, c->order[s->n]);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);

    /* Over before they are added: the order is that of the adds. */
    for (int i = 0; i < LINES; i++) read_line(cx, c, i), put_line(c, i);
    while (metrics(rt_cx_runtime(cx)).ops_live != c->live - LINES) RT_YIELD(cx);
    for (int i = 0; i < LINES; i++) {
        int at = c->order[i];
        CHECK_EQ(rt_set_add(cx, c->set, c->ops[at], (uint64_t)at + 1000), 0);
    }
    for (s->n = 0; s->n < LINES; s->n++) {
        RT_AWAIT(s->got, rt_poll_set(cx, c->set, &c->key));
        take_line(cx, c, c->order[s->n]);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);
    close_lines(c);
    RT_END(0);
}
static void ready_in_order(void) { play(in_order); }

/* ---- at any time ---- */

static void *put_all(void *arg) {
    struct crowd *c = arg;
    for (unsigned seed = 1, left = (unsigned)(c->rounds * LINES); left > 0;) {
        seed = seed * 1103515245 + 12345;
        int i = (int)(seed >> 16) % LINES;
        while (c->left[i] == 0) i = (i + 1) % LINES;
        c->left[i]--;
        put_line(c, i);
        left--;
    }
    return NULL;
}

/* Every byte is announced once, however it comes, and submitted for again. */
static int64_t at_any_time(rt_cx *cx, void *state) {
    static pthread_t writer;
    static int counts[LINES];
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    memset(counts, 0, sizeof counts);
    c->rounds = scaled(ROUNDS);
    for (int i = 0; i < LINES; i++) c->left[i] = c->rounds;
    for (int i = 0; i < LINES; i++) read_line(cx, c, i);
    add_all(cx, c);
    writer = thread_start(put_all, c);
    for (;;) {
        RT_AWAIT(s->got, rt_poll_set(cx, c->set, &c->key));
        if (s->got == -ENOENT) break;
        CHECK_EQ(s->got, 0);
        int i = (int)c->key - 1000;
        take_line(cx, c, i);
        if (++counts[i] == c->rounds) continue;
        read_line(cx, c, i);
        CHECK_EQ(rt_set_add(cx, c->set, c->ops[i], c->key), 0);
    }
    thread_join(writer);
    for (int i = 0; i < LINES; i++) CHECK_EQ(counts[i], c->rounds);
    close_lines(c);
    RT_END(0);
}
static void ready_at_any_time(void) { play(at_any_time); }

/* ---- not by data ---- */

enum { CANCELLED = 1, LATE, CLOSED, FORGOTTEN, FAILED, WAYS };

static int64_t by_other_ways(rt_cx *cx, void *state) {
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    for (int i = 1; i < WAYS; i++) {
        read_line(cx, c, i);
        CHECK_EQ(rt_set_add(cx, c->set, c->ops[i], (uint64_t)i), 0);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), RT_PENDING);
    CHECK_EQ(rt_cancel(c->ops[CANCELLED]), 0);
    CHECK_EQ(rt_op_deadline(c->ops[LATE], rt_now()), 0);
    CHECK_EQ(rt_close(c->lines[CLOSED]), 0);
    CHECK_EQ(rt_op_forget(c->ops[FORGOTTEN], NULL, NULL), 0);
    close(c->far[FAILED]);
    for (s->n = 1; s->n < WAYS; s->n++) {
        static const int64_t expected[WAYS] = {0, -ECANCELED, -ETIME, -ECANCELED, -EBADF, 0};
        RT_AWAIT(s->got, rt_poll_set(cx, c->set, &c->key));
        CHECK_EQ(s->got, 0);
        CHECK(!c->seen[c->key]);
        c->seen[c->key] = true;
        CHECK_EQ(rt_poll_op(cx, c->ops[c->key]), expected[c->key]);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);
    CHECK_EQ(rt_cancel(c->ops[FORGOTTEN]), -EBADF);
    close(c->far[FORGOTTEN]);
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    for (int i = 0; i < LINES; i++) {
        if (i != CLOSED) CHECK_EQ(rt_close(c->lines[i]), 0);
        if (i != FAILED && i != FORGOTTEN) close(c->far[i]);
    }
    RT_END(0);
}
static void ready_by_other_ways(void) { play(by_other_ways); }

/* ---- another task's ---- */

/* Ends with operations in the set, which are cancelled: whoever polls the set hears of it. */
static int64_t submit_and_end(rt_cx *cx, void *state) {
    struct crowd *c = state;
    for (int i = 0; i < LINES; i++) read_line(cx, c, i);
    add_all(cx, c);
    return 0;
}

static int64_t hear_of_the_end(rt_cx *cx, void *state) {
    static rt_task task;
    struct crowd *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    open_lines(cx, c);
    CHECK_EQ(rt_spawn(rt_cx_runtime(cx), submit_and_end, c, NULL, &task), 0);
    RT_AWAIT(s->got, rt_poll_join(cx, task, NULL));
    for (s->n = 0; s->n < LINES; s->n++) {
        RT_AWAIT(s->got, rt_poll_set(cx, c->set, &c->key));
        CHECK_EQ(s->got, 0);
        CHECK(!c->seen[c->key - 1000]);
        c->seen[c->key - 1000] = true;
        CHECK_EQ(rt_poll_op(cx, c->ops[c->key - 1000]), -EBADF);
    }
    CHECK_EQ(rt_poll_set(cx, c->set, &c->key), -ENOENT);
    close_lines(c);
    RT_END(0);
}
static void of_a_task_that_ended(void) { play(hear_of_the_end); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(ready_in_order);
    CASE(ready_at_any_time);
    CASE(ready_by_other_ways);
    CASE(of_a_task_that_ended);
    return test_end();
}
