/* Both directions of a connection ended in order, while who sent the last of what was queued has not returned: who lingers
 * hears of an end, not of a reset, though nothing is left of the connection. Who sends waits for that, because it calls
 * a waker that is ours.
 */
#include "ready.h"

#include <sys/syscall.h>

static struct scene scene;
static gate flushed, heard;
static atomic_bool is_over;

/* The library's, too. Returns when the peer has heard of it, and nothing is left. */
int shutdown(int fd, int how) {
    long r = syscall(SYS_shutdown, fd, how);
    for (struct tcp_info info = {0}; fd == scene.near && info.tcpi_state != TCP_CLOSE; sched_yield())
        CHECK_SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
    return (int)r;
}

static void *same(void *data) { return data; }
static void none(void *data) { (void)data; }

static void hold(void *data) {
    (void)data;
    gate_open(&flushed);
    gate_wait(&heard);
}

static const rt_waker_vtable holding = {same, hold, hold, none};

static void *linger(void *arg) {
    rt_cx *cx = arg;
    size_t left = 1 << 20;
    gate_wait(&flushed);
    CHECK_EQ(rt_poll_linger(cx, scene.io, &left), 0);
    atomic_store(&is_over, true);
    gate_open(&heard);
    return NULL;
}

static void *receive(void *arg) {
    (void)arg;
    char words[65536];
    while (net_get(scene.far, words, sizeof words) > 0) continue;
    return NULL;
}

static bool over(void *arg) {
    (void)arg;
    return atomic_load(&is_over);
}

static void an_end_in_order_is_no_reset(void) {
    static const char words[1 << 20];
    size_t left = 1 << 20;
    scene_open(&scene, net_pair, RW);
    atomic_store(&is_over, false);
    gate_init(&flushed);
    gate_init(&heard);
    rt_cx *cx = context_with(scene.rt, &holding, NULL);
    /* The peer's end is there, and a direct read need not wait to find it. */
    CHECK_SYS(shutdown(scene.far, SHUT_WR));
    await_bit(&scene.hand, scene.io, RT_READABLE, RT_READ_CLOSED);
    net_small_buffer(scene.near);
    CHECK_EQ(rt_send(scene.io, words, sizeof words), sizeof words);
    CHECK_EQ(rt_poll_linger(cx, scene.io, &left), RT_PENDING);
    pthread_t receiver = thread_start(receive, NULL), lingerer = thread_start(linger, cx);
    drive_until(scene.rt, over, NULL);
    thread_join(lingerer);
    thread_join(receiver);
    CHECK_EQ(rt_cx_free(cx), 0);
    scene_close(&scene);
    gate_destroy(&flushed);
    gate_destroy(&heard);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(an_end_in_order_is_no_reset);
    return test_end();
}
