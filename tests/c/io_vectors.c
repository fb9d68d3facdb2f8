/* Several buffers in one call, messages with addresses and flags, and descriptors that travel in
 * messages.
 */
#include "ready.h"

/* ---- readv and writev ---- */

static void parts_keep_their_order(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    unsigned char out[3][100], in[3][100];
    size_t lengths[3] = {1, 100, 37};
    struct iovec gather[3], scatter[3];
    for (int i = 0; i < 3; i++) {
        net_pattern(out[i], sizeof out[i], (uint64_t)i, 0);
        gather[i] = (struct iovec){out[i], lengths[i]};
        scatter[i] = (struct iovec){in[i], lengths[i]};
    }
    for (int round = 0; round < 50; round++) {
        memset(in, 0, sizeof in);
        AWAIT_EQ(&s.hand, 138, rt_poll_writev(s.hand.cx, s.io, gather, 3));
        unsigned char all[138];
        CHECK_EQ(net_get(s.far, all, 138), 138);
        CHECK(memcmp(all, out[0], 1) == 0);
        CHECK(memcmp(all + 1, out[1], 100) == 0);
        CHECK(memcmp(all + 101, out[2], 37) == 0);

        net_put(s.far, all, 138);
        AWAIT_EQ(&s.hand, 138, rt_poll_readv(s.hand.cx, s.io, scatter, 3));
        for (int i = 0; i < 3; i++) CHECK(memcmp(in[i], out[i], lengths[i]) == 0);
        CHECK_EQ(in[0][1], 0); /* nothing beyond its part */
    }
    scene_close(&s);
}

static void readv_fills_what_there_is_and_waits_for_more(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    char first[4] = "", second[4] = "";
    struct iovec parts[2] = {{first, 4}, {second, 4}};
    CHECK_EQ(rt_poll_readv(s.hand.cx, s.io, parts, 2), RT_PENDING);
    net_put(s.far, "abcdef", 6);
    AWAIT_EQ(&s.hand, 6, rt_poll_readv(s.hand.cx, s.io, parts, 2));
    CHECK(memcmp(first, "abcd", 4) == 0);
    CHECK(memcmp(second, "ef", 3) == 0);
    CHECK_EQ(rt_poll_readv(s.hand.cx, s.io, parts, 2), RT_PENDING);
    CHECK_SYS(shutdown(s.far, SHUT_WR));
    AWAIT_EQ(&s.hand, 0, rt_poll_readv(s.hand.cx, s.io, parts, 2));
    scene_close(&s);
}

struct gathering {
    rt_io io;
    const unsigned char *data;
    size_t n, off;
};

/* Whatever is left, in three parts. */
static int64_t writev_all(rt_cx *cx, void *state) {
    struct gathering *g = state;
    while (g->off < g->n) {
        size_t left = g->n - g->off, third = left / 3;
        unsigned char *at = (unsigned char *)g->data + g->off;
        struct iovec parts[3] = {
            {at, third}, {at + third, third}, {at + 2 * third, left - 2 * third}};
        int64_t r = rt_poll_writev(cx, g->io, parts, 3);
        if (r < 0) return r;
        g->off += (size_t)r;
    }
    return (int64_t)g->off;
}

static void *read_pattern(void *arg) {
    struct gathering *g = arg;
    static unsigned char piece[2048];
    for (size_t have = 0, n; have < g->n; have += n) {
        n = net_get((int)g->io, piece, sizeof piece);
        CHECK(n > 0);
        CHECK(net_pattern_holds(piece, n, 9, have));
    }
    return NULL;
}

static void small_pair(int out[2]) {
    net_pair(out);
    net_small_buffer(out[0]);
}

static void writev_goes_on_after_a_short_write(void) {
    struct scene s;
    scene_open(&s, small_pair, RT_WRITABLE);
    const size_t n = 1 << 20;
    unsigned char *data = malloc(n);
    CHECK(data != NULL);
    net_pattern(data, n, 9, 0);
    struct gathering reading = {.io = (rt_io)s.far, .n = n}; /* the number itself: a plain reader */
    pthread_t reader = thread_start(read_pattern, &reading);
    struct gathering g = {s.io, data, n, 0};
    CHECK_EQ(rt_block_on(s.rt, writev_all, &g), n);
    thread_join(reader);
    free(data);
    scene_close(&s);
}

/* ---- messages ---- */

static void datagrams_carry_their_sender(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    int fds[3];
    struct sockaddr_in names[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = net_bound(SOCK_DGRAM);
        names[i] = net_name(fds[i]);
    }
    rt_io server = io_of(rt, fds[0], RW);
    for (int from = 1; from < 3; from++) {
        char text[16] = "";
        struct sockaddr_in sender;
        struct iovec part = {text, sizeof text};
        struct msghdr in = {
            .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &part, .msg_iovlen = 1};
        CHECK_EQ(rt_poll_recvmsg(h.cx, server, &in, 0), RT_PENDING);
        struct sockaddr *to = (struct sockaddr *)&names[0];
        CHECK_EQ(sendto(fds[from], "hello", 5, 0, to, sizeof names[0]), 5);
        in.msg_namelen = sizeof sender;
        AWAIT_EQ(&h, 5, rt_poll_recvmsg(h.cx, server, &in, 0));
        CHECK(memcmp(text, "hello", 5) == 0);
        CHECK_EQ(sender.sin_port, names[from].sin_port);

        struct iovec answer = {"you", 3};
        struct msghdr out = {
            .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &answer, .msg_iovlen = 1};
        AWAIT_EQ(&h, 3, rt_poll_sendmsg(h.cx, server, &out, 0));
        net_wait(fds[from], POLLIN);
        CHECK_EQ(recv(fds[from], text, sizeof text, 0), 3);
    }
    CHECK_EQ(rt_close(server), 0);
    close(fds[1]);
    close(fds[2]);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

static void flags_are_passed_on(void) {
    struct scene s;
    scene_open(&s, net_udp_pair, RW);
    net_put(s.far, "0123456789", 10);
    char text[4];
    struct iovec part = {text, sizeof text};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    AWAIT_EQ(&s.hand, 4, rt_poll_recvmsg(s.hand.cx, s.io, &msg, MSG_PEEK));
    AWAIT_EQ(&s.hand, 10, rt_poll_recvmsg(s.hand.cx, s.io, &msg, MSG_TRUNC));
    CHECK(msg.msg_flags & MSG_TRUNC);
    CHECK(memcmp(text, "0123", 4) == 0);
    CHECK_EQ(rt_poll_recvmsg(s.hand.cx, s.io, &msg, 0), RT_PENDING);
    scene_close(&s);
}

static void urgent_data_in_a_message(void) {
    struct scene s;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    AWAIT_EQ(&s.hand, 1, rt_poll_recvmsg(s.hand.cx, s.io, &msg, MSG_OOB));
    CHECK_EQ(byte, '!');
    byte = '?';
    AWAIT_EQ(&s.hand, 1, rt_poll_sendmsg(s.hand.cx, s.io, &msg, MSG_OOB));
    net_wait(s.far, POLLPRI);
    CHECK_EQ(recv(s.far, &byte, 1, MSG_OOB), 1);
    CHECK_EQ(byte, '?');
    scene_close(&s);
}

/* ---- descriptors in messages ---- */

union ancillary {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static struct msghdr with_a_descriptor(struct iovec *part, union ancillary *control, int fd) {
    struct msghdr msg = {.msg_iov = part, .msg_iovlen = 1, .msg_control = control->room,
                         .msg_controllen = sizeof control->room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return msg;
}

static int descriptor_in(struct msghdr *msg) {
    struct cmsghdr *header = CMSG_FIRSTHDR(msg);
    CHECK(header != NULL && header->cmsg_type == SCM_RIGHTS);
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static void a_descriptor_travels(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    rt_io far = io_of(s.rt, s.far, RW);
    for (int i = 0; i < 20; i++) {
        int pair[2];
        net_pipe(pair);
        char byte = 'f';
        struct iovec part = {&byte, 1};
        union ancillary control = {{0}};
        struct msghdr msg = with_a_descriptor(&part, &control, pair[0]);
        AWAIT_EQ(&s.hand, 1, rt_poll_sendmsg(s.hand.cx, s.io, &msg, 0));
        close(pair[0]);

        memset(&control, 0, sizeof control);
        msg.msg_controllen = sizeof control.room;
        AWAIT_EQ(&s.hand, 1, rt_poll_recvmsg(s.hand.cx, far, &msg, MSG_CMSG_CLOEXEC));
        int came = descriptor_in(&msg);
        CHECK(fcntl(came, F_GETFD) & FD_CLOEXEC);
        rt_io reader = io_of(s.rt, came, RT_READABLE);
        net_put(pair[1], "p", 1);
        AWAIT_EQ(&s.hand, 1, rt_poll_read(s.hand.cx, reader, &byte, 1));
        CHECK_EQ(byte, 'p');
        CHECK_EQ(rt_close(reader), 0);
        close(pair[1]);
    }
    CHECK_EQ(rt_close(far), 0);
    s.far = -1;
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(parts_keep_their_order);
    CASE(readv_fills_what_there_is_and_waits_for_more);
    CASE(writev_goes_on_after_a_short_write);
    CASE(datagrams_carry_their_sender);
    CASE(flags_are_passed_on);
    CASE(urgent_data_in_a_message);
    CASE(a_descriptor_travels);
    return test_end();
}
