/* rt_poll_read_buf: reads into buffers of the library's, of which a descriptor holds none while nothing comes, and of
 * which there are as many as the program keeps.
 */
#include "multi.h"

enum { MANY = 50, BYTES = 200000, MESSAGE = 100, ROUNDS = 20, KEPT = 40 };

struct reader {
    rt_frame frame;
    rt_io io;
    int far, i;
    rt_buf buf;
    rt_op op;
    int64_t got;
    uint64_t seed, offset, until;
    rt_task task;
    atomic_bool waits;
};

static struct reader readers[MANY];

static void reader_open(struct reader *r, rt_runtime rt, uint64_t seed, void (*connect_ends)(int[2])) {
    int ends[2];
    memset(r, 0, sizeof *r);
    connect_ends(ends);
    r->io = io_of(rt, ends[0], RT_READABLE);
    r->far = ends[1];
    r->seed = seed;
}

static void reader_close(struct reader *r) {
    CHECK_EQ(rt_close(r->io), 0);
    close(r->far);
}

static void say_something(struct reader *r) {
    char data[MESSAGE];
    net_pattern(data, sizeof data, r->seed, r->until);
    net_put(r->far, data, sizeof data);
    r->until += sizeof data;
}

/* What rt_poll_read_buf gave is the next of what was said. */
static void reader_got(struct reader *r) {
    buf_follows(&r->buf, r->got, r->seed, r->offset);
    r->offset += r->buf.len;
}

static void give_back(struct reader *r) {
    CHECK_EQ(rt_buf_release(r->buf.lease), 0);
    CHECK_EQ(rt_buf_release(r->buf.lease), -EBADF);
    r->buf.lease = 0;
}

/* In a coroutine. */
#define STOP_RECEIVING(r)                                                   \
    do {                                                                    \
        CHECK_EQ(rt_cancel((r)->op), 0);                                    \
        RT_AWAIT((r)->got, rt_poll_recv_next(cx, (r)->op, &(r)->buf));      \
        CHECK_EQ((r)->got, -ECANCELED);                                     \
    } while (0)

/* ---- what comes, to the end ---- */

static int64_t read_to_the_end(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    for (;;) {
        RT_AWAIT(r->got, rt_poll_read_buf(cx, r->io, &r->buf));
        if (r->got <= 0) break;
        reader_got(r);
        give_back(r);
    }
    CHECK_EQ(r->buf.lease, 0); /* the end brings none */
    RT_END(r->got);
}

static void read_all_of(void (*connect_ends)(int[2])) {
    rt_runtime rt = test_runtime();
    struct reader *r = &readers[0];
    reader_open(r, rt, 1, connect_ends);
    struct far_end far = {.fd = r->far, .seed = 1, .bytes = BYTES};
    far_writes(&far);
    CHECK_EQ(rt_spawn(rt, read_to_the_end, r, NULL, &r->task), 0);
    thread_join_driving(far.thread, rt);
    close(r->far);
    r->far = -1;
    CHECK_EQ(join_task(r->task), 0);
    CHECK_EQ(r->offset, BYTES);
    reader_close(r);
    multi_runtime_free(rt);
}

static void of_tcp(void) { read_all_of(net_pair); }
static void of_unix(void) { read_all_of(net_unix_pair); }
static void of_a_pipe(void) { read_all_of(net_pipe); }

/* ---- nobody holds a buffer who waits ---- */

static int64_t read_one(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    r->got = rt_poll_read_buf(cx, r->io, &r->buf);
    CHECK_EQ(r->got, RT_PENDING);
    atomic_store(&r->waits, true);
    RT_AWAIT(r->got, rt_poll_read_buf(cx, r->io, &r->buf));
    reader_got(r);
    RT_END(0);
}

static void who_waits_holds_none(void) {
    rt_config config = test_config();
    config.buffer_count = 2 * MANY;
    rt_runtime rt = test_runtime_with(&config);
    for (int i = 0; i < MANY; i++) {
        reader_open(&readers[i], rt, (uint64_t)i, net_unix_pair);
        readers[i].task = spawn_near(rt, read_one, &readers[i], 0);
    }
    for (int i = 0; i < MANY; i++) drive_until(rt, flag_set, &readers[i].waits);
    CHECK_EQ(leases_out(rt), 0);
    for (int i = 0; i < MANY; i++) say_something(&readers[i]);
    for (int i = 0; i < MANY; i++) CHECK_EQ(join_task(readers[i].task), 0);
    CHECK_EQ(leases_out(rt), MANY);
    for (int i = 0; i < MANY; i++) {
        give_back(&readers[i]);
        reader_close(&readers[i]);
    }
    multi_runtime_free(rt);
}

/* ---- fewer buffers than tasks ---- */

/* Keeps what it got while others run. */
static int64_t echo_kept(rt_cx *cx, void *state) {
    struct reader *r = state;
    char data[MESSAGE];
    RT_BEGIN(&r->frame);
    for (r->i = 0; r->i < ROUNDS; r->i++) {
        say_something(r);
        while (r->offset < r->until) {
            RT_AWAIT(r->got, rt_poll_read_buf(cx, r->io, &r->buf));
            reader_got(r);
            RT_YIELD(cx);
            CHECK_EQ(rt_send_buf(r->io, &r->buf), r->got);
            r->buf.lease = 0;
        }
        /* It says so when the answer is there: nothing of it is left to be sent. */
        RT_AWAIT(r->got, rt_poll_flush(cx, r->io, 0));
        CHECK_EQ(net_get(r->far, data, sizeof data), sizeof data);
        CHECK(net_pattern_holds(data, sizeof data, r->seed, r->until - sizeof data));
    }
    RT_END(0);
}

static void share(uint32_t buffers) {
    rt_config config = test_config();
    config.buffer_count = buffers;
    rt_runtime rt = test_runtime_with(&config);
    for (int i = 0; i < MANY; i++) {
        reader_open(&readers[i], rt, (uint64_t)i, net_unix_pair);
        CHECK_EQ(rt_spawn(rt, echo_kept, &readers[i], NULL, &readers[i].task), 0);
    }
    for (int i = 0; i < MANY; i++) CHECK_EQ(join_task(readers[i].task), 0);
    for (int i = 0; i < MANY; i++) reader_close(&readers[i]);
    multi_runtime_free(rt);
}

static void fifty_share_one(void) { share(1); }
static void fifty_share_three(void) { share(3); }

/* ---- more than the pool has ---- */

static struct keeper {
    struct reader from;
    rt_buf kept[KEPT];
} keeper;

/* None of them is another's, and what is in one stays there. */
static void kept_are_whole(int from, int until) {
    for (int i = from; i < until; i++) {
        CHECK(net_pattern_holds(keeper.kept[i].ptr, MESSAGE, keeper.from.seed, (uint64_t)i * MESSAGE));
        for (int j = from; j < i; j++) CHECK(keeper.kept[i].ptr != keeper.kept[j].ptr);
    }
}

static int64_t keep_many(rt_cx *cx, void *state) {
    struct reader *r = &keeper.from;
    (void)state;
    RT_BEGIN(&r->frame);
    for (r->i = 0; r->i < KEPT; r->i++) {
        say_something(r);
        RT_AWAIT(r->got, rt_poll_read_buf(cx, r->io, &r->buf));
        reader_got(r);
        keeper.kept[r->i] = r->buf;
    }
    kept_are_whole(0, KEPT);
    RT_END(0);
}

static void *release_some(void *arg) {
    (void)arg;
    for (int i = 0; i < KEPT / 2; i++) CHECK_EQ(rt_buf_release(keeper.kept[i].lease), 0);
    return NULL;
}

/* Nobody waits who keeps them all, they are anybody's to give back, and they outlive the runtime. */
static void as_many_as_are_kept(void) {
    rt_config config = test_config();
    config.buffer_count = 3;
    config.buffer_size = MESSAGE;
    rt_runtime rt = test_runtime_with(&config);
    memset(&keeper, 0, sizeof keeper);
    reader_open(&keeper.from, rt, 9, net_unix_pair);
    CHECK_EQ(rt_block_on(rt, keep_many, NULL), 0);
    CHECK_EQ(leases_out(rt), KEPT);
    thread_join(thread_start(release_some, NULL));
    CHECK_EQ(leases_out(rt), KEPT / 2);
    kept_are_whole(KEPT / 2, KEPT);
    reader_close(&keeper.from);
    op_runtime_free(rt);
    kept_are_whole(KEPT / 2, KEPT);
    for (int i = 0; i < KEPT; i++) CHECK_EQ(rt_buf_release(keeper.kept[i].lease), i < KEPT / 2 ? -EBADF : 0);
}

/* A lease is a lease: it may be sent on, and the memory is there until it went. */
static int64_t send_on(rt_cx *cx, void *state) {
    struct reader *r = state;
    char data[MESSAGE];
    RT_BEGIN(&r->frame);
    for (r->i = 0; r->i < ROUNDS; r->i++) {
        say_something(r);
        RT_AWAIT(r->got, rt_poll_read_buf(cx, r->io, &r->buf));
        reader_got(r);
        CHECK_EQ(rt_send_buf(r->io, &r->buf), r->got);
    }
    RT_AWAIT(r->got, rt_poll_flush(cx, r->io, 0));
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(net_get(r->far, data, sizeof data), sizeof data);
        CHECK(net_pattern_holds(data, sizeof data, r->seed, (uint64_t)i * sizeof data));
    }
    RT_END(0);
}

static void sent_on(void) {
    rt_config config = test_config();
    config.buffer_count = 1;
    rt_runtime rt = test_runtime_with(&config);
    reader_open(&readers[0], rt, 3, net_unix_pair);
    CHECK_EQ(rt_block_on(rt, send_on, &readers[0]), 0);
    reader_close(&readers[0]);
    multi_runtime_free(rt);
}

/* ---- beside operations ---- */

static int64_t receive_to_the_end(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, r->io, &r->op), 0);
    for (;;) {
        RT_AWAIT(r->got, rt_poll_recv_next(cx, r->op, &r->buf));
        if (r->got <= 0) break;
        reader_got(r);
        RT_YIELD(cx);
        give_back(r);
    }
    RT_END(r->got);
}

/* Operations wait for the few buffers that there are, beside reads that do not, and all get theirs. */
static void operations_and_reads_share(void) {
    enum { EACH = 4 };
    rt_config config = test_config();
    config.buffer_count = 4;
    config.buffer_size = 512;
    rt_runtime rt = test_runtime_with(&config);
    struct far_end far[2 * EACH];
    for (int i = 0; i < 2 * EACH; i++) {
        struct reader *r = &readers[i];
        reader_open(r, rt, (uint64_t)i, net_unix_pair);
        far[i] = (struct far_end){.fd = r->far, .seed = r->seed, .bytes = BYTES / 4, .shuts = true};
        far_writes(&far[i]);
        r->task = spawn_near(rt, i < EACH ? receive_to_the_end : read_to_the_end, r, i > 0 ? readers[0].task : 0);
    }
    for (int i = 0; i < 2 * EACH; i++) CHECK_EQ(join_task(readers[i].task), 0);
    for (int i = 0; i < 2 * EACH; i++) {
        thread_join(far[i].thread);
        CHECK_EQ(readers[i].offset, BYTES / 4);
        reader_close(&readers[i]);
    }
    multi_runtime_free(rt);
}

/* However many are kept of what was read, operations have theirs, too. */
static int64_t receive_beside_kept(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, r->io, &r->op), 0);
    for (r->i = 0; r->i < ROUNDS; r->i++) {
        say_something(r);
        RT_AWAIT(r->got, rt_poll_recv_next(cx, r->op, &r->buf));
        reader_got(r);
        give_back(r);
    }
    STOP_RECEIVING(r);
    RT_END(0);
}

static void operations_beside_kept(void) {
    rt_config config = test_config();
    config.buffer_count = 4;
    rt_runtime rt = test_runtime_with(&config);
    memset(&keeper, 0, sizeof keeper);
    reader_open(&keeper.from, rt, 9, net_unix_pair);
    reader_open(&readers[0], rt, 1, net_unix_pair);
    CHECK_EQ(join_task(spawn_near(rt, keep_many, NULL, 0)), 0);
    CHECK_EQ(join_task(spawn_near(rt, receive_beside_kept, &readers[0], 0)), 0);
    for (int i = 0; i < KEPT; i++) CHECK_EQ(rt_buf_release(keeper.kept[i].lease), 0);
    reader_close(&keeper.from);
    reader_close(&readers[0]);
    multi_runtime_free(rt);
}

/* The kernel may have the only buffer, for an operation to which nothing comes. */
static int64_t read_beside_idle(rt_cx *cx, void *state) {
    struct reader *r = state;
    RT_BEGIN(&r->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, readers[1].io, &r->op), 0);
    RT_YIELD(cx);
    say_something(r);
    RT_AWAIT(r->got, rt_poll_read_buf(cx, r->io, &r->buf));
    reader_got(r);
    give_back(r);
    STOP_RECEIVING(r);
    RT_END(0);
}

static void the_only_buffer(void) {
    rt_config config = test_config();
    config.buffer_count = 1;
    rt_runtime rt = test_runtime_with(&config);
    for (int i = 0; i < 2; i++) reader_open(&readers[i], rt, (uint64_t)i, net_unix_pair);
    CHECK_EQ(rt_block_on(rt, read_beside_idle, &readers[0]), 0);
    for (int i = 0; i < 2; i++) reader_close(&readers[i]);
    multi_runtime_free(rt);
}

/* ---- what is refused ---- */

static int64_t refused(rt_cx *cx, void *state) {
    struct reader *r = state;
    rt_io io;
    RT_BEGIN(&r->frame);
    CHECK_EQ(rt_poll_read_buf(cx, r->io, NULL), -EINVAL);
    CHECK_EQ(rt_poll_read_buf(NULL, r->io, &r->buf), -EINVAL);
    CHECK_EQ(rt_poll_read_buf(cx, 0, &r->buf), -EBADF);
    io = io_of(rt_cx_runtime(cx), dup(r->far), RT_WRITABLE);
    CHECK_EQ(rt_poll_read_buf(cx, io, &r->buf), -EINVAL);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_submit_recv_multi(cx, r->io, &r->op), 0);
    CHECK_EQ(rt_poll_read_buf(cx, r->io, &r->buf), -EBUSY);
    STOP_RECEIVING(r);
    CHECK_EQ(rt_close(r->io), 0);
    CHECK_EQ(rt_poll_read_buf(cx, r->io, &r->buf), -EBADF);
    CHECK_EQ(r->buf.lease, 0);
    RT_END(0);
}

static void what_cannot_be(void) {
    rt_runtime rt = test_runtime();
    struct reader *r = &readers[0];
    struct hand hand;
    reader_open(r, rt, 1, net_unix_pair);
    hand_open(&hand, rt);
    CHECK_EQ(rt_poll_read_buf(hand.cx, r->io, &r->buf), -EPERM);
    hand_close(&hand);
    CHECK_EQ(rt_block_on(rt, refused, r), 0);
    close(r->far);
    multi_runtime_free(rt);
}

/* A reset is told as to any read. */
static void a_reset(void) {
    rt_runtime rt = test_runtime();
    struct reader *r = &readers[0];
    reader_open(r, rt, 1, net_pair);
    net_reset(r->far);
    r->far = -1;
    CHECK_EQ(rt_spawn(rt, read_to_the_end, r, NULL, &r->task), 0);
    CHECK_EQ(join_task(r->task), -ECONNRESET);
    reader_close(r);
    multi_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(2 * MANY + 100);
    CASE(of_tcp);
    CASE(of_unix);
    CASE(of_a_pipe);
    CASE(who_waits_holds_none);
    CASE(fifty_share_one);
    CASE(fifty_share_three);
    CASE(as_many_as_are_kept);
    CASE(sent_on);
    CASE(operations_and_reads_share);
    CASE(operations_beside_kept);
    CASE(the_only_buffer);
    CASE(what_cannot_be);
    CASE(a_reset);
    return test_end();
}
