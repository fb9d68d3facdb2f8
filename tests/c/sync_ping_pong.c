/* Two tasks, of one runtime and of two, that wait for each other's items a million times, and one
 * that never has to wait: all of it must end soon.
 */
#include "check.h"

#include <asyncio_await.h>

enum { ROUNDS = 1000000 };

struct side {
    rt_frame frame;
    rt_chan in, out;
    int rounds, i;
    bool serves;
    void *item;
    int64_t r;
};

static int64_t play(rt_cx *cx, void *state) {
    struct side *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < s->rounds; s->i++) {
        if (s->serves) {
            RT_AWAIT(s->r, rt_poll_chan_send(cx, s->out, (void *)(intptr_t)s->i));
            CHECK_EQ(s->r, 0);
        }
        RT_AWAIT(s->r, rt_poll_chan_recv(cx, s->in, &s->item));
        CHECK_EQ(s->r, 0);
        CHECK_EQ((intptr_t)s->item, s->i);
        if (!s->serves) {
            RT_AWAIT(s->r, rt_poll_chan_send(cx, s->out, s->item));
            CHECK_EQ(s->r, 0);
        }
    }
    RT_END(0);
}

static void play_between(rt_runtime a, rt_runtime b, int rounds) {
    rt_chan there, back;
    rt_task far = 0;
    CHECK_EQ(rt_chan_new(1, NULL, &there), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &back), 0);
    struct side server = {.in = back, .out = there, .rounds = rounds, .serves = true};
    struct side client = {.in = there, .out = back, .rounds = rounds};
    CHECK_EQ(rt_spawn(b, play, &client, NULL, &far), 0);
    CHECK_EQ(rt_block_on(a, play, &server), 0);
    CHECK_EQ(join_task(far), 0);
    CHECK_EQ(rt_chan_free(there), 0);
    CHECK_EQ(rt_chan_free(back), 0);
}

static void in_one_runtime(void) {
    rt_runtime rt = test_runtime();
    play_between(rt, rt, scaled(ROUNDS));
    test_runtime_free(rt);
}

static void between_two_runtimes(void) {
    rt_config config = test_config();
    config.flavour = RT_MULTI_THREAD; /* the far one must run by itself */
    config.workers = 1;
    rt_runtime rt = test_runtime(), far = test_runtime_with(&config);
    play_between(rt, far, scaled(ROUNDS / 50));
    test_runtime_free(rt);
    CHECK_EQ(rt_free(far), 0);
}

/* ---- one fills, one drains ---- */

static int64_t fill(rt_cx *cx, void *state) {
    struct side *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < s->rounds; s->i++) {
        RT_AWAIT(s->r, rt_poll_chan_send(cx, s->out, (void *)(intptr_t)s->i));
        CHECK_EQ(s->r, 0);
    }
    CHECK_EQ(rt_chan_close(s->out), 0);
    RT_END(0);
}

static int64_t drain(rt_cx *cx, void *state) {
    struct side *s = state;
    RT_BEGIN(&s->frame);
    for (s->i = 0;; s->i++) {
        RT_AWAIT(s->r, rt_poll_chan_recv(cx, s->in, &s->item));
        if (s->r == -EPIPE) break;
        CHECK_EQ(s->r, 0);
        CHECK_EQ((intptr_t)s->item, s->i);
    }
    CHECK_EQ(s->i, s->rounds);
    RT_END(0);
}

static void through_a_wide_channel(void) {
    rt_runtime rt = test_runtime();
    rt_chan ch;
    rt_task filler;
    CHECK_EQ(rt_chan_new(128, NULL, &ch), 0);
    struct side from = {.out = ch, .rounds = scaled(ROUNDS)}, to = {.in = ch, .rounds = from.rounds};
    CHECK_EQ(rt_spawn(rt, fill, &from, NULL, &filler), 0);
    CHECK_EQ(rt_block_on(rt, drain, &to), 0);
    CHECK_EQ(join_task(filler), 0);
    CHECK_EQ(rt_chan_free(ch), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_one_runtime);
    CASE(between_two_runtimes);
    CASE(through_a_wide_channel);
    return test_end();
}
