/* Splicing between pipes, sockets and files. An empty pipe that does not block is waited for all
 * the same, and a full one too; offsets are a file's; nobody is killed where nobody reads.
 */
#include "op.h"
#include "soon.h"

struct plumbing {
    struct steps steps;
    int pipe[2], file;
    rt_io out_of, into; /* the pipe's ends */
    rt_op op;
    int64_t got;
};

static struct plumbing plumbing;

static void play_with(const rt_config *config, rt_poll_fn body) {
    memset(&plumbing, 0, sizeof plumbing);
    rt_runtime rt = test_runtime_with(config);
    net_pipe(plumbing.pipe);
    plumbing.out_of = io_of(rt, plumbing.pipe[0], 0);
    plumbing.into = io_of(rt, plumbing.pipe[1], 0);
    CHECK_EQ(rt_block_on(rt, body, &plumbing), 0);
    CHECK_EQ(rt_close(plumbing.out_of), 0);
    CHECK_EQ(rt_close(plumbing.into), 0);
    steps_close(&plumbing.steps);
    op_runtime_free(rt);
}

static void play(rt_poll_fn body) {
    rt_config config = test_config();
    play_with(&config, body);
}

static int64_t move(rt_cx *cx, rt_io from, rt_io to, size_t n, rt_op *out) {
    return rt_submit_splice(cx, from, RT_OFFSET_CURRENT, to, RT_OFFSET_CURRENT, n, 0, out);
}

/* ---- pipes and sockets ---- */

static int64_t pipe_to_socket(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(move(cx, p->out_of, s->io, 100, &p->op), 0);
    CHECK_EQ(rt_poll_op(cx, p->op), RT_PENDING);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, p->op), RT_PENDING);
    net_put(p->pipe[1], "hello", 5);
    OP_TAKE_EQ(p, 5);
    CHECK_EQ(net_get(s->far, s->buf, 5), 5);
    CHECK(memcmp(s->buf, "hello", 5) == 0);
    CHECK_EQ(rt_close(p->into), 0);
    p->into = 0;
    OP_EQ(p, 0, move(cx, p->out_of, s->io, 100, &p->op));
    RT_END(0);
}
static void from_a_pipe_to_a_socket(void) { play(pipe_to_socket); }

static int64_t socket_to_pipe(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    CHECK_EQ(move(cx, s->io, p->into, 100, &p->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, p->op), RT_PENDING);
    net_put(s->far, "hello", 5);
    OP_TAKE_EQ(p, 5);
    CHECK_EQ(net_get(p->pipe[0], s->buf, 5), 5);
    CHECK_EQ(move(cx, s->io, p->into, 100, &p->op), 0);
    OP_TURNS(s, 100);
    CHECK_SYS(shutdown(s->far, SHUT_WR));
    OP_TAKE_EQ(p, 0);
    RT_END(0);
}
static void from_a_socket_to_a_pipe(void) { play(socket_to_pipe); }

/* A full pipe is waited for, though the socket has something. */
static int64_t socket_to_full_pipe(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    s->n = net_stuff(p->pipe[1]);
    net_put(s->far, "later", 5);
    CHECK_EQ(move(cx, s->io, p->into, 100, &p->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, p->op), RT_PENDING);
    CHECK_EQ(net_drain(p->pipe[0]), s->n);
    OP_TAKE_EQ(p, 5);
    CHECK_EQ(net_get(p->pipe[0], s->buf, 5), 5);
    CHECK(memcmp(s->buf, "later", 5) == 0);
    RT_END(0);
}
static void a_full_pipe_is_waited_for(void) { play(socket_to_full_pipe); }

static int64_t pipe_to_pipe(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pipe_writer_first);
    CHECK_EQ(move(cx, p->out_of, s->io, 3, &p->op), 0);
    OP_TURNS(s, 100);
    net_put(p->pipe[1], "hello", 5);
    OP_TAKE_EQ(p, 3);
    CHECK_EQ(net_get(s->far, s->buf, 3), 3);
    OP_EQ(p, 2, move(cx, p->out_of, s->io, 100, &p->op));
    RT_END(0);
}
static void from_a_pipe_to_a_pipe(void) { play(pipe_to_pipe); }

/* ---- waiting is sleeping ---- */

/* Does what is waited for, once the one worker that there is has gone to sleep. */
struct other_end {
    rt_runtime rt;
    uint64_t parks;
    int fd;
    size_t full; /* so much is taken from it; 0: something is put there */
    pthread_t thread;
};

static void *other_end_run(void *arg) {
    struct other_end *o = arg;
    char scratch[4096];
    while (metrics(o->rt).parks == o->parks) sched_yield();
    if (o->full == 0) net_put(o->fd, "12345", 5);
    for (size_t n; o->full > 0; o->full -= n) {
        n = net_get(o->fd, scratch, o->full < sizeof scratch ? o->full : sizeof scratch);
        CHECK(n > 0);
    }
    return NULL;
}

static struct other_end other_end;

/* From within the poll that then waits. */
static void other_end_start(rt_cx *cx, int fd, size_t full) {
    rt_runtime rt = rt_cx_runtime(cx);
    other_end = (struct other_end){.rt = rt, .parks = metrics(rt).parks, .fd = fd, .full = full};
    other_end.thread = thread_start(other_end_run, &other_end);
}

/* From now on poll(2) sees an error, which is none: the note that a send's memory was let go of. */
static void leave_a_note(int fd, int far) {
    char byte;
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &(int){1}, sizeof(int)));
    CHECK_EQ(send(fd, "x", 1, MSG_ZEROCOPY), 1);
    CHECK_EQ(net_get(far, &byte, 1), 1);
    net_wait(fd, 0);
}

/* To a socket that is full, while there is other news of it: its peer sends no more, or there is a note. */
static int64_t to_full_socket(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < 2; s->i++) {
        steps_pair(cx, s, net_pair);
        if (s->i == 0) CHECK_SYS(shutdown(s->far, SHUT_WR));
        else leave_a_note(s->near, s->far);
        s->n = net_stuff(s->near);
        net_put(p->pipe[1], "12345", 5);
        CHECK_EQ(move(cx, p->out_of, s->io, 5, &p->op), 0);
        other_end_start(cx, s->far, s->n);
        OP_TAKE_EQ(p, 5);
        thread_join(other_end.thread);
        CHECK_EQ(net_get(s->far, s->buf, 5), 5);
        CHECK(memcmp(s->buf, "12345", 5) == 0);
        if (s->i == 0) steps_close(s);
    }
    RT_END(0);
}

static int64_t from_empty_socket(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pair);
    leave_a_note(s->near, s->far);
    CHECK_EQ(move(cx, s->io, p->into, 100, &p->op), 0);
    other_end_start(cx, s->far, 0);
    OP_TAKE_EQ(p, 5);
    thread_join(other_end.thread);
    RT_END(0);
}

static void play_alone(rt_poll_fn body) {
    rt_config config = test_config();
    if (!current_thread()) config.workers = 1;
    play_with(&config, body);
}
static void a_full_socket_lets_the_worker_sleep(void) { play_alone(to_full_socket); }
static void so_does_an_empty_one(void) { play_alone(from_empty_socket); }

/* ---- files ---- */

static int64_t file_and_pipe(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    p->file = scratch_file();
    s->io = io_of(rt_cx_runtime(cx), p->file, 0);
    CHECK_EQ(pwrite(p->file, "0123456789", 10, 0), 10);
    OP_EQ(p, 4,
          rt_submit_splice(cx, s->io, 3, p->into, RT_OFFSET_CURRENT, 4, 0, &p->op));
    CHECK_EQ(net_get(p->pipe[0], s->buf, 4), 4);
    CHECK(memcmp(s->buf, "3456", 4) == 0);
    CHECK_EQ(lseek(p->file, 0, SEEK_CUR), 0);

    OP_EQ(p, 2, move(cx, s->io, p->into, 2, &p->op));
    CHECK_EQ(lseek(p->file, 0, SEEK_CUR), 2);
    OP_EQ(p, 2,
          rt_submit_splice(cx, p->out_of, RT_OFFSET_CURRENT, s->io, 8, 100, 0, &p->op));
    CHECK_EQ(pread(p->file, s->buf, 100, 0), 10);
    CHECK(memcmp(s->buf, "0123456701", 10) == 0);
    OP_EQ(p, 0,
          rt_submit_splice(cx, s->io, 1000, p->into, RT_OFFSET_CURRENT, 4, 0, &p->op));

    /* An empty pipe is waited for here as well. */
    CHECK_EQ(move(cx, p->out_of, s->io, 100, &p->op), 0);
    OP_TURNS(s, 100);
    CHECK_EQ(rt_poll_op(cx, p->op), RT_PENDING);
    net_put(p->pipe[1], "xy", 2);
    OP_TAKE_EQ(p, 2);
    CHECK_EQ(pread(p->file, s->buf, 4, 1), 4);
    CHECK(memcmp(s->buf, "1xy4", 4) == 0);
    RT_END(0);
}
static void files_at_offsets(void) { play(file_and_pipe); }

/* ---- what fails ---- */

static int64_t bad_splices(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    s->peer = io_of(rt_cx_runtime(cx), s->far, 0);
    net_put(s->far, "x", 1);
    net_put(p->pipe[1], "x", 1);
    OP_FAILS(p, -EINVAL, move(cx, s->io, s->peer, 1, &p->op)); /* no pipe */
    OP_FAILS(p, -ESPIPE,
             rt_submit_splice(cx, p->out_of, 0, s->io, RT_OFFSET_CURRENT, 1, 0, &p->op));
    OP_FAILS(p, -ESPIPE,
             rt_submit_splice(cx, s->io, RT_OFFSET_CURRENT, p->into, 0, 1, 0, &p->op));
    OP_FAILS(p, -EBADF, move(cx, p->into, s->io, 1, &p->op)); /* the wrong end */
    s->far = -1;
    RT_END(0);
}
static void wrong_plumbing_is_refused(void) { play(bad_splices); }

static int64_t broken_splices(rt_cx *cx, void *state) {
    struct plumbing *p = state;
    struct steps *s = &p->steps;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    net_put(p->pipe[1], "12345", 5);
    close(s->far);
    s->far = -1;
    OP_EQ(p, -EPIPE, move(cx, p->out_of, s->io, 5, &p->op)); /* a socket */
    steps_close(s);
    steps_pair(cx, s, net_pipe_writer_first);
    close(s->far);
    s->far = -1;
    net_put(p->pipe[1], "67890", 5);
    OP_EQ(p, -EPIPE, move(cx, p->out_of, s->io, 5, &p->op)); /* a pipe */
    OP_TURNS(s, 100);
    RT_END(0);
}
static void nobody_is_killed(void) { play(broken_splices); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    signal(SIGPIPE, SIG_DFL); /* one that is raised ends the program */
    scratch_make();
    CASE(from_a_pipe_to_a_socket);
    CASE(from_a_socket_to_a_pipe);
    CASE(a_full_pipe_is_waited_for);
    CASE(from_a_pipe_to_a_pipe);
    CASE(a_full_socket_lets_the_worker_sleep);
    CASE(so_does_an_empty_one);
    CASE(files_at_offsets);
    CASE(wrong_plumbing_is_refused);
    CASE(nobody_is_killed);
    scratch_remove();
    return test_end();
}
