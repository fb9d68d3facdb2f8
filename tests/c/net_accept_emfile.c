/* Out of descriptors: said once, then the listener waits until a try makes sense. It does not spin,
 * and goes on as soon as there is room, whoever made it.
 */
#include "ready.h"

#include <time.h>

enum { CLIENTS = 12, ROOM = 3 };

struct pressure {
    rt_runtime rt;
    rt_io listener;
    int listener_fd;
    int clients[CLIENTS];
    struct rlimit before;
    rt_task task;
    _Atomic rt_io accepted[CLIENTS];
    atomic_int count, failures, polls;
};

/* ---- the server: accepts on and on, and counts what it is told ---- */

static int64_t accept_on(rt_cx *cx, void *state) {
    struct pressure *p = state;
    atomic_fetch_add(&p->polls, 1);
    for (;;) {
        rt_io io = 0;
        int64_t r = rt_poll_accept(cx, p->listener, &io);
        if (r == 0) {
            int at = atomic_fetch_add(&p->count, 1);
            CHECK(at < CLIENTS);
            atomic_store(&p->accepted[at], io);
        } else if (r == -EMFILE) {
            atomic_fetch_add(&p->failures, 1);
            CHECK_EQ(io, 0);
        } else {
            return r;
        }
    }
}

static bool has_failed(void *arg) { return atomic_load(&((struct pressure *)arg)->failures) > 0; }

static bool all_accepted(void *arg) {
    return atomic_load(&((struct pressure *)arg)->count) == CLIENTS;
}

/* Leaves room for so many more descriptors than there are. */
static void limit_to(struct rlimit *before, int room) {
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, before));
    int next = (int)CHECK_SYS(dup(0));
    close(next);
    struct rlimit low = *before;
    low.rlim_cur = (rlim_t)next + (rlim_t)room;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
}

static void pressure_start_with(struct pressure *p, const rt_config *config) {
    memset(p, 0, sizeof *p);
    p->rt = test_runtime_with(config);
    p->listener_fd = net_listen(CLIENTS);
    p->listener = io_of(p->rt, p->listener_fd, RT_READABLE);
    for (int i = 0; i < CLIENTS; i++) p->clients[i] = net_dial(p->listener_fd);
    limit_to(&p->before, ROOM);
    CHECK_EQ(rt_spawn(p->rt, accept_on, p, NULL, &p->task), 0);
    drive_until(p->rt, has_failed, p);
    CHECK_EQ(atomic_load(&p->count), ROOM);
}

static void pressure_start(struct pressure *p) {
    rt_config config = test_config();
    pressure_start_with(p, &config);
}

static void pressure_end(struct pressure *p) {
    drive_until(p->rt, all_accepted, p);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &p->before));
    CHECK_EQ(rt_close(p->listener), 0);
    CHECK_EQ(join_task(p->task), -EBADF);
    for (int i = 0; i < CLIENTS; i++) {
        rt_close(atomic_load(&p->accepted[i]));
        if (p->clients[i] >= 0) close(p->clients[i]);
    }
    test_runtime_free(p->rt);
}

/* ---- waiting ---- */

static uint64_t cpu_time(void) {
    struct timespec t;
    CHECK_SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Lets the runtime be for a while, without a task of ours that keeps it awake. */
static uint64_t leave_alone(rt_runtime rt, uint64_t duration) {
    uint64_t begun = rt_now(), now = begun;
    while (now - begun < duration) {
        uint64_t left = duration - (now - begun);
        if (current_thread()) CHECK_OK(rt_turn(rt, left));
        else nanosleep(&(struct timespec){.tv_nsec = (long)left}, NULL);
        now = rt_now();
    }
    return now - begun;
}

static void waiting_does_not_spin(void) {
    static struct pressure p;
    pressure_start(&p);
    int polls = atomic_load(&p.polls), failures = atomic_load(&p.failures);
    uint64_t cpu = cpu_time();
    uint64_t passed = leave_alone(p.rt, 500000000);
    cpu = cpu_time() - cpu;
    int tries = (int)(passed / 100000000) + 2; /* one each 100 ms, and some to spare */
    CHECK(atomic_load(&p.polls) - polls <= 2 * tries);
    CHECK(atomic_load(&p.failures) - failures <= tries);
    CHECK(cpu < passed / 2);
    CHECK_EQ(atomic_load(&p.count), ROOM);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &p.before));
    pressure_end(&p);
}

/* ---- recovering ---- */

struct target {
    struct pressure *p;
    int count;
};

static bool count_reached(void *arg) {
    struct target *t = arg;
    return atomic_load(&t->p->count) >= t->count;
}

static void closing_a_connection_lets_the_next_in(void) {
    static struct pressure p;
    pressure_start(&p);
    for (int i = 0; i < CLIENTS - ROOM; i++) {
        CHECK_EQ(rt_close(atomic_exchange(&p.accepted[i], 0)), 0);
        struct target target = {&p, ROOM + i + 1};
        drive_until(p.rt, count_reached, &target);
    }
    pressure_end(&p);
}

static void a_plain_close_lets_the_next_in(void) {
    static struct pressure p;
    pressure_start(&p);
    for (int i = 0; i < CLIENTS - ROOM; i++) {
        close(p.clients[i]); /* which the library does not see */
        p.clients[i] = -1;
        struct target target = {&p, ROOM + i + 1};
        drive_until(p.rt, count_reached, &target);
    }
    pressure_end(&p);
}

static void a_higher_limit_lets_the_rest_in(void) {
    static struct pressure p;
    pressure_start(&p);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &p.before));
    pressure_end(&p);
}

/* A listener that nobody waits on while it starves is closed like any other. */
static void a_starving_listener_can_be_closed(void) {
    static struct pressure p;
    pressure_start(&p);
    CHECK_EQ(rt_close(p.listener), 0);
    CHECK_EQ(join_task(p.task), -EBADF);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &p.before));
    for (int i = 0; i < CLIENTS; i++) {
        rt_close(atomic_load(&p.accepted[i]));
        close(p.clients[i]);
    }
    test_runtime_free(p.rt);
}

/* A worker that never sleeps looks at the time all the same: what drives the case keeps it busy. */
static void a_busy_worker_lets_the_rest_in(void) {
    static struct pressure p;
    rt_config config = test_config();
    if (!current_thread()) config.workers = 1;
    pressure_start_with(&p, &config);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &p.before));
    pressure_end(&p);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (under("valgrind")) SKIP("valgrind takes no notice of a lower RLIMIT_NOFILE");
    CASE(waiting_does_not_spin);
    CASE(closing_a_connection_lets_the_next_in);
    CASE(a_plain_close_lets_the_next_in);
    CASE(a_higher_limit_lets_the_rest_in);
    CASE(a_starving_listener_can_be_closed);
    CASE(a_busy_worker_lets_the_rest_in);
    return test_end();
}
