/* Connecting as one awaitable call: what it yields, and the ways in which it ends without that. The
 * slot is all that there is of it, and needs no care. No descriptor is left by any, which each case
 * counts.
 */
#include "op.h"

struct dial {
    rt_frame frame;
    const char *host;
    uint16_t port;
    uint64_t deadline;
    rt_op slot;
    rt_io io;
    rt_timer timer;
    int64_t got;
    int polls;
};

/* The options are gone after each call, and garbage in later ones. */
static int64_t dial_once(rt_cx *cx, struct dial *d) {
    rt_tcp_opts opts = {.size = sizeof opts, .deadline = d->deadline};
    if (d->slot != 0) memset(&opts, 0xff, sizeof opts);
    const char *host = d->slot == 0 ? d->host : NULL;
    d->polls++;
    int64_t r = rt_poll_tcp_connect(cx, &d->slot, host, d->slot == 0 ? d->port : 1, &opts, &d->io);
    memset(&opts, 0xff, sizeof opts);
    if (r != RT_PENDING) CHECK_EQ(d->slot, 0);
    if (r < 0) CHECK_EQ(d->io, 0);
    return r;
}

static int64_t dial(rt_cx *cx, void *state) { return dial_once(cx, state); }

/* A listener at whose address connections hang, for others fill its queue. */
struct wall {
    int listener, filling[4];
};

static uint16_t wall_up(struct wall *w) {
    w->listener = net_listen(0);
    struct sockaddr_in name = net_name(w->listener);
    for (int i = 0; i < 4; i++) {
        w->filling[i] = net_socket(SOCK_STREAM);
        if (connect(w->filling[i], (struct sockaddr *)&name, sizeof name) != 0) CHECK_EQ(errno, EINPROGRESS);
    }
    net_wait(w->listener, POLLIN); /* the first is in the queue */
    return ntohs(name.sin_port);
}

static void wall_down(struct wall *w) {
    close(w->listener);
    for (int i = 0; i < 4; i++) close(w->filling[i]);
}

static bool is_under_way(void *arg) { return metrics(*(rt_runtime *)arg).ios_live > 0; }

/* ---- what it yields ---- */

static int64_t dial_and_talk(rt_cx *cx, void *state) {
    struct dial *d = state;
    static char byte;
    RT_BEGIN(&d->frame);
    RT_AWAIT(d->got, dial_once(cx, d));
    CHECK_EQ(d->got, 0);
    CHECK(d->polls > 1); /* it was waited for */
    RT_AWAIT(d->got, rt_poll_write(cx, d->io, "x", 1));
    CHECK_EQ(d->got, 1);
    RT_AWAIT(d->got, rt_poll_read(cx, d->io, &byte, 1));
    CHECK_EQ(byte, 'y');
    RT_END(d->got);
}

static void *answer(void *arg) {
    char byte;
    int far = net_take(*(int *)arg);
    CHECK_EQ(net_get(far, &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    net_put(far, "y", 1);
    close(far);
    return NULL;
}

static void by_address_and_name(void) {
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (int i = 0; i < 2; i++) {
        rt_runtime rt = test_runtime();
        int listener = net_listen(1);
        struct dial d = {.host = hosts[i], .port = ntohs(net_name(listener).sin_port)};
        pthread_t thread = thread_start(answer, &listener);
        CHECK_EQ(rt_block_on(rt, dial_and_talk, &d), 1);
        thread_join(thread);
        int fd = (int)rt_io_fd(d.io);
        CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
        CHECK_EQ(rt_close(d.io), 0);
        close(listener);
        op_runtime_free(rt);
    }
}

struct unix_dial {
    const char *path;
    rt_op slot;
    rt_io io;
};

static int64_t dial_unix(rt_cx *cx, void *state) {
    struct unix_dial *d = state;
    return rt_poll_unix_connect(cx, &d->slot, d->slot == 0 ? d->path : NULL, NULL, &d->io);
}

static void to_a_unix_socket(void) {
    char path[64];
    rt_runtime rt = test_runtime();
    rt_io listener;
    snprintf(path, sizeof path, "@asyncio-dial-%d", (int)getpid());
    struct unix_dial d = {.path = path};
    CHECK_EQ(rt_block_on(rt, dial_unix, &d), -ECONNREFUSED);
    CHECK_EQ(rt_unix_listen(rt, path, NULL, &listener), 0);
    CHECK_EQ(rt_block_on(rt, dial_unix, &d), 0);
    CHECK_EQ(d.slot, 0);
    CHECK(rt_io_fd(d.io) >= 0);
    CHECK_EQ(rt_close(d.io), 0);
    CHECK_EQ(rt_close(listener), 0);
    d.path = "";
    CHECK_EQ(rt_block_on(rt, dial_unix, &d), -EINVAL);
    op_runtime_free(rt);
}

/* ---- other ends ---- */

static void refused(void) {
    rt_runtime rt = test_runtime();
    int bound = net_bound(SOCK_STREAM);
    struct dial d = {.host = "127.0.0.1", .port = ntohs(net_name(bound).sin_port)};
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_block_on(rt, dial, &d), -ECONNREFUSED);
    close(bound);
    op_runtime_free(rt);
}

/* By the options, by the operation, and by the caller. */
static int64_t dial_until(rt_cx *cx, void *state) {
    struct dial *d = state;
    RT_BEGIN(&d->frame);
    d->deadline = rt_now() + 30000000;
    RT_AWAIT(d->got, dial_once(cx, d));
    CHECK_EQ(d->got, -ETIME);
    CHECK(rt_now() >= d->deadline);

    d->deadline = 0;
    CHECK_EQ(dial_once(cx, d), RT_PENDING);
    CHECK_EQ(rt_op_deadline(d->slot, rt_now() + 30000000), 0);
    RT_AWAIT(d->got, dial_once(cx, d));
    CHECK_EQ(d->got, -ETIME);

    CHECK_EQ(dial_once(cx, d), RT_PENDING);
    CHECK_EQ(rt_cancel(d->slot), 0);
    RT_AWAIT(d->got, dial_once(cx, d));
    CHECK_EQ(d->got, -ECANCELED);

    d->deadline = rt_now() + 30000000;
    RT_AWAIT(d->got, rt_poll_deadline(cx, &d->timer, d->deadline, dial_once(cx, d)));
    CHECK_EQ(d->got, -ETIME);
    RT_END(0); /* with the slot in use, or not: either was first */
}

static void at_a_time(void) {
    struct wall w;
    rt_runtime rt = test_runtime();
    int before = open_fds();
    struct dial d = {.host = "127.0.0.1", .port = wall_up(&w)};
    CHECK_EQ(rt_block_on(rt, dial_until, &d), 0);
    wall_down(&w);
    settle(rt);
    CHECK_EQ(open_fds(), before);
    op_runtime_free(rt);
}

/* A task that ends leaves the attempt to the library, wherever it is. */
static void by_an_abort(void) {
    struct wall w;
    uint16_t port = wall_up(&w);
    rt_runtime rt = test_runtime();
    int before = open_fds();
    for (int i = 0; i < 10; i++) {
        struct dial d = {.host = i < 5 ? "127.0.0.1" : "localhost", .port = port};
        rt_task task = 0;
        CHECK_EQ(rt_spawn(rt, dial, &d, NULL, &task), 0);
        if (i % 2 == 0) drive_until(rt, is_under_way, &rt);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        settle(rt);
        /* The thread that asks for a name goes on alone, with a file open. */
        if (i < 5) CHECK_EQ(open_fds(), before);
        else while (open_fds() != before) sched_yield();
    }
    wall_down(&w);
    op_runtime_free(rt);
}

static void by_a_shutdown(void) {
    struct wall w;
    rt_runtime rt = test_runtime();
    struct dial d = {.host = "127.0.0.1", .port = wall_up(&w)};
    rt_task task = 0;
    CHECK_EQ(rt_spawn(rt, dial, &d, NULL, &task), 0);
    drive_until(rt, is_under_way, &rt);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    int64_t result = 0;
    CHECK_EQ(rt_join(task, RT_NEVER, &result), 0);
    if (result != -ESHUTDOWN) CHECK_EQ(result, -ECANCELED); /* what its socket said, or an abort */
    wall_down(&w);
    CHECK_EQ(rt_free(rt), 0);
}

/* It asks once, and ends: the connection may have been made, or not. */
static int64_t ask_once(rt_cx *cx, void *state) {
    struct dial *d = state;
    if (d->polls > 0) return 0;
    CHECK_EQ(dial_once(cx, d), RT_PENDING);
    return rt_yield(cx);
}

/* What was made for nobody is closed: the far end sees that. */
static void nobody_takes_it(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(64), before = open_fds();
    for (int i = scaled(40); i > 0; i--) {
        struct dial d = {.host = "127.0.0.1", .port = ntohs(net_name(listener).sin_port)};
        CHECK_EQ(rt_block_on(rt, ask_once, &d), 0);
        settle(rt);
        CHECK_EQ(open_fds(), before);
    }
    close(listener);
    op_runtime_free(rt);
}

/* The outcome is there, in a set, or for a function, and nobody or that function takes it. */
struct late {
    rt_frame frame;
    struct dial dial;
    rt_set set;
    int64_t got, reported;
    uint64_t key;
    bool forgets;
};

static void report(void *arg, int64_t outcome) { ((struct late *)arg)->reported = outcome; }

static int64_t look_late(rt_cx *cx, void *state) {
    struct late *l = state;
    RT_BEGIN(&l->frame);
    CHECK_EQ(dial_once(cx, &l->dial), RT_PENDING);
    if (l->forgets) {
        CHECK_EQ(rt_op_forget(l->dial.slot, report, l), 0);
        CHECK_EQ(dial_once(cx, &l->dial), -EBADF);
        RT_AWAIT(l->got, rt_poll_quiesce(cx));
        CHECK(l->reported > 0);
        RT_RETURN(rt_close((rt_io)l->reported));
    }
    CHECK_EQ(rt_set_add(cx, l->set, l->dial.slot, 5), 0);
    RT_AWAIT(l->got, rt_poll_set(cx, l->set, &l->key));
    CHECK_EQ(l->key, 5);
    RT_END(l->got);
}

static void taken_by_others(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(4), before = open_fds();
    for (int i = 0; i < 2; i++) {
        struct late l = {.forgets = i == 1,
                         .dial = {.host = "127.0.0.1", .port = ntohs(net_name(listener).sin_port)}};
        CHECK_EQ(rt_set_new(rt, &l.set), 0);
        CHECK_EQ(rt_block_on(rt, look_late, &l), 0);
        CHECK_EQ(rt_set_free(l.set), 0);
        settle(rt);
        CHECK_EQ(open_fds(), before);
    }
    close(listener);
    op_runtime_free(rt);
}

/* ---- what is refused ---- */

static int64_t bad_calls(rt_cx *cx, void *state) {
    struct steps *s = state;
    rt_addr none = {0};
    rt_tcp_opts bad[] = {{.size = 0}, {.size = sizeof bad[0], .flags = 1u << 31},
                         {.size = sizeof bad[0], .local = &none}};
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_poll_tcp_connect(cx, NULL, "127.0.0.1", 1, NULL, &s->io), -EINVAL);
    CHECK_EQ(rt_poll_tcp_connect(cx, &s->op, "127.0.0.1", 1, NULL, NULL), -EINVAL);
    CHECK_EQ(rt_poll_tcp_connect(cx, &s->op, NULL, 1, NULL, &s->io), -EINVAL);
    CHECK_EQ(rt_poll_tcp_connect(cx, &s->op, "", 1, NULL, &s->io), -EINVAL);
    CHECK_EQ(rt_poll_tcp_connect(cx, &s->op, "\xff", 1, NULL, &s->io), -EINVAL);
    CHECK_EQ(rt_poll_tcp_connect(NULL, &s->op, "127.0.0.1", 1, NULL, &s->io), -EINVAL);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(rt_poll_tcp_connect(cx, &s->op, "127.0.0.1", 1, &bad[i], &s->io), -EINVAL);
    CHECK_EQ(s->op, 0);

    /* A slot with something else in it. */
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
    s->other = s->op;
    CHECK_EQ(rt_poll_tcp_connect(cx, &s->other, NULL, 1, NULL, &s->peer), -EINVAL);
    CHECK_EQ(s->other, s->op);
    CHECK_EQ(rt_cancel(s->op), 0);
    RT_AWAIT(s->got, rt_poll_op(cx, s->op));
    CHECK_EQ(s->got, -ECANCELED);
    CHECK_EQ(rt_poll_tcp_connect(cx, &s->other, NULL, 1, NULL, &s->peer), -EBADF);
    CHECK_EQ(s->peer, 0);
    steps_close(s);
    RT_END(0);
}

static void outside_of_tasks(void) {
    struct scene s;
    rt_op slot = 0;
    rt_io io = 0;
    scene_open(&s, net_pair, RW);
    CHECK_EQ(rt_poll_tcp_connect(s.hand.cx, &slot, "127.0.0.1", 1, NULL, &io), -EPERM);
    CHECK_EQ(slot, 0);
    CHECK_EQ(io, 0);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(by_address_and_name);
    CASE(to_a_unix_socket);
    CASE(refused);
    CASE(at_a_time);
    CASE(by_an_abort);
    CASE(by_a_shutdown);
    CASE(nobody_takes_it);
    CASE(taken_by_others);
    OP_CASE(bad_calls);
    CASE(outside_of_tasks);
    return test_end();
}
