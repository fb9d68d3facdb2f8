/* The ways in which connecting ends, beside success: at its deadline, by an abort, and with a
 * connection that nobody takes. No descriptor is left by any, which each case counts.
 */
#include "net.h"

/* A listener at whose address connections hang, for others fill its queue. */
struct wall {
    int listener, filling[4];
    uint16_t port;
};

static struct wall wall_up(void) {
    struct wall w = {.listener = net_listen(0)};
    struct sockaddr_in name = net_name(w.listener);
    w.port = ntohs(name.sin_port);
    for (int i = 0; i < 4; i++) {
        w.filling[i] = net_socket(SOCK_STREAM);
        if (connect(w.filling[i], (struct sockaddr *)&name, sizeof name) != 0) CHECK_EQ(errno, EINPROGRESS);
    }
    net_wait(w.listener, POLLIN); /* the first is in the queue */
    return w;
}

static void wall_down(struct wall *w) {
    close(w->listener);
    for (int i = 0; i < 4; i++) close(w->filling[i]);
}

static uint64_t now(void) {
    struct timespec t;
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &t));
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static rt_task begin(rt_runtime rt, uint16_t port, uint64_t deadline) {
    rt_tcp_opts opts;
    rt_task task = 0;
    CHECK_EQ(rt_tcp_opts_init(&opts, sizeof opts), 0);
    opts.deadline = deadline;
    CHECK_EQ(rt_tcp_connect(rt, "127.0.0.1", port, &opts, &task), 0);
    return task;
}

static bool is_under_way(void *arg) { return metrics(*(rt_runtime *)arg).ios_live > 0; }

static void at_the_deadline(void) {
    struct wall w = wall_up();
    rt_runtime rt = test_runtime();
    uint64_t at = now() + 50000000;
    CHECK_EQ(join_task(begin(rt, w.port, at)), -ETIME);
    CHECK(now() >= at);
    CHECK_EQ(join_task(begin(rt, w.port, 1)), -ETIME); /* long ago */
    wall_down(&w);
    test_runtime_free(rt);
}

static void by_an_abort(void) {
    struct wall w = wall_up();
    rt_runtime rt = test_runtime();
    int before = open_fds();
    for (int i = 0; i < 10; i++) {
        rt_task task = begin(rt, w.port, RT_NEVER);
        if (i % 2 == 0) drive_until(rt, is_under_way, &rt);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        settle(rt);
        CHECK_EQ(open_fds(), before);
    }
    wall_down(&w);
    test_runtime_free(rt);
}

static void by_a_shutdown(void) {
    struct wall w = wall_up();
    rt_runtime rt = test_runtime();
    rt_task task = begin(rt, w.port, RT_NEVER);
    drive_until(rt, is_under_way, &rt);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    int64_t result = 0;
    CHECK_EQ(rt_join(task, RT_NEVER, &result), 0);
    if (result != -ESHUTDOWN) CHECK_EQ(result, -ECANCELED); /* what its socket said, or an abort */
    CHECK_EQ(rt_tcp_connect(rt, "127.0.0.1", w.port, NULL, &task), -ESHUTDOWN);
    CHECK_EQ(task, 0);
    wall_down(&w);
    CHECK_EQ(rt_free(rt), 0);
}

/* The far end of a connection whose task is dealt with by `deal` sees the end of the stream. */
static void nobody_takes(void (*deal)(rt_runtime rt, rt_task task)) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(4), before = open_fds();
    rt_task task = begin(rt, ntohs(net_name(listener).sin_port), 0);
    deal(rt, task);
    int far = net_take(listener);
    char byte;
    net_wait(far, POLLIN);
    CHECK_EQ(read(far, &byte, 1), 0);
    close(far);
    settle(rt);
    CHECK_EQ(open_fds(), before);
    CHECK_EQ(rt_join(task, 0, NULL), -EBADF);
    close(listener);
    test_runtime_free(rt);
}

static bool has_ended(void *arg) { return live_tasks(*(rt_runtime *)arg) <= 1; }

static void detach_at_once(rt_runtime rt, rt_task task) {
    CHECK_EQ(rt_detach(task), 0);
    settle(rt);
}
static void detached_at_once(void) { nobody_takes(detach_at_once); }

static void detach_later(rt_runtime rt, rt_task task) {
    drive_until(rt, has_ended, &rt);
    CHECK_EQ(metrics(rt).ios_live, 1);
    CHECK_EQ(rt_detach(task), 0);
}
static void detached_later(void) { nobody_takes(detach_later); }

static void join_without_result(rt_runtime rt, rt_task task) {
    (void)rt;
    CHECK_EQ(rt_join(task, RT_NEVER, NULL), 0);
}
static void joined_without_result(void) { nobody_takes(join_without_result); }

struct joining {
    rt_task task;
    int64_t result, *out;
};

static int64_t join_in_a_poll(rt_cx *cx, void *state) {
    struct joining *j = state;
    return rt_poll_join(cx, j->task, j->out);
}

static void poll_join_without_result(rt_runtime rt, rt_task task) {
    struct joining j = {.task = task};
    CHECK_EQ(rt_block_on(rt, join_in_a_poll, &j), 0);
}
static void joined_in_a_poll_without_result(void) { nobody_takes(poll_join_without_result); }

/* It is never joined, nor detached. */
static void left_to_the_runtime(void) {
    int listener = net_listen(4);
    rt_runtime rt = test_runtime();
    rt_task task = begin(rt, ntohs(net_name(listener).sin_port), 0);
    drive_until(rt, has_ended, &rt);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(rt_join(task, 0, NULL), -EBADF);
    close(listener);
}

/* A set tells that it can be joined, and the join in a poll yields a descriptor that can be used. */
struct in_a_set {
    rt_task task;
    rt_set set;
    int64_t result;
    bool added;
};

static int64_t wait_in_a_set(rt_cx *cx, void *state) {
    struct in_a_set *s = state;
    uint64_t key = 0;
    if (!s->added) CHECK_EQ(rt_set_add(cx, s->set, s->task, 5), 0);
    s->added = true;
    int64_t r = rt_poll_set(cx, s->set, &key);
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, 0);
    CHECK_EQ(key, 5);
    CHECK_EQ(rt_poll_join(cx, s->task, &s->result), 0);
    return 0;
}

static void in_a_set(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(4);
    struct in_a_set s = {.task = begin(rt, ntohs(net_name(listener).sin_port), 0)};
    CHECK_EQ(rt_set_new(rt, &s.set), 0);
    CHECK_EQ(rt_block_on(rt, wait_in_a_set, &s), 0);
    CHECK(s.result > 0);
    CHECK_OK(rt_io_fd((rt_io)s.result));
    CHECK_EQ(rt_close((rt_io)s.result), 0);
    CHECK_EQ(rt_set_free(s.set), 0);
    close(listener);
    test_runtime_free(rt);
}

/* Aborts that race the end: the handle that the join yields is good, or it is an error. */
static void aborts_that_race(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(4);
    uint16_t port = ntohs(net_name(listener).sin_port);
    for (int i = scaled(400); i > 0; i--) {
        rt_task task = begin(rt, port, 0);
        for (volatile int j = i * 50; j > 0; j--) {}
        CHECK_EQ(rt_abort(task), 0);
        int64_t r = join_task(task);
        if (r < 0) CHECK_EQ(r, -ECANCELED);
        else CHECK_EQ(rt_close((rt_io)r), 0);
        int far;
        while ((far = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) close(far);
    }
    close(listener);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(at_the_deadline);
    CASE(by_an_abort);
    CASE(by_a_shutdown);
    CASE(detached_at_once);
    CASE(detached_later);
    CASE(joined_without_result);
    CASE(joined_in_a_poll_without_result);
    CASE(left_to_the_runtime);
    CASE(in_a_set);
    CASE(aborts_that_race);
    return test_end();
}
