/* A stream of a socket that is not connected yet: a read waits for the connection, and then for its
 * bytes.
 */
#include "multi.h"

struct early {
    rt_frame frame;
    rt_io io;
    rt_stream stream;
    int64_t got;
    struct sockaddr_in name;
    char byte;
    int listener, far, i;
};

static struct early early;

static int64_t reads_before(rt_cx *cx, void *state) {
    struct early *e = state;
    RT_BEGIN(&e->frame);
    e->listener = net_listen(1);
    e->io = io_of(rt_cx_runtime(cx), net_socket(SOCK_STREAM), RW);
    CHECK_EQ(rt_stream_new(e->io, NULL, &e->stream), 0);
    for (e->i = 0; e->i < 3; e->i++) {
        CHECK_EQ(rt_poll_stream_read(cx, e->stream, &e->byte, 1), RT_PENDING);
        RT_YIELD(cx);
    }
    e->name = net_name(e->listener);
    RT_AWAIT(e->got, rt_poll_connect(cx, e->io, (struct sockaddr *)&e->name, sizeof e->name));
    CHECK_EQ(e->got, 0);
    e->far = net_take(e->listener);
    CHECK_EQ(rt_poll_stream_read(cx, e->stream, &e->byte, 1), RT_PENDING);
    net_put(e->far, "x", 1);
    RT_AWAIT(e->got, rt_poll_stream_read(cx, e->stream, &e->byte, 1));
    CHECK(e->got == 1 && e->byte == 'x');
    close(e->far);
    RT_AWAIT(e->got, rt_poll_stream_read(cx, e->stream, &e->byte, 1));
    CHECK_EQ(e->got, 0);
    CHECK_EQ(rt_stream_free(e->stream), 0);
    CHECK_EQ(rt_close(e->io), 0);
    close(e->listener);
    RT_END(0);
}
static void a_read_waits_for_the_connection(void) { play_alone(reads_before, &early); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_read_waits_for_the_connection);
    return test_end();
}
