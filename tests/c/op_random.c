/* Random tasks: they submit, take, cancel, forget, close and end as it comes, while somebody else
 * cancels, closes and aborts what it can see, and runtimes are shut down in the middle. Nothing is
 * touched too late, nothing is left: no descriptor, no operation, no task.
 *
 *     op_random [--engine ..] [--workers ..] [--seed N]
 */
#include "op.h"

enum { ACTORS = 8, PLACES = 5, SLOTS = 12, EPOCHS = 50, DATA = 1024, UNTOUCHED = 0x55 };

/* What the library may use until an operation has ended: at the beginning of a page. */
struct parcel {
    struct msghdr msg;
    struct iovec iov;
    struct statx x;
    unsigned char data[DATA];
};

enum yields { NOTHING, BYTES_IN, BYTES_OUT, HANDLE };

struct slot {
    struct actor *actor;
    struct parcel *parcel; /* NULL: the slot is free */
    _Atomic rt_op op;
    enum yields yields;
    size_t want;
    bool forgotten;
};

enum kind { PIPE_OUT, PIPE_IN, UNIX_PAIR, UDP_PAIR, LISTENER, PLAIN_FILE, KINDS };

struct place {
    enum kind kind;
    _Atomic rt_io io;
    int far;
};

struct actor {
    rt_runtime rt;
    _Atomic rt_task task;
    uint64_t random;
    unsigned char tag; /* the only byte that goes through its places */
    struct place places[PLACES];
    struct slot slots[SLOTS];
    atomic_int spawned, dropped;
};

static struct actor actors[ACTORS];
static atomic_long submitted;
static uint64_t seed;

static unsigned below(uint64_t *random, unsigned n) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (unsigned)(*random >> 33) % n;
}

/* ---- places ---- */

/* With a copy as the far end, so that it is known where to dial. */
static void listener_open(int ends[2]) {
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    ends[0] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    CHECK_SYS(bind(ends[0], (struct sockaddr *)&any, sizeof any.sun_family)); /* any name */
    CHECK_SYS(listen(ends[0], 4));
    ends[1] = (int)CHECK_SYS(fcntl(ends[0], F_DUPFD_CLOEXEC, 0));
}

static void place_open(struct actor *a, struct place *p) {
    int ends[2] = {-1, -1};
    char content[4096];
    p->kind = (enum kind)below(&a->random, KINDS);
    switch (p->kind) {
    case PIPE_OUT: net_pipe(ends); break;
    case PIPE_IN: net_pipe_writer_first(ends); break;
    case UNIX_PAIR: net_unix_pair(ends); break;
    case UDP_PAIR: net_udp_pair(ends); break;
    case LISTENER: listener_open(ends); break;
    default:
        ends[0] = scratch_file();
        memset(content, a->tag, sizeof content);
        net_put(ends[0], content, sizeof content);
    }
    p->far = ends[1];
    atomic_store(&p->io, io_of(a->rt, ends[0], 0));
}

static void place_close(struct place *p) {
    int64_t r = rt_close(atomic_exchange(&p->io, 0));
    CHECK(r == 0 || r == -EBADF); /* somebody else may have been faster */
    if (p->far >= 0) close(p->far);
    p->far = -1;
}

static void dial(int listener) {
    struct sockaddr_un name;
    socklen_t len = sizeof name;
    CHECK_SYS(getsockname(listener, (struct sockaddr *)&name, &len));
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    CHECK(connect(fd, (struct sockaddr *)&name, len) == 0 || errno == EAGAIN);
    close(fd);
}

/* The far end does something; what it reads is what was sent. */
static void place_poke(struct actor *a, struct place *p) {
    unsigned char bytes[2000];
    if (p->far < 0) return;
    if (p->kind == LISTENER) {
        dial(p->far);
    } else if (below(&a->random, 40) == 0) {
        close(p->far);
        p->far = -1;
    } else {
        memset(bytes, a->tag, sizeof bytes);
        /* ECONNRESET: the near end, with bytes that nobody read, is closed while this looks for room. */
        if (p->kind != PIPE_IN && write(p->far, bytes, 1 + below(&a->random, sizeof bytes)) < 0)
            CHECK(errno == EAGAIN || errno == EPIPE || errno == ECONNREFUSED || errno == ECONNRESET);
        ssize_t n = p->kind == PIPE_OUT ? 0 : read(p->far, bytes, sizeof bytes);
        for (ssize_t i = 0; i < n; i++) CHECK_EQ(bytes[i], a->tag);
    }
}

/* ---- operations ---- */

static bool may_be(int64_t error) {
    return error == -ECANCELED || error == -ETIME || error == -EPIPE || error == -ECONNRESET ||
           error == -ECONNREFUSED || error == -ENOTCONN;
}

static void bytes_are_good(struct slot *s, int64_t n) {
    CHECK(n <= (int64_t)s->want);
    for (int64_t i = 0; i < n; i++) CHECK_EQ(s->parcel->data[i], s->actor->tag);
    for (int64_t i = n; i < DATA; i++) CHECK_EQ(s->parcel->data[i], UNTOUCHED);
}

/* An outcome; the memory is the task's again. */
static void slot_end(struct slot *s, int64_t outcome) {
    if (outcome < 0) {
        if (!may_be(outcome)) test_print_value("an outcome", outcome);
        CHECK(may_be(outcome));
    } else if (s->yields == HANDLE) {
        CHECK_EQ(rt_close((rt_io)outcome), 0);
    } else if (s->yields == BYTES_IN) {
        bytes_are_good(s, outcome);
    } else {
        CHECK(outcome <= (s->yields == BYTES_OUT ? (int64_t)s->want : 0));
    }
    struct parcel *parcel = s->parcel;
    s->parcel = NULL;
    s->forgotten = false;
    page_give(parcel);
}

static void slot_done(void *arg, int64_t outcome) {
    struct slot *s = arg;
    CHECK(s->forgotten);
    slot_end(s, outcome);
}

static void parcel_fill(struct slot *s, enum yields yields, size_t want) {
    struct parcel *p = s->parcel;
    s->yields = yields;
    s->want = want;
    memset(p->data, yields == BYTES_OUT ? s->actor->tag : UNTOUCHED, DATA);
    p->iov = (struct iovec){p->data, want};
    p->msg = (struct msghdr){.msg_iov = &p->iov, .msg_iovlen = 1};
}

static int64_t submit_in(rt_cx *cx, struct slot *s, struct place *at, unsigned way, rt_op *out) {
    struct parcel *p = s->parcel;
    bool file = at->kind == PLAIN_FILE, pipe = at->kind == PIPE_OUT;
    uint64_t offset = file ? way * 131 : RT_OFFSET_CURRENT;
    if (way % 3 == 0) return rt_submit_readv(cx, at->io, &p->iov, 1, offset, out);
    if (file || pipe) return rt_submit_read(cx, at->io, p->data, s->want, offset, out);
    if (way % 3 == 1) return rt_submit_recvmsg(cx, at->io, &p->msg, 0, out);
    return rt_submit_recv(cx, at->io, p->data, s->want, 0, out);
}

static int64_t submit_out(rt_cx *cx, struct slot *s, struct place *at, unsigned way, rt_op *out) {
    struct parcel *p = s->parcel;
    bool file = at->kind == PLAIN_FILE, pipe = at->kind == PIPE_IN;
    uint64_t offset = file ? way * 131 : RT_OFFSET_CURRENT;
    if (file || pipe || way % 3 == 0)
        return rt_submit_write(cx, at->io, p->data, s->want, offset, 0, out);
    if (way % 3 == 1) return rt_submit_sendmsg(cx, at->io, &p->msg, 0, out);
    return rt_submit_send(cx, at->io, p->data, s->want, 0, out);
}

/* ThreadSanitizer hears of no close that a ring makes. It takes the descriptor for open, and for a race that another
 * thread is given its number. */
static bool closes_unheard(void) { return under("tsan") && test_engine == RT_ENGINE_URING; }

static int64_t submit_one(rt_cx *cx, struct slot *s, struct place *at, rt_op *out) {
    struct actor *a = s->actor;
    unsigned way = below(&a->random, 20), what = below(&a->random, 30);
    size_t want = 1 + below(&a->random, DATA);
    parcel_fill(s, NOTHING, 0);
    if (what == 0 && !closes_unheard()) return rt_submit_close(cx, at->io, out);
    if (what == 1) return rt_submit_statx(cx, 0, "/", 0, STATX_SIZE, &s->parcel->x, out);
    if (what == 2 && at->kind == PLAIN_FILE) return rt_submit_fdatasync(cx, at->io, out);
    if (what == 2 && at->kind == UNIX_PAIR) return rt_submit_shutdown(cx, at->io, SHUT_WR, out);
    if (what == 3) s->yields = HANDLE;
    if (what == 3) return rt_submit_openat(cx, 0, "/", O_RDONLY | O_DIRECTORY, 0, out);
    if (at->kind == LISTENER) s->yields = HANDLE;
    if (at->kind == LISTENER) return rt_submit_accept(cx, at->io, out);
    bool in = at->kind == PIPE_OUT || (at->kind != PIPE_IN && what % 2 == 0);
    parcel_fill(s, in ? BYTES_IN : BYTES_OUT, want);
    return in ? submit_in(cx, s, at, way, out) : submit_out(cx, s, at, way, out);
}

static void submit(rt_cx *cx, struct actor *a, struct slot *s) {
    struct place *at = &a->places[below(&a->random, PLACES)];
    rt_op op = 0;
    if (s->parcel != NULL) return;
    if (atomic_load(&at->io) == 0) place_open(a, at);
    s->parcel = page_take();
    int64_t r = submit_one(cx, s, at, &op);
    if (r == 0) {
        CHECK(op != 0);
        atomic_store(&s->op, op);
        atomic_fetch_add(&submitted, 1);
        return;
    }
    CHECK_EQ(op, 0);
    CHECK(r == -EBADF || r == -ESHUTDOWN); /* somebody closed it, or the runtime */
    page_give(s->parcel);
    s->parcel = NULL;
    place_close(at);
}

static int64_t take(rt_cx *cx, struct slot *s) {
    if (s->parcel == NULL || s->forgotten) return 0;
    int64_t r = rt_poll_op(cx, s->op);
    if (r == RT_PENDING) return r;
    CHECK_EQ(rt_cancel(s->op), -EBADF);
    slot_end(s, r);
    return 0;
}

static void forget(struct slot *s) {
    if (s->parcel == NULL || s->forgotten) return;
    s->forgotten = true;
    CHECK_EQ(rt_op_forget(s->op, slot_done, s), 0);
}

/* In a while it ends, whatever happens. */
static int64_t wait_for(rt_cx *cx, struct actor *a, struct slot *s) {
    if (s->parcel == NULL || s->forgotten) return 0;
    CHECK_EQ(rt_op_deadline(s->op, rt_now() + below(&a->random, 200000)), 0);
    return take(cx, s);
}

/* ---- tasks ---- */

static int64_t act(rt_cx *cx, void *state) {
    struct actor *a = state;
    for (int left = 1 + (int)below(&a->random, 8); left > 0; left--) {
        struct slot *s = &a->slots[below(&a->random, SLOTS)];
        struct place *p = &a->places[below(&a->random, PLACES)];
        switch (below(&a->random, 16)) {
        case 0: case 1: case 2: case 3: case 4: submit(cx, a, s); break;
        case 5: case 6: case 7: take(cx, s); break;
        case 8: rt_cancel(s->op); break;
        case 9: forget(s); break;
        case 10: if (below(&a->random, 8) == 0) place_close(p); break;
        case 11: if (below(&a->random, 60) == 0) return 1; break;
        default: place_poke(a, p);
        }
    }
    struct slot *last = &a->slots[below(&a->random, SLOTS)];
    if (below(&a->random, 8) == 0 && wait_for(cx, a, last) == RT_PENDING) return RT_PENDING;
    return rt_yield(cx);
}

/* Its operations have ended, so what they were given is free. */
static void act_no_more(void *state) {
    struct actor *a = state;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &a->slots[i];
        CHECK(!s->forgotten); /* it was told before this */
        if (s->parcel != NULL) page_give(s->parcel);
        s->parcel = NULL;
    }
    for (int i = 0; i < PLACES; i++) place_close(&a->places[i]);
    atomic_fetch_add(&a->dropped, 1);
}

static void actor_spawn(struct actor *a) {
    rt_task task;
    for (int i = 0; i < SLOTS; i++) a->slots[i].actor = a;
    for (int i = 0; i < PLACES; i++) a->places[i].far = -1;
    CHECK_EQ(rt_spawn(a->rt, act, a, act_no_more, &task), 0);
    atomic_store(&a->task, task);
    atomic_fetch_add(&a->spawned, 1);
}

/* ---- who is not asked ---- */

static atomic_bool over;

static void *meddle(void *arg) {
    uint64_t *random = arg;
    for (long seen = 0; !atomic_load(&over); sched_yield()) {
        if (atomic_load(&submitted) < seen + 4) continue;
        seen = atomic_load(&submitted);
        struct actor *a = &actors[below(random, ACTORS)];
        switch (below(random, 40)) {
        case 0: rt_close(atomic_load(&a->places[below(random, PLACES)].io)); break;
        case 1: rt_abort(atomic_load(&a->task)); break;
        case 2: case 3: case 4: case 5: rt_task_wake(atomic_load(&a->task)); break;
        default: rt_cancel(atomic_load(&a->slots[below(random, SLOTS)].op));
        }
    }
    return NULL;
}

/* ---- a runtime's life ---- */

struct epoch {
    rt_frame frame;
    long until;
};

static int64_t keep_them_alive(rt_cx *cx, void *state) {
    struct epoch *e = state;
    RT_BEGIN(&e->frame);
    while (atomic_load(&submitted) < e->until) {
        for (int i = 0; i < ACTORS; i++) {
            int64_t result, r = rt_poll_join(cx, atomic_load(&actors[i].task), &result);
            if (r == RT_PENDING) continue;
            CHECK_EQ(r, 0);
            CHECK(result == 1 || result == -ECANCELED);
            actor_spawn(&actors[i]);
        }
        RT_YIELD(cx);
    }
    RT_END(0);
}

/* It ends by a shutdown, by being freed, or after its tasks were aborted. */
static void live_and_die(uint64_t *random, long operations) {
    rt_runtime rt = test_runtime();
    struct epoch e = {.until = atomic_load(&submitted) + operations};
    for (int i = 0; i < ACTORS; i++) {
        actors[i].rt = rt;
        actors[i].tag = (unsigned char)('A' + i);
        actors[i].random = 1 + below(random, 1u << 30);
        actor_spawn(&actors[i]);
    }
    CHECK_EQ(rt_block_on(rt, keep_them_alive, &e), 0);
    unsigned way = below(random, 3);
    if (way == 0) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    for (int i = 0; way == 1 && i < ACTORS; i++) {
        CHECK_EQ(rt_abort(actors[i].task), 0);
        join_task(actors[i].task);
    }
    if (way == 0) CHECK_EQ(metrics(rt).ops_live + metrics(rt).ops_abandoned, 0);
    if (way == 1) op_runtime_free(rt);
    else CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < ACTORS; i++)
        CHECK_EQ(atomic_load(&actors[i].spawned), atomic_load(&actors[i].dropped));
}

static void whatever_comes(void) {
    static char name[64];
    uint64_t mine = seed, others = ~seed;
    snprintf(name, sizeof name, "whatever_comes, --seed %" PRIu64, seed);
    test_case = name; /* for who wants to see it again */
    pages_open();
    pthread_t thread = thread_start(meddle, &others);
    for (int epoch = 0; epoch < EPOCHS; epoch++) live_and_die(&mine, scaled(100000) / EPOCHS);
    atomic_store(&over, true);
    thread_join(thread);
    pages_close();
}

int main(int argc, char **argv) {
    seed = rt_now();
    if (argc > 2 && strcmp(argv[argc - 2], "--seed") == 0) {
        seed = strtoull(argv[argc - 1], NULL, 10);
        argc -= 2;
    }
    if (seed == 0) seed = 1;
    test_start(argc, argv);
    signal(SIGPIPE, SIG_IGN); /* the far ends write as they like */
    scratch_make();
    CASE(whatever_comes);
    scratch_remove();
    return test_end();
}
