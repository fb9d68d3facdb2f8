/* What accept4 may say besides a connection: errors of one connection, of the network, of the
 * system. None of them ends a server, and while it drains none costs a client that was there.
 */
#include "serve.h"

#include <sys/syscall.h>

static atomic_int failures; /* so many calls of accept4 fail from now on */
static atomic_int failure;

/* In place of the C library's, for the library, too. */
int accept4(int fd, __SOCKADDR_ARG name, socklen_t *restrict len, int flags) {
    int left = atomic_load(&failures);
    while (left > 0 && !atomic_compare_exchange_weak(&failures, &left, left - 1)) {}
    if (left > 0) {
        errno = atomic_load(&failure);
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, name.__sockaddr__, len, flags);
}

static void fail(int error, int times) {
    atomic_store(&failure, error);
    atomic_store(&failures, times);
}

static const int errors[] = {ECONNABORTED, EPROTO, EPERM, EACCES, ETIMEDOUT, EMFILE, ENFILE,
                             ENOBUFS, ENOMEM, EIO, ENETDOWN};
enum { ERRORS = sizeof errors / sizeof errors[0], MANY = 129 };

static int clients[3];

static void echo_first(site *s, int count) {
    (void)s;
    for (int i = 0; i < count; i++) client_echo(clients[i], i);
}

static void goes_on_after(int error, int times) {
    site s = {0};
    site_start(&s, NULL);
    fail(error, times);
    clients[0] = site_dial(&s);
    crowd_run(&s, echo_first, 1);
    CHECK_EQ(atomic_load(&failures), 0);
    close(clients[0]);
    site_end(&s);
}

static void a_server_goes_on(void) {
    for (int i = 0; i < ERRORS; i++) {
        /* The first EMFILE takes the reserve, with which its client is turned away. */
        goes_on_after(errors[i], errors[i] == EMFILE || errors[i] == ENFILE ? 2 : 1);
        if (i < 2) goes_on_after(errors[i], MANY);
    }
}

static bool one_lives(void *arg) { return site_stats(arg).live == 1; }

static void finish_all(site *s, int count) {
    (void)s;
    for (int i = 0; i < count; i++) {
        client_echo(clients[i], i);
        close(clients[i]);
    }
}

/* One is served, two are in the backlog when the server stops. */
static void drains_after(int error, int times, uint32_t budget) {
    rt_serve_opts opts = site_opts();
    opts.max_connections = 1;
    rt_config config = test_config();
    config.poll_budget = budget;
    site s = {.rt = test_runtime_with(&config)};
    site_serve(&s, net_listen(256), &opts);
    clients[0] = site_dial(&s);
    drive_until(s.rt, one_lives, &s);
    clients[1] = site_dial(&s);
    clients[2] = site_dial(&s);
    CHECK_EQ(rt_server_stop(s.server), 0);
    fail(error, times);
    crowd_run(&s, finish_all, 3);
    CHECK_EQ(atomic_load(&failures), 0);
    site_end(&s);
    CHECK_EQ(atomic_load(&s.ended), 3);
}

static void a_drain_loses_nobody(void) {
    for (int i = 0; i < ERRORS; i++) {
        drains_after(errors[i], 2, 0);
        if (i < 2) drains_after(errors[i], MANY, 0);
    }
}

/* The look for a connection, after one that failed, leaves enough to take it. */
static void a_drain_needs_one_result_a_poll(void) {
    for (int i = 0; i < ERRORS; i++) drains_after(errors[i], 2, 1);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_server_goes_on);
    CASE(a_drain_loses_nobody);
    CASE(a_drain_needs_one_result_a_poll);
    return test_end();
}
