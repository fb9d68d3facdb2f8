/* A program that puts itself into a sandbox after the runtime was made, which refuses io_uring_enter(2) to all its threads. What the
 * kernel has not got by then goes the other way, as does all that comes later; nothing of that is left without an outcome.
 */
#include "child.h"
#include "multi.h"

#include <poll.h>

static uint32_t refusal;

static void sandbox(void) { refuse_call_to_all(SYS_io_uring_enter, refusal); }

struct sandboxed {
    rt_frame frame;
    rt_runtime rt;
    int round;
    int near[4], far[4], listener; /* the last pair is one that nothing comes to */
    rt_io io[4], accepting, got, file;
    rt_op receive, many, accepts, open, silent, stat;
    rt_buf lease;
    struct statx x;
    atomic_bool over;
    char bytes[8], page[64];
    int64_t r;
};

static void prepare(struct sandboxed *s) {
    for (int i = 0; i < 4; i++) {
        int ends[2];
        net_unix_pair(ends);
        s->near[i] = ends[0], s->far[i] = ends[1];
        s->io[i] = io_of(s->rt, ends[0], RW);
    }
    s->listener = net_listen(8);
    s->accepting = io_of(s->rt, s->listener, RT_READABLE);
}

static void connect_to(struct sandboxed *s) {
    int fd = net_dial(s->listener);
    net_put(s->far[2], "more", 4);
    close(fd);
}

/* In a coroutine over `s`. */
#define TAKES(expected, ...)         \
    do {                             \
        RT_AWAIT(s->r, __VA_ARGS__); \
        CHECK_EQ(s->r, (expected));  \
    } while (0)

/* Of each way to the ring something: twice, as the first time the refusal comes while it is on its way. */
static int64_t go_on(rt_cx *cx, void *state) {
    struct sandboxed *s = state;
    RT_BEGIN(&s->frame);
    for (s->round = 0; s->round < 2; s->round++) {
        s->receive = s->open = 0;
        CHECK_EQ(rt_submit_recv(cx, s->io[0], s->bytes, 8, 0, &s->receive), 0);
        CHECK_EQ(rt_submit_openat(cx, 0, "/proc/self/status", O_RDONLY, 0, &s->open), 0);
        if (s->round == 0) {
            CHECK_EQ(rt_submit_recv_multi(cx, s->io[2], &s->many), 0);
            CHECK_EQ(rt_submit_accept_multi(cx, s->accepting, &s->accepts), 0);
            sandbox();
        }
        net_put(s->far[0], "hey", 3);
        connect_to(s);
        TAKES(3, rt_poll_op(cx, s->receive));
        RT_AWAIT(s->r, rt_poll_op(cx, s->open));
        s->file = (rt_io)CHECK_OK(s->r);
        CHECK_EQ(rt_submit_read(cx, s->file, s->page, sizeof s->page, 0, &s->open), 0);
        TAKES(sizeof s->page, rt_poll_op(cx, s->open));
        CHECK_EQ(rt_submit_close(cx, s->file, &s->open), 0);
        TAKES(0, rt_poll_op(cx, s->open));
        TAKES(4, rt_poll_recv_next(cx, s->many, &s->lease));
        CHECK_EQ(rt_buf_release(s->lease.lease), 0);
        TAKES(0, rt_poll_accept_next(cx, s->accepts, &s->got));
        CHECK_EQ(rt_close(s->got), 0);
        CHECK_OK(rt_send(s->io[1], "sent", 4));
        CHECK_EQ(net_get(s->far[1], s->bytes, 4), 4);
    }
    CHECK_EQ(rt_cancel(s->many), 0);
    CHECK_EQ(rt_cancel(s->accepts), 0);
    TAKES(-ECANCELED, rt_poll_recv_next(cx, s->many, &s->lease));
    TAKES(-ECANCELED, rt_poll_accept_next(cx, s->accepts, &s->got));
    RT_END(0);
}

/* The runtime says what it runs on now: the workers that had to do with it. */
static void says_what_it_is_on(rt_runtime rt) {
    char text[512];
    CHECK_OK(rt_describe(rt, text, sizeof text));
    bool was_ring = strstr(text, "engine io_uring") != NULL;
    if (was_ring != (strstr(text, "on epoll since io_uring was refused") != NULL)) {
        fprintf(stderr, "it says: %s\n", text);
        CHECK(false);
    }
}

static void play_going_on(void) {
    struct sandboxed s = {.rt = test_runtime()};
    prepare(&s);
    CHECK_EQ(rt_block_on(s.rt, go_on, &s), 0);
    says_what_it_is_on(s.rt);
    for (int i = 0; i < 4; i++) CHECK_EQ(rt_close(s.io[i]), 0);
    CHECK_EQ(rt_close(s.accepting), 0);
    multi_runtime_free(s.rt);
}

/* The kernel takes entries in their order: with the outcome of the second it has the first. */
static int64_t leave_one_behind(rt_cx *cx, void *state) {
    struct sandboxed *s = state;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_recv(cx, s->io[3], s->bytes, 8, 0, &s->silent), 0);
    CHECK_EQ(rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->stat), 0);
    TAKES(0, rt_poll_op(cx, s->stat));
    sandbox();
    CHECK_EQ(rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->stat), 0);
    TAKES(0, rt_poll_op(cx, s->stat));
    says_what_it_is_on(s->rt);
    atomic_store(&s->over, true);
    RT_END(0);
}

static bool runs_on_ring(rt_runtime rt) {
    char text[512];
    CHECK_OK(rt_describe(rt, text, sizeof text));
    return strstr(text, "engine io_uring") != NULL;
}

/* So many tasks are given up. Who ends by itself has its time for that. */
static void end(rt_runtime rt, int64_t given_up) {
    CHECK_EQ(rt_shutdown(rt, given_up > 0 ? 0 : soon_ns), given_up);
    CHECK_EQ(rt_free(rt), 0);
}

/* What the kernel has, nobody can call back: its task is given up with it. */
static void play_leaving_behind(void) {
    static struct sandboxed s;
    s.rt = test_runtime();
    prepare(&s);
    bool on_ring = runs_on_ring(s.rt);
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, leave_one_behind, &s, NULL, &task), 0);
    drive_until(s.rt, flag_set, &s.over);
    end(s.rt, on_ring ? 1 : 0);
}

/* ---- refused between two calls of which each hands over a part ---- */

enum { ROUND = 8 };

struct parts {
    rt_frame frame;
    rt_runtime rt;
    int i, far[ROUND];
    rt_io io[ROUND];
    rt_op receive[ROUND], stat;
    struct statx x;
    char bytes[ROUND][6];
    int64_t r;
};

/* Only who submits a whole round may enter. */
static void sandbox_but_for_rounds(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ROUND, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};
    filter_with(&filter, SECCOMP_FILTER_FLAG_TSYNC);
}

/* The first round brings half of each. What comes in the second has its outcome when the ring is no more. */
static int64_t receive_the_rest(rt_cx *cx, void *state) {
    struct parts *s = state;
    RT_BEGIN(&s->frame);
    for (int i = 0; i < ROUND; i++)
        CHECK_EQ(rt_submit_recv(cx, s->io[i], s->bytes[i], 6, MSG_WAITALL, &s->receive[i]), 0);
    CHECK_EQ(rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->stat), 0);
    sandbox_but_for_rounds();
    TAKES(0, rt_poll_op(cx, s->stat));
    says_what_it_is_on(s->rt);
    for (int i = 0; i < ROUND; i++) net_put(s->far[i], "def", 3);
    for (s->i = 0; s->i < ROUND; s->i++) {
        TAKES(6, rt_poll_op(cx, s->receive[s->i]));
        CHECK(memcmp(s->bytes[s->i], "abcdef", 6) == 0);
    }
    RT_END(0);
}

static void play_parts(void) {
    rt_config config = test_config();
    config.ring_entries = ROUND;
    struct parts s = {.rt = test_runtime_with(&config)};
    for (int i = 0; i < ROUND; i++) {
        int ends[2];
        net_unix_pair(ends);
        s.far[i] = ends[1];
        s.io[i] = io_of(s.rt, ends[0], RW);
        net_put(s.far[i], "abc", 3);
    }
    CHECK_EQ(rt_block_on(s.rt, receive_the_rest, &s), 0);
    for (int i = 0; i < ROUND; i++) CHECK_EQ(rt_close(s.io[i]), 0);
    multi_runtime_free(s.rt);
}

/* ---- the library's own sends ---- */

enum { MUCH = 1 << 20 };

struct sender {
    rt_frame frame;
    rt_runtime rt;
    rt_io io;
    rt_op stat, queued;
    struct statx x;
    struct far_end far;
    bool on_ring;
    char byte;
    int64_t r;
};

/* As much as comes, to the end. */
static void *read_on(void *arg) {
    struct far_end *far = arg;
    static char data[FAR_ROOM];
    for (size_t n = sizeof data; n == sizeof data; far->bytes += n) {
        n = net_get(far->fd, data, sizeof data);
        CHECK(net_pattern_holds(data, n, 7, far->bytes));
    }
    return NULL;
}

/* The kernel has what the socket has no room for, and nobody will hear what became of it: so the stream is broken, and says so. */
static int64_t send_into_the_sandbox(rt_cx *cx, void *state) {
    struct sender *s = state;
    static char much[MUCH];
    RT_BEGIN(&s->frame);
    net_pattern(much, MUCH, 7, 0);
    CHECK_EQ(rt_send(s->io, much, MUCH), MUCH);
    for (int i = 0; i < MUCH; i++) much[i] = 0; /* it was copied */
    /* The first may leave before the library's own entry does. */
    CHECK_EQ(rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->stat), 0);
    TAKES(0, rt_poll_op(cx, s->stat));
    CHECK_EQ(rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->stat), 0);
    TAKES(0, rt_poll_op(cx, s->stat));
    sandbox();
    CHECK_EQ(rt_submit_send(cx, s->io, &s->byte, 1, 0, &s->queued), 0);
    CHECK_EQ(rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->stat), 0);
    TAKES(0, rt_poll_op(cx, s->stat));
    s->far.thread = thread_start(read_on, &s->far);
    if (s->on_ring) {
        TAKES(-ECONNABORTED, rt_poll_flush(cx, s->io, 0));
        TAKES(-ECONNABORTED, rt_poll_op(cx, s->queued));
        TAKES(-ECONNABORTED, rt_poll_read(cx, s->io, &s->byte, 1));
        CHECK_EQ(rt_send(s->io, "more", 4), -EPIPE);
        thread_join(s->far.thread); /* it hears of it before the descriptor is closed */
    } else {
        TAKES(1, rt_poll_op(cx, s->queued));
        TAKES(0, rt_poll_flush(cx, s->io, 0));
    }
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}

static void play_sending(void) {
    static struct sender s;
    s.rt = test_runtime();
    s.on_ring = runs_on_ring(s.rt);
    int ends[2];
    net_unix_pair(ends);
    s.io = io_of(s.rt, ends[0], RW);
    s.far.fd = ends[1];
    net_pattern(&s.byte, 1, 7, MUCH);
    CHECK_EQ(rt_block_on(s.rt, send_into_the_sandbox, &s), 0);
    if (!s.on_ring) thread_join(s.far.thread);
    CHECK(s.on_ring ? s.far.bytes < MUCH : s.far.bytes == MUCH + 1);
    settle(s.rt);
    CHECK_EQ(rt_shutdown(s.rt, soon_ns), 0);
    CHECK_EQ(rt_free(s.rt), 0);
}

/* ---- receive buffers of which the kernel has all but one ---- */

enum { FEW = 4 };

struct buffers {
    rt_frame frame;
    rt_runtime rt;
    bool kernel_keeps_them;
    int i, far[3];
    rt_io io[3];
    rt_op silent, first, later;
    rt_buf kept, leases[FEW - 1];
    char bytes[8];
    atomic_bool over;
    int64_t r;
};

/* All can be had again, and at once: from a pool that has none, a receiver would get one that is lent, and no other. With an operation
 * that stays in the kernel its ring stays too, with the buffers, which are made up for.
 */
static int64_t receive_later(rt_cx *cx, void *state) {
    struct buffers *s = state;
    RT_BEGIN(&s->frame);
    if (s->kernel_keeps_them) CHECK_EQ(rt_submit_recv(cx, s->io[0], s->bytes, 8, 0, &s->silent), 0);
    CHECK_EQ(rt_submit_recv_multi(cx, s->io[1], &s->first), 0);
    net_put(s->far[1], "one", 3);
    TAKES(3, rt_poll_recv_next(cx, s->first, &s->kept));
    CHECK_EQ(rt_cancel(s->first), 0);
    TAKES(-ECANCELED, rt_poll_recv_next(cx, s->first, &s->leases[0]));
    sandbox();
    CHECK_EQ(rt_submit_recv_multi(cx, s->io[2], &s->later), 0);
    for (s->i = 0; s->i < FEW - 1; s->i++) {
        net_put(s->far[2], "more", 4);
        TAKES(4, rt_poll_recv_next(cx, s->later, &s->leases[s->i]));
    }
    for (int i = 0; i < FEW - 1; i++) {
        CHECK(memcmp(s->leases[i].ptr, "more", 4) == 0);
        CHECK_EQ(rt_buf_release(s->leases[i].lease), 0);
    }
    CHECK(memcmp(s->kept.ptr, "one", 3) == 0);
    CHECK_EQ(rt_buf_release(s->kept.lease), 0);
    atomic_store(&s->over, true);
    RT_END(0);
}

static void play_receiving(bool kernel_keeps_them) {
    static struct buffers s;
    rt_config config = test_config();
    config.buffer_count = FEW;
    s.rt = test_runtime_with(&config);
    s.kernel_keeps_them = kernel_keeps_them;
    bool on_ring = runs_on_ring(s.rt);
    for (int i = 0; i < 3; i++) {
        int ends[2];
        net_unix_pair(ends);
        s.far[i] = ends[1];
        s.io[i] = io_of(s.rt, ends[0], RW);
    }
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, receive_later, &s, NULL, &task), 0);
    drive_until(s.rt, flag_set, &s.over);
    end(s.rt, on_ring && kernel_keeps_them ? 1 : 0);
}

static void play_kept(void) { play_receiving(true); }

static void play_given_back(void) { play_receiving(false); }

/* ---- a loop of the program's own, which is to hear of the ring by io_uring_register(2) ---- */

static int64_t receive_three(rt_cx *cx, void *state) {
    struct sandboxed *s = state;
    RT_BEGIN(&s->frame);
    CHECK_EQ(rt_submit_recv(cx, s->io[0], s->bytes, 8, 0, &s->receive), 0);
    TAKES(3, rt_poll_op(cx, s->receive));
    atomic_store(&s->over, true);
    RT_END(0);
}

/* A turn, if there is a reason to, or one comes in time. */
static bool turn_when_told(rt_runtime rt, int fd, int timeout) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do n = poll(&p, 1, timeout);
    while (n == -1 && errno == EINTR);
    if (CHECK_SYS(n) == 1) CHECK_OK(rt_turn(rt, 0));
    return n == 1;
}

static void play_embedded(void) {
    static struct sandboxed s;
    s.rt = test_runtime();
    /* Nothing but the ring is to hear of this descriptor; it begins with the first turn. */
    int ends[2];
    net_unix_pair(ends);
    s.io[0] = io_of(s.rt, ends[0], 0);
    CHECK_EQ(rt_block_on(s.rt, return_zero, NULL), 0);
    refuse_call_to_all(SYS_io_uring_register, EPERM);
    int fd = (int)CHECK_OK(rt_event_fd(s.rt));
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, receive_three, &s, NULL, &task), 0);
    while (turn_when_told(s.rt, fd, 0)) continue;
    net_put(ends[1], "hey", 3);
    while (!atomic_load(&s.over)) turn_when_told(s.rt, fd, -1);
    says_what_it_is_on(s.rt);
    CHECK_EQ(join_soon(task), 0);
    CHECK_EQ(rt_close(s.io[0]), 0);
    multi_runtime_free(s.rt);
}

static void what_is_on_its_way_goes_on(void) {
    for (int i = 0; i < 3; i++) {
        refusal = (uint32_t[]){EPERM, ENOSYS, EACCES}[i];
        in_child(play_going_on);
    }
}

static void what_came_in_part_goes_on(void) { in_child(play_parts); }

static void a_stream_that_the_kernel_sends_on_is_broken(void) {
    refusal = EPERM;
    in_child(play_sending);
}

static void others_receive_without_what_the_kernel_has(void) {
    refusal = EPERM;
    in_child(play_kept);
}

static void buffers_of_a_ring_that_ended_are_free(void) {
    refusal = EPERM;
    in_child(play_given_back);
}

static void a_loop_that_cannot_hear_of_the_ring_goes_on(void) {
    if (current_thread()) in_child(play_embedded);
}

static void what_the_kernel_has_is_given_up(void) {
    refusal = EPERM;
    in_child(play_leaving_behind);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(what_is_on_its_way_goes_on);
    CASE(what_came_in_part_goes_on);
    CASE(a_stream_that_the_kernel_sends_on_is_broken);
    CASE(others_receive_without_what_the_kernel_has);
    CASE(buffers_of_a_ring_that_ended_are_free);
    CASE(a_loop_that_cannot_hear_of_the_ring_goes_on);
    CASE(what_the_kernel_has_is_given_up);
    return test_end();
}
