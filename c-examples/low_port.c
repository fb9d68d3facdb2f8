/* A server on a low port, for which it needs root, and without root by the time that it serves.
 *
 * It shows the order in which a daemon begins
 *   1. the listener: bound here, or before this program began, by systemd's socket activation;
 *   2. root is given up: groups, group, user, and a look whether it can be had back;
 *   3. only then the runtime. A ring does what is asked of it with the credentials of whoever made
 *      it, whatever became of the process since; and the library's threads, too, come after.
 *
 * Usage: low_port [--address A] [--port P] [--user NAME]
 *                 [--engine auto|epoll|uring] [--workers N]
 *
 *   --address  default 0.0.0.0; may be of IPv6: `--address ::` is for both.
 *   --port     default 80.
 *   --user     whom root becomes, default "nobody". Who is not root stays who it is.
 *   --workers  threads; 0 runs everything on the main one. Default: as many as there are CPUs.
 *
 * Try it:
 *   sudo build/c-examples/low_port --port 13 & nc 127.0.0.1 13
 *   systemd-socket-activate -l 8013 build/c-examples/low_port
 * Each connection is told the time, and closed. SIGTERM and SIGINT end it.
 */
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <asyncio_await.h>

#include "options.h"

enum { FIRST_PASSED = 3 }; /* the first descriptor that systemd passes on */
static const uint64_t GRACE = UINT64_C(5000000000);

struct options {
    const char *address, *user;
    uint32_t port;
    rt_config config;
};

struct program {
    rt_runtime rt;
    rt_server server;
    rt_signal term, interrupt;

    rt_frame frame;
    int which;
    uint64_t until;
    int64_t r;
};

static int fail(const char *what, int64_t r) {
    fprintf(stderr, "low_port: %s: %s\n", what, rt_strerror(r));
    return -1;
}

/* ---- 1. the listener ---- */

/* The protocol of sd_listen_fds(3): the variables are for the process that they name, which keeps
 * them from its children. -1: nothing was passed. */
static int passed_listener(void) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    bool ours = pid != NULL && count != NULL && strtol(pid, NULL, 10) == getpid() &&
                strtol(count, NULL, 10) >= 1;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (ours) fcntl(FIRST_PASSED, F_SETFD, FD_CLOEXEC);
    return ours ? FIRST_PASSED : -1;
}

/* With plain system calls: rt_tcp_listen wants a runtime, which there must not be yet. */
static int bound_listener(const struct options *o) {
    const int on = 1;
    rt_addr name;
    int64_t r = rt_addr_parse(o->address, (uint16_t)o->port, &name);
    if (r < 0) return fail(o->address, r);
    const struct sockaddr *addr = (const struct sockaddr *)name.storage;
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail("socket", -errno);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, addr, name.len) < 0 || listen(fd, SOMAXCONN) < 0) {
        fail("listen", -errno);
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- 2. privileges ---- */

/* The groups first, then the group, then the user, who could not do the others any more. Setting
 * the user as root sets the real, the effective and the saved one, and takes the capabilities. */
static int drop_root(const char *user) {
    if (geteuid() != 0) return 0;
    errno = 0;
    const struct passwd *who = getpwnam(user);
    if (who == NULL) return fail(user, errno == 0 ? -ENOENT : -errno);
    if (who->pw_uid == 0) return fail("--user", -EINVAL);
    if (setgroups(0, NULL) < 0 || setgid(who->pw_gid) < 0 || setuid(who->pw_uid) < 0)
        return fail("giving up root", -errno);
    /* These must fail. If they do not, there is nothing that should go on. */
    if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || getuid() == 0 || getegid() == 0)
        return fail("root could be had back", -EPERM);
    return 0;
}

/* ---- 3. the server ---- */

struct conn {
    rt_io io;
    rt_frame frame;
    int64_t r;
};

static void drop_conn(void *state) {
    struct conn *c = state;
    rt_close(c->io);
    free(c);
}

static int64_t tell_time(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    char line[64];
    struct tm now;
    time_t seconds = time(NULL);
    size_t n = strftime(line, sizeof line, "%Y-%m-%d %H:%M:%S UTC\r\n", gmtime_r(&seconds, &now));
    c->r = rt_send(c->io, line, n);
    if (c->r < 0) RT_RETURN(c->r);
    RT_AWAIT(c->r, rt_poll_flush(cx, c->io, 0));
    RT_END(c->r);
}

static int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    (void)arg;
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) return -ENOMEM;
    c->io = io;
    task->poll = tell_time;
    task->state = c;
    task->drop = drop_conn;
    return 0;
}

static int64_t run(rt_cx *cx, void *state) {
    struct program *p = state;
    RT_BEGIN(&p->frame);
    RT_SELECT2(p->which, p->r, rt_poll_signal(cx, p->term), rt_poll_signal(cx, p->interrupt));
    if (p->r < 0) RT_RETURN(p->r);
    p->until = rt_now() + GRACE;
    RT_AWAIT(p->r, rt_poll_drain(cx, p->server, p->until));
    RT_END(p->r);
}

/* Takes `fd`. */
static int open_server(struct program *p, const rt_config *config, int fd) {
    char text[256] = "";
    rt_serve_opts opts;
    rt_serve_opts_init(&opts, sizeof opts);
    opts.total_ns = GRACE; /* who does not read one line in it is cut */
    rt_io listener = 0;
    int64_t r = rt_new(config, &p->rt, text, sizeof text);
    if (r < 0) fail(text, r);
    else if ((r = rt_register_fd(p->rt, fd, RT_READABLE | RT_IO_SET_NONBLOCK, &listener)) < 0)
        fail("register", r);
    if (r < 0) {
        close(fd);
        return -1;
    }
    if ((r = rt_signal_open(p->rt, SIGTERM, &p->term)) < 0 ||
        (r = rt_signal_open(p->rt, SIGINT, &p->interrupt)) < 0)
        return fail("signals", r);
    r = rt_serve(p->rt, listener, &opts, on_connection, NULL, &p->server);
    if (r < 0) return fail("serve", r);
    rt_describe(p->rt, text, sizeof text);
    printf("serving as user %u, group %u (%s)\n", (unsigned)getuid(), (unsigned)getgid(), text);
    fflush(stdout);
    return 0;
}

static bool parse(struct options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return false;
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--port") == 0 && parse_number(value, 1, UINT16_MAX, &o->port)) continue;
        if (strcmp(name, "--address") == 0) o->address = value;
        else if (strcmp(name, "--user") == 0) o->user = value;
        else if (!parse_common(&o->config, name, value)) return false;
    }
    return true;
}

int main(int argc, char **argv) {
    struct options o = {.address = "0.0.0.0", .user = "nobody", .port = 80};
    struct program p = {0};
    rt_config_init(&o.config, sizeof o.config);
    if (!parse(&o, argc, argv)) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--address A] [--port P] [--user NAME]\n",
                argv[0]);
        return 2;
    }
    int fd = passed_listener();
    if (fd < 0) fd = bound_listener(&o);
    if (fd < 0 || drop_root(o.user) < 0 || open_server(&p, &o.config, fd) < 0) {
        rt_free(p.rt);
        return 1;
    }
    int64_t r = rt_block_on(p.rt, run, &p);
    if (r < 0) fail("run", r);
    rt_server_free(p.server);
    rt_signal_close(p.term);
    rt_signal_close(p.interrupt);
    rt_free(p.rt); /* closes what is registered, and the listener with it */
    return r < 0;
}
