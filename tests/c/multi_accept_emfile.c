/* A listener that accepts without end, and no descriptor is free: that is told, and is no end. It
 * goes on when there is room, whoever made it.
 */
#include "multi.h"

enum { ROOM = 3, CLIENTS = 12 };

struct server {
    struct steps steps;
    rt_io listener, conn, conns[CLIENTS];
    int fd, told, taken, clients[CLIENTS];
    struct rlimit before;
};

static struct server server;

/* Leaves room for so many more descriptors than there are. */
static void limit_fds(struct server *v, int room) {
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &v->before));
    int next = (int)CHECK_SYS(dup(0));
    close(next);
    struct rlimit low = v->before;
    low.rlim_cur = (rlim_t)(next + room);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
}

/* In a coroutine: the next connection is kept; want of descriptors is counted. */
#define KEEP(v)                                                                             \
    do {                                                                                    \
        RT_AWAIT((v)->steps.got, rt_poll_accept_next(cx, (v)->steps.op, &(v)->conn));        \
        if ((v)->steps.got == 0) (v)->conns[(v)->taken++] = (v)->conn;                       \
        else CHECK_EQ((v)->steps.got, -EMFILE);                                             \
        (v)->told += (v)->steps.got != 0;                                                   \
    } while (0)

static int64_t starve(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    v->fd = net_listen(CLIENTS);
    v->listener = io_of(rt_cx_runtime(cx), v->fd, 0);
    CHECK_EQ(rt_submit_accept_multi(cx, v->listener, &s->op), 0);
    for (int i = 0; i < CLIENTS; i++) v->clients[i] = net_dial(v->fd);
    limit_fds(v, ROOM);
    while (v->told == 0) KEEP(v);
    CHECK_EQ(v->taken, ROOM);
    CHECK_EQ(rt_poll_accept_next(cx, s->op, &v->conn), RT_PENDING); /* it is told once */
    for (s->n = 0; s->n < ROOM; s->n++) {
        CHECK_EQ(rt_close(v->conns[s->n]), 0); /* room for one */
        while (v->taken < ROOM + 1 + (int)s->n) KEEP(v);
    }
    close(v->clients[CLIENTS - 1]); /* which the library does not see, but looks for */
    while (v->taken < 2 * ROOM + 1) KEEP(v);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &v->before));
    while (v->taken < CLIENTS) KEEP(v);
    for (s->n = ROOM; s->n < CLIENTS; s->n++) CHECK_EQ(rt_close(v->conns[s->n]), 0);
    CHECK_EQ(rt_close(v->listener), 0);
    for (int i = 0; i < CLIENTS - 1; i++) close(v->clients[i]);
    RT_END(0);
}
static void want_of_descriptors_is_no_end(void) { play_alone(starve, &server); }

/* It ends like any other while it waits for room. */
static int64_t starve_and_end(rt_cx *cx, void *state) {
    struct server *v = state;
    struct steps *s = &v->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        v->taken = v->told = 0;
        v->fd = net_listen(CLIENTS);
        v->listener = io_of(rt_cx_runtime(cx), v->fd, 0);
        CHECK_EQ(rt_submit_accept_multi(cx, v->listener, &s->op), 0);
        for (int i = 0; i < CLIENTS; i++) v->clients[i] = net_dial(v->fd);
        limit_fds(v, ROOM);
        while (v->told == 0) KEEP(v);
        if (s->n == 0) CHECK_EQ(rt_cancel(s->op), 0);
        CHECK_EQ(rt_close(v->listener), 0);
        do RT_AWAIT(s->got, rt_poll_accept_next(cx, s->op, &v->conn));
        while (s->got == -EMFILE);
        CHECK_EQ(s->got, -ECANCELED);
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &v->before));
        for (int i = 0; i < ROOM; i++) CHECK_EQ(rt_close(v->conns[i]), 0);
        for (int i = 0; i < CLIENTS; i++) close(v->clients[i]);
    }
    RT_END(0);
}
static void it_ends_while_it_waits(void) { play_alone(starve_and_end, &server); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (under("valgrind")) SKIP("valgrind takes no notice of a lower RLIMIT_NOFILE");
    CASE_ONCE(want_of_descriptors_is_no_end, "it counts in statics");
    CASE(it_ends_while_it_waits);
    return test_end();
}
