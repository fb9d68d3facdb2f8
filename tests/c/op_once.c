/* Each outcome exactly once, whoever races: a cancel, data, a deadline and a close from several
 * sides end one operation, and every byte is either in its buffer or still in the stream.
 */
#include "op.h"

enum side { CANCEL = 1, DATA = 2, DEADLINE = 4, CLOSE = 8, ALL_SIDES = 16 };

struct race {
    struct steps steps;
    int round, rounds;
    _Atomic rt_op target;
    atomic_int sides; /* what the threads have to do in this round */
    int copy;         /* of the near end, which outlives a close */
    atomic_bool over;
    gate start[2], end[2];
    unsigned bytes, cancelled, late;
};

static int sides_of(int round) { return 1 + round * 7 % (ALL_SIDES - 1); }

/* ---- the threads: one cancels and closes, the other one writes ---- */

static void *cancel_and_close(void *arg) {
    struct race *r = arg;
    for (;;) {
        gate_wait(&r->start[0]);
        if (atomic_load(&r->over)) return NULL;
        int sides = atomic_load(&r->sides);
        if (sides & CANCEL) {
            int64_t asked = rt_cancel(atomic_load(&r->target));
            CHECK(asked == 0 || asked == -EBADF);
        }
        if (sides & CLOSE) CHECK_EQ(rt_close(r->steps.io), 0);
        gate_open(&r->end[0]);
    }
}

static void *write_one(void *arg) {
    struct race *r = arg;
    for (;;) {
        gate_wait(&r->start[1]);
        if (atomic_load(&r->over)) return NULL;
        if (atomic_load(&r->sides) & DATA) net_put(r->steps.far, "x", 1);
        gate_open(&r->end[1]);
    }
}

/* ---- the task ---- */

static void open_round(rt_cx *cx, struct race *r) {
    struct steps *s = &r->steps;
    steps_pair(cx, s, net_unix_pair);
    r->copy = (int)CHECK_SYS(fcntl(s->near, F_DUPFD_CLOEXEC, 0));
    atomic_store(&r->sides, sides_of(r->round));
}

/* The outcome is one that the round can have had, and the byte is in one place. */
static void judge(struct race *r, int64_t outcome) {
    int sides = sides_of(r->round);
    char rest[4];
    ssize_t left = read(r->copy, rest, sizeof rest);
    if (left < 0) left = 0;
    switch (outcome) {
    case 1:
        CHECK(sides & DATA);
        CHECK_EQ(r->steps.buf[0], 'x');
        r->bytes++;
        break;
    case -ETIME:
        CHECK(sides & DEADLINE);
        r->late++;
        break;
    default:
        CHECK_EQ(outcome, -ECANCELED);
        CHECK(sides & (CANCEL | CLOSE));
        r->cancelled++;
    }
    CHECK_EQ((outcome == 1) + left, (sides & DATA) != 0);
}

static int64_t race_on(rt_cx *cx, void *state) {
    struct race *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (r->round = 0; r->round < r->rounds; r->round++) {
        open_round(cx, r);
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 4, 0, &s->op), 0);
        atomic_store(&r->target, s->op);
        if (sides_of(r->round) & DEADLINE)
            CHECK_EQ(rt_op_deadline(s->op, rt_now() + (uint64_t)(r->round % 8) * 5000), 0);
        OP_TURNS(s, r->round % 3);
        for (int i = 0; i < 2; i++) gate_open(&r->start[i]);
        RT_AWAIT(s->got, rt_poll_op(cx, s->op));
        CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
        for (int i = 0; i < 2; i++) gate_wait(&r->end[i]);
        OP_TURNS(s, r->round % 5);
        judge(r, s->got);
        CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
        CHECK_EQ(rt_cancel(s->op), -EBADF);
        CHECK_EQ(rt_close(s->io), sides_of(r->round) & CLOSE ? -EBADF : 0);
        close(s->far);
        close(r->copy);
    }
    RT_END(0);
}

static void whoever_races(void) {
    static struct race r;
    r.rounds = scaled(6000);
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 2; i++) gate_init(&r.start[i]), gate_init(&r.end[i]);
    pthread_t threads[2] = {thread_start(cancel_and_close, &r), thread_start(write_one, &r)};
    CHECK_EQ(rt_block_on(rt, race_on, &r), 0);
    atomic_store(&r.over, true);
    for (int i = 0; i < 2; i++) {
        gate_open(&r.start[i]);
        thread_join(threads[i]);
        gate_destroy(&r.start[i]);
        gate_destroy(&r.end[i]);
    }
    CHECK_EQ(r.bytes + r.cancelled + r.late, (unsigned)r.rounds);
    CHECK(r.cancelled > 0);
    op_runtime_free(rt);
}

/* ---- a task that is woken for no reason, all the time ---- */

struct eager {
    struct steps steps;
    atomic_bool over;
    int polls, outcomes, wanted;
    rt_task task;
};

/* Every poll asks for the same operation again, and meddles with it now and then. */
static int64_t poll_eagerly(rt_cx *cx, void *state) {
    struct eager *e = state;
    struct steps *s = &e->steps;
    while (e->outcomes < e->wanted) {
        if (s->op == 0) CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
        s->got = rt_poll_op(cx, s->op);
        if (s->got == RT_PENDING) {
            if (++e->polls % 3 == 0) CHECK_EQ(rt_cancel(s->op), 0);
            return RT_PENDING;
        }
        CHECK_EQ(s->got, -ECANCELED);
        CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
        s->op = 0;
        e->outcomes++;
    }
    atomic_store(&e->over, true);
    return 0;
}

static void *wake_for_no_reason(void *arg) {
    struct eager *e = arg;
    while (!atomic_load(&e->over)) {
        rt_task_wake(e->task); /* at the end it may be gone */
        sched_yield();
    }
    return NULL;
}

static void polls_without_a_reason(void) {
    static struct eager e;
    int ends[2];
    rt_runtime rt = test_runtime();
    net_unix_pair(ends);
    e.steps.io = io_of(rt, ends[0], 0);
    e.steps.far = ends[1];
    e.wanted = scaled(20000);
    CHECK_EQ(rt_spawn(rt, poll_eagerly, &e, NULL, &e.task), 0);
    pthread_t thread = thread_start(wake_for_no_reason, &e);
    CHECK_EQ(join_task(e.task), 0);
    thread_join(thread);
    CHECK_EQ(e.outcomes, e.wanted);
    steps_close(&e.steps);
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE_ONCE(whoever_races, "it counts in statics");
    CASE_ONCE(polls_without_a_reason, "it counts in statics");
    return test_end();
}
