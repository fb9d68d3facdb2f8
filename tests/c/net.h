/* Sockets and pipes for the tests: on the loopback, nonblocking, close-on-exec, on ports that the
 * kernel picks. The library does not know the ends that the functions below use.
 */
#ifndef ASYNCIO_TESTS_NET_H
#define ASYNCIO_TESTS_NET_H

#include "check.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- making them ---- */

static inline void net_set_nonblock(int fd, bool on) {
    int flags = (int)CHECK_SYS(fcntl(fd, F_GETFL));
    CHECK_SYS(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

static inline struct sockaddr_in net_name(int fd) {
    struct sockaddr_in name;
    socklen_t len = sizeof name;
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&name, &len));
    return name;
}

static inline int net_socket(int type) {
    return (int)CHECK_SYS(socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

/* A socket with a port, which does not listen. */
static inline int net_bound(int type) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = net_socket(type);
    CHECK_SYS(bind(fd, (struct sockaddr *)&name, sizeof name));
    return fd;
}

static inline int net_listen(int backlog) {
    int fd = net_bound(SOCK_STREAM);
    CHECK_SYS(listen(fd, backlog));
    return fd;
}

static inline void net_no_delay(int fd) {
    CHECK_SYS(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
}

/* A client of `listener`: connected when this returns, whether or not it was accepted. */
static inline int net_dial(int listener) {
    struct sockaddr_in name = net_name(listener);
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    /* With loopback's segments of 64 KiB, the rest of a window that is smaller than one is used by a
     * timer, 200 ms after everything looked full. */
    CHECK_SYS(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &(int){1024}, sizeof(int)));
    CHECK_SYS(connect(fd, (struct sockaddr *)&name, sizeof name));
    net_set_nonblock(fd, true);
    net_no_delay(fd);
    return fd;
}

/* Waits until the kernel reports one of `events`, or an error or a hang-up. */
static inline void net_wait(int fd, short events) {
    struct pollfd ready = {.fd = fd, .events = events};
    int r;
    do r = poll(&ready, 1, -1);
    while (r == -1 && errno == EINTR);
    CHECK_SYS(r);
}

/* Fills a listener's queue that has room for one, so that nobody else is let in. That one may be connected before it is in there. */
static inline int net_fill(int listener) {
    int spare = net_dial(listener);
    net_wait(listener, POLLIN);
    return spare;
}

static inline int net_full(int *spare) {
    int listener = net_listen(0);
    *spare = net_fill(listener);
    return listener;
}

static inline int net_take(int listener) {
    net_wait(listener, POLLIN);
    return (int)CHECK_SYS(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

/* The room for what is unsent stays what it is. By itself TCP may give more when a probe of a closed window is answered,
 * 200 ms after nothing more could be written. */
static inline void net_keep_room(int fd) {
    int room;
    socklen_t len = sizeof room;
    CHECK_SYS(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len));
    room /= 2; /* Linux says twice what it was told */
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
}

/* One TCP connection: out[0] was accepted, out[1] dialled. */
static inline void net_pair(int out[2]) {
    int listener = net_listen(1);
    out[1] = net_dial(listener);
    out[0] = net_take(listener);
    net_no_delay(out[0]);
    net_keep_room(out[0]);
    net_keep_room(out[1]);
    close(listener);
}

static inline void net_unix_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

/* Two UDP sockets, each connected to the other. */
static inline void net_udp_pair(int out[2]) {
    for (int i = 0; i < 2; i++) out[i] = net_bound(SOCK_DGRAM);
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in peer = net_name(out[1 - i]);
        CHECK_SYS(connect(out[i], (struct sockaddr *)&peer, sizeof peer));
    }
}

/* out[0] reads, out[1] writes. */
static inline void net_pipe(int out[2]) { CHECK_SYS(pipe2(out, O_NONBLOCK | O_CLOEXEC)); }

/* The same with the ends exchanged, for whoever wants the writing one first. */
static inline void net_pipe_writer_first(int out[2]) {
    int ends[2];
    net_pipe(ends);
    out[0] = ends[1];
    out[1] = ends[0];
}

/* Makes writes short. The receive buffers stay as they are: TCP opens a tiny window but slowly. */
static inline void net_small_buffer(int fd) {
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int)));
}

/* ---- the far end ---- */

/* Whether a failed call is worth another try; waits first where there is nothing to do yet. */
static inline bool net_again(int fd, short events) {
    if (errno == EAGAIN) net_wait(fd, events);
    else if (errno != EINTR) return false;
    return true;
}

static inline void net_put(int fd, const void *data, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t r = write(fd, (const char *)data + done, n - done);
        if (r > 0) done += (size_t)r;
        else if (!net_again(fd, POLLOUT)) CHECK_SYS(r);
    }
}

/* Reads until `n` bytes are there or the stream ends; returns how many there are. */
static inline size_t net_get(int fd, void *data, size_t n) {
    size_t have = 0;
    while (have < n) {
        ssize_t r = read(fd, (char *)data + have, n - have);
        if (r > 0) have += (size_t)r;
        else if (r == 0) break;
        else if (!net_again(fd, POLLIN)) CHECK_SYS(r);
    }
    return have;
}

/* Whether TCP waits for an acknowledgement, which would make room once more. */
static inline bool net_in_flight(int fd) {
    int unacknowledged = 0, unsent = 0;
    return ioctl(fd, SIOCOUTQ, &unacknowledged) == 0 && ioctl(fd, SIOCOUTQNSD, &unsent) == 0 &&
           unacknowledged != unsent;
}

/* Writes until the kernel takes not one byte more, nor will soon; returns how much it took. */
static inline size_t net_stuff(int fd) {
    static const char zeros[65536];
    size_t total = 0, piece = sizeof zeros;
    while (piece > 0) {
        ssize_t r = write(fd, zeros, piece);
        if (r > 0) {
            total += (size_t)r;
        } else if (errno == EAGAIN) {
            if (net_in_flight(fd)) sched_yield();
            else piece /= 2;
        } else if (errno != EINTR) {
            CHECK_SYS(r);
        }
    }
    return total;
}

/* Reads until nothing is there; returns how much it was. */
static inline size_t net_drain(int fd) {
    char scratch[65536];
    size_t total = 0;
    for (;;) {
        ssize_t r = read(fd, scratch, sizeof scratch);
        if (r > 0) total += (size_t)r;
        else if (r == 0 || errno == EAGAIN) return total;
        else if (errno != EINTR) CHECK_SYS(r);
    }
}

/* Closes with a reset in place of an orderly end. */
static inline void net_reset(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    close(fd);
}

/* ---- looking ---- */

static inline bool net_is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static inline struct stat net_identity(int fd) {
    struct stat st;
    CHECK_SYS(fstat(fd, &st));
    return st;
}

/* Whether the number still stands for the same pipe or socket. */
static inline bool net_is_still(int fd, const struct stat *was) {
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_dev == was->st_dev && st.st_ino == was->st_ino;
}

/* A stream in which every lost, doubled or foreign byte shows. */
static inline unsigned char net_pattern_at(uint64_t seed, uint64_t offset) {
    return (unsigned char)(((offset + seed * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u) >> 56);
}

static inline void net_pattern(void *out, size_t n, uint64_t seed, uint64_t offset) {
    unsigned char *at = out;
    for (size_t i = 0; i < n; i++) at[i] = net_pattern_at(seed, offset + i);
}

static inline bool net_pattern_holds(const void *data, size_t n, uint64_t seed, uint64_t offset) {
    const unsigned char *at = data;
    for (size_t i = 0; i < n; i++)
        if (at[i] != net_pattern_at(seed, offset + i)) return false;
    return true;
}

/* Asks for room for `want` descriptors; skips the test where that is not allowed. */
static inline void net_want_fds(rlim_t want) {
    struct rlimit limit;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_cur >= want) return;
    limit.rlim_cur = want;
    if (limit.rlim_max < want) limit.rlim_max = want;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
    static char reason[80];
    snprintf(reason, sizeof reason, "RLIMIT_NOFILE cannot be raised to %llu",
             (unsigned long long)want);
    SKIP(reason);
}

#endif
