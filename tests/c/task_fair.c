/* Nobody starves: not behind a ping-pong pair, a task that wakes itself, or one that is always
 * ready. One worker throughout, so that no other one can come to the rescue. */
#include "check.h"

static rt_runtime one_worker(uint32_t poll_budget) {
    rt_config config = test_config();
    if (!current_thread()) config.workers = 1;
    config.poll_budget = poll_budget;
    return test_runtime_with(&config);
}

/* ---- ping-pong through the LIFO slot ---- */

/* More than any sensible bound on what may run before a third; a starved one would never run. */
enum { PATIENCE = 1000 };

struct pair {
    rt_task player[2];
    int hits;
    atomic_bool stop;
};
struct player {
    struct pair *pair;
    int number;
};
struct third {
    struct pair *pair;
    int hits_before;
};

static int64_t third_poll(rt_cx *cx, void *state) {
    (void)cx;
    struct third *t = state;
    t->hits_before = t->pair->hits - t->hits_before;
    atomic_store(&t->pair->stop, true);
    return 0;
}

static int64_t play(rt_cx *cx, void *state) {
    (void)cx;
    struct player *p = state;
    struct pair *pair = p->pair;
    pair->hits++;
    int64_t woken = rt_task_wake(pair->player[1 - p->number]);
    if (atomic_load(&pair->stop)) return 0;
    CHECK_EQ(woken, 0);
    return RT_PENDING;
}

struct match {
    struct pair pair;
    struct player players[2];
    struct third third;
    rt_task third_task;
};

/* The third is spawned from the same poll that starts the pair, ahead of it. */
static int64_t start_match(rt_cx *cx, void *state) {
    struct match *m = state;
    rt_runtime rt = rt_cx_runtime(cx);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(rt_spawn(rt, play, &m->players[i], NULL, &m->pair.player[i]), 0);
    CHECK_EQ(rt_spawn(rt, third_poll, &m->third, NULL, &m->third_task), 0);
    CHECK_EQ(rt_task_wake(m->pair.player[0]), 0);
    return 0;
}

static void init_match(struct match *m) {
    *m = (struct match){.third = {.pair = &m->pair}};
    for (int i = 0; i < 2; i++) m->players[i] = (struct player){&m->pair, i};
}

static void end_match(struct match *m) {
    CHECK_EQ(join_task(m->third_task), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(m->pair.player[i]), 0);
}

static void a_pair_does_not_starve_a_third(void) {
    rt_runtime rt = one_worker(0);
    struct match m;
    init_match(&m);
    CHECK_EQ(rt_block_on(rt, start_match, &m), 0);
    end_match(&m);
    CHECK(m.third.hits_before < PATIENCE);
    test_runtime_free(rt);
}

/* The third is queued by one of the players while the pair is in full swing. */
struct late {
    struct match match;
    rt_runtime rt;
};

static int64_t play_and_invite(rt_cx *cx, void *state) {
    struct late *l = state;
    struct match *m = &l->match;
    if (m->pair.hits >= 500 && m->third_task == 0) {
        m->third.hits_before = m->pair.hits;
        CHECK_EQ(rt_spawn(l->rt, third_poll, &m->third, NULL, &m->third_task), 0);
    }
    return play(cx, &m->players[0]);
}

static int64_t start_late(rt_cx *cx, void *state) {
    struct late *l = state;
    rt_runtime rt = rt_cx_runtime(cx);
    CHECK_EQ(rt_spawn(rt, play_and_invite, l, NULL, &l->match.pair.player[0]), 0);
    CHECK_EQ(rt_spawn(rt, play, &l->match.players[1], NULL, &l->match.pair.player[1]), 0);
    return 0;
}

static void a_pair_does_not_starve_one_that_comes_later(void) {
    struct late l = {.rt = one_worker(0)};
    init_match(&l.match);
    CHECK_EQ(rt_block_on(l.rt, start_late, &l), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(l.match.pair.player[i]), 0);
    CHECK_EQ(join_task(l.match.third_task), 0);
    CHECK(l.match.third.hits_before < PATIENCE);
    test_runtime_free(l.rt);
}

/* A third that comes from another thread must be looked for although the queue is never empty. */
static void *invite_from_outside(void *arg) {
    struct late *l = arg;
    CHECK_EQ(rt_spawn(l->rt, third_poll, &l->match.third, NULL, &l->match.third_task), 0);
    return NULL;
}

static int64_t start_pair(rt_cx *cx, void *state) {
    struct match *m = &((struct late *)state)->match;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), play, &m->players[i], NULL, &m->pair.player[i]), 0);
    return 0;
}

static void a_pair_does_not_starve_a_foreign_spawn(void) {
    struct late l = {.rt = one_worker(0)};
    init_match(&l.match);
    CHECK_EQ(rt_block_on(l.rt, start_pair, &l), 0);
    pthread_t guest = thread_start(invite_from_outside, &l);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(l.match.pair.player[i]), 0);
    thread_join(guest);
    CHECK_EQ(join_task(l.match.third_task), 0);
    test_runtime_free(l.rt);
}

/* ---- a task that wakes itself ---- */

struct selfish {
    atomic_bool stop;
    int polls;
};

static int64_t wake_self(rt_cx *cx, void *state) {
    struct selfish *s = state;
    s->polls++;
    if (atomic_load(&s->stop)) return 0;
    CHECK_EQ(rt_waker_wake_by_ref(rt_cx_waker(cx)), 0);
    return RT_PENDING;
}

static int64_t stop_selfish(rt_cx *cx, void *state) {
    (void)cx;
    atomic_store(&((struct selfish *)state)->stop, true);
    return 0;
}

static void *stop_from_outside(void *arg) {
    void **args = arg;
    CHECK_EQ(rt_spawn(*(rt_runtime *)args[0], stop_selfish, args[1], NULL, NULL), 0);
    return NULL;
}

static void a_task_that_wakes_itself_starves_nobody(void) {
    rt_runtime rt = one_worker(0);
    struct selfish s = {.polls = 0};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, wake_self, &s, NULL, &task), 0);
    pthread_t other = thread_start(stop_from_outside, (void *[]){&rt, &s});
    CHECK_EQ(join_task(task), 0);
    thread_join(other);
    test_runtime_free(rt);
}

/* ---- a task for which everything is ready ---- */

enum { ENDED = 100, BUDGET = 10 };

struct eater {
    rt_task tasks[ENDED];
    int eaten, polls;
};

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void count_end(void *state) { atomic_fetch_add((atomic_int *)state, 1); }

static bool all_ended(void *arg) { return atomic_load((atomic_int *)arg) == ENDED; }

static int64_t eat_joins(rt_cx *cx, void *state) {
    struct eater *e = state;
    e->polls++;
    for (; e->eaten < ENDED; e->eaten++) {
        int64_t r = rt_poll_join(cx, e->tasks[e->eaten], NULL);
        if (r == RT_PENDING) return RT_PENDING;
        CHECK_EQ(r, 0);
    }
    return 0;
}

static int polls_to_eat(uint32_t budget) {
    rt_runtime rt = one_worker(budget);
    struct eater e = {.eaten = 0};
    atomic_int ended = 0;
    for (int i = 0; i < ENDED; i++)
        CHECK_EQ(rt_spawn(rt, end_at_once, &ended, count_end, &e.tasks[i]), 0);
    drive_until(rt, all_ended, &ended);
    CHECK_EQ(rt_block_on(rt, eat_joins, &e), 0);
    test_runtime_free(rt);
    return e.polls;
}

static void a_poll_takes_no_more_than_its_budget(void) {
    CHECK(polls_to_eat(BUDGET) >= ENDED / BUDGET);
}

static void the_budget_can_be_turned_off(void) { CHECK_EQ(polls_to_eat(RT_BUDGET_OFF), 1); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_pair_does_not_starve_a_third);
    CASE(a_pair_does_not_starve_one_that_comes_later);
    CASE(a_pair_does_not_starve_a_foreign_spawn);
    CASE(a_task_that_wakes_itself_starves_nobody);
    CASE(a_poll_takes_no_more_than_its_budget);
    CASE(the_budget_can_be_turned_off);
    return test_end();
}
