/* What a descriptor was not registered for cannot be waited for, since nothing would wake; and it is
 * never ready. */
#include "ready.h"

static void refuse_all(struct scene *s, uint32_t interest) {
    rt_ready got = {0, 0};
    CHECK_EQ(rt_poll_level(s->hand.cx, s->io, interest, &got), -EINVAL);
    CHECK_EQ(rt_poll_ready(s->hand.cx, s->io, interest, &got), -EINVAL);
    CHECK_EQ(rt_try_ready(s->io, interest, &got), 0);
    CHECK_EQ(got.bits & (RT_READABLE | RT_WRITABLE | RT_PRIORITY), 0);
}

static void accept_all(struct scene *s, uint32_t interest) {
    rt_ready got = {0, 0};
    AWAIT_EQ(&s->hand, 0, rt_poll_ready(s->hand.cx, s->io, interest, &got));
    CHECK(got.bits & interest);
    AWAIT_EQ(&s->hand, 0, rt_poll_level(s->hand.cx, s->io, interest, &got));
    CHECK(got.bits & interest);
    CHECK_EQ(rt_try_ready(s->io, interest, &got), 0);
}

static void a_reader_is_no_writer(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RT_READABLE);
    refuse_all(&s, RT_WRITABLE);
    refuse_all(&s, RT_PRIORITY);
    net_put(s.far, "x", 1);
    accept_all(&s, RT_READABLE);
    scene_close(&s);
}

static void a_writer_is_no_reader(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RT_WRITABLE);
    refuse_all(&s, RT_READABLE);
    net_put(s.far, "x", 1);
    refuse_all(&s, RT_READABLE); /* also now that there is something */
    accept_all(&s, RT_WRITABLE);
    scene_close(&s);
}

static void one_without_interest_is_neither(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, 0);
    refuse_all(&s, RT_READABLE);
    refuse_all(&s, RT_WRITABLE);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_reader_is_no_writer);
    CASE(a_writer_is_no_reader);
    CASE(one_without_interest_is_neither);
    return test_end();
}
