/* Watches by the thousand: each hears its own descriptor and its own time, they close in another order
 * than that of their opening, and several threads open and close them at once.
 */
#include "watch.h"

enum { MANY = 10000, FEWER = 1000, HOUR = 3600 };

/* ---- ten thousand ---- */

static struct watched *all;
static int count, expected;
static atomic_int heard, gone;

static void read_byte(struct watched *w, uint32_t ready) {
    char byte;
    atomic_fetch_add(&heard, 1);
    if (ready == 0) return;
    CHECK_EQ(ready, RT_READABLE);
    CHECK_EQ(read(w->fd, &byte, 1), 1);
    CHECK_EQ((unsigned char)byte, net_pattern_at(6, (uint64_t)(w - all)));
}

static void drop_one(void *arg) {
    watched_drop(arg);
    atomic_fetch_add(&gone, 1);
}

/* The others are i * STRIDE % count, which is an order of all for counts of hundreds. */
enum { STRIDE = 7919 };
static int other(int i) { return (int)((int64_t)i * STRIDE % count); }

static void open_all(rt_runtime rt) {
    for (int i = 0; i < count; i += 2) {
        int ends[2];
        net_unix_pair(ends);
        for (int k = 0; k < 2; k++) {
            struct watched *w = &all[i + k];
            *w = (struct watched){.rt = rt, .fd = ends[k], .then = read_byte};
            CHECK_EQ(rt_watch_open(rt, 0, w->fd, watched_call, w, drop_one, &w->watch), 0);
        }
    }
}

/* How often something is heard: of a byte by every third, and of the time by all but every fifth. */
static bool is_written_to(int i) { return i % 3 == 0; }
static bool has_a_time(int i) { return i % 5 != 0; }

static void ask_all(rt_runtime rt) {
    for (int i = 0; i < count; i++) CHECK_EQ(rt_watch_at(all[i].watch, rt_now() + (uint64_t)HOUR * 1000000000), 0);
    deliver(rt);
    for (int n = 0; n < count; n++) {
        int i = other(n);
        struct watched *w = &all[i];
        CHECK_EQ(rt_watch_for(w->watch, RT_READABLE), 0);
        CHECK_EQ(rt_watch_at(w->watch, has_a_time(i) ? rt_now() + (uint64_t)(n % 50) * 1000000 : RT_NEVER), 0);
        expected += is_written_to(i) + has_a_time(i);
        if (!is_written_to(i)) continue;
        unsigned char byte = net_pattern_at(6, (uint64_t)i);
        net_put(all[i ^ 1].fd, &byte, 1);
    }
}

static bool all_heard(void *arg) {
    (void)arg;
    return atomic_load(&heard) >= expected;
}

static bool all_gone(void *arg) {
    (void)arg;
    return atomic_load(&gone) == count;
}

static void heard_once(void) {
    for (int i = 0; i < count; i++) {
        CHECK_EQ(atomic_load(&all[i].calls), is_written_to(i));
        CHECK_EQ(atomic_load(&all[i].times), has_a_time(i));
    }
}

static void close_fds(void) {
    for (int i = 0; i < count; i++) CHECK_SYS(close(all[i].fd));
    free(all);
}

static rt_runtime many(void) {
    count = slowness() > 1 ? FEWER : MANY;
    net_want_fds((rlim_t)count + 200);
    expected = 0;
    atomic_store(&heard, 0);
    atomic_store(&gone, 0);
    all = calloc((size_t)count, sizeof *all);
    CHECK(all != NULL);
    rt_runtime rt = test_runtime();
    open_all(rt);
    CHECK(live_tasks(rt) >= (uint64_t)count);
    CHECK_EQ(metrics(rt).ios_live, count);
    ask_all(rt);
    drive_until(rt, all_heard, NULL);
    deliver(rt);
    heard_once();
    return rt;
}

static void in_another_order(void) {
    rt_runtime rt = many();
    for (int n = 0; n < count; n++) CHECK_EQ(rt_watch_close(all[other(n)].watch), 0);
    CHECK_EQ(metrics(rt).ios_live, 0);
    drive_until(rt, all_gone, NULL);
    heard_once();
    close_fds();
    test_runtime_free(rt);
}

/* With something to tell, and times that have not come. */
static void by_their_runtime(void) {
    rt_runtime rt = many();
    for (int i = 0; i < count; i++) {
        atomic_store(&all[i].calls, 0);
        CHECK_EQ(rt_watch_for(all[i].watch, 0), 0);
        CHECK_EQ(rt_watch_at(all[i].watch, rt_now() + (uint64_t)HOUR * 1000000000), 0);
    }
    CHECK_EQ(rt_free(rt), 0);
    CHECK(all_gone(NULL));
    for (int i = 0; i < count; i++) CHECK_EQ(rt_watch_close(all[i].watch), -EBADF);
    close_fds();
}

/* ---- two threads ---- */

enum { THREADS = 2, AT_ONCE = 8 };

static struct side {
    rt_runtime rt;
    int lives;
    _Atomic rt_watch newest;
    struct side *other;
} sides[THREADS];
static atomic_int sides_left;
static atomic_bool all_over;

static void await_count(atomic_int *what, int n) {
    while (atomic_load(what) < n) sched_yield();
}

static void take_it(struct watched *w, uint32_t ready) {
    char byte;
    if (ready != 0) CHECK_EQ(read(w->fd, &byte, 1), 1);
}

/* Near one of the other thread's, which may be gone when it is asked for. */
static void open_beside(struct side *s, struct watched *w) {
    int ends[2];
    rt_watch whom = atomic_load(&s->other->newest);
    net_unix_pair(ends);
    *w = (struct watched){.rt = s->rt, .fd = ends[0], .far = ends[1], .then = take_it};
    int64_t r = rt_watch_open(s->rt, whom, w->fd, watched_call, w, watched_drop, &w->watch);
    if (r == -EBADF && whom != 0) r = rt_watch_open(s->rt, 0, w->fd, watched_call, w, watched_drop, &w->watch);
    CHECK_EQ(r, 0);
    atomic_store(&s->newest, w->watch);
}

static void *live_many_times(void *arg) {
    struct side *s = arg;
    static _Thread_local struct watched w[AT_ONCE];
    for (int life = 0; life < s->lives; life++) {
        for (int i = 0; i < AT_ONCE; i++) {
            open_beside(s, &w[i]);
            CHECK_EQ(rt_watch_for(w[i].watch, RT_READABLE), 0);
            CHECK_EQ(rt_watch_at(w[i].watch, rt_now() + (uint64_t)i * 10000), 0);
            net_put(w[i].far, "x", 1);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            await_count(&w[i].calls, 1);
            await_count(&w[i].times, 1);
        }
        for (int i = 0; i < AT_ONCE; i++) CHECK_EQ(rt_watch_close(w[(i * 3 + life) % AT_ONCE].watch), 0);
        for (int i = 0; i < AT_ONCE; i++) {
            await_count(&w[i].drops, 1);
            CHECK_EQ(atomic_load(&w[i].calls), 1);
            CHECK_EQ(atomic_load(&w[i].times), 1);
            CHECK_SYS(close(w[i].fd));
            CHECK_SYS(close(w[i].far));
        }
    }
    if (atomic_fetch_sub(&sides_left, 1) == 1) atomic_store(&all_over, true);
    return NULL;
}

static void from_two_threads(void) {
    pthread_t threads[THREADS];
    rt_runtime rt = test_runtime();
    atomic_store(&sides_left, THREADS);
    atomic_store(&all_over, false);
    for (int i = 0; i < THREADS; i++) {
        sides[i] = (struct side){.rt = rt, .lives = scaled(60), .other = &sides[THREADS - 1 - i]};
        atomic_store(&sides[i].newest, 0);
    }
    for (int i = 0; i < THREADS; i++) threads[i] = thread_start(live_many_times, &sides[i]);
    drive_until(rt, flag_set, &all_over);
    for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(in_another_order);
    CASE(by_their_runtime);
    CASE(from_two_threads);
    return test_end();
}
