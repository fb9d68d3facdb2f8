/* poll(2), with which the library asks for what is ready now, by a function of this program's: it fails,
 * or something comes just after it was asked. What was heard of stands, and nobody waits for it again.
 */
#include "op.h"
#include "watch.h"

#include <sys/syscall.h>

/* ---- the system's answer ---- */

static struct {
    _Atomic int fd;    /* whose answer it is about; -1: of nobody */
    _Atomic int error; /* says this once, in place of what it knows */
    void (*_Atomic then)(void); /* done once, when it was asked */
    atomic_int asked;
} answer = {.fd = -1};

int poll(struct pollfd *fds, nfds_t n, int ms) {
    struct pollfd *volatile first = fds; /* of poll the C library's header says that it only writes */
    bool meant = n == 1 && first->fd == atomic_load(&answer.fd) && ms == 0;
    int error = meant ? atomic_exchange(&answer.error, 0) : 0;
    if (error != 0) {
        errno = error;
        return -1;
    }
    struct timespec timeout = {ms / 1000, ms % 1000 * 1000000L};
    int r = (int)syscall(SYS_ppoll, fds, n, ms < 0 ? NULL : &timeout, NULL, 0);
    void (*then)(void) = meant ? atomic_exchange(&answer.then, NULL) : NULL;
    if (then != NULL) then();
    if (meant) atomic_fetch_add(&answer.asked, 1);
    return r;
}

static const int errors[] = {EINTR, ENOMEM, EPERM};
enum { ERRORS = sizeof errors / sizeof errors[0] };

static void answer_with(int fd, int error) {
    atomic_store(&answer.error, error);
    atomic_store(&answer.fd, fd);
}

static void answer_truly(void) {
    CHECK_EQ(atomic_load(&answer.error), 0); /* it was asked */
    atomic_store(&answer.fd, -1);
}

/* ---- it fails ---- */

static void level_polls(void) {
    for (int i = 0; i < ERRORS; i++) {
        struct scene s;
        rt_ready got;
        scene_open(&s, net_pair, RW);
        net_put(s.far, "x", 1);
        await_ready(&s.hand, s.io, RT_READABLE);
        answer_with(s.near, errors[i]);
        AWAIT_EQ(&s.hand, 0, rt_poll_level(s.hand.cx, s.io, RT_READABLE, &got));
        CHECK_EQ(got.bits, RT_READABLE);
        answer_truly();
        scene_close(&s);
    }
}

static void read_one(struct watched *w, uint32_t ready) {
    char byte;
    CHECK_EQ(ready, RT_READABLE);
    ssize_t n = read(w->fd, &byte, 1);
    if (n < 0) CHECK_EQ(errno, EAGAIN); /* it was gone when nobody could be asked */
}

static bool nothing_is_left(void *arg) {
    int n = 0;
    CHECK_SYS(ioctl(*(int *)arg, FIONREAD, &n));
    return n == 0;
}

static void watches(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < 10 * ERRORS; i++) {
        struct watched w;
        watched_pair(&w, rt, net_unix_pair, read_one);
        CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
        deliver(rt);
        answer_with(w.fd, errors[i % ERRORS]);
        net_put(w.far, "0123456789", 10);
        drive_until(rt, nothing_is_left, &w.fd);
        answer_truly();
        watched_close(&w);
    }
    test_runtime_free(rt);
}

/* ---- something comes just after it was asked ---- */

/* The event is delivered by the worker that has the descriptor, while another one's splice asks. */
static struct pipeline {
    rt_runtime rt;
    int ends[2], sink[2];
    rt_io from, to;
    rt_op op;
    int64_t r;
    rt_frame frame;
    pthread_t home;
} line;

static void fill(void) {
    rt_ready got = {0, 0};
    net_put(line.ends[1], "x", 1);
    /* Where nobody else delivers it, it comes later. */
    for (uint64_t until = rt_now() + 1000000000; got.bits == 0 && rt_now() < until; sched_yield())
        CHECK_EQ(rt_try_ready(line.from, RT_READABLE, &got), 0);
}

static int64_t take_home(rt_cx *cx, void *state) {
    struct pipeline *p = state;
    p->home = pthread_self();
    return rt_io_rehome(cx, p->from);
}

static int64_t splice_elsewhere(rt_cx *cx, void *state) {
    struct pipeline *p = state;
    RT_BEGIN(&p->frame);
    if (!current_thread() && pthread_equal(p->home, pthread_self())) RT_RETURN(-EXDEV);
    if (!current_thread()) atomic_store(&answer.then, fill);
    CHECK_EQ(rt_submit_splice(cx, p->from, RT_OFFSET_CURRENT, p->to, RT_OFFSET_CURRENT, 1, 0, &p->op), 0);
    p->r = rt_poll_op(cx, p->op);
    if (p->r != RT_PENDING) RT_RETURN(p->r);
    /* It asked nobody, or nobody else would have delivered it. */
    if (current_thread() || atomic_exchange(&answer.then, NULL) != NULL) net_put(p->ends[1], "x", 1);
    RT_AWAIT(p->r, rt_poll_op(cx, p->op));
    RT_END(p->r);
}

static int64_t pinned(rt_poll_fn poll) {
    const rt_spawn_opts opts = {.size = sizeof opts, .flags = RT_SPAWN_PINNED, .poll = poll, .state = &line};
    rt_task task;
    CHECK_EQ(rt_spawn_with(line.rt, &opts, &task), 0);
    return join_soon(task);
}

static void splices(void) {
    int64_t r;
    memset(&line, 0, sizeof line);
    line.rt = test_runtime();
    net_pipe(line.ends);
    net_unix_pair(line.sink);
    line.from = io_of(line.rt, line.ends[0], RT_READABLE);
    line.to = io_of(line.rt, line.sink[0], RT_WRITABLE);
    CHECK_EQ(pinned(take_home), 0);
    atomic_store(&answer.fd, line.ends[0]);
    while ((r = pinned(splice_elsewhere)) == -EXDEV) line.frame = (rt_frame){0};
    CHECK_EQ(r, 1);
    atomic_store(&answer.fd, -1);
    CHECK_EQ(rt_close(line.from), 0);
    CHECK_EQ(rt_close(line.to), 0);
    close(line.ends[1]);
    close(line.sink[1]);
    op_runtime_free(line.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(level_polls);
    CASE(watches);
    CASE(splices);
    return test_end();
}
