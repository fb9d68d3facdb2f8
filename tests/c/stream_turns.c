/* As long as others go on sending there is always something to send. Whoever sends for them has other things to do as well.
 */
#include "multi.h"

/* Of MESSAGES in a row, others have a turn after so many at most. */
enum { MESSAGES = 20000, MOST = 1000 };

/* A chain: each message that leaves has the next one sent, from within the library's call. So one thread is enough for others that
 * never stop. Nobody's turn but the worker's is asked for: the far end is emptied in the chain as well. */
struct chain {
    struct steps steps;
    rt_cx *cx;
    int sent, in_a_row, longest;
    gate over;
};

static struct chain chain;

static void *same(void *data) { return data; }
static void nothing(void *data) { (void)data; }

static void go_on(void *data) {
    struct chain *c = data;
    net_drain(c->steps.far);
    if (++c->in_a_row > c->longest) c->longest = c->in_a_row;
    if (++c->sent == MESSAGES) {
        gate_open(&c->over);
        return;
    }
    CHECK_EQ(rt_send(c->steps.io, "x", 1), 1);
    CHECK_EQ(rt_poll_flush(c->cx, c->steps.io, 0), RT_PENDING);
}

static const rt_waker_vtable links = {same, go_on, go_on, nothing};

static void datagram_pair(int out[2]) {
    CHECK_SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static int64_t others(rt_cx *cx, void *state) {
    struct chain *c = state;
    struct steps *s = &c->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, datagram_pair);
    c->cx = context_with(rt_cx_runtime(cx), &links, c);
    net_stuff(s->near);
    CHECK_EQ(rt_send(s->io, "x", 1), 1);
    CHECK_EQ(rt_poll_flush(c->cx, s->io, 0), RT_PENDING);
    net_drain(s->far);
    while (sem_trywait(&c->over.sem) != 0) {
        c->in_a_row = 0;
        RT_YIELD(cx);
    }
    CHECK(c->longest <= MOST);
    CHECK_EQ(rt_cx_free(c->cx), 0);
    steps_close(s);
    RT_END(0);
}

static void who_sends_for_others_has_turns(void) {
    memset(&chain, 0, sizeof chain);
    gate_init(&chain.over);
    rt_config config = test_config();
    rt_runtime rt = test_runtime_with(&config);
    rt_task task = spawn_near(rt, others, &chain, 0);
    CHECK_EQ(join_task(task), 0);
    multi_runtime_free(rt);
    gate_destroy(&chain.over);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(who_sends_for_others_has_turns);
    return test_end();
}
