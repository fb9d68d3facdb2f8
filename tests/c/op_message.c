/* Messages: datagrams keep their bounds, names and flags come back, and descriptors travel over
 * Unix sockets. The header and all that it points to are the library's until the outcome.
 */
#include "op.h"

struct letter {
    struct steps steps;
    struct msghdr msg;
    struct iovec iov[2];
    struct sockaddr_in name;
    int fds[2];
    int way, open;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)];
};

static struct letter letter;

static void play(rt_poll_fn body) {
    memset(&letter, 0, sizeof letter);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &letter), 0);
    op_runtime_free(rt);
}

static struct msghdr *into(struct letter *l, size_t first, size_t second) {
    l->iov[0] = (struct iovec){l->steps.buf, first};
    l->iov[1] = (struct iovec){l->steps.buf + 1000, second};
    l->msg = (struct msghdr){.msg_iov = l->iov, .msg_iovlen = 2};
    return &l->msg;
}

/* ---- datagrams ---- */

static int64_t datagrams(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, sizeof s->buf, 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_SYS(send(s->far, "one", 3, 0));
    CHECK_SYS(send(s->far, "", 0, 0));
    CHECK_SYS(send(s->far, "three", 5, 0));
    OP_TAKE_EQ(s, 3);
    OP_EQ(s, 0, rt_submit_recv(cx, s->io, s->buf, sizeof s->buf, 0, &s->op)); /* empty, no end */
    OP_EQ(s, 5, rt_submit_recvmsg(cx, s->io, into(l, 2, 100), 0, &s->op));
    CHECK(memcmp(s->buf, "th", 2) == 0 && memcmp(s->buf + 1000, "ree", 3) == 0);
    CHECK_EQ(l->msg.msg_flags & MSG_TRUNC, 0);

    /* The rest of what does not fit is lost, and said to be. */
    CHECK_SYS(send(s->far, "123456", 6, 0));
    OP_EQ(s, 4, rt_submit_recvmsg(cx, s->io, into(l, 2, 2), 0, &s->op));
    CHECK(l->msg.msg_flags & MSG_TRUNC);
    CHECK_EQ(rt_submit_recvmsg(cx, s->io, into(l, 2, 2), 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_SYS(send(s->far, "abcdef", 6, 0));
    OP_TAKE_EQ(s, 4);
    CHECK(memcmp(s->buf, "ab", 2) == 0 && memcmp(s->buf + 1000, "cd", 2) == 0);
    CHECK(l->msg.msg_flags & MSG_TRUNC);
    CHECK_SYS(send(s->far, "123456", 6, 0));
    OP_EQ(s, 6, rt_submit_recv(cx, s->io, s->buf, 4, MSG_TRUNC, &s->op));

    OP_EQ(s, 2, rt_submit_send(cx, s->io, "up", 2, 0, &s->op));
    OP_EQ(s, 0, rt_submit_send(cx, s->io, "", 0, 0, &s->op));
    CHECK_EQ(recv(s->far, s->buf, 100, 0), 2);
    CHECK_EQ(recv(s->far, s->buf, 100, 0), 0);
    steps_close(s);
    RT_END(0);
}
static void datagrams_keep_their_bounds(void) { play(datagrams); }

static int64_t refused_datagrams(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_udp_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, sizeof s->buf, 0, &s->op), 0);
    OP_TURNS(s, 100);
    close(s->far);
    s->far = -1;
    CHECK_EQ(send(s->near, "x", 1, 0), 1);
    OP_TAKE_EQ(s, -ECONNREFUSED);
    steps_close(s);
    RT_END(0);
}
static void a_refusal_reaches_the_receiver(void) { play(refused_datagrams); }

static int64_t named_datagrams(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    s->near = net_bound(SOCK_DGRAM);
    s->far = net_bound(SOCK_DGRAM);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    l->name = net_name(s->far);
    memcpy(s->buf, "post", 4);
    into(l, 4, 0);
    l->msg.msg_name = &l->name;
    l->msg.msg_namelen = sizeof l->name;
    OP_EQ(s, 4, rt_submit_sendmsg(cx, s->io, &l->msg, 0, &s->op));

    struct sockaddr_in from = {0};
    socklen_t len = sizeof from;
    CHECK_EQ(recvfrom(s->far, s->buf, 100, 0, (struct sockaddr *)&from, &len), 4);
    CHECK_EQ(from.sin_port, net_name(s->near).sin_port);
    CHECK_EQ(sendto(s->far, "reply", 5, 0, (struct sockaddr *)&from, len), 5);
    memset(&l->name, 0, sizeof l->name);
    into(l, 100, 0);
    l->msg.msg_name = &l->name;
    l->msg.msg_namelen = sizeof l->name;
    OP_EQ(s, 5, rt_submit_recvmsg(cx, s->io, &l->msg, 0, &s->op));
    CHECK_EQ(l->msg.msg_namelen, sizeof l->name);
    CHECK_EQ(l->name.sin_port, net_name(s->far).sin_port);

    /* Without a name it goes nowhere. */
    OP_EQ(s, -EDESTADDRREQ, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    steps_close(s);
    RT_END(0);
}
static void names_go_and_come(void) { play(named_datagrams); }

/* ---- streams ---- */

static int64_t scattered_stream(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_submit_recvmsg(cx, s->io, into(l, 2, 100), 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    net_put(s->far, "abcde", 5);
    OP_TAKE_EQ(s, 5);
    CHECK(memcmp(s->buf, "ab", 2) == 0 && memcmp(s->buf + 1000, "cde", 3) == 0);
    OP_EQ(s, 5, rt_submit_sendmsg(cx, s->io, into(l, 2, 3), 0, &s->op));
    CHECK_EQ(net_get(s->far, s->buf + 2000, 5), 5);
    CHECK(memcmp(s->buf + 2000, "abcde", 5) == 0);
    CHECK_EQ(rt_submit_recvmsg(cx, s->io, into(l, 2, 100), 0, &s->op), 0);
    OP_TURNS(s, 100);
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    OP_TAKE_EQ(s, 0);
    steps_close(s);
    RT_END(0);
}
static void streams_are_scattered_and_gathered(void) { play(scattered_stream); }

/* ---- descriptors ---- */

static struct msghdr *with_control(struct letter *l, bool sends) {
    into(l, 1, 0);
    l->msg.msg_control = l->control;
    l->msg.msg_controllen = sizeof l->control;
    memset(l->control, 0, sizeof l->control);
    if (!sends) return &l->msg;
    struct cmsghdr *c = CMSG_FIRSTHDR(&l->msg);
    *c = (struct cmsghdr){CMSG_LEN(sizeof l->fds), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), l->fds, sizeof l->fds);
    return &l->msg;
}

static void take_control(struct letter *l, int out[2]) {
    struct cmsghdr *c = CMSG_FIRSTHDR(&l->msg);
    CHECK(c != NULL);
    CHECK_EQ(c->cmsg_level, SOL_SOCKET);
    CHECK_EQ(c->cmsg_type, SCM_RIGHTS);
    CHECK_EQ(c->cmsg_len, CMSG_LEN(sizeof(int) * 2));
    memcpy(out, CMSG_DATA(c), sizeof(int) * 2);
}

/* A pipe goes over a socket by one operation and comes back by another. */
static int64_t passed_descriptors(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    s->peer = io_of(rt_cx_runtime(cx), s->far, 0);
    net_pipe(l->fds);
    s->was = net_identity(l->fds[0]);
    OP_EQ(s, 1, rt_submit_sendmsg(cx, s->io, with_control(l, true), 0, &s->op));
    for (int i = 0; i < 2; i++) close(l->fds[i]);

    OP_EQ(s, 1,
          rt_submit_recvmsg(cx, s->peer, with_control(l, false), MSG_CMSG_CLOEXEC, &s->op));
    take_control(l, l->fds);
    CHECK(net_is_still(l->fds[0], &s->was));
    CHECK(fcntl(l->fds[0], F_GETFD) & FD_CLOEXEC);
    net_put(l->fds[1], "through", 7);
    CHECK_EQ(net_get(l->fds[0], s->buf, 7), 7);
    for (int i = 0; i < 2; i++) close(l->fds[i]);
    s->far = -1; /* the handle's */
    steps_close(s);
    RT_END(0);
}
static void descriptors_are_passed(void) { play(passed_descriptors); }

/* The same while the receiver waits, and with no room for them: then they are closed. */
static int64_t awaited_descriptors(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (s->n = 0; s->n < 2; s->n++) {
        with_control(l, false);
        if (s->n == 1) l->msg.msg_controllen = 0;
        CHECK_EQ(rt_submit_recvmsg(cx, s->io, &l->msg, MSG_CMSG_CLOEXEC, &s->op), 0);
        OP_TURNS(s, 100);
        struct letter other = {0};
        net_pipe(other.fds);
        CHECK_EQ(sendmsg(s->far, with_control(&other, true), 0), 1);
        for (int i = 0; i < 2; i++) close(other.fds[i]);
        OP_TAKE_EQ(s, 1);
        CHECK_EQ((l->msg.msg_flags & MSG_CTRUNC) != 0, s->n == 1);
        if (s->n == 1) continue;
        take_control(l, l->fds);
        for (int i = 0; i < 2; i++) close(l->fds[i]);
    }
    steps_close(s);
    RT_END(0);
}
static void waiting_receivers_get_them_too(void) { play(awaited_descriptors); }

static void descriptors_came(void *arg, int64_t outcome) {
    struct letter *l = arg;
    CHECK_EQ(outcome, 1);
    take_control(l, l->fds);
    for (int i = 0; i < 2; i++) close(l->fds[i]);
}

enum way { RETURNS, IS_ABORTED, FORGETS, IS_TOLD };

/* They came, and nobody takes the outcome. */
static int64_t leave_descriptors(rt_cx *cx, void *state) {
    struct letter *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    l->open = open_fds();
    CHECK_EQ(rt_submit_recvmsg(cx, s->io, with_control(l, false), MSG_CMSG_CLOEXEC, &s->op), 0);
    if (l->way == FORGETS) CHECK_EQ(rt_op_forget(s->op, NULL, NULL), 0);
    if (l->way == IS_TOLD) CHECK_EQ(rt_op_forget(s->op, descriptors_came, l), 0);
    {
        struct letter other = {0};
        net_pipe(other.fds);
        CHECK_EQ(sendmsg(s->far, with_control(&other, true), 0), 1);
        for (int i = 0; i < 2; i++) close(other.fds[i]);
    }
    for (int unread = 1; unread > 0;) {
        RT_YIELD(cx);
        CHECK_SYS(ioctl(s->near, FIONREAD, &unread));
    }
    if (l->way == FORGETS || l->way == IS_TOLD) {
        RT_AWAIT(s->got, rt_poll_quiesce(cx));
        CHECK_EQ(s->got, 0);
    }
    if (l->way == IS_ABORTED) {
        CHECK_EQ(rt_abort(rt_task_self(cx)), 0);
        RT_YIELD(cx);
    }
    RT_END(0);
}

static void drop_letter(void *state) {
    struct letter *l = state;
    CHECK_EQ(open_fds(), l->open);
    CHECK_EQ(l->msg.msg_controllen == 0, l->way != IS_TOLD);
    steps_close(&l->steps);
}

static void nobody_takes(enum way way) {
    rt_task task;
    memset(&letter, 0, sizeof letter);
    letter.way = way;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_spawn(rt, leave_descriptors, &letter, drop_letter, &task), 0);
    CHECK_EQ(join_task(task), way == IS_ABORTED ? -ECANCELED : 0);
    op_runtime_free(rt);
}

static void what_a_task_leaves_is_closed(void) { nobody_takes(RETURNS); }
static void what_an_abort_leaves_is_closed(void) { nobody_takes(IS_ABORTED); }
static void what_is_forgotten_is_closed(void) { nobody_takes(FORGETS); }
static void what_is_told_is_the_programs(void) { nobody_takes(IS_TOLD); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(datagrams_keep_their_bounds);
    CASE(a_refusal_reaches_the_receiver);
    CASE(names_go_and_come);
    CASE(streams_are_scattered_and_gathered);
    CASE(descriptors_are_passed);
    CASE(waiting_receivers_get_them_too);
    CASE(what_a_task_leaves_is_closed);
    CASE(what_an_abort_leaves_is_closed);
    CASE(what_is_forgotten_is_closed);
    CASE(what_is_told_is_the_programs);
    return test_end();
}
