/* Registering: what it refuses, that the caller keeps the descriptor then, and when a number may be
 * registered once more.
 */
#include "ready.h"

static int64_t register_at(rt_runtime rt, int fd, uint32_t flags) {
    rt_io io = 0;
    int64_t r = rt_register_fd(rt, fd, flags, &io);
    if (r < 0) CHECK_EQ(io, 0);
    else CHECK_EQ(rt_deregister(io), 0);
    return r;
}

static void a_registered_descriptor_is_known(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    CHECK_EQ(rt_io_fd(s.io), s.near);
    CHECK_EQ(metrics(s.rt).ios_live, 1);
    CHECK_EQ(rt_deregister(s.io), 0);
    CHECK_EQ(metrics(s.rt).ios_live, 0);
    CHECK_EQ(rt_io_fd(s.io), -EBADF);
    s.io = 0;
    close(s.near);
    scene_close(&s);
}

static void a_closed_descriptor_is_refused(void) {
    rt_runtime rt = test_runtime();
    int fds[2];
    net_pipe(fds);
    close(fds[0]);
    close(fds[1]);
    CHECK_EQ(register_at(rt, fds[0], RT_READABLE), -EBADF);
    CHECK_EQ(register_at(rt, -1, RT_READABLE), -EBADF);
    CHECK_EQ(register_at(rt, INT32_MAX, RW), -EBADF);
    CHECK_EQ(register_at(rt, fds[0], RW | RT_IO_SET_NONBLOCK), -EBADF);
    test_runtime_free(rt);
}

static void files_and_directories_are_never_ready(void) {
    rt_runtime rt = test_runtime();
    FILE *file = tmpfile();
    CHECK(file != NULL);
    int fd = fileno(file), dir = (int)CHECK_SYS(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (uint32_t bit = RT_READABLE; bit <= RT_ERROR; bit <<= 1) {
        CHECK_EQ(register_at(rt, fd, bit), -EPERM);
        CHECK_EQ(register_at(rt, dir, bit), -EPERM);
    }
    CHECK(net_is_open(fd));
    CHECK(net_is_open(dir));
    CHECK_EQ(metrics(rt).ios_live, 0);

    /* Without an interest they are welcome: for operations. */
    CHECK_EQ(register_at(rt, fd, 0), 0);
    CHECK_EQ(register_at(rt, dir, 0), 0);
    fclose(file);
    close(dir);
    test_runtime_free(rt);
}

static void wrong_arguments_are_refused(void) {
    rt_runtime rt = test_runtime();
    int fds[2];
    net_pair(fds);
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        bool known = bit <= RT_ERROR || bit == RT_IO_SET_NONBLOCK || bit == RT_IO_BORROWED;
        bool reported = bit == RT_READ_CLOSED || bit == RT_WRITE_CLOSED; /* and never asked for */
        if (!known && !reported) CHECK_EQ(register_at(rt, fds[0], RW | bit), -EINVAL);
    }
    CHECK_EQ(rt_register_fd(rt, fds[0], RW, NULL), -EINVAL);
    CHECK_EQ(register_at(0, fds[0], RW), -EBADF);
    CHECK_EQ(register_at(0x1234567812345678, fds[0], RW), -EBADF);
    rt_io io = io_of(rt, fds[0], RW);
    CHECK_EQ(register_at(io, fds[1], RW), -EBADF);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(metrics(rt).ios_live, 0);
    test_runtime_free(rt);

    CHECK_EQ(register_at(rt, fds[1], RW), -EBADF);
    CHECK(net_is_open(fds[1]));
    close(fds[1]);
}

static void only_what_was_registered_can_be_waited_for(void) {
    struct scene s;
    scene_open(&s, net_pair, RT_WRITABLE);
    rt_ready got;
    char byte = 'x';
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_READABLE, &got), -EINVAL);
    CHECK_EQ(rt_poll_read(s.hand.cx, s.io, &byte, 1), -EINVAL);
    AWAIT_EQ(&s.hand, 1, rt_poll_write(s.hand.cx, s.io, &byte, 1));
    CHECK_EQ(rt_deregister(s.io), 0);

    s.io = io_of(s.rt, s.near, 0); /* for operations only */
    CHECK_EQ(rt_io_fd(s.io), s.near);
    CHECK_EQ(rt_poll_ready(s.hand.cx, s.io, RT_WRITABLE, &got), -EINVAL);
    CHECK_EQ(rt_poll_write(s.hand.cx, s.io, &byte, 1), -EINVAL);
    CHECK_EQ(rt_close(s.io), 0);
    CHECK(!net_is_open(s.near));
    s.io = 0;
    scene_close(&s);
}

static void twice_is_once_too_often(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    CHECK_EQ(register_at(s.rt, s.near, RW), -EEXIST);
    CHECK_EQ(register_at(s.rt, s.near, RT_READABLE | RT_IO_BORROWED), -EEXIST);
    CHECK_EQ(metrics(s.rt).ios_live, 1);
    net_put(s.far, "x", 1);
    CHECK_EQ(await_ready(&s.hand, s.io, RT_READABLE).bits, RT_READABLE);

    /* A copy is another descriptor, and another runtime another place. */
    int copy = (int)CHECK_SYS(fcntl(s.near, F_DUPFD_CLOEXEC, 0));
    CHECK_EQ(register_at(s.rt, copy, RW), 0);
    close(copy);
    rt_runtime second = test_runtime();
    CHECK_EQ(register_at(second, s.near, RW), 0);
    CHECK_EQ(rt_free(second), 0);
    net_drain(s.near);
    scene_close(&s);
}

/* An interest or none: the runtime has the descriptor. */
static void twice_without_an_interest_too(void) {
    rt_runtime rt = test_runtime();
    FILE *file = tmpfile();
    CHECK(file != NULL);
    int fds[2];
    net_pipe(fds);
    rt_io io = io_of(rt, fileno(file), RT_IO_BORROWED);
    CHECK_EQ(register_at(rt, fileno(file), 0), -EEXIST);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(register_at(rt, fileno(file), 0), 0);
    io = io_of(rt, fds[0], RT_IO_BORROWED);
    CHECK_EQ(register_at(rt, fds[0], RT_READABLE), -EEXIST);
    CHECK_EQ(rt_deregister(io), 0);
    io = io_of(rt, fds[0], RT_READABLE | RT_IO_BORROWED);
    CHECK_EQ(register_at(rt, fds[0], 0), -EEXIST);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(metrics(rt).ios_live, 0);

    /* Another file under the number is another descriptor. */
    io = io_of(rt, fds[0], 0);
    CHECK_SYS(dup3(fileno(file), fds[0], O_CLOEXEC));
    rt_io second = io_of(rt, fds[0], 0);
    CHECK_EQ(rt_close(io), -EBADF); /* the registration let go of it */
    CHECK(net_is_open(fds[0]));
    CHECK_EQ(rt_close(second), 0);
    CHECK(!net_is_open(fds[0]));
    close(fds[1]);
    fclose(file);
    test_runtime_free(rt);
}

static void not_when_the_first_was_closed_behind_the_library(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    for (int i = 0; i < 10; i++) {
        int fds[2];
        net_pair(fds);
        close(s.far);
        CHECK_SYS(dup3(fds[0], s.near, O_CLOEXEC)); /* closes the registered one */
        close(fds[0]);
        rt_io second = io_of(s.rt, s.near, RW);
        CHECK(second != s.io);
        rt_forget(s.io); /* or the registration did that already */
        CHECK_EQ(rt_io_fd(s.io), -EBADF);
        net_put(fds[1], "x", 1);
        CHECK_EQ(await_ready(&s.hand, second, RT_READABLE).bits, RT_READABLE);
        s.io = second;
        s.far = fds[1];
    }
    scene_close(&s);
    CHECK(!net_is_open(s.near));
}

static void the_flags_do_what_they_say(void) {
    rt_runtime rt = test_runtime();
    int fds[2];
    net_pair(fds);
    net_set_nonblock(fds[0], false);

    rt_io io = io_of(rt, fds[0], RW | RT_IO_BORROWED);
    CHECK(!(fcntl(fds[0], F_GETFL) & O_NONBLOCK));
    CHECK_EQ(rt_close(io), 0);
    CHECK(net_is_open(fds[0]));

    io = io_of(rt, fds[0], RW | RT_IO_SET_NONBLOCK | RT_IO_BORROWED);
    CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    CHECK_EQ(rt_close(io), 0);
    CHECK(net_is_open(fds[0]));

    io = io_of(rt, fds[0], RW);
    CHECK_EQ(rt_close(io), 0);
    CHECK(!net_is_open(fds[0]));
    close(fds[1]);
    test_runtime_free(rt);
}

/* Each descriptor hears of its own event, and of no other. */
static void many_are_told_apart(void) {
    enum { MANY = 400 };
    static rt_io ios[MANY];
    static int fds[MANY][2];
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    for (int i = 0; i < MANY; i++) {
        net_pipe(fds[i]);
        ios[i] = io_of(rt, fds[i][0], RT_READABLE);
    }
    CHECK_EQ(metrics(rt).ios_live, MANY);
    for (int i = 0; i < MANY; i += 3) net_put(fds[i][1], "x", 1);
    for (int i = 0; i < MANY; i += 3)
        CHECK_EQ(await_ready(&h, ios[i], RT_READABLE).bits, RT_READABLE);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(bits_of(ios[i], RT_READABLE), i % 3 == 0 ? RT_READABLE : 0);
        CHECK_EQ(rt_close(ios[i]), 0);
        close(fds[i][1]);
    }
    hand_close(&h);
    test_runtime_free(rt);
    hand_check(&h);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_registered_descriptor_is_known);
    CASE(a_closed_descriptor_is_refused);
    CASE(files_and_directories_are_never_ready);
    CASE(wrong_arguments_are_refused);
    CASE(only_what_was_registered_can_be_waited_for);
    CASE(twice_is_once_too_often);
    CASE(twice_without_an_interest_too);
    CASE(not_when_the_first_was_closed_behind_the_library);
    CASE(the_flags_do_what_they_say);
    CASE(many_are_told_apart);
    return test_end();
}
