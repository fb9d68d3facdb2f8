/* Why a connection broke is told by the kernel once, to whoever asks first. If that is who sends, who receives is not to take
 * it for an orderly end; and what a program's own function returned is the program's, whatever became of the connection.
 */
#include "ready.h"
#include "soon.h"

enum { MUCH = 8 << 20 };

static char bytes[MUCH];

/* The kernel gives up when the peer has not read for a moment. */
static void give_up_soon(int fd) {
    CHECK_SYS(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(unsigned){1}, sizeof(unsigned)));
}

static void queued_sends_time_out(void) {
    struct scene s;
    int64_t why;
    char byte;
    scene_open(&s, net_pair, RW);
    give_up_soon(s.near);
    CHECK_EQ(rt_send(s.io, bytes, MUCH), MUCH);
    AWAIT(&s.hand, why, rt_poll_flush(s.hand.cx, s.io, 0));
    /* A ring that has sent a part does not say why there was no more. */
    if (why != -ECONNRESET || test_engine != RT_ENGINE_URING) CHECK_EQ(why, -ETIMEDOUT);
    for (int i = 0; i < 2; i++) AWAIT_EQ(&s.hand, why, rt_poll_read(s.hand.cx, s.io, &byte, 1));
    scene_close(&s);
}

static void a_streams_writes_time_out(void) {
    struct scene s;
    rt_stream stream;
    rt_stream_opts opts;
    char byte;
    scene_open(&s, net_pair, RW);
    give_up_soon(s.near);
    CHECK_EQ(rt_stream_opts_init(&opts, sizeof opts), 0);
    CHECK_EQ(rt_stream_new(s.io, &opts, &stream), 0);
    AWAIT_EQ(&s.hand, -ETIMEDOUT, rt_poll_stream_write(s.hand.cx, stream, bytes, MUCH));
    for (int i = 0; i < 2; i++)
        AWAIT_EQ(&s.hand, -ETIMEDOUT, rt_poll_stream_read(s.hand.cx, stream, &byte, 1));
    CHECK_EQ(rt_stream_free(stream), 0);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(queued_sends_time_out);
    CASE(a_streams_writes_time_out);
    return test_end();
}
