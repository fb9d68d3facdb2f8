/* once: the engines and the flavours are the test's own.
 * Memory and threads that the system refuses: RLIMIT_MEMLOCK of nothing, mappings that fail at every
 * step of making a runtime, clones that fail. The engine that was asked for works or says why not,
 * AUTO works, and nothing is left behind. */
#include "child.h"
#include "multi.h"
#include "nouns.h"

#include <linux/capability.h>

/* ---- filters that count ---- */

enum { LARGE = 64 * 1024 };

/* From now on mappings of LARGE bytes or more, or of a descriptor (those of a ring), fail. */
static void refuse_mappings(bool of_descriptors) {
    struct sock_filter large[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0, 2, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, LARGE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_filter descriptors[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x80000000, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof large / sizeof large[0], .filter = large};
    if (of_descriptors)
        filter = (struct sock_fprog){sizeof descriptors / sizeof descriptors[0], descriptors};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        SKIP("seccomp filters cannot be had here");
}

/* ---- what works all the same ---- */

static char why[512], description[1024];

static int64_t make(uint32_t engine, uint32_t flavour, rt_runtime *out) {
    rt_config config;
    CHECK_OK(rt_config_init(&config, sizeof config));
    config.engine = engine;
    config.flavour = flavour;
    config.workers = flavour == RT_CURRENT_THREAD ? 0 : 2;
    memset(why, 0, sizeof why);
    return rt_new(&config, out, why, sizeof why);
}

struct work {
    rt_frame frame;
    int far;
    rt_io io, file;
    rt_op op;
    rt_buf buf;
    int64_t got;
    char data[64];
};

/* An operation that waits, one that receives into the library's buffers, and a file. Those that need
 * memory may say so. */
static int64_t use(rt_cx *cx, void *state) {
    struct work *w = state;
    RT_BEGIN(&w->frame);
    CHECK_EQ(rt_submit_recv(cx, w->io, w->data, sizeof w->data, 0, &w->op), 0);
    CHECK_EQ(rt_poll_op(cx, w->op), RT_PENDING);
    net_put(w->far, "works", 5);
    RT_AWAIT(w->got, rt_poll_op(cx, w->op));
    CHECK_EQ(w->got, 5);
    CHECK_EQ(rt_submit_recv_multi(cx, w->io, &w->op), 0);
    net_put(w->far, "again", 5);
    RT_AWAIT(w->got, rt_poll_recv_next(cx, w->op, &w->buf));
    if (w->got == 5) {
        CHECK(memcmp(w->buf.ptr, "again", 5) == 0);
        CHECK_EQ(rt_buf_release(w->buf.lease), 0);
        CHECK_EQ(rt_cancel(w->op), 0); /* its end need not be waited for */
    } else {
        CHECK(w->got == -ENOMEM || w->got == -ENOBUFS);
    }
    CHECK_EQ(rt_submit_openat(cx, 0, "/dev/null", O_RDONLY, 0, &w->op), 0);
    RT_AWAIT(w->got, rt_poll_op(cx, w->op));
    if (w->got > 0) CHECK_EQ(rt_close((rt_io)w->got), 0);
    else CHECK(w->got == -EAGAIN || w->got == -ENOMEM || w->got == -EPERM); /* no thread */
    RT_END(0);
}

static void works(rt_runtime rt) {
    static struct work w;
    memset(&w, 0, sizeof w);
    int ends[2];
    net_unix_pair(ends);
    w.far = ends[1];
    w.io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_block_on(rt, use, &w), 0);
    CHECK_EQ(rt_close(w.io), 0);
    close(w.far);
}

/* With every engine and both flavours, more than once: a runtime that works, or an error with a
 * sentence, and nothing is left of it. AUTO must work if epoll does. */
static void try_all(void) {
    bool epoll_works = false;
    const uint32_t engines[] = {RT_ENGINE_EPOLL, RT_ENGINE_URING, RT_ENGINE_AUTO};
    for (int i = 0; i < 12; i++) {
        uint32_t engine = engines[i / 2 % 3];
        int before = open_fds();
        rt_runtime rt = 1;
        int64_t r = make(engine, i % 2 == 0 ? RT_CURRENT_THREAD : RT_MULTI_THREAD, &rt);
        if (r == 0) {
            CHECK(rt_describe(rt, description, sizeof description) > 0);
            if (engine == RT_ENGINE_URING) CHECK(strstr(description, "engine io_uring") != NULL);
            if (engine == RT_ENGINE_EPOLL) epoll_works = true;
            works(rt);
            multi_runtime_free(rt);
        } else {
            CHECK(r == -ENOMEM || r == -EAGAIN || r == -EPERM);
            CHECK_EQ(rt, 0);
            CHECK(strchr(why, ' ') != NULL);
            if (i % 2 == 0) CHECK(engine != RT_ENGINE_AUTO || !epoll_works);
        }
        CHECK_EQ(open_fds(), before);
    }
}

static void must_work_with(uint32_t engine) {
    rt_runtime rt = 0;
    CHECK_EQ(make(engine, RT_CURRENT_THREAD, &rt), 0);
    works(rt);
    multi_runtime_free(rt);
}

/* ---- no memory may be locked ---- */

/* CAP_IPC_LOCK would be above the limit. */
static void without_locked_memory(void) {
    struct rlimit none = {0, 0};
    CHECK_SYS(setrlimit(RLIMIT_MEMLOCK, &none));
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    CHECK_SYS(syscall(SYS_capget, &header, data));
    for (int i = 0; i < 2; i++) data[i] = (struct __user_cap_data_struct){0};
    CHECK_SYS(syscall(SYS_capset, &header, data));
    try_all();
    must_work_with(RT_ENGINE_AUTO);
}
static void no_memory_may_be_locked(void) { in_child(without_locked_memory); }

/* ---- mappings are refused ---- */

static void without_rings(void) {
    refuse_mappings(true);
    try_all();
    rt_runtime rt = 1;
    CHECK_EQ(make(RT_ENGINE_URING, RT_CURRENT_THREAD, &rt), -ENOMEM);
    CHECK(strstr(why, "io_uring") != NULL);
    must_work_with(RT_ENGINE_AUTO);
    CHECK_EQ(make(RT_ENGINE_AUTO, RT_MULTI_THREAD, &rt), 0);
    CHECK(rt_describe(rt, description, sizeof description) > 0);
    CHECK(strstr(description, "engine epoll (no io_uring: ") != NULL);
    test_runtime_free(rt);
}
static void rings_cannot_be_mapped(void) { in_child(without_rings); }

/* No stacks for threads, no buffers. What there is to be had is used up by a runtime before. */
static void without_large_mappings(void) {
    must_work_with(RT_ENGINE_EPOLL);
    refuse_mappings(false);
    try_all();
    must_work_with(RT_ENGINE_EPOLL);
}
static void nothing_large_can_be_mapped(void) { in_child(without_large_mappings); }

/* The address space ends at every step of the way in turn. */
static size_t mapped_now(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    CHECK(f != NULL);
    unsigned long pages = 0;
    CHECK_EQ(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    return pages * 4096;
}

static void in_narrow_space(void) {
    must_work_with(RT_ENGINE_EPOLL); /* code and tables are there */
    size_t now = mapped_now();
    for (size_t more = 256 << 10; more <= 64u << 20; more *= 2) {
        struct rlimit room = {now + more, RLIM_INFINITY};
        CHECK_SYS(setrlimit(RLIMIT_AS, &room));
        for (uint32_t engine = RT_ENGINE_EPOLL; engine <= RT_ENGINE_URING; engine++) {
            rt_runtime rt = 0;
            int64_t r = make(engine, RT_MULTI_THREAD, &rt);
            CHECK(r == 0 || r == -ENOMEM || r == -EAGAIN || r == -EPERM);
            if (r == 0) works(rt);
            else CHECK(strchr(why, ' ') != NULL);
            if (r == 0) multi_runtime_free(rt);
        }
    }
    struct rlimit room = {RLIM_INFINITY, RLIM_INFINITY};
    CHECK_SYS(setrlimit(RLIMIT_AS, &room));
    must_work_with(RT_ENGINE_EPOLL);
}
static void the_address_space_ends(void) { in_child(in_narrow_space); }

/* A read for which no buffer can be mapped says so, and what it would have read is there for the next. */
static struct {
    rt_frame frame;
    rt_io io;
    int far;
    rt_buf buf;
    int64_t got;
} wanting;

static int64_t read_in_want(rt_cx *cx, void *state) {
    const struct rlimit none = {mapped_now(), RLIM_INFINITY}, plenty = {RLIM_INFINITY, RLIM_INFINITY};
    (void)state;
    RT_BEGIN(&wanting.frame);
    net_put(wanting.far, "kept", 4);
    CHECK_SYS(setrlimit(RLIMIT_AS, &none));
    RT_AWAIT(wanting.got, rt_poll_read_buf(cx, wanting.io, &wanting.buf));
    CHECK_EQ(wanting.got, -ENOMEM);
    CHECK_EQ(wanting.buf.lease, 0);
    CHECK_SYS(setrlimit(RLIMIT_AS, &plenty));
    RT_AWAIT(wanting.got, rt_poll_read_buf(cx, wanting.io, &wanting.buf));
    CHECK_EQ(wanting.got, 4);
    CHECK(memcmp(wanting.buf.ptr, "kept", 4) == 0);
    CHECK_EQ(rt_buf_release(wanting.buf.lease), 0);
    CHECK_EQ(rt_close(wanting.io), 0);
    RT_END(0);
}

static void without_a_buffer(void) {
    rt_config config = test_config();
    config.workers = 1; /* another that still begins would map memory meanwhile, and give some back */
    config.buffer_count = 1; /* which is left to operations */
    config.buffer_size = 64 << 20;
    rt_runtime rt = test_runtime_with(&config);
    int ends[2];
    net_unix_pair(ends);
    wanting.io = io_of(rt, ends[0], RT_READABLE);
    wanting.far = ends[1];
    CHECK_EQ(rt_block_on(rt, read_in_want, NULL), 0);
    close(wanting.far);
    multi_runtime_free(rt);
}
static void a_read_finds_no_memory(void) { in_child(without_a_buffer); }

/* What the library is to copy may be more than there is room for. */

enum { PLENTY = 256 << 20, LITTLE = 8 << 20 };

static struct {
    rt_io io;
    int far;
    size_t stuffed;
} sending;

static int64_t flush_all(rt_cx *cx, void *state) {
    (void)state;
    return rt_poll_flush(cx, sending.io, 0);
}

static void open_sending(rt_runtime rt, bool full) {
    int ends[2];
    net_unix_pair(ends);
    sending.io = io_of(rt, ends[0], RT_READABLE);
    sending.far = ends[1];
    sending.stuffed = full ? net_stuff(ends[0]) : 0;
}

static void close_sending(void) {
    CHECK_EQ(rt_close(sending.io), 0);
    close(sending.far);
}

/* Nothing is taken of what finds the socket full, nor of what would be queued behind others. */
static void send_much(rt_runtime rt, const char *much) {
    char got[8] = "";
    open_sending(rt, true);
    CHECK_EQ(rt_send(sending.io, much, PLENTY), -ENOMEM);
    CHECK_EQ(rt_send(sending.io, "abc", 3), 3);
    CHECK_EQ(rt_send(sending.io, much, PLENTY), -ENOMEM);
    CHECK_EQ(rt_send(sending.io, "def", 3), 3);
    CHECK_EQ(net_drain(sending.far), sending.stuffed);
    CHECK_EQ(rt_block_on(rt, flush_all, NULL), 0);
    CHECK_EQ(net_get(sending.far, got, 6), 6);
    CHECK(memcmp(got, "abcdef", 6) == 0);
    close_sending();

    /* What the socket took is a part of it, so nothing may follow. */
    open_sending(rt, false);
    CHECK_EQ(rt_send(sending.io, much, PLENTY), -ENOMEM);
    CHECK_EQ(rt_send(sending.io, "abc", 3), -EPIPE);
    CHECK_EQ(rt_block_on(rt, flush_all, NULL), -ENOMEM);
    close_sending();
}

static void without_room_for_copies(void) {
    char *much = mmap(NULL, PLENTY, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(much != MAP_FAILED);
    rt_runtime rt = 0;
    if (make(test_engine, RT_CURRENT_THREAD, &rt) != 0 && test_engine == RT_ENGINE_URING) return; /* there are no rings */
    struct rlimit room = {mapped_now() + LITTLE, RLIM_INFINITY};
    CHECK_SYS(setrlimit(RLIMIT_AS, &room));
    rt_blob blob = 77;
    CHECK_EQ(rt_blob_new(much, PLENTY, &blob), -ENOMEM);
    CHECK_EQ(blob, 0);
    CHECK_EQ(rt_blob_new(much, 100, &blob), 0);
    CHECK_EQ(rt_blob_free(blob), 0);
    send_much(rt, much);
    multi_runtime_free(rt);
}

static void copies_find_no_memory(void) {
    for (test_engine = RT_ENGINE_EPOLL; test_engine <= RT_ENGINE_URING; test_engine++) in_child(without_room_for_copies);
    test_engine = RT_ENGINE_AUTO;
}

/* ---- tables cannot grow ---- */

enum { CROWD = 50000, FEW = 5 };

/* Watches take all places for tasks, or descriptors all of theirs, and then somebody connects. */
static struct crowd {
    rt_frame frame;
    char path[64];
    rt_watch watches[CROWD];
    rt_io ios[CROWD];
    int count, calls, drops, i;
    rt_op slots[FEW + 1];
    rt_io made[FEW + 1];
    int64_t r;
} crowd;

static void crowd_call(void *arg, int fd, uint32_t ready) {
    (void)arg;
    CHECK(fd == -1 && ready == 0);
    crowd.calls++;
}

static void crowd_drop(void *arg) {
    (void)arg;
    crowd.drops++;
}

static int64_t crowd_watch(rt_runtime rt, int fd, rt_watch *out) {
    *out = 77;
    int64_t r = rt_watch_open(rt, 0, fd, crowd_call, NULL, crowd_drop, out);
    if (r < 0) CHECK_EQ(*out, 0);
    return r;
}

static int64_t crowd_dial(rt_cx *cx, int i) {
    int64_t r = rt_poll_unix_connect(cx, &crowd.slots[i], crowd.path, NULL, &crowd.made[i]);
    if (r != RT_PENDING) CHECK_EQ(crowd.slots[i], 0);
    return r;
}

static int64_t out_of_tasks(rt_cx *cx, void *state) {
    struct crowd *c = state;
    const rt_runtime rt = rt_cx_runtime(cx);
    RT_BEGIN(&c->frame);
    while ((c->r = crowd_watch(rt, -1, &c->watches[c->count])) == 0) CHECK(++c->count < CROWD);
    CHECK_EQ(c->r, -ENOMEM);
    CHECK(c->count > FEW);
    CHECK_EQ(c->drops, 0);
    for (int i = 0; i < c->count; i++)
        CHECK_EQ(rt_watch_at(c->watches[i], rt_now() + (uint64_t)(i % 4) * 1000000), 0);
    while (c->calls < c->count) RT_YIELD(cx);
    for (; c->i < FEW; c->i++) CHECK_EQ(rt_watch_close(c->watches[--c->count]), 0);
    while (c->drops < FEW) RT_YIELD(cx);
    for (int i = 0; i < FEW; i++) CHECK_EQ(crowd_dial(cx, i), RT_PENDING);
    CHECK_EQ(crowd_dial(cx, FEW), -ENOMEM);
    CHECK_EQ(metrics(rt).ops_live, FEW); /* what was begun for it is gone */
    for (c->i = 0; c->i <= FEW; c->i++) { /* one by one there is room for the last, too */
        RT_AWAIT(c->r, crowd_dial(cx, c->i));
        CHECK_EQ(c->r, 0);
        CHECK_EQ(rt_close(c->made[c->i]), 0);
    }
    while (c->count > 0) CHECK_EQ(rt_watch_close(c->watches[--c->count]), 0);
    RT_END(0);
}

static int64_t out_of_descriptors(rt_cx *cx, void *state) {
    struct crowd *c = state;
    const rt_runtime rt = rt_cx_runtime(cx);
    RT_BEGIN(&c->frame);
    while ((c->r = rt_register_fd(rt, (int)CHECK_SYS(dup(0)), 0, &c->ios[c->count])) == 0)
        CHECK(++c->count < CROWD);
    CHECK_EQ(c->r, -ENOMEM);
    RT_AWAIT(c->r, crowd_dial(cx, 0));
    CHECK_EQ(c->r, -ENOMEM);
    int fd = net_socket(SOCK_STREAM);
    CHECK_EQ(crowd_watch(rt, fd, &c->watches[0]), -ENOMEM);
    close(fd);
    CHECK_EQ(c->drops, 0);
    CHECK_EQ(rt_close(c->ios[--c->count]), 0);
    RT_AWAIT(c->r, crowd_dial(cx, 0));
    CHECK_EQ(c->r, 0);
    CHECK_EQ(rt_close(c->made[0]), 0);
    while (c->count > 0) CHECK_EQ(rt_close(c->ios[--c->count]), 0);
    RT_END(0);
}

static void crowded(rt_poll_fn what) {
    rt_io listener;
    memset(&crowd, 0, sizeof crowd);
    test_workers = 0;
    rt_runtime rt = 0;
    if (make(test_engine, RT_CURRENT_THREAD, &rt) != 0 && test_engine == RT_ENGINE_URING) return; /* there are no rings */
    CHECK(rt != 0);
    snprintf(crowd.path, sizeof crowd.path, "@asyncio-crowd-%d", (int)getpid());
    CHECK_EQ(rt_unix_listen(rt, crowd.path, NULL, &listener), 0);
    refuse_mappings(false);
    CHECK_EQ(rt_block_on(rt, what, &crowd), 0);
    CHECK_EQ(rt_close(listener), 0);
    op_runtime_free(rt);
}

static void crowded_by_tasks(void) { crowded(out_of_tasks); }

/* The one descriptor that was refused stays the test's. */
static void crowded_by_descriptors(void) { crowded(out_of_descriptors); }

static void tables_cannot_grow(void) {
    for (test_engine = RT_ENGINE_EPOLL; test_engine <= RT_ENGINE_URING; test_engine++) {
        in_child(crowded_by_tasks);
        in_child(crowded_by_descriptors);
    }
    test_engine = RT_ENGINE_AUTO;
}

/* ---- threads are refused ---- */

/* Every call that blocks says so, and the rest goes on. */
static int64_t never_called(void *arg) {
    (void)arg;
    CHECK(!"it has a thread");
    return 0;
}

static int64_t call(rt_cx *cx, void *state) {
    struct work *w = state;
    if (w->op == 0) {
        int64_t r = rt_submit_call(cx, never_called, NULL, &w->op);
        if (r < 0) return r;
    }
    return rt_poll_op(cx, w->op);
}

static void without_threads(void) {
    rt_runtime rt = 0;
    CHECK_EQ(make(RT_ENGINE_EPOLL, RT_CURRENT_THREAD, &rt), 0);
    struct rlimit none = {0, 0};
    CHECK_SYS(setrlimit(RLIMIT_NPROC, &none));
    refuse_call(SYS_clone3);
    refuse_call(SYS_clone);
    struct work w = {0};
    int64_t r = rt_block_on(rt, call, &w);
    CHECK(r == -EAGAIN || r == -EPERM || r == -ENOMEM);
    rt_task task = 0;
    r = rt_spawn_blocking(rt, never_called, NULL, NULL, &task);
    if (r == 0) r = join_task(task);
    CHECK(r == -EAGAIN || r == -EPERM || r == -ENOMEM);
    works(rt);
    multi_runtime_free(rt);
    try_all();
    rt_runtime other = 1;
    r = make(RT_ENGINE_EPOLL, RT_MULTI_THREAD, &other);
    CHECK(r == -EAGAIN || r == -EPERM);
    CHECK_EQ(other, 0);
}
static void no_thread_can_be_made(void) { in_child(without_threads); }

/* ---- nothing may be watched any more ---- */

/* Only the adding to a set: what is there can always be changed and taken out. */
static void refuse_watches(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1 /* EPOLL_CTL_ADD */, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        SKIP("seccomp filters cannot be had here");
}

/* What can be made is made, what cannot says so and leaves nothing; what was there before works. */
static void without_watches(uint32_t engine) {
    static struct kit kits[NOUNS];
    test_engine = engine;
    test_workers = 0;
    rt_runtime rt = test_runtime();
    for (int i = 0; i < NOUNS; i++) {
        kits[i].rt = rt;
        nouns[i].prepare(&kits[i]);
    }
    refuse_watches();
    int refusals = 0;
    for (int i = 0; i < NOUNS; i++) {
        test_case = nouns[i].name;
        int before = open_fds();
        int64_t r = nouns[i].make(&kits[i]);
        if (r == 0) {
            CHECK(nouns[i].make != make_watch); /* which is not put off until something is asked for */
            nouns[i].end(&kits[i]);
            continue;
        }
        CHECK_EQ(r, -ENOSPC);
        CHECK_EQ(open_fds(), before);
        refusals++;
        kit_end(&kits[i]);
    }
    CHECK(refusals > 5);
    op_runtime_free(rt);
}

static void without_watches_on_epoll(void) { without_watches(RT_ENGINE_EPOLL); }
static void without_watches_on_uring(void) {
    rt_runtime rt = 0;
    if (make(RT_ENGINE_URING, RT_CURRENT_THREAD, &rt) != 0) return; /* there are no rings */
    CHECK_EQ(rt_free(rt), 0);
    without_watches(RT_ENGINE_URING);
}
static void nothing_may_be_watched(void) {
    in_child(without_watches_on_epoll);
    in_child(without_watches_on_uring);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (instrumented()) SKIP("valgrind and the sanitizers need the memory that is refused here");
    CASE(no_memory_may_be_locked);
    CASE(rings_cannot_be_mapped);
    CASE(nothing_large_can_be_mapped);
    CASE(copies_find_no_memory);
    CASE(tables_cannot_grow);
    CASE(the_address_space_ends);
    CASE(a_read_finds_no_memory);
    CASE(no_thread_can_be_made);
    CASE(nothing_may_be_watched);
    return test_end();
}
