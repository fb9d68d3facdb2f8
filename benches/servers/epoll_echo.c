/* The measure of all the others: an echo server on epoll, by hand, and as fast as we can make it.
 *
 * One thread. Connections are edge-triggered and registered once, for both directions, so that no
 * epoll_ctl follows; a message costs one recv and one send, and its share of an epoll_wait. After a
 * short recv there is nothing left, so the one that would say EAGAIN is not made. One buffer serves
 * all; a connection has its own only while its peer does not take what was sent.
 *
 * Usage: epoll_echo [--port P] [--spin US]
 *
 * With --spin it looks for events that long before it sleeps.
 *
 * It prints "listening on 127.0.0.1:PORT (..)", and on SIGTERM or SIGINT what it served.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 16 * 1024, EVENTS = 256, RETRY_MS = 100 };

struct conn {
    int fd;
    char *unsent; /* NULL unless the socket is full */
    size_t off, len;
    struct conn *prev, *next; /* all connections, for the end */
};

struct server {
    int epoll, listener, signals;
    uint64_t spin; /* nanoseconds */
    bool starved; /* the listener is out of the set until the shortage may be over */
    struct conn all;
    uint64_t connections, bytes;
    char buf[BUFFER];
};

static _Noreturn void die(const char *what) {
    fprintf(stderr, "epoll_echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- connections ---- */

static void close_conn(struct conn *c) {
    close(c->fd); /* and thereby out of the set */
    c->prev->next = c->next;
    c->next->prev = c->prev;
    free(c->unsent);
    free(c);
}

/* Keeps what the socket did not take. */
static bool keep(struct conn *c, const char *data, size_t n) {
    c->unsent = malloc(n);
    if (c->unsent == NULL) return false;
    memcpy(c->unsent, data, n);
    c->off = 0;
    c->len = n;
    return true;
}

/* How much the socket took, or -1. */
static ssize_t send_some(struct server *s, struct conn *c, const char *data, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t r = send(c->fd, data + done, n - done, MSG_NOSIGNAL);
        if (r >= 0) done += (size_t)r;
        else if (errno == EAGAIN) break;
        else if (errno != EINTR) return -1;
    }
    s->bytes += done;
    return (ssize_t)done;
}

/* Whether the connection goes on. Nothing more is read before it is empty. */
static bool flush(struct server *s, struct conn *c) {
    if (c->unsent == NULL) return true;
    ssize_t n = send_some(s, c, c->unsent + c->off, c->len - c->off);
    if (n < 0) return false;
    c->off += (size_t)n;
    if (c->off < c->len) return true;
    free(c->unsent);
    c->unsent = NULL;
    return true;
}

/* Whether the connection goes on. An end that was announced with this event gives no other, so then
 * a short read is not the last one. */
static bool echo(struct server *s, struct conn *c, bool ends) {
    while (c->unsent == NULL) {
        ssize_t n = recv(c->fd, s->buf, sizeof s->buf, 0);
        if (n == 0) return false;
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN;
        }
        ssize_t sent = send_some(s, c, s->buf, (size_t)n);
        if (sent < 0) return false;
        if (sent < n && !keep(c, s->buf + sent, (size_t)(n - sent))) return false;
        if ((size_t)n < sizeof s->buf && !ends) return true;
    }
    return true;
}

/* If the socket was full, the end and more input may have come in the meantime without an event to
 * follow: then all of it is read. */
static void on_conn(struct server *s, struct conn *c, uint32_t events) {
    bool ends = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    bool was_full = c->unsent != NULL;
    if (!flush(s, c) || !echo(s, c, ends || was_full)) close_conn(c);
}

/* ---- the listener ---- */

static void watch(struct server *s, int fd, uint32_t events, void *data) {
    struct epoll_event e = {.events = events, .data.ptr = data};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0) die("epoll_ctl");
}

static void set_starved(struct server *s, bool starved) {
    if (s->starved == starved) return;
    struct epoll_event e = {.events = starved ? 0 : EPOLLIN, .data.ptr = &s->listener};
    if (epoll_ctl(s->epoll, EPOLL_CTL_MOD, s->listener, &e) < 0) die("epoll_ctl");
    s->starved = starved;
}

static bool start_conn(struct server *s, int fd) {
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) return false;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
        free(c);
        return false;
    }
    c->fd = fd;
    c->next = s->all.next;
    c->prev = &s->all;
    c->next->prev = c->prev->next = c;
    s->connections++;
    return true;
}

static void on_listener(struct server *s) {
    for (;;) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (!start_conn(s, fd)) close(fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            set_starved(s, true);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            die("accept4");
        }
    }
}

static uint16_t listen_on(struct server *s, uint16_t port) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    const int on = 1;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0) die("socket");
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(s->listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited */
    if (bind(s->listener, (struct sockaddr *)&name, len) < 0) die("bind");
    if (listen(s->listener, SOMAXCONN) < 0) die("listen");
    if (getsockname(s->listener, (struct sockaddr *)&name, &len) < 0) die("getsockname");
    return ntohs(name.sin_port);
}

/* ---- the loop ---- */

static void open_signals(struct server *s) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signals < 0) die("signalfd");
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int wait(struct server *s, struct epoll_event *events) {
    if (s->spin > 0) {
        const uint64_t end = now() + s->spin;
        do {
            int n = epoll_wait(s->epoll, events, EVENTS, 0);
            if (n != 0) return n;
        } while (now() < end);
    }
    return epoll_wait(s->epoll, events, EVENTS, s->starved ? RETRY_MS : -1);
}

/* Until a signal. A connection has one entry in a batch, so closing it leaves no other behind. */
static void run(struct server *s) {
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = wait(s, events);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        if (s->starved) set_starved(s, false);
        for (int i = 0; i < n; i++) {
            void *data = events[i].data.ptr;
            if (data == &s->signals) return;
            if (data == &s->listener) on_listener(s);
            else on_conn(s, data, events[i].events);
        }
    }
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static bool parse(struct server *s, uint16_t *port, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return false;
        if (strcmp(argv[i], "--port") == 0) *port = (uint16_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--spin") == 0) s->spin = strtoull(argv[i + 1], NULL, 10) * 1000;
        else return false;
    }
    return true;
}

int main(int argc, char **argv) {
    static struct server s;
    uint16_t port = 0;
    if (!parse(&s, &port, argc, argv)) {
        fprintf(stderr, "usage: %s [--port P] [--spin US]\n", argv[0]);
        return 2;
    }
    raise_descriptor_limit();
    s.all.next = s.all.prev = &s.all;
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0) die("epoll_create1");
    open_signals(&s);
    port = listen_on(&s, port);
    watch(&s, s.signals, EPOLLIN, &s.signals);
    watch(&s, s.listener, EPOLLIN, &s.listener);
    printf("listening on 127.0.0.1:%" PRIu16 " (epoll by hand)\n", port);
    fflush(stdout);

    run(&s);
    while (s.all.next != &s.all) close_conn(s.all.next);
    close(s.listener);
    close(s.signals);
    close(s.epoll);
    printf("served %" PRIu64 " connections, %" PRIu64 " bytes\n", s.connections, s.bytes);
    return 0;
}
