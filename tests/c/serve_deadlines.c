/* Slow and silent connections are cut, each by the deadline that is meant for it, never early; an
 * active one is left alone.
 */
#include "serve.h"

enum { SPAN = 100 };

static void until_cut(int fd) {
    char scratch[256];
    for (;;) {
        ssize_t r = read(fd, scratch, sizeof scratch);
        if (r == 0 || (r < 0 && errno == ECONNRESET)) return;
        if (r < 0) CHECK(net_again(fd, POLLIN));
    }
}

static uint64_t began, ended;
static bool in_time; /* `quiet` had its answer before any deadline that counts from the accept */

/* ---- a peer that says nothing ---- */

static void silent(site *s, int count) {
    (void)count;
    began = rt_now();
    int fd = site_dial(s);
    until_cut(fd);
    ended = rt_now();
    close(fd);
}

/* Says one byte, then nothing. Whoever is held up may be cut before that byte is heard: with reason, if the
 * deadline had come. */
static void quiet(site *s, int count) {
    (void)count;
    uint64_t dialled = rt_now();
    char byte = 'x';
    int fd = site_dial(s);
    began = rt_now(); /* before the server moved anything */
    in_time = send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
    uint64_t answered = rt_now();
    CHECK(in_time || answered - dialled >= SPAN * MS);
    in_time = in_time && answered - dialled < SPAN * MS;
    until_cut(fd);
    ended = rt_now();
    close(fd);
}

/* Says a byte now and then, for ever: more often than the idle time. */
static void dripping(site *s, int count) {
    (void)count;
    began = rt_now();
    int fd = site_dial(s);
    for (;;) {
        char byte = 'x';
        ssize_t r = send(fd, &byte, 1, MSG_NOSIGNAL);
        if (r < 0) break;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        CHECK_SYS(poll(&ready, 1, 10));
        r = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (r == 0 || (r < 0 && errno != EAGAIN)) break;
    }
    ended = rt_now();
    close(fd);
}

/* Asks again and again, for four idle times, then stops. `began` is before the last request that was
 * answered, or before the dial: whoever cuts an active connection is early. */
static void active(site *s, int count) {
    (void)count;
    began = rt_now();
    int fd = site_dial(s);
    uint64_t now = rt_now(), until = now + 4 * SPAN * MS;
    char byte = 'x';
    while (now < until && send(fd, &byte, 1, MSG_NOSIGNAL) == 1) {
        ssize_t r;
        do r = recv(fd, &byte, 1, 0);
        while (r < 0 && errno == EINTR);
        if (r != 1) break;
        began = now;
        usleep(1000);
        now = rt_now();
    }
    until_cut(fd);
    ended = rt_now();
    close(fd);
}

static rt_server_stats_data run(rt_serve_opts opts, void (*peer)(site *, int)) {
    site s = {0};
    site_start(&s, &opts);
    crowd_run(&s, peer, 1);
    drive_until(s.rt, site_none_live, &s);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(stats.accepted, 1);
    site_end(&s);
    return stats;
}

/* Until the quiet one was not held up. */
static rt_server_stats_data run_quiet(rt_serve_opts opts) {
    rt_server_stats_data stats;
    do stats = run(opts, quiet);
    while (!in_time);
    return stats;
}

static void first_byte(void) {
    rt_serve_opts opts = site_opts();
    opts.first_byte_ns = SPAN * MS;
    rt_server_stats_data stats = run(opts, silent);
    CHECK_EQ(stats.cut_first_byte, 1);
    CHECK_EQ(stats.cut_idle + stats.cut_total, 0);
    CHECK(ended - began >= SPAN * MS);
}

static void first_byte_came(void) {
    rt_serve_opts opts = site_opts();
    opts.first_byte_ns = SPAN * MS;
    opts.total_ns = 3 * SPAN * MS;
    rt_server_stats_data stats = run_quiet(opts);
    CHECK_EQ(stats.cut_total, 1);
    CHECK_EQ(stats.cut_first_byte + stats.cut_idle, 0);
}

static void idle(void) {
    rt_serve_opts opts = site_opts();
    opts.idle_ns = SPAN * MS;
    rt_server_stats_data stats = run_quiet(opts);
    CHECK_EQ(stats.cut_idle, 1);
    CHECK_EQ(stats.cut_first_byte + stats.cut_total, 0);
    CHECK(ended - began >= SPAN * MS);
}

static void total(void) {
    rt_serve_opts opts = site_opts();
    opts.total_ns = 3 * SPAN * MS;
    opts.first_byte_ns = opts.idle_ns = (uint64_t)100000 * MS;
    rt_server_stats_data stats = run(opts, dripping);
    CHECK_EQ(stats.cut_total, 1);
    CHECK_EQ(stats.cut_first_byte + stats.cut_idle, 0);
    CHECK(ended - began >= 3 * SPAN * MS);
}

static void not_the_active(void) {
    rt_serve_opts opts = site_opts();
    opts.idle_ns = SPAN * MS;
    rt_server_stats_data stats = run(opts, active);
    CHECK_EQ(stats.cut_idle, 1);
    CHECK(ended - began >= SPAN * MS);
}

/* ---- what operations move counts as well ---- */

struct echo {
    site *site;
    rt_io io;
    rt_op op;
    size_t n; /* what is being sent; 0: receives */
    char buf[64];
};

static int64_t echo_poll(rt_cx *cx, void *state) {
    struct echo *e = state;
    for (;;) {
        if (e->op == 0 && e->n == 0) {
            CHECK_EQ(rt_submit_recv(cx, e->io, e->buf, sizeof e->buf, 0, &e->op), 0);
        } else if (e->op == 0) {
            CHECK_EQ(rt_submit_send(cx, e->io, e->buf, e->n, 0, &e->op), 0);
        }
        int64_t n = rt_poll_op(cx, e->op);
        if (n == RT_PENDING) return n;
        e->op = 0;
        if (n <= 0) return n;
        e->n = e->n == 0 ? (size_t)n : 0;
    }
}

static void echo_drop(void *state) {
    struct echo *e = state;
    CHECK_EQ(rt_close(e->io), 0);
    atomic_fetch_add(&e->site->ended, 1);
    free(e);
}

static int64_t echo_by_operations(site *s, rt_io io, rt_spawn_opts *task) {
    struct echo *e = calloc(1, sizeof *e);
    CHECK(e != NULL);
    *e = (struct echo){.site = s, .io = io};
    atomic_fetch_add(&s->begun, 1);
    task->poll = echo_poll;
    task->state = e;
    task->drop = echo_drop;
    return 0;
}

static void operations(void) {
    rt_serve_opts opts = site_opts();
    opts.idle_ns = SPAN * MS;
    opts.first_byte_ns = 2 * SPAN * MS;
    site s = {.accept = echo_by_operations};
    site_start(&s, &opts);
    crowd_run(&s, active, 1);
    drive_until(s.rt, site_none_live, &s);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(stats.cut_idle + stats.cut_first_byte, 1);
    CHECK(stats.cut_first_byte == 0 || ended - began >= 2 * SPAN * MS);
    CHECK(ended - began >= SPAN * MS);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(first_byte);
    CASE(first_byte_came);
    CASE(idle);
    CASE(total);
    CASE(not_the_active);
    CASE(operations);
    return test_end();
}
