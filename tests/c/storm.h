/* A storm of signals without SA_RESTART: a timer for the process, and a thread that hits each of the
 * others.
 */
#ifndef ASYNCIO_TESTS_STORM_H
#define ASYNCIO_TESTS_STORM_H

#include "check.h"

#include <sys/syscall.h>
#include <sys/time.h>

static atomic_int storms;
static inline void count_signal(int sig) {
    (void)sig;
    atomic_fetch_add(&storms, 1);
}

struct storm {
    pthread_t thread;
    atomic_bool stop;
};

static inline void hit_all_threads(void) {
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    pid_t self = (pid_t)syscall(SYS_gettid);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        pid_t thread = (pid_t)atoi(e->d_name);
        if (thread > 0 && thread != self) syscall(SYS_tgkill, getpid(), thread, SIGALRM);
    }
    closedir(dir);
}

static inline void *rage(void *arg) {
    struct storm *s = arg;
    sigset_t all;
    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
    while (!atomic_load(&s->stop)) {
        hit_all_threads();
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

static inline void set_timer(long microseconds) {
    struct itimerval every = {{0, microseconds}, {0, microseconds}};
    CHECK_SYS(setitimer(ITIMER_REAL, &every, NULL));
}

static inline void storm_start(struct storm *s) {
    struct sigaction action = {.sa_handler = count_signal}; /* without SA_RESTART */
    CHECK_SYS(sigaction(SIGALRM, &action, NULL));
    atomic_store(&storms, 0);
    atomic_store(&s->stop, false);
    s->thread = thread_start(rage, s);
    set_timer(1000);
}

static inline void storm_end(struct storm *s) {
    set_timer(0);
    atomic_store(&s->stop, true);
    thread_join(s->thread);
    CHECK(atomic_load(&storms) > 0);
}

#endif
