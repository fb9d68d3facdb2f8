/* Operations do not wait for an event that cannot come, also on a descriptor that had events: what
 * was not registered for, and what the descriptor cannot do at all, is tried as it was at first.
 */
#include "op.h"

/* Two receives that waited, so that events came. */
#define HAD_EVENTS(s)                                                               \
    for ((s)->n = 0; (s)->n < 2; (s)->n++) {                                        \
        CHECK_EQ(rt_submit_read(cx, (s)->io, (s)->buf, 100, RT_OFFSET_CURRENT, &(s)->op), 0); \
        OP_TURNS(s, 200);                                                           \
        CHECK_EQ(rt_poll_op(cx, (s)->op), RT_PENDING);                              \
        CHECK_SYS(write((s)->far, "x", 1));                                         \
        OP_TAKE_EQ(s, 1);                                                           \
    }

static int64_t what_is_registered_for_reading_is_written(rt_cx *cx, void *state) {
    struct steps *s = state;
    int ends[2];
    RT_BEGIN(&s->frame);
    net_pair(ends);
    s->near = ends[0], s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_READABLE);
    HAD_EVENTS(s);
    OP_EQ(s, 1, rt_submit_write(cx, s->io, "x", 1, RT_OFFSET_CURRENT, 0, &s->op));
    OP_EQ(s, 1, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

static int64_t what_is_registered_for_writing_is_read(rt_cx *cx, void *state) {
    struct steps *s = state;
    int ends[2];
    RT_BEGIN(&s->frame);
    net_pair(ends);
    s->near = ends[0], s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_WRITABLE);
    RT_AWAIT(s->got, rt_poll_write(cx, s->io, "x", 1));
    CHECK_EQ(s->got, 1);
    net_put(s->far, "ab", 2);
    OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op));
    OP_EQ(s, 1, rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

/* Both ways are waited for, whatever was registered. */
static int64_t what_is_registered_for_writing_is_waited_for(rt_cx *cx, void *state) {
    struct steps *s = state;
    int ends[2];
    RT_BEGIN(&s->frame);
    net_pair(ends);
    s->near = ends[0], s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_WRITABLE);
    HAD_EVENTS(s);
    steps_close(s);
    RT_END(0);
}

static int64_t what_is_registered_for_reading_is_filled(rt_cx *cx, void *state) {
    struct steps *s = state;
    int ends[2];
    RT_BEGIN(&s->frame);
    net_unix_pair(ends);
    s->near = ends[0], s->far = ends[1];
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_READABLE);
    net_stuff(s->near);
    CHECK_EQ(rt_submit_send(cx, s->io, "x", 1, 0, &s->op), 0);
    OP_TURNS(s, 200);
    CHECK_EQ(rt_poll_op(cx, s->op), RT_PENDING);
    net_drain(s->far);
    OP_TAKE_EQ(s, 1);
    steps_close(s);
    RT_END(0);
}

static int64_t the_reading_end_of_a_pipe_is_not_written(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_pipe);
    HAD_EVENTS(s);
    OP_FAILS(s, -EBADF, rt_submit_write(cx, s->io, "x", 1, RT_OFFSET_CURRENT, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

static int64_t a_listener_is_not_read(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    s->near = net_listen(8);
    s->io = io_of(rt_cx_runtime(cx), s->near, 0);
    CHECK_EQ(rt_submit_accept(cx, s->io, &s->op), 0);
    OP_TURNS(s, 200);
    s->far = net_dial(s->near);
    OP_TAKE(s);
    s->peer = (rt_io)CHECK_OK(s->got);
    /* Nobody else comes: the next accept finds that out. */
    CHECK_EQ(rt_submit_accept(cx, s->io, &s->op), 0);
    OP_TURNS(s, 200);
    CHECK_EQ(rt_cancel(s->op), 0);
    OP_TAKE_EQ(s, -ECANCELED);
    OP_FAILS(s, -ENOTCONN, rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op));
    OP_FAILS(s, -EPIPE, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

static int64_t a_socket_without_a_peer_is_not_read(rt_cx *cx, void *state) {
    struct steps *s = state;
    rt_ready seen;
    RT_BEGIN(&s->frame);
    s->near = net_socket(SOCK_STREAM);
    s->io = io_of(rt_cx_runtime(cx), s->near, RT_READABLE | RT_WRITABLE);
    for (s->n = 0; s->n < 200; s->n++) {
        CHECK_EQ(rt_poll_ready(cx, s->io, RT_READABLE, &seen), RT_PENDING);
        RT_YIELD(cx);
    }
    OP_FAILS(s, -ENOTCONN, rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op));
    OP_FAILS(s, -EPIPE, rt_submit_send(cx, s->io, "x", 1, 0, &s->op));
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    OP_CASE(what_is_registered_for_reading_is_written);
    OP_CASE(what_is_registered_for_writing_is_read);
    OP_CASE(what_is_registered_for_writing_is_waited_for);
    OP_CASE(what_is_registered_for_reading_is_filled);
    OP_CASE(the_reading_end_of_a_pipe_is_not_written);
    OP_CASE(a_listener_is_not_read);
    OP_CASE(a_socket_without_a_peer_is_not_read);
    return test_end();
}
