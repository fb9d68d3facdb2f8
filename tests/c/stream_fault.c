/* A send that cannot be made, since its memory is gone, beside others that leave with it: it is told
 * so, and those before it arrive. What says nothing sensible is refused.
 */
#include "multi.h"

#include <sys/mman.h>

enum { EARLIER = 5000, GOOD = 20000, BAD = 4096 };

static struct steps steps;
static char data[GOOD];
static void *gone;

static void play(rt_poll_fn body) {
    memset(&steps, 0, sizeof steps);
    play_alone(body, &steps);
}

/* Of a file that was truncated. */
static void *memory_that_is_gone(void) {
    int fd = (int)CHECK_SYS(memfd_create("gone", MFD_CLOEXEC));
    CHECK_SYS(ftruncate(fd, BAD));
    void *at = mmap(NULL, BAD, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    CHECK_SYS(ftruncate(fd, 0));
    close(fd);
    return at;
}

static void (*connect_ends)(int[2]);

static int64_t good_and_bad(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, connect_ends);
    s->n = net_stuff(s->near) + EARLIER + GOOD;
    CHECK_EQ(rt_send(s->io, data, EARLIER), EARLIER);
    CHECK_EQ(rt_submit_send(cx, s->io, data, GOOD, 0, &s->op), 0);
    CHECK_EQ(rt_submit_send(cx, s->io, gone, BAD, 0, &s->other), 0);
    while (s->n > 0) {
        s->got = read(s->far, s->buf, s->n < sizeof s->buf ? s->n : sizeof s->buf);
        if (s->got > 0) s->n -= (size_t)s->got;
        else CHECK(s->got < 0 && errno == EAGAIN);
        RT_YIELD(cx);
    }
    OP_TAKE_EQ(s, GOOD);
    s->op = s->other;
    OP_TAKE_EQ(s, -EFAULT);
    CHECK_EQ(rt_send(s->io, data, 1), -EPIPE); /* something is missing now */
    CHECK_EQ(net_drain(s->far), 0);
    steps_close(s);
    RT_END(0);
}
static void who_is_to_blame_is_told(void) {
    gone = memory_that_is_gone();
    connect_ends = net_unix_pair;
    play(good_and_bad);
    connect_ends = net_pair;
    play(good_and_bad);
    CHECK_SYS(munmap(gone, BAD));
}

static int64_t wrong_messages(rt_cx *cx, void *state) {
    static struct iovec too_many[1025], huge[2] = {{data, SIZE_MAX / 2}, {data, SIZE_MAX / 2}};
    static const struct {
        struct msghdr msg;
        int64_t error;
    } wrong[] = {
        {{.msg_iov = NULL, .msg_iovlen = 1}, -EINVAL},
        {{.msg_iov = too_many, .msg_iovlen = 1025}, -EMSGSIZE},
        {{.msg_iov = too_many, .msg_iovlen = SIZE_MAX}, -EMSGSIZE},
        {{.msg_iov = huge, .msg_iovlen = 2}, -EINVAL},
    };
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        s->op = 77;
        CHECK_EQ(rt_submit_sendmsg(cx, s->io, &wrong[i].msg, 0, &s->op), wrong[i].error);
        CHECK_EQ(s->op, 0);
    }
    CHECK_EQ(rt_submit_writev(cx, s->io, huge, 2, RT_OFFSET_CURRENT, 0, &s->op), -EINVAL);
    CHECK_EQ(rt_submit_readv(cx, s->io, huge, 2, RT_OFFSET_CURRENT, &s->op), -EINVAL);
    steps_close(s);
    RT_END(0);
}
static void lengths_without_sense_are_refused(void) { play(wrong_messages); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(who_is_to_blame_is_told);
    CASE(lengths_without_sense_are_refused);
    return test_end();
}
