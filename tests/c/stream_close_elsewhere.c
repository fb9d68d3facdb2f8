/* A descriptor that another thread closes while sends of tasks are queued: every outcome is
 * -ECANCELED, or all that was to be sent. The operations had their descriptor when they were
 * submitted, so they never say -EBADF. */
#include "multi.h"
#include "soon.h"

enum { ROUNDS = 1000, TASKS = 3, MUCH = 1 << 20, LITTLE = 3000 };

struct closing {
    rt_io io;
    gate submitted;
};

struct sender {
    rt_frame frame;
    struct closing *closing;
    rt_op op;
    int64_t got;
    size_t bytes;
};

static char data[MUCH];

static int64_t send_one(rt_cx *cx, void *state) {
    struct sender *s = state;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_send(cx, s->closing->io, data, s->bytes, 0, &s->op), 0);
    gate_open(&s->closing->submitted);
    RT_AWAIT(s->got, rt_poll_op(cx, s->op));
    CHECK_EQ(rt_cancel(s->op), -EBADF);
    if (s->got != -ECANCELED) CHECK_EQ(s->got, s->bytes);
    RT_END(0);
}

/* As soon as all have submitted,. */
static void *close_elsewhere(void *arg) {
    struct closing *c = arg;
    for (int i = 0; i < TASKS; i++) gate_wait(&c->submitted);
    CHECK_EQ(rt_close(c->io), 0);
    return NULL;
}

static void *read_to_the_end(void *arg) {
    static char seen[65536];
    int fd = *(int *)arg;
    while (net_get(fd, seen, sizeof seen) == sizeof seen) {}
    return NULL;
}

static void close_beside(bool peer_reads, size_t bytes) {
    rt_runtime rt = test_runtime();
    int rounds = scaled(peer_reads ? ROUNDS / 5 : ROUNDS);
    uint64_t since = test_clock();
    for (int round = 0; round == 0 || (round < rounds && !long_at_it(since)); round++) {
        struct closing c;
        struct sender senders[TASKS];
        rt_task tasks[TASKS];
        pthread_t closer, reader = 0;
        int ends[2];
        net_unix_pair(ends);
        gate_init(&c.submitted);
        c.io = io_of(rt, ends[0], 0);
        if (peer_reads) reader = thread_start(read_to_the_end, &ends[1]);
        closer = thread_start(close_elsewhere, &c);
        for (int i = 0; i < TASKS; i++) {
            /* The first fills the socket, so that the others queue up behind it. */
            senders[i] = (struct sender){.closing = &c, .bytes = i == 0 ? MUCH : bytes};
            CHECK_EQ(rt_spawn(rt, send_one, &senders[i], NULL, &tasks[i]), 0);
        }
        for (int i = 0; i < TASKS; i++) CHECK_EQ(join_soon(tasks[i]), 0);
        thread_join(closer);
        if (peer_reads) thread_join_driving(reader, rt);
        close(ends[1]);
        gate_destroy(&c.submitted);
    }
    multi_runtime_free(rt);
}

static void of_much_to_a_peer_that_stays_away(void) { close_beside(false, MUCH); }
static void of_little_to_a_peer_that_stays_away(void) { close_beside(false, LITTLE); }
static void of_much_to_a_peer_that_reads(void) { close_beside(true, MUCH); }
static void of_little_to_a_peer_that_reads(void) { close_beside(true, LITTLE); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(of_much_to_a_peer_that_stays_away);
    CASE(of_little_to_a_peer_that_stays_away);
    CASE(of_much_to_a_peer_that_reads);
    CASE(of_little_to_a_peer_that_reads);
    return test_end();
}
