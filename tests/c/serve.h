/* A server whose connections echo what they get, and clients for it, for tests of servers. */
#ifndef ASYNCIO_TESTS_SERVE_H
#define ASYNCIO_TESTS_SERVE_H

#include "net.h"

#include <sys/un.h>

enum { MOST_THREADS = 8, MS = 1000000 };

typedef struct site {
    rt_runtime rt;
    int fd; /* the listener's number, good until the server closes it */
    rt_io listener;
    struct sockaddr_storage name;
    socklen_t name_len;
    rt_server server;
    atomic_int begun, ended, most, asked;
    atomic_bool finish_on_drain; /* connections end when the server drains and they owe nothing */
    pthread_mutex_t lock;
    pthread_t threads[MOST_THREADS]; /* threads that polled a connection */
    int served[MOST_THREADS];        /* how many each was the first to poll */
    int thread_count;
    int64_t (*accept)(struct site *, rt_io, rt_spawn_opts *); /* instead of the usual */
} site;

typedef struct conn {
    site *site;
    rt_io io;
    size_t n, off;
    bool begun;
    char buf[256];
} conn;

static inline void site_note_thread(site *s) {
    pthread_mutex_lock(&s->lock);
    int at = 0;
    while (at < s->thread_count && !pthread_equal(s->threads[at], pthread_self())) at++;
    CHECK(at < MOST_THREADS);
    if (at == s->thread_count) s->threads[s->thread_count++] = pthread_self();
    s->served[at]++;
    pthread_mutex_unlock(&s->lock);
}

static inline int64_t conn_poll(rt_cx *cx, void *state) {
    conn *c = state;
    if (!c->begun) site_note_thread(c->site);
    c->begun = true;
    for (;;) {
        if (c->n == 0) {
            int64_t r = rt_poll_read(cx, c->io, c->buf, sizeof c->buf);
            if (r == RT_PENDING && atomic_load(&c->site->finish_on_drain) &&
                rt_poll_draining(cx, c->site->server) == 0)
                return 0;
            if (r <= 0) return r;
            c->n = (size_t)r;
        }
        int64_t r = rt_poll_write_all(cx, c->io, c->buf, c->n, &c->off);
        if (r < 0) return r;
        c->n = 0;
    }
}

static inline void conn_drop(void *state) {
    conn *c = state;
    CHECK_EQ(rt_close(c->io), 0);
    atomic_fetch_add(&c->site->ended, 1);
    free(c);
}

static inline int64_t site_take(site *s, rt_io io, rt_spawn_opts *task) {
    conn *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    *c = (conn){.site = s, .io = io};
    int live = atomic_fetch_add(&s->begun, 1) + 1 - atomic_load(&s->ended);
    int most = atomic_load(&s->most);
    while (live > most && !atomic_compare_exchange_weak(&s->most, &most, live)) {}
    task->poll = conn_poll;
    task->state = c;
    task->drop = conn_drop;
    return 0;
}

static inline int64_t site_accept(void *arg, rt_io io, rt_spawn_opts *task) {
    site *s = arg;
    CHECK(rt_cx_current() == NULL);
    CHECK(s->server != 0);
    atomic_fetch_add(&s->asked, 1);
    return s->accept != NULL ? s->accept(s, io, task) : site_take(s, io, task);
}

static inline rt_serve_opts site_opts(void) {
    rt_serve_opts opts;
    CHECK_OK(rt_serve_opts_init(&opts, sizeof opts));
    return opts;
}

/* Serves on a descriptor that listens, on a runtime that is there. */
static inline void site_serve(site *s, int fd, const rt_serve_opts *opts) {
    pthread_mutex_init(&s->lock, NULL);
    s->fd = fd;
    s->name_len = sizeof s->name;
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&s->name, &s->name_len));
    CHECK_OK(rt_register_fd(s->rt, fd, RT_READABLE, &s->listener));
    CHECK_EQ(rt_serve(s->rt, s->listener, opts, site_accept, s, &s->server), 0);
    CHECK(s->server != 0);
}

static inline void site_start(site *s, const rt_serve_opts *opts) {
    s->rt = test_runtime();
    site_serve(s, net_listen(256), opts);
}

static inline int site_dial_raw(site *s) {
    int fd = (int)CHECK_SYS(socket(s->name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd, (struct sockaddr *)&s->name, s->name_len) == 0) return fd;
    int failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

static inline int site_dial(site *s) { return (int)CHECK_SYS(site_dial_raw(s)); }

static inline rt_server_stats_data site_stats(site *s) {
    rt_server_stats_data data = {.size = sizeof data};
    CHECK_EQ(rt_server_stats(s->server, &data), 0);
    return data;
}

struct site_drain {
    site *site;
    uint64_t at;
};

static inline int64_t site_drain_poll(rt_cx *cx, void *state) {
    struct site_drain *d = state;
    return rt_poll_drain(cx, d->site->server, d->at);
}

/* Drains the server and returns how many were cut. */
static inline int64_t site_drain(site *s, uint64_t at) {
    struct site_drain d = {s, at};
    return rt_block_on(s->rt, site_drain_poll, &d);
}

static inline bool site_none_live(void *arg) { return site_stats(arg).live == 0; }

/* The usual end: everything that began has ended. */
static inline void site_end(site *s) {
    CHECK_EQ(site_drain(s, RT_NEVER), 0);
    CHECK_EQ(atomic_load(&s->begun), atomic_load(&s->ended));
    CHECK_EQ(rt_server_free(s->server), 0);
    test_runtime_free(s->rt);
    pthread_mutex_destroy(&s->lock);
}

/* One request and its echo. */
static inline void client_echo(int fd, int seed) {
    char out[100], in[100];
    net_pattern(out, sizeof out, (uint64_t)seed, 0);
    net_put(fd, out, sizeof out);
    CHECK_EQ(net_get(fd, in, sizeof in), sizeof in);
    CHECK(net_pattern_holds(in, sizeof in, (uint64_t)seed, 0));
}

/* Clients on a thread of their own, while the main thread drives. */
typedef struct crowd {
    site *site;
    int count;
    void (*run)(site *, int count);
    atomic_bool done;
} crowd;

static inline void *crowd_main(void *arg) {
    crowd *c = arg;
    c->run(c->site, c->count);
    atomic_store(&c->done, true);
    return NULL;
}

static inline void crowd_run(site *s, void (*run)(site *, int), int count) {
    crowd c = {.site = s, .count = count, .run = run};
    pthread_t thread = thread_start(crowd_main, &c);
    drive_until(s->rt, flag_set, &c.done);
    thread_join(thread);
}

#endif
