/* What the tests of operations with many results, and of stream sends, share: far ends that are
 * threads, and an end that misses no lease.
 */
#ifndef ASYNCIO_TESTS_MULTI_H
#define ASYNCIO_TESTS_MULTI_H

#include "op.h"

/* ---- the end: no lease may be out ---- */

static inline uint64_t leases_out(rt_runtime rt) { return metrics(rt).leases_live; }

static inline void multi_runtime_free(rt_runtime rt) {
    while (leases_out(rt) != 0) {
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else sched_yield();
    }
    op_runtime_free(rt);
}

/* `body` as the only task of a runtime of its own, of which nothing may be left. */
static inline void play_with(const rt_config *config, rt_poll_fn body, void *state) {
    rt_runtime rt = test_runtime_with(config);
    CHECK_EQ(rt_block_on(rt, body, state), 0);
    multi_runtime_free(rt);
}

static inline void play_alone(rt_poll_fn body, void *state) {
    rt_config config = test_config();
    play_with(&config, body, state);
}

/* ---- a far end that writes, or reads, on a thread ---- */

struct far_end {
    int fd;
    uint64_t seed;
    size_t bytes;  /* in all */
    size_t piece;  /* at a time; 0: much */
    bool shuts;    /* after the last byte */
    pthread_t thread;
};

enum { FAR_ROOM = 65536 };

static inline void *far_write_all(void *arg) {
    struct far_end *f = arg;
    char data[FAR_ROOM];
    size_t most = f->piece > 0 ? f->piece : sizeof data, n;
    for (size_t done = 0; done < f->bytes; done += n) {
        n = f->bytes - done < most ? f->bytes - done : most;
        net_pattern(data, n, f->seed, done);
        net_put(f->fd, data, n);
    }
    if (f->shuts) CHECK_SYS(shutdown(f->fd, SHUT_WR));
    return NULL;
}

static inline void *far_read_all(void *arg) {
    struct far_end *f = arg;
    char data[FAR_ROOM];
    size_t most = f->piece > 0 ? f->piece : sizeof data, n;
    for (size_t done = 0; done < f->bytes; done += n) {
        n = f->bytes - done < most ? f->bytes - done : most;
        CHECK_EQ(net_get(f->fd, data, n), n);
        CHECK(net_pattern_holds(data, n, f->seed, done));
        if (f->piece > 0) sched_yield();
    }
    return NULL;
}

static inline void far_writes(struct far_end *f) { f->thread = thread_start(far_write_all, f); }
static inline void far_reads(struct far_end *f) { f->thread = thread_start(far_read_all, f); }

/* As net_stuff, with a pattern from `offset` on. */
static inline size_t far_stuff(int fd, uint64_t seed, size_t offset) {
    char data[FAR_ROOM / 4];
    size_t total = 0, piece = sizeof data;
    while (piece > 0) {
        net_pattern(data, piece, seed, offset + total);
        ssize_t r = write(fd, data, piece);
        if (r > 0) {
            total += (size_t)r;
        } else if (errno == EAGAIN) {
            if (net_in_flight(fd)) sched_yield();
            else piece /= 2;
        } else if (errno != EINTR) {
            CHECK_SYS(r);
        }
    }
    return total;
}

/* A current-thread runtime sends, and closes, only while somebody drives it. */
static inline void thread_join_driving(pthread_t thread, rt_runtime rt) {
    if (!current_thread()) thread_join(thread);
    else
        while (pthread_tryjoin_np(thread, NULL) != 0) CHECK_OK(rt_turn(rt, 1000000));
}

/* ---- receiving ---- */

/* A receiver's side: what came so far must be the beginning of a pattern. */
static inline void buf_follows(const rt_buf *buf, int64_t got, uint64_t seed, uint64_t offset) {
    CHECK(got > 0);
    CHECK_EQ(buf->len, got);
    CHECK(buf->lease != 0);
    CHECK(net_pattern_holds(buf->ptr, buf->len, seed, offset));
}

/* ---- spawning ---- */

/* On the worker of `near`, or with 0 on any, but always the same one. */
static inline rt_task spawn_near(rt_runtime rt, rt_poll_fn poll, void *state, rt_task near) {
    rt_spawn_opts opts;
    rt_task task = 0;
    CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
    opts.flags = RT_SPAWN_PINNED;
    opts.poll = poll;
    opts.state = state;
    opts.near = near;
    CHECK_EQ(rt_spawn_with(rt, &opts, &task), 0);
    return task;
}

#endif
