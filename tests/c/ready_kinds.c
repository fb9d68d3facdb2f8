/* Everything that epoll can watch registers and wakes: pipes, sockets of all kinds, eventfds,
 * timers, signals, child processes, directory watches, pseudo-terminals, and an epoll set within.
 */
#include "ready.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Opens what is registered (out[0]), and what makes it readable (out[1]; -1 if it does itself). */
typedef void (*open_fn)(int out[2]);
typedef void (*poke_fn)(const int fds[2]);

static void put_a_byte(const int fds[2]) { CHECK_EQ(write(fds[1], "x", 1), 1); }

static void open_eventfd(int out[2]) {
    out[0] = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    out[1] = -1;
}
static void poke_eventfd(const int fds[2]) { CHECK_SYS(eventfd_write(fds[0], 1)); }

static void open_timer(int out[2]) {
    out[0] = (int)CHECK_SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    out[1] = -1;
}
static void arm_timer(const int fds[2]) {
    struct itimerspec soon = {.it_value.tv_nsec = 1};
    CHECK_SYS(timerfd_settime(fds[0], 0, &soon, NULL));
}

static void open_listener(int out[2]) {
    out[0] = net_listen(8);
    out[1] = net_socket(SOCK_STREAM);
}
static void dial_listener(const int fds[2]) {
    struct sockaddr_in name = net_name(fds[0]);
    CHECK(connect(fds[1], (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS);
}

static void open_unix_listener(int out[2]) {
    out[0] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    out[1] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    /* Without a path the kernel picks a name. */
    CHECK_SYS(bind(out[0], (struct sockaddr *)&any, sizeof any.sun_family));
    CHECK_SYS(listen(out[0], 8));
}
static void dial_unix_listener(const int fds[2]) {
    struct sockaddr_un name;
    socklen_t len = sizeof name;
    CHECK_SYS(getsockname(fds[0], (struct sockaddr *)&name, &len));
    CHECK_SYS(connect(fds[1], (struct sockaddr *)&name, len));
}

static void open_seqpacket(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}
static void open_unix_dgram(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static void open_nested_epoll(int out[2]) {
    out[0] = (int)CHECK_SYS(epoll_create1(EPOLL_CLOEXEC));
    out[1] = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    struct epoll_event in = {.events = EPOLLIN};
    CHECK_SYS(epoll_ctl(out[0], EPOLL_CTL_ADD, out[1], &in));
}
static void poke_nested_epoll(const int fds[2]) { CHECK_SYS(eventfd_write(fds[1], 1)); }

static void open_signalfd(int out[2]) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    out[0] = (int)CHECK_SYS(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    out[1] = -1;
}
static void raise_signal(const int fds[2]) {
    (void)fds;
    CHECK_SYS(kill(getpid(), SIGUSR2)); /* blocked in every thread since the start */
}

static void open_inotify(int out[2]) {
    char path[256];
    temp_template(path, sizeof path);
    out[1] = (int)CHECK_SYS(mkstemp(path));
    out[0] = (int)CHECK_SYS(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    CHECK_SYS(inotify_add_watch(out[0], path, IN_MODIFY));
    CHECK_SYS(unlink(path));
}

static pid_t child;
static bool has_pidfds(void) {
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fd >= 0) close(fd);
    return fd >= 0;
}
static void open_pidfd(int out[2]) {
    int gate[2];
    net_pipe(gate);
    net_set_nonblock(gate[0], false);
    child = (pid_t)CHECK_SYS(fork());
    if (child == 0) {
        char byte;
        _exit(read(gate[0], &byte, 1) == 1 ? 0 : 1);
    }
    close(gate[0]);
    out[0] = (int)CHECK_SYS(syscall(SYS_pidfd_open, child, 0));
    out[1] = gate[1];
}
static void reap(void) {
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void open_terminal(int out[2]) {
    out[1] = (int)CHECK_SYS(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    CHECK_SYS(grantpt(out[1]));
    CHECK_SYS(unlockpt(out[1]));
    out[0] = (int)CHECK_SYS(open(ptsname(out[1]), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}
static void type_a_line(const int fds[2]) { CHECK_EQ(write(fds[1], "x\n", 2), 2); }

static void wakes(open_fn open_both, poke_fn poke, void (*after)(void)) {
    int fds[2];
    open_both(fds);
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    struct waiter reader;
    rt_io io = io_of(rt, fds[0], RT_READABLE);
    hand_park(&h, io, RT_READABLE);
    waiter_park(&reader, rt, io, RT_READABLE);
    poke(fds);
    CHECK(await_ready(&h, io, RT_READABLE).bits & RT_READABLE);
    CHECK_EQ(join_task(reader.task), 0);
    if (after != NULL) after();
    CHECK_EQ(rt_close(io), 0);
    if (fds[1] >= 0) close(fds[1]);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

static void a_pipe(void) { wakes(net_pipe, put_a_byte, NULL); }
static void a_tcp_socket(void) { wakes(net_pair, put_a_byte, NULL); }
static void a_tcp_listener(void) { wakes(open_listener, dial_listener, NULL); }
static void a_udp_socket(void) { wakes(net_udp_pair, put_a_byte, NULL); }
static void a_unix_stream(void) { wakes(net_unix_pair, put_a_byte, NULL); }
static void a_unix_listener(void) { wakes(open_unix_listener, dial_unix_listener, NULL); }
static void a_unix_datagram_socket(void) { wakes(open_unix_dgram, put_a_byte, NULL); }
static void a_unix_packet_socket(void) { wakes(open_seqpacket, put_a_byte, NULL); }
static void an_eventfd(void) { wakes(open_eventfd, poke_eventfd, NULL); }
static void a_timerfd(void) { wakes(open_timer, arm_timer, NULL); }
static void a_nested_epoll(void) { wakes(open_nested_epoll, poke_nested_epoll, NULL); }
static void a_signalfd(void) { wakes(open_signalfd, raise_signal, NULL); }
static void an_inotify_watch(void) { wakes(open_inotify, put_a_byte, NULL); }
static void a_pidfd(void) {
    if (has_pidfds()) wakes(open_pidfd, put_a_byte, reap);
    else puts("a_pidfd: skipped: there are no pidfds here");
}
static void a_terminal(void) { wakes(open_terminal, type_a_line, NULL); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    CASE(a_pipe);
    CASE(a_tcp_socket);
    CASE(a_tcp_listener);
    CASE(a_udp_socket);
    CASE(a_unix_stream);
    CASE(a_unix_listener);
    CASE(a_unix_datagram_socket);
    CASE(a_unix_packet_socket);
    CASE(an_eventfd);
    CASE(a_timerfd);
    CASE(a_nested_epoll);
    CASE_ONCE(a_signalfd, "its signal stays pending");
    CASE(an_inotify_watch);
    CASE(a_pidfd);
    CASE(a_terminal);
    return test_end();
}
