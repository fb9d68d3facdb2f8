/* Few and many wait for one thing: each may be woken for nothing, end, or come late, and all that are left hear of
 * it once it comes.
 */
#include "ready.h"
#include "soon.h"

enum { MOST = 300 };

static rt_runtime rt;
static rt_event event;
static rt_timer timer;
static rt_set set;
static rt_io io;
static rt_task victim;
static int peer;

struct kind {
    int64_t (*poll)(rt_cx *cx);
    void (*fire)(void);
};

struct one {
    const struct kind *kind;
    atomic_int polls;
    rt_task task;
};

static struct one all[MOST];

static int64_t poll_event(rt_cx *cx) { return rt_poll_event(cx, event); }
static int64_t poll_timer(rt_cx *cx) { return rt_poll_timer(cx, timer); }
static int64_t poll_flush(rt_cx *cx) { return rt_poll_flush(cx, io, 0); }

static int64_t poll_io(rt_cx *cx) {
    rt_ready ready;
    return rt_poll_ready(cx, io, RT_READABLE, &ready);
}

/* One gets what all wait for; there is nothing left for the others. */
static int64_t poll_join(rt_cx *cx) {
    int64_t r = rt_poll_join(cx, victim, NULL);
    return r == -EBADF || r == -ECANCELED ? 0 : r;
}

static int64_t poll_set(rt_cx *cx) {
    uint64_t key;
    int64_t r = rt_poll_set(cx, set, &key);
    return r == -ENOENT ? 0 : r;
}

static void set_event(void) { CHECK_EQ(rt_event_set(event), 0); }
static void fire_timer(void) { CHECK_OK(rt_timer_reset(timer, 0)); }
static void write_one(void) { CHECK_EQ(write(peer, "x", 1), 1); }
static void end_victim(void) { CHECK_EQ(rt_abort(victim), 0); }

/* What there is to read for the peer, when all went. */
static ssize_t sent;

/* The runtime's threads send while this reads. */
static bool is_drained(void *arg) {
    static char sink[65536];
    (void)arg;
    for (ssize_t r; (r = read(peer, sink, sizeof sink)) > 0;) sent -= r;
    return sent == 0;
}

static void drain(void) { drive_until(rt, is_drained, NULL); }

static int64_t never(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static int64_t wait_for(rt_cx *cx, void *state) {
    struct one *one = state;
    int64_t r = one->kind->poll(cx);
    atomic_fetch_add(&one->polls, 1);
    return r;
}

static int64_t fill_set(rt_cx *cx, void *state) {
    (void)state;
    return rt_set_add(cx, set, victim, 1);
}

/* What is waited for, of all kinds. */
static void scene(void) {
    int ends[2];
    static char full[65536];
    rt = test_runtime();
    net_unix_pair(ends);
    peer = ends[1];
    CHECK_EQ(rt_event_new(rt, &event), 0);
    CHECK_EQ(rt_timer_start(rt, RT_NEVER, &timer), 0);
    CHECK_EQ(rt_set_new(rt, &set), 0);
    CHECK_EQ(rt_register_fd(rt, ends[0], RT_READABLE | RT_WRITABLE, &io), 0);
    sent = 0;
    for (ssize_t r; (r = write(ends[0], full, sizeof full)) > 0;) sent += r;
    while (write(ends[0], full, 1) > 0) sent++;
    CHECK_EQ(rt_send(io, full, 100), 100);
    sent += 100;
    CHECK_EQ(rt_spawn(rt, never, NULL, NULL, &victim), 0);
    CHECK_EQ(rt_block_on(rt, fill_set, NULL), 0);
}

static void end_scene(void) {
    (void)rt_abort(victim); /* it was, or is joined here */
    (void)rt_join(victim, soon_ns, NULL);
    CHECK_EQ(rt_event_free(event), 0);
    CHECK_OK(rt_timer_cancel(timer));
    CHECK_EQ(rt_set_free(set), 0);
    CHECK_EQ(rt_close(io), 0);
    close(peer);
    test_runtime_free(rt);
}

struct polled {
    int count, polls;
};

static bool all_polled(void *arg) {
    const struct polled *want = arg;
    for (int i = 0; i < want->count; i++)
        if (atomic_load(&all[i].polls) < want->polls) return false;
    return true;
}

static void begin(struct one *one, const struct kind *kind) {
    one->kind = kind;
    atomic_store(&one->polls, 0);
    CHECK_EQ(rt_spawn(rt, wait_for, one, NULL, &one->task), 0);
}

static void so_many(const struct kind *kind, int count) {
    scene();
    for (int i = 0; i < count; i++) begin(&all[i], kind);
    drive_until(rt, all_polled, &(struct polled){count, 1});
    for (int i = 0; i < count; i++) CHECK_OK(rt_task_wake(all[i].task));
    drive_until(rt, all_polled, &(struct polled){count, 2});
    for (int i = 0; i < count; i += 3) CHECK_EQ(rt_abort(all[i].task), 0);
    for (int i = 0; i < count; i += 3) CHECK_EQ(join_soon(all[i].task), -ECANCELED);
    for (int i = 0; i < count; i += 3) begin(&all[i], kind);
    drive_until(rt, all_polled, &(struct polled){count, 1});
    kind->fire();
    for (int i = 0; i < count; i++) CHECK_EQ(join_soon(all[i].task), 0);
    end_scene();
}

static void few_and_many(int64_t (*poll)(rt_cx *cx), void (*fire)(void)) {
    static const int counts[] = {1, 2, 15, 16, 17, 18, 40, MOST};
    const struct kind kind = {poll, fire};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) so_many(&kind, counts[i]);
}

static void for_an_event(void) { few_and_many(poll_event, set_event); }
static void for_a_timer(void) { few_and_many(poll_timer, fire_timer); }
static void for_a_descriptor(void) { few_and_many(poll_io, write_one); }
static void for_a_task(void) { few_and_many(poll_join, end_victim); }
static void for_a_set(void) { few_and_many(poll_set, end_victim); }
static void for_a_queue(void) { few_and_many(poll_flush, drain); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(for_an_event);
    CASE(for_a_timer);
    CASE(for_a_descriptor);
    CASE(for_a_task);
    CASE(for_a_set);
    CASE(for_a_queue);
    return test_end();
}
