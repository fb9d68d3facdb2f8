/* Many datagrams with one call: in their order, with their senders, cut where the buffer ends, and
 * sent, or received, in segments.
 */
#include "ready.h"

enum { ROOM = 2048, MOST = 100 };

struct both {
    rt_runtime rt;
    struct hand hand;
    rt_io a, b;
    rt_addr at_a, at_b;
};

static rt_udp_opts opts_of(uint32_t flags) {
    rt_udp_opts opts;
    CHECK_EQ(rt_udp_opts_init(&opts, sizeof opts), 0);
    opts.flags = flags;
    return opts;
}

static void open_both(struct both *s, const char *host, uint32_t flags) {
    rt_udp_opts opts = opts_of(flags);
    memset(s, 0, sizeof *s);
    s->rt = test_runtime();
    hand_open(&s->hand, s->rt);
    CHECK_EQ(rt_udp_bind(s->rt, host, 0, &opts, &s->a), 0);
    CHECK_EQ(rt_udp_bind(s->rt, host, 0, &opts, &s->b), 0);
    CHECK_EQ(rt_local_addr(s->a, &s->at_a), 0);
    CHECK_EQ(rt_local_addr(s->b, &s->at_b), 0);
}

static void close_both(struct both *s) {
    CHECK_EQ(rt_close(s->a), 0);
    CHECK_EQ(rt_close(s->b), 0);
    hand_close(&s->hand);
    test_runtime_free(s->rt);
    hand_check(&s->hand);
}

static char room[MOST][ROOM];
static rt_datagram v[MOST];

/* Datagrams that say which they are, of as many bytes. */
static void to_send(const rt_addr *to, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        memset(room[i], (int)i, i + 1);
        v[i] = (rt_datagram){.buf = room[i], .len = i + 1};
        if (to != NULL) v[i].addr = *to;
    }
}

static void to_receive(uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        memset(room[i], 0xff, ROOM);
        memset(&v[i], 0xff, sizeof v[i]);
        v[i].buf = room[i];
        v[i].len = ROOM;
    }
}

static bool is_same(const rt_addr *one, const rt_addr *other) {
    return one->len == other->len && memcmp(one->storage, other->storage, one->len) == 0;
}

static void send_all(struct both *s, rt_io io, uint32_t n) {
    for (uint32_t sent = 0; sent < n;) {
        int64_t r;
        AWAIT(&s->hand, r, rt_poll_send_many(s->hand.cx, io, v + sent, n - sent));
        CHECK(r >= 1 && r <= RT_DATAGRAMS_MAX);
        sent += (uint32_t)r;
    }
}

static void receive_all(struct both *s, rt_io io, const rt_addr *from, uint32_t n) {
    to_receive(n);
    for (uint32_t got = 0; got < n;) {
        int64_t r;
        AWAIT(&s->hand, r, rt_poll_recv_many(s->hand.cx, io, v + got, n - got));
        CHECK(r >= 1 && r <= RT_DATAGRAMS_MAX);
        got += (uint32_t)r;
    }
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(v[i].len, i + 1);
        CHECK_EQ(room[i][0], (char)i);
        CHECK_EQ(room[i][i], (char)i);
        CHECK_EQ((unsigned char)room[i][i + 1], 0xff);
        CHECK(is_same(&v[i].addr, from));
        CHECK_EQ(v[i].addr.reserved, 0);
        CHECK_EQ(v[i].flags, 0);
        CHECK_EQ(v[i].segment, 0);
    }
}

static void in_order(const char *host) {
    struct both s;
    open_both(&s, host, 0);
    CHECK_EQ(rt_poll_recv_many(s.hand.cx, s.b, (to_receive(1), v), 1), RT_PENDING);
    CHECK_EQ(v[0].len, ROOM);
    to_send(&s.at_b, MOST);
    send_all(&s, s.a, MOST);
    receive_all(&s, s.b, &s.at_a, MOST);
    close_both(&s);
}
static void of_ipv4(void) { in_order("127.0.0.1"); }
static void of_ipv6(void) { in_order("::1"); }

/* One call takes all that is there, but not more than it may. */
static void how_many(void) {
    struct both s;
    int64_t r;
    open_both(&s, "127.0.0.1", 0);
    to_send(&s.at_b, MOST);
    AWAIT_EQ(&s.hand, 10, rt_poll_send_many(s.hand.cx, s.a, v, 10));
    to_receive(MOST);
    AWAIT(&s.hand, r, rt_poll_recv_many(s.hand.cx, s.b, v, 4));
    CHECK_EQ(r, 4);
    AWAIT(&s.hand, r, rt_poll_recv_many(s.hand.cx, s.b, v + 4, MOST - 4));
    CHECK_EQ(r, 6);
    CHECK_EQ(v[9].len, 10);
    CHECK_EQ(v[10].len, ROOM);
    CHECK_EQ(rt_poll_recv_many(s.hand.cx, s.b, v, 4), RT_PENDING);
    to_send(&s.at_b, MOST);
    AWAIT_EQ(&s.hand, RT_DATAGRAMS_MAX, rt_poll_send_many(s.hand.cx, s.a, v, MOST));
    close_both(&s);
}

/* A socket of both families sends to, and hears from, either. */
static void of_both_families(void) {
    struct both s;
    rt_io any = 0, only = 0;
    rt_addr at, addr;
    char text[80];
    rt_udp_opts v6 = opts_of(RT_UDP_V6ONLY);
    open_both(&s, "127.0.0.1", 0);
    CHECK_EQ(rt_udp_bind(s.rt, NULL, 0, NULL, &any), 0);
    CHECK_EQ(rt_local_addr(any, &at), 0);
    CHECK_EQ(rt_addr_parse("127.0.0.1", (uint16_t)rt_addr_port(&at), &addr), 0);
    to_send(&addr, 1);
    send_all(&s, s.a, 1);
    to_receive(1);
    AWAIT_EQ(&s.hand, 1, rt_poll_recv_many(s.hand.cx, any, v, 1));
    CHECK_OK(rt_addr_text(&v[0].addr, text, sizeof text));
    CHECK(strncmp(text, "[::ffff:127.0.0.1]:", 19) == 0);
    send_all(&s, any, 1); /* back to where it came from */
    to_receive(1);
    AWAIT_EQ(&s.hand, 1, rt_poll_recv_many(s.hand.cx, s.a, v, 1));
    CHECK(is_same(&v[0].addr, &addr));
    CHECK_EQ(rt_udp_bind(s.rt, NULL, 0, &v6, &only), 0);
    to_send(&s.at_a, 1);
    AWAIT_EQ(&s.hand, -ENETUNREACH, rt_poll_send_many(s.hand.cx, only, v, 1));
    CHECK_EQ(rt_close(only), 0);
    CHECK_EQ(rt_close(any), 0);
    close_both(&s);
}

static void truncated(void) {
    struct both s;
    open_both(&s, "127.0.0.1", 0);
    to_send(&s.at_b, 3);
    send_all(&s, s.a, 3);
    to_receive(3);
    for (int i = 0; i < 3; i++) v[i].len = 2;
    for (int got = 0; got < 3;) {
        int64_t r;
        AWAIT(&s.hand, r, rt_poll_recv_many(s.hand.cx, s.b, v + got, (uint32_t)(3 - got)));
        got += (int)CHECK_OK(r);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(v[i].len, i < 2 ? i + 1 : 2);
        CHECK_EQ(v[i].flags, i < 2 ? 0 : RT_DATAGRAM_TRUNCATED);
        CHECK_EQ((unsigned char)room[i][2], 0xff);
    }
    close_both(&s);
}

static void peers(void) {
    struct both s;
    rt_addr addr;
    open_both(&s, "127.0.0.1", 0);
    to_send(NULL, 1);
    AWAIT_EQ(&s.hand, -EDESTADDRREQ, rt_poll_send_many(s.hand.cx, s.a, v, 1));
    CHECK_EQ(rt_peer_addr(s.a, &addr), -ENOTCONN);
    CHECK_EQ(rt_udp_connect(s.a, &s.at_b), 0);
    CHECK_EQ(rt_peer_addr(s.a, &addr), 0);
    CHECK(is_same(&addr, &s.at_b));
    to_send(NULL, 5);
    send_all(&s, s.a, 5);
    receive_all(&s, s.b, &s.at_a, 5);
    /* The peer's port is closed, which a later call hears. */
    CHECK_EQ(rt_close(s.b), 0);
    s.b = 0;
    to_send(NULL, 1);
    send_all(&s, s.a, 1);
    to_receive(1);
    AWAIT_EQ(&s.hand, -ECONNREFUSED, rt_poll_recv_many(s.hand.cx, s.a, v, 1));
    CHECK_EQ(rt_udp_connect(s.a, NULL), 0);
    CHECK_EQ(rt_peer_addr(s.a, &addr), -ENOTCONN);
    close_both(&s);
}

/* Taking the peer away leaves the port, be it the system's choice, on one address or on all of them. */
static void a_port_stays_without_the_peer(void) {
    static const char *const hosts[] = {"127.0.0.1", NULL, "::1"};
    for (int i = 0; i < 3; i++) {
        struct both s;
        rt_addr addr, to;
        const char *here = hosts[i] != NULL ? hosts[i] : "::1";
        open_both(&s, hosts[i], 0);
        CHECK_EQ(rt_addr_parse(here, rt_addr_port(&s.at_b), &to), 0);
        for (int again = 0; again < 2; again++) {
            CHECK_EQ(rt_udp_connect(s.a, &to), 0);
            CHECK_EQ(rt_udp_connect(s.a, NULL), 0);
            CHECK_EQ(rt_local_addr(s.a, &addr), 0);
            CHECK(is_same(&addr, &s.at_a));
        }
        /* It hears of everybody again. */
        CHECK_EQ(rt_addr_parse(here, rt_addr_port(&s.at_a), &to), 0);
        to_send(&to, 3);
        send_all(&s, s.b, 3);
        to_receive(3);
        int64_t r;
        for (uint32_t got = 0; got < 3; got += (uint32_t)r) {
            AWAIT(&s.hand, r, rt_poll_recv_many(s.hand.cx, s.a, v + got, 3 - got));
            CHECK_OK(r);
        }
        close_both(&s);
    }
}

/* A buffer that is cut on its way out arrives as datagrams, and together where that is asked for. */
static void segments(void) {
    static char whole[2500];
    struct both s;
    open_both(&s, "127.0.0.1", 0);
    net_pattern(whole, sizeof whole, 1, 0);
    rt_datagram d = {.buf = whole, .len = sizeof whole, .addr = s.at_b, .segment = 1000};
    AWAIT_EQ(&s.hand, 1, rt_poll_send_many(s.hand.cx, s.a, &d, 1));
    to_receive(4);
    for (int got = 0; got < 3;) {
        int64_t r;
        AWAIT(&s.hand, r, rt_poll_recv_many(s.hand.cx, s.b, v + got, (uint32_t)(4 - got)));
        got += (int)CHECK_OK(r);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(v[i].len, i < 2 ? 1000 : 500);
        CHECK(net_pattern_holds(room[i], v[i].len, 1, (uint64_t)i * 1000));
    }
    d.segment = 10; /* 250 of them */
    CHECK_EQ(rt_poll_send_many(s.hand.cx, s.a, &d, 1), -EINVAL);
    d.segment = 65536;
    CHECK_EQ(rt_poll_send_many(s.hand.cx, s.a, &d, 1), -EINVAL);
    close_both(&s);
}

/* Nothing is cut where nobody knows how, and nothing goes as it is. */
static void no_segments(void) {
    const int kinds[] = {SOCK_DGRAM, SOCK_STREAM, SOCK_SEQPACKET};
    rt_runtime rt = test_runtime();
    struct hand hand;
    int ends[2];
    hand_open(&hand, rt);
    for (int i = 0; i < 4; i++) {
        rt_io pair[2] = {0, 0};
        if (i < 3) {
            CHECK_EQ(rt_unix_pair(rt, kinds[i], pair), 0);
        } else {
            net_pair(ends);
            for (int k = 0; k < 2; k++) pair[k] = io_of(rt, ends[k], RW);
        }
        rt_datagram d = {.buf = room[0], .len = 100, .segment = 10};
        AWAIT_EQ(&hand, -EINVAL, rt_poll_send_many(hand.cx, pair[0], &d, 1));
        rt_datagram got = {.buf = room[1], .len = ROOM};
        CHECK_EQ(rt_poll_recv_many(hand.cx, pair[1], &got, 1), RT_PENDING);
        d.segment = 0;
        AWAIT_EQ(&hand, 1, rt_poll_send_many(hand.cx, pair[0], &d, 1));
        AWAIT_EQ(&hand, 1, rt_poll_recv_many(hand.cx, pair[1], &got, 1));
        CHECK_EQ(got.len, 100);
        d.segment = 10;
        for (int k = 0; k < 2; k++) CHECK_EQ(rt_close(pair[k]), 0);
        CHECK_EQ(rt_poll_send_many(hand.cx, pair[0], &d, 1), -EBADF);
    }
    hand_close(&hand);
    test_runtime_free(rt);
    hand_check(&hand);
}

static void segments_together(void) {
    static char whole[2500], back[65536];
    struct both s;
    open_both(&s, "127.0.0.1", RT_UDP_GRO);
    net_pattern(whole, sizeof whole, 2, 0);
    rt_datagram d = {.buf = whole, .len = sizeof whole, .addr = s.at_b, .segment = 1000};
    AWAIT_EQ(&s.hand, 1, rt_poll_send_many(s.hand.cx, s.a, &d, 1));
    rt_datagram got = {.buf = back, .len = sizeof back};
    AWAIT_EQ(&s.hand, 1, rt_poll_recv_many(s.hand.cx, s.b, &got, 1));
    CHECK_EQ(got.len, sizeof whole);
    CHECK_EQ(got.segment, 1000);
    CHECK(net_pattern_holds(back, got.len, 2, 0));
    /* And back to the sender just as it came. */
    AWAIT_EQ(&s.hand, 1, rt_poll_send_many(s.hand.cx, s.b, &got, 1));
    CHECK_EQ(got.len, sizeof whole);
    got = (rt_datagram){.buf = back, .len = sizeof back};
    AWAIT_EQ(&s.hand, 1, rt_poll_recv_many(s.hand.cx, s.a, &got, 1));
    CHECK_EQ(got.segment, 1000);
    close_both(&s);
}

/* The first that cannot go ends the call, and is the error of the next one. */
static void one_that_cannot_go(void) {
    static char huge[70000];
    struct both s;
    open_both(&s, "127.0.0.1", 0);
    to_send(&s.at_b, 3);
    v[1].buf = huge;
    v[1].len = sizeof huge;
    AWAIT_EQ(&s.hand, 1, rt_poll_send_many(s.hand.cx, s.a, v, 3));
    AWAIT_EQ(&s.hand, -EMSGSIZE, rt_poll_send_many(s.hand.cx, s.a, v + 1, 2));
    close_both(&s);
}

static int option(rt_io io, int level, int name) {
    int value = 0;
    CHECK_SYS(getsockopt((int)CHECK_OK(rt_io_fd(io)), level, name, &value, &(socklen_t){sizeof value}));
    return value;
}

static void options_are_set(void) {
    rt_runtime rt = test_runtime();
    rt_io plain = 0, io = 0, second = 77;
    rt_addr at;
    rt_udp_opts opts = opts_of(RT_UDP_REUSEPORT | RT_UDP_REUSEADDR | RT_UDP_BROADCAST);
    opts.send_buffer = 20000;
    opts.receive_buffer = 30000;
    CHECK_EQ(rt_udp_bind(rt, "127.0.0.1", 0, NULL, &plain), 0);
    CHECK_EQ(rt_udp_bind(rt, "127.0.0.1", 0, &opts, &io), 0);
    static const int names[] = {SO_REUSEPORT, SO_REUSEADDR, SO_BROADCAST};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(option(plain, SOL_SOCKET, names[i]), 0);
        CHECK_EQ(option(io, SOL_SOCKET, names[i]), 1);
    }
    CHECK_EQ(option(io, SOL_SOCKET, SO_SNDBUF), 40000); /* the kernel doubles it */
    CHECK_EQ(option(io, SOL_SOCKET, SO_RCVBUF), 60000);
    CHECK_EQ(rt_local_addr(io, &at), 0);
    CHECK_EQ(rt_udp_bind(rt, "127.0.0.1", (uint16_t)rt_addr_port(&at), &opts, &second), 0);
    CHECK_EQ(rt_close(second), 0);
    CHECK_EQ(rt_local_addr(plain, &at), 0);
    CHECK_EQ(rt_udp_bind(rt, "127.0.0.1", (uint16_t)rt_addr_port(&at), NULL, &second), -EADDRINUSE);
    CHECK_EQ(second, 0);
    CHECK_EQ(rt_close(plain), 0);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

static void bad_arguments(void) {
    struct both s;
    rt_io io = 77;
    open_both(&s, "127.0.0.1", 0);
    rt_cx *cx = s.hand.cx;
    to_receive(1);
    CHECK_EQ(rt_poll_recv_many(NULL, s.a, v, 1), -EINVAL);
    CHECK_EQ(rt_poll_recv_many(cx, 12345, v, 1), -EBADF);
    CHECK_EQ(rt_poll_recv_many(cx, s.a, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_recv_many(cx, s.a, v, 0), -EINVAL);
    v[0].buf = NULL;
    CHECK_EQ(rt_poll_recv_many(cx, s.a, v, 1), -EINVAL);
    to_send(&s.at_b, 1);
    CHECK_EQ(rt_poll_send_many(NULL, s.a, v, 1), -EINVAL);
    CHECK_EQ(rt_poll_send_many(cx, 12345, v, 1), -EBADF);
    CHECK_EQ(rt_poll_send_many(cx, s.a, NULL, 1), -EINVAL);
    CHECK_EQ(rt_poll_send_many(cx, s.a, v, 0), -EINVAL);
    v[0].addr.len = 129;
    CHECK_EQ(rt_poll_send_many(cx, s.a, v, 1), -EINVAL);
    v[0].addr.len = 3;
    AWAIT_EQ(&s.hand, -EINVAL, rt_poll_send_many(cx, s.a, v, 1));
    CHECK_EQ(rt_udp_bind(s.rt, "localhost", 0, NULL, &io), -EINVAL);
    CHECK_EQ(io, 0);
    CHECK_EQ(rt_udp_bind(s.rt, NULL, 0, NULL, NULL), -EINVAL);
    rt_udp_opts bad[3] = {opts_of(1u << 30), opts_of(0), opts_of(0)};
    bad[1].send_buffer = UINT32_MAX;
    bad[2].receive_buffer = UINT32_MAX;
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_udp_bind(s.rt, NULL, 0, &bad[i], &io), -EINVAL);
    CHECK_EQ(rt_udp_connect(s.a, &(rt_addr){0}), -EINVAL);
    CHECK_EQ(rt_udp_connect(12345, &s.at_b), -EBADF);
    CHECK_EQ(rt_tcp_listen(s.rt, "127.0.0.1", 0, NULL, &io), 0);
    CHECK_EQ(rt_udp_connect(io, &s.at_b), -EPROTOTYPE);
    CHECK_EQ(rt_close(io), 0);
    close_both(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(of_ipv4);
    CASE(of_ipv6);
    CASE(how_many);
    CASE(of_both_families);
    CASE(truncated);
    CASE(peers);
    CASE(a_port_stays_without_the_peer);
    CASE(segments);
    CASE(no_segments);
    CASE(segments_together);
    CASE(one_that_cannot_go);
    CASE(options_are_set);
    CASE(bad_arguments);
    return test_end();
}
