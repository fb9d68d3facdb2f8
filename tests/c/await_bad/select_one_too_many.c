/* refused: too many arguments|no matching function
 * A comma operator would take one call and lose its result. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    RT_SELECT4(s->kind, s->r, call(cx), call(cx), call(cx), call(cx) BAD(, call(cx)));
    RT_END(s->r);
}
