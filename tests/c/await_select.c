/* once: the macros alone. A select takes the first result in the order of its calls, asks nobody
 * after that, and leaves the others as they were. */
#include "await.h"

struct pick {
    rt_frame frame;
    struct script calls[4];
    int which;
    int64_t r;
};

static int64_t pick2(rt_cx *cx, void *state) {
    struct pick *p = state;
    (void)cx;
    RT_BEGIN(&p->frame);
    RT_SELECT2(p->which, p->r, play(&p->calls[0]), play(&p->calls[1]));
    RT_END(p->r);
}

static int64_t pick3(rt_cx *cx, void *state) {
    struct pick *p = state;
    (void)cx;
    RT_BEGIN(&p->frame);
    RT_SELECT3(p->which, p->r, play(&p->calls[0]), play(&p->calls[1]), play(&p->calls[2]));
    RT_END(p->r);
}

static int64_t pick4(rt_cx *cx, void *state) {
    struct pick *p = state;
    (void)cx;
    RT_BEGIN(&p->frame);
    RT_SELECT4(p->which, p->r, play(&p->calls[0]), play(&p->calls[1]), play(&p->calls[2]),
               play(&p->calls[3]));
    RT_END(p->r);
}

static const rt_poll_fn picks[] = {[2] = pick2, [3] = pick3, [4] = pick4};

/* One is ready after two pending polls, the others would need longer. */
static void expect_winner(int calls, int winner) {
    struct pick p = {.which = -1};
    for (int i = 0; i < calls; i++) p.calls[i] = script(i == winner ? 2 : 9, 100 + i);
    int64_t result = RT_PENDING;
    CHECK_EQ(pendings_of(picks[calls], &p, &result), 2);
    CHECK_EQ(result, 100 + winner);
    CHECK_EQ(p.which, winner);
    for (int i = 0; i < calls; i++) {
        CHECK_EQ(p.calls[i].calls, i <= winner ? 3 : 2);
        CHECK_EQ(p.calls[i].done, i == winner);
    }
}

static void each_place_can_win(void) {
    for (int calls = 2; calls <= 4; calls++)
        for (int winner = 0; winner < calls; winner++) expect_winner(calls, winner);
}

static void the_first_of_several_wins(void) {
    for (int calls = 2; calls <= 4; calls++) {
        struct pick p = {.which = -1};
        for (int i = 0; i < calls; i++) p.calls[i] = script(0, -i);
        CHECK_EQ(picks[calls](no_cx, &p), 0);
        CHECK_EQ(p.which, 0);
        CHECK_EQ(p.calls[0].done, 1);
        for (int i = 1; i < calls; i++) CHECK_EQ(p.calls[i].calls, 0);
    }
}

static void an_error_wins_too(void) {
    struct pick p = {.calls = {script(1, -ECONNRESET), script(9, 0)}};
    int64_t result = RT_PENDING;
    CHECK_EQ(pendings_of(pick2, &p, &result), 1);
    CHECK_EQ(result, -ECONNRESET);
    CHECK_EQ(p.which, 0);
}

static void nothing_is_stored_before_the_end(void) {
    struct pick p = {.calls = {script(1, 5), script(1, 6)}, .which = 77, .r = 88};
    CHECK_EQ(pick2(no_cx, &p), RT_PENDING);
    CHECK_EQ(p.which, 77);
    CHECK_EQ(p.r, 88);
    CHECK_EQ(pick2(no_cx, &p), 5);
}

/* A loser is a coroutine in the middle of its work; it goes on in the next select. */
struct slow_frame {
    rt_frame frame;
    int64_t r;
    int began;
};

static int64_t slow(rt_cx *cx, struct slow_frame *f, struct script *s) {
    (void)cx;
    RT_BEGIN(&f->frame);
    f->began++;
    RT_AWAIT(f->r, play(s));
    RT_AWAIT(f->r, play(s));
    RT_END(f->r);
}

struct race {
    rt_frame frame;
    struct slow_frame slow;
    struct script quick, steps;
    int which, wins[2];
    int64_t r;
};

static int64_t race(rt_cx *cx, void *state) {
    struct race *c = state;
    RT_BEGIN(&c->frame);
    while (c->wins[0] == 0) {
        RT_SELECT2(c->which, c->r, slow(cx, &c->slow, &c->steps), play(&c->quick));
        c->wins[c->which]++;
    }
    RT_END(c->r);
}

static void a_loser_goes_on_later(void) {
    struct race c = {.quick = script(1, 1), .steps = script(4, 2)};
    int64_t result = RT_PENDING;
    CHECK(pendings_of(race, &c, &result) > 1);
    CHECK_EQ(result, 2);
    CHECK_EQ(c.slow.began, 1);
    CHECK_EQ(c.steps.done, 2);
    CHECK_EQ(c.wins[0], 1);
    CHECK(c.wins[1] > 1);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(each_place_can_win);
    CASE(the_first_of_several_wins);
    CASE(an_error_wins_too);
    CASE(nothing_is_stored_before_the_end);
    CASE(a_loser_goes_on_later);
    return test_end();
}
