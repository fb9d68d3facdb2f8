/* An echo server and its clients in one process and one runtime: so many connections at the same
 * time, each of them checked byte for byte.
 */
#ifndef ASYNCIO_TESTS_NET_ECHO_H
#define ASYNCIO_TESTS_NET_ECHO_H

#include "ready.h"

#include <asyncio_await.h>

enum {
    ECHO_LONGEST = 256, /* bytes of a message */
    ECHO_DIALLING = 256 /* connects at a time: the listener's queue has its limits */
};

struct echo {
    rt_runtime rt;
    rt_io listener;
    struct sockaddr_in name;
    int connections, rounds;
    struct echo_client *clients;
    atomic_int connected, finished;
    rt_task dialler;
};

/* ---- the server: a task for each connection ---- */

struct echo_server {
    rt_frame frame;
    rt_io io;
    int64_t n, m;
    size_t off;
    char data[ECHO_LONGEST];
};

static int64_t echo_serve(rt_cx *cx, void *state) {
    struct echo_server *s = state;
    RT_BEGIN(&s->frame);
    for (;;) {
        RT_AWAIT(s->n, rt_poll_read(cx, s->io, s->data, sizeof s->data));
        if (s->n <= 0) break;
        RT_AWAIT(s->m, rt_poll_write_all(cx, s->io, s->data, (size_t)s->n, &s->off));
        if (s->m < 0) RT_RETURN(s->m);
    }
    RT_END(s->n);
}

static void echo_server_drop(void *state) {
    struct echo_server *s = state;
    CHECK_EQ(rt_close(s->io), 0);
}

struct echo_acceptor {
    rt_frame frame;
    struct echo *echo;
    rt_io io;
    int64_t r;
};

static int64_t echo_accept(rt_cx *cx, void *state) {
    struct echo_acceptor *a = state;
    RT_BEGIN(&a->frame);
    for (;;) {
        RT_AWAIT(a->r, rt_poll_accept(cx, a->echo->listener, &a->io));
        if (a->r != 0) break;
        struct echo_server server = {.io = a->io};
        rt_spawn_opts opts;
        CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
        opts.flags = RT_SPAWN_INLINE;
        opts.poll = echo_serve;
        opts.state = &server;
        opts.state_size = sizeof server;
        opts.drop = echo_server_drop;
        CHECK_EQ(rt_spawn_with(a->echo->rt, &opts, NULL), 0);
    }
    RT_END(a->r);
}

/* ---- the clients: each waits until all are connected, then talks ---- */

struct echo_client {
    rt_frame frame;
    struct echo *echo;
    rt_io io;
    rt_task task;
    uint64_t number, sent;
    int round;
    int64_t r;
    size_t length, off, have;
    unsigned char data[ECHO_LONGEST];
};

/* Pending until the last client is connected, who wakes all. */
static int64_t echo_poll_all_connected(struct echo *echo) {
    return atomic_load(&echo->connected) < echo->connections ? RT_PENDING : 0;
}

/* Tells the dialler that it may go on, and everybody when it was the last. */
static void echo_connected(struct echo *echo) {
    if (atomic_fetch_add(&echo->connected, 1) + 1 == echo->connections)
        for (int i = 0; i < echo->connections; i++) rt_task_wake(echo->clients[i].task);
    rt_task_wake(echo->dialler);
}

static size_t echo_length(const struct echo_client *c) {
    return 1 + (size_t)(c->number * 31 + (uint64_t)c->round * 97) % ECHO_LONGEST;
}

static int64_t echo_talk(rt_cx *cx, void *state) {
    struct echo_client *c = state;
    RT_BEGIN(&c->frame);
    RT_AWAIT(c->r, rt_poll_connect(cx, c->io, (struct sockaddr *)&c->echo->name,
                                   sizeof c->echo->name));
    CHECK_EQ(c->r, 0);
    echo_connected(c->echo);
    RT_AWAIT(c->r, echo_poll_all_connected(c->echo));
    for (c->round = 0; c->round < c->echo->rounds; c->round++) {
        c->length = echo_length(c);
        net_pattern(c->data, c->length, c->number, c->sent);
        RT_AWAIT(c->r, rt_poll_write_all(cx, c->io, c->data, c->length, &c->off));
        CHECK_EQ(c->r, c->length);
        memset(c->data, 0, sizeof c->data);
        for (c->have = 0; c->have < c->length; c->have += (size_t)c->r) {
            RT_AWAIT(c->r, rt_poll_read(cx, c->io, c->data + c->have, c->length - c->have));
            CHECK(c->r > 0);
        }
        CHECK(net_pattern_holds(c->data, c->length, c->number, c->sent));
        c->sent += c->length;
    }
    CHECK_EQ(rt_close(c->io), 0);
    atomic_fetch_add(&c->echo->finished, 1);
    RT_END(0);
}

struct echo_dialler {
    rt_frame frame;
    struct echo *echo;
    int started;
    int64_t r;
};

static int64_t echo_poll_room(const struct echo_dialler *d) {
    int dialling = d->started - atomic_load(&d->echo->connected);
    return dialling >= ECHO_DIALLING ? RT_PENDING : 0;
}

static int64_t echo_dial(rt_cx *cx, void *state) {
    struct echo_dialler *d = state;
    RT_BEGIN(&d->frame);
    d->echo->dialler = rt_task_self(cx);
    for (d->started = 0; d->started < d->echo->connections; d->started++) {
        RT_AWAIT(d->r, echo_poll_room(d));
        struct echo_client *c = &d->echo->clients[d->started];
        c->echo = d->echo;
        c->number = (uint64_t)d->started;
        c->io = io_of(d->echo->rt, net_socket(SOCK_STREAM), RW);
        CHECK_EQ(rt_spawn(d->echo->rt, echo_talk, c, NULL, &c->task), 0);
    }
    RT_END(0);
}

/* ---- all of it ---- */

static void echo_server_start(struct echo *echo, int listener, struct echo_acceptor *acceptor,
                              rt_task *accepting) {
    *acceptor = (struct echo_acceptor){.echo = echo};
    echo->listener = io_of(echo->rt, listener, RT_READABLE);
    CHECK_EQ(rt_spawn(echo->rt, echo_accept, acceptor, NULL, accepting), 0);
}

static void echo_server_end(struct echo *echo, rt_task accepting) {
    CHECK_EQ(rt_close(echo->listener), 0);
    CHECK_EQ(join_task(accepting), -EBADF);
}

/* Connects all, lets them talk, and sees them end. */
static void echo_clients(struct echo *echo) {
    struct echo_dialler dialler = {.echo = echo};
    echo->clients = calloc((size_t)echo->connections, sizeof *echo->clients);
    CHECK(echo->clients != NULL);
    CHECK_EQ(rt_block_on(echo->rt, echo_dial, &dialler), 0);
    for (int i = 0; i < echo->connections; i++) CHECK_EQ(join_task(echo->clients[i].task), 0);
    CHECK_EQ(atomic_load(&echo->connected), echo->connections);
    CHECK_EQ(atomic_load(&echo->finished), echo->connections);
    free(echo->clients);
}

#endif
