/* refused with -Werror: rt_frame
 * The state instead of the frame in it. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(GOOD(&s->frame) BAD(s));
    RT_AWAIT(s->r, call(cx));
    RT_END(s->r);
}
