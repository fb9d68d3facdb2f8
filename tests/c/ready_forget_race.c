/* A number that is closed behind the library and forgotten on one thread may be registered anew by
 * another at any moment of that, and only once. */
#include "net.h"

#include <sys/eventfd.h>

enum { ROUNDS = 60000 };

static rt_runtime rt;
static atomic_bool over;

/* Closes before it forgets, so that the number is free while it is still registered. */
static void *forget_on(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        int fd = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        rt_io io;
        CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE | RT_IO_BORROWED, &io), 0);
        CHECK_SYS(close(fd));
        int64_t r = rt_forget(io);
        CHECK(r == 0 || r == -EBADF); /* who registered the number anew did so already */
    }
    return NULL;
}

static void numbers_come_again(void) {
    rt = test_runtime();
    atomic_store(&over, false);
    pthread_t thread = thread_start(forget_on, NULL);
    for (int i = 0; i < scaled(ROUNDS); i++) {
        int fd = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        rt_io io, twice = 0;
        CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE, &io), 0);
        CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE, &twice), -EEXIST);
        CHECK_EQ(twice, 0);
        CHECK_EQ(rt_io_fd(io), fd);
        CHECK_EQ(rt_close(io), 0);
    }
    atomic_store(&over, true);
    thread_join(thread);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(numbers_come_again);
    return test_end();
}
