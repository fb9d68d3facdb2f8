/* refused: duplicate case|narrow */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    BAD(switch ((enum colour)s->kind) { case RED:)
    RT_YIELD(cx);
    BAD(break; case GREEN: break; })
    RT_END(s->r);
}
