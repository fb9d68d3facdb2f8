/* Accepting without end: no connection is lost, none comes twice, and those that nobody took are
 * closed.
 */
#include "multi.h"

enum { MANY = 2000, SOME = 50 };

struct server {
    struct steps steps;
    rt_io listener, conn;
    int fd, copy; /* of the listener */
    int count, want, told, taken;
    int clients[MANY];
    bool seen[MANY];
    rt_task task;
};

static struct server server;

static struct server *fresh(void) {
    memset(&server, 0, sizeof server);
    server.fd = net_listen(4096);
    server.copy = (int)CHECK_SYS(fcntl(server.fd, F_DUPFD_CLOEXEC, 0));
    return &server;
}

static void play(rt_poll_fn body) {
    struct server *v = fresh();
    play_alone(body, v);
    close(v->copy);
}

static void open_listener(rt_cx *cx, struct server *v) {
    v->listener = io_of(rt_cx_runtime(cx), v->fd, 0);
    CHECK_EQ(rt_submit_accept_multi(cx, v->listener, &v->steps.op), 0);
}

/* Each says who it is. */
static void *dial_all(void *arg) {
    struct server *v = arg;
    for (int i = 0; i < v->want; i++) {
        v->clients[i] = net_dial(v->copy);
        net_put(v->clients[i], &i, sizeof i);
    }
    return NULL;
}

static void note_client(struct server *v, int fd) {
    int number = -1;
    CHECK_EQ(net_get(fd, &number, sizeof number), sizeof number);
    CHECK(number >= 0 && number < v->want);
    CHECK(!v->seen[number]);
    v->seen[number] = true;
    v->count++;
}

/* In a coroutine over `v`: the next one is noted and closed, or s->got says why there is none. */
#define TAKE(v)                                                                             \
    do {                                                                                    \
        RT_AWAIT((v)->steps.got, rt_poll_accept_next(cx, (v)->steps.op, &(v)->conn));        \
        if ((v)->steps.got != 0) break;                                                     \
        note_client(v, (int)CHECK_OK(rt_io_fd((v)->conn)));                                 \
        CHECK_EQ(rt_close((v)->conn), 0);                                                   \
    } while (0)

/* Those that were never accepted. */
static void note_waiting(struct server *v) {
    for (int fd; (fd = accept(v->copy, NULL, NULL)) >= 0; close(fd)) note_client(v, fd);
}

/* The clients see the end, for nobody has the other side any more. */
static void hang_up(struct server *v) {
    for (int i = 0; i < v->want; i++) {
        char byte;
        net_wait(v->clients[i], POLLIN);
        CHECK(read(v->clients[i], &byte, 1) <= 0);
        close(v->clients[i]);
    }
}

/* ---- none is lost ---- */

static int64_t accept_all(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    open_listener(cx, v);
    while (v->count < v->want) {
        TAKE(v);
        CHECK_EQ(s->got, 0);
    }
    CHECK_EQ(rt_poll_accept_next(cx, s->op, &v->conn), RT_PENDING);
    CHECK_EQ(rt_close(v->listener), 0);
    TAKE(v);
    CHECK_EQ(s->got, -ECANCELED);
    CHECK_EQ(rt_poll_accept_next(cx, s->op, &v->conn), -EBADF);
    RT_END(0);
}

static void thousands_come(void) {
    struct server *v = fresh();
    v->want = scaled(MANY);
    pthread_t dialler = thread_start(dial_all, v);
    play_alone(accept_all, v);
    thread_join(dialler);
    hang_up(v);
    close(v->copy);
}

/* Who gets which does not matter. */
static struct server other;

static int64_t accept_some(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_accept_multi(cx, server.listener, &s->op), 0);
    do TAKE(v);
    while (s->got == 0);
    CHECK_EQ(s->got, -ECANCELED);
    RT_END(0);
}

static bool all_were_noted(void *arg) {
    (void)arg;
    return server.count + other.count == server.want;
}

static void two_tasks_share_a_listener(void) {
    struct server *v = fresh();
    rt_runtime rt = test_runtime();
    memset(&other, 0, sizeof other);
    v->want = other.want = SOME;
    v->listener = io_of(rt, v->fd, 0);
    rt_task first = spawn_near(rt, accept_some, v, 0);
    rt_task second = spawn_near(rt, accept_some, &other, first);
    pthread_t dialler = thread_start(dial_all, v);
    struct test_until until = {all_were_noted, NULL};
    CHECK_EQ(join_task(spawn_near(rt, test_until_poll, &until, first)), 0);
    thread_join(dialler);
    for (int i = 0; i < SOME; i++) CHECK(v->seen[i] != other.seen[i]);
    CHECK_EQ(rt_close(v->listener), 0);
    CHECK_EQ(join_task(first), 0);
    CHECK_EQ(join_task(second), 0);
    hang_up(v);
    close(v->copy);
    multi_runtime_free(rt);
}

static int64_t accept_and_talk(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    open_listener(cx, v);
    s->far = net_dial(v->copy);
    RT_AWAIT(s->got, rt_poll_accept_next(cx, s->op, &s->io));
    CHECK_EQ(s->got, 0);
    s->near = (int)CHECK_OK(rt_io_fd(s->io));
    CHECK(fcntl(s->near, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(s->near, F_GETFD) & FD_CLOEXEC);
    net_put(s->far, "hello", 5);
    RT_AWAIT(s->got, rt_poll_read(cx, s->io, s->buf, 100));
    CHECK_EQ(s->got, 5);
    RT_AWAIT(s->got, rt_poll_write(cx, s->io, s->buf, 5));
    CHECK_EQ(s->got, 5);
    CHECK_EQ(rt_send(s->io, s->buf, 5), 5);
    CHECK_EQ(net_get(s->far, s->buf, 10), 10);
    CHECK(memcmp(s->buf, "hellohello", 10) == 0);
    CHECK_EQ(rt_close(v->listener), 0);
    steps_close(s);
    RT_END(0);
}
static void both_families_work_on_them(void) { play(accept_and_talk); }

/* ---- the end ---- */

static int64_t cancel_and_take(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    v->listener = io_of(rt_cx_runtime(cx), v->fd, 0);
    v->want = SOME;
    for (v->told = 0; v->told < 12; v->told++) {
        CHECK_EQ(rt_submit_accept_multi(cx, v->listener, &s->op), 0);
        memset(v->seen, 0, sizeof v->seen);
        OP_TURNS(s, v->told % 3);
        dial_all(v);
        OP_TURNS(s, v->told % 4 * 20);
        CHECK_EQ(rt_cancel(s->op), 0);
        if (v->told % 2 == 0) OP_TURNS(s, 20);
        v->count = 0;
        do TAKE(v);
        while (s->got == 0);
        CHECK_EQ(s->got, -ECANCELED);
        CHECK_EQ(rt_poll_accept_next(cx, s->op, &v->conn), -EBADF);
        if (v->told % 4 == 3) CHECK(v->count > 0);
        note_waiting(v);
        CHECK_EQ(v->count, SOME);
        hang_up(v);
    }
    CHECK_EQ(rt_close(v->listener), 0);
    RT_END(0);
}
static void a_cancel_comes_after_the_results(void) { play(cancel_and_take); }

static int64_t close_and_take(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    open_listener(cx, v);
    v->want = SOME;
    dial_all(v);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_close(v->listener), 0);
    do TAKE(v);
    while (s->got == 0);
    CHECK_EQ(s->got, -ECANCELED);
    note_waiting(v);
    CHECK_EQ(v->count, SOME);
    hang_up(v);
    RT_END(0);
}
static void a_close_comes_after_the_results(void) { play(close_and_take); }

/* ---- nobody took them ---- */

enum way { RETURN, ABORT, CLOSE, SHUTDOWN, WAYS };

static int64_t take_one_and_leave(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    open_listener(cx, v);
    v->want = SOME;
    dial_all(v);
    TAKE(v);
    CHECK_EQ(s->got, 0);
    OP_TURNS(s, 100);
    v->taken = 1;
    if (v->told == CLOSE) {
        CHECK_EQ(rt_close(v->listener), 0);
        v->listener = 0;
        OP_TURNS(s, 100);
    }
    while (v->told == ABORT || v->told == SHUTDOWN) RT_YIELD(cx);
    RT_END(0);
}

static bool has_taken(void *arg) { return ((struct server *)arg)->taken == 1; }

static void untaken_ones_are_closed(void) {
    for (int way = 0; way < WAYS; way++) {
        struct server *v = fresh();
        rt_runtime rt = test_runtime();
        v->told = way;
        v->task = spawn_near(rt, take_one_and_leave, v, 0);
        struct test_until until = {has_taken, v};
        CHECK_EQ(join_task(spawn_near(rt, test_until_poll, &until, v->task)), 0);
        if (way == ABORT) CHECK_EQ(rt_abort(v->task), 0);
        if (way == SHUTDOWN) CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
        CHECK_EQ(join_task(v->task), way == RETURN || way == CLOSE ? 0 : -ECANCELED);
        /* Those that were accepted are not in the queue. */
        note_waiting(v);
        CHECK(v->count < SOME);
        CHECK_EQ(rt_close(v->listener), 0);
        close(v->copy);
        hang_up(v);
        if (way == SHUTDOWN) CHECK_EQ(rt_free(rt), 0);
        else multi_runtime_free(rt);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(2 * MANY + 100);
    CASE(thousands_come);
    CASE(two_tasks_share_a_listener);
    CASE(both_families_work_on_them);
    CASE(a_cancel_comes_after_the_results);
    CASE(a_close_comes_after_the_results);
    CASE(untaken_ones_are_closed);
    return test_end();
}
