/* The threads for calls that block: as many as are needed, and no more than the configuration says;
 * no call is lost; and one that does not return keeps a shutdown with a deadline from nothing.
 */
#include "blocking.h"

enum { MANY = 64 };

struct all {
    struct job jobs[MANY];
    rt_task tasks[MANY];
    struct crowd crowd;
    gate hold;
};

static void all_spawn(struct all *a, rt_runtime rt) {
    memset(a, 0, sizeof *a);
    gate_init(&a->hold);
    for (int i = 0; i < MANY; i++) {
        a->jobs[i] = (struct job){.result = i, .hold = &a->hold, .crowd = &a->crowd};
        a->tasks[i] = job_spawn(rt, &a->jobs[i]);
    }
}

static void all_end(struct all *a, rt_runtime rt) {
    for (int i = 0; i < MANY; i++) gate_open(&a->hold);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(join_task(a->tasks[i]), i);
        job_ended(&a->jobs[i], 1);
    }
    op_runtime_free(rt);
    gate_destroy(&a->hold);
}

static bool two_run(void *arg) { return atomic_load(&((struct all *)arg)->crowd.now) >= 2; }
static bool all_run(void *arg) { return atomic_load(&((struct all *)arg)->crowd.now) == MANY; }

static void the_limit_holds(void) {
    static struct all a;
    rt_runtime rt = runtime_of_threads(2);
    CHECK_EQ(metrics(rt).blocking_threads, 0);
    all_spawn(&a, rt);
    drive_until(rt, two_run, &a);
    CHECK_EQ(metrics(rt).blocking_threads, 2);
    all_end(&a, rt);
    CHECK_EQ(atomic_load(&a.crowd.most), 2);
    CHECK_EQ(atomic_load(&a.crowd.begun), MANY);
}

/* Each waits for all the others, so each needs a thread of its own. */
static void there_are_as_many_as_are_needed(void) {
    static struct all a;
    rt_runtime rt = runtime_of_threads(MANY);
    all_spawn(&a, rt);
    drive_until(rt, all_run, &a);
    CHECK_EQ(metrics(rt).blocking_threads, MANY);
    all_end(&a, rt);
}

/* ---- many, racing the end ---- */

struct storm {
    rt_runtime rt;
    atomic_int spawned, ran, dropped, refused;
    int jobs;
};

static int64_t storm_run(void *arg) {
    struct storm *s = arg;
    return atomic_fetch_add(&s->ran, 1);
}

static void storm_drop(void *arg) { atomic_fetch_add(&((struct storm *)arg)->dropped, 1); }

static void *storm_spawn(void *arg) {
    struct storm *s = arg;
    for (int i = 0; i < s->jobs; i++) {
        int64_t r = rt_spawn_blocking(s->rt, storm_run, s, storm_drop, NULL);
        if (r == 0) atomic_fetch_add(&s->spawned, 1);
        else {
            CHECK_EQ(r, -ESHUTDOWN);
            atomic_fetch_add(&s->refused, 1);
        }
    }
    return NULL;
}

static bool half_spawned(void *arg) {
    struct storm *s = arg;
    return atomic_load(&s->spawned) >= s->jobs / 2;
}

static void each_of_many_runs_or_is_taken_back(void) {
    struct storm s = {.jobs = scaled(1000000)};
    rt_config config = test_config();
    config.blocking_threads = 4;
    s.rt = test_runtime_with(&config);
    pthread_t thread = thread_start(storm_spawn, &s);
    drive_until(s.rt, half_spawned, &s);
    CHECK_EQ(rt_shutdown(s.rt, RT_NEVER), 0);
    thread_join(thread);
    CHECK_EQ(s.spawned + s.refused, s.jobs);
    CHECK_EQ(atomic_load(&s.dropped), s.spawned);
    CHECK(atomic_load(&s.ran) <= s.spawned);
    CHECK_EQ(rt_free(s.rt), 0);
    CHECK_EQ(atomic_load(&s.dropped), s.spawned);
}

/* Without an end in between all of them run. */
static void many_run_once(void) {
    struct storm s = {.jobs = scaled(50000)};
    s.rt = test_runtime();
    storm_spawn(&s);
    settle(s.rt);
    CHECK_EQ(atomic_load(&s.ran), s.jobs);
    CHECK_EQ(atomic_load(&s.dropped), s.jobs);
    CHECK_EQ(rt_free(s.rt), 0);
}

/* ---- one that does not return ---- */

static void a_stuck_call_is_given_up(void) {
    static struct job stuck, queued; /* the first is the library's for good */
    static gate hold;
    gate_init(&hold);
    stuck = (struct job){.result = 1, .hold = &hold};
    rt_runtime rt = runtime_of_threads(1);
    rt_task first = job_spawn(rt, &stuck);
    drive_until(rt, job_runs, &stuck);
    rt_task second = job_spawn(rt, &queued);
    /* A worker may be in a poll of the second one, which must have ended by then. */
    CHECK_EQ(rt_shutdown(rt, 250000000), 1);
    CHECK_EQ(join_task(second), -ECANCELED);
    job_ended(&queued, 0);
    CHECK_EQ(join_task(first), -ECANCELED); /* it was given up: nobody knows what it returns */
    CHECK_EQ(rt_free(rt), 0);
    gate_open(&hold); /* it finds that nobody is there */
    while (job_runs(&stuck)) sched_yield();
    CHECK_EQ(atomic_load(&stuck.drops), 0);
}

static void a_shutdown_waits_for_what_runs(void) {
    rt_runtime rt = test_runtime();
    gate hold;
    gate_init(&hold);
    struct job j = {.result = -4, .hold = &hold};
    rt_task task = job_spawn(rt, &j);
    drive_until(rt, job_runs, &j);
    gate_open(&hold);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(join_task(task), -4);
    job_ended(&j, 1);
    CHECK_EQ(rt_free(rt), 0);
    gate_destroy(&hold);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_limit_holds);
    CASE(there_are_as_many_as_are_needed);
    CASE(each_of_many_runs_or_is_taken_back);
    CASE(many_run_once);
    CASE(a_shutdown_waits_for_what_runs);
    CASE_LEAVES(a_stuck_call_is_given_up, "a thread that is stuck in a call");
    return test_end();
}
