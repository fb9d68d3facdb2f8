/* A socket that is not connected yet, which epoll and poll(2) call hung up: who waits on it hears of that neither where the
 * system does not say how it is, nor where it is connected just then; and what the connect made possible is heard of.
 */
#include "ready.h"
#include "soon.h"

#include <sys/syscall.h>
#include <sys/un.h>

/* ---- the system's answer, by a function of this program's ---- */

static struct {
    _Atomic int fd;    /* whose answer it is about; -1: nobody's */
    _Atomic int error; /* says this, in place of what it knows */
    void (*_Atomic before)(void), (*_Atomic after)(void); /* done once, when it is asked */
    atomic_int asked;
} answer = {.fd = -1};

static void do_once(void (*_Atomic *what)(void)) {
    void (*doing)(void) = atomic_exchange(what, NULL);
    if (doing != NULL) doing();
}

int poll(struct pollfd *fds, nfds_t n, int ms) {
    struct pollfd *volatile first = fds; /* of poll the C library's header says that it only writes */
    struct timespec timeout = {ms / 1000, ms % 1000 * 1000000L};
    bool meant = n == 1 && first->fd == atomic_load(&answer.fd) && ms == 0;
    if (meant) do_once(&answer.before);
    int r = (int)syscall(SYS_ppoll, fds, n, ms < 0 ? NULL : &timeout, NULL, 0);
    if (!meant) return r;
    do_once(&answer.after);
    atomic_fetch_add(&answer.asked, 1);
    int error = atomic_load(&answer.error);
    if (error == 0) return r;
    first->revents = 0;
    errno = error;
    return -1;
}

/* ---- sockets, and whom they connect to ---- */

static int stream_to(int domain, int out[1]) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (domain == AF_INET) {
        *out = net_listen(1);
    } else {
        *out = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        CHECK_SYS(bind(*out, (struct sockaddr *)&name, sizeof(sa_family_t))); /* a name of the system's choice */
        CHECK_SYS(listen(*out, 1));
    }
    return (int)CHECK_SYS(socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

static const int domains[] = {AF_INET, AF_UNIX};
enum { DOMAINS = sizeof domains / sizeof domains[0] };

static struct unconnected {
    rt_runtime rt;
    struct hand hand;
    int fd, listener, far;
    rt_io io;
    struct sockaddr_storage name;
    socklen_t len;
} u;

static void unconnected_open(int domain) {
    memset(&u, 0, sizeof u);
    u.rt = test_runtime();
    hand_open(&u.hand, u.rt);
    u.fd = stream_to(domain, &u.listener);
    u.io = io_of(u.rt, u.fd, RW);
    u.len = sizeof u.name;
    CHECK_SYS(getsockname(u.listener, (struct sockaddr *)&u.name, &u.len));
    u.far = -1;
}

static void unconnected_close(void) {
    atomic_store(&answer.fd, -1);
    atomic_store(&answer.error, 0);
    CHECK_EQ(rt_close(u.io), 0);
    if (u.far >= 0) close(u.far);
    close(u.listener);
    hand_close(&u.hand);
    test_runtime_free(u.rt);
    hand_check(&u.hand);
}

/* Connected when it returns, as far as the system is concerned. */
static void connect_it(void) {
    if (connect(u.fd, (struct sockaddr *)&u.name, u.len) != 0) CHECK_EQ(errno, EINPROGRESS);
    u.far = net_take(u.listener);
    net_wait(u.fd, POLLOUT);
}

/* Waits for what is not there, until the system was asked whether what it had told is so. */
static void wait_until_it_is_asked(void) {
    rt_ready got;
    atomic_store(&answer.asked, 0);
    atomic_store(&answer.fd, u.fd);
    for (;;) {
        CHECK_EQ(rt_poll_ready(u.hand.cx, u.io, RT_READABLE, &got), RT_PENDING);
        if (atomic_load(&answer.asked) > 0) break;
        hand_wait(&u.hand);
    }
    atomic_store(&answer.fd, -1);
}

static void hears_what_is_sent(void) {
    rt_ready got;
    CHECK_EQ(rt_poll_ready(u.hand.cx, u.io, RT_READABLE, &got), RT_PENDING);
    net_put(u.far, "x", 1);
    CHECK_EQ(await_ready(&u.hand, u.io, RT_READABLE).bits, RT_READABLE);
    CHECK_EQ(bits_of(u.io, RW) & CLOSED_BITS, 0);
}

/* ---- cases ---- */

static void where_the_system_does_not_say(void) {
    const int errors[] = {EINTR, ENOMEM, EPERM};
    for (int i = 0; i < DOMAINS * 3; i++) {
        unconnected_open(domains[i % DOMAINS]);
        atomic_store(&answer.error, errors[i / DOMAINS]);
        wait_until_it_is_asked();
        connect_it();
        hears_what_is_sent();
        unconnected_close();
    }
}

static void where_it_is_connected_just_then(void) {
    for (int i = 0; i < DOMAINS; i++) {
        unconnected_open(domains[i]);
        atomic_store(&answer.before, connect_it);
        wait_until_it_is_asked();
        hears_what_is_sent();
        unconnected_close();
    }
}

static void where_it_is_connected_after_it_was_asked(void) {
    for (int i = 0; i < DOMAINS; i++) {
        rt_ready got;
        unconnected_open(domains[i]);
        atomic_store(&answer.after, connect_it);
        atomic_store(&answer.fd, u.fd);
        CHECK_EQ(rt_poll_level(u.hand.cx, u.io, RT_READABLE, &got), RT_PENDING);
        net_put(u.far, "x", 1);
        AWAIT_EQ(&u.hand, 0, rt_poll_level(u.hand.cx, u.io, RT_READABLE, &got));
        CHECK_EQ(got.bits, RT_READABLE);
        unconnected_close();
    }
}

static void who_waited_before_may_write_after(void) {
    for (int i = 0; i < DOMAINS; i++) {
        unconnected_open(domains[i]);
        wait_until_it_is_asked();
        AWAIT_EQ(&u.hand, 0, rt_poll_connect(u.hand.cx, u.io, (struct sockaddr *)&u.name, u.len));
        AWAIT_EQ(&u.hand, 1, rt_poll_write(u.hand.cx, u.io, "x", 1));
        u.far = net_take(u.listener);
        hears_what_is_sent();
        unconnected_close();
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(where_the_system_does_not_say);
    CASE(where_it_is_connected_just_then);
    CASE(where_it_is_connected_after_it_was_asked);
    CASE(who_waited_before_may_write_after);
    return test_end();
}
