/* Out-of-band data is priority readiness, distinct from data; and the data behind an urgent mark
 * still reaches a reader who knows nothing of urgent data. recvmsg(2) is a function of this program's,
 * also for the library: something comes just after the kernel said that there is nothing.
 */
#include "ready.h"

#include <sys/syscall.h>

static _Atomic int sends_late = -1; /* sends an urgent byte, once, when a receive of one found none */

ssize_t recvmsg(int fd, struct msghdr *msg, int flags) {
    ssize_t r = syscall(SYS_recvmsg, fd, msg, flags);
    int error = errno;
    int far = r < 0 && error == EINVAL && flags & MSG_OOB ? atomic_exchange(&sends_late, -1) : -1;
    if (far >= 0) CHECK_EQ(send(far, "!", 1, MSG_OOB), 1);
    errno = error;
    return r;
}

static void urgent_data_is_priority_and_not_readable(void) {
    struct scene s;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    struct waiter reader, urgent;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    waiter_park(&urgent, s.rt, s.io, RT_PRIORITY);

    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    CHECK_EQ(join_task(urgent.task), 0);
    CHECK_EQ(urgent.got.bits, RT_PRIORITY);
    CHECK_EQ(bits_of(s.io, RT_READABLE), 0);
    deliver(s.rt);
    CHECK(atomic_load(&reader.pending));

    char byte;
    CHECK_EQ(recv(s.near, &byte, 1, MSG_OOB), 1);
    CHECK_EQ(byte, '!');
    CHECK_EQ(rt_clear_ready(s.io, urgent.got), 0);
    net_put(s.far, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    CHECK_EQ(reader.got.bits, RT_READABLE);
    scene_close(&s);
}

static void data_is_not_priority(void) {
    struct scene s;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    struct waiter urgent;
    waiter_park(&urgent, s.rt, s.io, RT_PRIORITY);
    net_put(s.far, "x", 1);
    CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);
    deliver(s.rt);
    CHECK(atomic_load(&urgent.pending));
    CHECK_EQ(bits_of(s.io, RT_PRIORITY), 0);
    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    CHECK_EQ(join_task(urgent.task), 0);
    CHECK_EQ(urgent.got.bits, RT_PRIORITY);
    scene_close(&s);
}

/* ---- the plain reader: a read stops at the mark, and no further event announces the rest ---- */

static void reader_gets(struct scene *s, const char *expected) {
    char got[64] = "";
    size_t have = 0, want = strlen(expected);
    while (have < want) {
        int64_t r;
        AWAIT(&s->hand, r, rt_poll_read(s->hand.cx, s->io, got + have, sizeof got - have));
        CHECK(r > 0);
        have += (size_t)r;
    }
    CHECK_EQ(have, want);
    CHECK(memcmp(got, expected, want) == 0);
}

static void data_around_the_mark_is_delivered(uint32_t flags) {
    struct scene s;
    scene_open(&s, net_pair, flags);
    net_put(s.far, "before", 6);
    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    net_put(s.far, "after", 5);
    await_ready(&s.hand, s.io, RT_READABLE);
    deliver(s.rt);
    reader_gets(&s, "beforeafter");

    /* The mark comes first: the reader was empty, then there is data behind it. */
    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    char byte;
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, &byte, 1), RT_PENDING);
    net_put(s.far, "x", 1);
    reader_gets(&s, "x");

    /* Many marks, of which only the last is remembered: the others become data. */
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(send(s.far, "a!", 2, MSG_OOB), 2);
    }
    net_put(s.far, "z", 1);
    reader_gets(&s, "a!a!az");
    scene_close(&s);
}

static void a_plain_reader_gets_all_data(void) { data_around_the_mark_is_delivered(RW); }

static void a_reader_beside_a_priority_interest_gets_all_data(void) {
    data_around_the_mark_is_delivered(RW | RT_PRIORITY);
}

/* Somebody takes the urgent byte and its readiness before the reader comes to the mark. */
static void a_reader_after_who_took_the_urgent_byte_gets_all_data(void) {
    struct scene s;
    char byte;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    net_put(s.far, "before", 6);
    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    net_put(s.far, "after", 5);
    rt_ready seen = await_bit(&s.hand, s.io, RT_PRIORITY, RT_PRIORITY);
    deliver(s.rt);
    CHECK_EQ(recv(s.near, &byte, 1, MSG_OOB), 1);
    while (bits_of(s.io, RT_PRIORITY)) {
        CHECK_EQ(rt_try_ready(s.io, RT_PRIORITY, &seen), 0);
        CHECK_EQ(rt_clear_ready(s.io, seen), 0);
    }
    reader_gets(&s, "beforeafter");
    scene_close(&s);
}

/* ---- urgent bytes, one after the other ---- */

static int64_t urgent_byte(struct scene *s, char *byte) {
    struct iovec to = {byte, 1};
    struct msghdr msg = {.msg_iov = &to, .msg_iovlen = 1};
    return rt_poll_recvmsg(s->hand.cx, s->io, &msg, MSG_OOB);
}

static void an_urgent_byte_that_was_taken_is_followed_by_the_next(void) {
    struct scene s;
    char byte;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    for (const char *next = "abc"; *next; next++) {
        CHECK_EQ(urgent_byte(&s, &byte), RT_PENDING);
        CHECK_EQ(send(s.far, next, 1, MSG_OOB), 1);
        AWAIT_EQ(&s.hand, 1, urgent_byte(&s, &byte));
        CHECK_EQ(byte, *next);
    }
    net_put(s.far, "x", 1);
    reader_gets(&s, "x");
    CHECK_EQ(urgent_byte(&s, &byte), RT_PENDING);
    close(s.far);
    s.far = -1;
    AWAIT_EQ(&s.hand, -EINVAL, urgent_byte(&s, &byte)); /* and none will come */
    scene_close(&s);
}

static void an_urgent_byte_that_comes_between_two_questions_is_received(void) {
    struct scene s;
    char byte;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    CHECK_EQ(send(s.far, "?", 1, MSG_OOB), 1);
    AWAIT_EQ(&s.hand, 1, urgent_byte(&s, &byte));
    atomic_store(&sends_late, s.far);
    AWAIT_EQ(&s.hand, 1, urgent_byte(&s, &byte));
    CHECK_EQ(byte, '!');
    CHECK_EQ(atomic_load(&sends_late), -1);
    scene_close(&s);
}

static void an_urgent_byte_among_the_data_is_no_urgent_byte(void) {
    struct scene s;
    char byte;
    scene_open(&s, net_pair, RW | RT_PRIORITY);
    CHECK_SYS(setsockopt(s.near, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int)));
    CHECK_EQ(send(s.far, "!", 1, MSG_OOB), 1);
    AWAIT_EQ(&s.hand, -EINVAL, urgent_byte(&s, &byte));
    reader_gets(&s, "!");
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(urgent_data_is_priority_and_not_readable);
    CASE(data_is_not_priority);
    CASE(a_plain_reader_gets_all_data);
    CASE(a_reader_beside_a_priority_interest_gets_all_data);
    CASE(a_reader_after_who_took_the_urgent_byte_gets_all_data);
    CASE(an_urgent_byte_that_was_taken_is_followed_by_the_next);
    CASE(an_urgent_byte_that_comes_between_two_questions_is_received);
    CASE(an_urgent_byte_among_the_data_is_no_urgent_byte);
    return test_end();
}
