/* What the echo servers on other people's loops have in common: the command line, the listener, and,
 * where the library leaves the system calls to its user, the calls.
 *
 * Usage of each: NAME [--port P]. It prints "listening on 127.0.0.1:PORT (..)" and ends on SIGTERM.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER = 16 * 1024, /* what all servers read at once */
    AT_ONCE = 16,       /* so often from one connection before the next has its turn */
};

static inline _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static inline void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* A non-blocking listener whose connections inherit TCP_NODELAY. */
static inline int open_listener(int argc, char **argv, const char *about) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    const int on = 1;
    if (argc != 1 && (argc != 3 || strcmp(argv[1], "--port") != 0)) {
        fprintf(stderr, "usage: %s [--port P]\n", argv[0]);
        exit(2);
    }
    if (argc == 3) name.sin_port = htons((uint16_t)atoi(argv[2]));
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&name, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &len) < 0)
        die("listen", strerror(errno));
    printf("listening on 127.0.0.1:%" PRIu16 " (%s)\n", ntohs(name.sin_port), about);
    fflush(stdout);
    return fd;
}

/* ---- an echo by readiness, level-triggered ---- */

/* What the socket did not take. One buffer serves all connections; a connection has memory of its
 * own only while its peer does not read. */
struct unsent {
    char *data; /* NULL: nothing */
    size_t off, len;
};

enum next { AWAIT_INPUT, AWAIT_ROOM, END };

static inline ssize_t send_some(int fd, const char *data, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t r = send(fd, data + done, n - done, MSG_NOSIGNAL);
        if (r >= 0) done += (size_t)r;
        else if (errno == EAGAIN) break;
        else if (errno != EINTR) return -1;
    }
    return (ssize_t)done;
}

static inline enum next send_rest(int fd, struct unsent *u) {
    ssize_t n = send_some(fd, u->data + u->off, u->len - u->off);
    if (n < 0) return END;
    u->off += (size_t)n;
    if (u->off < u->len) return AWAIT_ROOM;
    free(u->data);
    u->data = NULL;
    return AWAIT_INPUT;
}

static inline enum next keep(struct unsent *u, const char *data, size_t n) {
    u->data = malloc(n);
    if (u->data == NULL) return END;
    memcpy(u->data, data, n);
    u->off = 0;
    u->len = n;
    return AWAIT_ROOM;
}

/* Receives and answers until the socket has no more, or others have waited long enough. A short
 * receive is the last: the one that would say EAGAIN is not made. Nothing is read while something
 * is unsent. */
static inline enum next echo(int fd, struct unsent *u) {
    static char buf[BUFFER];
    if (u->data != NULL) return send_rest(fd, u);
    for (int i = 0; i < AT_ONCE; i++) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n == 0) return END;
        if (n < 0) return errno == EAGAIN || errno == EINTR ? AWAIT_INPUT : END;
        ssize_t sent = send_some(fd, buf, (size_t)n);
        if (sent < 0) return END;
        if (sent < n) return keep(u, buf + sent, (size_t)(n - sent));
        if ((size_t)n < sizeof buf) break;
    }
    return AWAIT_INPUT;
}

#endif
