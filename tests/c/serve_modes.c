/* Each mode serves everybody, on TCP and on a Unix socket; the connections are spread over the
 * workers where the server spreads them; the counters add up.
 */
#include "serve.h"

enum { CLIENTS = 200 };

static void echo_all(site *s, int count) {
    int *fds = calloc((size_t)count, sizeof *fds);
    for (int i = 0; i < count; i++) fds[i] = site_dial(s);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < count; i++) client_echo(fds[i], i + round);
    for (int i = 0; i < count; i++) close(fds[i]);
    free(fds);
}

static int listen_reusing(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = net_socket(SOCK_STREAM);
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
    CHECK_SYS(bind(fd, (struct sockaddr *)&name, sizeof name));
    CHECK_SYS(listen(fd, 256));
    return fd;
}

static int listen_unix(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    CHECK_SYS(bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t))); /* a name of the kernel's */
    CHECK_SYS(listen(fd, 256));
    return fd;
}

static void serve_all(int fd, uint32_t mode) {
    int count = scaled(CLIENTS);
    rt_serve_opts opts = site_opts();
    opts.mode = mode;
    site s = {.rt = test_runtime()};
    site_serve(&s, fd, &opts);
    crowd_run(&s, echo_all, count);
    drive_until(s.rt, site_none_live, &s);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(stats.accepted, count);
    CHECK_EQ(stats.live + stats.refused + stats.shed, 0);
    CHECK_EQ(stats.cut_first_byte + stats.cut_idle + stats.cut_total, 0);
    int served = 0;
    for (int i = 0; i < s.thread_count; i++) served += s.served[i];
    CHECK_EQ(served, count);
    if (mode == RT_SERVE_SHARED) {
        int workers = current_thread() ? 1 : (int)test_workers;
        CHECK_EQ(s.thread_count, workers);
        for (int i = 0; i < workers; i++) CHECK_EQ(s.served[i], count / workers);
    }
    site_end(&s);
}

static void shared(void) { serve_all(net_listen(256), RT_SERVE_SHARED); }
static void exclusive(void) { serve_all(net_listen(256), RT_SERVE_EXCLUSIVE); }
static void reuseport(void) { serve_all(listen_reusing(), RT_SERVE_REUSEPORT); }
static void on_unix(void) { serve_all(listen_unix(), RT_SERVE_SHARED); }
static void on_unix_exclusive(void) { serve_all(listen_unix(), RT_SERVE_EXCLUSIVE); }

/* One at a time: each has to wake somebody. */
static void echo_in_turn(site *s, int count) {
    for (int i = 0; i < count; i++) {
        int fd = site_dial(s);
        client_echo(fd, i);
        close(fd);
    }
}

static void one_at_a_time(void) {
    for (uint32_t mode = RT_SERVE_SHARED; mode <= RT_SERVE_REUSEPORT; mode++) {
        rt_serve_opts opts = site_opts();
        opts.mode = mode;
        site s = {.rt = test_runtime()};
        site_serve(&s, listen_reusing(), &opts);
        crowd_run(&s, echo_in_turn, scaled(CLIENTS));
        site_end(&s);
        CHECK_EQ(atomic_load(&s.ended), scaled(CLIENTS));
    }
}

/* What a listener was set to holds for the connections of its siblings, too. */
static const int numbers[][2] = {{SOL_SOCKET, SO_RCVBUF}, {SOL_SOCKET, SO_SNDBUF},
                                 {SOL_SOCKET, SO_KEEPALIVE}, {IPPROTO_TCP, TCP_NODELAY}};
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };
static int expected[NUMBERS];

static int64_t compare(site *s, rt_io io, rt_spawn_opts *task) {
    for (int i = 0; i < NUMBERS; i++) {
        int now = -1;
        socklen_t len = sizeof now;
        CHECK_SYS(getsockopt((int)rt_io_fd(io), numbers[i][0], numbers[i][1], &now, &len));
        CHECK_EQ(now, expected[i]);
    }
    return site_take(s, io, task);
}

static void siblings_are_alike(void) {
    rt_serve_opts opts = site_opts();
    opts.mode = RT_SERVE_REUSEPORT;
    site s = {.rt = test_runtime(), .accept = compare};
    int fd = listen_reusing();
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){20000}, sizeof(int)));
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){30000}, sizeof(int)));
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)));
    net_no_delay(fd);
    for (int i = 0; i < NUMBERS; i++) {
        socklen_t len = sizeof expected[i];
        CHECK_SYS(getsockopt(fd, numbers[i][0], numbers[i][1], &expected[i], &len));
    }
    site_serve(&s, fd, &opts);
    crowd_run(&s, echo_in_turn, 30);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(shared);
    CASE(exclusive);
    CASE(reuseport);
    CASE(on_unix);
    CASE(on_unix_exclusive);
    CASE(one_at_a_time);
    CASE(siblings_are_alike);
    return test_end();
}
