/* A descriptor is closed while others read from it in a loop, and strangers take its number at
 * once: not one byte of theirs is ever read, and none of theirs is missing.
 */
#include "ready.h"

enum { READERS = 2, BYTES = 32 };

struct arena {
    rt_runtime rt;
    _Atomic rt_io current;
    atomic_bool over;
    atomic_uint reads;
    int rounds;
    rt_task readers[READERS];
};

/* ---- readers: whatever is current, as fast as they can ---- */

struct reader {
    struct arena *arena;
    rt_io stale;
};

static int64_t read_on(rt_cx *cx, void *state) {
    struct reader *reader = state;
    struct arena *a = reader->arena;
    while (!atomic_load(&a->over)) {
        rt_io io = atomic_load(&a->current);
        if (io == reader->stale) return RT_PENDING; /* until the closer has another, and says so */
        unsigned char got[8];
        int64_t r = rt_poll_read(cx, io, got, sizeof got);
        if (r == RT_PENDING) return r;
        if (r < 0) {
            CHECK_EQ(r, -EBADF);
            reader->stale = io;
            continue;
        }
        for (int64_t i = 0; i < r; i++) CHECK_EQ(got[i], 'L');
        atomic_fetch_add(&a->reads, 1);
    }
    return 0;
}

static void wake_readers(struct arena *a) {
    for (int i = 0; i < READERS; i++) rt_task_wake(a->readers[i]); /* at the end it may be gone */
}

/* ---- the closer: one registered pair a round, then a stranger in its place ---- */

static void fill(int fd, char with) {
    char data[BYTES];
    memset(data, with, sizeof data);
    net_put(fd, data, sizeof data);
}

static void stranger_is_whole(const int fds[2]) {
    char got[BYTES + 1];
    close(fds[1]);
    CHECK_EQ(net_get(fds[0], got, sizeof got), BYTES);
    for (int i = 0; i < BYTES; i++) CHECK_EQ(got[i], 'S');
    close(fds[0]);
}

/* Each release leaves the number free at another moment. */
static void let_go(rt_io io, int fd, int round) {
    if (round % 4 == 3) {
        CHECK_EQ(rt_deregister(io), 0);
        close(fd);
    } else {
        CHECK_EQ(rt_close(io), 0);
    }
}

static void one_round(struct arena *a, int round) {
    int pair[2], strangers[3][2];
    net_unix_pair(pair);
    fill(pair[1], 'L');
    rt_io io = io_of(a->rt, pair[0], RW);
    unsigned before = atomic_load(&a->reads);
    atomic_store(&a->current, io);
    wake_readers(a);
    /* Some rounds close at once, others in the middle, others when the readers wait for more. */
    for (int i = 0; i < round % 8 && atomic_load(&a->reads) == before; i++) sched_yield();
    let_go(io, pair[0], round);
    for (int i = 0; i < 3; i++) {
        net_unix_pair(strangers[i]);
        fill(strangers[i][1], 'S');
    }
    if (round % 3 == 0) sched_yield();
    for (int i = 0; i < 3; i++) stranger_is_whole(strangers[i]);
    close(pair[1]);
}

static void *close_and_replace(void *arg) {
    struct arena *a = arg;
    for (int round = 0; round < a->rounds; round++) one_round(a, round);
    atomic_store(&a->over, true);
    wake_readers(a);
    return NULL;
}

static void numbers_change_hands(void) {
    struct arena a = {.rt = test_runtime(), .rounds = scaled(20000)};
    struct reader readers[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){&a, 0};
        CHECK_EQ(rt_spawn(a.rt, read_on, &readers[i], NULL, &a.readers[i]), 0);
    }
    pthread_t closer = thread_start(close_and_replace, &a);
    for (int i = 0; i < READERS; i++) CHECK_EQ(join_task(a.readers[i]), 0);
    thread_join(closer);
    CHECK(atomic_load(&a.reads) > 0);
    test_runtime_free(a.rt);
}

/* ---- the same with plain threads that read through contexts of their own ---- */

struct thread_reader {
    struct arena *arena;
    struct hand *hand;
};

static void *read_on_a_thread(void *arg) {
    struct thread_reader *t = arg;
    struct arena *a = t->arena;
    while (!atomic_load(&a->over)) {
        rt_io io = atomic_load(&a->current);
        unsigned char got[8];
        int64_t r = io == 0 ? -EBADF : rt_poll_read(t->hand->cx, io, got, sizeof got);
        if (r < 0) {
            CHECK(r == RT_PENDING || r == -EBADF);
            sched_yield();
        }
        for (int64_t i = 0; i < r; i++) CHECK_EQ(got[i], 'L');
        if (r > 0) atomic_fetch_add(&a->reads, 1);
    }
    return NULL;
}

static void threads_read_meanwhile(void) {
    struct arena a = {.rt = test_runtime(), .rounds = scaled(5000)};
    struct hand hands[READERS];
    struct thread_reader readers[READERS];
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        hand_open(&hands[i], a.rt);
        readers[i] = (struct thread_reader){&a, &hands[i]};
        threads[i] = thread_start(read_on_a_thread, &readers[i]);
    }
    pthread_t closer = thread_start(close_and_replace, &a);
    /* A current-thread runtime is driven too, so that readiness comes while they read. */
    while (current_thread() && !atomic_load(&a.over)) CHECK_OK(rt_turn(a.rt, 1000000));
    thread_join(closer);
    for (int i = 0; i < READERS; i++) {
        thread_join(threads[i]);
        hand_close(&hands[i]);
    }
    test_runtime_free(a.rt);
    for (int i = 0; i < READERS; i++) hand_check(&hands[i]);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(numbers_change_hands);
    CASE(threads_read_meanwhile);
    return test_end();
}
