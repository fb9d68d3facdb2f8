/* Accepting: every connection once, with the flags that the contract gives it; several tasks on one
 * listener; peers that gave up; a listener that is closed while tasks wait.
 */
#include "ready.h"

#include <asyncio_await.h>

static int local_listener(int backlog, struct sockaddr_in *name) {
    int fd = net_listen(backlog);
    *name = net_name(fd);
    return fd;
}

static void the_accepted_one_is_ready_to_use(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    int fd = net_listen(8);
    rt_io listener = io_of(rt, fd, RT_READABLE), io = 7;
    CHECK_EQ(rt_poll_accept(h.cx, listener, &io), RT_PENDING);
    int client = net_dial(fd);
    AWAIT_EQ(&h, 0, rt_poll_accept(h.cx, listener, &io));

    int accepted = (int)CHECK_OK(rt_io_fd(io));
    CHECK(fcntl(accepted, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(accepted, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(metrics(rt).ios_live, 2);
    CHECK_EQ(await_ready(&h, io, RT_WRITABLE).bits, RT_WRITABLE);
    CHECK_EQ(bits_of(io, RW), RT_WRITABLE);

    char text[4];
    CHECK_EQ(rt_poll_read(h.cx, io, text, 4), RT_PENDING);
    net_put(client, "ping", 4);
    AWAIT_EQ(&h, 4, rt_poll_read(h.cx, io, text, 4));
    AWAIT_EQ(&h, 4, rt_poll_write(h.cx, io, text, 4));
    CHECK_EQ(net_get(client, text, 4), 4);
    CHECK_EQ(rt_close(io), 0);
    CHECK(!net_is_open(accepted));
    CHECK_EQ(net_get(client, text, 1), 0);
    close(client);
    CHECK_EQ(rt_close(listener), 0);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

/* ---- many, by several tasks ---- */

enum { CLIENTS = 200, ACCEPTORS = 3 };

struct acceptor {
    rt_frame frame;
    rt_io listener, io;
    atomic_int *accepted;
    rt_task task;
    int64_t r;
};

/* Tells each client by a byte that it was accepted, and is done with it. */
static int64_t accept_until_closed(rt_cx *cx, void *state) {
    struct acceptor *a = state;
    RT_BEGIN(&a->frame);
    for (;;) {
        RT_AWAIT(a->r, rt_poll_accept(cx, a->listener, &a->io));
        if (a->r != 0) break;
        RT_AWAIT(a->r, rt_poll_write(cx, a->io, "!", 1));
        CHECK_EQ(a->r, 1);
        CHECK_EQ(rt_close(a->io), 0);
        atomic_fetch_add(a->accepted, 1);
    }
    RT_END(a->r);
}

static void start_acceptors(struct acceptor *acceptors, rt_runtime rt, rt_io listener,
                            atomic_int *accepted) {
    for (int i = 0; i < ACCEPTORS; i++) {
        acceptors[i] = (struct acceptor){.listener = listener, .accepted = accepted};
        CHECK_EQ(rt_spawn(rt, accept_until_closed, &acceptors[i], NULL, &acceptors[i].task), 0);
    }
}

static void *dial_many(void *arg) {
    struct sockaddr_in *name = arg;
    for (int i = 0; i < CLIENTS; i++) {
        int fd = net_socket(SOCK_STREAM);
        net_set_nonblock(fd, false);
        CHECK_SYS(connect(fd, (struct sockaddr *)name, sizeof *name));
        char byte;
        CHECK_EQ(net_get(fd, &byte, 1), 1);
        CHECK_EQ(net_get(fd, &byte, 1), 0);
        close(fd);
    }
    return NULL;
}

static bool all_accepted(void *arg) { return atomic_load((atomic_int *)arg) == CLIENTS; }

static void several_tasks_on_one_listener(void) {
    rt_runtime rt = test_runtime();
    struct sockaddr_in name;
    rt_io listener = io_of(rt, local_listener(64, &name), RT_READABLE);
    atomic_int accepted = 0;
    struct acceptor acceptors[ACCEPTORS];
    start_acceptors(acceptors, rt, listener, &accepted);
    pthread_t clients = thread_start(dial_many, &name);
    drive_until(rt, all_accepted, &accepted);
    thread_join(clients);
    CHECK_EQ(rt_close(listener), 0);
    for (int i = 0; i < ACCEPTORS; i++) CHECK_EQ(join_task(acceptors[i].task), -EBADF);
    test_runtime_free(rt);
}

static void a_full_queue_is_emptied_by_one_event(void) {
    enum { QUEUED = 60 };
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    int fd = net_listen(QUEUED), clients[QUEUED];
    rt_io listener = io_of(rt, fd, RT_READABLE), ios[QUEUED];
    for (int i = 0; i < QUEUED; i++) clients[i] = net_dial(fd);
    await_ready(&h, listener, RT_READABLE);
    deliver(rt);
    for (int i = 0; i < QUEUED; i++) AWAIT_EQ(&h, 0, rt_poll_accept(h.cx, listener, &ios[i]));
    rt_io none = 7;
    CHECK_EQ(rt_poll_accept(h.cx, listener, &none), RT_PENDING);
    for (int i = 0; i < QUEUED; i++) {
        CHECK_EQ(rt_close(ios[i]), 0);
        close(clients[i]);
    }
    CHECK_EQ(rt_close(listener), 0);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

/* ---- peers that are gone before they are accepted ---- */

static void a_reset_in_the_queue_does_not_stop_the_listener(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    int fd = net_listen(8);
    rt_io listener = io_of(rt, fd, RT_READABLE), io;
    for (int i = 0; i < 20; i++) {
        net_reset(net_dial(fd));
        int client = net_dial(fd);
        char byte;
        int64_t r;
        /* The dead one comes first, unless the kernel passes it over. */
        AWAIT_EQ(&h, 0, rt_poll_accept(h.cx, listener, &io));
        net_put(client, "x", 1);
        AWAIT(&h, r, rt_poll_read(h.cx, io, &byte, 1));
        if (r != 1) {
            CHECK_EQ(r, -ECONNRESET);
            CHECK_EQ(rt_close(io), 0);
            AWAIT_EQ(&h, 0, rt_poll_accept(h.cx, listener, &io));
            AWAIT_EQ(&h, 1, rt_poll_read(h.cx, io, &byte, 1));
        }
        CHECK_EQ(rt_close(io), 0);
        close(client);
    }
    CHECK_EQ(rt_close(listener), 0);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

/* ---- the end of the listener ---- */

static void *close_it(void *arg) {
    CHECK_EQ(rt_close(*(rt_io *)arg), 0);
    return NULL;
}

static void closing_the_listener_ends_the_wait(void) {
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        rt_runtime rt = test_runtime();
        struct sockaddr_in name;
        int fd = local_listener(8, &name);
        rt_io listener = io_of(rt, fd, RT_READABLE);
        atomic_int accepted = 0;
        struct acceptor acceptors[ACCEPTORS];
        start_acceptors(acceptors, rt, listener, &accepted);
        deliver(rt);
        if (elsewhere) on_thread(close_it, &listener);
        else close_it(&listener);
        for (int i = 0; i < ACCEPTORS; i++) CHECK_EQ(join_task(acceptors[i].task), -EBADF);
        CHECK(!net_is_open(fd));

        /* And the port is nobody's. */
        int client = net_socket(SOCK_STREAM);
        net_set_nonblock(client, false);
        CHECK_EQ(connect(client, (struct sockaddr *)&name, sizeof name), -1);
        CHECK_EQ(errno, ECONNREFUSED);
        close(client);
        test_runtime_free(rt);
    }
}

static void a_listener_that_is_shut_down_is_an_error(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    int fd = net_listen(8);
    rt_io listener = io_of(rt, fd, RT_READABLE), io = 0;
    CHECK_EQ(rt_poll_accept(h.cx, listener, &io), RT_PENDING);
    CHECK_SYS(shutdown(fd, SHUT_RDWR));
    AWAIT_EQ(&h, -EINVAL, rt_poll_accept(h.cx, listener, &io));
    CHECK_EQ(io, 0);
    CHECK_EQ(rt_close(listener), 0);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_accepted_one_is_ready_to_use);
    CASE(several_tasks_on_one_listener);
    CASE(a_full_queue_is_emptied_by_one_event);
    CASE(a_reset_in_the_queue_does_not_stop_the_listener);
    CASE(closing_the_listener_ends_the_wait);
    CASE(a_listener_that_is_shut_down_is_an_error);
    return test_end();
}
