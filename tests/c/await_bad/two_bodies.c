/* refused: redefinition|redeclaration
 * A second body in one function would share the first one's frame variable. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    BAD(RT_BEGIN(&s->frame);)
    BAD(RT_AWAIT(s->r, call(cx));)
    BAD(RT_END(s->r);)
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, call(cx));
    RT_END(s->r);
}
