/* rt_deregister returns when no direct call uses the descriptor any more; inside such a call it can
 * only fail, since it would wait for itself.
 */
#include "ready.h"

/* ---- another thread's attempt ---- */

struct attempt {
    rt_io io;
    gate inside, calling;
    atomic_bool left;
    int64_t released;
};

/* Leaves some time after the other thread began to call: too late if the call did not wait. */
static int64_t linger(int fd, void *arg) {
    struct attempt *a = arg;
    gate_open(&a->inside);
    gate_wait(&a->calling);
    for (int i = 0; i < 200; i++) {
        CHECK(net_is_open(fd));
        sched_yield();
    }
    atomic_store(&a->left, true);
    return 7;
}

static int64_t poll_attempt(rt_cx *cx, void *state) {
    struct attempt *a = state;
    return rt_poll_try(cx, a->io, RT_WRITABLE, linger, a);
}

static void *deregister_meanwhile(void *arg) {
    struct attempt *a = arg;
    gate_wait(&a->inside);
    gate_open(&a->calling);
    a->released = rt_deregister(a->io);
    CHECK(atomic_load(&a->left));
    return NULL;
}

static void the_attempt_of_another_thread_is_waited_for(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct attempt a = {.io = s.io, .released = RT_PENDING};
    gate_init(&a.inside);
    gate_init(&a.calling);
    pthread_t thread = thread_start(deregister_meanwhile, &a);
    CHECK_EQ(rt_block_on(s.rt, poll_attempt, &a), 7);
    thread_join(thread);
    CHECK_EQ(a.released, 0);
    CHECK(net_is_open(s.near));
    close(s.near);
    s.io = 0;
    gate_destroy(&a.inside);
    gate_destroy(&a.calling);
    scene_close(&s);
}

/* ---- one's own attempt ---- */

struct own {
    rt_io io;
    int64_t (*release)(rt_io);
    int64_t released;
    bool open_inside;
};

static int64_t release_inside(int fd, void *arg) {
    struct own *o = arg;
    o->released = o->release(o->io);
    o->open_inside = net_is_open(fd);
    return 7;
}

static int64_t poll_own(rt_cx *cx, void *state) {
    struct own *o = state;
    return rt_poll_try(cx, o->io, RT_WRITABLE, release_inside, o);
}

static void inside_the_own_attempt_it_fails(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct own o = {.io = s.io, .release = rt_deregister};
    CHECK_EQ(rt_block_on(s.rt, poll_own, &o), 7);
    CHECK_EQ(o.released, -EDEADLK);
    AWAIT_EQ(&s.hand, 7, rt_poll_try(s.hand.cx, s.io, RT_WRITABLE, release_inside, &o));
    CHECK_EQ(o.released, -EDEADLK);

    CHECK_EQ(rt_io_fd(s.io), s.near); /* nothing happened to it */
    net_put(s.far, "x", 1);
    await_ready(&s.hand, s.io, RT_READABLE);
    CHECK_EQ(rt_deregister(s.io), 0);
    close(s.near);
    s.io = 0;
    scene_close(&s);
}

static void closing_inside_waits_for_the_end_of_the_attempt(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    struct own o = {.io = s.io, .release = rt_close};
    rt_block_on(s.rt, poll_own, &o); /* 7, or stale: both are true */
    CHECK_EQ(o.released, 0);
    CHECK(o.open_inside);
    CHECK(!net_is_open(s.near));
    CHECK_EQ(rt_io_fd(s.io), -EBADF);
    s.io = 0;
    scene_close(&s);
}

/* ---- two at once ---- */

struct race {
    rt_io io;
    atomic_int done, failed;
};

static void *deregister_once(void *arg) {
    struct race *race = arg;
    int64_t r = rt_deregister(race->io);
    CHECK(r == 0 || r == -EBADF);
    atomic_fetch_add(r == 0 ? &race->done : &race->failed, 1);
    return NULL;
}

static void of_two_only_one_succeeds(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < scaled(500); i++) {
        struct race race = {.io = s.io};
        pthread_t thread = thread_start(deregister_once, &race);
        deregister_once(&race);
        thread_join(thread);
        CHECK_EQ(atomic_load(&race.done), 1);
        CHECK_EQ(atomic_load(&race.failed), 1);
        s.io = io_of(s.rt, s.near, RW);
    }
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_attempt_of_another_thread_is_waited_for);
    CASE(inside_the_own_attempt_it_fails);
    CASE(closing_inside_waits_for_the_end_of_the_attempt);
    CASE(of_two_only_one_succeeds);
    return test_end();
}
