/* An attempt on a connection whose reset was told to a queued send: what the program's function returned is its result. What
 * it has read is not lost, and a number of its own is no end of the stream.
 */
#include "ready.h"
#include "soon.h"

enum { MUCH = 8 << 20 };

static char bytes[MUCH];

static int64_t take(int fd, void *arg) {
    ssize_t n = recv(fd, arg, 4, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

static int64_t take_nothing(int fd, void *arg) {
    (void)fd, (void)arg;
    return 0;
}

static void what_came_before_is_read(void) {
    struct scene s;
    char came[4] = "";
    scene_open(&s, net_pair, RW);
    CHECK_EQ(rt_send(s.io, bytes, MUCH), MUCH);
    net_put(s.far, "last", 4);
    await_ready(&s.hand, s.io, RT_READABLE);
    net_reset(s.far);
    s.far = -1;
    AWAIT_EQ(&s.hand, -ECONNRESET, rt_poll_flush(s.hand.cx, s.io, 0));
    AWAIT_EQ(&s.hand, 0, rt_poll_try(s.hand.cx, s.io, RT_READABLE, take_nothing, NULL));
    AWAIT_EQ(&s.hand, 4, rt_poll_try(s.hand.cx, s.io, RT_READABLE, take, came));
    CHECK(memcmp(came, "last", 4) == 0);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(what_came_before_is_read);
    return test_end();
}
