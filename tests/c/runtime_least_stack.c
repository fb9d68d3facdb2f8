/* The least stack that is accepted has room for what the library does on it: for the calls that take most of it, on threads of all
 * kinds. The program's thread-local data does not take it away.
 */
#include "op.h"

enum { LEAST_STACK = 64 * 1024, MANY = 64, LEN = 10 };

/* What glibc puts on each thread's stack. */
static _Thread_local volatile char local[40 * 1024];

struct deep {
    rt_frame frame;
    rt_op op;
    rt_io listener, udp, io;
    rt_addr addrs[4], at;
    rt_datagram sent[MANY], got[MANY];
    char bytes[MANY][LEN];
    size_t came;
    int64_t r;
};

static int64_t five(void *arg) {
    (void)arg;
    return 5;
}

static void open_all(struct deep *d, rt_runtime rt) {
    CHECK_EQ(rt_tcp_listen(rt, NULL, 0, NULL, &d->listener), 0);
    CHECK_EQ(rt_udp_bind(rt, "127.0.0.1", 0, NULL, &d->udp), 0);
    CHECK_EQ(rt_local_addr(d->udp, &d->at), 0);
    for (int i = 0; i < MANY; i++) {
        d->sent[i] = (rt_datagram){.buf = d->bytes[i], .len = LEN, .addr = d->at};
        d->got[i] = d->sent[i];
    }
    CHECK_EQ(rt_local_addr(d->listener, &d->at), 0);
}

static int64_t go_deep(rt_cx *cx, void *state) {
    struct deep *d = state;
    RT_BEGIN(&d->frame);
    local[0] = 1;
    open_all(d, rt_cx_runtime(cx));
    RT_AWAIT(d->r, rt_poll_send_many(cx, d->udp, d->sent, MANY));
    CHECK_EQ(d->r, MANY);
    while (d->came < MANY) {
        RT_AWAIT(d->r, rt_poll_recv_many(cx, d->udp, d->got, MANY));
        d->came += (size_t)CHECK_OK(d->r);
    }
    /* Whatever the system knows of names. */
    RT_AWAIT(d->r, rt_poll_resolve(cx, &d->op, "localhost", 1, 0, d->addrs, 4));
    RT_AWAIT(d->r, rt_poll_tcp_connect(cx, &d->op, "localhost", (uint16_t)rt_addr_port(&d->at), NULL, &d->io));
    if (d->r == 0) CHECK_EQ(rt_close(d->io), 0);
    RT_AWAIT(d->r, rt_poll_tcp_connect(cx, &d->op, "127.0.0.1", (uint16_t)rt_addr_port(&d->at), NULL, &d->io));
    CHECK_EQ(d->r, 0);
    CHECK_EQ(rt_close(d->io), 0);
    CHECK_EQ(rt_submit_call(cx, five, NULL, &d->op), 0);
    RT_AWAIT(d->r, rt_poll_op(cx, d->op));
    CHECK_EQ(d->r, 5);
    CHECK_EQ(rt_close(d->udp), 0);
    CHECK_EQ(rt_close(d->listener), 0);
    RT_END(0);
}

static void all_fit(void) {
    static struct deep d;
    rt_config config = test_config();
    config.stack_size = LEAST_STACK;
    rt_runtime rt = test_runtime_with(&config);
    memset(&d, 0, sizeof d);
    CHECK_EQ(rt_block_on(rt, go_deep, &d), 0);
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (instrumented()) SKIP("what the instruments put on a stack is not the library's");
    CASE(all_fit);
    return test_end();
}
