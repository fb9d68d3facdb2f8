/* A join that waits is told when another thread detaches the task: nothing is left to join. */
#include "soon.h"

struct scene {
    rt_task task;
    probe probe;
    gate asleep;
};

static void on_park(void *arg) {
    struct scene *s = arg;
    if (probe_polled(&s->probe)) gate_open(&s->asleep);
}

static void *detach_it(void *arg) {
    struct scene *s = arg;
    gate_wait(&s->asleep);
    CHECK_EQ(rt_detach(s->task), 0);
    return NULL;
}

/* On the current-thread flavour it is the joining thread that falls asleep in the driver. */
static void a_join_ends_with_the_right_to_it(void) {
    struct scene s = {.task = 0};
    gate_init(&s.asleep);
    rt_config config = test_config();
    config.on_park = on_park;
    config.hook_arg = &s;
    rt_runtime rt = test_runtime_with(&config);
    s.task = probe_spawn(rt, &s.probe);
    pthread_t other = thread_start(detach_it, &s);
    int64_t result = 5;
    CHECK_EQ(rt_join(s.task, soon_ns, &result), -EBADF);
    thread_join(other);
    probe_finish(&s.probe, s.task); /* it went on */
    drive_until(rt, probe_dropped, &s.probe);
    test_runtime_free(rt);
    gate_destroy(&s.asleep);
}

/* At any moment, also before the joining thread sleeps. */
struct racer {
    rt_task task;
    gate go;
};

static void *detach_some_time(void *arg) {
    struct racer *r = arg;
    gate_wait(&r->go);
    CHECK_EQ(rt_detach(r->task), 0);
    return NULL;
}

static void the_detach_may_race_the_join(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(300); i++) {
        probe p = {0};
        struct racer r = {.task = probe_spawn(rt, &p)};
        gate_init(&r.go);
        pthread_t other = thread_start(detach_some_time, &r);
        gate_open(&r.go);
        CHECK_EQ(rt_join(r.task, soon_ns, NULL), -EBADF);
        thread_join(other);
        probe_finish(&p, r.task);
        drive_until(rt, probe_dropped, &p);
        gate_destroy(&r.go);
    }
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(a_join_ends_with_the_right_to_it);
    CASE(the_detach_may_race_the_join);
    return test_end();
}
