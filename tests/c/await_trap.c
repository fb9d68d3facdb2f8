/* once: the macros alone. What the compiler cannot refuse traps: a frame that is not this
 * coroutine's, a way past RT_END, an await in a switch over 64 bits. */
#include <sys/resource.h>
#include <sys/wait.h>

#include "await.h"

struct state {
    rt_frame frame;
    struct script call;
    int64_t r;
    bool leave;
};

static int64_t one(rt_cx *cx, void *p) {
    struct state *s = p;
    (void)cx;
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, play(&s->call));
    RT_END(s->r);
}

static int64_t other(rt_cx *cx, void *p) {
    struct state *s = p;
    (void)cx;
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, play(&s->call));
    RT_END(s->r);
}

static int64_t breaks_out(rt_cx *cx, void *p) {
    struct state *s = p;
    (void)cx;
    RT_BEGIN(&s->frame);
    RT_AWAIT(s->r, play(&s->call));
    if (s->leave) break;
    RT_END(s->r);
}

static int64_t hides_in_a_switch(rt_cx *cx, void *p) {
    struct state *s = p;
    (void)cx;
    RT_BEGIN(&s->frame);
    switch (s->r) {
    case 0:
        RT_AWAIT(s->r, play(&s->call));
        break;
    }
    RT_END(s->r);
}

/* The signal that ends a process of its own in one poll, or 0 if the poll returned. */
static int signal_of(rt_poll_fn poll, struct state *s) {
    fflush(NULL);
    pid_t child = (pid_t)CHECK_SYS(fork());
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGILL, SIG_DFL);
        signal(SIGTRAP, SIG_DFL);
        poll(no_cx, s);
        _exit(0);
    }
    int status;
    pid_t r;
    do r = waitpid(child, &status, 0);
    while (r == -1 && errno == EINTR);
    CHECK_SYS(r);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Which of the two it is depends on the processor. */
static void expect_trap(rt_poll_fn poll, struct state *s) {
    int sig = signal_of(poll, s);
    CHECK(sig == SIGILL || sig == SIGTRAP);
}

static void a_frame_that_was_not_zeroed(void) {
    struct state s = {.call = script(0, 1)};
    CHECK_EQ(signal_of(one, &s), 0);
    s.frame.resume = 1;
    expect_trap(one, &s);
    memset(&s.frame, 0xff, sizeof s.frame);
    expect_trap(one, &s);
}

static void the_frame_of_another_coroutine(void) {
    struct state s = {.call = script(1, 1)};
    CHECK_EQ(one(no_cx, &s), RT_PENDING);
    expect_trap(other, &s);
    CHECK_EQ(signal_of(one, &s), 0);
}

static void a_break_out_of_the_body(void) {
    struct state s = {.call = script(0, 1)};
    CHECK_EQ(signal_of(breaks_out, &s), 0);
    s.leave = true;
    expect_trap(breaks_out, &s);
}

static void an_await_in_a_64_bit_switch(void) {
    struct state s = {.call = script(1, 1)};
    CHECK_EQ(hides_in_a_switch(no_cx, &s), RT_PENDING);
    expect_trap(hides_in_a_switch, &s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_frame_that_was_not_zeroed);
    CASE(the_frame_of_another_coroutine);
    CASE(a_break_out_of_the_body);
    CASE(an_await_in_a_64_bit_switch);
    return test_end();
}
