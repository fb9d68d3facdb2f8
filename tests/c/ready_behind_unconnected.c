/* A socket without a connection was closed behind the library, and its number is a stranger's: no
 * event has told, and yet the stranger's descriptor is left alone. */
#include "ready.h"

static int fresh_stream(void) { return net_socket(SOCK_STREAM); }
static int fresh_datagram(void) { return net_socket(SOCK_DGRAM); }
static int listening(void) { return net_listen(1); }
static int null_device(void) { return (int)CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

static int (*const sockets[])(void) = {fresh_stream, fresh_datagram, listening};
static int (*const strangers[])(void) = {null_device, fresh_stream, fresh_datagram};

enum { SOCKETS = sizeof sockets / sizeof sockets[0] };
enum { STRANGERS = sizeof strangers / sizeof strangers[0] };

/* Registers a socket, closes it, and gives its number to a stranger. */
static rt_io taken_over(rt_runtime rt, int pair, int *fd, struct stat *stranger) {
    *fd = sockets[pair % SOCKETS]();
    rt_io io = io_of(rt, *fd, RW);
    close(*fd);
    int other = strangers[pair / SOCKETS]();
    if (other != *fd) {
        CHECK_SYS(dup3(other, *fd, O_CLOEXEC));
        close(other);
    }
    *stranger = net_identity(*fd);
    return io;
}

static void a_release_spares_the_stranger(int64_t (*release)(rt_io), bool told) {
    rt_runtime rt = test_runtime();
    for (int pair = 0; pair < SOCKETS * STRANGERS; pair++) {
        int fd;
        struct stat stranger;
        rt_io io = taken_over(rt, pair, &fd, &stranger);
        CHECK_EQ(release(io), told ? -EBADF : 0);
        CHECK(net_is_still(fd, &stranger));
        CHECK_EQ(rt_io_fd(io), -EBADF);
        close(fd);
    }
    test_runtime_free(rt);
}

static void close_spares_it(void) { a_release_spares_the_stranger(rt_close, true); }
static void deregister_spares_it(void) { a_release_spares_the_stranger(rt_deregister, true); }
static void forget_spares_it(void) { a_release_spares_the_stranger(rt_forget, false); }

static void freeing_the_runtime_spares_it(void) {
    for (int pair = 0; pair < SOCKETS * STRANGERS; pair++) {
        rt_runtime rt = test_runtime();
        int fd;
        struct stat stranger;
        taken_over(rt, pair, &fd, &stranger);
        CHECK_EQ(rt_free(rt), 0);
        CHECK(net_is_still(fd, &stranger));
        close(fd);
    }
}

/* While one that was not touched is closed, by either. */
static void its_own_are_closed(void) {
    rt_runtime rt = test_runtime();
    int fds[2 * SOCKETS];
    for (int i = 0; i < 2 * SOCKETS; i++) {
        fds[i] = sockets[i % SOCKETS]();
        rt_io io = io_of(rt, fds[i], RW);
        if (i < SOCKETS) CHECK_EQ(rt_close(io), 0);
        if (i < SOCKETS) CHECK(!net_is_open(fds[i]));
    }
    CHECK_EQ(rt_free(rt), 0);
    for (int i = 0; i < 2 * SOCKETS; i++) CHECK(!net_is_open(fds[i]));
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(close_spares_it);
    CASE(deregister_spares_it);
    CASE(forget_spares_it);
    CASE(freeing_the_runtime_spares_it);
    CASE(its_own_are_closed);
    return test_end();
}
