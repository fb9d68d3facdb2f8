/* once: the macros alone. A coroutine goes on from where it left: at the call that was pending, in
 * whatever block or loop that stands, with nothing done twice. */
#include "await.h"

struct trace {
    rt_frame frame;
    struct script a, b;
    int64_t r, i;
    char text[64];
    size_t len;
};

static void note(struct trace *t, char c) {
    CHECK(t->len + 1 < sizeof t->text);
    t->text[t->len++] = c;
}

static void expect(rt_poll_fn poll, struct trace *t, int pendings, const char *text) {
    int64_t result = RT_PENDING;
    CHECK_EQ(pendings_of(poll, t, &result), pendings);
    CHECK_EQ(result, 42);
    CHECK_EQ(t->frame.resume, 0);
    if (strcmp(t->text, text) != 0) fprintf(stderr, "trace: %s, wanted: %s\n", t->text, text);
    CHECK(strcmp(t->text, text) == 0);
}

static int64_t straight(rt_cx *cx, void *p) {
    struct trace *t = p;
    (void)cx;
    RT_BEGIN(&t->frame);
    note(t, '1');
    RT_AWAIT(t->r, play(&t->a));
    note(t, '2');
    RT_AWAIT(t->r, play(&t->b));
    note(t, '3');
    RT_END(42);
}

static void what_is_ready_does_not_suspend(void) {
    struct trace t = {.a = script(0, 1), .b = script(0, -EPIPE)};
    expect(straight, &t, 0, "123");
    CHECK_EQ(t.r, -EPIPE); /* an error is a result like any other */
    CHECK_EQ(t.a.calls, 1);
    CHECK_EQ(t.b.calls, 1);
}

static void nothing_is_done_twice(void) {
    struct trace t = {.a = script(2, 1), .b = script(3, 2)};
    expect(straight, &t, 5, "123");
    CHECK_EQ(t.a.calls, 3); /* once a poll, and none after its result */
    CHECK_EQ(t.b.calls, 4);
    CHECK_EQ(t.r, 2);
}

static int64_t one_line(rt_cx *cx, void *p) {
    struct trace *t = p;
    (void)cx;
    RT_BEGIN(&t->frame);
    RT_AWAIT(t->r, play(&t->a)); note(t, 'a'); RT_AWAIT(t->r, play(&t->b)); note(t, 'b');
    RT_END(42);
}

static void two_awaits_share_a_line(void) {
    struct trace t = {.a = script(1, 1), .b = script(1, 2)};
    expect(one_line, &t, 2, "ab");
    CHECK_EQ(t.a.calls, 2);
    CHECK_EQ(t.b.calls, 2);
}

static int64_t loops(rt_cx *cx, void *p) {
    struct trace *t = p;
    (void)cx;
    RT_BEGIN(&t->frame);
    for (t->i = 0; t->i < 4; t->i++) {
        if (t->i == 1) continue;
        do RT_AWAIT(t->r, play(&t->a));
        while (t->r != 1);
        note(t, (char)('0' + t->i));
        if (t->i == 2) break;
    }
    note(t, '.');
    RT_END(42);
}

static void loops_go_on_in_the_middle(void) {
    struct trace t = {.a = script(3, 1)};
    expect(loops, &t, 6, "02.");
}

static int64_t branches(rt_cx *cx, void *p) {
    struct trace *t = p;
    (void)cx;
    RT_BEGIN(&t->frame);
    for (t->i = 0; t->i < 3; t->i++) {
        if (t->i != 1) RT_AWAIT(t->r, play(&t->a));
        else RT_AWAIT(t->r, play(&t->b));
        note(t, t->r == 1 ? 'a' : 'b');
    }
    switch (t->i) { /* one's own is fine with no await in it */
    case 3:
        note(t, '!');
        break;
    default:
        note(t, '?');
    }
    RT_END(42);
}

static void branches_need_no_braces(void) {
    struct trace t = {.a = script(1, 1), .b = script(2, 2)};
    expect(branches, &t, 4, "aba!");
}

static int64_t leaves_early(rt_cx *cx, void *p) {
    struct trace *t = p;
    (void)cx;
    RT_BEGIN(&t->frame);
    for (;;) {
        RT_AWAIT(t->r, play(&t->a));
        note(t, 'a');
        if (t->len == 2) RT_RETURN(42);
    }
    RT_END(-1);
}

static void a_return_leaves_a_loop(void) {
    struct trace t = {.a = script(1, 1)};
    expect(leaves_early, &t, 2, "aa");
}

static int64_t no_await(rt_cx *cx, void *p) {
    struct trace *t = p;
    (void)cx;
    RT_BEGIN(&t->frame);
    note(t, 'x');
    RT_END(42);
}

static void a_body_may_await_nothing(void) {
    struct trace t = {.r = 0};
    expect(no_await, &t, 0, "x");
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_is_ready_does_not_suspend);
    CASE(nothing_is_done_twice);
    CASE(two_awaits_share_a_line);
    CASE(loops_go_on_in_the_middle);
    CASE(branches_need_no_braces);
    CASE(a_return_leaves_a_loop);
    CASE(a_body_may_await_nothing);
    return test_end();
}
