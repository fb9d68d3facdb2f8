/* The runtime as a guest in a loop that a program has already.
 *
 * The host's loop is poll(2). It watches the standard input and its end of a stream; and one
 * descriptor more, the runtime's, which is readable whenever the runtime has something to do. At
 * the other end of the stream a task of the runtime turns what it reads into capitals. There is one
 * thread.
 *
 * Usage: embed_poll < TEXT
 *
 * Try it: echo hello | build/c-examples/embed_poll
 * It prints HELLO, and ends when the input does.
 */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asyncio.h>
#include <asyncio_await.h>

struct shouter {
    rt_io io;
    rt_frame frame;
    int64_t n, m;
    size_t off;
    char buf[512];
};

struct host {
    rt_runtime rt;
    struct shouter shouter;
    int stream;  /* the host's end, or -1 */
    bool asking; /* the input goes on */
    char buf[512];
    size_t off, len; /* what is still to be sent */
};

/* ---- the guest ---- */

static void capitals(char *text, int64_t n) {
    for (int64_t i = 0; i < n; i++) text[i] = (char)toupper((unsigned char)text[i]);
}

static int64_t shout(rt_cx *cx, void *state) {
    struct shouter *s = state;
    RT_BEGIN(&s->frame);
    for (;;) {
        RT_AWAIT(s->n, rt_poll_read(cx, s->io, s->buf, sizeof s->buf));
        if (s->n <= 0) RT_RETURN(s->n);
        capitals(s->buf, s->n);
        RT_AWAIT(s->m, rt_poll_write_all(cx, s->io, s->buf, (size_t)s->n, &s->off));
        if (s->m < 0) RT_RETURN(s->m);
    }
    RT_END(0);
}

static void hang_up(void *state) {
    struct shouter *s = state;
    rt_close(s->io);
}

/* ---- the host ---- */

/* For poll(2): how long the runtime can do without a turn. Rounded up, or the loop would spin
 * through the last millisecond. */
static int patience(rt_runtime rt) {
    uint64_t deadline = rt_next_deadline(rt), now = rt_now();
    if (deadline == RT_NEVER) return -1;
    if (deadline <= now) return 0;
    uint64_t ms = (deadline - now - 1) / 1000000 + 1;
    return ms < 60000 ? (int)ms : 60000;
}

static bool passing(void) { return errno == EAGAIN || errno == EINTR; }

/* Takes input when the last one was sent; its end is passed on. */
static int64_t ask(struct host *h) {
    ssize_t n = read(STDIN_FILENO, h->buf, sizeof h->buf);
    if (n < 0) return passing() ? 0 : -errno;
    h->off = 0;
    h->len = (size_t)n;
    if (n > 0) return 0;
    h->asking = false;
    return shutdown(h->stream, SHUT_WR) < 0 ? -errno : 0;
}

static int64_t send_on(struct host *h) {
    ssize_t n = send(h->stream, h->buf + h->off, h->len - h->off, MSG_NOSIGNAL);
    if (n < 0) return passing() ? 0 : -errno;
    h->off += (size_t)n;
    return 0;
}

/* 1 at the end of the stream. */
static int64_t answer(struct host *h) {
    char buf[512];
    ssize_t n = read(h->stream, buf, sizeof buf);
    if (n < 0) return passing() ? 0 : -errno;
    if (n > 0) fwrite(buf, 1, (size_t)n, stdout);
    return n == 0;
}

/* Until the guest has hung up. poll(2) skips negative descriptors. */
static int64_t loop(struct host *h) {
    for (;;) {
        bool sending = h->off < h->len;
        struct pollfd fds[] = {
            {.fd = h->asking && !sending ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = h->stream, .events = (short)(sending ? POLLIN | POLLOUT : POLLIN)},
            {.fd = (int)rt_event_fd(h->rt), .events = POLLIN},
        };
        int64_t r = 0;
        fflush(stdout);
        if (poll(fds, 3, patience(h->rt)) < 0 && errno != EINTR) return -errno;

        if (fds[0].revents) r = ask(h);
        if (r == 0 && fds[1].revents & POLLOUT) r = send_on(h);
        if (r == 0 && fds[1].revents & ~POLLOUT) r = answer(h);
        if (r != 0) return r < 0 ? r : 0;
        if (fds[2].revents || patience(h->rt) == 0) r = rt_turn(h->rt, 0);
        if (r < 0) return r;
    }
}

static int64_t open_guest(struct host *h) {
    rt_config config;
    rt_config_init(&config, sizeof config);
    config.flavour = RT_CURRENT_THREAD;
    int64_t r = rt_new(&config, &h->rt, NULL, 0);
    if (r < 0) return r;

    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
    h->stream = ends[0];
    r = rt_register_fd(h->rt, ends[1], RT_READABLE | RT_WRITABLE, &h->shouter.io);
    if (r < 0) {
        close(ends[1]);
        return r;
    }
    return rt_spawn(h->rt, shout, &h->shouter, hang_up, NULL);
}

int main(void) {
    struct host h = {.stream = -1, .asking = true};
    int64_t r = open_guest(&h);
    if (r == 0) r = loop(&h);

    rt_free(h.rt); /* a guest that still runs is dropped, and what is registered is closed */
    if (h.stream >= 0) close(h.stream);
    if (r < 0) fprintf(stderr, "embed_poll: %s\n", rt_strerror(r));
    return r < 0;
}
