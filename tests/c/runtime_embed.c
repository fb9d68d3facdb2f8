/* A program with a loop of its own: poll(2) over its descriptors and the runtime's, a turn when
 * that one is readable, and the deadline as the timeout. Its own work and the tasks talk. */
#include "check.h"

#include <poll.h>

enum { MESSAGES = 2000 };

/* The loop reads bytes that a thread writes and passes each to a task; the task answers by telling
 * the loop to go on. */
struct program {
    rt_runtime rt;
    int input, output;
    rt_task task;
    rt_task partner; /* woken by the task for each message: tasks among themselves */
    int received, handled, echoed;
};

static void *write_bytes(void *arg) {
    struct program *p = arg;
    for (int i = 0; i < scaled(MESSAGES); i++) {
        char byte = (char)i;
        while (write(p->output, &byte, 1) != 1) CHECK_EQ(errno, EINTR);
    }
    CHECK_SYS(close(p->output));
    return NULL;
}

static int64_t handle(rt_cx *cx, void *state) {
    (void)cx;
    struct program *p = state;
    while (p->handled < p->received) {
        p->handled++;
        CHECK_EQ(rt_task_wake(p->partner), 0);
    }
    return p->handled < scaled(MESSAGES) ? RT_PENDING : 0;
}

static int64_t echo(rt_cx *cx, void *state) {
    (void)cx;
    struct program *p = state;
    p->echoed = p->handled;
    return p->echoed < scaled(MESSAGES) ? RT_PENDING : 0;
}

/* Returns false at the end of the input. */
static bool take_input(struct program *p) {
    char bytes[64];
    ssize_t n;
    do n = read(p->input, bytes, sizeof bytes);
    while (n == -1 && errno == EINTR);
    CHECK_SYS(n);
    if (n > 0) {
        p->received += (int)n;
        CHECK_EQ(rt_task_wake(p->task), 0);
    }
    return n > 0;
}

static int timeout_for(rt_runtime rt) {
    uint64_t deadline = rt_next_deadline(rt), now = rt_now();
    if (deadline == RT_NEVER) return -1;
    return deadline <= now ? 0 : (int)((deadline - now + 999999) / 1000000);
}

static void loop(struct program *p) {
    struct pollfd fds[2] = {{.fd = (int)CHECK_OK(rt_event_fd(p->rt)), .events = POLLIN},
                            {.fd = p->input, .events = POLLIN}};
    nfds_t open = 2;
    while (open == 2 || live_tasks(p->rt) > 0) {
        int n = poll(fds, open, timeout_for(p->rt));
        if (n == -1 && errno == EINTR) continue;
        CHECK_SYS(n);
        if (fds[0].revents != 0) CHECK_OK(rt_turn(p->rt, 0));
        if (open == 2 && fds[1].revents != 0 && !take_input(p)) open = 1;
    }
}

static void a_program_with_its_own_loop(void) {
    int ends[2];
    CHECK_SYS(pipe(ends));
    struct program p = {.rt = test_runtime(), .input = ends[0], .output = ends[1]};
    CHECK_EQ(rt_spawn(p.rt, handle, &p, NULL, &p.task), 0);
    CHECK_EQ(rt_spawn(p.rt, echo, &p, NULL, &p.partner), 0);
    pthread_t writer = thread_start(write_bytes, &p);
    loop(&p);
    thread_join(writer);
    CHECK_EQ(p.received, scaled(MESSAGES));
    CHECK_EQ(p.handled, scaled(MESSAGES));
    CHECK_EQ(p.echoed, scaled(MESSAGES));
    CHECK_EQ(rt_join(p.task, 0, NULL), 0);
    CHECK_EQ(rt_join(p.partner, 0, NULL), 0);
    CHECK_SYS(close(p.input));
    test_runtime_free(p.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (!current_thread()) SKIP("a loop of one's own embeds the current-thread flavour");
    CASE(a_program_with_its_own_loop);
    return test_end();
}
