/* A task stuck in its poll does not hold a shutdown beyond its timeout: it is counted as abandoned,
 * and its drop never runs, not even when the poll comes back after all. */
#include "check.h"

/* The state outlives the case, as an abandoned state must: the worker may come back to it. */
struct stuck {
    gate inside, leave, thread_ended;
    atomic_int drops;
};

static pthread_key_t end_key;

/* Runs as the stuck worker's thread ends: after that nothing can call the drop any more. */
static void tell_thread_end(void *arg) { gate_open(&((struct stuck *)arg)->thread_ended); }

static int64_t get_stuck(rt_cx *cx, void *state) {
    (void)cx;
    struct stuck *s = state;
    CHECK_EQ(pthread_setspecific(end_key, s), 0);
    gate_open(&s->inside);
    gate_wait(&s->leave);
    return 0;
}

static void drop_stuck(void *state) { atomic_fetch_add(&((struct stuck *)state)->drops, 1); }

static rt_task spawn_stuck(rt_runtime rt, struct stuck *s) {
    rt_task task;
    gate_init(&s->inside);
    gate_init(&s->leave);
    gate_init(&s->thread_ended);
    CHECK_EQ(rt_spawn(rt, get_stuck, s, drop_stuck, &task), 0);
    gate_wait(&s->inside);
    return task;
}

enum { OTHERS = 10 };

/* Spent in full where all workers are stuck. */
enum { PATIENCE = 1000 * 1000 * 1000 };

static void spawn_others(rt_runtime rt, probe *probes) {
    for (int i = 0; i < OTHERS; i++) probe_spawn(rt, &probes[i]);
}

static int dropped_others(const probe *probes) {
    int dropped = 0;
    for (int i = 0; i < OTHERS; i++) dropped += probes[i].drops;
    return dropped;
}

static void *shut_down(void *arg) {
    CHECK_EQ(rt_shutdown(*(rt_runtime *)arg, RT_NEVER), 1);
    return NULL;
}

/* The others end in whatever time that takes. Only then a shutdown without patience gives the stuck one up, and the
 * shutdown that waits for ever hears of that. */
static void give_up_the_stuck_one(rt_runtime rt, const probe *others) {
    pthread_t patient = thread_start(shut_down, &rt);
    while (live_tasks(rt) > 1) sched_yield();
    CHECK_EQ(dropped_others(others), OTHERS);
    CHECK_EQ(rt_shutdown(rt, 0), 1);
    thread_join(patient);
}

static void check_counted(rt_runtime rt) {
    CHECK_EQ(metrics(rt).tasks_abandoned, 1);
    CHECK_EQ(rt_shutdown(rt, 0), 1);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 1); /* what was given up is not waited for again */
}

/* With a second worker, nobody has to wait behind the stuck task. */
static rt_runtime two_workers(void) {
    rt_config config = test_config();
    if (config.workers < 2) config.workers = 2;
    return test_runtime_with(&config);
}

/* The poll comes back between the shutdown and the free. */
static void it_comes_back_before_the_free(void) {
    static struct stuck s;
    rt_runtime rt = two_workers();
    probe others[OTHERS] = {{.result = 0}};
    spawn_stuck(rt, &s);
    spawn_others(rt, others);
    give_up_the_stuck_one(rt, others);
    check_counted(rt);
    gate_open(&s.leave);
    gate_wait(&s.thread_ended);
    CHECK_EQ(s.drops, 0);
    check_counted(rt);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(s.drops, 0);
}

/* The poll comes back when the runtime is long gone. The worker takes its descriptors with it. */
static void it_comes_back_after_the_free(void) {
    static struct stuck s;
    int fds = open_fds();
    rt_runtime rt = two_workers();
    probe others[OTHERS] = {{.result = 0}};
    rt_task task = spawn_stuck(rt, &s);
    spawn_others(rt, others);
    give_up_the_stuck_one(rt, others);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_task_wake(task), -EBADF);
    CHECK_EQ(rt_abort(task), -EBADF);
    CHECK_EQ(rt_metrics(rt, &(rt_metrics_data){.size = sizeof(rt_metrics_data)}), -EBADF);
    gate_open(&s.leave);
    gate_wait(&s.thread_ended);
    CHECK_EQ(open_fds(), fds);
    CHECK_EQ(s.drops, 0);
}

/* With all workers stuck, those that wait behind the stuck task may be given up with it. Each is
 * either dropped or counted, now and for good: the worker that comes back touches none of them. */
static void all_workers_may_be_stuck(void) {
    static struct stuck s;
    rt_config config = test_config();
    config.workers = 1;
    rt_runtime rt = test_runtime_with(&config);
    static probe others[OTHERS];
    spawn_stuck(rt, &s);
    spawn_others(rt, others);
    int64_t abandoned = CHECK_OK(rt_shutdown(rt, PATIENCE));
    int dropped = dropped_others(others);
    CHECK(abandoned >= 1);
    CHECK_EQ(abandoned + dropped, 1 + OTHERS);
    CHECK_EQ(metrics(rt).tasks_abandoned, abandoned);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), abandoned);
    CHECK_EQ(rt_free(rt), 0);
    gate_open(&s.leave);
    gate_wait(&s.thread_ended);
    CHECK_EQ(s.drops, 0);
    CHECK_EQ(dropped_others(others), dropped);
}

/* In time, it is not abandoned at all. */
static void *let_go(void *arg) {
    gate_open(&((struct stuck *)arg)->leave);
    return NULL;
}

static void who_comes_back_in_time_is_dropped(void) {
    static struct stuck s;
    rt_runtime rt = test_runtime();
    spawn_stuck(rt, &s);
    pthread_t other = thread_start(let_go, &s);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    thread_join(other);
    CHECK_EQ(s.drops, 1);
    CHECK_EQ(rt_free(rt), 0);
}

/* Who waits for it hears of that inside of the shutdown, where the runtime cannot be freed. */
static atomic_int told;

static void *keep(void *data) { return data; }
static void ignore(void *data) { (void)data; }

static void free_when_told(void *data) {
    CHECK_EQ(rt_free(*(rt_runtime *)data), -EDEADLK);
    atomic_fetch_add(&told, 1);
}

static const rt_waker_vtable vtable = {keep, free_when_told, free_when_told, ignore};

static void who_waits_for_it_is_told(void) {
    static struct stuck s;
    rt_waker w;
    rt_cx *cx;
    rt_runtime rt = two_workers();
    rt_task task = spawn_stuck(rt, &s);
    atomic_store(&told, 0);
    CHECK_EQ(rt_waker_new(&vtable, &rt, &w), 0);
    CHECK_EQ(rt_cx_new(rt, &w, &cx), 0);
    CHECK_EQ(rt_poll_join(cx, task, NULL), RT_PENDING);
    CHECK_EQ(rt_shutdown(rt, 0), 1);
    CHECK_EQ(told, 1);
    int64_t result = 0;
    CHECK_EQ(rt_poll_join(cx, task, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&w), 0);
    gate_open(&s.leave);
    gate_wait(&s.thread_ended);
    CHECK_EQ(rt_free(rt), 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("a stuck poll holds the only thread there is");
    CHECK_EQ(pthread_key_create(&end_key, tell_thread_end), 0);
    CASE_ONCE(who_comes_back_in_time_is_dropped, "it counts in statics");
    CASE_LEAVES(it_comes_back_before_the_free, "workers that are stuck in polls");
    CASE_LEAVES(it_comes_back_after_the_free, "workers that are stuck in polls");
    CASE_LEAVES(who_waits_for_it_is_told, "workers that are stuck in polls");
    CASE_LEAVES(all_workers_may_be_stuck, "workers that are stuck in polls");
    return test_end();
}
