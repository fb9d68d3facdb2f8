/* Two runtimes in one process: their tasks wake, join and abort each other's, and one may be driven
 * inside a poll of the other. */
#include "check.h"

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

/* ---- ping-pong across ---- */

struct rally {
    rt_task player[2];
    atomic_int turn; /* whose */
    int strokes, length;
};
struct player {
    struct rally *rally;
    int number;
};

static int64_t play(rt_cx *cx, void *state) {
    (void)cx;
    struct player *p = state;
    struct rally *r = p->rally;
    if (atomic_load(&r->turn) != p->number) return RT_PENDING; /* the second's first poll */
    int strokes = ++r->strokes;
    atomic_store(&r->turn, 1 - p->number);
    int64_t woken = rt_task_wake(r->player[1 - p->number]);
    CHECK(woken == 0 || strokes >= r->length); /* the other one may be gone by the last */
    return strokes >= r->length - 1 ? 0 : RT_PENDING;
}

/* The second runtime lives on a thread of its own, so that both sleep and wake in turns. */
static void *run_second(void *arg) {
    rt_runtime rt = *(rt_runtime *)arg;
    CHECK_EQ(rt_run(rt), 0);
    CHECK_EQ(rt_free(rt), 0);
    return NULL;
}

static void their_tasks_wake_each_other(void) {
    rt_runtime a = test_runtime(), b = test_runtime();
    struct rally r = {.turn = 0, .length = scaled(20000)};
    struct player players[2] = {{&r, 0}, {&r, 1}};
    CHECK_EQ(rt_spawn(b, play, &players[1], NULL, &r.player[1]), 0);
    pthread_t second = thread_start(run_second, &b);
    CHECK_EQ(rt_spawn(a, play, &players[0], NULL, &r.player[0]), 0);
    CHECK_EQ(rt_run(a), 0);
    thread_join(second);
    CHECK(r.strokes >= r.length);
    test_runtime_free(a);
}

/* ---- join and abort across; both driven by this thread ---- */

static void run_both(rt_runtime a, rt_runtime b) {
    if (!current_thread()) {
        sched_yield();
        return;
    }
    CHECK_OK(rt_turn(a, 0));
    CHECK_OK(rt_turn(b, 0));
}

struct joiner {
    rt_task target;
    int64_t returned, result;
    atomic_bool waiting, done;
};

static int64_t join_across(rt_cx *cx, void *state) {
    struct joiner *j = state;
    j->returned = rt_poll_join(cx, j->target, &j->result);
    atomic_store(&j->waiting, true);
    return j->returned == RT_PENDING ? RT_PENDING : 0;
}

static void joiner_done(void *state) { atomic_store(&((struct joiner *)state)->done, true); }

static void join_over_the_border(bool abort) {
    rt_runtime a = test_runtime(), b = test_runtime();
    probe p = {.result = 15};
    struct joiner j = {.target = probe_spawn(b, &p)};
    CHECK_EQ(rt_spawn(a, join_across, &j, joiner_done, NULL), 0);
    while (!flag_set(&j.waiting)) run_both(a, b);
    CHECK(!flag_set(&j.done));
    if (abort) CHECK_EQ(rt_abort(j.target), 0);
    else probe_finish(&p, j.target);
    while (!flag_set(&j.done)) run_both(a, b);
    CHECK_EQ(j.returned, 0);
    CHECK_EQ(j.result, abort ? -ECANCELED : 15);
    test_runtime_free(a);
    test_runtime_free(b);
}

static void a_task_joins_one_of_the_other(void) { join_over_the_border(false); }
static void a_task_learns_of_an_abort_in_the_other(void) { join_over_the_border(true); }

static void a_task_learns_that_the_other_runtime_went(void) {
    rt_runtime a = test_runtime(), b = test_runtime();
    probe p = {0};
    struct joiner j = {.target = probe_spawn(b, &p)};
    CHECK_EQ(rt_spawn(a, join_across, &j, joiner_done, NULL), 0);
    while (!flag_set(&j.waiting)) run_both(a, a);
    CHECK_EQ(rt_free(b), 0);
    while (!flag_set(&j.done)) run_both(a, a);
    CHECK(j.returned == -EBADF || (j.returned == 0 && j.result == -ECANCELED));
    CHECK_EQ(p.drops, 1);
    test_runtime_free(a);
}

/* ---- one inside a poll of the other ---- */

struct nest {
    rt_runtime outer, inner;
    rt_task outer_task;
    int outer_polls, inner_polls;
};

/* The outer runtime is on this thread's stack: the current-thread flavour cannot be driven. */
static int64_t inner_poll(rt_cx *cx, void *state) {
    struct nest *n = state;
    n->inner_polls++;
    CHECK(rt_cx_current() == cx);
    CHECK(rt_cx_runtime(cx) == n->inner);
    CHECK_EQ(rt_block_on(n->inner, end_at_once, NULL), -EDEADLK);
    if (current_thread()) {
        CHECK_EQ(rt_turn(n->outer, 0), -EDEADLK);
        CHECK_EQ(rt_block_on(n->outer, end_at_once, NULL), -EDEADLK);
        CHECK_EQ(rt_join(n->outer_task, 0, NULL), -EDEADLK);
        CHECK_EQ(rt_free(n->outer), -EDEADLK);
    }
    CHECK_EQ(rt_task_wake(n->outer_task), 0);
    return 3;
}

static int64_t outer_poll(rt_cx *cx, void *state) {
    struct nest *n = state;
    if (n->outer_polls++ > 0) return 8; /* woken by the inner task */
    if (current_thread()) {
        rt_task task;
        CHECK_EQ(rt_spawn(n->inner, inner_poll, n, NULL, &task), 0);
        CHECK_EQ(rt_turn(n->inner, RT_NEVER), 1);
        CHECK_EQ(rt_join(task, RT_NEVER, NULL), 0);
    } else {
        CHECK_EQ(rt_block_on(n->inner, inner_poll, n), 3);
    }
    CHECK(rt_cx_current() == cx);
    CHECK_EQ(rt_block_on(n->outer, end_at_once, NULL), -EDEADLK);
    return RT_PENDING;
}

static void one_may_be_driven_inside_a_poll_of_the_other(void) {
    struct nest n = {.outer = test_runtime(), .inner = test_runtime()};
    CHECK_EQ(rt_spawn(n.outer, outer_poll, &n, NULL, &n.outer_task), 0);
    CHECK_EQ(join_task(n.outer_task), 8);
    CHECK_EQ(n.outer_polls, 2);
    CHECK_EQ(n.inner_polls, 1);
    CHECK_EQ(rt_free(n.inner), 0);
    test_runtime_free(n.outer);
}

/* Made, used and freed within one poll. */
static int64_t live_a_life(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    probe p = {0};
    rt_runtime inner = test_runtime();
    CHECK_EQ(rt_block_on(inner, end_at_once, NULL), 0);
    probe_spawn(inner, &p);
    CHECK_EQ(rt_free(inner), 0);
    return p.drops;
}

static void one_may_live_and_die_inside_a_poll_of_the_other(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, live_a_life, NULL), 1);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(their_tasks_wake_each_other);
    CASE(a_task_joins_one_of_the_other);
    CASE(a_task_learns_of_an_abort_in_the_other);
    CASE(a_task_learns_that_the_other_runtime_went);
    CASE(one_may_be_driven_inside_a_poll_of_the_other);
    CASE(one_may_live_and_die_inside_a_poll_of_the_other);
    return test_end();
}
