/* A million tasks, spawned, joined, aborted and detached from several threads: not a task, a
 * descriptor or a byte may stay behind. */
#include "check.h"

#include <malloc.h>

enum { CYCLES = 1000000, THREADS = 4, BATCH = 64 };

/* Four times smaller than one byte a cycle, so that a leak of anything shows. What may stay are
 * slab pages, which are never given back, and the allocator's own arenas; both are at their full
 * size after the warm-up, give or take how many tasks happened to be alive at once. */
enum { SLACK = 256 * 1024 };

/* The last drop of a batch opens the gate. A drop too many or too few is seen by the next one. */
struct batch {
    rt_runtime rt;
    rt_task tasks[BATCH];
    atomic_int left;
    gate gone;
};

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 1;
}

static int64_t stay(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void leave(void *state) {
    struct batch *b = state;
    int left = atomic_fetch_sub(&b->left, 1);
    CHECK(left > 0);
    if (left == 1) gate_open(&b->gone);
}

static void start_one(struct batch *b, int i) {
    rt_task *out = i % 4 == 0 ? NULL : &b->tasks[i];
    rt_poll_fn poll = i % 4 == 0 || i % 4 == 1 ? end_at_once : stay;
    CHECK_EQ(rt_spawn(b->rt, poll, b, leave, out), 0);
}

static void finish_one(struct batch *b, int i) {
    int64_t result = 0;
    switch (i % 4) {
    case 0: return; /* born detached */
    case 1:
        CHECK_EQ(rt_join(b->tasks[i], RT_NEVER, &result), 0);
        CHECK_EQ(result, 1);
        return;
    case 2:
        CHECK_EQ(rt_abort(b->tasks[i]), 0);
        CHECK_EQ(rt_join(b->tasks[i], RT_NEVER, &result), 0);
        CHECK_EQ(result, -ECANCELED);
        return;
    default:
        CHECK_EQ(rt_abort(b->tasks[i]), 0);
        CHECK_EQ(rt_detach(b->tasks[i]), 0);
    }
}

/* The last thread to finish ends the task that the main thread sleeps for. */
struct job {
    rt_runtime rt;
    int batches;
    atomic_int running;
    probe over;
    rt_task over_task;
};

static void *run_batches(void *arg) {
    struct job *job = arg;
    struct batch b = {.rt = job->rt};
    gate_init(&b.gone);
    for (int n = 0; n < job->batches; n++) {
        atomic_store(&b.left, BATCH);
        for (int i = 0; i < BATCH; i++) start_one(&b, i);
        for (int i = 0; i < BATCH; i++) finish_one(&b, i);
        gate_wait(&b.gone);
    }
    gate_destroy(&b.gone);
    if (atomic_fetch_sub(&job->running, 1) == 1) probe_finish(&job->over, job->over_task);
    return NULL;
}

static void run_cycles(int cycles) {
    rt_runtime rt = test_runtime();
    struct job job = {.rt = rt, .batches = cycles / THREADS / BATCH + 1, .running = THREADS};
    pthread_t threads[THREADS];
    job.over_task = probe_spawn(rt, &job.over);
    drive_until(rt, probe_polled, &job.over); /* this thread owns the runtime from now on */
    for (int i = 0; i < THREADS; i++) threads[i] = thread_start(run_batches, &job);
    CHECK_EQ(join_task(job.over_task), 0);
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    test_runtime_free(rt);
}

static size_t bytes_in_use(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void a_million_cycles_leave_nothing(void) {
    run_cycles(scaled(CYCLES) / 10);
    size_t before = bytes_in_use();
    run_cycles(scaled(CYCLES));
    size_t after = bytes_in_use();
    CHECK(after < before + SLACK);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE_ONCE(a_million_cycles_leave_nothing, "it looks at the heap itself");
    return test_end();
}
