/* refused: rt_frame_
 * An await in a function that is no coroutine. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    GOOD(RT_BEGIN(&s->frame);)
    RT_AWAIT(s->r, call(cx));
    GOOD(RT_END(s->r);)
    BAD(return s->r;)
}
