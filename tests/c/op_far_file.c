/* Files of a server that takes its time, as those of FUSE and network file systems are: what is asked of it keeps no
 * worker waiting. The server is a child of ours, on FUSE.
 */
#include "op.h"
#include "soon.h"

#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

enum { ROOT = 1, FILE_NODE = 2, FILE_SIZE = 1 << 20, LARGEST = 1 << 18 };

/* What we and the server both see. */
static struct far {
    atomic_int attributes; /* how often it was asked for those of the file */
    atomic_uint held;      /* the kind of request that waits to be let go */
    atomic_bool asked;     /* such a one came */
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
    return gate_wait_for(&far->go, soon_ns) ? 0 : EIO;
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

static void say(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) SKIP("a namespace of users cannot be had here");
    close(fd);
}

/* Mounts are made where nobody else sees them. */
static void have_mounts(uid_t user, gid_t group) {
    if (unshare(CLONE_NEWNS) == 0) return;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) SKIP("a namespace of mounts cannot be had here");
    char map[64];
    snprintf(map, sizeof map, "%u %u 1", user, user);
    say("/proc/self/uid_map", map);
    say("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", group, group);
    say("/proc/self/gid_map", map);
}

static pid_t server;

static void far_mount(void) {
    uid_t user = getuid();
    gid_t group = getgid();
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) SKIP("there is no FUSE here");
    have_mounts(user, group);
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, user, group);
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("far", scratch_path, "fuse", MS_NOSUID | MS_NODEV, options) != 0)
        SKIP("FUSE cannot be mounted here");
    far = mmap(NULL, sizeof *far, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(far != MAP_FAILED);
    CHECK_SYS(sem_init(&far->go.sem, 1, 0));
    server = (pid_t)CHECK_SYS(fork());
    if (server == 0) serve_files(fd);
    close(fd);
}

static void far_unmount(void) {
    CHECK_SYS(umount2(scratch_path, MNT_DETACH));
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

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    scratch_make();
    far_mount();
    OP_CASE(registering_and_closing_asks_for_no_attributes);
    far_unmount();
    scratch_remove();
    return test_end();
}
