/* rt_event_fd: readable for poll(2) whenever a turn has something to do, else quiet. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static void the_multi_thread_flavour_refuses(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_event_fd(rt), -EPERM);
    test_runtime_free(rt);
}

static bool readable(rt_runtime rt, int timeout) {
    struct pollfd p = {.fd = (int)CHECK_OK(rt_event_fd(rt)), .events = POLLIN};
    int n;
    do n = poll(&p, 1, timeout);
    while (n == -1 && errno == EINTR);
    CHECK_SYS(n);
    CHECK((p.revents & ~POLLIN) == 0);
    return n == 1;
}

/* Turns until there is nothing to do. It must become quiet: an embedder would spin otherwise. */
static void make_quiet(rt_runtime rt) {
    int64_t polls;
    do polls = CHECK_OK(rt_turn(rt, 0));
    while (polls > 0 || readable(rt, 0));
}

static void it_is_one_descriptor_that_is_not_inherited(void) {
    rt_runtime rt = test_runtime();
    int fd = (int)CHECK_OK(rt_event_fd(rt));
    CHECK_EQ(rt_event_fd(rt), fd);
    CHECK((CHECK_SYS(fcntl(fd, F_GETFD)) & FD_CLOEXEC) != 0);
    test_runtime_free(rt);
    CHECK_EQ(rt_event_fd(rt), -EBADF);
    CHECK_EQ(fcntl(fd, F_GETFD), -1); /* it was the runtime's */
}

static void a_fresh_runtime_becomes_quiet(void) {
    rt_runtime rt = test_runtime();
    make_quiet(rt);
    CHECK(!readable(rt, 0));
    test_runtime_free(rt);
}

static void a_spawn_of_our_own_shows(void) {
    rt_runtime rt = test_runtime();
    make_quiet(rt);
    probe p = {0};
    rt_task task = probe_spawn(rt, &p);
    CHECK(readable(rt, 0));
    CHECK_EQ(rt_turn(rt, 0), 1);
    make_quiet(rt);
    probe_finish(&p, task);
    CHECK(readable(rt, 0));
    CHECK_EQ(rt_turn(rt, 0), 1);
    CHECK_EQ(rt_join(task, 0, NULL), 0);
    test_runtime_free(rt);
}

/* ---- from other threads ---- */

struct visitor {
    rt_runtime rt;
    rt_task task;
    probe probe;
};

static void *wake_from_outside(void *arg) {
    struct visitor *v = arg;
    probe_finish(&v->probe, v->task);
    return NULL;
}

static void *spawn_from_outside(void *arg) {
    struct visitor *v = arg;
    atomic_store(&v->probe.ready, true);
    CHECK_EQ(rt_spawn(v->rt, probe_poll, &v->probe, probe_drop, NULL), 0);
    return NULL;
}

/* The poll(2) waits without a timeout: a wake that does not show hangs. */
static void wait_for(struct visitor *v, void *(*visit)(void *)) {
    make_quiet(v->rt);
    CHECK(!readable(v->rt, 0));
    pthread_t other = thread_start(visit, v);
    while (!probe_dropped(&v->probe)) {
        CHECK(readable(v->rt, -1));
        CHECK_OK(rt_turn(v->rt, 0));
    }
    thread_join(other);
}

static void a_foreign_wake_shows(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(300); i++) {
        struct visitor v = {.rt = rt};
        v.task = probe_spawn(rt, &v.probe);
        wait_for(&v, wake_from_outside);
        CHECK_EQ(rt_join(v.task, 0, NULL), 0);
    }
    test_runtime_free(rt);
}

static void a_foreign_spawn_shows(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(300); i++) {
        struct visitor v = {.rt = rt};
        wait_for(&v, spawn_from_outside);
    }
    test_runtime_free(rt);
}

/* ---- runnable tasks, I/O, nesting ---- */

static int64_t yield_often(rt_cx *cx, void *state) {
    int *left = state;
    return --*left > 0 ? rt_yield(cx) : 0;
}

static void it_stays_readable_while_tasks_are_runnable(void) {
    rt_runtime rt = test_runtime();
    int left = 1000;
    rt_task task;
    make_quiet(rt);
    CHECK_EQ(rt_spawn(rt, yield_often, &left, NULL, &task), 0);
    while (left > 0) {
        CHECK(readable(rt, 0));
        CHECK_OK(rt_turn(rt, 0));
    }
    make_quiet(rt);
    CHECK_EQ(rt_join(task, 0, NULL), 0);
    test_runtime_free(rt);
}

struct waiter {
    rt_io io;
    bool ready;
};

static int64_t wait_readable(rt_cx *cx, void *state) {
    struct waiter *w = state;
    rt_ready seen;
    int64_t r = rt_poll_ready(cx, w->io, RT_READABLE, &seen);
    if (r == RT_PENDING) return RT_PENDING;
    CHECK_EQ(r, 0);
    w->ready = true;
    return 0;
}

static void readiness_of_a_descriptor_shows(void) {
    rt_runtime rt = test_runtime();
    struct waiter w = {.ready = false};
    int fd = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE, &w.io), 0);
    CHECK_EQ(rt_spawn(rt, wait_readable, &w, NULL, NULL), 0);
    make_quiet(rt);
    CHECK(!w.ready);
    CHECK_SYS(eventfd_write(fd, 1));
    while (!w.ready) {
        CHECK(readable(rt, -1));
        CHECK_OK(rt_turn(rt, 0));
    }
    CHECK_EQ(rt_close(w.io), 0);
    make_quiet(rt);
    test_runtime_free(rt);
}

static void it_works_inside_an_epoll_set(void) {
    rt_runtime rt = test_runtime();
    struct visitor v = {.rt = rt};
    int set = (int)CHECK_SYS(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event e = {.events = EPOLLIN};
    CHECK_SYS(epoll_ctl(set, EPOLL_CTL_ADD, (int)CHECK_OK(rt_event_fd(rt)), &e));
    make_quiet(rt);
    pthread_t other = thread_start(spawn_from_outside, &v);
    while (!probe_dropped(&v.probe)) {
        int n = epoll_wait(set, &e, 1, -1);
        CHECK(n == 1 || (n == -1 && errno == EINTR));
        CHECK_OK(rt_turn(rt, 0));
    }
    thread_join(other);
    CHECK_SYS(close(set));
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (!current_thread()) {
        CASE(the_multi_thread_flavour_refuses);
        return test_end();
    }
    CASE(it_is_one_descriptor_that_is_not_inherited);
    CASE(a_fresh_runtime_becomes_quiet);
    CASE(a_spawn_of_our_own_shows);
    CASE(a_foreign_wake_shows);
    CASE(a_foreign_spawn_shows);
    CASE(it_stays_readable_while_tasks_are_runnable);
    CASE(readiness_of_a_descriptor_shows);
    CASE(it_works_inside_an_epoll_set);
    return test_end();
}
