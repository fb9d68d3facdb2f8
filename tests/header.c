/* What a user's first file does, and all that a header must survive in C and in C++. */
#include <asyncio.h>
#include <asyncio.h>
#include <asyncio_await.h>

/* Each macro, with results that are narrower, in loops and beside each other. */
struct all { rt_frame frame; rt_op op; rt_timer timer; int64_t r; int n, which; rt_io io; char byte; };

int64_t all_of_them(rt_cx *cx, void *state);
int64_t all_of_them(rt_cx *cx, void *state) {
    struct all *a = (struct all *)state;
    RT_BEGIN(&a->frame);
    for (a->n = 0; a->n < 2; a->n++) {
        RT_AWAIT_OP(a->r, cx, a->op, rt_submit_fsync(cx, a->io, &a->op));
        if (a->r < 0) RT_RETURN(a->r);
    }
    RT_AWAIT_OP(a->n, cx, a->op, rt_submit_fsync(cx, a->io, &a->op)); RT_AWAIT(a->n, rt_poll_timer(cx, a->timer));
    RT_YIELD(cx);
    RT_SELECT2(a->which, a->r, rt_poll_timer(cx, a->timer), rt_poll_read(cx, a->io, &a->byte, 1));
    RT_SELECT3(a->which, a->r, rt_poll_op(cx, a->op), rt_poll_timer(cx, a->timer), rt_poll_read(cx, a->io, &a->byte, 1));
    RT_SELECT4(a->which, a->r, rt_poll_op(cx, a->op), rt_poll_op(cx, a->op), rt_poll_timer(cx, a->timer),
               rt_poll_read(cx, a->io, &a->byte, 1));
    RT_END(0);
}
