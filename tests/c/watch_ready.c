/* A watch calls its function while a descriptor is ready for what was asked for last: again as long as
 * anything is left, and never for what nobody asked for.
 */
#include "watch.h"

static void read_one(struct watched *w, uint32_t ready) {
    char byte;
    CHECK_EQ(ready, RT_READABLE);
    CHECK_EQ(read(w->fd, &byte, 1), 1);
}

static void it_is_called_while_something_is_left(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, read_one);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    net_put(w.far, "0123456789", 10);
    watched_await(&w, 10);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), 10);
    net_put(w.far, "x", 1);
    watched_await(&w, 11);
    watched_close(&w);
    test_runtime_free(rt);
}

static void nothing_is_asked_for_at_first(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, read_one);
    net_put(w.far, "x", 1);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), 0);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    watched_await(&w, 1);
    watched_close(&w);
    test_runtime_free(rt);
}

/* It leaves everything where it is; the task that waits for the calls runs in between. */
static void others_run_between_two_calls(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    net_put(w.far, "x", 1);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    watched_await(&w, 1000);
    CHECK_EQ(atomic_load(&w.last), RT_READABLE);
    watched_close(&w);
    test_runtime_free(rt);
}

static void room_is_watched_for_too(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_unix_pair, NULL);
    net_stuff(w.fd);
    CHECK_EQ(rt_watch_for(w.watch, RW), 0);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), 0);
    net_drain(w.far);
    watched_await(&w, 1);
    CHECK_EQ(atomic_load(&w.last), RT_WRITABLE);
    watched_close(&w);
    test_runtime_free(rt);
}

/* ---- another mind ---- */

static void enough(struct watched *w, uint32_t ready) {
    CHECK_EQ(ready, RT_READABLE);
    watched_for(w, 0);
}

static void the_function_asks_for_nothing_more(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, enough);
    net_put(w.far, "x", 1);
    for (int i = 1; i <= 5; i++) {
        CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
        watched_await(&w, i);
        deliver(rt);
        CHECK_EQ(atomic_load(&w.calls), i);
    }
    watched_close(&w);
    test_runtime_free(rt);
}

/* What is readable all the time is not told while writing alone is asked for. */
static void turn_about(struct watched *w, uint32_t ready) {
    uint32_t asked = atomic_load(&w->calls) % 2 == 0 ? RT_READABLE : RT_WRITABLE;
    CHECK_EQ(ready, asked);
    watched_for(w, RW & ~asked);
}

static void the_function_asks_for_something_else(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, turn_about);
    net_put(w.far, "x", 1);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    watched_await(&w, 100);
    watched_close(&w);
    test_runtime_free(rt);
}

static int64_t ask_for_room(rt_cx *cx, void *state) {
    (void)cx;
    return rt_watch_for(((struct watched *)state)->watch, RT_WRITABLE);
}

static void a_task_asks_for_something_else(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), 0);
    CHECK_EQ(rt_block_on(rt, ask_for_room, &w), 0);
    watched_await(&w, 1);
    CHECK_EQ(atomic_load(&w.last), RT_WRITABLE);
    watched_close(&w);
    test_runtime_free(rt);
}

/* ---- ends, and what is out of the usual ---- */

static void the_end_of_a_stream_is_told(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE), 0);
    CHECK_SYS(shutdown(w.far, SHUT_WR));
    watched_await(&w, 1);
    CHECK(atomic_load(&w.last) & RT_READ_CLOSED);
    CHECK(!(atomic_load(&w.last) & (RT_WRITABLE | RT_WRITE_CLOSED)));
    watched_close(&w);
    test_runtime_free(rt);
}

static void an_error_is_told_to_every_direction(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    net_stuff(w.fd);
    net_reset(w.far);
    w.far = -1;
    CHECK_EQ(rt_watch_for(w.watch, RT_WRITABLE), 0);
    watched_await(&w, 1);
    CHECK(atomic_load(&w.last) & RT_ERROR);
    watched_close(&w);
    test_runtime_free(rt);
}

static void out_of_band_data_is_watched_for(void) {
    rt_runtime rt = test_runtime();
    struct watched w;
    watched_pair(&w, rt, net_pair, NULL);
    CHECK_EQ(rt_watch_for(w.watch, RT_PRIORITY), 0);
    CHECK_EQ(send(w.far, "!", 1, MSG_OOB), 1);
    watched_await(&w, 1);
    CHECK_EQ(atomic_load(&w.last), RT_PRIORITY);
    watched_close(&w);
    test_runtime_free(rt);
}

static void connected(struct watched *w, uint32_t ready) {
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    CHECK_EQ(ready, RT_WRITABLE);
    CHECK_SYS(getpeername(w->fd, (struct sockaddr *)&peer, &len));
}

/* The kernel calls a socket hung up before its connect: no function hears of that. */
static void a_connect_after_the_opening_is_heard(void) {
    rt_runtime rt = test_runtime();
    int listener = net_listen(1);
    struct sockaddr_in name = net_name(listener);
    struct watched w;
    watched_open(&w, rt, net_socket(SOCK_STREAM), connected);
    CHECK_EQ(rt_watch_for(w.watch, RT_WRITABLE), 0);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), 0);
    int r = connect(w.fd, (struct sockaddr *)&name, sizeof name);
    CHECK(r == 0 || errno == EINPROGRESS);
    watched_await(&w, 1);
    watched_close(&w);
    CHECK_SYS(close(listener));
    test_runtime_free(rt);
}

/* ---- refusals ---- */

static int64_t open_refused(rt_runtime rt, uint64_t near, int fd) {
    struct watched w = {.fd = fd};
    rt_watch out = 1;
    int64_t r = rt_watch_open(rt, near, fd, watched_call, &w, watched_drop, &out);
    CHECK_EQ(out, 0);
    CHECK_EQ(atomic_load(&w.drops), 0);
    return r;
}

static int64_t end_at_once(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void what_cannot_be_watched_is_refused(void) {
    rt_runtime rt = test_runtime(), other = test_runtime();
    struct watched w, foreign;
    watched_pair(&w, rt, net_pair, NULL);
    watched_open(&foreign, other, -1, NULL);
    rt_task ended;
    CHECK_EQ(rt_spawn(rt, end_at_once, NULL, NULL, &ended), 0);
    CHECK_EQ(join_task(ended), 0);
    rt_io io = io_of(rt, w.far, RT_READABLE | RT_IO_BORROWED);

    CHECK_EQ(open_refused(rt, 0, w.fd), -EEXIST);
    CHECK_EQ(open_refused(rt, 0, w.far), -EEXIST);
    CHECK_EQ(open_refused(rt, 0, -2), -EBADF);
    CHECK_EQ(open_refused(rt, foreign.watch, -1), -EINVAL);
    CHECK_EQ(open_refused(rt, ended, -1), -EBADF);
    CHECK_EQ(open_refused(rt, w.watch + 1, -1), -EBADF);
    CHECK_EQ(open_refused(w.watch, 0, -1), -EBADF);
    char path[256];
    temp_template(path, sizeof path);
    int file = (int)CHECK_SYS(mkstemp(path));
    CHECK_EQ(open_refused(rt, 0, file), -EPERM);
    CHECK_SYS(unlink(path));
    CHECK_SYS(close(file));
    CHECK_EQ(rt_watch_open(rt, 0, -1, watched_call, NULL, NULL, NULL), -EINVAL);
    rt_watch out = 1;
    CHECK_EQ(rt_watch_open(rt, 0, -1, NULL, NULL, NULL, &out), -EINVAL);
    CHECK_EQ(out, 0);

    CHECK_EQ(rt_watch_for(w.watch, RT_ERROR), -EINVAL);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE | RT_READ_CLOSED), -EINVAL);
    CHECK_EQ(rt_watch_for(w.watch, RT_READABLE << 8), -EINVAL);
    CHECK_EQ(rt_watch_for(foreign.watch, RT_READABLE), -EINVAL);
    CHECK_EQ(rt_watch_for(foreign.watch, 0), 0);
    deliver(rt);
    CHECK_EQ(atomic_load(&w.calls), 0);

    CHECK_EQ(rt_deregister(io), 0);
    watched_close(&w);
    watched_close(&foreign);
    test_runtime_free(other);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(it_is_called_while_something_is_left);
    CASE(nothing_is_asked_for_at_first);
    CASE(others_run_between_two_calls);
    CASE(room_is_watched_for_too);
    CASE(the_function_asks_for_nothing_more);
    CASE(the_function_asks_for_something_else);
    CASE(a_task_asks_for_something_else);
    CASE(the_end_of_a_stream_is_told);
    CASE(an_error_is_told_to_every_direction);
    CASE(out_of_band_data_is_watched_for);
    CASE(a_connect_after_the_opening_is_heard);
    CASE(what_cannot_be_watched_is_refused);
    return test_end();
}
