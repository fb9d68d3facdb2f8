/* refused: void */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, GOOD(call(cx)) BAD(no_result(cx)));
    RT_END(s->r);
}
