/* A receive that waits for all it asks for, and gets a part before a reset: its outcome is the part, and the next one hears of
 * the reset, as from the kernel.
 */
#include "op.h"
#include "soon.h"

static int64_t receive(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 100, MSG_WAITALL, &s->op), 0);
    net_put(s->far, s->buf, 40);
    OP_TURNS(s, 3);
    net_reset(s->far);
    s->far = -1;
    OP_TAKE_EQ(s, 40);
    for (s->n = 0; s->n < 2; s->n++) OP_EQ(s, -ECONNRESET, rt_submit_recv(cx, s->io, s->buf, 100, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    OP_CASE(receive);
    return test_end();
}
