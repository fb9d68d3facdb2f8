/* Connecting a socket that is registered already: before, nobody is told that it is closed; then
 * it is connected, refused, waits for a full queue, or is closed midway.
 */
#include "ready.h"

#include <asyncio_await.h>
#include <stddef.h>
#include <sys/un.h>

struct dial {
    rt_io io;
    struct sockaddr_storage name;
    socklen_t len;
    atomic_int polls;
    rt_task task;
};

static int64_t dial_poll(rt_cx *cx, void *state) {
    struct dial *d = state;
    int64_t r = rt_poll_connect(cx, d->io, (struct sockaddr *)&d->name, d->len);
    atomic_fetch_add(&d->polls, 1);
    return r;
}

static bool dial_polled(void *arg) { return atomic_load(&((struct dial *)arg)->polls) > 0; }

static struct dial dial_to(rt_io io, struct sockaddr_in name) {
    struct dial d = {.io = io, .len = sizeof name};
    memcpy(&d.name, &name, sizeof name);
    return d;
}

static void dial_start(struct dial *d, rt_runtime rt) {
    CHECK_EQ(rt_spawn(rt, dial_poll, d, NULL, &d->task), 0);
    drive_until(rt, dial_polled, d);
}

/* ---- before ---- */

static void an_unconnected_socket_is_not_closed(void) {
    rt_runtime rt = test_runtime();
    rt_io io = io_of(rt, net_socket(SOCK_STREAM), RW);
    deliver(rt);
    CHECK_EQ(bits_of(io, RW) & (CLOSED_BITS | RT_ERROR), 0);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

/* A reader that waits since before the connect hears of data, and of nothing before. */
static void a_reader_may_wait_from_the_beginning(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(8);
    rt_io io = io_of(rt, net_socket(SOCK_STREAM), RW);
    struct waiter reader;
    waiter_start(&reader, rt, io, RT_READABLE);
    deliver(rt);
    CHECK(atomic_load(&reader.pending));
    struct dial d = dial_to(io, net_name(listener));
    CHECK_EQ(rt_block_on(rt, dial_poll, &d), 0);
    int accepted = net_take(listener);
    deliver(rt);
    CHECK(atomic_load(&reader.pending));
    net_put(accepted, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    CHECK_EQ(reader.got.bits, RT_READABLE);
    close(accepted);
    close(listener);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

/* The connect need not be the library's. */
static void a_reader_hears_of_a_connect_by_hand(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(8), fd = net_socket(SOCK_STREAM);
    struct sockaddr_in name = net_name(listener);
    rt_io io = io_of(rt, fd, RW);
    struct waiter reader;
    waiter_start(&reader, rt, io, RT_READABLE);
    deliver(rt);
    CHECK(atomic_load(&reader.pending));
    CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS);
    int accepted = net_take(listener);
    net_put(accepted, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    close(accepted);
    close(listener);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

/* ---- connected ---- */

static void connected_it_is_like_any_other(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    int listener = net_listen(8);
    for (int i = 0; i < scaled(50); i++) {
        rt_io io = io_of(rt, net_socket(SOCK_STREAM), RW);
        if (i % 2 == 0) deliver(rt);
        struct dial d = dial_to(io, net_name(listener));
        CHECK_EQ(rt_block_on(rt, dial_poll, &d), 0);
        CHECK_EQ(bits_of(io, RW) & (CLOSED_BITS | RT_ERROR | RT_READABLE), 0);
        CHECK_EQ(await_ready(&h, io, RT_WRITABLE).bits, RT_WRITABLE);

        char byte;
        CHECK_EQ(rt_poll_read(h.cx, io, &byte, 1), RT_PENDING);
        int accepted = net_take(listener);
        net_put(accepted, "x", 1);
        AWAIT_EQ(&h, 1, rt_poll_read(h.cx, io, &byte, 1));
        AWAIT_EQ(&h, 1, rt_poll_write(h.cx, io, "y", 1));
        CHECK_EQ(net_get(accepted, &byte, 1), 1);
        CHECK_EQ(byte, 'y');
        close(accepted);
        AWAIT_EQ(&h, 0, rt_poll_read(h.cx, io, &byte, 1));
        CHECK_EQ(rt_close(io), 0);
    }
    close(listener);
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

/* The classic way: a plain connect(2), then a wait for room, then SO_ERROR. */
static void connected_by_the_program_itself(void) {
    for (int registered_first = 0; registered_first < 2; registered_first++) {
        rt_runtime rt = test_runtime();
        struct hand h;
        hand_open(&h, rt);
        int listener = net_listen(8), fd = net_socket(SOCK_STREAM), error = -1;
        struct sockaddr_in name = net_name(listener);
        rt_io io = registered_first ? io_of(rt, fd, RW) : 0;
        CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS);
        if (!registered_first) io = io_of(rt, fd, RW);
        CHECK_EQ(await_ready(&h, io, RT_WRITABLE).bits, RT_WRITABLE);
        CHECK_SYS(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}));
        CHECK_EQ(error, 0);

        int accepted = net_take(listener);
        hand_park(&h, io, RT_READABLE);
        net_put(accepted, "x", 1);
        CHECK_EQ(await_ready(&h, io, RT_READABLE).bits, RT_READABLE);
        close(accepted);
        close(listener);
        CHECK_EQ(rt_close(io), 0);
        hand_close(&h);
        test_runtime_free(rt);
        hand_check(&h);
    }
}

/* ---- refused ---- */

static void nobody_listens(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(50); i++) {
        int deaf = net_bound(SOCK_STREAM); /* has the port, and does not listen */
        rt_io io = io_of(rt, net_socket(SOCK_STREAM), RW);
        struct dial d = dial_to(io, net_name(deaf));
        CHECK_EQ(rt_block_on(rt, dial_poll, &d), -ECONNREFUSED);
        CHECK_EQ(rt_close(io), 0);
        close(deaf);
    }
    test_runtime_free(rt);
}

static void an_impossible_address_fails_at_once(void) {
    rt_runtime rt = test_runtime();
    rt_io io = io_of(rt, net_socket(SOCK_STREAM), RW);
    struct dial d = {.io = io, .len = sizeof(struct sockaddr_in)};
    d.name.ss_family = AF_MAX;
    CHECK_EQ(rt_block_on(rt, dial_poll, &d), -EAFNOSUPPORT);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

/* ---- a full queue: the peer does not answer ---- */

/* A listener whose queue is full, so that nobody is let in until it accepts. */
static int full_listener(int fillers[2]) {
    int listener = net_full(&fillers[0]);
    struct sockaddr_in name = net_name(listener);
    fillers[1] = net_socket(SOCK_STREAM);
    CHECK_EQ(connect(fillers[1], (struct sockaddr *)&name, sizeof name), -1);
    CHECK_EQ(errno, EINPROGRESS);
    return listener;
}

static void to_a_full_queue(void (*then)(rt_runtime, struct dial *, int listener)) {
    rt_runtime rt = test_runtime();
    int fillers[2], listener = full_listener(fillers);
    struct dial d = dial_to(io_of(rt, net_socket(SOCK_STREAM), RW), net_name(listener));
    dial_start(&d, rt);
    deliver(rt);
    then(rt, &d, listener);
    for (int i = 0; i < 2; i++) close(fillers[i]);
    close(listener);
    test_runtime_free(rt);
}

static void close_midway(rt_runtime rt, struct dial *d, int listener) {
    (void)rt;
    (void)listener;
    CHECK_EQ(rt_close(d->io), 0);
    CHECK_EQ(join_task(d->task), -EBADF);
}

static void *close_it(void *arg) {
    CHECK_EQ(rt_close(*(rt_io *)arg), 0);
    return NULL;
}

static void close_midway_elsewhere(rt_runtime rt, struct dial *d, int listener) {
    (void)rt;
    (void)listener;
    on_thread(close_it, &d->io);
    CHECK_EQ(join_task(d->task), -EBADF);
}

static void abort_midway(rt_runtime rt, struct dial *d, int listener) {
    (void)listener;
    CHECK_EQ(bits_of(d->io, RW) & CLOSED_BITS, 0);
    CHECK_EQ(rt_abort(d->task), 0);
    CHECK_EQ(join_task(d->task), -ECANCELED);
    /* The connect goes on without a task; another may wait for it, or close. */
    d->polls = 0;
    dial_start(d, rt);
    CHECK_EQ(rt_close(d->io), 0);
    CHECK_EQ(join_task(d->task), -EBADF);
}

static void accept_then(rt_runtime rt, struct dial *d, int listener) {
    (void)rt;
    struct sockaddr_in mine = net_name((int)CHECK_OK(rt_io_fd(d->io)));
    struct sockaddr_in peer = {0};
    int accepted = -1;
    /* Whoever was before it in the queue: the kernel tries again after a second. */
    do {
        socklen_t len = sizeof peer;
        if (accepted >= 0) close(accepted);
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        /* The kernel may have told the client that it is connected, and then forgotten about it. */
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        if (poll(&ready, 1, 5000) == 0) {
            accepted = -1;
            break;
        }
        accepted = (int)CHECK_SYS(accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC));
    } while (peer.sin_port != mine.sin_port);
    CHECK_EQ(join_task(d->task), 0);
    if (accepted >= 0) close(accepted);
    CHECK_EQ(rt_close(d->io), 0);
}

static void closed_midway(void) { to_a_full_queue(close_midway); }
static void closed_midway_on_another_thread(void) { to_a_full_queue(close_midway_elsewhere); }
static void given_up_midway(void) { to_a_full_queue(abort_midway); }
static void let_in_late(void) { to_a_full_queue(accept_then); }

/* ---- other families ---- */

static struct dial dial_unix(rt_io io, int listener) {
    struct dial d = {.io = io, .len = sizeof d.name};
    CHECK_SYS(getsockname(listener, (struct sockaddr *)&d.name, &d.len));
    return d;
}

static void a_unix_socket(void) {
    rt_runtime rt = test_runtime();
    int listener = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    CHECK_SYS(bind(listener, (struct sockaddr *)&any, sizeof any.sun_family));
    CHECK_SYS(listen(listener, 0));

    int fds[2];
    rt_io ios[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        ios[i] = io_of(rt, fds[i], RW);
    }
    struct dial first = dial_unix(ios[0], listener), second = dial_unix(ios[1], listener);
    CHECK_EQ(rt_block_on(rt, dial_poll, &first), 0);
    /* The queue is full, and no event would tell that it no longer is: an error, not a wait. */
    CHECK_EQ(rt_block_on(rt, dial_poll, &second), -EAGAIN);
    int accepted = net_take(listener);
    CHECK_EQ(rt_block_on(rt, dial_poll, &second), 0);
    CHECK_EQ(bits_of(ios[1], RW) & CLOSED_BITS, 0);
    close(accepted);
    close(listener);
    for (int i = 0; i < 2; i++) CHECK_EQ(rt_close(ios[i]), 0);
    test_runtime_free(rt);
}

static void a_unix_path_without_a_listener(void) {
    rt_runtime rt = test_runtime();
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/asyncio"};
    struct dial d = {.io = io_of(rt, fd, RW), .len = sizeof name};
    memcpy(&d.name, &name, sizeof name);
    CHECK_EQ(rt_block_on(rt, dial_poll, &d), -ENOENT);
    CHECK_EQ(rt_close(d.io), 0);
    test_runtime_free(rt);
}

static void a_udp_socket(void) {
    rt_runtime rt = test_runtime();
    int peer = net_bound(SOCK_DGRAM);
    struct dial d = dial_to(io_of(rt, net_bound(SOCK_DGRAM), RW), net_name(peer));
    CHECK_EQ(rt_block_on(rt, dial_poll, &d), 0);
    CHECK_EQ(rt_close(d.io), 0);
    close(peer);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(an_unconnected_socket_is_not_closed);
    CASE(connected_it_is_like_any_other);
    CASE(connected_by_the_program_itself);
    CASE(nobody_listens);
    CASE(an_impossible_address_fails_at_once);
    CASE(closed_midway);
    CASE(closed_midway_on_another_thread);
    CASE(given_up_midway);
    CASE(let_in_late);
    CASE(a_unix_socket);
    CASE(a_unix_path_without_a_listener);
    CASE(a_udp_socket);
    CASE(a_reader_may_wait_from_the_beginning);
    CASE(a_reader_hears_of_a_connect_by_hand);
    return test_end();
}
