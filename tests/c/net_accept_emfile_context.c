/* Out of descriptors on a thread that drives nothing: its context is woken for another try although
 * all who drive sleep, with nothing else to wake them. */
#include "ready.h"
#include "soon.h"

struct sleepers {
    rt_runtime rt;
    atomic_int asleep;
    rt_task parked; /* keeps rt_run going */
    gate done;
};

static void on_park(void *arg) { atomic_fetch_add(&((struct sleepers *)arg)->asleep, 1); }
static void on_unpark(void *arg) { atomic_fetch_sub(&((struct sleepers *)arg)->asleep, 1); }

/* Who drives a current-thread runtime has to free it, too. */
static void *run(void *arg) {
    struct sleepers *s = arg;
    CHECK_EQ(rt_run(s->rt), 0);
    CHECK_EQ(join_task(s->parked), 0);
    gate_wait(&s->done);
    test_runtime_free(s->rt);
    return NULL;
}

static void wait_until_asleep(struct sleepers *s) {
    int drivers = current_thread() ? 1 : (int)test_workers;
    while (atomic_load(&s->asleep) < drivers) sched_yield();
}

/* No descriptor more than there are. */
static struct rlimit allow_no_more(void) {
    struct rlimit before, low;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
    int next = (int)CHECK_SYS(dup(0));
    close(next);
    low = before;
    low.rlim_cur = (rlim_t)next;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
    return before;
}

static void it_is_woken_for_another_try(void) {
    struct sleepers s = {.rt = 0};
    rt_config config = test_config();
    config.spin_ns = RT_SPIN_OFF;
    config.on_park = on_park;
    config.on_unpark = on_unpark;
    config.hook_arg = &s;
    s.rt = test_runtime_with(&config);
    probe p = {0};
    s.parked = probe_spawn(s.rt, &p);
    gate_init(&s.done);
    pthread_t driver = thread_start(run, &s);
    struct hand h;
    hand_open(&h, s.rt);
    int fd = net_listen(1), client = net_dial(fd);
    rt_io listener = io_of(s.rt, fd, RT_READABLE), io = 0;
    while (bits_of(listener, RT_READABLE) == 0) sched_yield();
    wait_until_asleep(&s);

    struct rlimit before = allow_no_more();
    CHECK_EQ(rt_poll_accept(h.cx, listener, &io), -EMFILE);
    CHECK_EQ(rt_poll_accept(h.cx, listener, &io), RT_PENDING);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    gate_wait_soon(&h.woken);
    int64_t r;
    while ((r = rt_poll_accept(h.cx, listener, &io)) == RT_PENDING) gate_wait_soon(&h.woken);
    CHECK_EQ(r, 0);

    probe_finish(&p, s.parked);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_close(listener), 0);
    close(client);
    hand_close(&h);
    gate_open(&s.done);
    thread_join(driver);
    hand_check(&h);
    gate_destroy(&s.done);
}

/* ---- a close makes room ---- */

static struct {
    rt_runtime rt;
    pthread_t closer;
    atomic_bool armed, freed;
} room;

static void *keep(void *data) { return data; }
static void ignore(void *data) { (void)data; }

/* On the thread that closes, which is not inside of the runtime; a worker may have been first. */
static void free_for_room(void *data) {
    (void)data;
    if (!atomic_exchange(&room.armed, false)) return;
    bool here = pthread_equal(pthread_self(), room.closer);
    CHECK_EQ(rt_free(room.rt), here ? 0 : -EDEADLK);
    atomic_store(&room.freed, here);
}

static const rt_waker_vtable vtable = {keep, free_for_room, free_for_room, ignore};

static void who_is_told_by_a_close_may_free(void) {
    rt_waker w;
    rt_cx *cx;
    rt_io io = 0;
    rt_io pair[2];
    memset(&room, 0, sizeof room);
    room.closer = pthread_self();
    room.rt = test_runtime();
    CHECK_EQ(rt_waker_new(&vtable, NULL, &w), 0);
    CHECK_EQ(rt_cx_new(room.rt, &w, &cx), 0);
    CHECK_EQ(rt_unix_pair(room.rt, SOCK_STREAM, pair), 0);
    int fd = net_listen(1), client = net_dial(fd);
    rt_io listener = io_of(room.rt, fd, RT_READABLE);
    while (bits_of(listener, RT_READABLE) == 0)
        if (current_thread()) CHECK_OK(rt_turn(room.rt, 0));
        else sched_yield();
    struct rlimit before = allow_no_more();
    CHECK_EQ(rt_poll_accept(cx, listener, &io), -EMFILE);
    CHECK_EQ(rt_poll_accept(cx, listener, &io), RT_PENDING);
    atomic_store(&room.armed, true);
    CHECK_EQ(rt_close(pair[0]), 0);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    if (!atomic_load(&room.freed)) CHECK_EQ(rt_free(room.rt), 0);
    CHECK_EQ(rt_cx_free(cx), 0);
    CHECK_EQ(rt_waker_drop(&w), 0);
    close(client);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (under("valgrind")) SKIP("valgrind takes no notice of a lower RLIMIT_NOFILE");
    must_end_soon();
    CASE(it_is_woken_for_another_try);
    CASE(who_is_told_by_a_close_may_free);
    return test_end();
}
