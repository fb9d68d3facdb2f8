/* Writing where nobody reads any more is an error and nothing else: SIGPIPE is never raised, and
 * what the program does with that signal itself is left alone.
 */
#include "ready.h"

static atomic_int raised;
static void count_signal(int sig) {
    (void)sig;
    atomic_fetch_add(&raised, 1);
}

/* ---- every way to write ---- */

struct writing {
    rt_io io;
    int which;
    size_t off;
    bool socket;
};
enum { WAYS = 4 };

static int64_t write_somehow(rt_cx *cx, void *state) {
    struct writing *w = state;
    static char text[] = "nobody";
    struct iovec iov[2] = {{text, 3}, {text + 3, 3}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    switch (w->which) {
    case 0: return rt_poll_write(cx, w->io, text, 6);
    case 1: return rt_poll_write_all(cx, w->io, text, 6, &w->off);
    case 2: return rt_poll_writev(cx, w->io, iov, 2);
    default: return rt_poll_sendmsg(cx, w->io, &msg, 0);
    }
}

static void no_way_raises_it(void (*ends)(int[2]), bool socket) {
    for (int which = 0; which < (socket ? WAYS : WAYS - 1); which++) {
        struct scene s;
        scene_open(&s, ends, RT_WRITABLE);
        close(s.far);
        s.far = -1;
        struct writing w = {.io = s.io, .which = which};
        /* TCP learns of it by the answer to a first write. */
        int64_t r;
        do r = rt_block_on(s.rt, write_somehow, &w);
        while (r == 6);
        CHECK(r == -EPIPE || r == -ECONNRESET);
        for (int i = 0; i < 20; i++) CHECK_EQ(rt_block_on(s.rt, write_somehow, &w), -EPIPE);
        AWAIT_EQ(&s.hand, -EPIPE, write_somehow(s.hand.cx, &w));
        CHECK_EQ(w.off, 0);
        scene_close(&s);
    }
    CHECK_EQ(atomic_load(&raised), 0);
}

static void a_closed_pipe(void) { no_way_raises_it(net_pipe_writer_first, false); }
static void a_closed_unix_socket(void) { no_way_raises_it(net_unix_pair, true); }
static void a_closed_tcp_socket(void) { no_way_raises_it(net_pair, true); }

static void own_shut_pair(int out[2]) {
    net_pair(out);
    CHECK_SYS(shutdown(out[0], SHUT_WR));
}
static void a_socket_shut_for_writing(void) { no_way_raises_it(own_shut_pair, true); }

/* With the default disposition a raised signal would end the program here. */
static void with_the_default_disposition(void) {
    signal(SIGPIPE, SIG_DFL);
    no_way_raises_it(net_pipe_writer_first, false);
    no_way_raises_it(net_unix_pair, true);
    signal(SIGPIPE, count_signal);
}

/* ---- the program's own use of the signal ---- */

static void a_pending_signal_stays_pending(void) {
    struct scene s;
    scene_open(&s, net_pipe_writer_first, RT_WRITABLE);
    close(s.far);
    s.far = -1;
    sigset_t pipe_only, before, after, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &pipe_only, &before), 0);
    CHECK_EQ(pthread_kill(pthread_self(), SIGPIPE), 0);
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "x", 1));
    CHECK_SYS(sigpending(&pending));
    CHECK(sigismember(&pending, SIGPIPE));

    struct timespec now = {0, 0};
    CHECK_EQ(sigtimedwait(&pipe_only, NULL, &now), SIGPIPE);
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "x", 1));
    CHECK_SYS(sigpending(&pending));
    CHECK(!sigismember(&pending, SIGPIPE));
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, &after), 0);
    CHECK(sigismember(&after, SIGPIPE));
    CHECK_EQ(atomic_load(&raised), 0);
    scene_close(&s);
}

static void the_mask_and_the_handler_are_left_alone(void) {
    struct scene s;
    scene_open(&s, net_pipe_writer_first, RT_WRITABLE);
    close(s.far);
    s.far = -1;
    AWAIT_EQ(&s.hand, -EPIPE, rt_poll_write(s.hand.cx, s.io, "x", 1));
    sigset_t mask;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    CHECK(!sigismember(&mask, SIGPIPE));
    struct sigaction action;
    CHECK_SYS(sigaction(SIGPIPE, NULL, &action));
    CHECK(action.sa_handler == count_signal);

    /* The program's own writes raise it as ever. */
    CHECK_EQ(write(s.near, "x", 1), -1);
    CHECK_EQ(atomic_exchange(&raised, 0), 1);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    signal(SIGPIPE, count_signal);
    CASE(a_closed_pipe);
    CASE(a_closed_unix_socket);
    CASE(a_closed_tcp_socket);
    CASE(a_socket_shut_for_writing);
    CASE(with_the_default_disposition);
    CASE(a_pending_signal_stays_pending);
    CASE(the_mask_and_the_handler_are_left_alone);
    return test_end();
}
