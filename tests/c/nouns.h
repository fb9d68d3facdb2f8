/* Everything of the library's that holds a descriptor, each thing with a way to make it and a way to
 * end it. What it needs beside is made before, by `prepare`. Each uses what it has of the kit.
 */
#ifndef ASYNCIO_TESTS_NOUNS_H
#define ASYNCIO_TESTS_NOUNS_H

#include "op.h"

struct kit {
    rt_runtime rt, other;
    int fds[2]; /* of the test's own, 0 if there are none */
    rt_io listener, ios[2];
    rt_op op;
    rt_event event;
    rt_signal signal;
    rt_process process;
    rt_server server;
    rt_watch watch;
    bool asked;
};

struct noun {
    const char *name;
    void (*prepare)(struct kit *);
    int64_t (*make)(struct kit *);
    void (*end)(struct kit *);
};

/* ---- the ends ---- */

/* What `prepare` made, too. */
static inline void kit_end(struct kit *k) {
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_close(k->ios[i]), 0);
    CHECK_EQ(rt_close(k->listener), 0);
    for (int i = 0; i < 2; i++)
        if (k->fds[i] > 0) close(k->fds[i]);
}

/* ---- runtimes ---- */

static inline int64_t make_runtime(struct kit *k) {
    rt_config config = test_config();
    char why[256] = "";
    int64_t r = rt_new(&config, &k->other, why, sizeof why);
    CHECK(r == 0 || (why[0] != '\0' && k->other == 0));
    return r;
}

static inline void end_runtime(struct kit *k) {
    CHECK_EQ(rt_free(k->other), 0);
    kit_end(k);
}

/* ---- events, signals, children ---- */

static inline int64_t make_event(struct kit *k) { return rt_event_new(k->rt, &k->event); }

static inline void end_event(struct kit *k) {
    CHECK_EQ(rt_event_free(k->event), 0);
    kit_end(k);
}

static inline int64_t make_signal(struct kit *k) {
    return rt_signal_open(k->rt, SIGWINCH, &k->signal);
}

static inline void end_signal(struct kit *k) {
    CHECK_EQ(rt_signal_close(k->signal), 0);
    kit_end(k);
}

static inline int64_t make_child(struct kit *k) {
    char *argv[] = {"cat", NULL};
    rt_process_opts opts;
    CHECK_EQ(rt_process_opts_init(&opts, sizeof opts), 0);
    opts.file = argv[0];
    opts.argv = argv;
    opts.stdin_fd = opts.stdout_fd = RT_STDIO_PIPE;
    opts.stderr_fd = RT_STDIO_NULL;
    int64_t r = rt_process_spawn(k->rt, &opts, &k->process);
    if (r != 0) return r;
    for (uint32_t i = 0; i < 2; i++) CHECK_EQ(rt_process_stdio(k->process, i, &k->ios[i]), 0);
    return 0;
}

static inline int64_t kit_child_ends(rt_cx *cx, void *state) {
    return rt_poll_process(cx, ((struct kit *)state)->process, NULL);
}

static inline void end_child(struct kit *k) {
    kit_end(k);
    CHECK_EQ(rt_block_on(k->rt, kit_child_ends, k), 0);
    CHECK_EQ(rt_process_close(k->process), 0);
}

/* ---- sockets ---- */

static inline int64_t make_tcp_listener(struct kit *k) {
    return rt_tcp_listen(k->rt, "127.0.0.1", 0, NULL, &k->listener);
}

/* Each kit has a listener of its own. */
static inline void kit_name(const struct kit *k, char name[64]) {
    snprintf(name, 64, "@asyncio-nouns-%d-%p", (int)getpid(), (const void *)k);
}

static inline int64_t make_unix_listener(struct kit *k) {
    char name[64];
    kit_name(k, name);
    return rt_unix_listen(k->rt, name, NULL, &k->listener);
}

static inline void prepare_tcp_listener(struct kit *k) { CHECK_EQ(make_tcp_listener(k), 0); }
static inline void prepare_unix_listener(struct kit *k) { CHECK_EQ(make_unix_listener(k), 0); }

static inline int64_t kit_connected(struct kit *k, rt_task task) {
    int64_t r = join_task(task);
    if (r > 0) k->ios[0] = (rt_io)r;
    return r > 0 ? 0 : r;
}

static inline int64_t make_tcp_connection(struct kit *k) {
    rt_addr addr;
    rt_task task = 0;
    CHECK_EQ(rt_local_addr(k->listener, &addr), 0);
    uint16_t port = (uint16_t)rt_addr_port(&addr);
    int64_t r = rt_tcp_connect(k->rt, "127.0.0.1", port, NULL, &task);
    return r == 0 ? kit_connected(k, task) : r;
}

static inline int64_t make_unix_connection(struct kit *k) {
    char name[64];
    rt_task task = 0;
    kit_name(k, name);
    int64_t r = rt_unix_connect(k->rt, name, NULL, &task);
    return r == 0 ? kit_connected(k, task) : r;
}

/* The same by one call in a poll, with nothing but a slot. */
static inline int64_t kit_dial(rt_cx *cx, void *state) {
    struct kit *k = state;
    rt_addr addr;
    CHECK_EQ(rt_local_addr(k->listener, &addr), 0);
    int64_t r = rt_poll_tcp_connect(cx, &k->op, "127.0.0.1", (uint16_t)rt_addr_port(&addr), NULL, &k->ios[0]);
    CHECK_EQ(k->op == 0, r != RT_PENDING);
    return r;
}

static inline int64_t kit_dial_unix(rt_cx *cx, void *state) {
    struct kit *k = state;
    char name[64];
    kit_name(k, name);
    int64_t r = rt_poll_unix_connect(cx, &k->op, name, NULL, &k->ios[0]);
    CHECK_EQ(k->op == 0, r != RT_PENDING);
    return r;
}

static inline int64_t make_dialled(struct kit *k) { return rt_block_on(k->rt, kit_dial, k); }
static inline int64_t make_dialled_unix(struct kit *k) { return rt_block_on(k->rt, kit_dial_unix, k); }

static inline int64_t make_unix_pair(struct kit *k) {
    return rt_unix_pair(k->rt, SOCK_STREAM, k->ios);
}

static inline int64_t make_udp(struct kit *k) {
    return rt_udp_bind(k->rt, "127.0.0.1", 0, NULL, &k->ios[0]);
}

/* ---- accepting ---- */

static inline void prepare_client(struct kit *k) {
    int fd = net_listen(1);
    k->fds[0] = net_dial(fd);
    k->listener = io_of(k->rt, fd, RT_READABLE);
}

static inline int64_t kit_accept(rt_cx *cx, void *state) {
    struct kit *k = state;
    return rt_poll_accept(cx, k->listener, &k->ios[0]);
}

static inline int64_t kit_accept_op(rt_cx *cx, void *state) {
    struct kit *k = state;
    if (k->op == 0) CHECK_EQ(rt_submit_accept(cx, k->listener, &k->op), 0);
    int64_t r = rt_poll_op(cx, k->op);
    if (r == RT_PENDING) return r;
    if (r > 0) k->ios[0] = (rt_io)r;
    k->op = 0;
    return r > 0 ? 0 : r;
}

/* The first connection, or want of descriptors; then the end of the operation is waited for. */
static inline int64_t kit_accept_many(rt_cx *cx, void *state) {
    struct kit *k = state;
    if (k->op == 0) CHECK_EQ(rt_submit_accept_multi(cx, k->listener, &k->op), 0);
    int64_t r = rt_poll_accept_next(cx, k->op, &k->ios[0]);
    if (r != RT_PENDING) k->op = 0; /* it ends with its task */
    return r;
}

static inline int64_t make_accepted(struct kit *k) { return rt_block_on(k->rt, kit_accept, k); }
static inline int64_t make_accepted_op(struct kit *k) {
    return rt_block_on(k->rt, kit_accept_op, k);
}
static inline int64_t make_accepted_many(struct kit *k) {
    return rt_block_on(k->rt, kit_accept_many, k);
}

/* ---- files ---- */

static inline int64_t kit_open(rt_cx *cx, void *state) {
    struct kit *k = state;
    if (!k->asked) CHECK_EQ(rt_submit_openat(cx, 0, "/dev/null", O_RDONLY, 0, &k->op), 0);
    k->asked = true;
    int64_t r = rt_poll_op(cx, k->op);
    if (r > 0) k->ios[0] = (rt_io)r;
    return r > 0 ? 0 : r;
}

static inline int64_t make_file(struct kit *k) {
    k->asked = false;
    return rt_block_on(k->rt, kit_open, k);
}

/* ---- descriptors that come in messages ---- */

static inline void prepare_message(struct kit *k) {
    CHECK_EQ(make_unix_pair(k), 0);
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr m = {.msg_iov = &(struct iovec){"x", 1},
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &(int){(int)rt_io_fd(k->ios[0])}, sizeof(int));
    CHECK_EQ(CHECK_SYS(sendmsg((int)rt_io_fd(k->ios[0]), &m, 0)), 1);
}

static inline int64_t kit_receive(rt_cx *cx, void *state) {
    struct kit *k = state;
    char byte;
    uint32_t count = 1, flags = 0;
    int64_t r = rt_poll_recv_fds(cx, k->ios[1], &byte, 1, k->fds, &count, &flags);
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, 1);
    if (count == 0) k->fds[0] = 0;
    return 0;
}

static inline int64_t make_received(struct kit *k) { return rt_block_on(k->rt, kit_receive, k); }

/* ---- servers ---- */

static inline void prepare_listener(struct kit *k) {
    int fd = net_socket(SOCK_STREAM);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
    CHECK_SYS(bind(fd, (struct sockaddr *)&name, sizeof name));
    CHECK_SYS(listen(fd, 16));
    k->listener = io_of(k->rt, fd, RT_READABLE);
}

static inline int64_t kit_refuse(void *arg, rt_io io, rt_spawn_opts *task) {
    (void)arg, (void)task;
    CHECK_EQ(rt_close(io), 0);
    return -1;
}

static inline int64_t kit_serve(struct kit *k, uint32_t mode) {
    rt_serve_opts opts;
    CHECK_EQ(rt_serve_opts_init(&opts, sizeof opts), 0);
    opts.mode = mode;
    int64_t r = rt_serve(k->rt, k->listener, &opts, kit_refuse, NULL, &k->server);
    if (r == 0) k->listener = 0;
    return r;
}

static inline int64_t make_server(struct kit *k) { return kit_serve(k, RT_SERVE_SHARED); }
static inline int64_t make_exclusive(struct kit *k) { return kit_serve(k, RT_SERVE_EXCLUSIVE); }
static inline int64_t make_reuseport(struct kit *k) { return kit_serve(k, RT_SERVE_REUSEPORT); }

static inline int64_t kit_drain(rt_cx *cx, void *state) {
    return rt_poll_drain(cx, ((struct kit *)state)->server, RT_NEVER);
}

static inline void end_server(struct kit *k) {
    CHECK_EQ(rt_block_on(k->rt, kit_drain, k), 0);
    CHECK_EQ(rt_server_free(k->server), 0);
    kit_end(k);
}

/* ---- watches ---- */

/* A socket that is not connected: other registrations would enter the set when somebody waits. */
static inline void prepare_socket(struct kit *k) { k->fds[0] = net_socket(SOCK_STREAM); }

static inline void kit_hear(void *arg, int fd, uint32_t ready) { (void)arg, (void)fd, (void)ready; }

static inline int64_t make_watch(struct kit *k) {
    return rt_watch_open(k->rt, 0, k->fds[0], kit_hear, NULL, NULL, &k->watch);
}

static inline void end_watch(struct kit *k) {
    CHECK_EQ(rt_watch_close(k->watch), 0);
    kit_end(k);
}

/* ---- all of them ---- */

static inline void prepare_nothing(struct kit *k) { (void)k; }

static const struct noun nouns[] = {
    {"a runtime", prepare_nothing, make_runtime, end_runtime},
    {"an event", prepare_nothing, make_event, end_event},
    {"a signal", prepare_nothing, make_signal, end_signal},
    {"a child", prepare_nothing, make_child, end_child},
    {"a TCP listener", prepare_nothing, make_tcp_listener, kit_end},
    {"a Unix listener", prepare_nothing, make_unix_listener, kit_end},
    {"a TCP connection", prepare_tcp_listener, make_tcp_connection, kit_end},
    {"a Unix connection", prepare_unix_listener, make_unix_connection, kit_end},
    {"a TCP connection by one call", prepare_tcp_listener, make_dialled, kit_end},
    {"a Unix connection by one call", prepare_unix_listener, make_dialled_unix, kit_end},
    {"a Unix pair", prepare_nothing, make_unix_pair, kit_end},
    {"a UDP socket", prepare_nothing, make_udp, kit_end},
    {"a connection that was accepted", prepare_client, make_accepted, kit_end},
    {"one that an operation accepted", prepare_client, make_accepted_op, kit_end},
    {"one of many", prepare_client, make_accepted_many, kit_end},
    {"a file", prepare_nothing, make_file, kit_end},
    {"a descriptor out of a message", prepare_message, make_received, kit_end},
    {"a server", prepare_listener, make_server, end_server},
    {"a server in many sets", prepare_listener, make_exclusive, end_server},
    {"a server with many listeners", prepare_listener, make_reuseport, end_server},
    {"a watch", prepare_socket, make_watch, end_watch},
};

enum { NOUNS = sizeof nouns / sizeof nouns[0] };

#endif
