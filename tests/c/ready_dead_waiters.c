/* Waiters that died do not pile up: neither thousands of tasks that were aborted while they waited
 * on a quiet descriptor, nor contexts that were freed. The living go on waiting.
 */
#include "ready.h"

enum { BATCH = 500 };

/* ---- tasks ---- */

struct short_lived {
    rt_io io;
    uint32_t interest;
    atomic_int *waiting;
    bool counted;
};

static int64_t wait_until_aborted(rt_cx *cx, void *state) {
    struct short_lived *s = state;
    rt_ready got;
    int64_t r = rt_poll_ready(cx, s->io, s->interest, &got);
    if (r == RT_PENDING && !s->counted) {
        s->counted = true;
        atomic_fetch_add(s->waiting, 1);
    }
    return r;
}

static bool batch_waits(void *arg) { return atomic_load((atomic_int *)arg) == BATCH; }

static void abort_a_batch(rt_runtime rt, rt_io io) {
    static struct short_lived states[BATCH];
    static rt_task tasks[BATCH];
    static const uint32_t interests[] = {RT_READABLE, RT_PRIORITY, RT_READABLE | RT_PRIORITY};
    atomic_int waiting = 0;
    for (int i = 0; i < BATCH; i++) {
        states[i] = (struct short_lived){io, interests[i % 3], &waiting, false};
        CHECK_EQ(rt_spawn(rt, wait_until_aborted, &states[i], NULL, &tasks[i]), 0);
    }
    drive_until(rt, batch_waits, &waiting);
    for (int i = 0; i < BATCH; i++) CHECK_EQ(rt_abort(tasks[i]), 0);
    for (int i = 0; i < BATCH; i++) CHECK_EQ(join_task(tasks[i]), -ECANCELED);
}

static long resident_kib(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0, resident = 0;
    CHECK(file != NULL && fscanf(file, "%ld %ld", &size, &resident) == 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void aborted_tasks_do_not_pile_up(void) {
    struct scene s;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    struct waiter reader, other;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    waiter_park(&other, s.rt, s.io, RT_READABLE);

    for (int i = 0; i < 4; i++) abort_a_batch(s.rt, s.io);
    long before = resident_kib();
    int batches = scaled(100);
    for (int i = 0; i < batches; i++) abort_a_batch(s.rt, s.io);
    /* 64 bytes left by each of the 50,000 would be 3 MiB. Where fewer are asked for, a tool is at
     * work that keeps freed memory, and the size says nothing. */
    if (batches == 100) CHECK(resident_kib() - before < 2048);

    net_put(s.far, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    CHECK_EQ(join_task(other.task), 0);
    scene_close(&s);
}

/* ---- contexts ---- */

static void freed_contexts_do_not_pile_up(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct waiter reader;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    struct hand h;
    hand_open(&h, s.rt);
    for (int i = 0; i < scaled(5000); i++) {
        rt_ready got;
        atomic_fetch_add(&h.wakers, 1);
        rt_cx *cx = context_with(s.rt, &hand_vtable, &h);
        CHECK_EQ(rt_poll_ready(cx, s.io, RT_READABLE, &got), RT_PENDING);
        CHECK_EQ(rt_cx_free(cx), 0);
        CHECK(atomic_load(&h.wakers) < 64);
    }
    net_put(s.far, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    hand_close(&h);
    scene_close(&s);
    hand_check(&h);
}

/* ---- tasks that look once and end ---- */

static int64_t look_once(rt_cx *cx, void *state) {
    rt_ready got;
    CHECK_EQ(rt_poll_ready(cx, *(rt_io *)state, RT_READABLE, &got), RT_PENDING);
    return 0;
}

static void ended_tasks_are_not_woken(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < scaled(5000); i++) {
        rt_task task;
        CHECK_EQ(rt_spawn(s.rt, look_once, &s.io, NULL, &task), 0);
        CHECK_EQ(join_task(task), 0);
    }
    struct waiter reader;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    net_put(s.far, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(aborted_tasks_do_not_pile_up);
    CASE(freed_contexts_do_not_pile_up);
    CASE(ended_tasks_are_not_woken);
    return test_end();
}
