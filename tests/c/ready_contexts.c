/* Contexts outside tasks: readiness and direct I/O with a waker of one's own. And a task's context
 * is good for its task's thread alone.
 */
#include "ready.h"

static void direct_calls_work_outside_tasks(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    char got[4];
    for (int i = 0; i < scaled(500); i++) {
        net_put(s.far, "ping", 4);
        size_t have = 0;
        while (have < 4) {
            int64_t r;
            AWAIT(&s.hand, r, rt_poll_read(s.hand.cx, s.io, got + have, 4 - have));
            CHECK(r > 0);
            have += (size_t)r;
        }
        size_t off = 0;
        AWAIT_EQ(&s.hand, 4, rt_poll_write_all(s.hand.cx, s.io, got, 4, &off));
        CHECK_EQ(net_get(s.far, got, 4), 4);
        CHECK(memcmp(got, "ping", 4) == 0);
    }
    scene_close(&s);
}

static void one_context_waits_for_many_descriptors(void) {
    enum { MANY = 20 };
    int fds[MANY][2];
    rt_io ios[MANY];
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    for (int i = 0; i < MANY; i++) {
        net_unix_pair(fds[i]);
        ios[i] = io_of(rt, fds[i][0], RW);
    }
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < MANY; k++) hand_park(&h, ios[k], RT_READABLE);
        int before = atomic_load(&h.wakes);
        net_put(fds[i][1], "x", 1);
        hand_wait_for(&h, before + 1);
        CHECK_EQ(await_ready(&h, ios[i], RT_READABLE).bits, RT_READABLE);
        net_drain(fds[i][0]);
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(rt_close(ios[i]), 0);
        close(fds[i][1]);
    }
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

static void a_freed_context_is_not_woken(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct hand gone;
    hand_open(&gone, s.rt);
    hand_park(&gone, s.io, RT_READABLE);
    hand_park(&s.hand, s.io, RT_READABLE);
    hand_close(&gone);
    int before = atomic_load(&gone.wakes);
    net_put(s.far, "x", 1);
    await_ready(&s.hand, s.io, RT_READABLE);
    deliver(s.rt);
    CHECK(atomic_load(&gone.wakes) - before <= 1); /* one late wake is allowed */
    scene_close(&s);
    hand_check(&gone);
}

/* From any one thread at a time. */
static void *poll_there(void *arg) {
    struct scene *s = arg;
    rt_ready got;
    int64_t r;
    while ((r = rt_poll_ready(s->hand.cx, s->io, RT_READABLE, &got)) == RT_PENDING)
        gate_wait(&s->hand.woken);
    CHECK_EQ(r, 0);
    return NULL;
}

static void a_context_wanders_between_threads(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < scaled(100); i++) {
        hand_park(&s.hand, s.io, RT_READABLE);
        int before = atomic_load(&s.hand.wakes);
        pthread_t thread = thread_start(poll_there, &s);
        net_put(s.far, "x", 1);
        struct waiter reader;
        waiter_start(&reader, s.rt, s.io, RT_READABLE); /* drives a current-thread runtime */
        CHECK_EQ(join_task(reader.task), 0);
        thread_join(thread);
        CHECK(atomic_load(&s.hand.wakes) >= before);
        net_drain(s.near);
    }
    scene_close(&s);
}

/* ---- a task's context on another thread ---- */

struct stolen {
    rt_io io;
    rt_cx *cx;
};

static void *use_it_elsewhere(void *arg) {
    struct stolen *stolen = arg;
    rt_cx *cx = stolen->cx;
    rt_ready got;
    char byte = 'x';
    size_t off = 0;
    CHECK_EQ(rt_poll_ready(cx, stolen->io, RT_READABLE, &got), -EPERM);
    CHECK_EQ(rt_poll_ready(cx, stolen->io, RT_WRITABLE, &got), -EPERM);
    CHECK_EQ(rt_poll_level(cx, stolen->io, RT_WRITABLE, &got), -EPERM);
    CHECK_EQ(rt_poll_read(cx, stolen->io, &byte, 1), -EPERM);
    CHECK_EQ(rt_poll_write(cx, stolen->io, &byte, 1), -EPERM);
    CHECK_EQ(rt_poll_write_all(cx, stolen->io, &byte, 1, &off), -EPERM);
    CHECK_EQ(rt_io_rehome(cx, stolen->io), -EPERM);
    return NULL;
}

static int64_t lend_context(rt_cx *cx, void *state) {
    struct stolen *stolen = state;
    stolen->cx = cx;
    on_thread(use_it_elsewhere, stolen);
    return 0;
}

static void the_context_of_a_task_is_refused_elsewhere(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct stolen stolen = {.io = s.io};
    CHECK_EQ(rt_block_on(s.rt, lend_context, &stolen), 0);
    CHECK_EQ(net_drain(s.far), 0); /* and nothing was written */
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(direct_calls_work_outside_tasks);
    CASE(one_context_waits_for_many_descriptors);
    CASE(a_freed_context_is_not_woken);
    CASE(a_context_wanders_between_threads);
    CASE(the_context_of_a_task_is_refused_elsewhere);
    return test_end();
}
