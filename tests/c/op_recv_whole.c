/* MSG_WAITALL waits for all on a stream, and does nothing where what comes has bounds: one message, one urgent
 * byte. Where the parts of a whole could not be put together it is refused. Nothing beyond the buffer is written.
 */
#include "op.h"

enum { SOME = 100 };

static const char untouched[] = "................";

struct whole {
    struct steps steps;
    struct iovec iov;
    struct msghdr msg;
    int kind;
};

static struct whole whole;

static void play(rt_poll_fn body) {
    memset(&whole, 0, sizeof whole);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &whole), 0);
    op_runtime_free(rt);
}

static void packet_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void unix_datagram_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void (*const messages[])(int[2]) = {net_udp_pair, unix_datagram_pair, packet_pair};
static void (*const streams[])(int[2]) = {net_pair, net_unix_pair};

enum { MESSAGES = sizeof messages / sizeof messages[0], STREAMS = sizeof streams / sizeof streams[0] };

/* `n` bytes, and dots behind them. */
static void clear(struct whole *w) { memset(w->steps.buf, '.', sizeof w->steps.buf); }

static bool has_only(const struct whole *w, const char *data) {
    size_t n = strlen(data);
    return memcmp(w->steps.buf, data, n) == 0 && memcmp(w->steps.buf + n, untouched, sizeof untouched - 1) == 0;
}

static struct msghdr *into(struct whole *w, size_t n) {
    w->iov = (struct iovec){w->steps.buf, n};
    w->msg = (struct msghdr){.msg_iov = &w->iov, .msg_iovlen = 1};
    return &w->msg;
}

/* ---- messages ---- */

static int64_t take_messages(rt_cx *cx, void *state) {
    struct whole *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    for (w->kind = 0; w->kind < MESSAGES; w->kind++) {
        steps_pair(cx, s, messages[w->kind]);
        clear(w);
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 10, MSG_WAITALL, &s->op), 0);
        OP_TURNS(s, SOME); /* it waits for the first */
        CHECK_SYS(send(s->far, "abc", 3, 0));
        CHECK_SYS(send(s->far, "def", 3, 0));
        OP_TAKE_EQ(s, 3);
        CHECK(has_only(w, "abc"));
        OP_EQ(s, 3, rt_submit_recv(cx, s->io, s->buf, 10, MSG_WAITALL | MSG_PEEK, &s->op));
        OP_EQ(s, 3, rt_submit_recvmsg(cx, s->io, into(w, 10), MSG_WAITALL, &s->op));
        CHECK(has_only(w, "def"));
        steps_close(s);
    }
    RT_END(0);
}
static void messages_come_one_at_a_time(void) { play(take_messages); }

/* Of a message that is cut off, the outcome may be more than there is room for. */
static int64_t take_long(rt_cx *cx, void *state) {
    struct whole *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    for (w->kind = 0; w->kind < MESSAGES; w->kind++) {
        steps_pair(cx, s, messages[w->kind]);
        clear(w);
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 4, MSG_WAITALL | MSG_TRUNC, &s->op), 0);
        CHECK_SYS(send(s->far, "0123456789", 10, 0));
        CHECK_SYS(send(s->far, "HEAP!", 5, 0));
        OP_TAKE_EQ(s, 10);
        CHECK(has_only(w, "0123"));
        OP_EQ(s, 5, rt_submit_recv(cx, s->io, s->buf, 10, 0, &s->op));
        steps_close(s);
    }
    RT_END(0);
}
static void a_cut_message_stays_in_its_buffer(void) { play(take_long); }

/* ---- streams ---- */

static int64_t refused_on_streams(rt_cx *cx, void *state) {
    struct whole *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    for (w->kind = 0; w->kind < STREAMS; w->kind++) {
        steps_pair(cx, s, streams[w->kind]);
        clear(w);
        net_put(s->far, "abc", 3);
        for (s->i = 0; s->i < 2; s->i++) { /* neither leaves a part in the buffer */
            int with = s->i == 0 ? MSG_PEEK : MSG_TRUNC;
            CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 6, MSG_WAITALL | with, &s->op), -EINVAL);
            CHECK_EQ(s->op, 0);
        }
        CHECK_EQ(rt_submit_recvmsg(cx, s->io, into(w, 6), MSG_WAITALL, &s->op), -EINVAL);
        CHECK_EQ(s->op, 0);
        CHECK(has_only(w, ""));
        OP_EQ(s, 3, rt_submit_recvmsg(cx, s->io, into(w, 6), 0, &s->op));
        CHECK(has_only(w, "abc"));
        steps_close(s);
    }
    RT_END(0);
}
static void what_has_no_parts_is_refused(void) { play(refused_on_streams); }

static int64_t take_urgent(rt_cx *cx, void *state) {
    struct whole *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    clear(w);
    CHECK_EQ(send(s->far, "!", 1, MSG_OOB), 1);
    net_wait(s->near, POLLPRI);
    OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 6, MSG_WAITALL | MSG_OOB, &s->op));
    CHECK(has_only(w, "!"));
    steps_close(s);
    RT_END(0);
}
static void an_urgent_byte_comes_alone(void) { play(take_urgent); }

enum { PIECES = 300, WORD = 16 };

static bool is_kernels(const char *thread) {
    char path[64], name[WORD] = "";
    snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false; /* it ended */
    CHECK_SYS(read(fd, name, sizeof name - 1));
    close(fd);
    return strncmp(name, "iou-wrk", 7) == 0;
}

/* Threads that the kernel made in this process, for what its rings would block on. */
static int kernel_threads(void) {
    DIR *dir = opendir("/proc/self/task");
    int count = 0;
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) count += is_kernels(e->d_name);
    closedir(dir);
    return count;
}

static int unread(int fd) {
    int bytes;
    CHECK_SYS(ioctl(fd, FIONREAD, &bytes));
    return bytes;
}

/* However many pieces it comes in, no thread waits for it. */
static int64_t take_slowly(rt_cx *cx, void *state) {
    struct whole *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    for (w->kind = 0; w->kind < STREAMS; w->kind++) {
        steps_pair(cx, s, streams[w->kind]);
        clear(w);
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, PIECES, MSG_WAITALL, &s->op), 0);
        for (s->n = 0; s->n < PIECES; s->n++) {
            CHECK_EQ(kernel_threads(), 0);
            net_put(s->far, &(char){(char)s->n}, 1);
            while (unread(s->near) > 0) RT_YIELD(cx);
        }
        OP_TAKE_EQ(s, PIECES);
        for (int i = 0; i < PIECES; i++) CHECK_EQ(s->buf[i], (char)i);
        CHECK_EQ(memcmp(s->buf + PIECES, untouched, sizeof untouched - 1), 0);
        steps_close(s);
    }
    RT_END(0);
}
static void many_pieces_hold_no_thread(void) { play(take_slowly); }

/* What came is the outcome, whatever comes then. */
static int64_t take_a_part(rt_cx *cx, void *state) {
    struct whole *w = state;
    struct steps *s = &w->steps;
    enum { END, CANCEL, DEADLINE, CLOSE, WAYS };
    RT_BEGIN(&s->frame);
    for (w->kind = 0; w->kind < STREAMS * WAYS; w->kind++) {
        steps_pair(cx, s, streams[w->kind % STREAMS]);
        clear(w);
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 10, MSG_WAITALL, &s->op), 0);
        for (s->n = 0; s->n < 3; s->n++) {
            net_put(s->far, &"abc"[s->n], 1);
            while (unread(s->near) > 0) RT_YIELD(cx);
        }
        switch (w->kind / STREAMS) {
        case END: CHECK_SYS(shutdown(s->far, SHUT_WR)); break;
        case CANCEL: CHECK_EQ(rt_cancel(s->op), 0); break;
        case DEADLINE: CHECK_EQ(rt_op_deadline(s->op, 1), 0); break;
        default: CHECK_EQ(rt_close(s->io), 0); s->io = 0;
        }
        OP_TAKE_EQ(s, 3);
        CHECK(has_only(w, "abc"));
        if (s->io != 0 && w->kind / STREAMS != END) {
            net_put(s->far, "d", 1);
            OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 10, 0, &s->op));
        }
        steps_close(s);
    }
    RT_END(0);
}
static void a_part_is_an_outcome(void) { play(take_a_part); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(messages_come_one_at_a_time);
    CASE(a_cut_message_stays_in_its_buffer);
    CASE(what_has_no_parts_is_refused);
    CASE(an_urgent_byte_comes_alone);
    CASE(many_pieces_hold_no_thread);
    CASE(a_part_is_an_outcome);
    return test_end();
}
