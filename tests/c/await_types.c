/* once: the macros alone. RT_PENDING is seen whatever variable takes the result, and whatever the
 * expression is made of. */
#include "await.h"

struct narrow {
    rt_frame frame;
    struct script call;
    signed char c;
    unsigned char b;
    short s;
    int i;
    unsigned u;
    bool yes;
};

/* -4096 in a char, a byte or a bool is not -4096 any more: 0, 0 and true. */
#define NARROW_COROUTINE(name, field)                                                              \
    static int64_t name(rt_cx *cx, void *p) {                                                      \
        struct narrow *n = p;                                                                      \
        (void)cx;                                                                                  \
        RT_BEGIN(&n->frame);                                                                       \
        RT_AWAIT(n->field, play(&n->call));                                                        \
        RT_END(n->field);                                                                          \
    }

NARROW_COROUTINE(into_char, c)
NARROW_COROUTINE(into_byte, b)
NARROW_COROUTINE(into_short, s)
NARROW_COROUTINE(into_int, i)
NARROW_COROUTINE(into_unsigned, u)
NARROW_COROUTINE(into_bool, yes)

static int64_t into_select(rt_cx *cx, void *p) {
    struct narrow *n = p;
    (void)cx;
    RT_BEGIN(&n->frame);
    RT_SELECT2(n->yes, n->b, play(&n->call), RT_PENDING);
    RT_END(n->b);
}

static void a_narrow_variable_sees_pending(void) {
    const rt_poll_fn all[] = {into_char, into_byte,     into_short, into_int,
                              into_bool, into_unsigned, into_select};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct narrow n = {.call = script(2, 1)};
        int64_t result = RT_PENDING;
        CHECK_EQ(pendings_of(all[i], &n, &result), 2);
        CHECK_EQ(result, 1);
    }
}

struct wide {
    rt_frame frame;
    struct script call;
    int64_t r;
};

static int narrow_call(struct script *s) { return (int)play(s); }

static int64_t from_int(rt_cx *cx, void *p) {
    struct wide *w = p;
    (void)cx;
    RT_BEGIN(&w->frame);
    RT_AWAIT(w->r, narrow_call(&w->call));
    RT_END(w->r);
}

static void a_call_may_return_int(void) {
    struct wide w = {.call = script(1, -EPIPE)};
    int64_t result = RT_PENDING;
    CHECK_EQ(pendings_of(from_int, &w, &result), 1);
    CHECK_EQ(result, -EPIPE);
}

struct sum {
    int a, b;
};

static int64_t plus(struct script *s, const struct sum *sum, const int *more) {
    int64_t r = play(s);
    return r == RT_PENDING ? r : r + sum->a + sum->b + more[0] + more[1];
}

static int64_t literals(rt_cx *cx, void *p) {
    struct wide *w = p;
    (void)cx;
    RT_BEGIN(&w->frame);
    RT_AWAIT(w->r, plus(&w->call, &(struct sum){1, 2}, (int[]){3, 4}));
    if (w->r != 110) RT_RETURN(w->r);
    RT_AWAIT(w->r, (struct sum){5, 6}.b);
    if (w->r != 6) RT_RETURN(w->r);
    RT_END((struct sum){7, 8}.a);
}

static void compound_literals_need_no_parentheses(void) {
    struct wide w = {.call = script(1, 100)};
    int64_t result = RT_PENDING;
    CHECK_EQ(pendings_of(literals, &w, &result), 1);
    CHECK_EQ(result, 7);
}

static int64_t low(rt_cx *cx, void *p) {
    struct wide *w = p;
    (void)cx;
    RT_BEGIN(&w->frame);
    RT_AWAIT(w->r, play(&w->call));
    RT_END(w->r);
}

/* Only the one value is special: neither its neighbours nor those that agree in 32 bits. */
static void other_values_are_results(void) {
    const int64_t all[] = {RT_PENDING - 1, RT_PENDING + 1, RT_PENDING + (INT64_C(1) << 32),
                           INT64_MIN,      INT64_MAX,      0};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct wide w = {.call = script(0, all[i])};
        CHECK_EQ(low(no_cx, &w), all[i]);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_narrow_variable_sees_pending);
    CASE(a_call_may_return_int);
    CASE(compound_literals_need_no_parentheses);
    CASE(other_values_are_results);
    return test_end();
}
