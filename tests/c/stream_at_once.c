/* A direct write beside a send that is being made: it may not come between the parts of that one, also
 * before the rest is queued. send(2) is a function of this program's, also for the library.
 */
#include "multi.h"

#include <sys/syscall.h>

enum { HEAD = 400000 };

static struct {
    int fd; /* whose next send has a write beside it; -1: nobody's */
    struct hand hand;
    rt_io io;
    int64_t said;
} beside = {.fd = -1};

ssize_t send(int fd, const void *buf, size_t n, int flags) {
    ssize_t r = syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
    int error = errno;
    if (fd == beside.fd) {
        beside.fd = -1;
        beside.said = rt_poll_write(beside.hand.cx, beside.io, "x", 1);
    }
    errno = error;
    return r;
}

static char head[HEAD];

static void write_beside(void (*connect_ends)(int[2])) {
    int ends[2];
    rt_runtime rt = test_runtime();
    connect_ends(ends);
    hand_open(&beside.hand, rt);
    beside.io = io_of(rt, ends[0], RW);
    int64_t r;
    AWAIT(&beside.hand, r, rt_poll_write(beside.hand.cx, beside.io, "a", 1));
    CHECK_EQ(r, 1);
    memset(head, 'h', sizeof head);
    beside.said = 0;
    beside.fd = ends[0];
    net_small_buffer(ends[0]);
    CHECK_EQ(rt_send(beside.io, head, HEAD), HEAD);
    CHECK_EQ(beside.said, -EBUSY);
    CHECK_EQ(beside.fd, -1);

    static char got[HEAD + 1];
    for (size_t have = 0; have < sizeof got;) {
        ssize_t n = read(ends[1], got + have, sizeof got - have);
        if (n > 0) have += (size_t)n;
        else deliver(rt);
    }
    CHECK(got[0] == 'a' && memcmp(got + 1, head, HEAD) == 0);
    AWAIT(&beside.hand, r, rt_poll_flush(beside.hand.cx, beside.io, 0));
    CHECK_EQ(r, 0);
    CHECK_EQ(rt_poll_write(beside.hand.cx, beside.io, "z", 1), 1);
    hand_close(&beside.hand);
    CHECK_EQ(rt_close(beside.io), 0);
    close(ends[1]);
    multi_runtime_free(rt);
    hand_check(&beside.hand);
}

static void over_tcp(void) { write_beside(net_pair); }
static void over_unix(void) { write_beside(net_unix_pair); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(over_tcp);
    CASE(over_unix);
    return test_end();
}
