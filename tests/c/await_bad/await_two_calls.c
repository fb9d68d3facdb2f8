/* refused: too many arguments|no matching function */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, call(cx) BAD(, call(cx)));
    RT_END(s->r);
}
