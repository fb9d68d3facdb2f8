/* Cases in a process of their own, for limits and filters that cannot be taken back. The parent must
 * not have used the library before, or the child could not.
 */
#ifndef ASYNCIO_TESTS_CHILD_H
#define ASYNCIO_TESTS_CHILD_H

#include "soon.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* What the child ended with: 0 if it came to the end of `run`. A skip of the child is the program's. */
static inline int child_status(void (*run)(void)) {
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        must_end_soon();
        run();
        _exit(0);
    }
    int status;
    pid_t waited;
    do waited = waitpid(pid, &status, 0);
    while (waited == -1 && errno == EINTR);
    CHECK_EQ(waited, pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED) _exit(TEST_SKIPPED);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void in_child(void (*run)(void)) { CHECK_EQ(child_status(run), 0); }

static inline void filter_with(struct sock_fprog *filter, unsigned int flags) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, filter) != 0)
        SKIP("seccomp filters cannot be had here");
}

static inline void filter_call(uint32_t number, uint32_t error, unsigned int flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};
    filter_with(&filter, flags);
}

/* From now on this system call fails with EPERM on this thread, as in a container with a strict filter. */
static inline void refuse_call(uint32_t number) { filter_call(number, EPERM, 0); }
static inline void refuse_call_with(uint32_t number, uint32_t error) { filter_call(number, error, 0); }

/* On all threads of the process. */
static inline void refuse_call_to_all(uint32_t number, uint32_t error) {
    filter_call(number, error, SECCOMP_FILTER_FLAG_TSYNC);
}

#endif
