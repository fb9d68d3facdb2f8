/* rt_poll_try makes any non-blocking call awaitable: its result and its errors pass through,
 * -EAGAIN waits, and nobody attempts more often than there is a reason to.
 */
#include "ready.h"

struct attempt {
    rt_io io;
    uint32_t interest;
    rt_attempt_fn call;
    int other_fd;
    char byte;
    atomic_int polls, tried, refused;
    rt_task task;
};

static int64_t poll_attempt(rt_cx *cx, void *state) {
    struct attempt *a = state;
    int64_t r = rt_poll_try(cx, a->io, a->interest, a->call, a);
    atomic_fetch_add(&a->polls, 1);
    return r;
}

static int64_t counted(struct attempt *a, ssize_t r) {
    int error = errno;
    atomic_fetch_add(&a->tried, 1);
    if (r >= 0) return r;
    if (error == EAGAIN) atomic_fetch_add(&a->refused, 1);
    return -error;
}

static bool was_polled(void *arg) { return atomic_load(&((struct attempt *)arg)->polls) > 0; }
static bool was_refused(void *arg) { return atomic_load(&((struct attempt *)arg)->refused) > 0; }

static void attempt_start(struct attempt *a, rt_runtime rt) {
    CHECK_EQ(rt_spawn(rt, poll_attempt, a, NULL, &a->task), 0);
}

static int64_t call_recv(int fd, void *arg) {
    struct attempt *a = arg;
    return counted(a, recv(fd, &a->byte, 1, 0));
}

static void recv_waits_for_data(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < scaled(200); i++) {
        struct attempt a = {.io = s.io, .interest = RT_READABLE, .call = call_recv};
        attempt_start(&a, s.rt);
        if (i % 2 == 0) {
            drive_until(s.rt, was_polled, &a);
            deliver(s.rt);
            CHECK(atomic_load(&a.tried) <= 3);
        }
        net_put(s.far, &(char){(char)i}, 1);
        CHECK_EQ(join_task(a.task), 1);
        CHECK_EQ(a.byte, (char)i);
        CHECK(atomic_load(&a.tried) <= 5);
    }
    scene_close(&s);
}

/* Splices from a pipe: the socket must have room, and then take what the pipe holds. */
static int64_t call_splice(int fd, void *arg) {
    struct attempt *a = arg;
    return counted(a, splice(a->other_fd, NULL, fd, NULL, 4096, SPLICE_F_NONBLOCK));
}

static void splice_waits_for_room(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    int source[2];
    net_pipe(source);
    unsigned char data[1024], back[1024];
    net_pattern(data, sizeof data, 3, 0);
    net_put(source[1], data, sizeof data);
    size_t stuffed = net_stuff(s.near);

    struct attempt a = {
        .io = s.io, .interest = RT_WRITABLE, .call = call_splice, .other_fd = source[0]};
    attempt_start(&a, s.rt);
    drive_until(s.rt, was_refused, &a);
    for (char scrap[512]; stuffed > 0;)
        stuffed -= net_get(s.far, scrap, stuffed < sizeof scrap ? stuffed : sizeof scrap);
    int64_t moved = join_task(a.task);
    CHECK(moved > 0);
    CHECK_EQ(net_get(s.far, back, (size_t)moved), moved);
    CHECK(net_pattern_holds(back, (size_t)moved, 3, 0));
    close(source[0]);
    close(source[1]);
    scene_close(&s);
}

static int64_t call_peek(int fd, void *arg) {
    struct attempt *a = arg;
    return counted(a, recv(fd, &a->byte, 1, MSG_PEEK));
}

static int64_t call_shutdown(int fd, void *arg) {
    (void)fd;
    atomic_fetch_add(&((struct attempt *)arg)->tried, 1);
    return -ETIMEDOUT;
}

static int64_t call_big(int fd, void *arg) {
    (void)fd;
    (void)arg;
    return INT64_MAX;
}

static void results_and_errors_pass_through(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct attempt a = {.io = s.io, .interest = RT_WRITABLE, .call = call_shutdown};
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), -ETIMEDOUT);
    CHECK_EQ(atomic_load(&a.tried), 1);
    CHECK_EQ(bits_of(s.io, RT_WRITABLE), RT_WRITABLE); /* only EAGAIN clears */

    a.call = call_big;
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), INT64_MAX);

    a.interest = RT_READABLE;
    a.call = call_peek;
    net_put(s.far, "p", 1);
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), 1);
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), 1);
    CHECK_EQ(a.byte, 'p');
    scene_close(&s);
}

static int64_t check_fd(int fd, void *arg) {
    CHECK_EQ(fd, ((struct attempt *)arg)->other_fd);
    return 5;
}

static void the_attempt_gets_the_descriptor(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct attempt a = {
        .io = s.io, .interest = RT_WRITABLE, .call = check_fd, .other_fd = s.near};
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), 5);
    AWAIT_EQ(&s.hand, 5, rt_poll_try(s.hand.cx, s.io, RT_WRITABLE, check_fd, &a));
    scene_close(&s);
}

/* TLS reads when it wants to write: the interest is the caller's, not the call's. */
static void the_interest_is_the_callers(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    net_stuff(s.near);
    struct attempt a = {.io = s.io, .interest = RW, .call = call_recv};
    attempt_start(&a, s.rt);
    drive_until(s.rt, was_refused, &a);
    net_put(s.far, "r", 1);
    CHECK_EQ(join_task(a.task), 1);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(recv_waits_for_data);
    CASE(splice_waits_for_room);
    CASE(results_and_errors_pass_through);
    CASE(the_attempt_gets_the_descriptor);
    CASE(the_interest_is_the_callers);
    return test_end();
}
