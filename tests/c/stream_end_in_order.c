/* Both directions of a connection ended in order, and the call that ended ours has not returned yet: who receives hears of an
 * end, not of a reset, though nothing is left of the connection. The call waits for that, because it is made here.
 */
#include "ready.h"

#include <asyncio_await.h>

#include <sys/syscall.h>

static struct scene scene;
static gate shut, heard;

/* The library's, too. */
int shutdown(int fd, int how) {
    long r = syscall(SYS_shutdown, fd, how);
    gate_open(&shut);
    gate_wait(&heard);
    return (int)r;
}

static void *receive_the_end(void *arg) {
    struct scene *s = arg;
    struct pollfd near = {.fd = s->near};
    char byte;
    gate_wait(&shut);
    net_wait(s->far, POLLIN);
    CHECK_EQ(read(s->far, &byte, 1), 0);
    close(s->far);
    s->far = -1;
    CHECK_EQ(CHECK_SYS(poll(&near, 1, -1)), 1); /* of both directions */
    CHECK_EQ(rt_poll_read(s->hand.cx, s->io, &byte, 1), 1);
    CHECK_EQ(rt_poll_read(s->hand.cx, s->io, &byte, 1), 0);
    gate_open(&heard);
    return NULL;
}

struct ending {
    rt_frame frame;
    rt_op op;
    int64_t r;
};

static int64_t end_ours(rt_cx *cx, void *state) {
    struct ending *e = state;
    RT_BEGIN(&e->frame);
    CHECK_EQ(rt_submit_shutdown(cx, scene.io, SHUT_WR, &e->op), 0);
    RT_AWAIT(e->r, rt_poll_op(cx, e->op));
    RT_END(e->r);
}

static void an_end_in_order_is_no_reset(void) {
    struct ending e = {0};
    scene_open(&scene, net_pair, RW);
    gate_init(&shut);
    gate_init(&heard);
    /* A read of as much as it asks for leaves the descriptor ready. */
    net_put(scene.far, "x", 1);
    await_ready(&scene.hand, scene.io, RT_READABLE);
    pthread_t receiver = thread_start(receive_the_end, &scene);
    CHECK_EQ(rt_block_on(scene.rt, end_ours, &e), 0);
    thread_join(receiver);
    scene_close(&scene);
    gate_destroy(&shut);
    gate_destroy(&heard);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(an_end_in_order_is_no_reset);
    return test_end();
}
