/* Fifty thousand connections that are reset by those who made them: before they are accepted, after,
 * and in the middle of an echo. All of them are over in the end, none is left in any table, and who
 * is polite in between is served.
 */
#include "multi.h"
#include "serve.h"

enum { CONNECTS = 50000, CLIENTS = 4 };

/* For each of the cases. One thread that does everything is given a fifth of it. */
static int connects(void) { return scaled(CONNECTS / 2) / (current_thread() ? 5 : 1); }

/* ---- clients ---- */

struct client {
    struct sockaddr_in name;
    int count, number;
};

static int dial(struct client *c) {
    for (;;) {
        int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (connect(fd, (struct sockaddr *)&c->name, sizeof c->name) == 0) return fd;
        /* A backlog that is full of the dead resets, and the ports are not endless. */
        CHECK(errno == ECONNRESET || errno == EADDRNOTAVAIL || errno == ETIMEDOUT);
        close(fd);
        sched_yield();
    }
}

static void *abort_many(void *arg) {
    struct client *c = arg;
    for (int i = 0; i < c->count; i++) {
        int fd = dial(c);
        switch ((i + c->number) % 5) {
        case 0: break;
        case 1: CHECK_EQ(CHECK_SYS(send(fd, "half a word", 11, MSG_NOSIGNAL)), 11); break;
        case 2: client_echo(fd, i); break;
        case 3:
            net_put(fd, "x", 1);
            CHECK_EQ(net_get(fd, &(char){0}, 1), 1);
            net_put(fd, "y", 1);
            break;
        default: CHECK_SYS(shutdown(fd, SHUT_WR));
        }
        net_reset(fd);
    }
    return NULL;
}

static void clients_run(struct sockaddr_in name, int count) {
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){name, count / CLIENTS, i};
        threads[i] = thread_start(abort_many, &clients[i]);
    }
    for (int i = 0; i < CLIENTS; i++) thread_join(threads[i]);
}

/* ---- a server ---- */

static void against_a_site(site *s, int count) {
    clients_run(*(struct sockaddr_in *)&s->name, count);
}

static void a_server(void) {
    site s = {0};
    rt_serve_opts opts = site_opts();
    site_start(&s, &opts);
    crowd_run(&s, against_a_site, connects());
    drive_until(s.rt, site_none_live, &s);
    /* Linux hands connections over that were reset in the queue; none is counted twice. */
    CHECK(site_stats(&s).accepted <= (uint64_t)connects());
    CHECK_EQ(metrics(s.rt).ios_live, 1);
    site_end(&s);
}

/* ---- operations with many results ---- */

struct acceptor {
    rt_frame frame;
    rt_io listener, conn;
    rt_op op;
    int64_t r;
    atomic_bool *done;
};

struct talk {
    rt_frame frame;
    rt_io io;
    rt_op op;
    rt_buf lease;
    int64_t r;
};

static int64_t talk(rt_cx *cx, void *state) {
    struct talk *t = state;
    RT_BEGIN(&t->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, t->io, &t->op), 0);
    for (;;) {
        RT_AWAIT(t->r, rt_poll_recv_next(cx, t->op, &t->lease));
        if (t->r <= 0) break;
        t->r = rt_send_buf(t->io, &t->lease);
        if (t->r < 0) {
            CHECK_EQ(rt_buf_release(t->lease.lease), 0);
            break;
        }
    }
    CHECK(t->r == 0 || t->r == -ECONNRESET || t->r == -EPIPE);
    RT_END(0);
}

static void talk_drop(void *state) {
    struct talk *t = state;
    CHECK_EQ(rt_close(t->io), 0);
    free(t);
}

static int64_t accept_all(rt_cx *cx, void *state) {
    struct acceptor *a = state;
    RT_BEGIN(&a->frame);
    CHECK_EQ(rt_submit_accept_multi(cx, a->listener, &a->op), 0);
    for (;;) {
        RT_AWAIT(a->r, rt_poll_accept_next(cx, a->op, &a->conn));
        if (a->r == -ECANCELED) break;
        CHECK_EQ(a->r, 0);
        struct talk *t = calloc(1, sizeof *t);
        CHECK(t != NULL);
        t->io = a->conn;
        CHECK_EQ(rt_spawn(rt_cx_runtime(cx), talk, t, talk_drop, NULL), 0);
    }
    RT_END(0);
}

struct script {
    struct sockaddr_in name;
    atomic_bool done;
};

static void *run_clients(void *arg) {
    struct script *s = arg;
    clients_run(s->name, connects());
    atomic_store(&s->done, true);
    return NULL;
}

static void operations(void) {
    struct script script = {.done = false};
    rt_runtime rt = test_runtime();
    int fd = net_listen(256);
    script.name = net_name(fd);
    struct acceptor a = {.listener = io_of(rt, fd, RT_READABLE)};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, accept_all, &a, NULL, &task), 0);
    pthread_t thread = thread_start(run_clients, &script);
    drive_until(rt, flag_set, &script.done);
    thread_join(thread);
    CHECK_EQ(rt_close(a.listener), 0);
    CHECK_EQ(join_task(task), 0);
    multi_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_server);
    CASE(operations);
    return test_end();
}
