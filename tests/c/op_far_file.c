/* Files of a server that takes its time, as those of FUSE and network file systems are: what is asked of it keeps no
 * worker waiting. The server is a child of ours, on FUSE.
 */
#include "mounts.h"
#include "op.h"
#include "soon.h"

#include <linux/fuse.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

enum { ROOT = 1, FILE_NODE = 2, FILE_SIZE = 1 << 20, LARGEST = 1 << 18 };

/* What we and the server both see. */
static struct far {
    atomic_int attributes; /* how often it was asked for those of the file */
    atomic_uint held;      /* the kind of request that waits to be let go */
    atomic_bool asked;     /* such a one came */
    atomic_bool impatient; /* and was not let go in time */
    gate go;
} *far;

/* ---- the server ---- */

static void answer(int fd, const struct fuse_in_header *to, int error, const void *data, size_t size) {
    struct fuse_out_header head = {(uint32_t)(sizeof head + size), -error, to->unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)(uintptr_t)data, size}};
    /* Who asked may be gone. */
    if (writev(fd, parts, 2) < 0 && errno != ENOENT) _exit(1);
}

static struct fuse_attr attributes_of(uint64_t node) {
    bool root = node == ROOT;
    return (struct fuse_attr){
        .ino = node,
        .mode = root ? S_IFDIR | 0755 : S_IFREG | 0666,
        .nlink = 1,
        .size = root ? 0 : FILE_SIZE,
        .blksize = 4096,
    };
}

/* What a server says that hangs no longer than the test has patience. */
static int wait_to_be_let_go(uint32_t kind) {
    if (kind != atomic_load(&far->held)) return 0;
    atomic_store(&far->held, 0);
    atomic_store(&far->asked, true);
    if (gate_wait_for(&far->go, soon_ns)) return 0;
    atomic_store(&far->impatient, true);
    return EIO;
}

/* Names stay good for long, attributes not at all. */
static void serve_one(int fd, const struct fuse_in_header *asked) {
    static const char zeros[LARGEST];
    const void *in = asked + 1;
    int error = wait_to_be_let_go(asked->opcode);
    if (error != 0) {
        answer(fd, asked, error, NULL, 0);
        return;
    }
    switch (asked->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out out = {.major = 7, .minor = 31, .max_write = 4096};
        answer(fd, asked, 0, &out, sizeof out);
        return;
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out out = {.nodeid = FILE_NODE, .entry_valid = 1000, .attr = attributes_of(FILE_NODE)};
        answer(fd, asked, 0, &out, sizeof out);
        return;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr = attributes_of(asked->nodeid)};
        if (asked->nodeid == FILE_NODE) atomic_fetch_add(&far->attributes, 1);
        answer(fd, asked, 0, &out, sizeof out);
        return;
    }
    case FUSE_OPEN: {
        struct fuse_open_out out = {.fh = 1};
        answer(fd, asked, 0, &out, sizeof out);
        return;
    }
    case FUSE_READ: {
        const struct fuse_read_in *read = in;
        answer(fd, asked, 0, zeros, read->size);
        return;
    }
    case FUSE_WRITE: {
        const struct fuse_write_in *write = in;
        struct fuse_write_out out = {.size = write->size};
        answer(fd, asked, 0, &out, sizeof out);
        return;
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: return;
    case FUSE_FLUSH:
    case FUSE_RELEASE: answer(fd, asked, 0, NULL, 0); return;
    case FUSE_DESTROY: answer(fd, asked, 0, NULL, 0); _exit(0);
    default: answer(fd, asked, ENOSYS, NULL, 0);
    }
}

static _Noreturn void serve_files(int fd) {
    static union {
        struct fuse_in_header head;
        char bytes[LARGEST];
    } in;
    for (;;) {
        ssize_t n = read(fd, &in, sizeof in);
        if (n >= 0) serve_one(fd, &in.head);
        else if (errno != EINTR && errno != ENOENT) _exit(0);
    }
}

/* ---- its files ---- */

static pid_t server;

static _Noreturn void far_skip(const char *why) {
    scratch_remove();
    SKIP(why);
}

static void far_mount(void) {
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) far_skip("there is no FUSE here");
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, getuid(), getgid());
    if (mount("far", scratch_path, "fuse", MS_NOSUID | MS_NODEV, options) != 0) far_skip("FUSE cannot be mounted here");
    far = mmap(NULL, sizeof *far, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(far != MAP_FAILED);
    CHECK_SYS(sem_init(&far->go.sem, 1, 0));
    server = (pid_t)CHECK_SYS(fork());
    if (server == 0) serve_files(fd);
    close(fd);
}

static void far_unmount(void) {
    /* A read that was given up has the file still. */
    CHECK_SYS(umount2(scratch_path, MNT_FORCE | MNT_DETACH));
    int status;
    CHECK_EQ(waitpid(server, &status, 0), server);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    munmap(far, sizeof *far);
}

static const char *far_name(void) {
    static char name[sizeof scratch_path + 8];
    snprintf(name, sizeof name, "%s/file", scratch_path);
    return name;
}

static int far_fd(int flags) { return (int)CHECK_SYS(open(far_name(), flags | O_CLOEXEC)); }

/* ---- what asks nobody ---- */

static int64_t registering_and_closing_asks_for_no_attributes(rt_cx *cx, void *state) {
    struct steps *s = state;
    struct stat st;
    RT_BEGIN(&s->frame);
    OP(s, rt_submit_openat(cx, 0, far_name(), O_RDONLY, 0, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    CHECK_EQ(rt_close(s->io), 0);

    OP(s, rt_submit_openat(cx, 0, far_name(), O_RDONLY, 0, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    OP_EQ(s, 0, rt_submit_close(cx, s->io, &s->op));

    s->io = io_of(rt_cx_runtime(cx), far_fd(O_RDONLY), 0);
    CHECK_EQ(rt_close(s->io), 0);

    s->near = far_fd(O_RDONLY);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_deregister(s->io), 0);
    CHECK_EQ(atomic_load(&far->attributes), 0);

    /* They are asked for where somebody wants them. */
    CHECK_SYS(fstat(s->near, &st));
    CHECK_EQ(atomic_exchange(&far->attributes, 0), 1);
    close(s->near);
    RT_END(0);
}

/* ---- what waits for the server, and for nothing else ---- */

/* The next request of this kind is not answered before let_go. */
static void hold(uint32_t kind) {
    atomic_store(&far->asked, false);
    atomic_store(&far->held, kind);
}

/* In a coroutine over `s`: submits, and lets the server answer when it was asked, for which the worker must go on. */
#define FAR(s, kind, ...)                               \
    do {                                                \
        hold(kind);                                     \
        CHECK_EQ(__VA_ARGS__, 0);                       \
        while (!atomic_load(&far->asked)) RT_YIELD(cx); \
        gate_open(&far->go);                            \
        CHECK(!atomic_load(&far->impatient));           \
        OP_TAKE(s);                                     \
    } while (0)

#define FAR_EQ(s, expected, kind, ...)  \
    do {                                \
        FAR(s, kind, __VA_ARGS__);      \
        CHECK_EQ((s)->got, (expected)); \
    } while (0)

static int64_t an_open_waits_alone(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    /* Now its name is known here. */
    close(far_fd(O_RDONLY));
    FAR(s, FUSE_OPEN, rt_submit_openat(cx, 0, far_name(), O_RDONLY, 0, &s->op));
    CHECK_EQ(rt_close((rt_io)CHECK_OK(s->got)), 0);
    RT_END(0);
}

/* How the file was opened, which decides what the kernel thinks of it. */
static int far_flags;

static int64_t reads_wait_alone(rt_cx *cx, void *state) {
    struct steps *s = state;
    struct iovec part = {s->buf, sizeof s->buf};
    RT_BEGIN(&s->frame);
    OP(s, rt_submit_openat(cx, 0, far_name(), O_RDONLY | far_flags, 0, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    FAR_EQ(s, 4096, FUSE_READ, rt_submit_read(cx, s->io, s->buf, 4096, 0, &s->op));
    FAR_EQ(s, 4096, FUSE_READ, rt_submit_readv(cx, s->io, &part, 1, FILE_SIZE / 2, &s->op));
    CHECK_EQ(rt_close(s->io), 0);

    /* One that was opened by others. */
    s->io = io_of(rt_cx_runtime(cx), far_fd(O_RDONLY | far_flags), 0);
    CHECK_EQ(lseek((int)rt_io_fd(s->io), FILE_SIZE / 4, SEEK_SET), FILE_SIZE / 4);
    FAR_EQ(s, 4096, FUSE_READ, rt_submit_read(cx, s->io, s->buf, 4096, RT_OFFSET_CURRENT, &s->op));
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static int64_t writes_wait_alone(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    OP(s, rt_submit_openat(cx, 0, far_name(), O_WRONLY | far_flags, 0, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    FAR_EQ(s, 4096, FUSE_WRITE, rt_submit_write(cx, s->io, s->buf, 4096, 0, 0, &s->op));
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void opened_with(int flags, rt_poll_fn body) {
    far_flags = flags;
    op_body = body;
    op_play();
}

static void a_read_waits_alone(void) { opened_with(0, reads_wait_alone); }
static void a_read_with_nonblock_waits_alone(void) { opened_with(O_NONBLOCK, reads_wait_alone); }
static void a_write_waits_alone(void) { opened_with(0, writes_wait_alone); }
static void a_write_around_the_cache_waits_alone(void) { opened_with(O_DIRECT, writes_wait_alone); }

/* ---- what waits for a server that hangs ---- */

static int64_t read_for_ever(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), far_fd(O_RDONLY), 0);
    OP(s, rt_submit_read(cx, s->io, s->buf, 4096, 0, &s->op));
    RT_END(0);
}

static bool server_was_asked(void *arg) {
    (void)arg;
    return atomic_load(&far->asked);
}

/* AddressSanitizer's: what is made between these is no leak, nor what only that leads to. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void a_server_that_hangs_keeps_no_runtime(void) {
    static struct steps s;
    /* On a ring its worker has to be left behind. */
    if (__lsan_disable != NULL) __lsan_disable();
    rt_runtime rt = test_runtime();
    if (__lsan_enable != NULL) __lsan_enable();
    rt_task task;
    hold(FUSE_READ);
    CHECK_EQ(rt_spawn(rt, read_for_ever, &s, NULL, &task), 0);
    drive_until(rt, server_was_asked, NULL);
    CHECK_EQ(rt_shutdown(rt, 0), 1);
    CHECK_EQ(metrics(rt).tasks_abandoned, 1);
    CHECK_EQ(rt_free(rt), 0);
    CHECK(!atomic_load(&far->impatient));
    gate_open(&far->go);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    mounts_of_our_own();
    scratch_make();
    far_mount();
    OP_CASE(registering_and_closing_asks_for_no_attributes);
    OP_CASE(an_open_waits_alone);
    CASE(a_read_waits_alone);
    CASE(a_read_with_nonblock_waits_alone);
    CASE(a_write_waits_alone);
    CASE(a_write_around_the_cache_waits_alone);
    CASE_LEAVES(a_server_that_hangs_keeps_no_runtime, "a task that was given up, and its read");
    far_unmount();
    scratch_remove();
    return test_end();
}
