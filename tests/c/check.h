/* What every C test shares: the command line, a runtime of the asked flavour, checks that say what
 * they saw, gates and threads, and a count of what a case leaves behind.
 *
 *     int main(int argc, char **argv) {
 *         test_start(argc, argv);
 *         CASE(a_static_function);
 *         return test_end();
 *     }
 *
 * Each case must give back whatever it took: CASE compares what there is before and after, of open
 * descriptors and of all that the library can count. A case that hangs is named when
 * the runner gives up and sends SIGTERM.
 */
#ifndef ASYNCIO_TESTS_CHECK_H
#define ASYNCIO_TESTS_CHECK_H

#include <asyncio.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEST_SKIPPED = 77 };

static uint32_t test_engine = RT_ENGINE_AUTO;
static uint32_t test_workers = 2; /* 0: the current-thread flavour */
static const char *test_program = "test";
static const char *volatile test_case = "start";

/* ---- checks: callable from any thread ---- */

static inline _Noreturn void test_die(const char *file, int line) {
    fprintf(stderr, "%s:%d: failed in case %s (--engine %" PRIu32 " --workers %" PRIu32 ")\n", file,
            line, test_case, test_engine, test_workers);
    fflush(NULL);
    _exit(1); /* other threads still run: no exit handlers beside them */
}

static inline void test_check(bool good, const char *text, const char *file, int line) {
    if (good) return;
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, text);
    test_die(file, line);
}

static inline void test_print_value(const char *text, int64_t value) {
    fprintf(stderr, "    %s is %" PRId64, text, value);
    if (value < 0) fprintf(stderr, " (%s)", rt_strerror(value));
    fputc('\n', stderr);
}

static inline void test_check_eq(int64_t a, int64_t b, const char *a_text, const char *b_text,
                                 const char *file, int line) {
    if (a == b) return;
    fprintf(stderr, "%s:%d: %s and %s differ\n", file, line, a_text, b_text);
    test_print_value(a_text, a);
    test_print_value(b_text, b);
    test_die(file, line);
}

static inline int64_t test_check_ok(int64_t r, const char *text, const char *file, int line) {
    if (r >= 0) return r;
    fprintf(stderr, "%s:%d: failed\n", file, line);
    test_print_value(text, r);
    test_die(file, line);
}

#define CHECK(cond) test_check((cond), #cond, __FILE__, __LINE__)
#define CHECK_EQ(a, b) test_check_eq((int64_t)(a), (int64_t)(b), #a, #b, __FILE__, __LINE__)
/* The call's result, which must not be negative. */
#define CHECK_OK(call) test_check_ok((call), #call, __FILE__, __LINE__)
/* The same for a system call, whose error is in errno. */
#define CHECK_SYS(call) test_check_ok(test_sys((call)), #call, __FILE__, __LINE__)
#define SKIP(reason) test_skip(reason)

static inline int64_t test_sys(int64_t r) { return r == -1 ? -(int64_t)errno : r; }

static inline _Noreturn void test_skip(const char *reason) {
    printf("%s: skipped: %s\n", test_program, reason);
    fflush(NULL);
    _exit(TEST_SKIPPED);
}

/* What the runner says that we run under: a tool, or nothing. */
static inline bool under(const char *tool) {
    const char *what = getenv("CHECK_UNDER");
    return what != NULL && strcmp(what, tool) == 0;
}

/* Valgrind and the sanitizers take memory, signals and calls of their own. */
static inline bool instrumented(void) {
    return under("valgrind") || under("asan") || under("tsan");
}

/* How many times slower things may be. */
static inline int slowness(void) {
    if (under("valgrind") || under("tsan")) return 20;
    return under("asan") || under("guard") || under("again") ? 5 : 1;
}

/* A template for mkstemp or mkdtemp, where the system wants its temporary files. */
static inline void temp_template(char *path, size_t size) {
    const char *where = getenv("TMPDIR");
    int n = snprintf(path, size, "%s/asyncio-XXXXXX", where == NULL ? "/tmp" : where);
    CHECK(n > 0 && (size_t)n < size);
}

/* ---- the census ---- */

/* Open descriptors of this process, without the one that looks. */
static inline int open_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    int count = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) count += e->d_name[0] != '.';
    closedir(dir);
    return count - 1;
}

/* What there is in the process, and in the library, whatever runtime it is of. */
struct test_census {
    int64_t fds;
    rt_census_data library;
};

static inline struct test_census census_take(void) {
    struct test_census c = {.fds = open_fds(), .library.size = sizeof c.library};
    CHECK_OK(rt_census(&c.library));
    return c;
}

/* A case before this one left something, which may go at any time. */
static bool test_left_behind;

static inline bool census_agrees(const struct test_census *before, bool say) {
    struct test_census now = census_take();
    const rt_census_data *b = &before->library, *n = &now.library;
    const struct {
        const char *what;
        int64_t before, now;
    } lines[] = {
        {"descriptors", before->fds, now.fds},
        {"runtimes", (int64_t)b->runtimes, (int64_t)n->runtimes},
        {"tasks", (int64_t)b->tasks, (int64_t)n->tasks},
        {"registered descriptors", (int64_t)b->ios, (int64_t)n->ios},
        {"operations", (int64_t)b->ops, (int64_t)n->ops},
        {"timers", (int64_t)b->timers, (int64_t)n->timers},
        {"leased buffers", (int64_t)b->leases, (int64_t)n->leases},
        {"objects", (int64_t)b->objects, (int64_t)n->objects},
        {"the library's own", (int64_t)b->rest, (int64_t)n->rest},
    };
    bool all = true;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (lines[i].now == lines[i].before) continue;
        if (lines[i].now < lines[i].before && test_left_behind) continue;
        all = false;
        if (say)
            fprintf(stderr, "%s: %s: %" PRId64 " before the case, %" PRId64 " after it\n",
                    test_program, lines[i].what, lines[i].before, lines[i].now);
    }
    return all;
}

static inline uint64_t test_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What a case had must be gone in the end. Threads that go may lag behind by a moment, so there is
 * a limit, far beyond what a busy machine needs, that only a failure waits for. */
static inline void census_compare(const struct test_census *before) {
    uint64_t until = test_clock() + UINT64_C(10000000000);
    while (!census_agrees(before, false)) {
        if (test_clock() >= until && !census_agrees(before, true)) test_die(test_case, 0);
        sched_yield();
    }
}

static inline rt_metrics_data metrics(rt_runtime rt) {
    rt_metrics_data m = {.size = sizeof m};
    CHECK_OK(rt_metrics(rt, &m));
    return m;
}

static inline uint64_t live_tasks(rt_runtime rt) { return metrics(rt).tasks_live; }

/* ---- the heap ---- */

static inline size_t heap_in_use(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* The least that is seen in a while, or whatever is no more than `enough`. */
static inline size_t heap_settled(size_t enough) {
    size_t least = heap_in_use();
    for (uint64_t until = test_clock() + 50000000; least > enough && test_clock() < until;) {
        sched_yield();
        size_t now = heap_in_use();
        if (now < least) least = now;
    }
    return least;
}

/* A case leaks if the heap holds more after each of many runs than after the one before. What is
 * made once, or kept for the next time, does not grow for ever: twice it did not is enough. */
static inline void run_again(void (*run)(void)) {
    enum { AT_MOST = 12 };
    size_t held[AT_MOST] = {0};
    run();
    for (int i = 0, calm = 0; i < AT_MOST; i++) {
        run();
        held[i] = heap_settled(i > 0 ? held[i - 1] : SIZE_MAX);
        if (i > 0 && held[i] <= held[i - 1] && ++calm == 2) return;
    }
    for (int i = 0; i < AT_MOST; i++) fprintf(stderr, "%zu bytes of heap in use\n", held[i]);
    fprintf(stderr, "%s: the heap grows with every run\n", test_program);
    test_die(test_case, 0);
}

/* ---- cases ---- */

static inline void test_run_case(const char *name, void (*run)(void), const char *once,
                                 const char *leaves) {
    test_case = name;
    struct test_census before = census_take();
    run();
    if (under("again")) {
        if (once == NULL) run_again(run);
        else printf("%s: %s is run once: %s\n", test_program, name, once);
    }
    if (leaves == NULL) {
        census_compare(&before);
    } else {
        printf("%s: nothing is counted after %s: it leaves %s\n", test_program, name, leaves);
        test_left_behind = true;
    }
    test_case = "between cases";
}

#define CASE(name) test_run_case(#name, name, NULL, NULL)
/* For a case that cannot be run twice in a process. */
#define CASE_ONCE(name, why) test_run_case(#name, name, why, NULL)
/* For a case that leaves something behind by design. */
#define CASE_LEAVES(name, what) test_run_case(#name, name, "it leaves something", what)

static inline void test_on_sigterm(int sig) {
    (void)sig;
    const char *parts[] = {test_program, ": stuck in case ", test_case, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0) break;
    _exit(1);
}

static inline _Noreturn void test_usage(void) {
    fprintf(stderr, "usage: %s [--engine auto|epoll|uring] [--workers N]\n", test_program);
    _exit(2);
}

static inline uint32_t test_parse_engine(const char *name) {
    if (strcmp(name, "auto") == 0) return RT_ENGINE_AUTO;
    if (strcmp(name, "epoll") == 0) return RT_ENGINE_EPOLL;
    if (strcmp(name, "uring") == 0) return RT_ENGINE_URING;
    test_usage();
}

static inline uint32_t test_parse_workers(const char *text) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || n > 1024) test_usage();
    return (uint32_t)n;
}

static inline void test_start(int argc, char **argv) {
    test_program = argv[0];
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) test_usage();
        if (strcmp(argv[i], "--engine") == 0) test_engine = test_parse_engine(argv[i + 1]);
        else if (strcmp(argv[i], "--workers") == 0) test_workers = test_parse_workers(argv[i + 1]);
        else test_usage();
    }
    signal(SIGTERM, test_on_sigterm);
}

static inline int test_end(void) {
    test_case = "end";
    return 0;
}

/* How often to repeat. */
static inline int scaled(int n) {
    int by = slowness();
    return n > by ? n / by : 1;
}

/* For races that are tried again and again: whether it is enough. Where two threads share a busy CPU,
 * each turn of theirs takes slices of time. */
static inline bool long_at_it(uint64_t since) {
    return test_clock() - since > UINT64_C(3000000000);
}

static inline bool flag_set(void *arg) { return atomic_load((atomic_bool *)arg); }

/* ---- runtimes ---- */

static inline bool current_thread(void) { return test_workers == 0; }

/* A configuration as the command line asks; the caller may change more. */
static inline rt_config test_config(void) {
    rt_config config;
    CHECK_OK(rt_config_init(&config, sizeof config));
    config.engine = test_engine;
    config.flavour = current_thread() ? RT_CURRENT_THREAD : RT_MULTI_THREAD;
    config.workers = test_workers;
    return config;
}

static inline rt_runtime test_runtime_with(const rt_config *config) {
    char why[256] = "";
    rt_runtime rt = 0;
    int64_t r = rt_new(config, &rt, why, sizeof why);
    if (r < 0) fprintf(stderr, "rt_new: %s\n", why);
    CHECK_OK(r);
    CHECK(rt != 0);
    return rt;
}

static inline rt_runtime test_runtime(void) {
    rt_config config = test_config();
    return test_runtime_with(&config);
}

typedef bool (*test_cond_fn)(void *arg);
struct test_until {
    test_cond_fn cond;
    void *arg;
};

static inline int64_t test_until_poll(rt_cx *cx, void *state) {
    struct test_until *u = state;
    return u->cond(u->arg) ? 0 : rt_yield(cx);
}

/* Drives the runtime, in whichever flavour, until the condition holds. */
static inline void drive_until(rt_runtime rt, test_cond_fn cond, void *arg) {
    struct test_until u = {cond, arg};
    CHECK_EQ(rt_block_on(rt, test_until_poll, &u), 0);
}

/* Waits until no task and no descriptor is left. The counts may lag behind a join by a moment. */
static inline void settle(rt_runtime rt) {
    for (;;) {
        rt_metrics_data m = metrics(rt);
        if (m.tasks_live == 0 && m.ios_live == 0) return;
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else sched_yield();
    }
}

/* The usual end of a case: nothing may be left, nothing is abandoned. */
static inline void test_runtime_free(rt_runtime rt) {
    settle(rt);
    CHECK_EQ(rt_free(rt), 0);
}

/* ---- tasks that watch themselves ---- */

/* The state of a task: no poll runs beside another or beside the drop, and one drop at most. Its
 * task stays pending until `ready` is set and it is woken; then it returns `result`. */
typedef struct probe {
    atomic_int polls, drops, inside;
    atomic_bool ready;
    int64_t result;
} probe;

static inline void probe_enter(probe *p) {
    CHECK_EQ(atomic_fetch_add(&p->inside, 1), 0);
    CHECK_EQ(atomic_load(&p->drops), 0);
    atomic_fetch_add(&p->polls, 1);
}

static inline int64_t probe_leave(probe *p, int64_t r) {
    CHECK_EQ(atomic_fetch_sub(&p->inside, 1), 1);
    return r;
}

static inline int64_t probe_poll(rt_cx *cx, void *state) {
    (void)cx;
    probe *p = state;
    probe_enter(p);
    return probe_leave(p, atomic_load(&p->ready) ? p->result : RT_PENDING);
}

static inline void probe_drop(void *state) {
    probe *p = state;
    CHECK_EQ(atomic_load(&p->inside), 0);
    CHECK_EQ(atomic_fetch_add(&p->drops, 1), 0);
}

static inline rt_task probe_spawn(rt_runtime rt, probe *p) {
    rt_task task = 0;
    CHECK_EQ(rt_spawn(rt, probe_poll, p, probe_drop, &task), 0);
    CHECK(task != 0);
    return task;
}

static inline bool probe_polled(void *arg) { return atomic_load(&((probe *)arg)->polls) > 0; }

/* Its poll is over, and found it not ready: only a wake leads to another one. Who has to wake it by a handle that
 * somebody else may spend waits for this first, or a poll that goes on could end the task before the wake. */
static inline bool probe_waits(void *arg) {
    return probe_polled(arg) && atomic_load(&((probe *)arg)->inside) == 0;
}

static inline bool probe_dropped(void *arg) { return atomic_load(&((probe *)arg)->drops) > 0; }

/* Sets it ready and wakes it. */
static inline void probe_finish(probe *p, rt_task task) {
    atomic_store(&p->ready, true);
    CHECK_EQ(rt_task_wake(task), 0);
}

/* Joins from the thread that drives, or from any on the multi-thread flavour. */
static inline int64_t join_task(rt_task task) {
    int64_t result = RT_PENDING;
    CHECK_EQ(rt_join(task, RT_NEVER, &result), 0);
    return result;
}

/* ---- threads and gates ---- */

static inline pthread_t thread_start(void *(*run)(void *), void *arg) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, run, arg), 0);
    return thread;
}

static inline void thread_join(pthread_t thread) { CHECK_EQ(pthread_join(thread, NULL), 0); }

/* Runs a function on a thread of its own, and waits for it. */
static inline void on_thread(void *(*run)(void *), void *arg) {
    thread_join(thread_start(run, arg));
}

/* A gate lets as many through as it was opened times. Opening is async-signal-safe. */
typedef struct gate {
    sem_t sem;
} gate;

static inline void gate_init(gate *g) { CHECK_SYS(sem_init(&g->sem, 0, 0)); }
static inline void gate_open(gate *g) { CHECK_SYS(sem_post(&g->sem)); }
static inline void gate_destroy(gate *g) { CHECK_SYS(sem_destroy(&g->sem)); }

static inline void gate_wait(gate *g) {
    int r;
    do r = sem_wait(&g->sem);
    while (r == -1 && errno == EINTR);
    CHECK_SYS(r);
}

#endif
