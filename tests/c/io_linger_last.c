/* A conversation that ends in order while who sent the last of it has not looked up yet: rt_poll_linger hears of the peer's
 * end, and not of a reset, though nothing is left of the connection. The sender is kept by the waker that it calls.
 */
#include "ready.h"
#include "soon.h"

#include <sys/syscall.h>

enum { MUCH = 1 << 20 };

static char bytes[MUCH];

/* The library's, too: it returns when the peer's kernel has heard of it. */
int shutdown(int fd, int how) {
    long r = syscall(SYS_shutdown, fd, how);
    struct tcp_info info = {.tcpi_state = TCP_CLOSE};
    do {
        socklen_t len = sizeof info;
        CHECK_SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
    } while (how == SHUT_WR && info.tcpi_state == TCP_LAST_ACK);
    return (int)r;
}

static gate drained, over;
static atomic_bool heard;

/* ---- a waker that keeps who calls it ---- */

static void *clone_it(void *data) { return data; }
static void drop_it(void *data) { (void)data; }

static void keep(void *data) {
    (void)data;
    gate_open(&drained);
    gate_wait(&over);
}

static const rt_waker_vtable keeper = {clone_it, keep, keep, drop_it};

/* ---- the conversation ---- */

static void *listen_to_all(void *arg) {
    struct scene *s = arg;
    for (size_t got = 0; got < MUCH;) {
        net_wait(s->far, POLLIN);
        got += net_drain(s->far);
    }
    return NULL;
}

static void *linger_at_once(void *arg) {
    struct scene *s = arg;
    size_t left = 1;
    gate_wait(&drained);
    CHECK_EQ(rt_poll_linger(s->hand.cx, s->io, &left), 0);
    gate_open(&over);
    atomic_store(&heard, true);
    return NULL;
}

static void an_end_in_order_is_no_reset(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    rt_cx *cx = context_with(s.rt, &keeper, NULL);
    gate_init(&drained);
    gate_init(&over);
    atomic_store(&heard, false);
    CHECK_SYS(syscall(SYS_shutdown, s.far, SHUT_WR));
    await_bit(&s.hand, s.io, RT_READABLE, RT_READ_CLOSED);
    net_small_buffer(s.near);
    CHECK_EQ(rt_send(s.io, bytes, MUCH), MUCH);
    CHECK_EQ(rt_poll_flush(cx, s.io, 0), RT_PENDING);
    pthread_t listener = thread_start(listen_to_all, &s), other = thread_start(linger_at_once, &s);
    drive_until(s.rt, flag_set, &heard);
    thread_join(listener);
    thread_join(other);
    CHECK_EQ(rt_cx_free(cx), 0);
    scene_close(&s);
    gate_destroy(&drained);
    gate_destroy(&over);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(an_end_in_order_is_no_reset);
    return test_end();
}
