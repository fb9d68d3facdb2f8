/* The append-only file: the requests that changed something, as requests.
 *
 * Commands append to a buffer. One task takes it and writes it, and everything that is appended
 * meanwhile is the next batch: so one write serves all clients, and the disk sets the pace.
 *   always    a write is over when the disk has it; only then do answers leave, of those as well
 *             who merely read what it is about.
 *   everysec  answers do not wait; what they say is on disk a second later, or two.
 *   no        the same, but the kernel decides when.
 * Who writes faster than the disk waits when too much is outstanding.
 *
 * A log that has grown is written anew (BGREWRITEAOF; also when it has doubled): a forked child
 * writes the keys as they are, what is appended meanwhile is kept, and added when the child has
 * done. Then the new file takes the old one's name.
 *
 * An error ends the program. What was not written was not acknowledged with `always`; to go on
 * without a log, or to sync again what a failed sync may have dropped, would be to lie. */
#include "kv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
enum { MOST_OUTSTANDING = 64 * 1024 * 1024, MUCH_MEMORY = 1024 * 1024, LARGE = 64 * 1024 * 1024 };

static const char *const policies[] = {"always", "everysec", "no"};

/* With the lock, but for `done` and what is the writer's. Positions count all that was ever
 * appended; the file begins at `origin`. */
static struct {
    struct log_options o;
    char *folder, *fresh; /* where the file is, and what the next one is called at first */
    struct bytes pending;
    uint64_t appended, origin, base;
    _Atomic uint64_t done; /* what answers need not wait for any more */
    enum { ALONE, BEGUN, WRITTEN } transaction;
    bool ends, rewriting, keeps;
    struct bytes kept; /* what was appended since the child was forked */
    rt_notify wanted, progressed;

    /* The writer's. */
    rt_io file, old;
    rt_op op;
    rt_timer timer;
    rt_process child;
    rt_exit child_end;
    rt_frame write_frame, rewrite_frame;
    struct bytes batch;
    size_t off;
    bool ending, begins; /* as it was when the batch was taken */
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

struct log_state log_state(void) {
    return (struct log_state){kvlog.rewriting, kvlog.appended - kvlog.origin, kvlog.base};
}

bool log_rewrite(void) {
    if (kvlog.rewriting) return false;
    kvlog.rewriting = true;
    rt_notify_one(kvlog.wanted);
    return true;
}

static void append(const struct span *argv, size_t argc) {
    const size_t before = kvlog.pending.n;
    resp_request(&kvlog.pending, argv, argc);
    const size_t n = kvlog.pending.n - before;
    kvlog.appended += n;
    if (kvlog.keeps) bytes_add(&kvlog.kept, kvlog.pending.p + before, n);
    if (before == 0) rt_notify_one(kvlog.wanted);
    const uint64_t size = kvlog.appended - kvlog.origin;
    if (size > LARGE && size / 2 > kvlog.base && kvlog.transaction == ALONE) log_rewrite();
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

/* Until there is something to write, to sync, to begin or to finish, or nothing any more. A
 * notification that is older than what is seen here says nothing new. */
static int64_t poll_work(rt_cx *cx) {
    pthread_mutex_lock(&kv.lock);
    const bool begins = kvlog.rewriting && kvlog.child == 0;
    int64_t r = kvlog.pending.n > 0 || kvlog.ends || begins ? 0 : RT_PENDING;
    if (r == RT_PENDING) {
        do r = rt_poll_notified(cx, kvlog.wanted);
        while (r == 0);
    }
    pthread_mutex_unlock(&kv.lock);
    if (r == RT_PENDING && kvlog.child != 0) r = rt_poll_process(cx, kvlog.child, NULL);
    if (r != RT_PENDING || kvlog.sync_at == RT_NEVER) return r;
    return rt_poll_sleep(cx, &kvlog.timer, kvlog.sync_at);
}

static void take_batch(void) {
    pthread_mutex_lock(&kv.lock);
    const struct bytes emptied = kvlog.batch;
    kvlog.batch = kvlog.pending, kvlog.pending = emptied;
    kvlog.ending = kvlog.ends, kvlog.begins = kvlog.rewriting && kvlog.child == 0;
    pthread_mutex_unlock(&kv.lock);
}

static void say_done(void) {
    if (kvlog.batch.room > MUCH_MEMORY) bytes_free(&kvlog.batch);
    kvlog.batch.n = 0;
    pthread_mutex_lock(&kv.lock);
    atomic_store(&kvlog.done, kvlog.written);
    rt_notify_all(kvlog.progressed);
    pthread_mutex_unlock(&kv.lock);
}

static int64_t write_batch(rt_cx *cx, int flags) {
    RT_BEGIN(&kvlog.write_frame);
    for (kvlog.off = 0; kvlog.off < kvlog.batch.n;) {
        RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                    rt_submit_write(cx, kvlog.file, kvlog.batch.p + kvlog.off,
                                    kvlog.batch.n - kvlog.off, kvlog.written - kvlog.origin,
                                    flags, &kvlog.op));
        if (kvlog.r <= 0) RT_RETURN(kvlog.r < 0 ? kvlog.r : -EIO);
        kvlog.off += (size_t)kvlog.r, kvlog.written += (uint64_t)kvlog.r;
    }
    RT_END(0);
}

static void forget_rewrite(void) {
    rt_process_close(kvlog.child);
    kvlog.child = 0;
    pthread_mutex_lock(&kv.lock);
    kvlog.keeps = kvlog.rewriting = false;
    bytes_free(&kvlog.kept);
    kvlog.base = kvlog.appended - kvlog.origin; /* the next one is due when it has doubled again */
    pthread_mutex_unlock(&kv.lock);
}

static void give_up_rewrite(const char *why) {
    fprintf(stderr, "kv_server: the log is not rewritten: %s\n", why);
    forget_rewrite();
}

/* The child has the keys as they are now, and all the time that it needs. */
static void begin_rewrite(void) {
    pthread_mutex_lock(&kv.lock);
    const pid_t pid = fork();
    if (pid == 0) snapshot_write(kvlog.fresh);
    kvlog.keeps = pid > 0;
    pthread_mutex_unlock(&kv.lock);
    const int64_t r = pid < 0 ? -errno : rt_process_open(kv.rt, pid, &kvlog.child);
    if (r == 0) return;
    if (pid > 0) kill(pid, SIGKILL), waitpid(pid, NULL, 0);
    give_up_rewrite(rt_strerror(r));
}

/* From now on the new file is the one that is written to. What is pending was kept as well. */
static int64_t take_kept(rt_io fresh) {
    struct stat st;
    if (fstat((int)rt_io_fd(fresh), &st) < 0) return -errno;
    kvlog.old = kvlog.file, kvlog.file = fresh;
    bytes_free(&kvlog.batch);
    pthread_mutex_lock(&kv.lock);
    kvlog.batch = kvlog.kept, kvlog.kept = (struct bytes){0};
    kvlog.keeps = false;
    kvlog.pending.n = 0;
    kvlog.written = kvlog.appended - kvlog.batch.n;
    kvlog.origin = kvlog.written - (uint64_t)st.st_size;
    pthread_mutex_unlock(&kv.lock);
    return 0;
}

/* The name is the last to change: until then the old file has all that was acknowledged. What the
 * child wrote is on the disk already. */
static int64_t finish_rewrite(rt_cx *cx) {
    RT_BEGIN(&kvlog.rewrite_frame);
    if (kvlog.child_end.code != 0 || kvlog.child_end.signal != 0) {
        give_up_rewrite("its writer failed");
        RT_RETURN(0);
    }
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                rt_submit_openat(cx, 0, kvlog.fresh, O_WRONLY, 0, &kvlog.op));
    if (kvlog.r < 0 || (kvlog.r = take_kept((rt_io)kvlog.r)) < 0) RT_RETURN(kvlog.r);
    RT_AWAIT(kvlog.r, write_batch(cx, RWF_DSYNC));
    if (kvlog.r < 0) RT_RETURN(kvlog.r);
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                rt_submit_renameat(cx, 0, kvlog.fresh, 0, kvlog.o.path, 0, &kvlog.op));
    if (kvlog.r < 0) RT_RETURN(kvlog.r);
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op, rt_submit_close(cx, kvlog.old, &kvlog.op));
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                rt_submit_openat(cx, 0, kvlog.folder, O_RDONLY | O_DIRECTORY, 0, &kvlog.op));
    if (kvlog.r < 0) RT_RETURN(kvlog.r);
    kvlog.old = (rt_io)kvlog.r;
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op, rt_submit_fsync(cx, kvlog.old, &kvlog.op));
    if (kvlog.r < 0) RT_RETURN(kvlog.r);
    rt_close(kvlog.old);
    kvlog.sync_at = RT_NEVER;
    forget_rewrite();
    say_done();
    RT_END(0);
}

int64_t log_run(rt_cx *cx, void *frame) {
    RT_BEGIN(frame);
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op,
                rt_submit_openat(cx, 0, kvlog.o.path, O_WRONLY, 0, &kvlog.op));
    if (kvlog.r < 0) RT_RETURN(kvlog.r);
    kvlog.file = (rt_io)kvlog.r;
    for (;;) {
        RT_AWAIT(kvlog.r, poll_work(cx));
        if (kvlog.r < 0) RT_RETURN(kvlog.r);
        RT_YIELD(cx); /* all who are ready now shall be in it */
        take_batch();
        if (kvlog.batch.n > 0) {
            RT_AWAIT(kvlog.r, write_batch(cx, kvlog.o.policy == FSYNC_ALWAYS ? RWF_DSYNC : 0));
            if (kvlog.r < 0) RT_RETURN(kvlog.r);
            if (kvlog.o.policy == FSYNC_EVERYSEC && kvlog.sync_at == RT_NEVER)
                kvlog.sync_at = rt_now() + SECOND;
            say_done();
        } else if (kvlog.ending) {
            break;
        }
        if (rt_now() >= kvlog.sync_at) {
            RT_AWAIT_OP(kvlog.r, cx, kvlog.op, rt_submit_fdatasync(cx, kvlog.file, &kvlog.op));
            if (kvlog.r < 0) RT_RETURN(kvlog.r);
            kvlog.sync_at = RT_NEVER;
        }
        if (kvlog.child != 0 && rt_poll_process(cx, kvlog.child, &kvlog.child_end) == 0)
            RT_AWAIT(kvlog.r, finish_rewrite(cx));
        else if (kvlog.begins) begin_rewrite();
        if (kvlog.r < 0) RT_RETURN(kvlog.r);
    }
    if (kvlog.child != 0) rt_process_signal(kvlog.child, SIGKILL), forget_rewrite();
    RT_AWAIT_OP(kvlog.r, cx, kvlog.op, rt_submit_fdatasync(cx, kvlog.file, &kvlog.op));
    RT_END(kvlog.r);
}

int64_t log_init(void) {
    const int64_t r = rt_notify_new(&kvlog.wanted);
    return r < 0 ? r : rt_notify_new(&kvlog.progressed);
}

void log_free(void) {
    if (kvlog.fresh != NULL) remove(kvlog.fresh); /* of a rewrite that was not finished */
    free(kvlog.fresh);
    free(kvlog.folder);
    rt_timer_cancel(kvlog.timer);
    rt_notify_free(kvlog.wanted);
    rt_notify_free(kvlog.progressed);
    bytes_free(&kvlog.pending);
    bytes_free(&kvlog.batch);
    bytes_free(&kvlog.kept);
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
            fprintf(stderr, "kv_server: %s: at byte %zu: %s; the file was left as it is\n", path,
                    end, why);
            return false;
        }
    }
    if (end < n) {
        fprintf(stderr, "kv_server: %s: cut %zu bytes of a torn record\n", path, n - end);
        if (ftruncate(fd, (off_t)end) < 0 || fsync(fd) < 0) return bad(path, strerror(errno));
    }
    kvlog.written = kvlog.appended = kvlog.base = end;
    atomic_store(&kvlog.done, end);
    return true;
}

bool log_load(const struct log_options *o) {
    kvlog.o = *o;
    if (o->path == NULL) return true;
    const char *slash = strrchr(o->path, '/');
    if (asprintf(&kvlog.fresh, "%s.new", o->path) < 0 ||
        asprintf(&kvlog.folder, "%.*s", slash == NULL ? 1 : (int)(slash + 1 - o->path),
                 slash == NULL ? "." : o->path) < 0)
        return bad(o->path, strerror(errno));
    const int fd = open(o->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const int folder = open(kvlog.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && folder >= 0 && fsync(folder) == 0; /* it may be new */
    if (!good) bad(o->path, strerror(errno));
    good = good && load(fd, o->path);
    if (fd >= 0) close(fd);
    if (folder >= 0) close(folder);
    return good;
}
