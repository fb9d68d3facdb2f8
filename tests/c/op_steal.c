/* Tasks with operations among two workers: one with an operation in flight stays where it is, one
 * without may be run by whoever is free, also if it had some before. Results are right either way.
 */
#include "op.h"

/* ---- a task with an operation in flight is polled by one thread ---- */

enum { TASKS = 40, ROUNDS = 300 };

struct mover {
    struct steps steps;
    struct hall *hall;
    pthread_t home;
    int rounds;
    uint64_t sum;
    rt_task task;
};

struct hall {
    struct mover movers[TASKS];
    int rounds;
};

static int64_t receive_and_compute(rt_cx *cx, void *state) {
    struct mover *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    for (m->rounds = 0; m->rounds < m->hall->rounds; m->rounds++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
        m->home = pthread_self();
        for (s->i = 0; s->i < m->rounds % 5; s->i++) {
            RT_YIELD(cx);
            CHECK(pthread_equal(m->home, pthread_self()));
        }
        CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
        s->buf[100] = (char)net_pattern_at(2, (uint64_t)m->rounds);
        net_put(s->far, &s->buf[100], 1);
        RT_AWAIT(s->got, rt_poll_op(cx, s->op));
        CHECK_EQ(s->got, 1);
        CHECK(pthread_equal(m->home, pthread_self()));
        CHECK_EQ(s->buf[0], s->buf[100]);
        for (s->i = 0; s->i < m->rounds % 7; s->i++) { /* with none in flight */
            for (uint64_t i = 0; i < 300; i++) m->sum += i * m->sum + i;
            RT_YIELD(cx);
        }
    }
    RT_END(0);
}

static void where_its_operation_is(void) {
    static struct hall hall;
    memset(&hall, 0, sizeof hall);
    hall.rounds = scaled(ROUNDS);
    rt_runtime rt = test_runtime();
    for (int i = 0; i < TASKS; i++) {
        struct mover *m = &hall.movers[i];
        int ends[2];
        net_unix_pair(ends);
        m->hall = &hall;
        m->steps.far = ends[1];
        m->steps.io = io_of(rt, ends[0], 0);
        CHECK_EQ(rt_spawn(rt, receive_and_compute, m, NULL, &m->task), 0);
    }
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(join_task(hall.movers[i].task), 0);
        CHECK_EQ(hall.movers[i].rounds, hall.rounds);
        steps_close(&hall.movers[i].steps);
    }
    op_runtime_free(rt);
}

/* ---- two that must run at once ---- */

/* Each blocks its worker until the other has come: on one worker they would wait for ever. */
struct meeting {
    struct guest {
        struct steps steps;
        struct meeting *meeting;
        int number;
        rt_task task;
    } guests[2];
    struct steps host;
    gate came[2];
    atomic_int taken; /* outcomes */
    bool with_operations;
};

static int64_t come_and_wait(rt_cx *cx, void *state) {
    struct guest *g = state;
    struct steps *s = &g->steps;
    RT_BEGIN(&s->frame);
    if (g->meeting->with_operations) {
        net_put(s->far, "x", 1);
        OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op));
        atomic_fetch_add(&g->meeting->taken, 1);
        /* Until the other has taken its outcome as well: before that it is bound to its worker. */
        while (atomic_load(&g->meeting->taken) < 2) RT_YIELD(cx);
    }
    gate_open(&g->meeting->came[g->number]);
    gate_wait(&g->meeting->came[1 - g->number]);
    RT_END(0);
}

/* The host has an operation in flight all the time, which binds only itself. */
static int64_t invite(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->host;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
    for (int i = 0; i < 2; i++) {
        struct guest *g = &m->guests[i];
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), come_and_wait, g, NULL, &g->task), 0);
    }
    for (s->n = 0; s->n < 2; s->n++) {
        RT_AWAIT(s->got, rt_poll_join(cx, m->guests[s->n].task, NULL));
        CHECK_EQ(s->got, 0);
    }
    net_put(s->far, "x", 1);
    OP_TAKE_EQ(s, 1);
    steps_close(s);
    RT_END(0);
}

static void meet(bool with_operations) {
    if (test_workers < 2) return; /* there is nobody to share with */
    for (int round = 0; round < scaled(200); round++) {
        struct meeting m = {.with_operations = with_operations};
        rt_runtime rt = test_runtime();
        rt_task task;
        for (int i = 0; i < 2; i++) {
            int ends[2];
            net_unix_pair(ends);
            m.guests[i].meeting = &m;
            m.guests[i].number = i;
            m.guests[i].steps.io = io_of(rt, ends[0], 0);
            m.guests[i].steps.far = ends[1];
            gate_init(&m.came[i]);
        }
        CHECK_EQ(rt_spawn(rt, invite, &m, NULL, &task), 0);
        CHECK_EQ(join_task(task), 0);
        for (int i = 0; i < 2; i++) {
            steps_close(&m.guests[i].steps);
            gate_destroy(&m.came[i]);
        }
        op_runtime_free(rt);
    }
}

static void tasks_without_operations_are_shared(void) { meet(false); }
static void so_are_those_whose_operations_ended(void) { meet(true); }

/* ---- one worker is stuck: what has no operation there goes on ---- */

struct jam {
    struct steps steps;
    gate may_go;
    atomic_int ran;
    rt_task others[TASKS];
};

static int64_t count(rt_cx *cx, void *state) {
    (void)cx;
    struct jam *j = state;
    if (atomic_fetch_add(&j->ran, 1) + 1 == TASKS) gate_open(&j->may_go);
    return 0;
}

/* Blocks its worker, with an operation in flight, until all others ran. */
static int64_t block_the_worker(rt_cx *cx, void *state) {
    struct jam *j = state;
    struct steps *s = &j->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), count, j, NULL, &j->others[i]), 0);
    gate_wait(&j->may_go);
    net_put(s->far, "x", 1);
    OP_TAKE_EQ(s, 1);
    steps_close(s);
    RT_END(0);
}

static void a_stuck_worker_holds_only_its_own(void) {
    if (test_workers < 2) return;
    for (int round = 0; round < scaled(100); round++) {
        struct jam j = {0};
        rt_runtime rt = test_runtime();
        rt_task task;
        gate_init(&j.may_go);
        CHECK_EQ(rt_spawn(rt, block_the_worker, &j, NULL, &task), 0);
        CHECK_EQ(join_task(task), 0);
        for (int i = 0; i < TASKS; i++) CHECK_EQ(join_task(j.others[i]), 0);
        CHECK_EQ(atomic_load(&j.ran), TASKS);
        op_runtime_free(rt);
        gate_destroy(&j.may_go);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(where_its_operation_is);
    CASE(tasks_without_operations_are_shared);
    CASE(so_are_those_whose_operations_ended);
    CASE(a_stuck_worker_holds_only_its_own);
    return test_end();
}
