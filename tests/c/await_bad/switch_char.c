/* refused: duplicate case|narrow */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    BAD(switch ((unsigned char)s->kind) { case 'x':)
    RT_SELECT2(s->kind, s->r, call(cx), call(cx));
    BAD(break; })
    RT_END(s->r);
}
