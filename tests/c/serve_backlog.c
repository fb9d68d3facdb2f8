/* A server that stops serves all who were in the backlog, also of a listener that does not say how many those are. */
#include "mounts.h"
#include "serve.h"

enum { LIMIT = 6000, WAITING = LIMIT + 1 }; /* a Unix listener takes one more */

/* A network whose listeners may have so long a backlog. To be called before there are threads. */
static void network_of_our_own(void) {
    uid_t user = getuid();
    gid_t group = getgid();
    if (unshare(CLONE_NEWNET) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) SKIP("a namespace of networks cannot be had here");
        mounts_map_user(user, group);
    }
    int fd = open("/proc/sys/net/core/somaxconn", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dprintf(fd, "%d", LIMIT) < 0) SKIP("net.core.somaxconn cannot be set here");
    close(fd);
}

struct brief {
    site *site;
    rt_io io;
};

/* The first one keeps the only place until the server is stopped. */
static int64_t brief_poll(rt_cx *cx, void *state) {
    struct brief *b = state;
    return rt_poll_draining(cx, b->site->server);
}

static void brief_drop(void *state) {
    struct brief *b = state;
    CHECK_EQ(rt_close(b->io), 0);
    atomic_fetch_add(&b->site->ended, 1);
}

static int64_t take_briefly(site *s, rt_io io, rt_spawn_opts *task) {
    static struct brief b; /* there is one at a time */
    b = (struct brief){s, io};
    atomic_fetch_add(&s->begun, 1);
    task->poll = brief_poll;
    task->state = &b;
    task->drop = brief_drop;
    return 0;
}

static bool one_is_live(void *arg) { return site_stats(arg).live == 1; }

static void a_long_one_is_served(void) {
    site s = {.rt = test_runtime(), .accept = take_briefly};
    rt_serve_opts opts = site_opts();
    opts.max_connections = 1;
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    /* The kernel chooses an abstract name. */
    CHECK_SYS(bind(fd, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)));
    CHECK_SYS(listen(fd, LIMIT));
    site_serve(&s, fd, &opts);
    close(site_dial(&s));
    drive_until(s.rt, one_is_live, &s);
    /* Who leaves stays in the backlog. The last one hears how it went. */
    for (int i = 1; i < WAITING; i++) close(site_dial(&s));
    int last = site_dial(&s);
    CHECK_EQ(site_drain(&s, RT_NEVER), 0);
    CHECK_EQ(site_stats(&s).accepted, 1 + WAITING);
    CHECK_EQ(CHECK_SYS(recv(last, &(char){0}, 1, 0)), 0);
    close(last);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    network_of_our_own();
    CASE(a_long_one_is_served);
    return test_end();
}
