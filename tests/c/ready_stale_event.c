/* An event that was on its way when its descriptor was closed must not reach the stranger who was
 * given the same number, nor anybody else.
 */
#include "ready.h"

/* Closes a descriptor that has an event waiting, and gives its number to a quiet one. */
static void replace_with_a_quiet_one(struct scene *s, int64_t (*release)(rt_io)) {
    struct stat was = net_identity(s->near);
    net_put(s->far, "x", 1);
    CHECK_EQ(release(s->io), 0);
    if (release != rt_close) close(s->near);
    int fds[2];
    net_unix_pair(fds);
    int number = s->near;
    if (fds[0] != number) {
        /* The runtime may hold the old one for a moment; the number is free when it let go. */
        while (net_is_still(number, &was)) deliver(s->rt);
        CHECK_SYS(dup3(fds[0], number, O_CLOEXEC));
        close(fds[0]);
    }
    close(s->far);
    s->far = fds[1];
    s->io = io_of(s->rt, number, RW);
}

static void stays_quiet_until_its_own_event(struct scene *s) {
    struct waiter reader;
    waiter_start(&reader, s->rt, s->io, RT_READABLE);
    deliver(s->rt);
    CHECK(atomic_load(&reader.pending));
    CHECK_EQ(bits_of(s->io, RT_READABLE | RT_ERROR), 0);
    net_put(s->far, "y", 1);
    CHECK_EQ(join_task(reader.task), 0);
    CHECK_EQ(reader.got.bits, RT_READABLE);
}

static void after(int64_t (*release)(rt_io)) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    for (int i = 0; i < scaled(300); i++) {
        replace_with_a_quiet_one(&s, release);
        stays_quiet_until_its_own_event(&s);
    }
    scene_close(&s);
}

static void after_a_close(void) { after(rt_close); }
static void after_a_deregister(void) { after(rt_deregister); }

/* ---- a copy keeps the old file alive: the kernel goes on reporting it ---- */

static void a_file_that_outlives_its_number(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    for (int i = 0; i < scaled(100); i++) {
        int copy = (int)CHECK_SYS(fcntl(s.near, F_DUPFD_CLOEXEC, 0));
        int old_far = (int)CHECK_SYS(fcntl(s.far, F_DUPFD_CLOEXEC, 0));
        replace_with_a_quiet_one(&s, rt_close);
        net_put(old_far, "more", 4);
        stays_quiet_until_its_own_event(&s);
        close(old_far);
        close(copy);
    }
    scene_close(&s);
}

/* ---- within one batch: a waker closes what the next event is for ---- */

enum { BATCH = 16 };

struct batch {
    rt_runtime rt;
    rt_cx *cx;
    rt_io ios[BATCH];
    int far[BATCH];
    atomic_bool started, done;
    rt_io strangers[BATCH];
    int strangers_far[BATCH];
};

static void *batch_clone(void *data) { return data; }
static void batch_drop(void *data) { (void)data; }

/* Runs while the driver has the other events of the batch in its hand. */
static void batch_wake(void *data) {
    struct batch *b = data;
    if (atomic_exchange(&b->started, true)) return;
    for (int i = 0; i < BATCH; i++) {
        CHECK_EQ(rt_close(b->ios[i]), 0);
        int fds[2];
        net_unix_pair(fds);
        b->strangers[i] = io_of(b->rt, fds[0], RW);
        b->strangers_far[i] = fds[1];
    }
    atomic_store(&b->done, true);
}

static const rt_waker_vtable batch_vtable = {batch_clone, batch_wake, batch_wake, batch_drop};

static void within_a_batch(void) {
    static struct batch b;
    memset(&b, 0, sizeof b);
    b.rt = test_runtime();
    b.cx = context_with(b.rt, &batch_vtable, &b);
    for (int i = 0; i < BATCH; i++) {
        int fds[2];
        net_unix_pair(fds);
        b.ios[i] = io_of(b.rt, fds[0], RW);
        b.far[i] = fds[1];
        rt_ready got;
        CHECK_EQ(rt_poll_ready(b.cx, b.ios[i], RT_READABLE, &got), RT_PENDING);
    }
    /* Some may be closed by then: the first event is on its way. */
    for (int i = 0; i < BATCH; i++) send(b.far[i], "x", 1, MSG_NOSIGNAL);
    drive_until(b.rt, flag_set, &b.done);
    deliver(b.rt);
    struct hand h;
    hand_open(&h, b.rt);
    for (int i = 0; i < BATCH; i++) {
        await_ready(&h, b.strangers[i], RT_WRITABLE);
        CHECK_EQ(bits_of(b.strangers[i], RT_READABLE | RT_ERROR), 0);
        CHECK_EQ(rt_close(b.strangers[i]), 0);
        close(b.strangers_far[i]);
        close(b.far[i]);
    }
    hand_close(&h);
    CHECK_EQ(rt_cx_free(b.cx), 0);
    test_runtime_free(b.rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(after_a_close);
    CASE(after_a_deregister);
    CASE(a_file_that_outlives_its_number);
    CASE(within_a_batch);
    return test_end();
}
