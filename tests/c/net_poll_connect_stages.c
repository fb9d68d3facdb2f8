/* A connect by one call that ends at each of its stages: while the name is asked for, while the
 * connection is made, while a full queue is waited at, and when it is there and was not taken. It is
 * cancelled, its time is over, its task is aborted, its runtime goes. Nothing is left by any.
 */
#include "op.h"

#include <netdb.h>
#include <stddef.h>
#include <sys/syscall.h>

/* ---- the system's part, by functions that stand before the C library's ---- */

static struct {
    gate hold;
    atomic_int asked, told;
    struct sockaddr_in here;
    struct addrinfo found;
} names;

static void names_know_this_host(void) {
    names.here = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    names.found = (struct addrinfo){.ai_family = AF_INET, .ai_addr = (struct sockaddr *)&names.here};
}

/* The only name is slow: its address is known when the gate opens. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    CHECK(strcmp(host, "slow") == 0 && service == NULL && hints != NULL);
    atomic_fetch_add(&names.asked, 1);
    gate_wait(&names.hold);
    *out = &names.found;
    atomic_fetch_add(&names.told, 1);
    return 0;
}

void freeaddrinfo(struct addrinfo *list) { (void)list; }

static void names_let_go(void) {
    while (atomic_load(&names.told) < atomic_load(&names.asked)) {
        gate_open(&names.hold);
        sched_yield();
    }
}

static atomic_int interruptions;

int connect(int fd, __CONST_SOCKADDR_ARG name, socklen_t len) {
    if (atomic_load(&interruptions) > 0) {
        atomic_fetch_sub(&interruptions, 1);
        errno = EINTR;
        return -1;
    }
    return (int)syscall(SYS_connect, fd, name.__sockaddr__, len);
}

/* ---- stages ---- */

enum stage { RESOLVES, CONNECTS, QUEUES, MADE, MADE_LOCALLY, STAGES };

/* A listener; at CONNECTS and QUEUES one whose queue others fill. */
struct place {
    enum stage stage;
    int listener, filling[4];
    uint16_t port;
    char path[64];
};

static bool is_local(const struct place *p) { return p->stage == QUEUES || p->stage == MADE_LOCALLY; }

static void place_fill(struct place *p, const struct sockaddr *name, socklen_t len) {
    for (int i = 0; i < 4; i++) {
        p->filling[i] = (int)CHECK_SYS(socket(name->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (connect(p->filling[i], name, len) != 0) CHECK(errno == EINPROGRESS || errno == EAGAIN);
    }
}

static void place_open(struct place *p, enum stage stage) {
    static int number;
    *p = (struct place){.stage = stage, .filling = {-1, -1, -1, -1}};
    bool full = stage == CONNECTS || stage == QUEUES;
    if (!is_local(p)) {
        p->listener = net_listen(full ? 0 : 64);
        struct sockaddr_in name = net_name(p->listener);
        p->port = ntohs(name.sin_port);
        if (full) place_fill(p, (struct sockaddr *)&name, sizeof name);
        return;
    }
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int n = snprintf(p->path, sizeof p->path, "@asyncio-stages-%d-%d", (int)getpid(), number++);
    memcpy(name.sun_path + 1, p->path + 1, (size_t)n - 1);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
    p->listener = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    CHECK_SYS(bind(p->listener, (struct sockaddr *)&name, len));
    CHECK_SYS(listen(p->listener, full ? 0 : 64));
    if (full) place_fill(p, (struct sockaddr *)&name, len);
}

static void place_close(struct place *p) {
    CHECK_SYS(close(p->listener));
    for (int i = 0; i < 4; i++)
        if (p->filling[i] >= 0) CHECK_SYS(close(p->filling[i]));
}

/* ---- the task ---- */

struct dial {
    struct place *place;
    rt_runtime rt;
    rt_op slot;
    rt_io io;
    uint64_t deadline;
    _Atomic rt_op begun; /* the slot, for others */
    atomic_int polls;
    atomic_bool takes; /* what was made; before that it is left there */
};

static int64_t dial(rt_cx *cx, void *state) {
    struct dial *d = state;
    bool first = atomic_fetch_add(&d->polls, 1) == 0;
    if (!first && !atomic_load(&d->takes)) return RT_PENDING;
    int64_t r;
    if (is_local(d->place)) {
        rt_unix_opts opts;
        CHECK_EQ(rt_unix_opts_init(&opts, sizeof opts), 0);
        opts.deadline = d->deadline;
        r = rt_poll_unix_connect(cx, &d->slot, first ? d->place->path : NULL, first ? &opts : NULL, &d->io);
    } else {
        rt_tcp_opts opts;
        const char *host = d->place->stage == RESOLVES ? "slow" : "127.0.0.1";
        CHECK_EQ(rt_tcp_opts_init(&opts, sizeof opts), 0);
        opts.deadline = d->deadline;
        r = rt_poll_tcp_connect(cx, &d->slot, first ? host : NULL, d->place->port, first ? &opts : NULL, &d->io);
    }
    if (first) CHECK_EQ(r, RT_PENDING);
    CHECK_EQ(d->slot == 0, r != RT_PENDING);
    if (r != 0) CHECK_EQ(d->io, 0);
    atomic_store(&d->begun, d->slot);
    return r;
}

static bool is_there(void *arg) {
    struct dial *d = arg;
    if (atomic_load(&d->polls) == 0) return false;
    switch (d->place->stage) {
    case RESOLVES: return atomic_load(&names.asked) > 0;
    case CONNECTS: return metrics(d->rt).ios_live > 0;
    case QUEUES: return metrics(d->rt).timers_live > 0; /* of its next try */
    default: return atomic_load(&d->polls) > 1; /* it was woken for it */
    }
}

/* ---- ends ---- */

enum end { CANCELLED, OUT_OF_TIME, ABORTED, SHUT_DOWN, FREED, ENDS };

static void by_the_program(struct dial *d, rt_task task, enum end end) {
    bool made = d->place->stage >= MADE;
    while (made && end == OUT_OF_TIME && rt_now() < d->deadline) deliver(d->rt);
    if (end == ABORTED) CHECK_EQ(rt_abort(task), 0);
    if (end == CANCELLED) CHECK_EQ(rt_cancel(atomic_load(&d->begun)), 0);
    atomic_store(&d->takes, true);
    if (end != ABORTED && made) CHECK_EQ(rt_task_wake(task), 0);
    int64_t r = join_task(task);
    if (end == ABORTED) CHECK_EQ(r, -ECANCELED);
    else if (made) CHECK(r == 0 || (end == OUT_OF_TIME && r == -ETIME)); /* whatever came first */
    else CHECK_EQ(r, end == CANCELLED ? -ECANCELED : -ETIME);
    if (end == OUT_OF_TIME) CHECK(rt_now() >= d->deadline);
    CHECK_EQ(rt_close(d->io), 0);
    CHECK_EQ(atomic_load(&names.told), 0);
    op_runtime_free(d->rt);
}

/* The name's thread goes on alone, and finds nobody. */
static void by_its_runtime(struct dial *d, rt_task task, enum end end) {
    int64_t r = 0;
    if (end == SHUT_DOWN) {
        CHECK_EQ(rt_shutdown(d->rt, RT_NEVER), 0);
        CHECK_EQ(rt_join(task, RT_NEVER, &r), 0);
        CHECK(r == -ESHUTDOWN || r == -ECANCELED);
        CHECK_EQ(d->io, 0);
    }
    CHECK_EQ(atomic_load(&names.told), 0);
    CHECK_EQ(rt_free(d->rt), 0);
}

static void play(enum stage stage, enum end end) {
    struct place place;
    rt_task task = 0;
    int before = open_fds();
    gate_init(&names.hold);
    atomic_store(&names.asked, 0);
    atomic_store(&names.told, 0);
    place_open(&place, stage);
    struct dial d = {.place = &place, .rt = test_runtime()};
    if (end == OUT_OF_TIME) d.deadline = rt_now() + 30000000;
    atomic_store(&d.takes, stage < MADE);
    CHECK_EQ(rt_spawn(d.rt, dial, &d, NULL, &task), 0);
    /* The time may be over before it comes there. */
    if (end != OUT_OF_TIME || stage >= MADE) drive_until(d.rt, is_there, &d);
    if (end < SHUT_DOWN) by_the_program(&d, task, end);
    else by_its_runtime(&d, task, end);
    place_close(&place);
    names_let_go();
    while (open_fds() != before) sched_yield(); /* the thread that asked may be in its last steps */
    gate_destroy(&names.hold);
}

static void each(enum stage stage) {
    for (int end = 0; end < ENDS; end++) play(stage, (enum end)end);
}

static void while_the_name_is_asked_for(void) { each(RESOLVES); }
static void while_it_connects(void) { each(CONNECTS); }
static void while_the_queue_is_full(void) { each(QUEUES); }
static void when_it_was_made(void) { each(MADE); }
static void when_it_was_made_locally(void) { each(MADE_LOCALLY); }

/* ---- what is no end ---- */

static void signals_interrupt_it(void) {
    for (int stage = MADE; stage <= MADE_LOCALLY; stage++) {
        struct place place;
        place_open(&place, (enum stage)stage);
        struct dial d = {.place = &place, .rt = test_runtime()};
        atomic_store(&d.takes, true);
        atomic_store(&interruptions, 3);
        CHECK_EQ(rt_block_on(d.rt, dial, &d), 0);
        CHECK_EQ(atomic_load(&interruptions), 0);
        CHECK_EQ(rt_close(d.io), 0);
        place_close(&place);
        op_runtime_free(d.rt);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    names_know_this_host();
    CASE(while_the_name_is_asked_for);
    CASE(while_it_connects);
    CASE(while_the_queue_is_full);
    CASE(when_it_was_made);
    CASE(when_it_was_made_locally);
    CASE(signals_interrupt_it);
    return test_end();
}
