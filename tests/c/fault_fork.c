/* Forks in a program that is at work: the children end, execute something, call the library (which
 * refuses), or live on with copies of every descriptor. The parent's streams and timers do not notice.
 */
#include "multi.h"
#include "watch.h"

#include <dlfcn.h>
#include <sys/wait.h>

enum { RECORD = 3000, PAIRS = 3 };

/* ---- what goes on in the parent ---- */

/* A conversation that ends when it is told to, and a timer that ticks. */
struct side {
    rt_frame frame;
    rt_io io;
    rt_op op;
    bool begins;
    int64_t r;
    size_t off, have;
    atomic_uint_fast64_t round;
    atomic_bool *stop;
    rt_task task;
    unsigned char data[RECORD];
};

static int64_t converse(rt_cx *cx, void *state) {
    struct side *s = state;
    RT_BEGIN(&s->frame);
    for (s->round = 0;; s->round++) {
        if (s->begins) {
            if (atomic_load(s->stop)) break;
            net_pattern(s->data, RECORD, s->round, 0);
            RT_AWAIT(s->r, rt_poll_write_all(cx, s->io, s->data, RECORD, &s->off));
            CHECK_EQ(s->r, RECORD);
        }
        for (s->have = 0; s->have < RECORD; s->have += (size_t)s->r) {
            RT_AWAIT(s->r, rt_poll_read(cx, s->io, s->data + s->have, RECORD - s->have));
            CHECK_OK(s->r);
            if (s->r == 0) { /* the other one is done */
                CHECK(!s->begins && s->have == 0);
                RT_RETURN(0);
            }
        }
        CHECK(net_pattern_holds(s->data, RECORD, s->round, 0));
        if (!s->begins) {
            RT_AWAIT(s->r, rt_poll_write_all(cx, s->io, s->data, RECORD, &s->off));
            CHECK_EQ(s->r, RECORD);
        }
    }
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
    RT_AWAIT(s->r, rt_poll_op(cx, s->op));
    RT_END(s->r);
}

static struct side sides[PAIRS][2];
static atomic_bool stop;
static atomic_int ticks;

static void tick(void *arg) {
    (void)arg;
    atomic_fetch_add(&ticks, 1);
}

static bool has_ticked(void *arg) {
    (void)arg;
    return atomic_load(&ticks) > 0;
}

struct busy {
    rt_runtime rt;
    rt_task ticker;
};

static void busy_start(struct busy *b) {
    memset(sides, 0, sizeof sides);
    atomic_store(&stop, false);
    atomic_store(&ticks, 0);
    b->rt = test_runtime();
    for (int p = 0; p < PAIRS; p++) {
        int ends[2];
        net_pair(ends);
        for (int i = 0; i < 2; i++) {
            sides[p][i] = (struct side){.io = io_of(b->rt, ends[i], RW), .begins = i == 0};
            sides[p][i].stop = &stop;
            CHECK_EQ(rt_spawn(b->rt, converse, &sides[p][i], NULL, &sides[p][i].task), 0);
        }
    }
    CHECK_EQ(rt_call_at(b->rt, rt_now(), 1000000, tick, NULL, NULL, &b->ticker), 0);
}

static bool all_talk(void *arg) {
    (void)arg;
    for (int p = 0; p < PAIRS; p++)
        if (atomic_load(&sides[p][0].round) == 0) return false;
    return true;
}

static void busy_end(struct busy *b) {
    drive_until(b->rt, all_talk, NULL);
    atomic_store(&stop, true);
    for (int p = 0; p < PAIRS; p++)
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(join_task(sides[p][i].task), 0);
            CHECK_EQ(rt_close(sides[p][i].io), 0);
        }
    CHECK_EQ(rt_abort(b->ticker), 0);
    CHECK_EQ(join_task(b->ticker), -ECANCELED);
    multi_runtime_free(b->rt);
}

/* What else may be under way: a watch, an end that the peer has not heard to the last, and a connect that waits. */
struct waiting {
    struct watched watched;
    rt_io lingering, io;
    int peer, listener, filling[2];
    size_t left;
    rt_op slot;
    char path[64];
    atomic_int forks[3]; /* of the watch, of the one that lingers, of the one that connects */
};

/* The context of the poll that forks, and its slot. */
static _Thread_local rt_cx *here;
static _Thread_local rt_op its_slot;

/* ---- the children ---- */

static void hear_nothing(void *arg, int fd, uint32_t ready) { (void)arg, (void)fd, (void)ready; }

static void refused(rt_runtime rt) {
    rt_runtime other = 0;
    rt_io io = 0, pair[2];
    rt_event event = 0;
    rt_timer timer = 0;
    rt_watch watch = 0;
    rt_task task = 0;
    struct side *s = &sides[0][0];
    CHECK_EQ(rt_new(NULL, &other, NULL, 0), -EPERM);
    CHECK_EQ(rt_spawn(rt, converse, s, NULL, &task), -EPERM);
    CHECK_EQ(rt_send(s->io, "intruder", 8), -EPERM);
    CHECK_EQ(rt_close(s->io), -EPERM);
    CHECK_EQ(rt_register_fd(rt, 0, RT_READABLE | RT_IO_BORROWED, &io), -EPERM);
    CHECK_EQ(rt_unix_pair(rt, SOCK_STREAM, pair), -EPERM);
    CHECK_EQ(rt_event_new(rt, &event), -EPERM);
    CHECK_EQ(rt_timer_start(rt, 0, &timer), -EPERM);
    CHECK_EQ(rt_watch_open(rt, 0, -1, hear_nothing, NULL, NULL, &watch), -EPERM);
    CHECK_EQ(rt_abort(s->task), -EPERM);
    CHECK_EQ(rt_shutdown(rt, 0), -EPERM);
    CHECK_EQ(rt_free(rt), -EPERM);
}

static struct waiting waiting;
static void refused_while_waiting(struct waiting *w);

enum fate { ENDS, EXECUTES, ASKS, CLOSES, FATES };

static _Noreturn void live(rt_runtime rt, enum fate fate) {
    switch (fate) {
    case EXECUTES: execl("/bin/true", "true", (char *)NULL); _exit(127);
    case ASKS: refused(rt); refused_while_waiting(&waiting); _exit(0);
    case CLOSES:
        for (int fd = 3; fd < 1024; fd++) close(fd);
        _exit(0);
    default: _exit(0);
    }
}

static void bear(rt_runtime rt, enum fate fate) {
    int status;
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) live(rt, fate);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
}

/* ---- forks by threads of the program's ---- */

struct forker {
    rt_runtime rt;
    int count;
    atomic_bool done;
};

static void *fork_many(void *arg) {
    struct forker *f = arg;
    for (int i = 0; i < f->count; i++) bear(f->rt, (enum fate)(i % FATES));
    atomic_store(&f->done, true);
    return NULL;
}

static void children_of_threads(void) {
    struct busy b;
    busy_start(&b);
    struct forker f = {.rt = b.rt, .count = scaled(100), .done = false};
    pthread_t thread = thread_start(fork_many, &f);
    drive_until(b.rt, flag_set, &f.done);
    thread_join(thread);
    drive_until(b.rt, has_ticked, NULL);
    busy_end(&b);
}

/* ---- forks in polls ---- */

struct parent {
    rt_frame frame;
    int i, count;
};

static int64_t fork_in_polls(rt_cx *cx, void *state) {
    struct parent *p = state;
    RT_BEGIN(&p->frame);
    for (p->i = 0; p->i < p->count; p->i++) {
        bear(rt_cx_runtime(cx), (enum fate)(p->i % FATES));
        RT_YIELD(cx);
    }
    RT_END(0);
}

static void children_of_tasks(void) {
    struct busy b;
    busy_start(&b);
    struct parent p = {.count = scaled(60)};
    CHECK_EQ(rt_block_on(b.rt, fork_in_polls, &p), 0);
    busy_end(&b);
}

/* ---- forks while somebody watches, lingers and connects ---- */

static int64_t polled_while_waiting(rt_cx *cx, int which, int64_t r) {
    atomic_int *forks = &waiting.forks[which];
    if (r != RT_PENDING || atomic_load(forks) == FATES) return r;
    here = cx;
    bear(rt_cx_runtime(cx), (enum fate)atomic_load(forks));
    atomic_fetch_add(forks, 1);
    here = NULL;
    return rt_yield(cx);
}

static int64_t lingers(rt_cx *cx, void *state) {
    struct waiting *w = state;
    return polled_while_waiting(cx, 1, rt_poll_linger(cx, w->lingering, &w->left));
}

static int64_t connects(rt_cx *cx, void *state) {
    struct waiting *w = state;
    int64_t r = rt_poll_unix_connect(cx, &w->slot, w->path, NULL, &w->io);
    its_slot = w->slot;
    r = polled_while_waiting(cx, 2, r);
    its_slot = 0;
    return r;
}

static void watches(struct watched *w, uint32_t ready) {
    char byte;
    CHECK_EQ(ready, RT_READABLE);
    CHECK_EQ(read(w->fd, &byte, 1), 1);
    int forks = atomic_fetch_add(&waiting.forks[0], 1);
    if (forks < FATES) bear(w->rt, (enum fate)forks);
}

static void refused_while_waiting(struct waiting *w) {
    if (w->watched.watch == 0) return;
    CHECK_EQ(rt_watch_for(w->watched.watch, 0), -EPERM);
    CHECK_EQ(rt_watch_at(w->watched.watch, 0), -EPERM);
    CHECK_EQ(rt_watch_close(w->watched.watch), -EPERM);
    if (here == NULL) return;
    rt_op slot = its_slot, none = 0;
    rt_io io = 0;
    CHECK_EQ(rt_poll_linger(here, w->lingering, &(size_t){1}), -EPERM);
    CHECK_EQ(rt_poll_unix_connect(here, &slot, w->path, NULL, &io), -EPERM);
    CHECK_EQ(slot, its_slot);
    CHECK_EQ(rt_poll_tcp_connect(here, &none, "localhost", 1, NULL, &io), -EPERM);
    CHECK(none == 0 && io == 0);
}

/* A listener whose queue is full: a connect to it waits until somebody accepts. */
static void fill_queue(struct waiting *w) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int n = snprintf(w->path, sizeof w->path, "@asyncio-fork-%d", (int)getpid());
    memcpy(name.sun_path + 1, w->path + 1, (size_t)n - 1);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
    w->listener = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    CHECK_SYS(bind(w->listener, (struct sockaddr *)&name, len));
    CHECK_SYS(listen(w->listener, 0));
    for (int i = 0; i < 2; i++) {
        w->filling[i] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (connect(w->filling[i], (struct sockaddr *)&name, len) != 0) CHECK_EQ(errno, EAGAIN);
    }
}

static bool all_forked(void *arg) {
    struct waiting *w = arg;
    return atomic_load(&w->forks[1]) == FATES && atomic_load(&w->forks[2]) == FATES;
}

static void children_of_who_waits(void) {
    struct waiting *w = &waiting;
    rt_task tasks[2];
    int ends[2];
    char byte;
    rt_runtime rt = test_runtime();
    memset(w, 0, sizeof *w);
    net_pair(ends);
    w->lingering = io_of(rt, ends[0], RW);
    w->peer = ends[1];
    w->left = RECORD;
    fill_queue(w);
    watched_pair(&w->watched, rt, net_pair, watches);
    CHECK_EQ(rt_watch_for(w->watched.watch, RT_READABLE), 0);
    CHECK_EQ(rt_spawn(rt, lingers, w, NULL, &tasks[0]), 0);
    CHECK_EQ(rt_spawn(rt, connects, w, NULL, &tasks[1]), 0);
    for (int i = 0; i < FATES; i++) {
        bear(rt, (enum fate)i);
        net_put(w->watched.far, "x", 1);
        watched_await(&w->watched, i + 1);
    }
    /* Their polls end by a yield each, so that they come to an end by themselves. */
    while (!all_forked(w)) deliver(rt);

    CHECK_EQ(net_get(w->peer, &byte, 1), 0); /* heard, whoever else had the descriptor */
    net_put(w->peer, "bye", 3);
    CHECK_SYS(shutdown(w->peer, SHUT_WR));
    CHECK_EQ(join_soon(tasks[0]), 0);
    CHECK_EQ(w->left, RECORD - 3);
    int taken = net_take(w->listener);
    CHECK_EQ(join_soon(tasks[1]), 0);
    CHECK(w->slot == 0 && w->io != 0);
    net_put(w->watched.far, "x", 1);
    watched_await(&w->watched, FATES + 1);

    CHECK_EQ(rt_close(w->io), 0);
    CHECK_EQ(rt_close(w->lingering), 0);
    for (int i = 0; i < 2; i++) close(w->filling[i]);
    close(taken);
    close(w->listener);
    close(w->peer);
    watched_close(&w->watched);
    w->watched.watch = 0;
    op_runtime_free(rt);
}

/* ---- a child that lives on ---- */

/* It has copies of everything, so that what the parent closes is open all the same: a set from which
 * it was not taken would go on telling of it, though its number belongs to somebody else. */
static void a_child_with_copies(void) {
    int gate[2], ends[2], others[2], status;
    rt_runtime rt = test_runtime();
    net_pair(ends);
    rt_io io = io_of(rt, ends[0], RW);
    struct hand h, reader; /* the second one is woken for what is to be read and nothing else */
    hand_open(&h, rt);
    hand_open(&reader, rt);
    await_ready(&h, io, RT_WRITABLE);
    hand_park(&h, io, RT_READABLE);
    CHECK_SYS(pipe2(gate, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        close(gate[1]);
        while (read(gate[0], &(char){0}, 1) == -1 && errno == EINTR) continue;
        _exit(0);
    }
    CHECK_EQ(rt_close(io), 0);
    while (net_is_open(ends[0])) deliver(rt);
    net_unix_pair(others);
    CHECK_EQ(others[0], ends[0]); /* the number is a stranger's now */
    rt_io other = io_of(rt, others[0], RW);
    await_ready(&h, other, RT_WRITABLE);
    hand_park(&reader, other, RT_READABLE);
    net_put(ends[1], "to the child's copy", 19);
    deliver(rt);
    CHECK_EQ(bits_of(other, RT_READABLE), 0);
    CHECK_EQ(atomic_load(&reader.wakes), 0);
    net_put(others[1], "x", 1);
    await_ready(&reader, other, RT_READABLE);
    CHECK_EQ(rt_close(other), 0);
    close(others[1]);
    close(ends[1]);
    close(gate[0]);
    close(gate[1]);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    hand_close(&h);
    hand_close(&reader);
    test_runtime_free(rt);
    hand_check(&h);
    hand_check(&reader);
}

/* The same of a watch, whose descriptor nobody registered but the watch. */
static void a_child_with_a_watch(void) {
    int gate[2], status;
    char byte;
    struct watched old, new;
    rt_runtime rt = test_runtime();
    watched_pair(&old, rt, net_pair, NULL);
    CHECK_EQ(rt_watch_for(old.watch, RT_READABLE), 0);
    deliver(rt);
    CHECK_SYS(pipe2(gate, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        close(gate[1]);
        while (read(gate[0], &byte, 1) == -1 && errno == EINTR) continue;
        CHECK_EQ(rt_watch_close(old.watch), -EPERM);
        _exit(0);
    }
    CHECK_EQ(rt_watch_close(old.watch), 0);
    drive_until(rt, watched_dropped, &old);
    CHECK_SYS(close(old.fd));
    watched_pair(&new, rt, net_unix_pair, NULL);
    CHECK_EQ(new.fd, old.fd); /* the number is a stranger's now */
    CHECK_EQ(rt_watch_for(new.watch, RT_READABLE), 0);
    net_put(old.far, "to the child's copy", 19);
    deliver(rt);
    CHECK_EQ(atomic_load(&old.calls) + atomic_load(&new.calls), 0);
    net_put(new.far, "x", 1);
    watched_await(&new, 1);
    watched_close(&new);
    CHECK_SYS(close(old.far));
    close(gate[0]);
    close(gate[1]);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    test_runtime_free(rt);
}

/* It outlives the runtime. */
static void a_child_that_is_left(void) {
    for (int i = 0; i < scaled(10); i++) {
        int gate[2], status;
        struct busy b;
        busy_start(&b);
        CHECK_SYS(pipe2(gate, O_CLOEXEC));
        fflush(NULL);
        pid_t pid = (pid_t)CHECK_SYS(fork());
        if (pid == 0) {
            close(gate[1]);
            while (read(gate[0], &(char){0}, 1) == -1 && errno == EINTR) continue;
            refused(b.rt);
            _exit(0);
        }
        busy_end(&b);
        close(gate[0]);
        close(gate[1]);
        CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
        CHECK_EQ(status, 0);
    }
}

/* ---- children that come back ---- */

/* As when their exec failed. A child has one thread. If that drives the runtime, whoever drove it is refused; if it is a
 * thread of the library's, it ends, and the child with it as by exit(3). */
enum { LEFT = 42, STAYED };

static pid_t parent;

static void leave(void) { _exit(LEFT); }

/* In whatever the library would call next. */
static void in_the_parent_only(void) {
    if (getpid() != parent) _exit(STAYED);
}

/* The C library's own, whatever else has the name here. */
static void *of_libc(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    CHECK(found != NULL);
    return found;
}

/* The parent comes back when the child is over, so that what the child took from it is not there any more. The child's last
 * thread calls nothing but _exit as it ends, for ThreadSanitizer has let go of that thread by then. */
static int64_t fork_and_come_back(void *arg) {
    int (*at_exit)(void (*)(void *), void *, void *);
    void (*leave_at_last)(void *);
    pid_t *child = arg;
    siginfo_t info;
    *(void **)&at_exit = of_libc("__cxa_atexit");
    *(void **)&leave_at_last = of_libc("_exit");
    fflush(NULL);
    *child = (pid_t)CHECK_SYS(fork());
    if (*child != 0) return CHECK_SYS(waitid(P_PID, (id_t)*child, &info, WEXITED | WNOWAIT));
    CHECK_EQ(at_exit(leave_at_last, (void *)(intptr_t)LEFT, NULL), 0);
    execl("/no/such/program", "program", (char *)NULL);
    return -errno;
}

static int64_t stand_by(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    in_the_parent_only();
    return 0;
}

/* With a task behind it in its worker's queue. */
static int64_t fork_in_a_poll(rt_cx *cx, void *state) {
    rt_spawn_opts opts;
    CHECK_EQ(rt_spawn_opts_init(&opts, sizeof opts), 0);
    opts.poll = stand_by;
    opts.flags = RT_SPAWN_PINNED;
    CHECK_EQ(rt_spawn_with(rt_cx_runtime(cx), &opts, NULL), 0);
    return fork_and_come_back(state);
}

struct caller {
    rt_frame frame;
    rt_op op;
    int64_t r;
    pid_t child;
};

static int64_t fork_in_a_call(rt_cx *cx, void *state) {
    struct caller *c = state;
    RT_BEGIN(&c->frame);
    RT_AWAIT_OP(c->r, cx, c->op, rt_submit_call(cx, fork_and_come_back, &c->child, &c->op));
    RT_END(c->r);
}

static bool has_left(void *arg) {
    pid_t child = *(pid_t *)arg;
    int status;
    pid_t ended = (pid_t)CHECK_SYS(waitpid(child, &status, WNOHANG));
    if (ended == child) CHECK(WIFEXITED(status) && WEXITSTATUS(status) == LEFT);
    return ended == child;
}

/* The same for who looks from another thread, or a child from its own place: 0 there, negative before. */
static void fork_for_all(atomic_int *child) {
    pid_t pid;
    fork_and_come_back(&pid);
    atomic_store(child, pid);
}

/* In a hook. */
static atomic_int hook_child;

static void fork_in_a_hook(void *arg) {
    (void)arg;
    int awaited = -1;
    if (atomic_compare_exchange_strong(&hook_child, &awaited, -2)) fork_for_all(&hook_child);
}

struct sleeper {
    rt_frame frame;
    rt_timer slot;
    uint64_t at;
    int64_t r;
};

/* Sleeps in between, so that workers park. */
static int64_t until_the_hook_has_forked(rt_cx *cx, void *state) {
    struct sleeper *s = state;
    RT_BEGIN(&s->frame);
    while (atomic_load(&hook_child) < 0) {
        s->at = rt_now() + 1000000;
        RT_AWAIT(s->r, rt_poll_sleep(cx, &s->slot, s->at));
    }
    RT_END(0);
}

static void a_child_that_comes_back_from_a_hook(void) {
    rt_config config = test_config();
    config.on_park = fork_in_a_hook;
    atomic_store(&hook_child, -1);
    rt_runtime rt = test_runtime_with(&config);
    struct sleeper s = {.at = 0};
    int64_t r = rt_block_on(rt, until_the_hook_has_forked, &s);
    pid_t child = atomic_load(&hook_child);
    if (child == 0) {
        CHECK_EQ(r, -EPERM);
        leave();
    }
    CHECK_EQ(r, 0);
    drive_until(rt, has_left, &child);
    test_runtime_free(rt);
}

/* In a function that is told an outcome, and in a waker of the program's. */
enum { TOLD = 2 };

struct told {
    rt_frame frame;
    rt_timer slot;
    uint64_t at;
    rt_runtime rt;
    rt_io from[TOLD], io; /* whose bytes are told of; of which events tell */
    int to[TOLD], far;
    rt_cx *own; /* a context of the program's: its waker forks */
    rt_op op;
    int64_t r;
    char bytes[TOLD];
    atomic_int tellings, child;
    bool heard;
};

/* All on the worker of the poll that this is called in. The bytes are there, or come later. */
static void told_open(struct told *t, rt_cx *cx, rt_done_fn tell, bool there) {
    int ends[2];
    t->rt = rt_cx_runtime(cx);
    for (int i = 0; i < TOLD; i++) {
        net_pair(ends);
        t->from[i] = io_of(t->rt, ends[0], RW);
        t->to[i] = ends[1];
        if (there) net_put(ends[1], "x", 1);
        CHECK_EQ(rt_submit_recv(cx, t->from[i], &t->bytes[i], 1, 0, &t->op), 0);
        CHECK_EQ(rt_op_forget(t->op, tell, t), 0);
    }
    net_pair(ends);
    t->io = io_of(t->rt, ends[0], RW);
    t->far = ends[1];
}

static void told_close(struct told *t) {
    for (int i = 0; i < TOLD; i++) {
        CHECK_EQ(rt_close(t->from[i]), 0);
        close(t->to[i]);
    }
    CHECK_EQ(rt_close(t->io), 0);
    close(t->far);
}

/* One of several forks. */
static void fork_once(struct told *t) {
    int awaited = -1;
    if (atomic_compare_exchange_strong(&t->child, &awaited, -2)) fork_for_all(&t->child);
}

static void be_told(void *arg, int64_t outcome) {
    struct told *t = arg;
    CHECK_EQ(outcome, 1);
    in_the_parent_only();
    atomic_fetch_add(&t->tellings, 1);
}

/* The child may not look for the event that has come meanwhile. */
static void fork_when_told(void *arg, int64_t outcome) {
    struct told *t = arg;
    be_told(arg, outcome);
    if (atomic_load(&t->child) == -1) net_put(t->far, "x", 1);
    fork_once(t);
}

static bool heard(struct told *t, rt_cx *cx) {
    char byte;
    if (!t->heard) {
        int64_t r = rt_poll_read(cx, t->io, &byte, 1);
        t->heard = r != RT_PENDING;
        if (t->heard) CHECK_EQ(r, 1);
    }
    return t->heard;
}

/* The worker is told before it looks at its driver, where an event waits. */
static int64_t until_told(rt_cx *cx, void *state) {
    struct told *t = state;
    RT_BEGIN(&t->frame);
    told_open(t, cx, fork_when_told, true);
    while (!heard(t, cx) || atomic_load(&t->child) < 0 || atomic_load(&t->tellings) < TOLD) {
        t->at = rt_now() + 1000000;
        RT_AWAIT(t->r, rt_poll_sleep(cx, &t->slot, t->at));
    }
    RT_END(0);
}

static void *clone_as_is(void *data) { return data; }
static void drop_nothing(void *data) { (void)data; }
static void fork_when_woken(void *data) { fork_once(data); }

/* The bytes come with the event that the waker is called for. */
static int64_t until_woken(rt_cx *cx, void *state) {
    struct told *t = state;
    rt_ready ready;
    RT_BEGIN(&t->frame);
    told_open(t, cx, be_told, false);
    CHECK_EQ(rt_poll_ready(t->own, t->io, RT_READABLE, &ready), RT_PENDING);
    t->at = rt_now() + 1000000;
    RT_AWAIT(t->r, rt_poll_sleep(cx, &t->slot, t->at));
    for (int i = 0; i < TOLD; i++) net_put(t->to[i], "x", 1);
    net_put(t->far, "x", 1);
    while (atomic_load(&t->child) < 0 || atomic_load(&t->tellings) < TOLD) {
        t->at = rt_now() + 1000000;
        RT_AWAIT(t->r, rt_poll_sleep(cx, &t->slot, t->at));
    }
    RT_END(0);
}

/* Where this thread drives, the child comes back here. */
static void see_it_leave(rt_runtime rt, rt_poll_fn poll, struct told *t) {
    int64_t r = rt_block_on(rt, poll, t);
    pid_t child = atomic_load(&t->child);
    if (child == 0) {
        CHECK_EQ(r, -EPERM);
        leave();
    }
    CHECK_EQ(r, 0);
    drive_until(rt, has_left, &child);
    told_close(t);
}

static void a_child_that_comes_back_from_what_it_was_told(void) {
    rt_runtime rt = test_runtime();
    struct told t = {.child = -1};
    see_it_leave(rt, until_told, &t);
    test_runtime_free(rt);
}

static void a_child_that_comes_back_from_a_waker(void) {
    static const rt_waker_vtable table = {clone_as_is, fork_when_woken, fork_when_woken, drop_nothing};
    rt_runtime rt = test_runtime();
    rt_waker waker;
    struct told t = {.child = -1};
    CHECK_EQ(rt_waker_new(&table, &t, &waker), 0);
    CHECK_EQ(rt_cx_new(rt, &waker, &t.own), 0);
    see_it_leave(rt, until_woken, &t);
    CHECK_EQ(rt_cx_free(t.own), 0);
    CHECK_EQ(rt_waker_drop(&waker), 0);
    test_runtime_free(rt);
}

static void children_that_come_back(void) {
    struct busy b;
    pid_t child = -1;
    struct caller c = {.child = -1};
    busy_start(&b);
    int64_t r = rt_block_on(b.rt, fork_in_a_poll, &child);
    if (child == 0) {
        CHECK_EQ(r, -EPERM);
        CHECK_EQ(rt_turn(b.rt, 0), -EPERM);
        CHECK_EQ(rt_free(b.rt), -EPERM);
        leave();
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(rt_block_on(b.rt, fork_in_a_call, &c), 0);
    drive_until(b.rt, has_left, &child);
    drive_until(b.rt, has_left, &c.child);
    busy_end(&b);
}

/* Whoever waits for the task has locks now and then, which nobody gives back in the child. */
enum { CROWD = 4 };

struct crowd {
    rt_task task;
    pid_t child;
    atomic_int there;
    bool drops;
};

static int64_t fork_in_a_crowd(rt_cx *cx, void *state) {
    struct crowd *c = state;
    if (atomic_load(&c->there) < CROWD) return rt_yield(cx);
    return c->drops ? 0 : fork_and_come_back(&c->child);
}

static void fork_as_it_is_dropped(void *state) {
    struct crowd *c = state;
    in_the_parent_only();
    if (c->drops) fork_and_come_back(&c->child);
}

static void *wait_and_again(void *arg) {
    struct crowd *c = arg;
    int64_t r;
    atomic_fetch_add(&c->there, 1);
    do r = rt_join(c->task, 1000, NULL);
    while (r == -ETIME);
    CHECK(r == 0 || r == -EBADF);
    return NULL;
}

static void children_that_come_back_in_a_crowd(void) {
    if (test_workers == 0) return; /* nobody is beside who forks */
    for (int i = 0; i < scaled(200); i++) {
        pthread_t threads[CROWD];
        struct crowd c = {.drops = i % 2};
        rt_runtime rt = test_runtime();
        CHECK_EQ(rt_spawn(rt, fork_in_a_crowd, &c, fork_as_it_is_dropped, &c.task), 0);
        for (int t = 0; t < CROWD; t++) threads[t] = thread_start(wait_and_again, &c);
        for (int t = 0; t < CROWD; t++) thread_join(threads[t]);
        CHECK(has_left(&c.child));
        test_runtime_free(rt);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    parent = getpid();
    CASE(children_of_threads);
    CASE(children_of_tasks);
    CASE(children_of_who_waits);
    CASE(a_child_with_copies);
    CASE(a_child_with_a_watch);
    CASE(a_child_that_is_left);
    CASE(children_that_come_back);
    CASE(children_that_come_back_in_a_crowd);
    CASE(a_child_that_comes_back_from_a_hook);
    CASE(a_child_that_comes_back_from_what_it_was_told);
    CASE(a_child_that_comes_back_from_a_waker);
    return test_end();
}
