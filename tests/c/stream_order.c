/* Many senders on one stream, threads and tasks, by every call that sends: what each sends arrives
 * in its order, and no record is torn, however slowly the peer reads.
 */
#include "multi.h"

enum { THREADS = 8, TASKS = 8, SENDERS = THREADS + TASKS };
enum { RECORDS = 200, LONGEST = 1400, BURST = 5 };

struct head {
    uint32_t magic;
    uint16_t sender, length; /* of the whole record */
    uint32_t number;
};

enum { MAGIC = 0x5ec0d5, SHORTEST = sizeof(struct head) };

static size_t record_make(void *out, int sender, int number) {
    struct head head = {MAGIC, (uint16_t)sender, 0, (uint32_t)number};
    size_t rest = (size_t)(sender * 89 + number * 137) % (LONGEST - SHORTEST);
    head.length = (uint16_t)(SHORTEST + rest);
    memcpy(out, &head, sizeof head);
    net_pattern((char *)out + SHORTEST, head.length - SHORTEST, head.sender, head.number);
    return head.length;
}

struct stage {
    rt_io io;
    int far, records;
};

static struct stage stage;

/* ---- the slow reader ---- */

static void *read_records(void *arg) {
    (void)arg;
    uint32_t next[SENDERS] = {0};
    char body[LONGEST];
    for (int left = SENDERS * stage.records; left > 0; left--) {
        struct head head;
        CHECK_EQ(net_get(stage.far, &head, sizeof head), sizeof head);
        CHECK_EQ(head.magic, MAGIC);
        CHECK(head.sender < SENDERS);
        CHECK_EQ(head.number, next[head.sender]++);
        size_t rest = head.length - sizeof head;
        CHECK_EQ(net_get(stage.far, body, rest), rest);
        CHECK(net_pattern_holds(body, rest, head.sender, head.number));
        if (left % 4 == 0) sched_yield();
    }
    return NULL;
}

/* ---- threads ---- */

static int64_t send_once(const void *data, size_t n, bool as_blob) {
    if (!as_blob) return rt_send(stage.io, data, n);
    rt_blob blob;
    CHECK_EQ(rt_blob_new(data, n, &blob), 0);
    int64_t r = rt_send_blob(stage.io, blob);
    CHECK_EQ(rt_blob_free(blob), 0);
    return r;
}

static void *send_from_thread(void *arg) {
    int sender = *(int *)arg;
    char data[LONGEST];
    for (int number = 0; number < stage.records; number++) {
        size_t n = record_make(data, sender, number);
        int64_t r;
        while ((r = send_once(data, n, number % 3 == 0)) == -EAGAIN) sched_yield();
        CHECK_EQ(r, n);
    }
    return NULL;
}

/* ---- tasks: several sends at a time ---- */

struct sender {
    rt_frame frame;
    int sender, number, at;
    int64_t got;
    rt_op ops[BURST];
    struct iovec iov[BURST][3];
    struct msghdr msg[BURST];
    size_t length[BURST];
    char data[BURST][LONGEST];
};

/* In three pieces, of which the middle one is empty. */
static struct iovec *in_pieces(struct sender *s, int i) {
    size_t first = s->length[i] / 3;
    s->iov[i][0] = (struct iovec){s->data[i], first};
    s->iov[i][1] = (struct iovec){NULL, 0};
    s->iov[i][2] = (struct iovec){s->data[i] + first, s->length[i] - first};
    return s->iov[i];
}

/* One way or another; without an operation it is over when this returns. */
static int64_t send_somehow(rt_cx *cx, struct sender *s, int i) {
    s->ops[i] = 0;
    switch ((s->number + i + s->sender) % 6) {
    case 0: return send_once(s->data[i], s->length[i], false);
    case 1: return send_once(s->data[i], s->length[i], true);
    case 2: return rt_submit_send(cx, stage.io, s->data[i], s->length[i], 0, &s->ops[i]);
    case 3:
        s->msg[i] = (struct msghdr){.msg_iov = in_pieces(s, i), .msg_iovlen = 3};
        return rt_submit_sendmsg(cx, stage.io, &s->msg[i], 0, &s->ops[i]);
    case 4:
        return rt_submit_write(cx, stage.io, s->data[i], s->length[i], RT_OFFSET_CURRENT, 0,
                               &s->ops[i]);
    default:
        return rt_submit_writev(cx, stage.io, in_pieces(s, i), 3, RT_OFFSET_CURRENT, 0, &s->ops[i]);
    }
}

static int64_t send_from_task(rt_cx *cx, void *state) {
    struct sender *s = state;
    RT_BEGIN(&s->frame);
    while (s->number < stage.records) {
        for (s->at = 0; s->at < BURST; s->at++) {
            s->length[s->at] = record_make(s->data[s->at], s->sender, s->number + s->at);
            while ((s->got = send_somehow(cx, s, s->at)) == -EAGAIN) RT_YIELD(cx);
            CHECK_EQ(s->got, s->ops[s->at] != 0 ? 0 : (int64_t)s->length[s->at]);
        }
        for (s->at = 0; s->at < BURST; s->at++) {
            if (s->ops[s->at] == 0) continue;
            RT_AWAIT(s->got, rt_poll_op(cx, s->ops[s->at]));
            CHECK_EQ(s->got, s->length[s->at]);
        }
        s->number += BURST;
    }
    RT_END(0);
}

/* ---- all together ---- */

static void all_senders(void (*connect_ends)(int[2]), int task_from) {
    static struct sender senders[SENDERS];
    int ends[2], numbers[SENDERS];
    rt_task tasks[SENDERS];
    pthread_t threads[SENDERS];
    memset(senders, 0, sizeof senders);
    connect_ends(ends);
    net_small_buffer(ends[0]);
    rt_runtime rt = test_runtime();
    stage = (struct stage){io_of(rt, ends[0], 0), ends[1], scaled(RECORDS / BURST) * BURST};
    pthread_t reader = thread_start(read_records, NULL);
    for (int i = 0; i < SENDERS; i++) {
        numbers[i] = senders[i].sender = i;
        if (i < task_from) threads[i] = thread_start(send_from_thread, &numbers[i]);
        else CHECK_EQ(rt_spawn(rt, send_from_task, &senders[i], NULL, &tasks[i]), 0);
    }
    for (int i = task_from; i < SENDERS; i++) CHECK_EQ(join_task(tasks[i]), 0);
    for (int i = 0; i < task_from; i++) thread_join_driving(threads[i], rt);
    struct hand hand;
    hand_open(&hand, rt);
    AWAIT_EQ(&hand, 0, rt_poll_flush(hand.cx, stage.io, 0));
    hand_close(&hand);
    thread_join(reader);
    CHECK_EQ(rt_close(stage.io), 0);
    close(ends[1]);
    multi_runtime_free(rt);
    hand_check(&hand);
}

static void threads_and_tasks_over_tcp(void) { all_senders(net_pair, THREADS); }
static void threads_and_tasks_over_unix(void) { all_senders(net_unix_pair, THREADS); }
static void only_threads(void) { all_senders(net_unix_pair, SENDERS); }
static void only_tasks(void) { all_senders(net_unix_pair, 0); }

/* ---- sends of nothing have their place, too ---- */

enum { EMPTY = 200 };

struct empties {
    struct steps steps;
    rt_op ops[EMPTY];
    char large[50000];
    int at;
};

static int64_t send_nothing(rt_cx *cx, void *state) {
    struct empties *e = state;
    struct steps *s = &e->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    net_small_buffer(s->near);
    s->n = net_stuff(s->near);
    CHECK_EQ(rt_submit_send(cx, s->io, e->large, sizeof e->large, 0, &s->op), 0);
    for (int i = 0; i < EMPTY; i++) {
        if (i % 2 == 0) CHECK_EQ(rt_submit_send(cx, s->io, "", 0, 0, &e->ops[i]), 0);
        else CHECK_EQ(rt_submit_send(cx, s->io, "x", 1, 0, &e->ops[i]), 0);
    }
    for (int i = 0; i < EMPTY; i++) {
        CHECK_EQ(rt_submit_send(cx, s->io, "", 0, 0, &s->other), 0);
        CHECK_EQ(rt_op_forget(s->other, NULL, NULL), 0);
    }
    for (s->i = 0; (size_t)s->i < s->n + sizeof e->large;) {
        ssize_t r = read(s->far, s->buf, 1000);
        s->i += r > 0 ? (int)r : 0;
        RT_YIELD(cx);
    }
    OP_TAKE_EQ(s, sizeof e->large);
    for (e->at = 0; e->at < EMPTY; e->at++) {
        RT_AWAIT(s->got, rt_poll_op(cx, e->ops[e->at]));
        CHECK_EQ(s->got, e->at % 2);
    }
    RT_AWAIT(s->got, rt_poll_quiesce(cx));
    CHECK_EQ(rt_close(s->io), 0);
    s->io = 0;
    CHECK_EQ((size_t)s->i + net_drain(s->far), s->n + sizeof e->large + EMPTY / 2);
    steps_close(s);
    RT_END(0);
}

static void hundreds_of_empty_sends(void) {
    static struct empties empties;
    memset(&empties, 0, sizeof empties);
    play_alone(send_nothing, &empties);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(threads_and_tasks_over_tcp);
    CASE(threads_and_tasks_over_unix);
    CASE(only_threads);
    CASE(only_tasks);
    CASE(hundreds_of_empty_sends);
    return test_end();
}
