/* A program that uses each part of the library, and touches the system by the library alone, for
 * `run`, which makes system calls fail under it. What the library tells of a failure is printed, and
 * the work goes on with the next part.
 *
 *     work --engine epoll|uring --workers N
 *
 * Ends with 0: everything went well; 3: failures were told, and that was all (the last line names
 * them); anything else: a wrong byte, a leak, a crash.
 */
#include "../c/op.h"

enum { TOLD = 3, BYTES = 100000, PIECE = 7000, CLIENTS = 8, ROUNDS = 2 };

static int tellings;

/* Whether it went well; if not, that is told. */
static bool fine(const char *part, int64_t r) {
    if (r >= 0) return true;
    char name[32];
    snprintf(name, sizeof name, "%s", rt_strerror(r));
    name[strcspn(name, ":")] = '\0';
    printf("told: %s: %s\n", part, name);
    tellings++;
    return false;
}

/* ---- servers ---- */

/* A connection of the first server: by direct calls. */
struct conn {
    rt_frame frame;
    rt_io io;
    int64_t n, m;
    size_t off;
    char buf[PIECE];
};

static int64_t echo(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    for (;;) {
        RT_AWAIT(c->n, rt_poll_read(cx, c->io, c->buf, sizeof c->buf));
        if (c->n <= 0) RT_RETURN(c->n);
        RT_AWAIT(c->m, rt_poll_write_all(cx, c->io, c->buf, (size_t)c->n, &c->off));
        if (c->m < 0) RT_RETURN(c->m);
    }
    RT_END(0);
}

static void conn_drop(void *state) {
    struct conn *c = state;
    rt_close(c->io);
    free(c);
}

static int64_t conn_begin(void *arg, rt_io io, rt_spawn_opts *task) {
    (void)arg;
    struct conn *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->io = io;
    task->poll = echo;
    task->state = c;
    task->drop = conn_drop;
    return 0;
}

/* A connection of the second: by operations with many results, and by queues. */
struct relay {
    rt_frame frame;
    rt_io io;
    rt_op op;
    rt_buf lease;
    int64_t r;
};

static int64_t relay(rt_cx *cx, void *state) {
    struct relay *c = state;
    RT_BEGIN(&c->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, c->io, &c->op), 0);
    for (;;) {
        RT_AWAIT(c->r, rt_poll_recv_next(cx, c->op, &c->lease));
        if (c->r <= 0) RT_RETURN(c->r);
        while ((c->r = rt_send_buf(c->io, &c->lease)) == -EAGAIN) {
            RT_AWAIT(c->r, rt_poll_flush(cx, c->io, 0));
            if (c->r < 0) break;
        }
        if (c->r < 0) {
            CHECK_EQ(rt_buf_release(c->lease.lease), 0);
            RT_RETURN(c->r);
        }
    }
    RT_END(0);
}

static void relay_drop(void *state) {
    struct relay *c = state;
    rt_close(c->io);
    free(c);
}

struct acceptor {
    rt_frame frame;
    rt_io listener, conn;
    rt_op op;
    int64_t r;
};

static int64_t accept_all(rt_cx *cx, void *state) {
    struct acceptor *a = state;
    RT_BEGIN(&a->frame);
    CHECK_EQ(rt_submit_accept_multi(cx, a->listener, &a->op), 0);
    for (;;) {
        RT_AWAIT(a->r, rt_poll_accept_next(cx, a->op, &a->conn));
        if (a->r == 0) {
            struct relay *c = calloc(1, sizeof *c);
            CHECK(c != NULL);
            c->io = a->conn;
            if (rt_spawn(rt_cx_runtime(cx), relay, c, relay_drop, NULL) < 0) relay_drop(c);
        } else if (a->r != -EMFILE && a->r != -ENFILE && a->r != -ENOBUFS && a->r != -ENOMEM) {
            break; /* the others are told and no end */
        } else if (rt_poll_accept_next(cx, a->op, &a->conn) == -EBADF) {
            break;
        }
    }
    /* Nobody may wait for a server that is gone. */
    rt_close(a->listener);
    RT_END(a->r);
}

/* ---- clients ---- */

enum style { DIRECT, OPERATIONS, QUEUES, BUFFERED, STYLES };

struct client {
    rt_frame frame;
    enum style style;
    bool dials; /* by itself, and not by a task */
    uint16_t port;
    rt_io io;
    rt_op slot, out, in;
    rt_stream stream;
    rt_task task;
    rt_buf lease;
    int64_t r, n;
    size_t sent, came, off, left;
    char data[PIECE], back[PIECE];
};

static int64_t put(rt_cx *cx, struct client *c, size_t n) {
    int64_t r;
    switch (c->style) {
    case DIRECT: return rt_poll_write_all(cx, c->io, c->data, n, &c->off);
    case BUFFERED:
        while (c->off < n) {
            r = rt_poll_stream_write(cx, c->stream, c->data + c->off, n - c->off);
            if (r < 0) return r;
            c->off += (size_t)r;
        }
        r = rt_poll_stream_flush(cx, c->stream);
        if (r == 0) c->off = 0;
        return r < 0 ? r : (int64_t)n;
    case QUEUES: return rt_send(c->io, c->data, n);
    default:
        for (;;) {
            if (c->out == 0) {
                r = rt_submit_send(cx, c->io, c->data + c->off, n - c->off, 0, &c->out);
                if (r < 0) return r;
            }
            r = rt_poll_op(cx, c->out);
            if (r == RT_PENDING) return r;
            c->out = 0;
            if (r < 0) return r;
            c->off += (size_t)r;
            if (c->off == n) break;
        }
        c->off = 0;
        return (int64_t)n;
    }
}

static int64_t get(rt_cx *cx, struct client *c) {
    int64_t r;
    switch (c->style) {
    case DIRECT: return rt_poll_read(cx, c->io, c->back, PIECE);
    case BUFFERED: return rt_poll_stream_read(cx, c->stream, c->back, PIECE);
    case QUEUES:
        if (c->in == 0 && (r = rt_submit_recv_multi(cx, c->io, &c->in)) < 0) return r;
        r = rt_poll_recv_next(cx, c->in, &c->lease);
        if (r <= 0) return r;
        CHECK(net_pattern_holds(c->lease.ptr, (size_t)r, c->port, c->came));
        CHECK_EQ(rt_buf_release(c->lease.lease), 0);
        return r;
    default:
        if (c->in == 0 && (r = rt_submit_recv(cx, c->io, c->back, PIECE, 0, &c->in)) < 0) return r;
        r = rt_poll_op(cx, c->in);
        if (r != RT_PENDING) c->in = 0;
        return r;
    }
}

static int64_t client(rt_cx *cx, void *state) {
    struct client *c = state;
    RT_BEGIN(&c->frame);
    if (c->dials) {
        RT_AWAIT(c->r, rt_poll_tcp_connect(cx, &c->slot, "127.0.0.1", c->port, NULL, &c->io));
        CHECK_EQ(c->slot, 0);
        if (c->r < 0) RT_RETURN(c->r);
    } else {
        c->r = rt_tcp_connect(rt_cx_runtime(cx), "127.0.0.1", c->port, NULL, &c->task);
        if (c->r < 0) RT_RETURN(c->r);
        RT_AWAIT(c->n, rt_poll_join(cx, c->task, &c->r));
        CHECK_EQ(c->n, 0);
        if (c->r < 0) RT_RETURN(c->r);
        c->io = (rt_io)c->r;
    }
    if (c->style == BUFFERED) CHECK_EQ(rt_stream_new(c->io, NULL, &c->stream), 0);
    while (c->sent < BYTES) {
        c->n = BYTES - c->sent < PIECE ? (int64_t)(BYTES - c->sent) : PIECE;
        net_pattern(c->data, (size_t)c->n, c->port, c->sent);
        RT_AWAIT(c->r, put(cx, c, (size_t)c->n));
        if (c->r < 0) RT_RETURN(c->r);
        CHECK_EQ(c->r, c->n);
        c->sent += (size_t)c->r;
        while (c->came < c->sent) {
            RT_AWAIT(c->r, get(cx, c));
            if (c->r < 0) RT_RETURN(c->r);
            if (c->r == 0) RT_RETURN(-EPIPE); /* the server told of something */
            if (c->style != QUEUES)
                CHECK(net_pattern_holds(c->back, (size_t)c->r, c->port, c->came));
            c->came += (size_t)c->r;
        }
    }
    if (c->style == DIRECT) {
        c->left = 1;
        RT_AWAIT(c->r, rt_poll_linger(cx, c->io, &c->left));
        if (c->r < 0) RT_RETURN(c->r);
        CHECK_EQ(c->left, 1);
    }
    RT_END(0);
}

static void client_drop(void *state) {
    struct client *c = state;
    if (c->stream != 0) CHECK_EQ(rt_stream_free(c->stream), 0);
    CHECK_EQ(rt_close(c->io), 0);
}

static int64_t drain(rt_cx *cx, void *state) {
    return rt_poll_drain(cx, *(rt_server *)state, RT_NEVER);
}

/* Eight clients of two servers. */
static void sockets(rt_runtime rt) {
    static struct client clients[CLIENTS];
    struct acceptor acceptor = {0};
    rt_io listeners[2];
    rt_addr addr;
    rt_server server;
    rt_task tasks[CLIENTS], accepting;
    uint16_t ports[2];
    for (int i = 0; i < 2; i++) {
        if (!fine("listen", rt_tcp_listen(rt, "127.0.0.1", 0, NULL, &listeners[i]))) {
            if (i == 1) rt_close(listeners[0]);
            return;
        }
        if (!fine("address", rt_local_addr(listeners[i], &addr))) {
            for (; i >= 0; i--) rt_close(listeners[i]);
            return;
        }
        ports[i] = (uint16_t)rt_addr_port(&addr);
    }
    if (!fine("serve", rt_serve(rt, listeners[0], NULL, conn_begin, NULL, &server))) {
        for (int i = 0; i < 2; i++) rt_close(listeners[i]);
        return;
    }
    acceptor.listener = listeners[1];
    CHECK_EQ(rt_spawn(rt, accept_all, &acceptor, NULL, &accepting), 0);
    memset(clients, 0, sizeof clients);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].style = (enum style)(i % STYLES);
        clients[i].port = ports[i / STYLES];
        clients[i].dials = i >= STYLES;
        CHECK_EQ(rt_spawn(rt, client, &clients[i], client_drop, &tasks[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) fine("client", join_task(tasks[i]));
    fine("drain", rt_block_on(rt, drain, &server));
    CHECK_EQ(rt_server_free(server), 0);
    rt_close(listeners[1]);
    int64_t r = join_task(accepting);
    if (r != -ECANCELED) fine("accept", r);
}

/* ---- a conversation that has an end ---- */

struct farewell {
    rt_frame frame;
    rt_io listener, io;
    rt_op slot;
    char path[64];
    int64_t r;
    size_t left;
    char data[PIECE];
};

/* What was queued is sent, and comes back after the end was told. */
static int64_t farewell(rt_cx *cx, void *state) {
    struct farewell *f = state;
    RT_BEGIN(&f->frame);
    RT_AWAIT(f->r, rt_poll_unix_connect(cx, &f->slot, f->path, NULL, &f->io));
    CHECK_EQ(f->slot, 0);
    if (f->r < 0) RT_RETURN(f->r);
    net_pattern(f->data, PIECE, 4, 0);
    f->r = rt_send(f->io, f->data, PIECE);
    if (f->r < 0) RT_RETURN(f->r);
    f->left = PIECE + 1;
    RT_AWAIT(f->r, rt_poll_linger(cx, f->io, &f->left));
    if (f->r < 0) RT_RETURN(f->r);
    RT_END(f->left == 1 ? 0 : -EPIPE); /* the server told of something */
}

static void farewells(rt_runtime rt) {
    static struct farewell f;
    rt_server server;
    memset(&f, 0, sizeof f);
    snprintf(f.path, sizeof f.path, "@asyncio-work-%d", (int)getpid());
    if (!fine("unix listen", rt_unix_listen(rt, f.path, NULL, &f.listener))) return;
    if (!fine("unix serve", rt_serve(rt, f.listener, NULL, conn_begin, NULL, &server))) {
        rt_close(f.listener);
        return;
    }
    fine("farewell", rt_block_on(rt, farewell, &f));
    CHECK_EQ(rt_close(f.io), 0);
    fine("unix drain", rt_block_on(rt, drain, &server));
    CHECK_EQ(rt_server_free(server), 0);
}

/* ---- watches ---- */

/* A library that has callbacks: one for its descriptor, which reads a little at a time, and one for the time. */
struct watching {
    rt_frame frame;
    rt_io io;
    int fd;
    rt_watch reads, ticks;
    rt_notify done;
    int64_t r, failed;
    size_t off, came;
    int times;
    char data[PIECE];
};

/* A watch may be closed while its function is called. */
static void asked(int64_t r) { CHECK(r == 0 || r == -EBADF); }

static void watch_is_done(struct watching *w) {
    if (w->failed == 0 && (w->came < PIECE || w->times < 3)) return;
    asked(rt_watch_for(w->reads, 0));
    CHECK_EQ(rt_notify_one(w->done), 0);
}

static void watch_reads(void *arg, int fd, uint32_t ready) {
    struct watching *w = arg;
    char back[PIECE / 4];
    CHECK(ready != 0);
    ssize_t n = recv(fd, back, sizeof back, 0);
    if (n < 0 && errno == EINTR) return; /* and is called again */
    CHECK(n != 0);
    if (n < 0) w->failed = -errno;
    else CHECK(net_pattern_holds(back, (size_t)n, 5, w->came)), w->came += (size_t)n;
    watch_is_done(w);
}

static void watch_ticks(void *arg, int fd, uint32_t ready) {
    struct watching *w = arg;
    CHECK(fd == -1 && ready == 0);
    if (++w->times < 3) asked(rt_watch_at(w->ticks, rt_now() + 100000));
    watch_is_done(w);
}

static void watch_drop(void *arg) { CHECK_SYS(close(((struct watching *)arg)->fd)); }

static int64_t watching(rt_cx *cx, void *state) {
    struct watching *w = state;
    RT_BEGIN(&w->frame);
    net_pattern(w->data, PIECE, 5, 0);
    RT_AWAIT(w->r, rt_poll_write_all(cx, w->io, w->data, PIECE, &w->off));
    if (w->r < 0) RT_RETURN(w->r);
    RT_AWAIT(w->r, rt_poll_notified(cx, w->done));
    RT_END(w->r < 0 ? w->r : w->failed);
}

static void watches(rt_runtime rt) {
    static struct watching w;
    rt_io pair[2];
    memset(&w, 0, sizeof w);
    if (!fine("pair", rt_unix_pair(rt, SOCK_STREAM, pair))) return;
    w.io = pair[0];
    w.fd = (int)rt_io_fd(pair[1]);
    CHECK_EQ(rt_deregister(pair[1]), 0);
    if (fine("notify", rt_notify_new(&w.done)) &&
        fine("watch", rt_watch_open(rt, 0, w.fd, watch_reads, &w, watch_drop, &w.reads)) &&
        fine("watch", rt_watch_open(rt, w.reads, -1, watch_ticks, &w, NULL, &w.ticks))) {
        CHECK_EQ(rt_watch_for(w.reads, RT_READABLE), 0);
        CHECK_EQ(rt_watch_at(w.ticks, 0), 0);
        fine("watching", rt_block_on(rt, watching, &w));
    }
    if (w.reads == 0) CHECK_SYS(close(w.fd));
    CHECK_EQ(rt_watch_close(w.reads), 0);
    CHECK_EQ(rt_watch_close(w.ticks), 0);
    CHECK_EQ(rt_close(w.io), 0);
    settle(rt); /* a function may be in its last steps */
    CHECK_EQ(rt_notify_free(w.done), 0);
}

/* ---- files ---- */

struct filing {
    rt_frame frame;
    rt_op op;
    rt_io file;
    struct iovec part;
    int64_t r;
    char name[64];
    char data[BYTES], back[BYTES];
};

#define FILE_STEP(...)                            \
    do {                                          \
        f->r = (__VA_ARGS__);                     \
        if (f->r < 0) RT_RETURN(f->r);            \
        RT_AWAIT(f->r, rt_poll_op(cx, f->op));    \
        if (f->r < 0) RT_RETURN(f->r);            \
    } while (0)

static int64_t filing(rt_cx *cx, void *state) {
    struct filing *f = state;
    RT_BEGIN(&f->frame);
    FILE_STEP(rt_submit_openat(cx, 0, f->name, O_RDWR | O_CREAT | O_EXCL, 0600, &f->op));
    f->file = (rt_io)f->r;
    net_pattern(f->data, BYTES, 8, 0);
    FILE_STEP(rt_submit_write(cx, f->file, f->data, BYTES - PIECE, 0, RWF_DSYNC, &f->op));
    CHECK_EQ(f->r, BYTES - PIECE);
    f->part = (struct iovec){f->data + BYTES - PIECE, PIECE};
    FILE_STEP(rt_submit_writev(cx, f->file, &f->part, 1, 0, RWF_APPEND, &f->op));
    CHECK_EQ(f->r, PIECE);
    FILE_STEP(rt_submit_fsync(cx, f->file, &f->op));
    FILE_STEP(rt_submit_read(cx, f->file, f->back, BYTES, 0, &f->op));
    CHECK_EQ(f->r, BYTES);
    CHECK(memcmp(f->data, f->back, BYTES) == 0);
    RT_END(0);
}

static void files(rt_runtime rt) {
    static struct filing f;
    memset(&f, 0, sizeof f);
    snprintf(f.name, sizeof f.name, "/tmp/asyncio-work-%d", (int)getpid());
    fine("file", rt_block_on(rt, filing, &f));
    CHECK_EQ(rt_close(f.file), 0);
    unlink(f.name);
}

/* ---- children ---- */

struct cat {
    rt_frame frame;
    rt_process p;
    rt_io in, out;
    rt_exit exit;
    int64_t r;
    size_t off, came;
    char data[PIECE], back[PIECE];
};

static int64_t cat(rt_cx *cx, void *state) {
    struct cat *c = state;
    rt_process_opts opts;
    RT_BEGIN(&c->frame);
    CHECK_EQ(rt_process_opts_init(&opts, sizeof opts), 0);
    opts.file = "/bin/cat";
    opts.stdin_fd = opts.stdout_fd = RT_STDIO_PIPE;
    c->r = rt_process_spawn(rt_cx_runtime(cx), &opts, &c->p);
    if (c->r < 0) RT_RETURN(c->r);
    CHECK_EQ(rt_process_stdio(c->p, 0, &c->in), 0);
    CHECK_EQ(rt_process_stdio(c->p, 1, &c->out), 0);
    net_pattern(c->data, PIECE, 2, 0);
    RT_AWAIT(c->r, rt_poll_write_all(cx, c->in, c->data, PIECE, &c->off));
    if (c->r < 0) RT_RETURN(c->r);
    CHECK_EQ(rt_close(c->in), 0);
    c->in = 0;
    for (;;) {
        RT_AWAIT(c->r, rt_poll_read(cx, c->out, c->back, PIECE));
        if (c->r < 0) RT_RETURN(c->r);
        if (c->r == 0) break;
        CHECK(net_pattern_holds(c->back, (size_t)c->r, 2, c->came));
        c->came += (size_t)c->r;
    }
    RT_AWAIT(c->r, rt_poll_process(cx, c->p, &c->exit));
    if (c->r < 0) RT_RETURN(c->r);
    /* Whether the child's own calls were made to fail is not ours to judge. */
    if (c->exit.code == 0) CHECK_EQ(c->came, PIECE);
    RT_END(0);
}

static void children(rt_runtime rt) {
    struct cat c = {0};
    fine("child", rt_block_on(rt, cat, &c));
    CHECK_EQ(rt_close(c.in), 0);
    CHECK_EQ(rt_close(c.out), 0);
    CHECK_EQ(rt_process_close(c.p), 0);
}

/* ---- events, times, signals, calls that block, names ---- */

struct things {
    rt_frame frame;
    rt_event event;
    rt_signal signal;
    rt_timer slot;
    uint64_t at;
    rt_op op;
    rt_addr addr;
    int64_t r;
};

static int64_t forty_two(void *arg) {
    (void)arg;
    return 42;
}

static void set_event(void *arg) { CHECK_EQ(rt_event_set(*(rt_event *)arg), 0); }

static int64_t use_things(rt_cx *cx, void *state) {
    struct things *t = state;
    RT_BEGIN(&t->frame);
    t->at = rt_now() + 1000000;
    RT_AWAIT(t->r, rt_poll_sleep(cx, &t->slot, t->at));
    if (t->r < 0) RT_RETURN(t->r);
    if (t->event != 0) {
        rt_task task;
        CHECK_EQ(rt_call_at(rt_cx_runtime(cx), rt_now(), 0, set_event, &t->event, NULL, &task), 0);
        CHECK_EQ(rt_detach(task), 0);
        RT_AWAIT(t->r, rt_poll_event(cx, t->event));
        if (t->r < 0) RT_RETURN(t->r);
    }
    if (t->signal != 0) {
        CHECK_SYS(kill(getpid(), SIGUSR1));
        RT_AWAIT(t->r, rt_poll_signal(cx, t->signal));
        if (t->r < 0) RT_RETURN(t->r);
        CHECK_EQ(t->r, 1);
    }
    t->r = rt_submit_call(cx, forty_two, NULL, &t->op);
    if (t->r < 0) RT_RETURN(t->r);
    RT_AWAIT(t->r, rt_poll_op(cx, t->op));
    if (t->r < 0) RT_RETURN(t->r);
    CHECK_EQ(t->r, 42);
    t->op = 0;
    RT_AWAIT(t->r, rt_poll_resolve(cx, &t->op, "localhost", 80, RT_RESOLVE_V4, &t->addr, 1));
    RT_END(t->r < 0 ? t->r : 0);
}

static void things(rt_runtime rt) {
    struct things t = {0};
    fine("event", rt_event_new(rt, &t.event));
    fine("signal", rt_signal_open(rt, SIGUSR1, &t.signal));
    fine("things", rt_block_on(rt, use_things, &t));
    CHECK_EQ(rt_event_free(t.event), 0);
    CHECK_EQ(rt_signal_close(t.signal), 0);
}

/* ---- all of it, twice: what failed at first may work later ---- */

#define PART(name) (test_case = #name, name(rt))

static void work(void) {
    test_case = "a runtime";
    rt_config config = test_config();
    rt_runtime rt = 0;
    char why[256] = "";
    int64_t r = rt_new(&config, &rt, why, sizeof why);
    if (!fine("runtime", r)) {
        CHECK(strchr(why, ' ') != NULL);
        return;
    }
    PART(sockets);
    PART(farewells);
    PART(watches);
    PART(files);
    PART(children);
    PART(things);
    test_case = "the end";
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGALRM, test_on_sigterm);
    alarm(15);
    signal(SIGUSR1, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int before = open_fds();
    for (int round = 0; round < ROUNDS; round++) work();
    CHECK_EQ(open_fds(), before);
    return tellings > 0 ? TOLD : 0;
}
