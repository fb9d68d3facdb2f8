/* The fuzz target: turns bytes into calls of the C API from two threads and from what the library calls:
 * tasks, wakers, drop functions, calls. The model (model.h) says what must hold meanwhile, and in the end.
 *
 * An input that fails is a file; `tests/fuzz/run FILE` plays it again. With ASYNCIO_FUZZ_TRACE=1 each
 * step says what it returned.
 */
#include "steps.h"

#include <dirent.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct step {
    const char *name;
    int64_t (*run)(struct actor *a, const uint8_t *b);
};
#define STEP_ENTRY(name) {#name, step_##name},
static const struct step steps[] = {STEPS(STEP_ENTRY)};
enum { STEP_COUNT = sizeof steps / sizeof steps[0] };

struct script {
    size_t length;
    const uint8_t *records[STEPS_MAX];
};
static struct script scripts[SCRIPTS];
static atomic_int fuel;
static bool tracing;
static pthread_t main_thread;
_Thread_local bool scripted, may_block, attempting;

struct thing *primary;
const char *scratch;
atomic_bool scratch_used;
atomic_int runtimes_made, tasks_made;
const unsigned char pattern[4096] = "the quick brown fox\njumps over\nthe lazy dog\n";

bool on_main(void) { return pthread_equal(pthread_self(), main_thread); }

/* ---- scripts ---- */

static void cut(const uint8_t *data, size_t size) {
    memset(scripts, 0, sizeof scripts);
    for (; size >= RECORD; data += RECORD, size -= RECORD) {
        /* The two threads have half of the records. */
        struct script *s = &scripts[data[0] & 1 ? data[0] >> 1 & 1 : SCRIPT_CALLS + (data[0] >> 1) % (SCRIPTS - SCRIPT_CALLS)];
        if (s->length < STEPS_MAX) s->records[s->length++] = data + 1;
    }
}

static int64_t play(struct actor *a, const uint8_t *record) {
    const struct step *s = &steps[record[0] % STEP_COUNT];
    int64_t r = s->run(a, record + 1);
    if (tracing) fprintf(stderr, "%s %s(%d %d %d) = %lld\n", a->name, s->name, record[1], record[2], record[3], (long long)r);
    return r;
}

static const uint8_t *next_record(struct actor *a) {
    struct script *s = &scripts[a->script];
    if (a->at >= s->length || atomic_fetch_sub(&fuel, 1) <= 0) return NULL;
    return s->records[a->at];
}

static void play_all(struct actor *a) {
    for (const uint8_t *record; (record = next_record(a)) != NULL; a->at++) play(a, record);
    for (int i = 0; i < 2; i++)
        if (a->own[i] != NULL) HOLDS_EQ(rt_cx_free(a->own[i]), 0);
}

static _Thread_local int depth;
static atomic_size_t calls_at;

void call_back(void) {
    struct script *s = &scripts[SCRIPT_CALLS];
    if (depth > 0 || s->length == 0 || atomic_fetch_sub(&fuel, 1) <= 0) return;
    size_t at = atomic_fetch_add(&calls_at, 1);
    if (at >= s->length) return;
    depth++;
    struct actor a = {.name = "call", .script = SCRIPT_CALLS, .cx = at & 1 ? rt_cx_current() : NULL};
    play(&a, s->records[at]);
    depth--;
}

bool may_wait_for(const struct thing *rt) { return rt == NULL || rt == primary || (scripted && depth == 0); }

rt_cx *cx_of(struct actor *a, uint8_t byte) {
    if (byte == 0xff) return NULL;
    if (byte == 0xfe) return rt_cx_current();
    return a->cx != NULL ? a->cx : a->own[byte & 1];
}

uint64_t time_of(uint8_t byte) {
    switch (byte & 7) {
    case 0: return 0;
    case 1: return rt_now();
    case 2: return RT_NEVER;
    case 3: return byte & 8 ? UINT64_MAX - 1 : (uint64_t)INT64_MAX + byte;
    case 4: return rt_now() + (uint64_t)byte * 1000000;
    default: return rt_now() + (uint64_t)byte * 4000;
    }
}

uint64_t timeout_of(uint8_t byte) { return byte & 3 ? 0 : (uint64_t)byte * 4000; }

/* ---- tasks ---- */

struct job *job_new(struct thing *home, uint8_t script, uint8_t mode) {
    if (atomic_fetch_add(&tasks_made, 1) >= 96) return NULL;
    struct job *job = calloc(1, sizeof *job);
    job->home = home;
    job->script = SCRIPT_TASKS + script % (SCRIPTS - SCRIPT_TASKS);
    job->mode = mode;
    atomic_fetch_add(&jobs_live, 1);
    return job;
}

void job_free(struct job *job) {
    for (unsigned i = 0; i < job->letter_count; i++)
        if (job->letters[i] != NULL) memory_over(job->letters[i], sizeof *job->letters[i]);
    job->over = true;
    free(job);
    atomic_fetch_sub(&jobs_live, 1);
}

void job_forget_op(struct job *job, struct pending *p) {
    for (unsigned i = 0; i < job->letter_count; i++)
        if (job->letters[i] == p->letter) job->letters[i] = NULL;
    memory_over(p->letter, sizeof *p->letter);
    *p = (struct pending){0};
}

static const int64_t results[] = {0, 1, 77, -EIO, -1, INT64_MAX, INT64_MIN, -ECANCELED};

/* Plays a few steps. A step that is pending is repeated when the task is patient, else it looks elsewhere. */
static int64_t job_steps(struct job *job, rt_cx *cx) {
    struct actor a = {.name = "task", .script = job->script, .at = job->at, .cx = cx, .job = job};
    bool patient = job->mode & 4, pending = false;
    int64_t r = RT_PENDING;
    const uint8_t *record = NULL;
    for (unsigned i = 0; i <= (job->mode & 3); i++) {
        record = next_record(&a);
        if (record == NULL) break;
        a.waits = NULL;
        if (play(&a, record) == RT_PENDING) {
            pending = true;
            if (patient && ++job->tries < 4) break;
        }
        job->tries = 0;
        a.at++;
    }
    job->at = a.at;
    if (record == NULL && job->blocked_on) return 7;
    if (record == NULL) {
        if (job->mode & 8 && !(atomic_load(&fuel) > 0 && job->mode & 16)) {
            /* Some end only when nothing is in flight any more. */
            if (job->mode & 32 && rt_poll_quiesce(cx) == RT_PENDING) return r;
            r = results[job->mode >> 5];
            atomic_store(&job->thing->result, r);
            atomic_store(&job->thing->returned, true);
            return r;
        }
        return r; /* until it is aborted */
    }
    /* Half of them go on by themselves; the others wait to be woken, if they waited for anything. */
    if (!pending || job->blocked_on || job->mode & 64) HOLDS_EQ(rt_yield(cx), RT_PENDING);
    atomic_store(&job->thing->waits_for, a.waits);
    return r;
}

int64_t job_poll(rt_cx *cx, void *state) {
    struct job *job = state;
    HOLDS(!job->over);
    HOLDS_EQ(atomic_fetch_add(&job->inside, 1), 0);
    HOLDS(job->home == NULL || !atomic_load(&job->home->freed));
    HOLDS(rt_cx_current() == cx);
    atomic_fetch_add(&job->thing->polls, 1);
    atomic_store(&job->thing->waits_for, NULL);
    rt_task self = rt_task_self(cx);
    HOLDS(self != 0);
    if (job->thing->handle != 0) HOLDS_EQ(self, job->thing->handle);
    int64_t r = job_steps(job, cx);
    HOLDS_EQ(atomic_fetch_sub(&job->inside, 1), 1);
    return r;
}

void job_drop(void *state) {
    struct job *job = state;
    HOLDS(!job->over);
    HOLDS_EQ(atomic_load(&job->inside), 0);
    HOLDS_EQ(atomic_load(&job->promises), 0);
    HOLDS(job->home == NULL || !atomic_load(&job->home->freed));
    HOLDS_EQ(atomic_fetch_add(&job->thing->drops, 1), 0);
    atomic_store(&job->thing->waits_for, NULL);
    if (job->sleep != 0) HOLDS(rt_timer_cancel(job->sleep) >= 0);
    if (job->io != 0) {
        int64_t r = rt_close(job->io);
        HOLDS(r == 0 || r == -EBADF);
    }
    job_free(job);
    call_back();
}

int64_t inline_poll(rt_cx *cx, void *state) { return job_poll(cx, *(struct job **)state); }
void inline_drop(void *state) { job_drop(*(struct job **)state); }

/* ---- one input ---- */

static int open_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(dir) != NULL) n++;
    closedir(dir);
    return n;
}

static sem_t other_done, other_go;
#define PATIENCE UINT64_C(20000000000) /* nanoseconds, for what should come at once */

/* Frees the runtimes that belong to this thread; the others say so. */
static void free_runtimes(bool all) {
    struct thing *t;
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++) {
        if (t->kind != K_RUNTIME || atomic_load(&t->freed)) continue;
        atomic_store(&t->releasing, true);
        int64_t r = rt_shutdown(t->handle, RT_NEVER);
        if (r == -EPERM && !all) continue;
        /* A task of another runtime may free it meanwhile. */
        HOLDS(r == 0 || r == -EBADF);
        rt_metrics_data m = {.size = sizeof m};
        /* A task that is refused to another runtime's may count for a moment. */
        uint64_t limit = rt_now() + PATIENCE;
        while ((r = rt_metrics(t->handle, &m)) == 0 && m.tasks_live != 0 && rt_now() < limit) sched_yield();
        HOLDS(r == 0 || r == -EBADF);
        HOLDS(r < 0 || (m.tasks_live == 0 && m.tasks_abandoned == 0 && m.ops_abandoned == 0));
        r = rt_free(t->handle);
        if (r == 0) HOLDS(!atomic_exchange(&t->freed, true));
        else HOLDS_EQ(r, -EBADF);
        while (!atomic_load(&t->freed)) sched_yield();
        HOLDS_EQ(rt_free(t->handle), -EBADF);
    }
}

/* The threads have contexts from the start. */
static void begin_contexts(struct actor *a) {
    step_context(a, (const uint8_t[ARGUMENTS]){0, 1, 0});
    step_context(a, (const uint8_t[ARGUMENTS]){0x80, 1, 0});
}

static void *other_main(void *arg) {
    (void)arg;
    scripted = true;
    struct actor a = {.name = "other", .script = SCRIPT_OTHER, .number = 2};
    begin_contexts(&a);
    play_all(&a);
    sem_post(&other_done);
    while (sem_wait(&other_go) != 0) {}
    free_runtimes(false);
    return NULL;
}

static void down(sem_t *s) {
    while (sem_wait(s) != 0) {}
}

/* The primary runtime goes on for a moment. False if it was ended. */
static bool go_on(void) {
    int64_t r = rt_turn(primary->handle, 100000);
    if (r == -EPERM) sched_yield(); /* by its own threads */
    return r != -ESHUTDOWN && r != -EBADF;
}

/* A task of a runtime that nobody drives now may have its turn, and keep it. */
static bool turns_are_kept(void) {
    struct thing *t;
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++)
        if (t->kind == K_RUNTIME && t->quiet && !atomic_load(&t->freed)) return true;
    return false;
}

/* True if who waits for it has nothing to wait for. */
static bool has_come(struct thing *t) {
    if (t == NULL) return false;
    switch (t->kind) {
    case K_CHAN: return rt_chan_len(t->handle) != 0 && !turns_are_kept();
    case K_ONESHOT:
        return (atomic_load(&t->polls) > 0 || atomic_load(&t->freed) || atomic_load(&t->closing)) && !turns_are_kept();
    case K_TIMER:
        /* When an interval ticks once more is not known. */
        return t->home == primary && !(t->interval && atomic_load(&t->polls) > 0) && !(atomic_load(&t->version) & 1) &&
               atomic_load(&t->at) <= rt_now();
    case K_TASK: return t->ours && (atomic_load(&t->takers) > 0 || atomic_load(&t->drops) > 0);
    default: return false;
    }
}

/* Nobody waits for what has come: what a task waits for by its last call wakes it. */
static void wait_for_the_woken(void) {
    struct thing *t;
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++) {
        if (t->kind != K_TASK || t->home != primary) continue;
        uint64_t limit = rt_now() + PATIENCE;
        while (has_come(atomic_load(&t->waits_for))) {
            if (!go_on()) return;
            HOLDS(rt_now() < limit);
        }
    }
}

/* Every task that lives is polled after it is woken, however it waited. They are woken together, for where there are
 * fewer CPUs than threads each wait may take a while. */
static void wake_all(void) {
    struct thing *t;
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++) {
        if (t->kind != K_TASK || !t->ours || t->call || t->handle == 0 || t->home != primary) continue;
        t->polls_before = atomic_load(&t->polls);
        t->woken = rt_task_wake(t->handle) == 0;
    }
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++) {
        uint64_t limit = rt_now() + PATIENCE;
        while (t->woken && atomic_load(&t->polls) == t->polls_before && atomic_load(&t->drops) == 0) {
            if (!go_on()) return;
            HOLDS(rt_now() < limit); /* the wake was lost */
        }
    }
}

/* Releases what the scripts left; what ended with its runtime must be stale. */
static void release_all(void) {
    struct thing *t;
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++) {
        int fd = atomic_load(&t->fd);
        if (fd >= 0) HOLDS_EQ(close(fd), 0);
        if (t->kind == K_WAKER) HOLDS_EQ(rt_waker_drop(&t->waker), 0);
        if (t->handle == 0) continue;
        bool freed = atomic_load(&t->freed);
        uint64_t h = t->handle;
        int64_t r = 0, expected = freed ? -EBADF : 0;
        switch (t->kind) {
        case K_RUNTIME: r = rt_stop(h), expected = -EBADF; break;
        case K_IO: r = rt_close(h), expected = -EBADF; break;
        case K_TASK: r = rt_task_wake(h), expected = -EBADF; break;
        case K_OP: r = rt_cancel(h), expected = -EBADF; break;
        case K_TIMER: r = rt_timer_cancel(h), expected = -EBADF; break;
        case K_SERVER: r = rt_server_free(h), expected = -EBADF; break;
        case K_WATCH: r = rt_watch_close(h), expected = -EBADF; break;
        case K_LEASE: r = rt_buf_release(h); break;
        case K_BLOB: r = rt_blob_free(h); break;
        case K_SET: r = rt_set_free(h); break;
        case K_SIGNAL: r = rt_signal_close(h); break;
        case K_NOTIFY: r = rt_notify_free(h); break;
        case K_SEM: {
            /* All permits that were given and not taken are there: no more, no fewer. */
            uint64_t left = atomic_load(&t->given) - atomic_load(&t->taken);
            if (!freed && !t->quiet && left > 0) HOLDS_EQ(rt_sem_try_acquire(h, left), 0);
            if (!freed && !t->quiet) HOLDS_EQ(rt_sem_try_acquire(h, 1), -EAGAIN);
            r = rt_sem_free(h);
            break;
        }
        case K_CHAN: r = rt_chan_free(h); break;
        case K_ONESHOT:
            r = rt_oneshot_free(h);
            if (r == -EBADF) expected = r;
            break;
        case K_EVENT: r = rt_event_free(h); break;
        case K_STREAM: r = rt_stream_free(h); break;
        default: continue;
        }
        if (r != expected) fuzz_fail(__FILE__, (int)t->kind, "release_all", r);
        atomic_store(&t->freed, true);
    }
}

static void empty_scratch(void) {
    if (!atomic_exchange(&scratch_used, false)) return;
    char path[128];
    for (const char *name = "abc"; *name != '\0'; name++) {
        snprintf(path, sizeof path, "%s/%c", scratch, *name);
        if (unlink(path) != 0) rmdir(path);
    }
}

static void remove_scratch(void) {
    empty_scratch();
    rmdir(scratch);
}

static void nothing(int sig) { (void)sig; }

static void first_time(void) {
    static char name[] = "/tmp/asyncio-fuzz-XXXXXX";
    scratch = mkdtemp(name);
    HOLDS(scratch != NULL);
    atexit(remove_scratch);
    tracing = getenv("ASYNCIO_FUZZ_TRACE") != NULL;
    sem_init(&other_done, 0, 0);
    sem_init(&other_go, 0, 0);
    signal(SIGWINCH, nothing);
    signal(SIGPIPE, SIG_DFL); /* the library never raises it */
    main_thread = pthread_self();
    scripted = true;
}

static bool engine_can(uint32_t engine) {
    rt_config config;
    rt_config_init(&config, sizeof config);
    config.engine = engine;
    config.workers = 1;
    rt_runtime rt;
    if (rt_new(&config, &rt, NULL, 0) != 0) return false;
    rt_free(rt);
    return true;
}

/* What many steps need, made by steps before the scripts begin: an input that chooses it is short. */
struct begun {
    uint8_t bit;
    int64_t (*run)(struct actor *a, const uint8_t *b);
    uint8_t arguments[ARGUMENTS];
};
static const struct begun prologue[] = {
    {32, step_sem_new, {0, 2, 0}},   {32, step_chan_new, {0, 2, 0}},      {32, step_notify_new, {0, 0, 0}},
    {32, step_event_new, {0, 1, 0}}, {32, step_oneshot_new, {0, 0, 0}},   {32, step_set_new, {0, 1, 0}},
    {64, step_io_pair, {1, 32, 0}},  {64, step_io_pair, {1, 0, 0}},       {64, step_stream_new, {1, 1, 0}},
    {64, step_blob_new, {0, 9, 0}},  {128, step_listen, {1, 1, 0}},       {128, step_connect_task, {1, 1, 2}},
    {128, step_udp, {1, 0, 0}},      {128, step_timer_start, {0, 1, 77}}, {128, step_signal_open, {0, 1, 0}},
};

static void begin(struct actor *a, uint8_t which) {
    for (size_t i = 0; i < sizeof prologue / sizeof prologue[0]; i++)
        if (prologue[i].bit & which) prologue[i].run(a, prologue[i].arguments);
}

/* Small limits, which are met soon. */
static rt_config config_of(uint8_t first, uint8_t second) {
    static int uring = -1;
    if (uring < 0) {
        uring = engine_can(RT_ENGINE_URING);
        if (!uring) fprintf(stderr, "no io_uring here: all inputs run on epoll\n");
    }
    rt_config config;
    HOLDS_EQ(rt_config_init(&config, sizeof config), 0);
    config.engine = first & 1 && uring ? RT_ENGINE_URING : RT_ENGINE_EPOLL;
    config.flavour = first & 2 ? RT_MULTI_THREAD : RT_CURRENT_THREAD;
    config.workers = first & 2 ? 2 : 0;
    config.spin_ns = first & 4 ? RT_SPIN_OFF : 0;
    config.poll_budget = first & 8 ? 2 : 0;
    config.event_interval = first & 16 ? 1 : 0;
    config.lifo_limit = first & 32 ? RT_LIFO_OFF : 0;
    config.max_events = first & 64 ? 1 : 0;
    config.ring_entries = second & 1 ? 4 : 0;
    config.buffer_size = second & 2 ? 64 : 0;
    config.buffer_count = second & 4 ? 8 : 0;
    config.blocking_threads = second & 8 ? 1 : 0;
    config.send_limit = second & 16 ? 32 : 0;
    config.stack_size = 256 << 10;
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (main_thread == 0) first_time();
    if (size < HEADER + RECORD) return 0;
    rt_config config = config_of(data[0], data[1]);
    int fds = open_fds();
    model_begin();
    cut(data + HEADER, size - HEADER);
    atomic_store(&fuel, 600);
    atomic_store(&calls_at, 0);
    atomic_store(&tasks_made, 0);
    atomic_store(&runtimes_made, 0);

    char why[128];
    primary = thing_new(K_RUNTIME, NULL);
    int64_t r = rt_new(&config, &primary->handle, why, sizeof why);
    if (r < 0) fuzz_fail(__FILE__, __LINE__, why, r);
    rt_metrics_data m = {.size = sizeof m};
    HOLDS_EQ(rt_metrics(primary->handle, &m), 0);
    HOLDS_EQ(m.leases_live, 0);
    HOLDS_EQ(m.tasks_live, 0);
    struct actor a = {.name = "main", .script = SCRIPT_MAIN, .number = 1};
    thing_shelve(&a, primary, 0);
    /* This thread drives. */
    if (config.flavour == RT_CURRENT_THREAD) HOLDS_EQ(rt_turn(primary->handle, 0), 0);
    begin(&a, data[1]);
    begin_contexts(&a);

    pthread_t other;
    HOLDS_EQ(pthread_create(&other, NULL, other_main, NULL), 0);
    play_all(&a);
    down(&other_done);
    wait_for_the_woken();
    wake_all();
    free_runtimes(false);
    sem_post(&other_go);
    HOLDS_EQ(pthread_join(other, NULL), 0);
    free_runtimes(true);
    atomic_store(&fuel, 0); /* nothing new is made from here on */
    release_all();
    things_forget();
    model_settled();
    empty_scratch();
    HOLDS_EQ(open_fds(), fds);
    return 0;
}
