/* Abort, wake and return race from several threads: one outcome, one drop, and no poll after it. */
#include "check.h"

/* Two helpers act on each round's task at the same moment as the main thread joins it. */
struct arena {
    pthread_barrier_t line;
    rt_task task;
    probe *probe;
    bool over;
};

static void meet(struct arena *a) {
    int r = pthread_barrier_wait(&a->line);
    CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
}

/* The handle may be spent by the join that runs beside these. */
static void check_ok_or_spent(int64_t r) { CHECK(r == 0 || r == -EBADF); }

static void *finisher(void *arg) {
    struct arena *a = arg;
    for (;;) {
        meet(a);
        if (a->over) return NULL;
        atomic_store(&a->probe->ready, true);
        check_ok_or_spent(rt_task_wake(a->task));
        meet(a);
    }
}

static void *aborter(void *arg) {
    struct arena *a = arg;
    for (;;) {
        meet(a);
        if (a->over) return NULL;
        check_ok_or_spent(rt_abort(a->task));
        meet(a);
    }
}

enum { ROUNDS = 3000 };

/* Half of the rounds start with a task that is parked, half with one that was never polled. */
static void an_abort_races_a_return(void) {
    rt_runtime rt = test_runtime();
    struct arena a = {.over = false};
    CHECK_EQ(pthread_barrier_init(&a.line, NULL, 3), 0);
    pthread_t one = thread_start(finisher, &a), two = thread_start(aborter, &a);
    for (int i = 0; i < scaled(ROUNDS); i++) {
        probe p = {.result = 11};
        a.probe = &p;
        a.task = probe_spawn(rt, &p);
        if (i % 2 == 0) drive_until(rt, probe_polled, &p);
        meet(&a);
        int64_t result = join_task(a.task);
        CHECK(result == 11 || result == -ECANCELED);
        meet(&a);
        CHECK_EQ(p.drops, 1);
        CHECK_EQ(p.inside, 0);
    }
    a.over = true;
    meet(&a);
    thread_join(one);
    thread_join(two);
    CHECK_EQ(pthread_barrier_destroy(&a.line), 0);
    test_runtime_free(rt);
}

static void *detacher(void *arg) {
    struct arena *a = arg;
    for (;;) {
        meet(a);
        if (a->over) return NULL;
        check_ok_or_spent(rt_detach(a->task));
        meet(a);
    }
}

/* A detach beside a join: the join gets the result or -EBADF, and the task ends either way. */
static void an_abort_races_a_detach_and_a_join(void) {
    rt_runtime rt = test_runtime();
    struct arena a = {.over = false};
    CHECK_EQ(pthread_barrier_init(&a.line, NULL, 3), 0);
    pthread_t one = thread_start(detacher, &a), two = thread_start(aborter, &a);
    for (int i = 0; i < scaled(ROUNDS); i++) {
        probe p = {0};
        a.probe = &p;
        rt_task task = a.task = probe_spawn(rt, &p);
        meet(&a);
        int64_t result = 0, r = rt_join(task, RT_NEVER, &result);
        CHECK(r == -EBADF || (r == 0 && result == -ECANCELED));
        meet(&a);
        rt_abort(task); /* the aborter may have come after the detached handle ended: ask again */
        drive_until(rt, probe_dropped, &p);
    }
    a.over = true;
    meet(&a);
    thread_join(one);
    thread_join(two);
    CHECK_EQ(pthread_barrier_destroy(&a.line), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(an_abort_races_a_return);
    CASE(an_abort_races_a_detach_and_a_join);
    return test_end();
}
