/* A hook may take longer than the turn that called it has time: the turn ends without having slept,
 * and rt_event_fd shows the next wake from another thread all the same. */
#include "net.h"
#include "soon.h"

enum { ROUNDS = 20, TURN = 1000 * 1000 };

static bool readable(rt_runtime rt, int timeout) {
    struct pollfd p = {.fd = (int)CHECK_OK(rt_event_fd(rt)), .events = POLLIN};
    int n;
    do n = poll(&p, 1, timeout);
    while (n == -1 && errno == EINTR);
    CHECK_SYS(n);
    return n == 1;
}

static void turn_while_readable(rt_runtime rt) {
    while (readable(rt, 0)) CHECK_OK(rt_turn(rt, 0));
}

/* Nanoseconds that the hooks take. */
struct hooks {
    uint64_t park, unpark;
};

static void outlast(uint64_t ns) {
    struct timespec now, start;
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &start));
    do CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &now));
    while ((uint64_t)(now.tv_sec - start.tv_sec) * 1000000000 + (uint64_t)now.tv_nsec <
           (uint64_t)start.tv_nsec + ns);
}

static void on_park(void *arg) { outlast(((struct hooks *)arg)->park); }

static void on_unpark(void *arg) { outlast(((struct hooks *)arg)->unpark); }

/* A task with a receive that goes on all the time, and a waker of its own. */
struct visit {
    rt_io io;
    rt_op op;
    rt_waker waker;
    char buf[16];
    atomic_bool woken;
    bool done;
};

static int64_t wait_for_the_wake(rt_cx *cx, void *state) {
    struct visit *v = state;
    if (v->op == 0) {
        CHECK_EQ(rt_submit_recv(cx, v->io, v->buf, sizeof v->buf, 0, &v->op), 0);
        CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &v->waker), 0);
    }
    CHECK_EQ(rt_poll_op(cx, v->op), RT_PENDING);
    if (!atomic_load(&v->woken)) return RT_PENDING;
    v->done = true;
    return 0;
}

static void *wake_from_outside(void *arg) {
    struct visit *v = arg;
    atomic_store(&v->woken, true);
    CHECK_EQ(rt_waker_wake(&v->waker), 0);
    return NULL;
}

static void a_foreign_wake_shows_after(const struct hooks *slow, uint64_t timeout) {
    struct hooks h = {0};
    rt_config config = test_config();
    config.spin_ns = RT_SPIN_OFF;
    config.on_park = on_park;
    config.on_unpark = on_unpark;
    config.hook_arg = &h;
    rt_runtime rt = test_runtime_with(&config);
    for (int i = 0; i < ROUNDS; i++) {
        struct visit v = {.io = 0};
        rt_task task;
        int ends[2];
        net_unix_pair(ends);
        CHECK_EQ(rt_register_fd(rt, ends[0], RT_READABLE | RT_WRITABLE, &v.io), 0);
        CHECK_EQ(rt_spawn(rt, wait_for_the_wake, &v, NULL, &task), 0);
        turn_while_readable(rt);
        CHECK(v.op != 0);
        h = *slow;
        CHECK_OK(rt_turn(rt, timeout));
        h = (struct hooks){0};
        turn_while_readable(rt);
        on_thread(wake_from_outside, &v);
        while (!v.done) {
            CHECK(readable(rt, SOON * 1000 / 5));
            CHECK_OK(rt_turn(rt, 0));
        }
        CHECK_EQ(join_soon(task), 0);
        CHECK_EQ(rt_close(v.io), 0);
        close(ends[1]);
    }
    test_runtime_free(rt);
}

static void after_a_slow_park(void) {
    a_foreign_wake_shows_after(&(struct hooks){.park = 2 * TURN}, TURN);
}

static void after_a_slow_unpark(void) {
    a_foreign_wake_shows_after(&(struct hooks){.unpark = 2 * TURN}, TURN);
}

static void after_a_turn_of_no_time(void) {
    a_foreign_wake_shows_after(&(struct hooks){.park = TURN}, 0);
    a_foreign_wake_shows_after(&(struct hooks){.park = TURN}, 1);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (!current_thread()) SKIP("a loop of one's own embeds the current-thread flavour");
    must_end_soon();
    CASE(after_a_slow_park);
    CASE(after_a_slow_unpark);
    CASE(after_a_turn_of_no_time);
    return test_end();
}
