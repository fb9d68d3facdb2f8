/* refused: expected|end of input */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, call(cx));
    GOOD(RT_END(s->r);)
    BAD(return s->r;)
}
