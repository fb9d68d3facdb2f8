/* TCP through the library's own listeners and connections: by address and by name, over both
 * families, with options that are really set, and with errors that say what is wrong.
 */
#include "net.h"

static rt_tcp_opts opts_of(uint32_t flags) {
    rt_tcp_opts opts;
    CHECK_EQ(rt_tcp_opts_init(&opts, sizeof opts), 0);
    opts.flags = flags;
    return opts;
}

static uint16_t port_of(rt_io io) {
    rt_addr addr;
    CHECK_EQ(rt_local_addr(io, &addr), 0);
    return (uint16_t)CHECK_OK(rt_addr_port(&addr));
}

static rt_io listen_at(rt_runtime rt, const char *host, const rt_tcp_opts *opts) {
    rt_io io = 0;
    CHECK_EQ(rt_tcp_listen(rt, host, 0, opts, &io), 0);
    CHECK(io != 0);
    CHECK(port_of(io) != 0);
    return io;
}

/* Listens, and has the port at the other family's own address as well, where it refuses: whoever is given a port
 * meanwhile is given another one. */
static rt_io listen_alone(rt_runtime rt, const char *host, const rt_tcp_opts *opts, int other, int *deaf) {
    for (;;) {
        rt_io io = listen_at(rt, host, opts);
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port_of(io)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port_of(io)), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        const struct sockaddr *name = other == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
        *deaf = (int)CHECK_SYS(socket(other, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (bind(*deaf, name, other == AF_INET ? sizeof v4 : sizeof v6) == 0) return io;
        CHECK_EQ(errno, EADDRINUSE);
        close(*deaf);
        CHECK_EQ(rt_close(io), 0);
    }
}

static int64_t connect_to(rt_runtime rt, const char *host, uint16_t port, const rt_tcp_opts *opts) {
    rt_task task = 0;
    CHECK_EQ(rt_tcp_connect(rt, host, port, opts, &task), 0);
    CHECK(task != 0);
    return join_task(task);
}

static int fd_of(rt_io io) { return (int)CHECK_OK(rt_io_fd(io)); }

static int option(rt_io io, int level, int name) {
    int value = 0;
    CHECK_SYS(getsockopt(fd_of(io), level, name, &value, &(socklen_t){sizeof value}));
    return value;
}

static void check_text(int64_t got, const rt_addr *addr, const char *expected) {
    char text[80];
    CHECK_EQ(got, 0);
    CHECK_OK(rt_addr_text(addr, text, sizeof text));
    if (strncmp(text, expected, strlen(expected)) != 0) fprintf(stderr, "%s\n", text);
    CHECK(strncmp(text, expected, strlen(expected)) == 0);
}

/* Connects, says something each way, and closes both ends. */
static void talk(rt_runtime rt, rt_io listener, const char *host, const char *from, const char *to) {
    rt_io io = (rt_io)CHECK_OK(connect_to(rt, host, port_of(listener), NULL));
    rt_addr addr;
    int far = net_take(fd_of(listener));
    check_text(rt_local_addr(io, &addr), &addr, from);
    check_text(rt_peer_addr(io, &addr), &addr, to);
    CHECK_EQ(rt_addr_port(&addr), port_of(listener));
    CHECK_EQ(fcntl(fd_of(io), F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(fd_of(io), F_GETFL) & O_NONBLOCK);
    char byte = 0;
    CHECK_EQ(write(far, "x", 1), 1);
    net_wait(fd_of(io), POLLIN);
    CHECK_EQ(read(fd_of(io), &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    close(far);
    CHECK_EQ(rt_close(io), 0);
}

static void both_families(void) {
    rt_runtime rt = test_runtime();
    int deaf;
    rt_io v4 = listen_alone(rt, "127.0.0.1", NULL, AF_INET6, &deaf), v6 = listen_at(rt, "::1", NULL);
    talk(rt, v4, "127.0.0.1", "127.0.0.1:", "127.0.0.1:");
    talk(rt, v6, "::1", "[::1]:", "[::1]:");
    /* Whether or not the name stands for the other family too, at which nobody listens. */
    talk(rt, v4, "localhost", "127.0.0.1:", "127.0.0.1:");
    close(deaf);
    CHECK_EQ(rt_close(v4), 0);
    CHECK_EQ(rt_close(v6), 0);
    test_runtime_free(rt);
}

static void all_addresses(void) {
    rt_runtime rt = test_runtime();
    rt_tcp_opts only = opts_of(RT_TCP_V6ONLY);
    int deaf;
    rt_io both = listen_at(rt, NULL, NULL), any = listen_at(rt, "::", NULL);
    rt_io v6 = listen_alone(rt, NULL, &only, AF_INET, &deaf);
    talk(rt, both, "127.0.0.1", "127.0.0.1:", "127.0.0.1:");
    talk(rt, both, "::1", "[::1]:", "[::1]:");
    talk(rt, any, "127.0.0.1", "127.0.0.1:", "127.0.0.1:");
    talk(rt, v6, "::1", "[::1]:", "[::1]:");
    CHECK_EQ(connect_to(rt, "127.0.0.1", port_of(v6), NULL), -ECONNREFUSED);
    close(deaf);
    CHECK_EQ(rt_close(both), 0);
    CHECK_EQ(rt_close(any), 0);
    CHECK_EQ(rt_close(v6), 0);
    test_runtime_free(rt);
}

static void refused(void) {
    rt_runtime rt = test_runtime();
    int bound = net_bound(SOCK_STREAM);
    uint16_t port = ntohs(net_name(bound).sin_port);
    CHECK_EQ(connect_to(rt, "127.0.0.1", port, NULL), -ECONNREFUSED);
    CHECK_EQ(connect_to(rt, "localhost", port, NULL), -ECONNREFUSED);
    close(bound);
    test_runtime_free(rt);
}

static void options_are_set(void) {
    rt_runtime rt = test_runtime();
    rt_addr local;
    CHECK_EQ(rt_addr_parse("127.0.0.9", 0, &local), 0);
    rt_tcp_opts opts = opts_of(RT_TCP_NODELAY_OFF | RT_TCP_REUSEPORT | RT_TCP_DEFER_ACCEPT);
    opts.keepalive_s = 11;
    opts.keepalive_interval_s = 12;
    opts.keepalive_count = 13;
    opts.send_buffer = 20000;
    opts.receive_buffer = 30000;
    opts.backlog = 3;
    opts.local = &local;
    opts.deadline = RT_NEVER;
    rt_io plain = listen_at(rt, "127.0.0.1", NULL), listener = listen_at(rt, "127.0.0.1", &opts);
    rt_io second = 0;
    CHECK_EQ(rt_tcp_listen(rt, "127.0.0.1", port_of(listener), &opts, &second), 0);
    CHECK_EQ(rt_close(second), 0);
    CHECK_EQ(rt_tcp_listen(rt, "127.0.0.1", port_of(plain), &opts, &second), -EADDRINUSE);
    CHECK_EQ(second, 0);
    CHECK_EQ(option(plain, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(option(plain, SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(option(plain, SOL_SOCKET, SO_REUSEPORT), 0);
    CHECK_EQ(option(plain, SOL_SOCKET, SO_KEEPALIVE), 0);
    CHECK_EQ(option(plain, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    CHECK(option(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0);
    struct tcp_info info;
    CHECK_SYS(getsockopt(fd_of(listener), IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
    CHECK_EQ(info.tcpi_sacked, 3); /* of a listener: its backlog */
    rt_io io = (rt_io)CHECK_OK(connect_to(rt, "127.0.0.1", port_of(plain), &opts));
    rt_io both[] = {listener, io};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(option(both[i], IPPROTO_TCP, TCP_NODELAY), 0);
        CHECK_EQ(option(both[i], SOL_SOCKET, SO_REUSEPORT), 1);
        CHECK_EQ(option(both[i], SOL_SOCKET, SO_KEEPALIVE), 1);
        CHECK_EQ(option(both[i], IPPROTO_TCP, TCP_KEEPIDLE), 11);
        CHECK_EQ(option(both[i], IPPROTO_TCP, TCP_KEEPINTVL), 12);
        CHECK_EQ(option(both[i], IPPROTO_TCP, TCP_KEEPCNT), 13);
        CHECK_EQ(option(both[i], SOL_SOCKET, SO_SNDBUF), 40000); /* the kernel doubles it */
        CHECK_EQ(option(both[i], SOL_SOCKET, SO_RCVBUF), 60000);
    }
    check_text(rt_local_addr(io, &local), &local, "127.0.0.9:");
    CHECK_EQ(rt_close(io), 0);
    /* What is accepted inherits. */
    rt_io next = (rt_io)CHECK_OK(connect_to(rt, "127.0.0.1", port_of(plain), NULL));
    CHECK_EQ(option(next, IPPROTO_TCP, TCP_NODELAY), 1);
    close(net_take(fd_of(plain)));
    int far = net_take(fd_of(plain)), value = 0;
    CHECK_SYS(getsockopt(far, IPPROTO_TCP, TCP_NODELAY, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, 1);
    close(far);
    CHECK_EQ(rt_close(next), 0);
    CHECK_EQ(rt_close(plain), 0);
    CHECK_EQ(rt_close(listener), 0);
    test_runtime_free(rt);
}

/* The address of a listener that is gone, with connections that linger, can be had again. */
static void an_address_is_used_again(void) {
    rt_runtime rt = test_runtime();
    rt_io listener = listen_at(rt, "127.0.0.1", NULL);
    uint16_t port = port_of(listener);
    rt_io io = (rt_io)CHECK_OK(connect_to(rt, "127.0.0.1", port, NULL));
    close(net_take(fd_of(listener))); /* this side ends first, and so lingers */
    net_wait(fd_of(io), POLLIN);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_close(listener), 0);
    CHECK_EQ(rt_tcp_listen(rt, "127.0.0.1", port, NULL, &listener), 0);
    CHECK_EQ(rt_close(listener), 0);
    test_runtime_free(rt);
}

/* A port that nobody else gets meanwhile: only who may use an address again can share it. */
static int keep_port(const rt_addr *host, uint16_t *port) {
    struct sockaddr_storage name;
    const struct sockaddr *wanted = (const void *)host->storage;
    int fd = (int)CHECK_SYS(socket(wanted->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
    CHECK_SYS(bind(fd, wanted, host->len));
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&name, &(socklen_t){sizeof name}));
    *port = ntohs(((struct sockaddr_in *)&name)->sin_port); /* at the same place in both families */
    return fd;
}

/* Where connections come from: an address of either family, with a port of the kernel's choice or
 * the program's, which can be had again at once. */
static void from_an_address(void) {
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 2; i++) {
        rt_tcp_opts opts = opts_of(0);
        rt_addr local, at;
        rt_io listener = listen_at(rt, hosts[i], NULL);
        CHECK_EQ(rt_addr_parse(hosts[i], 0, &at), 0);
        uint16_t port;
        int keeper = keep_port(&at, &port);
        opts.local = &local;
        for (int round = 0; round < 3; round++) {
            CHECK_EQ(rt_addr_parse(hosts[i], round == 0 ? 0 : port, &local), 0);
            rt_io io = (rt_io)CHECK_OK(connect_to(rt, hosts[i], port_of(listener), &opts));
            CHECK_EQ(rt_local_addr(io, &at), 0);
            CHECK_EQ(at.len, local.len);
            if (round > 0) CHECK_EQ(memcmp(at.storage, local.storage, at.len), 0);
            int far = net_take(fd_of(listener));
            net_reset(far);
            net_wait(fd_of(io), POLLIN);
            CHECK_EQ(rt_close(io), 0);
        }
        CHECK_EQ(rt_close(listener), 0);
        close(keeper);
    }
    test_runtime_free(rt);
}

/* A smaller struct, of a program that knows less, is good as well. */
static void sizes(void) {
    rt_runtime rt = test_runtime();
    rt_io io = 77;
    rt_tcp_opts opts;
    CHECK_EQ(rt_tcp_opts_init(NULL, sizeof opts), -EINVAL);
    CHECK_EQ(rt_tcp_opts_init(&opts, 3), -EINVAL);
    CHECK_EQ(rt_tcp_opts_init(&opts, 8), 0);
    CHECK_EQ(rt_tcp_listen(rt, "127.0.0.1", 0, &opts, &io), 0);
    CHECK_EQ(rt_close(io), 0);
    opts.size = 0;
    CHECK_EQ(rt_tcp_listen(rt, "127.0.0.1", 0, &opts, &io), -EINVAL);
    CHECK_EQ(io, 0);
    test_runtime_free(rt);
}

static void bad_arguments(void) {
    rt_runtime rt = test_runtime();
    rt_io io = 77;
    rt_task task = 77;
    rt_addr addr, unix_addr;
    CHECK_EQ(rt_addr_parse("unix:/x", 0, &unix_addr), 0);
    CHECK_EQ(rt_tcp_listen(rt, NULL, 0, NULL, NULL), -EINVAL);
    CHECK_EQ(rt_tcp_connect(rt, "127.0.0.1", 1, NULL, NULL), -EINVAL);
    static const char *const no_addresses[] = {"", "localhost", "127.0.0.1:80", "unix:/x", "\xff"};
    for (int i = 0; i < 5; i++) {
        io = 77;
        CHECK_EQ(rt_tcp_listen(rt, no_addresses[i], 0, NULL, &io), -EINVAL);
        CHECK_EQ(io, 0);
    }
    CHECK_EQ(rt_tcp_listen(rt, "192.0.2.1", 0, NULL, &io), -EADDRNOTAVAIL);
    CHECK_EQ(rt_tcp_connect(rt, NULL, 1, NULL, &task), -EINVAL);
    CHECK_EQ(task, 0);
    CHECK_EQ(rt_tcp_connect(rt, "", 1, NULL, &task), -EINVAL);
    CHECK_EQ(rt_tcp_connect(rt, "\xff", 1, NULL, &task), -EINVAL);
    rt_tcp_opts bad[9];
    for (int i = 0; i < 9; i++) bad[i] = opts_of(0);
    bad[0].flags = 1u << 31;
    bad[1].backlog = 1u << 31;
    bad[2].send_buffer = UINT32_MAX;
    bad[3].receive_buffer = 1u << 31;
    bad[4].local = &(rt_addr){0};
    bad[5].local = &unix_addr;
    bad[6].keepalive_s = 32768; /* more than the kernel takes, as the next two */
    bad[7].keepalive_interval_s = 32768;
    bad[8].keepalive_count = 128;
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(rt_tcp_listen(rt, NULL, 0, &bad[i], &io), i == 5 ? -EAFNOSUPPORT : -EINVAL);
        CHECK_EQ(rt_tcp_connect(rt, "127.0.0.1", 1, &bad[i], &task), i == 5 ? -EAFNOSUPPORT : -EINVAL);
    }
    rt_tcp_opts most = opts_of(0);
    most.keepalive_s = most.keepalive_interval_s = 32767;
    most.keepalive_count = 127;
    CHECK_EQ(connect_to(rt, "127.0.0.1", 1, &most), -ECONNREFUSED);
    CHECK_EQ(rt_close(listen_at(rt, "127.0.0.1", &most)), 0);
    io = listen_at(rt, "127.0.0.1", NULL);
    CHECK_EQ(rt_local_addr(io, NULL), -EINVAL);
    CHECK_EQ(rt_peer_addr(io, &addr), -ENOTCONN);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_local_addr(io, &addr), -EBADF);
    CHECK_EQ(rt_peer_addr(io, &addr), -EBADF);
    CHECK_EQ(rt_local_addr(rt, &addr), -EBADF);
    int ends[2];
    net_pipe(ends);
    CHECK_EQ(rt_register_fd(rt, ends[0], RT_READABLE, &io), 0);
    CHECK_EQ(rt_local_addr(io, &addr), -ENOTSOCK);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    test_runtime_free(rt);
    CHECK_EQ(rt_tcp_listen(rt, NULL, 0, NULL, &io), -EBADF);
    CHECK_EQ(rt_tcp_connect(rt, "127.0.0.1", 1, NULL, &task), -EBADF);
    CHECK_EQ(task, 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(both_families);
    CASE(all_addresses);
    CASE(refused);
    CASE(options_are_set);
    CASE(an_address_is_used_again);
    CASE(from_an_address);
    CASE(sizes);
    CASE(bad_arguments);
    return test_end();
}
