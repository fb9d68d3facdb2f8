/* refused in C++: jump|cross
 * A local that would have to survive: C jumps past its value, C++ does not. */
#include "bad.h"

static int64_t body(rt_cx *cx, struct state *s) {
    RT_BEGIN(&s->frame);
    int before GOOD(; before) = s->kind;
    s->kind = before + 1;
    RT_AWAIT(s->r, call(cx));
    RT_END(s->r);
}
