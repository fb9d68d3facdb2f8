/* The other measure: an echo server on io_uring, by hand, and as fast as we can make it.
 *
 * One thread and one ring. Accepting and receiving are multishot, so that a message costs no
 * submission; what comes in lies in a pool of buffers that all connections share. The answer is a
 * plain send, which on TCP costs less than one through the ring, and is done when it returns; what
 * came in several pieces goes out in one call. All messages of a turn share one io_uring_enter.
 *
 * While its peer does not take what was sent, a connection keeps the rest in memory of its own, has
 * the ring wait for room, and receives nothing once that is much.
 *
 * Usage: uring_echo [--one-shot] [--port P]
 *
 * --one-shot has an entry for each buffer instead of a multishot receive. That is what a server can
 * rely on where a multishot may lose the end of a stream; this one does not look after lost ends.
 *
 * It prints "listening on 127.0.0.1:PORT (..)", and on SIGTERM or SIGINT what it served.
 */
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../files/ring.h"

enum {
    ENTRIES = 1024,
    BUFFER = 16 * 1024, /* smaller ones cost more where much comes at once */
    BUFFERS = 256,      /* given back within the turn, so only one turn's input has to fit */
    PIECES = 64,
    SQES_EACH = 2, /* at most, for one completion */
    UNSENT = 256 * 1024, /* of a connection, before it receives no more */
    RETRY_MS = 100,
};

/* What a completion is of. In user_data, below the connection's address. */
enum kind { RECV, ROOM, ACCEPT, RETRY, SIGNAL, CANCEL, KIND_MASK = 7 };

/* Freed when it is dying and neither of its operations is in flight. */
struct conn {
    int fd;
    bool receiving; /* the receive is in flight */
    bool blocked;   /* the wait for room is in flight; implies that something is unsent */
    bool paused;    /* the receive is being cancelled, or was, until all is sent; implies blocked */
    bool ended;     /* the peer sends no more */
    bool dying;
    char *unsent;
    size_t off, len, capacity; /* unsent: from off to len */
};

struct server {
    struct ring ring;
    bool one_shot; /* receives */
    int listener, signals;
    struct signalfd_siginfo signal;
    struct __kernel_timespec retry;
    struct io_uring_buf_ring *pool;
    char *memory;       /* of the buffers */
    uint16_t pool_tail; /* ours: the kernel's is written before each enter */
    uint64_t connections, bytes;
};

static _Noreturn void die(const char *what) {
    fprintf(stderr, "uring_echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct io_uring_sqe *prepare(struct server *s, uint8_t opcode, int fd, struct conn *c,
                                    enum kind kind) {
    return ring_sqe(&s->ring, opcode, fd, (uint64_t)(uintptr_t)c | kind);
}

/* ---- the pool ---- */

static char *buffer(const struct server *s, unsigned id) {
    return s->memory + (size_t)id * BUFFER;
}

static void give_back(struct server *s, unsigned id) {
    struct io_uring_buf *b = &s->pool->bufs[s->pool_tail++ % BUFFERS];
    b->addr = (uintptr_t)buffer(s, id);
    b->len = BUFFER;
    b->bid = (uint16_t)id;
}

static void open_pool(struct server *s) {
    const size_t ring = BUFFERS * sizeof(struct io_uring_buf);
    const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    s->pool = mmap(NULL, ring, prot, flags, -1, 0);
    s->memory = mmap(NULL, (size_t)BUFFERS * BUFFER, prot, flags, -1, 0);
    if (s->pool == MAP_FAILED || s->memory == MAP_FAILED) die("mmap");
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)s->pool, .ring_entries = BUFFERS};
    if (ring_register(&s->ring, IORING_REGISTER_PBUF_RING, &reg, 1) < 0) die("buffer ring");
    for (unsigned i = 0; i < BUFFERS; i++) give_back(s, i);
}

/* ---- connections ---- */

static void receive(struct server *s, struct conn *c) {
    struct io_uring_sqe *sqe = prepare(s, IORING_OP_RECV, c->fd, c, RECV);
    if (!s->one_shot) sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    c->receiving = true;
}

static void wait_for_room(struct server *s, struct conn *c) {
    struct io_uring_sqe *sqe = prepare(s, IORING_OP_POLL_ADD, c->fd, c, ROOM);
    sqe->poll32_events = POLLOUT;
    c->blocked = true;
}

/* Not at the first byte that is left: to end a receive and begin another costs more than to copy. */
static void pause_if_much(struct server *s, struct conn *c) {
    if (!c->receiving || c->paused || c->len - c->off < UNSENT) return;
    struct io_uring_sqe *sqe = prepare(s, IORING_OP_ASYNC_CANCEL, -1, NULL, CANCEL);
    sqe->addr = (uint64_t)(uintptr_t)c | RECV;
    c->paused = true;
}

static void free_conn(struct conn *c) {
    close(c->fd);
    free(c->unsent);
    free(c);
}

static void kill_conn(struct server *s, struct conn *c) {
    if (!c->receiving && !c->blocked) {
        free_conn(c);
        return;
    }
    c->dying = true;
    struct io_uring_sqe *sqe = prepare(s, IORING_OP_ASYNC_CANCEL, c->fd, NULL, CANCEL);
    sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
}

static bool make_room(struct conn *c, size_t more) {
    if (c->len + more <= c->capacity) return true;
    c->len -= c->off;
    if (c->len > 0) memmove(c->unsent, c->unsent + c->off, c->len);
    c->off = 0;
    if (2 * (c->len + more) <= c->capacity) return true;
    char *grown = realloc(c->unsent, 2 * (c->len + more));
    if (grown == NULL) return false;
    c->unsent = grown;
    c->capacity = 2 * (c->len + more);
    return true;
}

/* Keeps the pieces from byte `skip` on. */
static bool keep(struct conn *c, const struct iovec *piece, unsigned n, size_t skip) {
    for (; n > 0; n--, piece++) {
        if (skip >= piece->iov_len) {
            skip -= piece->iov_len;
            continue;
        }
        size_t more = piece->iov_len - skip;
        if (!make_room(c, more)) return false;
        memcpy(c->unsent + c->len, (char *)piece->iov_base + skip, more);
        c->len += more;
        skip = 0;
    }
    return true;
}

/* How much the socket took, or -1. */
static ssize_t send_pieces(struct server *s, struct conn *c, struct iovec *piece, unsigned n) {
    const struct msghdr message = {.msg_iov = piece, .msg_iovlen = n};
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    ssize_t r;
    do r = n == 1 ? send(c->fd, piece->iov_base, piece->iov_len, flags)
                  : sendmsg(c->fd, &message, flags);
    while (r < 0 && errno == EINTR);
    if (r >= 0) s->bytes += (uint64_t)r;
    return r < 0 && errno == EAGAIN ? 0 : r;
}

/* Whether the connection goes on. */
static bool answer(struct server *s, struct conn *c, struct iovec *piece, unsigned n, size_t all) {
    ssize_t sent = c->blocked ? 0 : send_pieces(s, c, piece, n);
    if (sent == (ssize_t)all) return true;
    if (sent < 0 || !keep(c, piece, n, (size_t)sent)) return false;
    if (!c->blocked) wait_for_room(s, c);
    pause_if_much(s, c);
    return true;
}

/* The receive is over: by the peer, by an error, or to be begun again. */
static void on_recv_end(struct server *s, struct conn *c, int result) {
    const bool again = result > 0 || result == -ENOBUFS || result == -ECANCELED || result == -EINTR;
    c->ended = result == 0;
    if (c->dying) {
        if (!c->blocked) free_conn(c);
    } else if (!again && !(c->ended && c->blocked)) {
        kill_conn(s, c);
    } else if (again && !c->paused) {
        receive(s, c);
    }
}

/* Handles the completion at `head`, and those after it that are of the same receive. Returns how
 * many these were. */
static unsigned on_recv(struct server *s, struct conn *c, unsigned head, unsigned end) {
    struct iovec piece[PIECES];
    unsigned n = 0, id[PIECES];
    size_t all = 0;
    const struct io_uring_cqe *cqe = ring_cqe(&s->ring, head);
    const uint64_t user_data = cqe->user_data;
    int result = cqe->res;
    bool more = false;
    while (result > 0) {
        id[n] = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        piece[n] = (struct iovec){.iov_base = buffer(s, id[n]), .iov_len = (size_t)result};
        all += (size_t)result;
        more = cqe->flags & IORING_CQE_F_MORE;
        if (++n == PIECES || head + n == end || !more) break;
        cqe = ring_cqe(&s->ring, head + n);
        if (cqe->user_data != user_data || cqe->res <= 0) break;
        result = cqe->res;
    }
    if (!more) c->receiving = false;
    const bool goes_on = n == 0 || c->dying || answer(s, c, piece, n, all);
    for (unsigned i = 0; i < n; i++) give_back(s, id[i]);
    if (!goes_on) kill_conn(s, c);
    else if (!more) on_recv_end(s, c, result);
    return n > 0 ? n : 1;
}

static void on_room(struct server *s, struct conn *c) {
    c->blocked = false;
    if (c->dying) {
        if (!c->receiving) free_conn(c);
        return;
    }
    struct iovec rest = {.iov_base = c->unsent + c->off, .iov_len = c->len - c->off};
    ssize_t sent = send_pieces(s, c, &rest, 1);
    if (sent < 0) {
        kill_conn(s, c);
        return;
    }
    c->off += (size_t)sent;
    if (c->off < c->len) {
        wait_for_room(s, c);
        return;
    }
    c->off = c->len = 0;
    c->paused = false;
    if (c->ended) free_conn(c);
    else if (!c->receiving) receive(s, c);
}

/* ---- the listener ---- */

static void accept_all(struct server *s) {
    struct io_uring_sqe *sqe = prepare(s, IORING_OP_ACCEPT, s->listener, NULL, ACCEPT);
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->accept_flags = SOCK_CLOEXEC;
}

static void start_conn(struct server *s, int fd) {
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    c->fd = fd;
    s->connections++;
    receive(s, c);
}

static void on_accept(struct server *s, int result, bool more) {
    if (result >= 0) start_conn(s, result);
    if (more) return;
    if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM) {
        s->retry.tv_nsec = RETRY_MS * 1000000;
        struct io_uring_sqe *sqe = prepare(s, IORING_OP_TIMEOUT, -1, NULL, RETRY);
        sqe->addr = (uintptr_t)&s->retry;
        sqe->len = 1;
    } else if (result >= 0 || result == -EINTR || result == -ECONNABORTED) {
        accept_all(s);
    } else {
        errno = -result;
        die("accept");
    }
}

static uint16_t listen_on(struct server *s, uint16_t port) {
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    const int on = 1;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
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
    s->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (s->signals < 0) die("signalfd");
    struct io_uring_sqe *sqe = prepare(s, IORING_OP_READ, s->signals, NULL, SIGNAL);
    sqe->addr = (uintptr_t)&s->signal;
    sqe->len = sizeof s->signal;
}

/* Whether to go on. Takes no more completions than there is room to submit for; the next enter
 * does not wait while some are left. */
static bool reap(struct server *s) {
    unsigned head, n = ring_ready(&s->ring, &head), most = ring_room(&s->ring) / SQES_EACH;
    const unsigned end = head + (n < most ? n : most);
    bool goes_on = true;
    while (head != end) {
        const struct io_uring_cqe *cqe = ring_cqe(&s->ring, head);
        struct conn *c = (struct conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)KIND_MASK);
        const enum kind kind = cqe->user_data & KIND_MASK;
        if (kind == RECV) {
            head += on_recv(s, c, head, end);
            continue;
        }
        if (kind == ROOM) on_room(s, c);
        else if (kind == ACCEPT) on_accept(s, cqe->res, cqe->flags & IORING_CQE_F_MORE);
        else if (kind == RETRY) accept_all(s);
        else if (kind == SIGNAL) goes_on = false;
        head++;
    }
    ring_seen(&s->ring, head);
    return goes_on;
}

static void run(struct server *s) {
    do {
        __atomic_store_n(&s->pool->tail, s->pool_tail, __ATOMIC_RELEASE);
        if (!ring_enter(&s->ring, 1)) die("io_uring_enter");
    } while (reap(s));
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    static struct server s;
    uint16_t port = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--one-shot") == 0) {
            s.one_shot = true;
        } else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
            port = (uint16_t)atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--one-shot] [--port P]\n", argv[0]);
            return 2;
        }
    }
    raise_descriptor_limit();
    if (!ring_open(&s.ring, ENTRIES)) die("io_uring");
    open_pool(&s);
    open_signals(&s);
    port = listen_on(&s, port);
    accept_all(&s);
    printf("listening on 127.0.0.1:%" PRIu16 " (io_uring by hand%s)\n", port,
           s.one_shot ? ", a receive for each buffer" : "");
    fflush(stdout);

    run(&s);
    /* The end of the process closes the ring, and with it what is in flight, and the connections. */
    printf("served %" PRIu64 " connections, %" PRIu64 " bytes\n", s.connections, s.bytes);
    return 0;
}
