/* The end of a conversation: what was queued arrives, then the end, and the peer may go on sending
 * for a while without being reset for it.
 */
#include <asyncio_await.h>

#include "ready.h"

enum { MUCH = 1 << 20, WORDS = 100000 };

static void (*const kinds[])(int[2]) = {net_pair, net_unix_pair};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static size_t unread_at(int fd) {
    int n = 0;
    CHECK_SYS(ioctl(fd, FIONREAD, &n));
    return (size_t)n;
}

/* Polls until the hand has seen so much of what the peer sent. */
static void linger_down_to(struct scene *s, size_t *left, size_t rest) {
    while (*left > rest) {
        CHECK_EQ(rt_poll_linger(s->hand.cx, s->io, left), RT_PENDING);
        if (*left > rest) hand_wait(&s->hand);
    }
    CHECK_EQ(*left, rest);
}

/* The far end sees all bytes, the end, and no reset. */
static void the_peer_hears_all(struct scene *s, size_t bytes) {
    static char data[WORDS];
    size_t got = 0, n;
    while ((n = net_get(s->far, data, sizeof data)) > 0) {
        CHECK(net_pattern_holds(data, n, 3, got));
        got += n;
    }
    CHECK_EQ(got, bytes);
}

static void after_what_was_written(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct scene s;
        size_t left = MUCH;
        char words[1000];
        scene_open(&s, kinds[kind], RW);
        net_pattern(words, sizeof words, 3, 0);
        net_put(s.far, words, 500);
        net_put(s.near, words, sizeof words);
        linger_down_to(&s, &left, MUCH - 500);
        net_put(s.far, words, 400);
        linger_down_to(&s, &left, MUCH - 900);
        the_peer_hears_all(&s, sizeof words);
        CHECK_EQ(rt_poll_linger(s.hand.cx, s.io, &left), RT_PENDING);
        net_put(s.far, words, 300);
        CHECK_SYS(shutdown(s.far, SHUT_WR));
        AWAIT_EQ(&s.hand, 0, rt_poll_linger(s.hand.cx, s.io, &left));
        CHECK_EQ(left, MUCH - 1200);
        CHECK_EQ(rt_poll_linger(s.hand.cx, s.io, &left), 0); /* and so it stays */
        CHECK_EQ(rt_close(s.io), 0);
        s.io = 0;
        char byte;
        CHECK_EQ(read(s.far, &byte, 1), 0);
        scene_close(&s);
    }
}

/* What rt_send queued goes out first, though the socket is full. */
static void after_what_was_queued(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        static char words[WORDS];
        struct scene s;
        size_t left = MUCH, sent = 0;
        scene_open(&s, kinds[kind], RW);
        net_small_buffer(s.near);
        for (int i = 0; i < 10; i++, sent += WORDS) {
            net_pattern(words, WORDS, 3, sent);
            CHECK_EQ(rt_send(s.io, words, WORDS), WORDS);
        }
        net_put(s.far, "unread", 6);
        CHECK_EQ(rt_poll_linger(s.hand.cx, s.io, &left), RT_PENDING);
        CHECK_EQ(left, MUCH); /* nothing is read before the end was told */
        for (size_t got = 0; got < sent;) {
            ssize_t n = read(s.far, words, sizeof words);
            if (n < 0) CHECK_EQ(errno, EAGAIN);
            CHECK(n != 0);
            if (n > 0) CHECK(net_pattern_holds(words, (size_t)n, 3, got)), got += (size_t)n;
            if (current_thread()) CHECK_OK(rt_turn(s.rt, 0));
        }
        linger_down_to(&s, &left, MUCH - 6);
        CHECK_EQ(net_get(s.far, words, 1), 0);
        close(s.far);
        s.far = -1;
        AWAIT_EQ(&s.hand, 0, rt_poll_linger(s.hand.cx, s.io, &left));
        scene_close(&s);
    }
}

/* What the peer sends beyond the limit is not read. */
static void so_much_and_no_more(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        static const char words[WORDS];
        struct scene s;
        size_t left = 70000;
        scene_open(&s, kinds[kind], RW);
        net_put(s.far, words, WORDS);
        while (unread_at(s.near) < WORDS) sched_yield();
        AWAIT_EQ(&s.hand, -EMSGSIZE, rt_poll_linger(s.hand.cx, s.io, &left));
        CHECK_EQ(left, 0);
        CHECK_EQ(unread_at(s.near), WORDS - 70000);
        AWAIT_EQ(&s.hand, -EMSGSIZE, rt_poll_linger(s.hand.cx, s.io, &left));
        CHECK_EQ(unread_at(s.near), WORDS - 70000);
        the_peer_hears_all(&s, 0);
        scene_close(&s);
    }
}

/* As much as may come is not too much. Only a byte more is, which is not read. */
static void so_much_and_the_end(void) {
    enum last { END_IS_THERE, END_FOLLOWS, BYTE_FOLLOWS, LASTS };
    for (int i = 0; i < KINDS * LASTS; i++) {
        struct scene s;
        enum last last = (enum last)(i / KINDS);
        scene_open(&s, kinds[i % KINDS], RW);
        for (size_t bytes = 0; bytes <= 4; bytes += 4) {
            size_t left = bytes;
            net_put(s.far, "rest", bytes);
            if (last == END_IS_THERE) {
                if (bytes == 0) continue;
                CHECK_SYS(shutdown(s.far, SHUT_WR));
                AWAIT_EQ(&s.hand, 0, rt_poll_linger(s.hand.cx, s.io, &left));
                CHECK_EQ(left, 0);
            } else {
                linger_down_to(&s, &left, 0);
                CHECK_EQ(rt_poll_linger(s.hand.cx, s.io, &left), RT_PENDING);
            }
        }
        size_t left = 0;
        if (last == END_FOLLOWS) CHECK_SYS(shutdown(s.far, SHUT_WR));
        if (last == BYTE_FOLLOWS) net_put(s.far, "!", 1);
        for (int again = 0; again < 2; again++)
            AWAIT_EQ(&s.hand, last == BYTE_FOLLOWS ? -EMSGSIZE : 0,
                     rt_poll_linger(s.hand.cx, s.io, &left));
        CHECK_EQ(unread_at(s.near), last == BYTE_FOLLOWS);
        scene_close(&s);
    }
}

static void up_to_a_time(void) {
    struct scene s;
    size_t left = MUCH;
    rt_timer timer = 0;
    scene_open(&s, net_pair, RW);
    uint64_t at = rt_now() + 30000000;
    AWAIT_EQ(&s.hand, -ETIME,
             rt_poll_deadline(s.hand.cx, &timer, at, rt_poll_linger(s.hand.cx, s.io, &left)));
    CHECK(rt_now() >= at);
    CHECK_EQ(timer, 0);
    the_peer_hears_all(&s, 0);
    scene_close(&s);
}

static void the_peer_ended_first(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct scene s;
        size_t left = MUCH;
        scene_open(&s, kinds[kind], RW);
        net_put(s.far, "bye", 3);
        CHECK_SYS(shutdown(s.far, SHUT_WR));
        AWAIT_EQ(&s.hand, 0, rt_poll_linger(s.hand.cx, s.io, &left));
        CHECK_EQ(left, MUCH - 3);
        the_peer_hears_all(&s, 0);
        scene_close(&s);
    }
}

/* Before the first call, and in the middle. */
static void the_peer_resets(void) {
    for (int polls = 0; polls < 2; polls++) {
        struct scene s;
        size_t left = MUCH;
        scene_open(&s, net_pair, RW);
        if (polls > 0) CHECK_EQ(rt_poll_linger(s.hand.cx, s.io, &left), RT_PENDING);
        net_reset(s.far);
        s.far = -1;
        net_wait(s.near, POLLERR);
        AWAIT_EQ(&s.hand, -ECONNRESET, rt_poll_linger(s.hand.cx, s.io, &left));
        scene_close(&s);
    }
}

/* ---- what is refused tells the peer nothing ---- */

static void refused(struct scene *s, rt_io io, int64_t expected) {
    size_t left = 7;
    AWAIT_EQ(&s->hand, expected, rt_poll_linger(s->hand.cx, io, &left));
    CHECK_EQ(left, 7);
}

static void bad_arguments(void) {
    struct scene s;
    size_t left = 7;
    char byte;
    int ends[2];
    scene_open(&s, net_pair, RT_WRITABLE);
    CHECK_EQ(rt_poll_linger(s.hand.cx, s.io, NULL), -EINVAL);
    CHECK_EQ(rt_poll_linger(NULL, s.io, &left), -EINVAL);
    refused(&s, s.io, -EINVAL); /* nothing would tell that there is something to read */
    CHECK_EQ(recv(s.far, &byte, 1, MSG_DONTWAIT), -1);
    CHECK_EQ(errno, EAGAIN);
    refused(&s, 0, -EBADF);
    refused(&s, s.rt, -EBADF);

    net_pipe(ends);
    rt_io io = io_of(s.rt, ends[0], RT_READABLE);
    refused(&s, io, -ENOTSOCK);
    CHECK_EQ(rt_close(io), 0);
    refused(&s, io, -EBADF);
    close(ends[1]);

    io = io_of(s.rt, net_socket(SOCK_STREAM), RW);
    refused(&s, io, -ENOTCONN);
    CHECK_EQ(rt_close(io), 0);
    scene_close(&s);
}

struct receiving {
    rt_frame frame;
    rt_io io;
    rt_op op;
    int far;
    size_t left;
    int64_t r;
    char byte;
};

static int64_t receives(rt_cx *cx, void *state) {
    struct receiving *s = state;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_recv(cx, s->io, &s->byte, 1, 0, &s->op), 0);
    CHECK_EQ(rt_poll_linger(cx, s->io, &s->left), -EBUSY);
    CHECK_EQ(recv(s->far, &s->byte, 1, MSG_DONTWAIT), -1);
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(rt_cancel(s->op), 0);
    RT_AWAIT(s->r, rt_poll_op(cx, s->op));
    CHECK_EQ(s->r, -ECANCELED);
    CHECK_EQ(shutdown(s->far, SHUT_WR), 0);
    RT_AWAIT(s->r, rt_poll_linger(cx, s->io, &s->left));
    CHECK_EQ(net_get(s->far, &s->byte, 1), 0);
    RT_END(s->r);
}

static void while_an_operation_receives(void) {
    rt_runtime rt = test_runtime();
    int ends[2];
    net_pair(ends);
    struct receiving s = {.io = io_of(rt, ends[0], RW), .far = ends[1], .left = 7};
    CHECK_EQ(rt_block_on(rt, receives, &s), 0);
    CHECK_EQ(s.left, 7);
    CHECK_EQ(rt_close(s.io), 0);
    close(ends[1]);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(after_what_was_written);
    CASE(after_what_was_queued);
    CASE(so_much_and_no_more);
    CASE(so_much_and_the_end);
    CASE(up_to_a_time);
    CASE(the_peer_ended_first);
    CASE(the_peer_resets);
    CASE(bad_arguments);
    CASE(while_an_operation_receives);
    return test_end();
}
