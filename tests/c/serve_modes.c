/* Each mode serves everybody, on TCP and on a Unix socket; the connections are spread over the
 * workers where the server spreads them; the counters add up.
 */
#include "serve.h"

#include <linux/bpf.h>
#include <linux/filter.h>
#include <sys/syscall.h>

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

/* ---- the program's handle of the listener ---- */

static int64_t draining_poll(rt_cx *cx, void *state) { return rt_poll_draining(cx, *(rt_server *)state); }

static void closing_the_listener_stops(void) {
    for (uint32_t mode = RT_SERVE_SHARED; mode <= RT_SERVE_REUSEPORT; mode++) {
        rt_serve_opts opts = site_opts();
        opts.mode = mode;
        site s = {.rt = test_runtime()};
        site_serve(&s, listen_reusing(), &opts);
        crowd_run(&s, echo_in_turn, 10);
        CHECK_EQ(rt_close(s.listener), 0);
        CHECK_EQ(rt_close(s.listener), -EBADF);
        CHECK_EQ(rt_block_on(s.rt, draining_poll, &s.server), 0);
        CHECK_EQ(site_drain(&s, RT_NEVER), 0);
        CHECK_EQ(site_dial_raw(&s), -1);
        CHECK_EQ(errno, ECONNREFUSED);
        site_end(&s);
    }
}

/* How many sets have a member for a listener, of which the kernel wakes one at a time. */
static int exclusive_members(void) {
    const unsigned exclusive = 1u << 28;
    int count = 0;
    for (int set = 3; set < 1024; set++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set);
        FILE *info = fopen(path, "r");
        if (info == NULL) continue;
        while (fgets(line, sizeof line, info) != NULL) {
            int fd, listens = 0;
            unsigned events;
            socklen_t four = sizeof listens;
            if (sscanf(line, "tfd: %d events: %x", &fd, &events) != 2 || !(events & exclusive)) continue;
            CHECK_SYS(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &four));
            CHECK(listens);
            count++;
        }
        fclose(info);
    }
    return count;
}

static bool all_are_exclusive(void *arg) {
    (void)arg;
    int count = exclusive_members();
    CHECK(count <= (int)test_workers);
    return count == (int)test_workers;
}

static void each_worker_watches_one_listener(void) {
    if (current_thread()) return; /* one worker: nobody else watches */
    rt_serve_opts opts = site_opts();
    opts.mode = RT_SERVE_EXCLUSIVE;
    site s = {.rt = test_runtime()};
    site_serve(&s, net_listen(256), &opts);
    drive_until(s.rt, all_are_exclusive, NULL);
    crowd_run(&s, echo_in_turn, 10);
    site_end(&s);
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

/* ---- what the listeners themselves are set to ---- */

static const struct linger lingers = {.l_onoff = 1, .l_linger = 5};

static const struct setting {
    int level, name;
    const void *value;
    socklen_t size;
} settings[] = {
    {SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)},
    {SOL_SOCKET, SO_LINGER, &lingers, sizeof lingers},
    {SOL_SOCKET, SO_RCVLOWAT, &(int){7}, sizeof(int)},
    {SOL_SOCKET, SO_PRIORITY, &(int){5}, sizeof(int)},
    {IPPROTO_IP, IP_TOS, &(int){0x10}, sizeof(int)},
    {IPPROTO_IP, IP_TTL, &(int){33}, sizeof(int)},
    {IPPROTO_IP, IP_MINTTL, &(int){3}, sizeof(int)},
    {IPPROTO_IPV6, IPV6_TCLASS, &(int){0x20}, sizeof(int)},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, &(int){44}, sizeof(int)},
    {IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){12345}, sizeof(int)},
    {IPPROTO_TCP, TCP_MAXSEG, &(int){1000}, sizeof(int)},
    {IPPROTO_TCP, TCP_CONGESTION, "reno", 4},
    {IPPROTO_TCP, TCP_KEEPIDLE, &(int){77}, sizeof(int)},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, &(int){4321}, sizeof(int)},
    {IPPROTO_TCP, TCP_LINGER2, &(int){9}, sizeof(int)},
};
enum { SETTINGS = sizeof settings / sizeof settings[0], MOST_BYTES = 64 };

/* Lets in what comes from a port above 1023. */
static const struct sock_filter instructions[] = {
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, 0},
    {BPF_JMP | BPF_JGT | BPF_K, 0, 1, 1023},
    {BPF_RET | BPF_K, 0, 0, UINT32_MAX},
    {BPF_RET | BPF_K, 0, 0, 0},
};
enum { INSTRUCTIONS = sizeof instructions / sizeof instructions[0] };

static int listen_reusing_on(int family) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (family == AF_INET) return listen_reusing();
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    CHECK_SYS(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)));
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
    if (bind(fd, (struct sockaddr *)&six, sizeof six) != 0) return close(fd), -1;
    CHECK_SYS(listen(fd, 256));
    return fd;
}

/* Calls `look` for every listener of that name in this process. Returns how many there are. */
static int each_listener(const site *s, void (*look)(int fd, int first)) {
    int count = 0;
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_storage name = {0};
        socklen_t len = sizeof name, four = sizeof(int);
        int listens = 0;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &four) != 0 || !listens) continue;
        CHECK_SYS(getsockname(fd, (struct sockaddr *)&name, &len));
        if (len != s->name_len || memcmp(&name, &s->name, len) != 0) continue;
        look(fd, s->fd);
        count++;
    }
    return count;
}

static void check_settings(int fd, int first) {
    for (int i = 0; i < SETTINGS; i++) {
        char now[MOST_BYTES] = {0}, wanted[MOST_BYTES] = {0};
        socklen_t len = sizeof now, wanted_len = sizeof wanted;
        if (getsockopt(first, settings[i].level, settings[i].name, wanted, &wanted_len) != 0) continue;
        CHECK_SYS(getsockopt(fd, settings[i].level, settings[i].name, now, &len));
        CHECK_EQ(len, wanted_len);
        CHECK(memcmp(now, wanted, sizeof now) == 0);
    }
    struct sock_filter filter[INSTRUCTIONS];
    socklen_t count = INSTRUCTIONS;
    CHECK_SYS(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter, &count));
    CHECK_EQ(count, INSTRUCTIONS);
    CHECK(memcmp(filter, instructions, sizeof filter) == 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)), -1);
    CHECK_EQ(errno, EPERM); /* it is locked */
}

/* As the system has them. */
static void check_unset(int fd, int first) {
    (void)first;
    int fresh = net_socket(SOCK_STREAM);
    for (int i = 0; i < SETTINGS; i++) {
        char now[MOST_BYTES] = {0}, usual[MOST_BYTES] = {0};
        socklen_t len = sizeof now;
        if (getsockopt(fresh, settings[i].level, settings[i].name, usual, &len) != 0) continue;
        len = sizeof now;
        CHECK_SYS(getsockopt(fd, settings[i].level, settings[i].name, now, &len));
        CHECK(memcmp(now, usual, sizeof now) == 0);
    }
    socklen_t count = 0;
    CHECK_SYS(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &count));
    CHECK_EQ(count, 0);
    close(fresh);
}

static void listeners_are_alike(int fd, void (*look)(int fd, int first)) {
    rt_serve_opts opts = site_opts();
    opts.mode = RT_SERVE_REUSEPORT;
    site s = {.rt = test_runtime()};
    site_serve(&s, fd, &opts);
    CHECK_EQ(each_listener(&s, look), current_thread() ? 1 : test_workers);
    crowd_run(&s, echo_in_turn, 10);
    site_end(&s);
}

static void siblings_are_set_alike(int family) {
    int fd = listen_reusing_on(family);
    if (fd < 0) return; /* no such addresses here */
    for (int i = 0; i < SETTINGS; i++) {
        const struct setting *o = &settings[i];
        /* What is of the other family is refused; the rest is of this system or not. */
        int r = setsockopt(fd, o->level, o->name, o->value, o->size);
        if (o->level == SOL_SOCKET) CHECK_SYS(r);
    }
    struct sock_fprog program = {INSTRUCTIONS, (struct sock_filter *)instructions};
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &(int){1}, sizeof(int)));
    listeners_are_alike(fd, check_settings);
}

static void siblings_are_set_alike_on_4(void) { siblings_are_set_alike(AF_INET); }
static void siblings_are_set_alike_on_6(void) { siblings_are_set_alike(AF_INET6); }
static void what_is_unset_stays_so(void) { listeners_are_alike(listen_reusing(), check_unset); }

/* A filter that nobody can read is not left out. Only who may load one can try. */
static void what_cannot_be_copied(void) {
    const struct bpf_insn pass[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = INT32_MAX},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
                           .insns = (uintptr_t)pass,
                           .insn_cnt = sizeof pass / sizeof pass[0],
                           .license = (uintptr_t) "GPL"};
    int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
    if (program < 0) {
        printf("%s: no eBPF program can be loaded here\n", test_program);
        return;
    }
    rt_serve_opts opts = site_opts();
    opts.mode = RT_SERVE_REUSEPORT;
    site s = {.rt = test_runtime()};
    int fd = listen_reusing();
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program));
    rt_io listener;
    CHECK_OK(rt_register_fd(s.rt, fd, RT_READABLE, &listener));
    int64_t served = rt_serve(s.rt, listener, &opts, site_accept, &s, &s.server);
    if (current_thread()) {
        CHECK_EQ(served, 0); /* it needs no others */
        CHECK_EQ(rt_server_free(s.server), 0);
    } else {
        CHECK_EQ(served, -EINVAL);
        CHECK_EQ(rt_close(listener), 0);
    }
    close(program);
    test_runtime_free(s.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(shared);
    CASE(exclusive);
    CASE(reuseport);
    CASE(on_unix);
    CASE(on_unix_exclusive);
    CASE(one_at_a_time);
    CASE(each_worker_watches_one_listener);
    CASE(closing_the_listener_stops);
    CASE(siblings_are_alike);
    CASE(siblings_are_set_alike_on_4);
    CASE(siblings_are_set_alike_on_6);
    CASE(what_is_unset_stays_so);
    CASE(what_cannot_be_copied);
    return test_end();
}
