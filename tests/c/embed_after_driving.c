/* A program may drive a runtime by a call that blocks, and go back to its own loop: whatever drove
 * last, rt_event_fd shows the next wake from another thread. */
#include "soon.h"

#include <poll.h>

enum { ROUNDS = 20 };

static bool readable(rt_runtime rt, int timeout) {
    struct pollfd p = {.fd = (int)CHECK_OK(rt_event_fd(rt)), .events = POLLIN};
    int n;
    do n = poll(&p, 1, timeout);
    while (n == -1 && errno == EINTR);
    CHECK_SYS(n);
    return n == 1;
}

/* As a program's loop would, as long as the descriptor asks for it. */
static void turn_while_readable(rt_runtime rt) {
    while (readable(rt, 0)) CHECK_OK(rt_turn(rt, 0));
}

struct visit {
    rt_task task;
    probe probe;
};

static void *finish_from_outside(void *arg) {
    struct visit *v = arg;
    probe_finish(&v->probe, v->task);
    return NULL;
}

static void a_foreign_wake_shows_after(void (*drive)(rt_runtime)) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < ROUNDS; i++) {
        struct visit v = {.task = 0};
        v.task = probe_spawn(rt, &v.probe);
        turn_while_readable(rt);
        CHECK(probe_polled(&v.probe));
        drive(rt);
        turn_while_readable(rt);
        on_thread(finish_from_outside, &v);
        while (!probe_dropped(&v.probe)) {
            CHECK(readable(rt, SOON * 1000));
            CHECK_OK(rt_turn(rt, 0));
        }
        CHECK_EQ(join_task(v.task), 0);
    }
    test_runtime_free(rt);
}

static void block_on(rt_runtime rt) { CHECK_EQ(rt_block_on(rt, return_zero, NULL), 0); }

static void join(rt_runtime rt) {
    rt_task task;
    CHECK_EQ(rt_spawn(rt, return_zero, NULL, NULL, &task), 0);
    CHECK_EQ(join_task(task), 0);
}

static void join_in_vain(rt_runtime rt) {
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_join(task, 1000000, NULL), -ETIME);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
}

static int64_t stop(rt_cx *cx, void *state) {
    (void)state;
    CHECK_EQ(rt_stop(rt_cx_runtime(cx)), 0);
    return 0;
}

static void run(rt_runtime rt) {
    CHECK_EQ(rt_spawn(rt, stop, NULL, NULL, NULL), 0);
    CHECK_EQ(rt_run(rt), 1);
}

static void turn(rt_runtime rt) { CHECK_OK(rt_turn(rt, 1000000)); }

static void after_rt_block_on(void) { a_foreign_wake_shows_after(block_on); }
static void after_rt_join(void) { a_foreign_wake_shows_after(join); }
static void after_an_rt_join_in_vain(void) { a_foreign_wake_shows_after(join_in_vain); }
static void after_rt_run(void) { a_foreign_wake_shows_after(run); }
static void after_a_turn_that_slept(void) { a_foreign_wake_shows_after(turn); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (!current_thread()) SKIP("a loop of one's own embeds the current-thread flavour");
    must_end_soon();
    CASE(after_rt_block_on);
    CASE(after_rt_join);
    CASE(after_an_rt_join_in_vain);
    CASE(after_rt_run);
    CASE(after_a_turn_that_slept);
    return test_end();
}
