/* What the tests of child processes share. */
#ifndef ASYNCIO_TESTS_PROCESS_H
#define ASYNCIO_TESTS_PROCESS_H

#include "soon.h"

#include <asyncio_await.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static inline void process_start(int argc, char **argv) {
    test_start(argc, argv);
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fd == -1 && errno == ENOSYS) SKIP("pidfds cannot be had here");
    close(fd);
    /* What we inherited would be inherited by children too. */
    for (fd = 3; fd < 256; fd++) close(fd);
    must_end_soon();
}

/* Nobody is left, not even a zombie. */
static inline void no_children(void) {
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
}

#endif
