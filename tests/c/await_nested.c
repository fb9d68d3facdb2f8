/* once: the macros alone. A coroutine is awaited from another one, and again, since its frame is
 * zero at its end: after RT_END and after RT_RETURN. */
#include "await.h"

struct child_frame {
    rt_frame frame;
    int64_t r, sum;
    int rounds, i;
};

/* Awaits the script so many times; returns the sum, or the first error at once. */
static int64_t child(rt_cx *cx, struct child_frame *f, struct script *s, int rounds) {
    (void)cx;
    RT_BEGIN(&f->frame);
    f->sum = 0;
    for (f->i = 0; f->i < rounds; f->i++) {
        RT_AWAIT(f->r, play(s));
        if (rt_failed(f->r)) RT_RETURN(f->r);
        f->sum += f->r;
    }
    RT_END(f->sum);
}

struct parent {
    rt_frame frame;
    struct child_frame child;
    struct script good, bad;
    int64_t first, second, third;
};

static int64_t parent(rt_cx *cx, void *state) {
    struct parent *p = state;
    RT_BEGIN(&p->frame);
    RT_AWAIT(p->first, child(cx, &p->child, &p->good, 3));
    RT_AWAIT(p->second, child(cx, &p->child, &p->bad, 3));
    RT_AWAIT(p->third, child(cx, &p->child, &p->good, 2));
    RT_END(0);
}

static void a_coroutine_is_awaited_again(void) {
    struct parent p = {.good = script(2, 10), .bad = script(1, -EIO)};
    int64_t result = RT_PENDING;
    CHECK_EQ(pendings_of(parent, &p, &result), 3 * 2 + 1 + 2 * 2);
    CHECK_EQ(result, 0);
    CHECK_EQ(p.first, 30);
    CHECK_EQ(p.second, -EIO);
    CHECK_EQ(p.third, 20);
    CHECK_EQ(p.bad.calls, 2);
    CHECK_EQ(p.child.frame.resume, 0);
}

static void a_task_may_start_over(void) {
    struct parent p = {.good = script(0, 1), .bad = script(0, -EIO)};
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(parent(no_cx, &p), 0);
        CHECK_EQ(p.good.calls, 5 * i);
    }
}

/* Given up half-way, then zeroed: it begins at its beginning. */
static void a_zeroed_frame_starts_afresh(void) {
    struct child_frame f = {.r = 0};
    struct script s = script(1, 1);
    CHECK_EQ(child(no_cx, &f, &s, 2), RT_PENDING);
    CHECK_EQ(child(no_cx, &f, &s, 2), RT_PENDING);
    CHECK_EQ(f.sum, 1);
    f = (struct child_frame){.r = 0};
    s = script(0, 5);
    CHECK_EQ(child(no_cx, &f, &s, 2), 10);
}

enum { DEPTH = 50 };

struct level {
    rt_frame frame;
    int64_t r;
};

/* Each level waits on its own account, then for the one below it. */
static int64_t descend(rt_cx *cx, struct level *levels, struct script *s, int depth) {
    struct level *l = &levels[depth];
    RT_BEGIN(&l->frame);
    RT_AWAIT(l->r, play(s));
    if (depth == 0) RT_RETURN(1);
    RT_AWAIT(l->r, descend(cx, levels, s, depth - 1));
    RT_END(l->r + 1);
}

static void coroutines_may_recurse(void) {
    struct level levels[DEPTH] = {{.r = 0}};
    struct script s = script(1, 0);
    int polls = 0;
    int64_t r;
    do r = descend(no_cx, levels, &s, DEPTH - 1), polls++;
    while (r == RT_PENDING);
    CHECK_EQ(r, DEPTH);
    CHECK_EQ(polls, DEPTH + 1);
    CHECK_EQ(s.calls, 2 * DEPTH);
    for (int i = 0; i < DEPTH; i++) CHECK_EQ(levels[i].frame.resume, 0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_coroutine_is_awaited_again);
    CASE(a_task_may_start_over);
    CASE(a_zeroed_frame_starts_afresh);
    CASE(coroutines_may_recurse);
    return test_end();
}
