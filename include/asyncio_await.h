/* Awaiting in C: a poll function that reads top to bottom.
 *
 * A task's poll function is called again and again until it returns something other than
 * RT_PENDING. These macros let it go on from where it left, in the way of a coroutine:
 *
 *     struct conn { rt_frame frame; rt_io io; int64_t n, m; size_t off; char buf[4096]; };
 *
 *     static int64_t echo(rt_cx *cx, void *p) {
 *         struct conn *c = p;
 *         RT_BEGIN(&c->frame);
 *         for (;;) {
 *             RT_AWAIT(c->n, rt_poll_read(cx, c->io, c->buf, sizeof c->buf));
 *             if (c->n <= 0) break;
 *             RT_AWAIT(c->m, rt_poll_write_all(cx, c->io, c->buf, (size_t)c->n, &c->off));
 *             if (c->m < 0) RT_RETURN(c->m);
 *         }
 *         RT_END(c->n);
 *     }
 *
 * A coroutine is any function that returns int64_t, takes an `rt_cx *` and a place with an
 * rt_frame, and has its body between RT_BEGIN and RT_END. It is awaited like the library's own
 * calls, so coroutines nest: each level has a frame of its own, best kept in the caller's state.
 *
 *     struct greet_frame { rt_frame frame; int64_t n; };
 *     int64_t greet(rt_cx *cx, struct greet_frame *f, rt_io io);
 *
 *     RT_AWAIT(c->n, greet(cx, &c->greet, c->io));
 *
 * The rules
 * 1. Locals do not survive an await. Whatever is needed after one lives in the state. A local with
 *    a value that is set before RT_BEGIN (`c` above) is computed again on every poll, and is fine.
 *    As C++ a local that would have to survive is often refused by the compiler.
 * 2. The awaited expression is evaluated once per poll, so it must be a call that may be repeated:
 *    a rt_poll_* function or a coroutine. Keep what it starts, submits or counts out of it, and
 *    what is another value each time: a time such as rt_now() + timeout is computed before, and
 *    kept in the state, or it would be put off by every poll.
 * 3. Awaits may stand in loops, blocks and branches, but not in a `switch` of your own: there the
 *    compiler refuses them. (Only over a 64-bit value it cannot tell; then resuming traps.)
 * 4. `break` outside of a loop and a plain `return` are not the way out: the former traps, the
 *    latter leaves the frame where it was. Use RT_RETURN, or reach RT_END.
 * 5. Nothing is cleaned up behind a coroutine that will not be resumed, because its task was
 *    aborted or it lost an RT_SELECT for good. What it holds lives in the state, and the task's
 *    drop function releases it, wherever the coroutine was; zero handles may be released too.
 *    To use such a frame for a new start, zero it.
 * 6. A frame belongs to one coroutine and to one task, and is zero before it starts. A frame with
 *    anything else in it traps; only that of a coroutine in another source file can pass for one's
 *    own. The body must be compiled once: not inline in a shared header.
 *
 * Everything here is standard C11 and C++17, apart from __COUNTER__ and __builtin_trap, which gcc
 * and clang have.
 */
#ifndef ASYNCIO_AWAIT_H
#define ASYNCIO_AWAIT_H

#include <stdint.h>

#include "asyncio.h"

/* Where a coroutine goes on. Zero: at its beginning; it is zero again once it has ended. */
typedef struct rt_frame {
    uint64_t resume;
} rt_frame;

/* RT_BEGIN(frame) opens the body of a coroutine: `frame` is a `rt_frame *`, evaluated once a poll.
 * Once to a function, in its outermost block. Traps if the frame is not this coroutine's, which it
 * can tell of the coroutines of its own source file. */
#define RT_BEGIN(frame)                                                                            \
    rt_frame *const rt_frame_ = (frame);                                                           \
    switch (rt_frame_->resume) {                                                                   \
    default:                                                                                       \
        __builtin_trap();                                                                          \
    case 0:

/* RT_AWAIT(var, call) evaluates `call`. While it is RT_PENDING the coroutine returns RT_PENDING,
 * and its next poll starts with the call; otherwise the result, an error too, goes to `var`. A
 * result that is ready at once does not suspend. `var` may be narrower than int64_t when the
 * results of the call fit. */
#define RT_AWAIT(var, ...) RT_AWAIT_AT_(RT_POINT_(__COUNTER__), var, __VA_ARGS__)

/* RT_AWAIT_OP(var, cx, op, submit) submits an operation, once, and awaits its outcome: `submit` is a
 * rt_submit_* call that puts the handle into `op`, which lives in the state. A submission that fails
 * is the outcome. */
#define RT_AWAIT_OP(var, cx, op, ...)                                                              \
    do {                                                                                           \
        int64_t rt_begun_; /* in C++ a case must not be past its first value */                    \
        rt_begun_ = rt_one_(__VA_ARGS__);                                                          \
        (var) = rt_begun_;                                                                         \
        if (rt_begun_ == 0) RT_AWAIT(var, rt_poll_op(cx, op));                                     \
    } while (0)

/* RT_YIELD(cx) lets the other tasks run, and goes on in a later poll. Where rt_yield fails, the
 * coroutine goes on at once. */
#define RT_YIELD(cx) RT_YIELD_AT_(RT_POINT_(__COUNTER__), cx)

/* RT_SELECT2(which, var, a, b), and so on to four, awaits the first of several calls that is ready:
 * its result goes to `var`, its place, counted from 0, to `which`. They are asked in the order in
 * which they are written, and when one is ready those after it are not called at all, so nothing is
 * taken from them. Those before it were pending; they may be awaited again later, or not (rule 5),
 * and may wake the task once more for nothing. A call with a comma outside of parentheses wants
 * parentheses of its own, except in the last place. */
#define RT_SELECT2(which, var, a, ...)                                                             \
    RT_SELECT_AT_(RT_POINT_(__COUNTER__), which, var,                                              \
                  RT_READY_(0, a) || RT_READY_(1, __VA_ARGS__))
#define RT_SELECT3(which, var, a, b, ...)                                                          \
    RT_SELECT_AT_(RT_POINT_(__COUNTER__), which, var,                                              \
                  RT_READY_(0, a) || RT_READY_(1, b) || RT_READY_(2, __VA_ARGS__))
#define RT_SELECT4(which, var, a, b, c, ...)                                                       \
    RT_SELECT_AT_(RT_POINT_(__COUNTER__), which, var,                                              \
                  RT_READY_(0, a) || RT_READY_(1, b) || RT_READY_(2, c) ||                         \
                      RT_READY_(3, __VA_ARGS__))

/* RT_RETURN(value) ends the coroutine from anywhere in its body: it returns `value`, which must not
 * be RT_PENDING, and may then be started again with the same frame. */
#define RT_RETURN(...)                                                                             \
    do {                                                                                           \
        const int64_t rt_value_ = rt_one_(__VA_ARGS__);                                            \
        rt_frame_->resume = 0;                                                                     \
        return rt_value_;                                                                          \
    } while (0)

/* RT_END(value) closes the body; reaching it is RT_RETURN(value). Nothing follows it. */
#define RT_END(...)                                                                                \
    RT_RETURN(__VA_ARGS__);                                                                        \
    }                                                                                              \
    __builtin_trap()

/* ---- what they are made of: not for direct use ---- */

/* Above every 32-bit value; and another one each time in a source file, so that two may share a line
 * and a foreign frame is noticed. */
#define RT_POINT_(n) (UINT64_C(0x7274000000000000) + (n))

/* The second label is for the compiler. In a `switch` over an int the two are the same, which is an
 * error, where one that is too large is a warning in C. */
#define RT_LABEL_(point)                                                                           \
    case point:                                                                                    \
    case (point) + (UINT64_C(1) << 32):;

/* A whole result, whatever the variable is that takes it; and only one: a call too many is an error
 * here, where a comma operator would lose the first one's result. */
static inline int64_t rt_one_(int64_t value) { return value; }

/* The `if (0)` keeps the case label from being fallen into: for the compiler, there is no way to it
 * but the jump. */
#define RT_AWAIT_AT_(point, var, ...)                                                              \
    do {                                                                                           \
        int64_t rt_value_;                                                                         \
        if (0) {                                                                                   \
        RT_LABEL_(point)                                                                           \
        }                                                                                          \
        rt_value_ = rt_one_(__VA_ARGS__);                                                          \
        if (rt_value_ == RT_PENDING) {                                                             \
            rt_frame_->resume = point;                                                             \
            return RT_PENDING;                                                                     \
        }                                                                                          \
        (var) = rt_value_;                                                                         \
    } while (0)

#define RT_YIELD_AT_(point, cx)                                                                    \
    do {                                                                                           \
        if (rt_yield(cx) == RT_PENDING) {                                                          \
            rt_frame_->resume = point;                                                             \
            return RT_PENDING;                                                                     \
        RT_LABEL_(point)                                                                           \
        }                                                                                          \
    } while (0)

#define RT_READY_(place, ...)                                                                      \
    (rt_which_ = (place), (rt_value_ = rt_one_(__VA_ARGS__)) != RT_PENDING)

#define RT_SELECT_AT_(point, which, var, ...)                                                      \
    do {                                                                                           \
        int rt_which_;                                                                             \
        int64_t rt_value_;                                                                         \
        if (0) {                                                                                   \
        RT_LABEL_(point)                                                                           \
        }                                                                                          \
        if (!(__VA_ARGS__)) {                                                                      \
            rt_frame_->resume = point;                                                             \
            return RT_PENDING;                                                                     \
        }                                                                                          \
        (which) = rt_which_;                                                                       \
        (var) = rt_value_;                                                                         \
    } while (0)

#endif
