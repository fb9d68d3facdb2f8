/* Two threads in rt_run: a stop brings one of them back, and another stop the other. The end of the
 * last task brings both back. */
#include "soon.h"

enum { RUNNERS = 2, MOMENT = 1000 * 1000 };

struct run {
    rt_runtime rt;
    int64_t expected;
    gate begins, returned;
    atomic_int back;
};

static void *run(void *arg) {
    struct run *r = arg;
    gate_open(&r->begins);
    CHECK_EQ(rt_run(r->rt), r->expected);
    atomic_fetch_add(&r->back, 1);
    gate_open(&r->returned);
    return NULL;
}

static void start(struct run *r, int64_t expected, pthread_t runners[RUNNERS]) {
    r->expected = expected;
    atomic_store(&r->back, 0);
    for (int i = 0; i < RUNNERS; i++) runners[i] = thread_start(run, r);
    for (int i = 0; i < RUNNERS; i++) gate_wait(&r->begins);
}

static void stops_bring_both_back(struct run *r) {
    pthread_t runners[RUNNERS];
    start(r, 1, runners);
    CHECK_EQ(rt_stop(r->rt), 0);
    gate_wait_soon(&r->returned);
    /* The other one has had the time to err. A stop counts for a thread that has not begun to wait yet, too. */
    for (int i = 0; i < 100; i++) sched_yield();
    CHECK_EQ(atomic_load(&r->back), 1);
    CHECK_EQ(rt_stop(r->rt), 0);
    gate_wait_soon(&r->returned);
    for (int i = 0; i < RUNNERS; i++) thread_join(runners[i]);
}

static void the_last_task_brings_both_back(struct run *r, probe *p, rt_task task) {
    pthread_t runners[RUNNERS];
    start(r, 0, runners);
    probe_finish(p, task);
    for (int i = 0; i < RUNNERS; i++) gate_wait_soon(&r->returned);
    for (int i = 0; i < RUNNERS; i++) thread_join(runners[i]);
    CHECK_EQ(join_task(task), 0);
}

static void two_threads_run(void) {
    struct run r = {.rt = test_runtime()};
    gate_init(&r.begins);
    gate_init(&r.returned);
    probe p = {0};
    rt_task task = probe_spawn(r.rt, &p);
    for (int i = 0; i < scaled(100); i++) stops_bring_both_back(&r);
    the_last_task_brings_both_back(&r, &p, task);
    gate_destroy(&r.begins);
    gate_destroy(&r.returned);
    test_runtime_free(r.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("one thread drives this flavour");
    must_end_soon();
    CASE(two_threads_run);
    return test_end();
}
