/* The peer is a process that is stopped, again and again, while streams flow in both directions: the
 * sender waits, holds no more than it may, and nothing is lost when the peer goes on.
 */
#include "multi.h"
#include "soon.h"

#include <sys/wait.h>

enum { PIECE = 150000, LIMIT = 64 * 1024, GOES_ON = 500000 }; /* short writes, on TCP too */

enum style { DIRECT, OPERATIONS, QUEUES, STYLES };

/* One connection: two tasks, and a peer that sends back what it gets. */
struct flow {
    enum style style;
    rt_io io;
    atomic_bool sender_waits, finish;
    atomic_size_t sent, came;
    struct sender {
        rt_frame frame;
        rt_op op;
        int64_t r;
        size_t n, off;
        char data[PIECE];
    } sender;
    struct receiver {
        rt_frame frame;
        rt_op op;
        int64_t r;
        rt_buf lease;
        char data[PIECE];
    } receiver;
};

/* As RT_AWAIT, and tells whoever wants to know that it waits. */
static int64_t noted(struct flow *f, int64_t r) {
    atomic_store(&f->sender_waits, r == RT_PENDING);
    return r;
}

static int64_t send_all(rt_cx *cx, void *state) {
    struct flow *f = state;
    struct sender *s = &f->sender;
    RT_BEGIN(&s->frame);
    while (!atomic_load(&f->finish)) {
        net_pattern(s->data, PIECE, 9, atomic_load(&f->sent));
        for (s->off = 0; s->off < PIECE; s->off += (size_t)s->r) {
            if (f->style == DIRECT) {
                RT_AWAIT(s->r, noted(f, rt_poll_write(cx, f->io, s->data + s->off, PIECE - s->off)));
            } else if (f->style == OPERATIONS) {
                CHECK_EQ(rt_submit_send(cx, f->io, s->data + s->off, PIECE - s->off, 0, &s->op), 0);
                RT_AWAIT(s->r, noted(f, rt_poll_op(cx, s->op)));
            } else {
                while ((s->r = rt_send(f->io, s->data, PIECE)) == -EAGAIN) {
                    RT_AWAIT(s->r, noted(f, rt_poll_flush(cx, f->io, LIMIT / 2)));
                    CHECK_EQ(s->r, 0);
                }
            }
            CHECK_OK(s->r);
            CHECK(s->r > 0);
        }
        atomic_fetch_add(&f->sent, PIECE);
    }
    CHECK_EQ(rt_submit_shutdown(cx, f->io, SHUT_WR, &s->op), 0);
    RT_AWAIT(s->r, rt_poll_op(cx, s->op));
    RT_END(s->r);
}

static int64_t receive_all(rt_cx *cx, void *state) {
    struct flow *f = state;
    struct receiver *r = &f->receiver;
    const char *at;
    RT_BEGIN(&r->frame);
    if (f->style == QUEUES) CHECK_EQ(rt_submit_recv_multi(cx, f->io, &r->op), 0);
    for (;;) {
        if (f->style == DIRECT) {
            RT_AWAIT(r->r, rt_poll_read(cx, f->io, r->data, PIECE));
        } else if (f->style == OPERATIONS) {
            CHECK_EQ(rt_submit_recv(cx, f->io, r->data, PIECE, 0, &r->op), 0);
            RT_AWAIT(r->r, rt_poll_op(cx, r->op));
        } else {
            RT_AWAIT(r->r, rt_poll_recv_next(cx, r->op, &r->lease));
        }
        CHECK_OK(r->r);
        if (r->r == 0) break;
        at = f->style == QUEUES ? r->lease.ptr : r->data;
        CHECK(net_pattern_holds(at, (size_t)r->r, 9, atomic_load(&f->came)));
        if (f->style == QUEUES) CHECK_EQ(rt_buf_release(r->lease.lease), 0);
        atomic_fetch_add(&f->came, (size_t)r->r);
    }
    RT_END(0);
}

/* ---- the peer ---- */

static _Noreturn void echo(int fd) {
    static char data[30000];
    net_set_nonblock(fd, false);
    for (;;) {
        ssize_t n = read(fd, data, sizeof data);
        if (n == 0) _exit(0);
        if (n < 0) _exit(1);
        for (ssize_t off = 0, w; off < n; off += w)
            if ((w = write(fd, data + off, (size_t)(n - off))) < 0) _exit(2);
    }
}

static pid_t start_peer(int ends[2]) {
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        close(ends[0]);
        echo(ends[1]);
    }
    close(ends[1]);
    return pid;
}

static void signal_peer(pid_t pid, int sig) {
    int status;
    CHECK_SYS(kill(pid, sig));
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, WUNTRACED | WCONTINUED)), pid);
    CHECK(sig == SIGSTOP ? WIFSTOPPED(status) : WIFCONTINUED(status));
}

struct tamer {
    struct flow *f;
    pid_t pid;
    int rounds;
};

/* Stops the peer until the sender has to wait, and lets it go on until more came back. */
static void *tame(void *arg) {
    struct tamer *t = arg;
    struct flow *f = t->f;
    for (int round = 0; round < t->rounds; round++) {
        size_t came = atomic_load(&f->came);
        signal_peer(t->pid, SIGSTOP);
        atomic_store(&f->sender_waits, false);
        /* It may wait already, and not be polled again: then what was sent does not grow. */
        for (size_t sent = 0; !atomic_load(&f->sender_waits) && sent != atomic_load(&f->sent);) {
            sent = atomic_load(&f->sent);
            for (int i = 0; i < 1000; i++) sched_yield();
        }
        signal_peer(t->pid, SIGCONT);
        while (atomic_load(&f->came) < came + GOES_ON) sched_yield();
    }
    atomic_store(&f->finish, true);
    return NULL;
}

static void flow_through(enum style style, void (*connect_ends)(int[2])) {
    static struct flow f;
    int ends[2], status;
    rt_task tasks[2];
    memset(&f, 0, sizeof f);
    f.style = style;
    connect_ends(ends);
    net_small_buffer(ends[0]);
    net_small_buffer(ends[1]);
    struct tamer t = {.f = &f, .pid = start_peer(ends), .rounds = scaled(8)};
    rt_config config = test_config();
    config.send_limit = LIMIT;
    rt_runtime rt = test_runtime_with(&config);
    f.io = io_of(rt, ends[0], RW);
    CHECK_EQ(rt_spawn(rt, receive_all, &f, NULL, &tasks[0]), 0);
    CHECK_EQ(rt_spawn(rt, send_all, &f, NULL, &tasks[1]), 0);
    pthread_t thread = thread_start(tame, &t);
    for (int i = 0; i < 2; i++) CHECK_EQ(join_task(tasks[i]), 0);
    thread_join(thread);
    CHECK_EQ(atomic_load(&f.came), atomic_load(&f.sent));
    CHECK_EQ(CHECK_SYS(waitpid(t.pid, &status, 0)), t.pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(rt_close(f.io), 0);
    multi_runtime_free(rt);
}

static void all_styles(void (*connect_ends)(int[2])) {
    for (int style = 0; style < STYLES; style++) flow_through((enum style)style, connect_ends);
}

static void over_tcp(void) { all_styles(net_pair); }
static void over_unix(void) { all_styles(net_unix_pair); }

/* ---- a peer that is stopped for good is cut by its deadline ---- */

struct deaf {
    rt_frame frame;
    rt_io io;
    rt_op op;
    uint64_t at;
    int64_t r;
    char data[1 << 20];
};

static int64_t send_until(rt_cx *cx, void *state) {
    struct deaf *d = state;
    RT_BEGIN(&d->frame);
    do {
        d->at = rt_now() + 10000000;
        CHECK_EQ(rt_submit_send(cx, d->io, d->data, sizeof d->data, 0, &d->op), 0);
        CHECK_EQ(rt_op_deadline(d->op, d->at), 0);
        RT_AWAIT(d->r, rt_poll_op(cx, d->op));
    } while (d->r > 0);
    RT_END(d->r);
}

static void stopped_for_good(void) {
    static struct deaf d;
    int ends[2], status;
    memset(&d, 0, sizeof d);
    net_pair(ends);
    pid_t pid = start_peer(ends);
    signal_peer(pid, SIGSTOP);
    rt_runtime rt = test_runtime();
    d.io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_block_on(rt, send_until, &d), -ETIME);
    CHECK(rt_now() >= d.at);
    CHECK_EQ(rt_close(d.io), 0);
    CHECK_SYS(kill(pid, SIGKILL));
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(over_tcp);
    CASE(over_unix);
    CASE(stopped_for_good);
    return test_end();
}
