/* A send is over when nobody reads its memory any more, however often it is cancelled: also while a
 * ring, or a thread that sends on the same stream, has that memory in hand. What the memory holds
 * after the outcome, or after the task's drop function, never reaches the peer.
 */
#include "multi.h"
#include "soon.h"

enum { FILLS = 4, FILL = 65536, BYTES = 4096, TURNS = 200, TRIES = 20, ROUNDS = 300 };
enum { MOMENT = 20 * 1000 * 1000 };

enum end { CANCEL_TWICE, CANCEL_AND_END };

/* Sent by others, in the operation's memory, and there later. */
enum { OTHERS = 'o', MINE = 'm', LATER = 'X' };

struct cancelling {
    rt_frame frame, holder;
    rt_io io;
    rt_op op;
    enum end end;
    int near, far, i, turns;
    int64_t got;
    gate filled, submitted, held, tried, leave;
    char mine[BYTES];
};

static char others[FILL];

static void open_all(struct cancelling *c, rt_runtime rt) {
    int ends[2];
    memset(c, 0, sizeof *c);
    net_unix_pair(ends);
    c->near = ends[0];
    c->far = ends[1];
    c->io = io_of(rt, c->near, 0);
    memset(others, OTHERS, sizeof others);
    memset(c->mine, MINE, sizeof c->mine);
    gate_init(&c->filled);
    gate_init(&c->submitted);
    gate_init(&c->held);
    gate_init(&c->tried);
    gate_init(&c->leave);
}

static void close_all(struct cancelling *c) {
    close(c->far);
    gate_destroy(&c->filled);
    gate_destroy(&c->submitted);
    gate_destroy(&c->held);
    gate_destroy(&c->tried);
    gate_destroy(&c->leave);
}

/* The memory is the program's again. */
static void use_again(struct cancelling *c) { memset(c->mine, LATER, sizeof c->mine); }

/* Takes what is there; false at the end of the stream. */
static bool look(int far) {
    static char seen[FILL];
    for (;;) {
        ssize_t r = read(far, seen, sizeof seen);
        if (r == 0) return false;
        if (r < 0 && errno == EAGAIN) return true;
        if (r < 0) CHECK_EQ(errno, EINTR);
        for (ssize_t i = 0; i < r; i++) CHECK(seen[i] == OTHERS || seen[i] == MINE);
    }
}

static void *look_to_the_end(void *arg) {
    int far = *(int *)arg;
    while (look(far)) net_wait(far, POLLIN);
    return NULL;
}

/* More than the socket takes. */
static void fill(rt_io io) {
    for (int i = 0; i < FILLS; i++) CHECK_EQ(rt_send(io, others, FILL), FILL);
}

static bool is_outcome(int64_t r) { return r == -ECANCELED || r == BYTES; }

/* ---- while a worker that sends is held ---- */

/* Its worker takes all that is queued, and then does nothing more for a while. */
static int64_t hold(rt_cx *cx, void *state) {
    struct cancelling *c = state;
    RT_BEGIN(&c->holder);
    fill(c->io);
    gate_open(&c->filled);
    gate_wait(&c->submitted);
    for (c->turns = 0; c->turns < TURNS; c->turns++) RT_YIELD(cx);
    gate_open(&c->held);
    gate_wait(&c->leave);
    RT_END(0);
}

static int64_t cancel_beside(rt_cx *cx, void *state) {
    struct cancelling *c = state;
    RT_BEGIN(&c->frame);
    CHECK_EQ(rt_submit_send(cx, c->io, c->mine, BYTES, 0, &c->op), 0);
    gate_open(&c->submitted);
    gate_wait(&c->held);
    CHECK_EQ(rt_cancel(c->op), 0);
    if (c->end == CANCEL_AND_END) RT_RETURN(0);
    for (c->got = RT_PENDING, c->i = 0; c->got == RT_PENDING && c->i < TRIES; c->i++) {
        RT_YIELD(cx);
        CHECK_EQ(rt_cancel(c->op), 0);
        c->got = rt_poll_op(cx, c->op);
    }
    /* A ring keeps the memory until its worker has heard that it does not need it any more. */
    if (test_engine == RT_ENGINE_URING) CHECK_EQ(c->got, RT_PENDING);
    if (c->got != RT_PENDING) use_again(c);
    gate_open(&c->tried);
    if (c->got == RT_PENDING) RT_AWAIT(c->got, rt_poll_op(cx, c->op));
    CHECK(is_outcome(c->got));
    RT_END(0);
}

static void drop_it(void *state) {
    struct cancelling *c = state;
    use_again(c);
    if (c->end == CANCEL_AND_END) gate_open(&c->tried);
}

static void while_held(enum end end) {
    static struct cancelling c;
    rt_config config = test_config();
    config.event_interval = 1;
    rt_runtime rt = test_runtime_with(&config);
    for (int round = 0; round < 3; round++) {
        rt_task holder, task;
        open_all(&c, rt);
        c.end = end;
        CHECK_EQ(rt_spawn(rt, hold, &c, NULL, &holder), 0);
        gate_wait_soon(&c.filled);
        CHECK_EQ(rt_spawn(rt, cancel_beside, &c, drop_it, &task), 0);
        if (end == CANCEL_TWICE) gate_wait_soon(&c.tried);
        else gate_wait_for(&c.tried, MOMENT); /* it may have to wait for the worker */
        CHECK(look(c.far)); /* there is room now for what the worker has in hand */
        gate_open(&c.leave);
        CHECK_EQ(join_soon(task), 0);
        CHECK_EQ(join_soon(holder), 0);
        CHECK_EQ(rt_close(c.io), 0);
        look_to_the_end(&c.far);
        close_all(&c);
    }
    multi_runtime_free(rt);
}

static void twice_while_a_worker_is_held(void) { while_held(CANCEL_TWICE); }
static void by_its_end_while_a_worker_is_held(void) { while_held(CANCEL_AND_END); }

/* ---- in a task of its own, and beside threads that send ---- */

static int64_t cancel_alone(rt_cx *cx, void *state) {
    struct cancelling *c = state;
    RT_BEGIN(&c->frame);
    CHECK_EQ(rt_submit_send(cx, c->io, c->mine, BYTES, 0, &c->op), 0);
    for (c->i = 0; c->i < c->turns; c->i++) RT_YIELD(cx);
    CHECK_EQ(rt_cancel(c->op), 0);
    if (c->end == CANCEL_AND_END) RT_RETURN(0);
    for (;;) {
        c->got = rt_poll_op(cx, c->op);
        if (c->got != RT_PENDING) break;
        CHECK_EQ(rt_cancel(c->op), 0);
        RT_YIELD(cx);
    }
    CHECK(is_outcome(c->got));
    use_again(c);
    RT_END(0);
}

static void *send_beside(void *arg) {
    struct cancelling *c = arg;
    for (int i = 0; i < TRIES; i++) {
        int64_t r = rt_send(c->io, others, FILL / 16);
        CHECK(r == FILL / 16 || r == -EAGAIN);
    }
    return NULL;
}

static void again_and_again(bool beside) {
    static struct cancelling c;
    rt_runtime rt = test_runtime();
    for (int round = 0; round < scaled(ROUNDS); round++) {
        rt_task task;
        pthread_t sender = 0, looker = 0;
        open_all(&c, rt);
        c.end = round % 2 == 0 ? CANCEL_TWICE : CANCEL_AND_END;
        c.turns = round / 2 % 8;
        if (!beside) fill(c.io);
        if (beside) sender = thread_start(send_beside, &c);
        if (beside) looker = thread_start(look_to_the_end, &c.far);
        CHECK_EQ(rt_spawn(rt, cancel_alone, &c, drop_it, &task), 0);
        CHECK_EQ(join_soon(task), 0);
        if (beside) thread_join(sender);
        else looker = thread_start(look_to_the_end, &c.far);
        int polls = 20; /* some of what is queued goes out */
        drive_until(rt, count_down, &polls);
        CHECK_EQ(rt_close(c.io), 0);
        thread_join_driving(looker, rt);
        close_all(&c);
    }
    multi_runtime_free(rt);
}

static void behind_a_full_socket(void) { again_and_again(false); }
static void beside_a_thread_that_sends(void) { again_and_again(true); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    if (test_workers >= 2) {
        CASE(twice_while_a_worker_is_held);
        CASE(by_its_end_while_a_worker_is_held);
    }
    CASE(behind_a_full_socket);
    CASE(beside_a_thread_that_sends);
    return test_end();
}
