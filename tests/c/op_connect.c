/* Connecting and accepting: what comes of it is a handle that both families work on. Addresses are
 * copied when the operation is submitted.
 */
#include "op.h"
#include "soon.h"

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

/* ---- what is sent in the poll in which the connect was submitted ---- */

enum quick { BY_RT_SEND, BY_THREAD, BY_SEND, BY_SENDMSG, BY_SHUTDOWN, QUICK };

static rt_io quick_io;

static void *send_hello(void *arg) {
    CHECK_EQ(rt_send(quick_io, "hello", 5), 5);
    return arg;
}

static struct iovec hello_piece = {(char[]){"hello"}, 5};
static struct msghdr hello_message = {.msg_iov = &hello_piece, .msg_iovlen = 1};

static void send_at_once(rt_cx *cx, struct meeting *m, enum quick how) {
    m->steps.op = 0;
    quick_io = m->client;
    switch (how) {
    case BY_RT_SEND: send_hello(NULL); return;
    case BY_THREAD: thread_join(thread_start(send_hello, NULL)); return;
    case BY_SEND: CHECK_EQ(rt_submit_send(cx, m->client, "hello", 5, 0, &m->steps.op), 0); return;
    case BY_SENDMSG:
        CHECK_EQ(rt_submit_sendmsg(cx, m->client, &hello_message, 0, &m->steps.op), 0);
        return;
    default:
        send_hello(NULL);
        CHECK_EQ(rt_submit_shutdown(cx, m->client, SHUT_WR, &m->steps.op), 0);
    }
}

static int64_t quick_senders(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    s->near = net_listen(8);
    for (s->n = 0; s->n < QUICK; s->n++) {
        m->client = new_socket(cx);
        CHECK_EQ(dial(cx, m->client, net_name(s->near), &m->connect), 0);
        send_at_once(cx, m, (enum quick)s->n);
        RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
        CHECK_EQ(m->n, 0);
        if (s->op != 0) OP_TAKE_EQ(s, s->n == BY_SHUTDOWN ? 0 : 5);
        if (s->n != BY_SHUTDOWN) CHECK_EQ(rt_send(m->client, " again", 6), 6);
        s->far = net_take(s->near);
        m->n = s->n == BY_SHUTDOWN ? 5 : 11;
        CHECK_EQ(net_get(s->far, s->buf, s->n == BY_SHUTDOWN ? 6 : 11), m->n);
        CHECK(memcmp(s->buf, "hello again", (size_t)m->n) == 0);
        CHECK_EQ(rt_close(m->client), 0);
        close(s->far);
    }
    close(s->near);
    s->far = -1;
    RT_END(0);
}
static void sends_right_behind_it(void) { play(quick_senders); }

/* A socket that needs no time to be connected. */
static int64_t quick_datagram(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    s->far = net_bound(SOCK_DGRAM);
    for (s->n = 0; s->n < BY_SENDMSG; s->n++) {
        m->client = io_of(rt_cx_runtime(cx), net_socket(SOCK_DGRAM), 0);
        CHECK_EQ(dial(cx, m->client, net_name(s->far), &m->connect), 0);
        send_at_once(cx, m, (enum quick)s->n);
        RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
        CHECK_EQ(m->n, 0);
        if (s->op != 0) OP_TAKE_EQ(s, 5);
        CHECK_EQ(net_get(s->far, s->buf, 5), 5);
        CHECK_EQ(rt_close(m->client), 0);
    }
    steps_close(s);
    RT_END(0);
}
static void datagrams_right_behind_it(void) { play(quick_datagram); }

/* The handshake takes a second at least, for the listener's queue is full. */
static int64_t patient_sender(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    s->near = net_full(&s->far);
    m->client = new_socket(cx);
    CHECK_EQ(dial(cx, m->client, net_name(s->near), &m->connect), 0);
    CHECK_EQ(rt_send(m->client, "hello ", 6), 6);
    CHECK_EQ(rt_submit_send(cx, m->client, "again", 5, 0, &s->op), 0);
    OP_TURNS(s, 20);
    CHECK_EQ(rt_poll_op(cx, m->connect), RT_PENDING);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    close(net_take(s->near));
    close(s->far);
    RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
    CHECK_EQ(m->n, 0);
    OP_TAKE_EQ(s, 5);
    s->far = net_take(s->near);
    CHECK_EQ(net_get(s->far, s->buf, 11), 11);
    CHECK(memcmp(s->buf, "hello again", 11) == 0);
    CHECK_EQ(rt_close(m->client), 0);
    close(s->far);
    close(s->near);
    RT_END(0);
}
static void sends_wait_for_the_connection(void) { play(patient_sender); }

/* ---- a stream begins with its connection ---- */

static int64_t early_senders(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < 2; s->n++) {
        s->near = s->n == 0 ? net_bound(SOCK_STREAM) : net_listen(8);
        s->far = net_bound(SOCK_STREAM);
        m->client = new_socket(cx);
        CHECK_EQ(rt_send(m->client, "early", 5), -EPIPE);
        OP_FAILS(s, -EPIPE, rt_submit_send(cx, m->client, "early", 5, 0, &s->op));
        if (s->n == 0) { /* nobody listens yet */
            CHECK_EQ(dial(cx, m->client, net_name(s->near), &m->connect), 0);
            m->n = rt_send(m->client, "early", 5);
            CHECK(m->n == -ECONNREFUSED || m->n == 5); /* which is lost */
            RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
            CHECK_EQ(m->n, -ECONNREFUSED);
            CHECK_EQ(rt_send(m->client, "early", 5), -EPIPE);
            CHECK_SYS(listen(s->near, 8));
        }
        OP_EQ(s, 0, dial(cx, m->client, net_name(s->near), &s->op));
        close(s->far);
        s->far = net_take(s->near);
        CHECK_EQ(rt_send(m->client, "now ", 4), 4);
        OP_EQ(s, 4, rt_submit_send(cx, m->client, "then", 4, 0, &s->op));
        CHECK_EQ(net_get(s->far, s->buf, 8), 8);
        CHECK(memcmp(s->buf, "now then", 8) == 0);
        CHECK_EQ(rt_close(m->client), 0);
        close(s->far);
        close(s->near);
    }
    RT_END(0);
}
static void one_that_failed_before_does_no_harm(void) { play(early_senders); }

/* One that was ended on the way goes on in the socket: the next one waits for it. */
static int64_t connect_again(rt_cx *cx, void *state) {
    struct steps *s = state;
    static struct stuck k;
    RT_BEGIN(&s->frame);
    stuck_open(&k, rt_cx_runtime(cx), STUCK_CONNECT, NULL);
    for (s->n = 0; s->n < 4; s->n++) {
        CHECK_EQ(stuck_submit(&k, cx, &s->op), 0);
        if (s->n % 2 == 1) OP_TURNS(s, 100); /* it is on its way */
        if (s->n < 2) CHECK_EQ(rt_cancel(s->op), 0);
        else CHECK_EQ(rt_op_deadline(s->op, 1), 0);
        OP_TAKE_EQ(s, s->n < 2 ? -ECANCELED : -ETIME);
    }
    CHECK_EQ(stuck_submit(&k, cx, &s->op), 0);
    OP_TURNS(s, 100);
    close(net_take(k.far));
    OP_TAKE_EQ(s, 0);
    close(net_take(k.far));
    OP_EQ(s, -EISCONN, stuck_submit(&k, cx, &s->op));
    stuck_close(&k);
    RT_END(0);
}

/* The socket was connected before, and is not any more: what was ready then is not taken for an answer. */
static int64_t connect_elsewhere(rt_cx *cx, void *state) {
    struct steps *s = state;
    static struct stuck k;
    static struct sockaddr_in first;
    static int listener;
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    RT_BEGIN(&s->frame);
    listener = net_listen(1);
    first = (struct sockaddr_in){0};
    CHECK_SYS(getsockname(listener, (struct sockaddr *)&first, &(socklen_t){sizeof first}));
    stuck_open(&k, rt_cx_runtime(cx), STUCK_CONNECT, NULL);
    OP_EQ(s, 0, rt_submit_connect(cx, k.io, (struct sockaddr *)&first, sizeof first, &s->op));
    CHECK_SYS(connect(k.near, &nobody, sizeof nobody));
    CHECK_EQ(stuck_submit(&k, cx, &s->op), 0);
    CHECK_EQ(rt_op_deadline(s->op, 1), 0);
    OP_TAKE_EQ(s, -ETIME);
    close(net_take(listener));
    close(listener);
    stuck_close(&k);
    RT_END(0);
}

/* To what listens the kernel says what it says to what is connected. */
static int64_t connect_a_listener(rt_cx *cx, void *state) {
    struct steps *s = state;
    static struct sockaddr_in name;
    RT_BEGIN(&s->frame);
    s->far = net_listen(8);
    name = net_name(s->far);
    s->io = io_of(rt_cx_runtime(cx), net_listen(8), RW);
    OP_EQ(s, -EISCONN, dial(cx, s->io, name, &s->op));
    for (s->i = 0; s->i < 2; s->i++)
        CHECK_EQ(rt_poll_connect(cx, s->io, (struct sockaddr *)&name, sizeof name), -EISCONN);
    CHECK_EQ(rt_close(s->io), 0);
    s->io = io_of(rt_cx_runtime(cx), net_dial(s->far), RW);
    CHECK_EQ(rt_poll_connect(cx, s->io, (struct sockaddr *)&name, sizeof name), 0); /* it has been */
    steps_close(s);
    RT_END(0);
}

/* ---- Unix sockets ---- */

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
    CHECK_EQ(rt_send(m->client, "early", 5), -ENOTCONN);
    CHECK_EQ(unix_dial(cx, m->client, "sock", &m->connect), 0);
    CHECK_EQ(rt_send(m->client, "at once ", 8), 8);
    RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
    CHECK_EQ(m->n, 0);
    OP(s, rt_submit_accept(cx, m->listener, &s->op));
    m->server = (rt_io)CHECK_OK(s->got);
    OP_EQ(s, 2, rt_submit_send(cx, m->client, "hi", 2, 0, &s->op));
    OP_EQ(s, 10, rt_submit_recv(cx, m->server, s->buf, 10, MSG_WAITALL, &s->op));
    CHECK(memcmp(s->buf, "at once hi", 10) == 0);
    OP_EQ(s, 0, rt_submit_unlinkat(cx, 0, unix_name("sock").sun_path, 0, &s->op));
    part(m);
    RT_END(0);
}
static void also_on_unix_sockets(void) { play(unix_sockets); }

static int64_t unix_queue(rt_cx *cx, void *state) {
    struct meeting *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    s->near = unix_socket();
    struct sockaddr_un name = unix_name("full");
    CHECK_SYS(bind(s->near, (struct sockaddr *)&name, sizeof name));
    CHECK_SYS(listen(s->near, 0));
    s->far = unix_socket();
    CHECK_SYS(connect(s->far, (struct sockaddr *)&name, sizeof name));
    m->client = io_of(rt_cx_runtime(cx), unix_socket(), 0);
    OP_EQ(s, -EAGAIN, unix_dial(cx, m->client, "full", &s->op));
    close(net_take(s->near));
    CHECK_EQ(unix_dial(cx, m->client, "full", &m->connect), 0);
    OP_EQ(s, 0, rt_submit_shutdown(cx, m->client, SHUT_WR, &s->op));
    RT_AWAIT(m->n, rt_poll_op(cx, m->connect));
    CHECK_EQ(m->n, 0);
    CHECK_SYS(unlink(unix_name("full").sun_path));
    CHECK_EQ(rt_close(m->client), 0);
    close(s->far);
    close(s->near);
    RT_END(0);
}
static void a_full_queue_is_told_and_left(void) { play(unix_queue); }

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
    must_end_soon();
    scratch_make();
    CASE(they_meet);
    CASE(every_guest_is_received_once);
    OP_CASE(nobody_listens);
    CASE(sends_right_behind_it);
    CASE(datagrams_right_behind_it);
    CASE(sends_wait_for_the_connection);
    CASE(one_that_failed_before_does_no_harm);
    OP_CASE(connect_again);
    OP_CASE(connect_elsewhere);
    OP_CASE(connect_a_listener);
    CASE(also_on_unix_sockets);
    CASE(a_full_queue_is_told_and_left);
    scratch_remove();
    if (under("valgrind")) SKIP("valgrind takes no notice of a lower RLIMIT_NOFILE");
    CASE(no_descriptor_is_free);
    return test_end();
}
