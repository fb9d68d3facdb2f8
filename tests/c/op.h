/* What the tests of operations share: cases that are coroutines, operations that stay in flight,
 * memory that tells who touched it too late, and a directory for files.
 */
#ifndef ASYNCIO_TESTS_OP_H
#define ASYNCIO_TESTS_OP_H

#include <asyncio_await.h>

#include "ready.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/un.h>

/* ---- the end: nothing may be in flight ---- */

static inline void op_runtime_free(rt_runtime rt) {
    settle(rt);
    while (metrics(rt).ops_live != 0) {
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else sched_yield();
    }
    CHECK_EQ(metrics(rt).ops_abandoned, 0);
    CHECK_EQ(rt_free(rt), 0);
}

/* ---- cases that are coroutines ---- */

/* The state of one, zero when it starts. What a case has no use for stays zero. */
struct steps {
    rt_frame frame;
    rt_op op, other;
    int64_t got;
    rt_io io, peer, dir;
    int near, far, i;
    size_t n;
    struct stat was;
    struct statx x;
    char buf[4096];
};

static rt_poll_fn op_body;

static inline void op_play(void) {
    static struct steps steps;
    memset(&steps, 0, sizeof steps);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, op_body, &steps), 0);
    op_runtime_free(rt);
}

/* The coroutine, as the only task of a runtime of its own. */
#define OP_CASE(body) (op_body = (body), test_run_case(#body, op_play, NULL, NULL))

/* In a coroutine over `s`: awaits the outcome of s->op, after which the handle is spent. */
#define OP_TAKE(s)                                        \
    do {                                                  \
        RT_AWAIT((s)->got, rt_poll_op(cx, (s)->op));      \
        CHECK_EQ(rt_cancel((s)->op), -EBADF);             \
    } while (0)

/* Submits to s->op, and awaits the outcome. */
#define OP(s, ...)                 \
    do {                           \
        CHECK_EQ(__VA_ARGS__, 0);  \
        CHECK((s)->op != 0);       \
        OP_TAKE(s);                \
    } while (0)

#define OP_EQ(s, expected, ...)         \
    do {                                \
        OP(s, __VA_ARGS__);             \
        CHECK_EQ((s)->got, (expected)); \
    } while (0)

#define OP_TAKE_EQ(s, expected)         \
    do {                                \
        OP_TAKE(s);                     \
        CHECK_EQ((s)->got, (expected)); \
    } while (0)

/* For what cannot be: the submission may say so already, else the outcome does. */
#define OP_FAILS(s, error, ...)        \
    do {                               \
        (s)->op = 77;                  \
        (s)->got = (__VA_ARGS__);      \
        if ((s)->got == 0) OP_TAKE(s); \
        else CHECK_EQ((s)->op, 0);     \
        CHECK_EQ((s)->got, (error));   \
    } while (0)

/* Lets the driver see what was submitted, and everybody else run. */
#define OP_TURNS(s, turns) \
    for ((s)->i = 0; (s)->i < (turns); (s)->i++) RT_YIELD(cx)

static inline void steps_pair(rt_cx *cx, struct steps *s, void (*connect_ends)(int[2])) {
    int ends[2];
    connect_ends(ends);
    s->near = ends[0];
    s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
}

/* An end of -1, or a handle of 0, is gone already. */
static inline void steps_close(struct steps *s) {
    CHECK_EQ(rt_close(s->io), 0);
    CHECK_EQ(rt_close(s->peer), 0);
    CHECK_EQ(rt_close(s->dir), 0);
    if (s->far > 0) close(s->far);
}

/* ---- operations that stay in flight ---- */

enum stuck_kind {
    STUCK_RECV,
    STUCK_RECVMSG,
    STUCK_READ,
    STUCK_READV,
    STUCK_ACCEPT,
    STUCK_SPLICE,
    STUCK_SEND,
    STUCK_SENDMSG,
    STUCK_WRITE,
    STUCK_WRITEV,
    STUCK_CONNECT,
    STUCK_KINDS
};

enum { STUCK_BYTES = 1000 };

/* What one of them works on. Nothing happens at `far`, so it does not end by itself. */
struct stuck {
    enum stuck_kind kind;
    int near, far, spare[2];
    rt_io io, to; /* `to`: of a splice */
    unsigned char *data;
    struct iovec iov;
    struct msghdr msg;
};

static inline bool stuck_sends(enum stuck_kind kind) {
    return kind >= STUCK_SEND && kind <= STUCK_WRITEV;
}

/* A listener whose queue is full, so that connects to it go on for a second at least. */
static inline void stuck_listener(struct stuck *k) {
    k->far = net_full(&k->spare[0]);
    k->near = net_socket(SOCK_STREAM);
}

static inline void stuck_ends(struct stuck *k) {
    int ends[2] = {-1, -1};
    switch (k->kind) {
    case STUCK_READ:
    case STUCK_READV:
    case STUCK_SPLICE: net_pipe(ends); break;
    case STUCK_WRITE:
    case STUCK_WRITEV: net_pipe_writer_first(ends); break;
    case STUCK_ACCEPT: ends[0] = net_listen(8); break;
    default: net_unix_pair(ends);
    }
    k->near = ends[0];
    k->far = ends[1];
    if (stuck_sends(k->kind)) net_stuff(k->near);
}

/* `data` has STUCK_BYTES, and is the library's while the operation is in flight. */
static inline void stuck_open(struct stuck *k, rt_runtime rt, enum stuck_kind kind, void *data) {
    *k = (struct stuck){.kind = kind, .spare = {-1, -1}, .data = data};
    if (kind == STUCK_CONNECT) stuck_listener(k);
    else stuck_ends(k);
    k->io = io_of(rt, k->near, 0);
    if (kind == STUCK_SPLICE) {
        net_unix_pair(k->spare);
        k->to = io_of(rt, k->spare[1], 0);
    }
}

static inline int64_t stuck_submit(struct stuck *k, rt_cx *cx, rt_op *out) {
    struct sockaddr_in name;
    k->iov = (struct iovec){k->data, STUCK_BYTES};
    k->msg = (struct msghdr){.msg_iov = &k->iov, .msg_iovlen = 1};
    switch (k->kind) {
    case STUCK_RECV: return rt_submit_recv(cx, k->io, k->data, STUCK_BYTES, 0, out);
    case STUCK_RECVMSG: return rt_submit_recvmsg(cx, k->io, &k->msg, 0, out);
    case STUCK_READ:
        return rt_submit_read(cx, k->io, k->data, STUCK_BYTES, RT_OFFSET_CURRENT, out);
    case STUCK_READV: return rt_submit_readv(cx, k->io, &k->iov, 1, RT_OFFSET_CURRENT, out);
    case STUCK_ACCEPT: return rt_submit_accept(cx, k->io, out);
    case STUCK_SPLICE:
        return rt_submit_splice(cx, k->io, RT_OFFSET_CURRENT, k->to, RT_OFFSET_CURRENT,
                                STUCK_BYTES, 0, out);
    case STUCK_SEND: return rt_submit_send(cx, k->io, k->data, STUCK_BYTES, 0, out);
    case STUCK_SENDMSG: return rt_submit_sendmsg(cx, k->io, &k->msg, 0, out);
    case STUCK_WRITE:
        return rt_submit_write(cx, k->io, k->data, STUCK_BYTES, RT_OFFSET_CURRENT, 0, out);
    case STUCK_WRITEV: return rt_submit_writev(cx, k->io, &k->iov, 1, RT_OFFSET_CURRENT, 0, out);
    default:
        name = net_name(k->far);
        return rt_submit_connect(cx, k->io, (struct sockaddr *)&name, sizeof name, out);
    }
}

/* `io` may be closed already, and then set to 0. */
static inline void stuck_close(struct stuck *k) {
    CHECK_EQ(rt_close(k->io), 0);
    CHECK_EQ(rt_close(k->to), 0);
    if (k->far >= 0) close(k->far);
    if (k->spare[0] >= 0) close(k->spare[0]);
}

/* ---- every submission there is ---- */

enum op_call {
    CALL_ACCEPT,
    CALL_CONNECT,
    CALL_RECV,
    CALL_SEND,
    CALL_RECVMSG,
    CALL_SENDMSG,
    CALL_READ,
    CALL_WRITE,
    CALL_READV,
    CALL_WRITEV,
    CALL_SPLICE,
    TRANSFERS, /* those above */
    CALL_SHUTDOWN = TRANSFERS,
    CALL_FSYNC,
    CALL_FDATASYNC,
    CALL_FALLOCATE,
    CALL_FTRUNCATE,
    CALL_CLOSE,
    IO_CALLS, /* those above: they need a descriptor */
    CALL_OPENAT = IO_CALLS,
    CALL_STATX,
    CALL_UNLINKAT,
    CALL_RENAMEAT,
    CALL_MKDIRAT,
    CALLS
};

/* With arguments that are good, apart from `cx`, `io` and `out` perhaps. */
static inline int64_t op_submit(enum op_call call, rt_cx *cx, rt_io io, rt_op *out) {
    static char buf[16];
    static struct iovec iov = {buf, sizeof buf};
    static struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    static struct statx x;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const uint64_t here = RT_OFFSET_CURRENT;
    switch (call) {
    case CALL_ACCEPT: return rt_submit_accept(cx, io, out);
    case CALL_CONNECT:
        return rt_submit_connect(cx, io, (struct sockaddr *)&name, sizeof name, out);
    case CALL_RECV: return rt_submit_recv(cx, io, buf, sizeof buf, 0, out);
    case CALL_SEND: return rt_submit_send(cx, io, buf, sizeof buf, 0, out);
    case CALL_RECVMSG: return rt_submit_recvmsg(cx, io, &msg, 0, out);
    case CALL_SENDMSG: return rt_submit_sendmsg(cx, io, &msg, 0, out);
    case CALL_READ: return rt_submit_read(cx, io, buf, sizeof buf, here, out);
    case CALL_WRITE: return rt_submit_write(cx, io, buf, sizeof buf, here, 0, out);
    case CALL_READV: return rt_submit_readv(cx, io, &iov, 1, here, out);
    case CALL_WRITEV: return rt_submit_writev(cx, io, &iov, 1, here, 0, out);
    case CALL_SPLICE: return rt_submit_splice(cx, io, here, io, here, 1, 0, out);
    case CALL_SHUTDOWN: return rt_submit_shutdown(cx, io, SHUT_WR, out);
    case CALL_FSYNC: return rt_submit_fsync(cx, io, out);
    case CALL_FDATASYNC: return rt_submit_fdatasync(cx, io, out);
    case CALL_FALLOCATE: return rt_submit_fallocate(cx, io, 0, 0, 1, out);
    case CALL_FTRUNCATE: return rt_submit_ftruncate(cx, io, 0, out);
    case CALL_CLOSE: return rt_submit_close(cx, io, out);
    case CALL_OPENAT: return rt_submit_openat(cx, io, "none", O_RDONLY, 0, out);
    case CALL_STATX: return rt_submit_statx(cx, io, "none", 0, STATX_SIZE, &x, out);
    case CALL_UNLINKAT: return rt_submit_unlinkat(cx, io, "none", 0, out);
    case CALL_RENAMEAT: return rt_submit_renameat(cx, io, "none", io, "other", 0, out);
    default: return rt_submit_mkdirat(cx, io, "none/none", 0700, out);
    }
}

/* It must fail like this, at once, and leave no handle. */
static inline void op_refused(enum op_call call, rt_cx *cx, rt_io io, int64_t error) {
    rt_op out = 77;
    CHECK_EQ(op_submit(call, cx, io, &out), error);
    CHECK_EQ(out, 0);
}

/* ---- memory that tells who touched it too late ---- */

/* Pages go round in a long queue. While one is free it holds a scribble that must be there when it
 * is taken again; every second one cannot be touched at all. (Neither valgrind nor the sanitizers
 * see the kernel write.) */
enum { PAGES = 1024, PAGE_ROOM = 65536, PAGE_BYTES = 4096, SCRIBBLE = 0xdd };

struct pages {
    pthread_mutex_t lock;
    unsigned char *base;
    int queue[PAGES];
    unsigned head, tail;
};
static struct pages pages = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline bool page_vanishes(int page) { return page % 2 != 0; }
static inline unsigned char *page_at(int page) { return pages.base + (size_t)page * PAGE_ROOM; }

static inline void page_access(int page, int protection) {
    CHECK_SYS(mprotect(page_at(page), PAGE_ROOM, protection));
}

static inline void pages_open(void) {
    void *base = mmap(NULL, (size_t)PAGES * PAGE_ROOM, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(base != MAP_FAILED);
    pages.base = base;
    for (int page = 0; page < PAGES; page++) {
        memset(page_at(page), SCRIBBLE, PAGE_BYTES);
        if (page_vanishes(page)) page_access(page, PROT_NONE);
        pages.queue[page] = page;
    }
    pages.head = 0;
    pages.tail = PAGES;
}

static inline void page_is_untouched(int page) {
    if (page_vanishes(page)) page_access(page, PROT_READ | PROT_WRITE);
    for (int i = 0; i < PAGE_BYTES; i++) CHECK_EQ(page_at(page)[i], SCRIBBLE);
}

static inline void *page_take(void) {
    pthread_mutex_lock(&pages.lock);
    CHECK(pages.head != pages.tail);
    int page = pages.queue[pages.head++ % PAGES];
    pthread_mutex_unlock(&pages.lock);
    page_is_untouched(page);
    return page_at(page);
}

/* From now on nobody may touch it. NULL does nothing. */
static inline void page_give(void *data) {
    if (data == NULL) return;
    int page = (int)(((unsigned char *)data - pages.base) / PAGE_ROOM);
    memset(data, SCRIBBLE, PAGE_BYTES);
    if (page_vanishes(page)) page_access(page, PROT_NONE);
    pthread_mutex_lock(&pages.lock);
    pages.queue[pages.tail++ % PAGES] = page;
    pthread_mutex_unlock(&pages.lock);
}

/* All were given back, and nobody wrote since. */
static inline void pages_close(void) {
    CHECK_EQ(pages.tail - pages.head, PAGES);
    for (int page = 0; page < PAGES; page++) page_is_untouched(page);
    CHECK_SYS(munmap(pages.base, (size_t)PAGES * PAGE_ROOM));
}

/* ---- a directory ---- */

static char scratch_path[256];

static inline void scratch_make(void) {
    temp_template(scratch_path, sizeof scratch_path);
    CHECK(mkdtemp(scratch_path) != NULL);
}

static inline int scratch_fd(void) {
    return (int)CHECK_SYS(open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* A new file, empty, that has no name any more. */
static inline int scratch_file(void) {
    static _Atomic int files;
    char name[sizeof scratch_path + 16];
    snprintf(name, sizeof name, "%s/%d", scratch_path, files++);
    /* Opened by the call that ThreadSanitizer hears of: mkostemp is none, and a number that the kernel closed for a ring would
     * still be the thread's that had it before. */
    int fd = (int)CHECK_SYS(open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    CHECK_SYS(unlink(name));
    return fd;
}

/* It must be empty by now. */
static inline void scratch_remove(void) { CHECK_SYS(rmdir(scratch_path)); }

#endif
