/* A Unix datagram socket whose peer is a server that others keep full. The kernel has a message in its hands before
 * it finds that there is no room for it; once there is, it arrives whole and once, with nothing before or after.
 */
#include "multi.h"

/* After so many polls the driver was looked at. */
enum { SOME = 100 };

enum { OURS = 40, CROWDED = 60, LONGEST = 3000 };

struct mail {
    struct steps steps;
    int crowd, at, kind;
    uint64_t events;
    struct iovec iov[2];
    struct msghdr msg;
    char data[OURS][LONGEST];
};

static struct mail mail;

static void play(rt_poll_fn body) {
    memset(&mail, 0, sizeof mail);
    play_alone(body, &mail);
}

static int unix_socket(void) {
    return (int)CHECK_SYS(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

/* out[1] is the server, of which out[0] and the crowd are clients. */
static void ends_at_server(int out[2]) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof name;
    out[0] = unix_socket();
    out[1] = unix_socket();
    mail.crowd = unix_socket();
    CHECK_SYS(bind(out[1], (struct sockaddr *)&name, sizeof name.sun_family)); /* the kernel finds a name */
    CHECK_SYS(getsockname(out[1], (struct sockaddr *)&name, &len));
    CHECK_SYS(connect(out[0], (struct sockaddr *)&name, len));
    CHECK_SYS(connect(mail.crowd, (struct sockaddr *)&name, len));
}

/* The crowd's messages have one byte. False: the server is full. */
static bool crowd_in(struct mail *m) {
    if (send(m->crowd, "x", 1, 0) == 1) return true;
    CHECK_EQ(errno, EAGAIN);
    return false;
}

static void open_full(rt_cx *cx, struct mail *m) {
    steps_pair(cx, &m->steps, ends_at_server);
    while (crowd_in(m)) {}
}

static void close_full(struct mail *m) {
    char data[LONGEST];
    ssize_t r;
    while ((r = recv(m->steps.far, data, sizeof data, 0)) >= 0) CHECK_EQ(r, 1);
    CHECK_EQ(errno, EAGAIN);
    steps_close(&m->steps);
    close(m->crowd);
}

static size_t length_of(int i) { return 2 + (size_t)(i * 379) % (LONGEST - 2); }

static size_t write_message(struct mail *m, int i) {
    net_pattern(m->data[i], length_of(i), (uint64_t)i, 0);
    return length_of(i);
}

/* Takes what is next at the server, be it the crowd's. True: it was our message. */
static bool take_message(struct mail *m, int i) {
    char data[LONGEST + 1];
    ssize_t r = recv(m->steps.far, data, sizeof data, 0);
    if (r < 0) CHECK_EQ(errno, EAGAIN);
    if (r < 0 || r == 1) return false;
    CHECK_EQ(r, length_of(i));
    CHECK(net_pattern_holds(data, (size_t)r, (uint64_t)i, 0));
    return true;
}

/* ---- what is queued ---- */

static int64_t queue_all(rt_cx *cx, void *state) {
    struct mail *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    open_full(cx, m);
    for (int i = 0; i < OURS; i++) {
        size_t n = write_message(m, i);
        CHECK_EQ(rt_send(s->io, m->data[i], n), n);
    }
    OP_TURNS(s, SOME);
    for (s->n = 0; m->at < OURS; s->n++) {
        if (take_message(m, m->at)) m->at++;
        /* Others take the room as often as not, so ours are tried in vain many times. */
        if (s->n < CROWDED && s->n % 2 == 0) crowd_in(m);
        OP_TURNS(s, SOME);
    }
    RT_AWAIT(s->got, rt_poll_flush(cx, s->io, 0));
    CHECK_EQ(s->got, 0);
    close_full(m);
    RT_END(0);
}
static void queued(void) { play(queue_all); }

/* ---- operations ---- */

enum { SEND, WRITE, WRITEV, SENDMSG, KINDS };

static int64_t submit(rt_cx *cx, struct mail *m) {
    struct steps *s = &m->steps;
    char *data = m->data[m->at];
    size_t n = write_message(m, m->at);
    m->iov[0] = (struct iovec){data, n / 2};
    m->iov[1] = (struct iovec){data + n / 2, n - n / 2};
    m->msg = (struct msghdr){.msg_iov = m->iov, .msg_iovlen = 2};
    switch (m->kind) {
    case SEND: return rt_submit_send(cx, s->io, data, n, 0, &s->op);
    case WRITE: return rt_submit_write(cx, s->io, data, n, RT_OFFSET_CURRENT, 0, &s->op);
    case WRITEV: return rt_submit_writev(cx, s->io, m->iov, 2, RT_OFFSET_CURRENT, 0, &s->op);
    default: return rt_submit_sendmsg(cx, s->io, &m->msg, 0, &s->op);
    }
}

static int64_t submit_all(rt_cx *cx, void *state) {
    struct mail *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    for (m->kind = 0; m->kind < KINDS; m->kind++) {
        open_full(cx, m);
        for (m->at = 0; m->at < OURS; m->at++) {
            while (crowd_in(m)) {}
            CHECK_EQ(submit(cx, m), 0);
            OP_TURNS(s, SOME);
            while (!take_message(m, m->at)) RT_YIELD(cx);
            OP_TAKE_EQ(s, length_of(m->at));
        }
        close_full(m);
    }
    RT_END(0);
}
static void submitted(void) { play(submit_all); }

/* One that is cancelled did not go, and no part of it. */
static int64_t submit_and_cancel(rt_cx *cx, void *state) {
    struct mail *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    for (m->kind = 0; m->kind < KINDS; m->kind++) {
        open_full(cx, m);
        CHECK_EQ(submit(cx, m), 0);
        OP_TURNS(s, SOME);
        CHECK_EQ(rt_cancel(s->op), 0);
        OP_TAKE_EQ(s, -ECANCELED);
        close_full(m);
    }
    RT_END(0);
}
static void cancelled(void) { play(submit_and_cancel); }

/* ---- a wait is a wait ---- */

enum { FEW = 10 };

/* The kernel lets go of a message for which there is no room, which makes room at the sender: no news. */
static int64_t wait_beside(rt_cx *cx, void *state) {
    struct mail *m = state;
    struct steps *s = &m->steps;
    RT_BEGIN(&s->frame);
    for (m->kind = 0; m->kind <= KINDS; m->kind++) {
        open_full(cx, m);
        if (m->kind < KINDS) CHECK_EQ(submit(cx, m), 0);
        else CHECK_EQ(rt_send(s->io, m->data[0], write_message(m, 0)), length_of(0));
        OP_TURNS(s, SOME);
        m->events = metrics(rt_cx_runtime(cx)).events;
        OP_TURNS(s, 10 * SOME);
        CHECK(metrics(rt_cx_runtime(cx)).events - m->events < FEW);
        while (!take_message(m, 0)) RT_YIELD(cx);
        if (m->kind < KINDS) OP_TAKE_EQ(s, length_of(0));
        close_full(m);
    }
    RT_END(0);
}
static void no_spin(void) { play(wait_beside); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(queued);
    CASE(submitted);
    CASE(cancelled);
    CASE(no_spin);
    return test_end();
}
