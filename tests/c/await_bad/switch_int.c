/* refused: duplicate case|narrow
 * An await inside a switch of one's own: its label would belong to the inner switch. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    BAD(switch (s->kind) { case 0:)
    RT_AWAIT(s->r, call(cx));
    BAD(break; })
    RT_END(s->r);
}
