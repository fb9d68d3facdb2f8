/* Connecting and accepting: what comes of it is a handle that both families work on. Addresses are
 * copied when the operation is submitted.
 */
#include "op.h"

#include <stddef.h>

/* The address is gone right afterwards. */
static int64_t dial(rt_cx *cx, rt_io io, struct sockaddr_in name, rt_op *out) {
    struct sockaddr_in passing = name;
    int64_t r = rt_submit_connect(cx, io, (struct sockaddr *)&passing, sizeof passing, out);
    memset(&passing, 0xff, sizeof passing);
    return r;
}

static rt_io new_socket(rt_cx *cx) {
    return io_of(rt_cx_runtime(cx), net_socket(SOCK_STREAM), RW);
}

struct meeting {
    struct steps steps;
    rt_io listener, client, server;
    rt_op accept, connect;
    int64_t n;
};

static struct meeting meeting;

static void play(rt_poll_fn body) {
    memset(&meeting, 0, sizeof meeting);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &meeting), 0);
    op_runtime_free(rt);
}

static void part(struct meeting *m) {
    CHECK_EQ(rt_close(m->client), 0);
    CHECK_EQ(rt_close(m->server), 0);
    CHECK_EQ(rt_close(m->listener), 0);
    m->client = m->server = m->listener = 0;
}

/* ---- both ends are the library's ---- */

static int64_t meet(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    s->near = net_listen(8);
    m->listener = io_of(rt_cx_runtime(cx), s->near, RT_READABLE);
    m->client = new_socket(cx);
    CHECK_EQ(rt_submit_accept(cx, m->listener, &m->accept), 0);
    CHECK_EQ(rt_poll_op(cx, m->accept), RT_PENDING);
    CHECK_EQ(dial(cx, m->client, net_name(s->near), &m->connect), 0);
    RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
    CHECK_EQ(m->n, 0);
    RT_AWAIT(m->n, rt_poll_op(cx, m->accept));
    CHECK(m->n > 0);
    m->server = (rt_io)m->n;
    int fd = (int)CHECK_OK(rt_io_fd(m->server));
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);

    /* Operations at one end, direct calls at the other, both ways. */
    OP_EQ(s, 4, rt_submit_send(cx, m->server, "ping", 4, 0, &s->op));
    RT_AWAIT(m->n, rt_poll_read(cx, m->client, s->buf, 100));
    CHECK_EQ(m->n, 4);
    RT_AWAIT(m->n, rt_poll_write(cx, m->client, "pong", 4));
    CHECK_EQ(m->n, 4);
    OP_EQ(s, 4, rt_submit_recv(cx, m->server, s->buf, 100, 0, &s->op));
    RT_AWAIT(m->n, rt_poll_write(cx, m->server, "ping", 4));
    CHECK_EQ(m->n, 4);
    OP_EQ(s, 4, rt_submit_recv(cx, m->client, s->buf, 100, 0, &s->op));
    OP_EQ(s, 4, rt_submit_send(cx, m->client, "pong", 4, 0, &s->op));
    RT_AWAIT(m->n, rt_poll_read(cx, m->server, s->buf, 100));
    CHECK_EQ(m->n, 4);
    OP_EQ(s, -EISCONN, dial(cx, m->client, net_name(s->near), &s->op));
    part(m);
    RT_END(0);
}
static void they_meet(void) { play(meet); }

/* ---- several accepts at once: each gets a connection of its own ---- */

enum { GUESTS = 20 };

struct party {
    struct steps steps;
    rt_op accepts[GUESTS];
    int clients[GUESTS];
};

static int64_t receive_guests(rt_cx *cx, void *state) {
    struct party *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    s->near = net_listen(GUESTS);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    for (int i = 0; i < GUESTS; i++)
        CHECK_EQ(rt_submit_accept(cx, s->io, &p->accepts[i]), 0);
    OP_TURNS(s, 100);
    for (int i = 0; i < GUESTS; i++) p->clients[i] = net_dial(s->near);
    for (s->n = 0; s->n < GUESTS; s->n++) {
        RT_AWAIT(s->got, rt_poll_op(cx, p->accepts[s->n]));
        s->peer = (rt_io)CHECK_OK(s->got);
        OP_EQ(s, 1, rt_submit_send(cx, s->peer, "!", 1, 0, &s->op));
        CHECK_EQ(rt_close(s->peer), 0);
        s->peer = 0;
    }
    for (int i = 0; i < GUESTS; i++) {
        CHECK_EQ(net_get(p->clients[i], s->buf, 2), 1);
        close(p->clients[i]);
    }
    steps_close(s);
    RT_END(0);
}

static void every_guest_is_received_once(void) {
    struct party p = {0};
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, receive_guests, &p), 0);
    op_runtime_free(rt);
}

/* ---- what fails ---- */

static int64_t nobody_listens(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    s->far = net_bound(SOCK_STREAM);
    s->io = new_socket(cx);
    OP_EQ(s, -ECONNREFUSED, dial(cx, s->io, net_name(s->far), &s->op));
    OP_EQ(s, -EINVAL, rt_submit_accept(cx, s->io, &s->op)); /* it does not listen */
    CHECK_EQ(rt_close(s->io), 0);
    s->io = io_of(rt_cx_runtime(cx), net_socket(SOCK_DGRAM), 0);
    OP_EQ(s, -EOPNOTSUPP, rt_submit_accept(cx, s->io, &s->op));
    steps_close(s);
    RT_END(0);
}

static struct sockaddr_un unix_name(const char *base) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%.80s/%s", scratch_path, base);
    return name;
}

static int unix_socket(void) {
    return (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

static int64_t unix_dial(rt_cx *cx, rt_io io, const char *base, rt_op *out) {
    struct sockaddr_un name = unix_name(base);
    return rt_submit_connect(cx, io, (struct sockaddr *)&name, sizeof name, out);
}

static int64_t unix_sockets(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    m->client = io_of(rt_cx_runtime(cx), unix_socket(), 0);
    OP_EQ(s, -ENOENT, unix_dial(cx, m->client, "sock", &s->op));
    s->near = unix_socket();
    struct sockaddr_un name = unix_name("sock");
    CHECK_SYS(bind(s->near, (struct sockaddr *)&name, sizeof name));
    OP_EQ(s, -ECONNREFUSED, unix_dial(cx, m->client, "sock", &s->op));
    CHECK_SYS(listen(s->near, 8));
    m->listener = io_of(rt_cx_runtime(cx), s->near, 0);
    OP_EQ(s, 0, unix_dial(cx, m->client, "sock", &s->op));
    OP(s, rt_submit_accept(cx, m->listener, &s->op));
    m->server = (rt_io)CHECK_OK(s->got);
    OP_EQ(s, 2, rt_submit_send(cx, m->client, "hi", 2, 0, &s->op));
    OP_EQ(s, 2, rt_submit_recv(cx, m->server, s->buf, 10, 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, 0, unix_name("sock").sun_path, 0, &s->op));
    part(m);
    RT_END(0);
}
static void also_on_unix_sockets(void) { play(unix_sockets); }

/* ---- no descriptor is free ---- */

/* The highest number in use is under the limit, and nothing is free below it. */
static int use_up_descriptors(int fds[], int most) {
    int n = 0;
    while (n < most && (fds[n] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0) n++;
    CHECK(n < most && errno == EMFILE);
    return n;
}

static int64_t out_of_descriptors(rt_cx *cx, void *state) {
    static int fds[256];
    static int used;
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    s->near = net_listen(8);
    m->listener = io_of(rt_cx_runtime(cx), s->near, 0);
    s->far = net_dial(s->near);
    used = use_up_descriptors(fds, 256);
    OP_EQ(s, -EMFILE, rt_submit_accept(cx, m->listener, &s->op));
    while (used > 0) close(fds[--used]);
    OP(s, rt_submit_accept(cx, m->listener, &s->op)); /* the connection is not lost */
    m->server = (rt_io)CHECK_OK(s->got);
    net_put(s->far, "still", 5);
    OP_EQ(s, 5, rt_submit_recv(cx, m->server, s->buf, 10, 0, &s->op));
    close(s->far);
    part(m);
    RT_END(0);
}

static void no_descriptor_is_free(void) {
    struct rlimit limit, low;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    low = (struct rlimit){.rlim_cur = 200, .rlim_max = limit.rlim_max};
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
    play(out_of_descriptors);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    scratch_make();
    CASE(they_meet);
    CASE(every_guest_is_received_once);
    OP_CASE(nobody_listens);
    CASE(also_on_unix_sockets);
    scratch_remove();
    if (under("valgrind")) SKIP("valgrind takes no notice of a lower RLIMIT_NOFILE");
    CASE(no_descriptor_is_free);
    return test_end();
}
