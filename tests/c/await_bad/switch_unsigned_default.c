/* refused: duplicate case|narrow
 * With no label of one's own that could collide. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    BAD(switch ((unsigned)s->kind) { default:)
    RT_SELECT3(s->kind, s->r, call(cx), call(cx), call(cx));
    BAD(break; })
    RT_END(s->r);
}
