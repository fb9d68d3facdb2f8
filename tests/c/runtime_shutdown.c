/* Shutdown ends every task, whatever their drops do: spawn, wake, abort, ask. Nothing deadlocks,
 * every drop runs once, and everybody who waits is told. */
#include "check.h"

#include <poll.h>

enum { TASKS = 100 };

static void it_drops_every_task(void) {
    rt_runtime rt = test_runtime();
    probe probes[TASKS] = {{.result = 0}};
    rt_task tasks[TASKS];
    for (int i = 0; i < TASKS; i++) tasks[i] = probe_spawn(rt, &probes[i]);
    for (int i = 0; i < TASKS / 2; i++) drive_until(rt, probe_polled, &probes[i]);
    for (int i = 0; i < TASKS; i += 10) CHECK_EQ(rt_task_wake(tasks[i]), 0);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    for (int i = 0; i < TASKS; i++) CHECK_EQ(probes[i].drops, 1);
    CHECK_EQ(live_tasks(rt), 0);
    CHECK_EQ(rt_shutdown(rt, 0), 0); /* the same number again */
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(join_task(tasks[i]), -ECANCELED); /* they are still there to be asked */
    }
    CHECK_EQ(rt_free(rt), 0);
}

static void a_result_survives_it(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true, .result = 5};
    rt_task task = probe_spawn(rt, &p);
    drive_until(rt, probe_dropped, &p);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(join_task(task), 5);
    CHECK_EQ(rt_free(rt), 0);
}

static void a_runtime_that_never_ran_shuts_down(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_free(rt), 0);
    rt = test_runtime();
    probe p = {0};
    probe_spawn(rt, &p);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(p.drops, 1);
    CHECK_EQ(rt_free(rt), 0);
}

/* ---- drops that work against it ---- */

enum { KIN = 20 };

struct clan {
    rt_runtime rt;
    rt_task tasks[KIN];
    rt_waker wakers[KIN];
    atomic_int given, drops;
    void (*last_wish)(struct clan *clan, int who);
};
struct kin {
    struct clan *clan;
    int who;
    bool given;
};

static int64_t kin_poll(rt_cx *cx, void *state) {
    struct kin *k = state;
    if (!k->given) {
        CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &k->clan->wakers[k->who]), 0);
        k->given = true;
        atomic_fetch_add(&k->clan->given, 1);
    }
    return RT_PENDING;
}

static void kin_drop(void *state) {
    struct kin *k = state;
    atomic_fetch_add(&k->clan->drops, 1);
    k->clan->last_wish(k->clan, k->who);
}

static bool all_given(void *arg) { return atomic_load(&((struct clan *)arg)->given) == KIN; }

static void end_clan(void (*last_wish)(struct clan *, int)) {
    struct clan clan = {.rt = test_runtime(), .last_wish = last_wish};
    struct kin kin[KIN];
    for (int i = 0; i < KIN; i++) {
        kin[i] = (struct kin){&clan, i, false};
        CHECK_EQ(rt_spawn(clan.rt, kin_poll, &kin[i], kin_drop, &clan.tasks[i]), 0);
    }
    drive_until(clan.rt, all_given, &clan);
    CHECK_EQ(rt_shutdown(clan.rt, RT_NEVER), 0);
    CHECK_EQ(clan.drops, KIN);
    CHECK_EQ(rt_free(clan.rt), 0);
    for (int i = 0; i < KIN; i++) CHECK_EQ(rt_waker_drop(&clan.wakers[i]), 0);
    CHECK_EQ(clan.drops, KIN);
}

/* Refused: and a state that was refused stays with its owner. */
static void spawn_one(struct clan *c, int who) {
    (void)who;
    probe p = {0};
    rt_task task;
    CHECK_EQ(rt_spawn(c->rt, probe_poll, &p, probe_drop, &task), -ESHUTDOWN);
    CHECK_EQ(p.polls + p.drops, 0);
}

static void wake_all(struct clan *c, int who) {
    (void)who;
    for (int i = 0; i < KIN; i++) {
        CHECK_EQ(rt_task_wake(c->tasks[i]), 0);
        CHECK_EQ(rt_waker_wake_by_ref(&c->wakers[i]), 0);
    }
}

static void abort_all(struct clan *c, int who) {
    (void)who;
    for (int i = 0; i < KIN; i++) CHECK_EQ(rt_abort(c->tasks[i]), 0);
}

static void detach_own(struct clan *c, int who) { CHECK_EQ(rt_detach(c->tasks[who]), 0); }

static void ask_everything(struct clan *c, int who) {
    char text[64];
    CHECK_OK(rt_describe(c->rt, text, sizeof text));
    CHECK_OK(rt_task_name(c->tasks[who], text, sizeof text));
    CHECK_EQ(metrics(c->rt).tasks_abandoned, 0);
    CHECK_EQ(rt_shutdown(c->rt, RT_NEVER), -EDEADLK);
}

static void drops_that_spawn_are_refused(void) { end_clan(spawn_one); }
static void drops_may_wake_everybody(void) { end_clan(wake_all); }
static void drops_may_abort_everybody(void) { end_clan(abort_all); }
static void drops_may_detach_their_own_task(void) { end_clan(detach_own); }
static void drops_may_ask(void) { end_clan(ask_everything); }

/* ---- who waits is told ---- */

struct waiter {
    rt_task task;
    int64_t returned, result;
};

static void *wait_for_task(void *arg) {
    struct waiter *w = arg;
    w->returned = rt_join(w->task, RT_NEVER, &w->result);
    return NULL;
}

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void check_told(const struct waiter *w, bool may_be_stale) {
    if (may_be_stale && w->returned == -EBADF) return; /* it came after the free */
    CHECK_EQ(w->returned, 0);
    CHECK_EQ(w->result, -ECANCELED);
}

static void a_thread_that_joins_is_told(void) {
    for (int i = 0; i < scaled(50); i++) {
        rt_runtime rt = test_runtime();
        CHECK_EQ(rt_block_on(rt, end_at_once, NULL), 0); /* this thread owns it */
        probe p = {0};
        struct waiter w = {.task = probe_spawn(rt, &p)};
        pthread_t other = thread_start(wait_for_task, &w);
        bool free_at_once = i % 2 == 1;
        if (!free_at_once) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
        if (!free_at_once) thread_join(other);
        CHECK_EQ(rt_free(rt), 0);
        if (free_at_once) thread_join(other);
        check_told(&w, free_at_once);
        CHECK_EQ(p.drops, 1);
    }
}

/* ---- racing spawns: each is either refused or dropped once ---- */

struct flood {
    rt_runtime rt;
    atomic_int drops;
    int accepted;
    gate started;
};

static int64_t stay(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void count_drop(void *state) { atomic_fetch_add(&((struct flood *)state)->drops, 1); }

static void *spawn_until_refused(void *arg) {
    struct flood *f = arg;
    for (;;) {
        int64_t r = rt_spawn(f->rt, f->accepted % 2 == 0 ? stay : end_at_once, f, count_drop, NULL);
        if (r == -ESHUTDOWN || r == -EBADF) return NULL;
        CHECK_EQ(r, 0);
        if (++f->accepted == 10) gate_open(&f->started);
    }
}

static void spawns_may_race_it(void) {
    for (int i = 0; i < scaled(50); i++) {
        struct flood floods[2];
        pthread_t threads[2];
        rt_runtime rt = test_runtime();
        for (int n = 0; n < 2; n++) {
            floods[n] = (struct flood){.rt = rt};
            gate_init(&floods[n].started);
            threads[n] = thread_start(spawn_until_refused, &floods[n]);
        }
        for (int n = 0; n < 2; n++) gate_wait(&floods[n].started);
        CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
        for (int n = 0; n < 2; n++) thread_join(threads[n]);
        for (int n = 0; n < 2; n++) CHECK_EQ(floods[n].drops, floods[n].accepted);
        for (int n = 0; n < 2; n++) gate_destroy(&floods[n].started);
        CHECK_EQ(rt_free(rt), 0);
    }
}

/* With a deadline, each is refused, dropped once, or given up and counted; whichever it was, it can be
 * joined. A spawner is held up wherever it happens to be, until the shutdown is over or has been kept
 * waiting by what the spawner holds. */
static int held_until[2];

static void hold_up(int sig) {
    (void)sig;
    int before = errno;
    struct pollfd over = {.fd = held_until[0], .events = POLLIN};
    poll(&over, 1, 30);
    errno = before;
}

struct joined_flood {
    struct flood flood;
    rt_task last;
};

static void *spawn_until_refused_and_join(void *arg) {
    struct joined_flood *j = arg;
    struct flood *f = &j->flood;
    rt_task task;
    while (rt_spawn(f->rt, stay, f, count_drop, &task) == 0) {
        j->last = task;
        if (++f->accepted == 10) gate_open(&f->started);
    }
    struct waiter w = {.task = j->last};
    wait_for_task(&w);
    check_told(&w, false);
    return NULL;
}

static void spawns_may_race_its_deadline(void) {
    enum { ROUNDS = 200 };
    /* A drop function may still be inside of one when its runtime is gone. */
    static struct joined_flood rounds[ROUNDS];
    struct sigaction action = {.sa_handler = hold_up}, before;
    CHECK_SYS(sigaction(SIGUSR1, &action, &before));
    uint64_t since = test_clock();
    for (int i = 0; i < scaled(ROUNDS) && !long_at_it(since); i++) {
        struct flood *f = &rounds[i].flood;
        f->rt = test_runtime();
        gate_init(&f->started);
        CHECK_SYS(pipe(held_until));
        pthread_t thread = thread_start(spawn_until_refused_and_join, &rounds[i]);
        gate_wait(&f->started);
        CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
        int64_t given_up = CHECK_OK(rt_shutdown(f->rt, 0));
        close(held_until[1]);
        thread_join(thread);
        CHECK_EQ(rt_free(f->rt), 0);
        int drops = f->drops;
        /* One that is given up inside of its drop function is both. Workers go on while tasks are given up, in the
         * same order, so these may be several of each. */
        CHECK(drops <= f->accepted && given_up <= f->accepted && drops + given_up >= f->accepted);
        close(held_until[0]);
        gate_destroy(&f->started);
    }
    CHECK_SYS(sigaction(SIGUSR1, &before, NULL));
}

/* ---- from another thread, while tasks run ---- */

static int64_t run_on(rt_cx *cx, void *state) {
    (void)state;
    return rt_yield(cx);
}

static void *shut_down(void *arg) {
    CHECK_EQ(rt_shutdown(*(rt_runtime *)arg, RT_NEVER), 0);
    return NULL;
}

static void another_thread_may_shut_down_busy_workers(void) {
    if (current_thread()) return; /* nobody would run while the owner waits here */
    rt_runtime rt = test_runtime();
    probe p = {0};
    for (int i = 0; i < TASKS; i++) CHECK_EQ(rt_spawn(rt, run_on, NULL, NULL, NULL), 0);
    probe_spawn(rt, &p);
    drive_until(rt, probe_polled, &p);
    pthread_t one = thread_start(shut_down, &rt), two = thread_start(shut_down, &rt);
    thread_join(one);
    thread_join(two);
    CHECK_EQ(p.drops, 1);
    CHECK_EQ(live_tasks(rt), 0);
    CHECK_EQ(rt_free(rt), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(it_drops_every_task);
    CASE(a_result_survives_it);
    CASE(a_runtime_that_never_ran_shuts_down);
    CASE(drops_that_spawn_are_refused);
    CASE(drops_may_wake_everybody);
    CASE(drops_may_abort_everybody);
    CASE(drops_may_detach_their_own_task);
    CASE(drops_may_ask);
    CASE(a_thread_that_joins_is_told);
    CASE(spawns_may_race_it);
    CASE(another_thread_may_shut_down_busy_workers);
    CASE_LEAVES(spawns_may_race_its_deadline, "tasks that were given up");
    return test_end();
}
