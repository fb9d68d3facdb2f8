/* A watch that is closed from elsewhere: its end, which its task may come to at the same time, gives the descriptor away
 * when it has left the driver's set, and not before. Leaving takes a while, because the call for it is made here.
 */
#include "watch.h"

#include <sys/epoll.h>
#include <sys/syscall.h>

static atomic_int leaving = -1; /* whose way out takes long */
static gate gone;

/* The library's, too. */
int epoll_ctl(int set, int op, int fd, struct epoll_event *event) {
    /* What must not happen meanwhile may be waited for in vain. */
    if (op == EPOLL_CTL_DEL && fd == atomic_load(&leaving)) gate_wait_for(&gone, 200000000);
    return (int)syscall(SYS_epoll_ctl, set, op, fd, event);
}

static struct {
    rt_runtime rt;
    rt_watch watch;
    int number, far;
    rt_io io;
    atomic_bool closed, used;
} next;

static void nothing_comes(void *arg, int fd, uint32_t ready) {
    (void)arg, (void)fd, (void)ready;
    CHECK(false);
}

/* The number becomes another descriptor's, which the runtime watches as well. */
static void use_the_number(void *arg) {
    int ends[2];
    (void)arg;
    net_unix_pair(ends);
    CHECK_SYS(dup3(ends[0], next.number, O_CLOEXEC));
    close(ends[0]);
    next.far = ends[1];
    next.io = io_of(next.rt, next.number, RT_READABLE);
    atomic_store(&next.used, true);
    gate_open(&gone);
}

static void *close_the_watch(void *arg) {
    (void)arg;
    CHECK_EQ(rt_watch_close(next.watch), 0);
    atomic_store(&next.closed, true);
    return NULL;
}

static bool is_over(void *arg) {
    (void)arg;
    return atomic_load(&next.closed) && atomic_load(&next.used);
}

static void whoever_gets_the_number_is_heard(void) {
    struct hand hand;
    int ends[2];
    next.rt = test_runtime();
    atomic_store(&next.closed, false);
    atomic_store(&next.used, false);
    gate_init(&gone);
    net_unix_pair(ends);
    next.number = ends[0];
    CHECK_EQ(rt_watch_open(next.rt, 0, ends[0], nothing_comes, NULL, use_the_number, &next.watch), 0);
    CHECK_EQ(rt_watch_for(next.watch, RT_READABLE), 0);
    deliver(next.rt); /* it waits */
    atomic_store(&leaving, next.number);
    pthread_t closer = thread_start(close_the_watch, NULL);
    drive_until(next.rt, is_over, NULL);
    thread_join(closer);
    atomic_store(&leaving, -1);
    net_put(next.far, "x", 1);
    hand_open(&hand, next.rt);
    CHECK_EQ(await_ready(&hand, next.io, RT_READABLE).bits, RT_READABLE);
    hand_close(&hand);
    CHECK_EQ(rt_close(next.io), 0);
    close(next.far);
    close(ends[1]);
    test_runtime_free(next.rt);
    hand_check(&hand);
    gate_destroy(&gone);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(whoever_gets_the_number_is_heard);
    return test_end();
}
