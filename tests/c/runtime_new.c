/* The life of a runtime: made, freed, made again; its threads, their names, stacks and hooks. */
#include "check.h"

static int64_t five(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 5;
}

enum { MOST_THREADS = 256 };

/* Threads of this process, by their numbers. One that was joined may be listed for a moment yet. */
struct threads {
    int count, ids[MOST_THREADS];
};

static struct threads threads_listed(void) {
    struct threads t = {.count = 0};
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        CHECK(t.count < MOST_THREADS);
        t.ids[t.count++] = atoi(e->d_name);
    }
    closedir(dir);
    return t;
}

/* How many are listed now that were not listed then. */
static int threads_since(const struct threads *then) {
    struct threads now = threads_listed();
    int count = now.count;
    for (int i = 0; i < now.count; i++)
        for (int k = 0; k < then->count; k++) count -= now.ids[i] == then->ids[k];
    return count;
}

static void freeing_zero_is_accepted(void) { CHECK_EQ(rt_free(0), 0); }

static void a_runtime_is_freed_once(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_free(rt), -EBADF);
    CHECK_EQ(rt_shutdown(rt, 0), -EBADF);
}

static void runtimes_come_and_go(void) {
    int fds = open_fds();
    rt_runtime last = 0;
    for (int i = 0; i < scaled(100); i++) {
        rt_runtime rt = test_runtime();
        CHECK(rt != last);
        CHECK_EQ(rt_block_on(rt, five, NULL), 5);
        CHECK_EQ(rt_free(rt), 0);
        CHECK_EQ(open_fds(), fds);
        last = rt;
    }
}

static void many_runtimes_live_side_by_side(void) {
    enum { MANY = 10 };
    rt_runtime all[MANY];
    for (int i = 0; i < MANY; i++) all[i] = test_runtime();
    for (int i = 0; i < MANY; i++) CHECK_EQ(rt_block_on(all[i], five, NULL), 5);
    for (int i = 0; i < MANY; i++) CHECK_EQ(rt_free(all[(i + 3) % MANY]), 0);
}

static void a_free_ends_the_threads(void) {
    struct threads before = threads_listed();
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, five, NULL), 5);
    CHECK(threads_since(&before) >= (current_thread() ? 0 : (int)test_workers));
    CHECK_EQ(rt_free(rt), 0);
    while (threads_since(&before) > 0) sched_yield();
}

static void *free_it(void *arg) {
    CHECK_EQ(rt_free(*(rt_runtime *)arg), 0);
    return NULL;
}

/* Of a current-thread runtime this holds while no thread has driven it. */
static void another_thread_may_free(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    probe_spawn(rt, &p);
    on_thread(free_it, &rt);
    CHECK_EQ(p.drops, 1);
    CHECK_EQ(rt_free(rt), -EBADF);
}

/* ---- hooks, names, stacks: of the threads that the library starts ---- */

struct hooks {
    atomic_int starts, stops, parks, unparks;
};

static void on_start(void *arg) { atomic_fetch_add(&((struct hooks *)arg)->starts, 1); }
static void on_stop(void *arg) { atomic_fetch_add(&((struct hooks *)arg)->stops, 1); }
static void on_park(void *arg) { atomic_fetch_add(&((struct hooks *)arg)->parks, 1); }
static void on_unpark(void *arg) { atomic_fetch_add(&((struct hooks *)arg)->unparks, 1); }

static void sleep_and_wake(rt_runtime rt) {
    if (current_thread()) CHECK_OK(rt_turn(rt, 10 * 1000 * 1000));
    else CHECK_EQ(rt_block_on(rt, five, NULL), 5);
}

static void hooks_come_in_pairs(void) {
    struct hooks h = {.starts = 0};
    rt_config config = test_config();
    config.on_thread_start = on_start;
    config.on_thread_stop = on_stop;
    config.on_park = on_park;
    config.on_unpark = on_unpark;
    config.hook_arg = &h;
    config.spin_ns = RT_SPIN_OFF;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(rt, five, NULL), 5);
    while (atomic_load(&h.unparks) == 0) sleep_and_wake(rt);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(h.starts, h.stops);
    CHECK_EQ(h.parks, h.unparks);
    if (!current_thread()) CHECK_EQ(h.starts, test_workers);
}

static int64_t check_name(rt_cx *cx, void *state) {
    (void)cx;
    char name[32] = "";
    CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof name), 0);
    return strncmp(name, state, strlen(state)) == 0;
}

static void the_threads_have_the_name_that_was_asked(void) {
    char name[] = "proxy";
    rt_config config = test_config();
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(rt, check_name, "asyncio"), !current_thread());
    CHECK_EQ(rt_free(rt), 0);
    config.thread_name = name;
    rt = test_runtime_with(&config);
    memset(name, 'x', sizeof name - 1); /* it was copied */
    CHECK_EQ(rt_block_on(rt, check_name, "proxy"), !current_thread());
    CHECK_EQ(rt_free(rt), 0);
}

static int64_t check_blocking_name(void *state) { return check_name(NULL, state); }
static void leave_it(void *state) { (void)state; }

/* Whatever it is written in: the kernel keeps 15 bytes, which need not end with a letter. */
static void a_name_is_bytes(void) {
    static char latin[] = "caf\xe9", cut[] = "fourteen bytes\xc3\xa9", kept[] = "fourteen bytes\xc3";
    char *const names[][2] = {{latin, latin}, {cut, kept}};
    for (int i = 0; i < 2; i++) {
        rt_config config = test_config();
        config.thread_name = names[i][0];
        rt_runtime rt = test_runtime_with(&config);
        CHECK_EQ(rt_block_on(rt, check_name, names[i][1]), !current_thread());
        rt_task task;
        CHECK_EQ(rt_spawn_blocking(rt, check_blocking_name, names[i][1], leave_it, &task), 0);
        CHECK_EQ(join_task(task), 1);
        test_runtime_free(rt);
    }
}

static int64_t use_stack(rt_cx *cx, void *state) {
    (void)cx;
    volatile char deep[6 * 1024 * 1024];
    for (size_t i = 0; i < sizeof deep; i += 4096) deep[i] = 1;
    return *(int *)state + deep[0];
}

/* On the worker's own stack, which is larger than the default here. */
static void the_stacks_have_the_size_that_was_asked(void) {
    if (current_thread()) return; /* the caller's stack is the caller's */
    rt_config config = test_config();
    config.stack_size = 16 * 1024 * 1024;
    rt_runtime rt = test_runtime_with(&config);
    int one = 1;
    CHECK_EQ(rt_block_on(rt, use_stack, &one), 2);
    CHECK_EQ(rt_free(rt), 0);
}

/* ---- many workers ---- */

static void more_workers_than_processors_work(void) {
    if (current_thread()) return; /* has no workers */
    rt_config config = test_config();
    config.workers = 16;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(metrics(rt).workers, 16);
    probe probes[100] = {{.result = 0}};
    for (int i = 0; i < 100; i++) probe_finish(&probes[i], probe_spawn(rt, &probes[i]));
    for (int i = 0; i < 100; i++) drive_until(rt, probe_dropped, &probes[i]);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(freeing_zero_is_accepted);
    CASE(a_runtime_is_freed_once);
    CASE(runtimes_come_and_go);
    CASE(many_runtimes_live_side_by_side);
    CASE(a_free_ends_the_threads);
    CASE(another_thread_may_free);
    CASE(hooks_come_in_pairs);
    CASE(the_threads_have_the_name_that_was_asked);
    CASE(a_name_is_bytes);
    CASE(the_stacks_have_the_size_that_was_asked);
    CASE(more_workers_than_processors_work);
    return test_end();
}
