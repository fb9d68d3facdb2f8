/* Forks in a program that is at work: the children end, execute something, call the library (which
 * refuses), or live on with copies of every descriptor. The parent's streams and timers do not notice.
 */
#include "multi.h"
#include "soon.h"

#include <sys/wait.h>

enum { RECORD = 3000, PAIRS = 3 };

/* ---- what goes on in the parent ---- */

/* A conversation that ends when it is told to, and a timer that ticks. */
struct side {
    rt_frame frame;
    rt_io io;
    rt_op op;
    bool begins;
    int64_t r;
    size_t off, have;
    atomic_uint_fast64_t round;
    atomic_bool *stop;
    rt_task task;
    unsigned char data[RECORD];
};

static int64_t converse(rt_cx *cx, void *state) {
    struct side *s = state;
    RT_BEGIN(&s->frame);
    for (s->round = 0;; s->round++) {
        if (s->begins) {
            if (atomic_load(s->stop)) break;
            net_pattern(s->data, RECORD, s->round, 0);
            RT_AWAIT(s->r, rt_poll_write_all(cx, s->io, s->data, RECORD, &s->off));
            CHECK_EQ(s->r, RECORD);
        }
        for (s->have = 0; s->have < RECORD; s->have += (size_t)s->r) {
            RT_AWAIT(s->r, rt_poll_read(cx, s->io, s->data + s->have, RECORD - s->have));
            CHECK_OK(s->r);
            if (s->r == 0) { /* the other one is done */
                CHECK(!s->begins && s->have == 0);
                RT_RETURN(0);
            }
        }
        CHECK(net_pattern_holds(s->data, RECORD, s->round, 0));
        if (!s->begins) {
            RT_AWAIT(s->r, rt_poll_write_all(cx, s->io, s->data, RECORD, &s->off));
            CHECK_EQ(s->r, RECORD);
        }
    }
    CHECK_EQ(rt_submit_shutdown(cx, s->io, SHUT_WR, &s->op), 0);
    RT_AWAIT(s->r, rt_poll_op(cx, s->op));
    RT_END(s->r);
}

static struct side sides[PAIRS][2];
static atomic_bool stop;
static atomic_int ticks;

static void tick(void *arg) {
    (void)arg;
    atomic_fetch_add(&ticks, 1);
}

static bool has_ticked(void *arg) {
    (void)arg;
    return atomic_load(&ticks) > 0;
}

struct busy {
    rt_runtime rt;
    rt_task ticker;
};

static void busy_start(struct busy *b) {
    memset(sides, 0, sizeof sides);
    atomic_store(&stop, false);
    atomic_store(&ticks, 0);
    b->rt = test_runtime();
    for (int p = 0; p < PAIRS; p++) {
        int ends[2];
        net_pair(ends);
        for (int i = 0; i < 2; i++) {
            sides[p][i] = (struct side){.io = io_of(b->rt, ends[i], RW), .begins = i == 0};
            sides[p][i].stop = &stop;
            CHECK_EQ(rt_spawn(b->rt, converse, &sides[p][i], NULL, &sides[p][i].task), 0);
        }
    }
    CHECK_EQ(rt_call_at(b->rt, rt_now(), 1000000, tick, NULL, NULL, &b->ticker), 0);
}

static bool all_talk(void *arg) {
    (void)arg;
    for (int p = 0; p < PAIRS; p++)
        if (atomic_load(&sides[p][0].round) == 0) return false;
    return true;
}

static void busy_end(struct busy *b) {
    drive_until(b->rt, all_talk, NULL);
    atomic_store(&stop, true);
    for (int p = 0; p < PAIRS; p++)
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(join_task(sides[p][i].task), 0);
            CHECK_EQ(rt_close(sides[p][i].io), 0);
        }
    CHECK_EQ(rt_abort(b->ticker), 0);
    CHECK_EQ(join_task(b->ticker), -ECANCELED);
    multi_runtime_free(b->rt);
}

/* ---- the children ---- */

static void hear_nothing(void *arg, int fd, uint32_t ready) { (void)arg, (void)fd, (void)ready; }

static void refused(rt_runtime rt) {
    rt_runtime other = 0;
    rt_io io = 0, pair[2];
    rt_event event = 0;
    rt_timer timer = 0;
    rt_watch watch = 0;
    rt_task task = 0;
    struct side *s = &sides[0][0];
    CHECK_EQ(rt_new(NULL, &other, NULL, 0), -EPERM);
    CHECK_EQ(rt_spawn(rt, converse, s, NULL, &task), -EPERM);
    CHECK_EQ(rt_send(s->io, "intruder", 8), -EPERM);
    CHECK_EQ(rt_close(s->io), -EPERM);
    CHECK_EQ(rt_register_fd(rt, 0, RT_READABLE | RT_IO_BORROWED, &io), -EPERM);
    CHECK_EQ(rt_unix_pair(rt, SOCK_STREAM, pair), -EPERM);
    CHECK_EQ(rt_event_new(rt, &event), -EPERM);
    CHECK_EQ(rt_timer_start(rt, 0, &timer), -EPERM);
    CHECK_EQ(rt_watch_open(rt, 0, -1, hear_nothing, NULL, NULL, &watch), -EPERM);
    CHECK_EQ(rt_abort(s->task), -EPERM);
    CHECK_EQ(rt_shutdown(rt, 0), -EPERM);
    CHECK_EQ(rt_free(rt), -EPERM);
}

enum fate { ENDS, EXECUTES, ASKS, CLOSES, FATES };

static _Noreturn void live(rt_runtime rt, enum fate fate) {
    switch (fate) {
    case EXECUTES: execl("/bin/true", "true", (char *)NULL); _exit(127);
    case ASKS: refused(rt); _exit(0);
    case CLOSES:
        for (int fd = 3; fd < 1024; fd++) close(fd);
        _exit(0);
    default: _exit(0);
    }
}

static void bear(rt_runtime rt, enum fate fate) {
    int status;
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) live(rt, fate);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
}

/* ---- forks by threads of the program's ---- */

struct forker {
    rt_runtime rt;
    int count;
    atomic_bool done;
};

static void *fork_many(void *arg) {
    struct forker *f = arg;
    for (int i = 0; i < f->count; i++) bear(f->rt, (enum fate)(i % FATES));
    atomic_store(&f->done, true);
    return NULL;
}

static void children_of_threads(void) {
    struct busy b;
    busy_start(&b);
    struct forker f = {.rt = b.rt, .count = scaled(100), .done = false};
    pthread_t thread = thread_start(fork_many, &f);
    drive_until(b.rt, flag_set, &f.done);
    thread_join(thread);
    drive_until(b.rt, has_ticked, NULL);
    busy_end(&b);
}

/* ---- forks in polls ---- */

struct parent {
    rt_frame frame;
    int i, count;
};

static int64_t fork_in_polls(rt_cx *cx, void *state) {
    struct parent *p = state;
    RT_BEGIN(&p->frame);
    for (p->i = 0; p->i < p->count; p->i++) {
        bear(rt_cx_runtime(cx), (enum fate)(p->i % FATES));
        RT_YIELD(cx);
    }
    RT_END(0);
}

static void children_of_tasks(void) {
    struct busy b;
    busy_start(&b);
    struct parent p = {.count = scaled(60)};
    CHECK_EQ(rt_block_on(b.rt, fork_in_polls, &p), 0);
    busy_end(&b);
}

/* ---- a child that lives on ---- */

/* It has copies of everything, so that what the parent closes is open all the same: a set from which
 * it was not taken would go on telling of it, though its number belongs to somebody else. */
static void a_child_with_copies(void) {
    int gate[2], ends[2], others[2], status;
    rt_runtime rt = test_runtime();
    net_pair(ends);
    rt_io io = io_of(rt, ends[0], RW);
    struct hand h, reader; /* the second one is woken for what is to be read and nothing else */
    hand_open(&h, rt);
    hand_open(&reader, rt);
    await_ready(&h, io, RT_WRITABLE);
    hand_park(&h, io, RT_READABLE);
    CHECK_SYS(pipe2(gate, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        close(gate[1]);
        while (read(gate[0], &(char){0}, 1) == -1 && errno == EINTR) continue;
        _exit(0);
    }
    CHECK_EQ(rt_close(io), 0);
    while (net_is_open(ends[0])) deliver(rt);
    net_unix_pair(others);
    CHECK_EQ(others[0], ends[0]); /* the number is a stranger's now */
    rt_io other = io_of(rt, others[0], RW);
    await_ready(&h, other, RT_WRITABLE);
    hand_park(&reader, other, RT_READABLE);
    net_put(ends[1], "to the child's copy", 19);
    deliver(rt);
    CHECK_EQ(bits_of(other, RT_READABLE), 0);
    CHECK_EQ(atomic_load(&reader.wakes), 0);
    net_put(others[1], "x", 1);
    await_ready(&reader, other, RT_READABLE);
    CHECK_EQ(rt_close(other), 0);
    close(others[1]);
    close(ends[1]);
    close(gate[0]);
    close(gate[1]);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    hand_close(&h);
    hand_close(&reader);
    test_runtime_free(rt);
    hand_check(&h);
    hand_check(&reader);
}

/* It outlives the runtime. */
static void a_child_that_is_left(void) {
    for (int i = 0; i < scaled(10); i++) {
        int gate[2], status;
        struct busy b;
        busy_start(&b);
        CHECK_SYS(pipe2(gate, O_CLOEXEC));
        fflush(NULL);
        pid_t pid = (pid_t)CHECK_SYS(fork());
        if (pid == 0) {
            close(gate[1]);
            while (read(gate[0], &(char){0}, 1) == -1 && errno == EINTR) continue;
            refused(b.rt);
            _exit(0);
        }
        busy_end(&b);
        close(gate[0]);
        close(gate[1]);
        CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
        CHECK_EQ(status, 0);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(children_of_threads);
    CASE(children_of_tasks);
    CASE(a_child_with_copies);
    CASE(a_child_that_is_left);
    return test_end();
}
