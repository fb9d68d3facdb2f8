/* The append-only file: the requests that changed something, as requests.
 *
 * Commands append to a buffer. One task takes it and writes it, and everything that is appended
 * meanwhile is the next batch: so one write serves all clients, and the disk sets the pace.
 *   always    the file is opened with O_DSYNC, so that a write is over when the disk has it; only
 *             then do answers leave, of those as well who merely read what it is about.
 *   everysec  answers do not wait; what they say is on disk a second later, or two.
 *   no        the same, but the kernel decides when.
 * Who writes faster than the disk waits when too much is outstanding.
 *
 * An error ends the program. What was not written was not acknowledged with `always`; to go on
 * without a log, or to sync again what a failed sync may have dropped, would be to lie. */
#include "kv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
enum { MOST_OUTSTANDING = 64 * 1024 * 1024, MUCH_MEMORY = 1024 * 1024 };

static const char *const policies[] = {"always", "everysec", "no"};

/* With the lock, but for `done` and what is the writer's. */
static struct {
    struct log_options o;
    struct bytes pending;
    uint64_t appended;     /* the file's length with all that is pending */
    _Atomic uint64_t done; /* what answers need not wait for any more */
    enum { ALONE, BEGUN, WRITTEN } transaction;
    bool ends;
    rt_notify wanted, progressed;

    /* The writer's. */
    rt_io file;
    rt_op op;
    rt_timer timer;
    struct bytes batch;
    size_t off;
    uint64_t written, sync_at; /* RT_NEVER: everything is synced */
    int64_t r;
} kvlog = {.sync_at = RT_NEVER};

/* ---- appending ---- */

bool log_is_on(void) { return kvlog.o.path != NULL; }

const char *log_policy(void) { return policies[kvlog.o.policy]; }

bool log_parse_policy(const char *text, int *out) {
    for (int i = 0; i < 3; i++)
        if (strcmp(text, policies[i]) == 0) return *out = i, true;
    return false;
}

static void append(const struct span *argv, size_t argc) {
    const size_t before = kvlog.pending.n;
    resp_request(&kvlog.pending, argv, argc);
    kvlog.appended += kvlog.pending.n - before;
    if (before == 0) rt_notify_one(kvlog.wanted);
}

void log_record(const struct span *argv, size_t argc) {
    if (!log_is_on() || kv.loading) return;
    if (kvlog.transaction == BEGUN) append(&TEXT("MULTI"), 1), kvlog.transaction = WRITTEN;
    append(argv, argc);
}

void log_begin(void) { kvlog.transaction = BEGUN; }

void log_commit(void) {
    if (kvlog.transaction == WRITTEN) append(&TEXT("EXEC"), 1);
    kvlog.transaction = ALONE;
}

uint64_t log_position(void) {
    const uint64_t slack = kvlog.o.policy == FSYNC_ALWAYS ? 0 : MOST_OUTSTANDING;
    return kvlog.appended > slack ? kvlog.appended - slack : 0;
}

void log_end(void) {
    kvlog.ends = true;
    rt_notify_one(kvlog.wanted);
}

bool log_has(uint64_t position) { return atomic_load(&kvlog.done) >= position; }

/* Asked under the lock, under which the writer notifies: so no notification comes in between. One
 * that is taken may be of progress that is not enough. */
int64_t log_poll(rt_cx *cx, uint64_t position) {
    int64_t r = 0;
    pthread_mutex_lock(&kv.lock);
    while (r == 0 && !log_has(position)) r = rt_poll_notified(cx, kvlog.progressed);
    pthread_mutex_unlock(&kv.lock);
    return r;
}

/* ---- writing ---- */

/* Until there is something to write, to sync, or nothing any more. A notification that is older than
 * what is seen here says nothing new. */
static int64_t poll_work(rt_cx *cx) {
    pthread_mutex_lock(&kv.lock);
    int64_t r = kvlog.pending.n > 0 || kvlog.ends ? 0 : RT_PENDING;
    if (r == RT_PENDING) {
        do r = rt_poll_notified(cx, kvlog.wanted);
        while (r == 0);
    }
    pthread_mutex_unlock(&kv.lock);
    if (r != RT_PENDING || kvlog.sync_at == RT_NEVER) return r;
    return rt_poll_sleep(cx, &kvlog.timer, kvlog.sync_at);
}

static void take_batch(void) {
    pthread_mutex_lock(&kv.lock);
    const struct bytes emptied = kvlog.batch;
    kvlog.batch = kvlog.pending, kvlog.pending = emptied;
    pthread_mutex_unlock(&kv.lock);
}

static void say_done(void) {
    if (kvlog.batch.room > MUCH_MEMORY) bytes_free(&kvlog.batch);
    kvlog.batch.n = kvlog.off = 0;
    pthread_mutex_lock(&kv.lock);
    atomic_store(&kvlog.done, kvlog.written);
    rt_notify_all(kvlog.progressed);
    pthread_mutex_unlock(&kv.lock);
}

int64_t log_run(rt_cx *cx, void *frame) {
    RT_BEGIN(frame);
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                rt_submit_openat(cx, 0, kvlog.o.path,
                                 O_WRONLY | (kvlog.o.policy == FSYNC_ALWAYS ? O_DSYNC : 0), 0,
                                 &kvlog.op));
    if (kvlog.r < 0) RT_RETURN(kvlog.r);
    kvlog.file = (rt_io)kvlog.r;
    for (;;) {
        RT_AWAIT(kvlog.r, poll_work(cx));
        if (kvlog.r < 0) RT_RETURN(kvlog.r);
        RT_YIELD(cx); /* all who are ready now shall be in it */
        take_batch();
        while (kvlog.off < kvlog.batch.n) {
            RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                        rt_submit_write(cx, kvlog.file, kvlog.batch.p + kvlog.off,
                                        kvlog.batch.n - kvlog.off, kvlog.written, &kvlog.op));
            if (kvlog.r <= 0) RT_RETURN(kvlog.r < 0 ? kvlog.r : -EIO);
            kvlog.off += (size_t)kvlog.r, kvlog.written += (uint64_t)kvlog.r;
        }
        if (kvlog.off > 0) {
            if (kvlog.o.policy == FSYNC_EVERYSEC && kvlog.sync_at == RT_NEVER)
                kvlog.sync_at = rt_now() + SECOND;
            say_done();
        } else if (kvlog.ends) {
            break;
        }
        if (rt_now() < kvlog.sync_at) continue;
        RT_AWAIT_OP(kvlog.r, cx, kvlog.op, rt_submit_fdatasync(cx, kvlog.file, &kvlog.op));
        if (kvlog.r < 0) RT_RETURN(kvlog.r);
        kvlog.sync_at = RT_NEVER;
    }
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op, rt_submit_fdatasync(cx, kvlog.file, &kvlog.op));
    RT_END(kvlog.r);
}

int64_t log_init(void) {
    const int64_t r = rt_notify_new(&kvlog.wanted);
    return r < 0 ? r : rt_notify_new(&kvlog.progressed);
}

void log_free(void) {
    rt_timer_cancel(kvlog.timer);
    rt_notify_free(kvlog.wanted);
    rt_notify_free(kvlog.progressed);
    bytes_free(&kvlog.pending);
    bytes_free(&kvlog.batch);
}

/* ---- loading ---- */

static bool bad(const char *what, const char *why) {
    fprintf(stderr, "kv_server: %s: %s\n", what, why);
    return false;
}

/* Executes all whole requests, and all whole transactions. Leaves in `*end` how far they reach. */
static const char *replay(char *p, size_t n, size_t *end) {
    struct client loader = {0};
    struct parser q = {0};
    struct bytes out = {0};
    const char *why = NULL;
    size_t at = 0;
    int r;
    while ((r = resp_parse(&q, p + at, n - at, (size_t)4 * LONGEST_STRING)) == PARSE_WHOLE) {
        out.n = 0;
        if (q.argc > 0) command_run(&loader, command_find(q.argv[0]), q.argv, q.argc, &out);
        at += q.at;
        resp_next(&q);
        if (out.n > 0 && out.p[0] == '-') {
            why = "a record that cannot be executed";
            break;
        }
        if (!loader.in_multi) *end = at;
    }
    if (r == PARSE_WRONG) why = "what follows is no record";
    client_reset(&loader);
    resp_free(&q);
    bytes_free(&out);
    return why;
}

static bool load(int fd, const char *path) {
    struct stat st;
    if (fstat(fd, &st) < 0) return bad(path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return bad(path, "is no file");
    const size_t n = (size_t)st.st_size;
    size_t end = 0;
    if (n > 0) {
        char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) return bad(path, strerror(errno));
        kv.loading = true;
        const char *why = replay(p, n, &end);
        kv.loading = false;
        munmap(p, n);
        if (why != NULL) {
            fprintf(stderr, "kv_server: %s: at byte %zu: %s; the file was left as it is\n", path, end,
                    why);
            return false;
        }
    }
    if (end < n) {
        fprintf(stderr, "kv_server: %s: cut %zu bytes of a torn record\n", path, n - end);
        if (ftruncate(fd, (off_t)end) < 0 || fsync(fd) < 0) return bad(path, strerror(errno));
    }
    kvlog.written = kvlog.appended = end;
    atomic_store(&kvlog.done, end);
    return true;
}

bool log_load(const struct log_options *o) {
    kvlog.o = *o;
    if (o->path == NULL) return true;
    const int fd = open(o->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return bad(o->path, strerror(errno));
    const bool good = load(fd, o->path);
    close(fd);
    return good;
}
