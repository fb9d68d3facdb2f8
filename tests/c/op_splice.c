/* Splicing between pipes, sockets and files. An empty pipe that does not block is waited for all
 * the same, and a full one too; offsets are a file's; nobody is killed where nobody reads.
 */
#include "op.h"

struct plumbing {
    struct steps steps;
    int pipe[2], file;
    rt_io out_of, into; /* the pipe's ends */
    rt_op op;
    int64_t got;
};

static struct plumbing plumbing;

static void play(rt_poll_fn body) {
    memset(&plumbing, 0, sizeof plumbing);
    rt_runtime rt = test_runtime();
    net_pipe(plumbing.pipe);
    plumbing.out_of = io_of(rt, plumbing.pipe[0], 0);
    plumbing.into = io_of(rt, plumbing.pipe[1], 0);
    CHECK_EQ(rt_block_on(rt, body, &plumbing), 0);
    CHECK_EQ(rt_close(plumbing.out_of), 0);
    CHECK_EQ(rt_close(plumbing.into), 0);
    steps_close(&plumbing.steps);
    op_runtime_free(rt);
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
    signal(SIGPIPE, SIG_DFL); /* one that is raised ends the program */
    scratch_make();
    CASE(from_a_pipe_to_a_socket);
    CASE(from_a_socket_to_a_pipe);
    CASE(a_full_pipe_is_waited_for);
    CASE(from_a_pipe_to_a_pipe);
    CASE(files_at_offsets);
    CASE(wrong_plumbing_is_refused);
    CASE(nobody_is_killed);
    scratch_remove();
    return test_end();
}
