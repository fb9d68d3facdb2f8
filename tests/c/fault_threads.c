/* Threads that come, use everything, and exit while the runtime lives: what they left behind (wakers,
 * contexts, leases) goes on working, and what their destructors call at the very end, when the
 * library's own thread-locals may be gone, works as well.
 */
/* leaks: what glibc notes of a thread-local value that is first used in a destructor of a key, when those of
 * thread-local values have run. */
#include "multi.h"
#include "soon.h"

enum { THREADS = 8, LEASES = 4 };

struct world {
    rt_runtime rt;
    rt_io io;
    int far;
    rt_event event;
    rt_chan ch;
    rt_sem sem;
    rt_notify notify;
    probe parked;
    rt_task task;
    rt_waker waker; /* of the parked task */
    atomic_bool given;
    atomic_int done;
};

static struct world world;

static bool all_done(void *arg) { return atomic_load(&world.done) == *(int *)arg; }

/* ---- a task whose waker everybody has ---- */

static int64_t park(rt_cx *cx, void *state) {
    struct world *w = state;
    if (!atomic_load(&w->given)) CHECK_EQ(rt_waker_clone(rt_cx_waker(cx), &w->waker), 0);
    atomic_store(&w->given, true);
    return probe_poll(cx, &w->parked);
}

static void world_open(void) {
    int ends[2];
    memset(&world, 0, sizeof world);
    world.rt = test_runtime();
    net_unix_pair(ends);
    world.io = io_of(world.rt, ends[0], RW);
    world.far = ends[1];
    CHECK_EQ(rt_event_new(world.rt, &world.event), 0);
    CHECK_EQ(rt_chan_new(1, NULL, &world.ch), 0);
    CHECK_EQ(rt_sem_new(1, &world.sem), 0);
    CHECK_EQ(rt_notify_new(&world.notify), 0);
    CHECK_EQ(rt_spawn(world.rt, park, &world, NULL, &world.task), 0);
    drive_until(world.rt, flag_set, &world.given);
}

static void world_close(void) {
    probe_finish(&world.parked, world.task);
    CHECK_EQ(join_task(world.task), 0);
    CHECK_EQ(rt_waker_drop(&world.waker), 0);
    CHECK_EQ(rt_notify_free(world.notify), 0);
    CHECK_EQ(rt_sem_free(world.sem), 0);
    CHECK_EQ(rt_chan_free(world.ch), 0);
    CHECK_EQ(rt_event_free(world.event), 0);
    CHECK_EQ(rt_close(world.io), 0);
    close(world.far);
    multi_runtime_free(world.rt);
}

/* ---- what a thread can do anywhere ---- */

static int64_t one(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 1;
}

static void use_everything(struct world *w) {
    void *item;
    rt_task task;
    rt_waker waker;
    rt_timer timer;
    rt_blob blob;
    CHECK_EQ(rt_waker_clone(&w->waker, &waker), 0);
    CHECK_EQ(rt_waker_wake_by_ref(&waker), 0);
    CHECK_EQ(rt_waker_wake(&waker), 0);
    CHECK_EQ(rt_task_wake(w->task), 0);
    CHECK_EQ(rt_spawn(w->rt, one, NULL, NULL, &task), 0);
    if (!current_thread()) CHECK_EQ(join_task(task), 1);
    else CHECK_EQ(rt_detach(task), 0);
    if (!current_thread()) CHECK_EQ(rt_block_on(w->rt, one, NULL), 1);
    CHECK_EQ(rt_event_set(w->event), 0);
    CHECK_EQ(rt_event_wait(w->event, RT_NEVER), 0);
    int64_t r = rt_chan_try_send(w->ch, w);
    CHECK(r == 0 || r == -EAGAIN);
    r = rt_chan_try_recv(w->ch, &item);
    CHECK(r == 0 || r == -EAGAIN);
    r = rt_chan_recv(w->ch, &item, 1);
    CHECK(r == 0 || r == -ETIME);
    if (rt_sem_try_acquire(w->sem, 1) == 0) CHECK_EQ(rt_sem_release(w->sem, 1), 0);
    CHECK_EQ(rt_notify_one(w->notify), 0);
    CHECK_EQ(rt_timer_start(w->rt, RT_NEVER, &timer), 0);
    CHECK_EQ(rt_timer_cancel(timer), 1);
    CHECK_EQ(rt_blob_new("blob", 4, &blob), 0);
    r = rt_send_blob(w->io, blob);
    CHECK(r == 4 || r == -EAGAIN);
    CHECK_EQ(rt_blob_free(blob), 0);
    r = rt_send(w->io, "x", 1);
    CHECK(r == 1 || r == -EAGAIN);
    CHECK(metrics(w->rt).tasks_live > 0);
}

/* ---- threads that come and go ---- */

static void *come_and_go(void *arg) {
    use_everything(arg);
    atomic_fetch_add(&world.done, 1);
    return NULL;
}

static void *drain_far(void *arg) {
    (void)arg;
    char data[4096];
    net_set_nonblock(world.far, false);
    while (read(world.far, data, sizeof data) > 0) continue;
    return NULL;
}

static void in_waves(void *(*run)(void *)) {
    world_open();
    pthread_t reader = thread_start(drain_far, NULL);
    for (int wave = 0; wave < scaled(40); wave++) {
        pthread_t threads[THREADS];
        atomic_store(&world.done, 0);
        for (int i = 0; i < THREADS; i++) threads[i] = thread_start(run, &world);
        int all = THREADS;
        drive_until(world.rt, all_done, &all);
        for (int i = 0; i < THREADS; i++) thread_join(threads[i]);
    }
    CHECK_SYS(shutdown(world.far, SHUT_RD));
    thread_join(reader);
    world_close();
}

static void they_come_and_go(void) { in_waves(come_and_go); }

/* ---- destructors of thread-locals, which run when the library's are gone ---- */

static pthread_key_t last_words;

static void speak(void *arg) { come_and_go(arg); }

static void *exit_speaking(void *arg) {
    use_everything(arg);
    CHECK_EQ(pthread_setspecific(last_words, arg), 0);
    return NULL;
}

/* Its first call ever is in the destructor. */
static void *exit_speaking_only(void *arg) {
    CHECK_EQ(pthread_setspecific(last_words, arg), 0);
    return NULL;
}

static void destructors_call(void) { in_waves(exit_speaking); }
static void destructors_alone_call(void) { in_waves(exit_speaking_only); }

/* ---- what they leave behind ---- */

struct left {
    struct hand hand;
    bool destructor; /* leaves it at the very end */
    rt_buf leases[LEASES];
};

static struct left left[THREADS];

static void *wait_and_exit(void *arg) {
    struct left *l = arg;
    hand_open(&l->hand, world.rt);
    rt_ready ready;
    CHECK_EQ(rt_poll_ready(l->hand.cx, world.io, RT_READABLE, &ready), RT_PENDING);
    CHECK_EQ(rt_poll_event(l->hand.cx, world.event), RT_PENDING);
    CHECK_EQ(rt_poll_notified(l->hand.cx, world.notify), RT_PENDING);
    CHECK_EQ(rt_poll_join(l->hand.cx, world.task, NULL), RT_PENDING);
    return NULL;
}

/* Their contexts wait on, and others free them. */
static void contexts_are_left_behind(void) {
    world_open();
    for (int i = 0; i < THREADS; i++) on_thread(wait_and_exit, &left[i]);
    net_put(world.far, "x", 1);
    for (int i = 0; i < THREADS; i++) hand_wait_for(&left[i].hand, 1);
    CHECK_EQ(rt_event_set(world.event), 0);
    CHECK_EQ(rt_notify_all(world.notify), 0);
    for (int i = 0; i < THREADS; i++) {
        rt_ready ready;
        AWAIT_EQ(&left[i].hand, 0, rt_poll_ready(left[i].hand.cx, world.io, RT_READABLE, &ready));
        AWAIT_EQ(&left[i].hand, 0, rt_poll_event(left[i].hand.cx, world.event));
        AWAIT_EQ(&left[i].hand, 0, rt_poll_notified(left[i].hand.cx, world.notify));
        hand_close(&left[i].hand);
    }
    world_close();
    for (int i = 0; i < THREADS; i++) hand_check(&left[i].hand);
}

/* Leases that threads give back, as the last thing that they do, or after the runtime is gone. */
struct taking {
    rt_frame frame;
    rt_op op;
    rt_io io;
    int far, i, k;
    int64_t r;
};

static int64_t take_leases(rt_cx *cx, void *state) {
    struct taking *t = state;
    RT_BEGIN(&t->frame);
    CHECK_EQ(rt_submit_recv_multi(cx, t->io, &t->op), 0);
    for (t->i = 0; t->i < THREADS; t->i++)
        for (t->k = 0; t->k < (t->i < 3 ? LEASES : 0); t->k++) {
            net_put(t->far, "bytes", 5);
            RT_AWAIT(t->r, rt_poll_recv_next(cx, t->op, &left[t->i].leases[t->k]));
            CHECK_EQ(t->r, 5);
        }
    RT_END(0);
}

static void give_back(struct left *l) {
    for (int k = 0; k < LEASES; k++) CHECK_EQ(rt_buf_release(l->leases[k].lease), 0);
}

static pthread_key_t last_gift;
static void give_back_last(void *arg) { give_back(arg); }

static void *give_and_exit(void *arg) {
    struct left *l = arg;
    if (l->destructor) CHECK_EQ(pthread_setspecific(last_gift, arg), 0);
    else give_back(l);
    return NULL;
}

static void leases_are_given_back(void) {
    int ends[2];
    memset(left, 0, sizeof left);
    rt_runtime rt = test_runtime();
    net_unix_pair(ends);
    struct taking t = {.io = io_of(rt, ends[0], 0), .far = ends[1]};
    CHECK_EQ(rt_block_on(rt, take_leases, &t), 0);
    CHECK_EQ(rt_close(t.io), 0);
    close(ends[1]);
    on_thread(give_and_exit, &left[0]);
    left[1].destructor = true;
    on_thread(give_and_exit, &left[1]);
    op_runtime_free(rt);
    left[2].destructor = true;
    on_thread(give_and_exit, &left[2]);
}

/* ---- a runtime whose makers have exited ---- */

static void *make_one(void *arg) {
    rt_config config = test_config();
    config.flavour = RT_MULTI_THREAD;
    if (current_thread()) config.workers = 1;
    *(rt_runtime *)arg = test_runtime_with(&config);
    return NULL;
}

static void *free_one(void *arg) {
    rt_runtime rt = *(rt_runtime *)arg;
    while (metrics(rt).tasks_live != 0) sched_yield();
    CHECK_EQ(rt_free(rt), 0);
    return NULL;
}

static void makers_exit(void) {
    for (int i = 0; i < scaled(20); i++) {
        rt_runtime rt = 0;
        on_thread(make_one, &rt);
        CHECK_EQ(rt_block_on(rt, one, NULL), 1);
        on_thread(free_one, &rt);
    }
}

/* A current-thread runtime is its thread's, and goes with it only if that thread frees it. */
static pthread_key_t last_act;
static void free_last(void *arg) { CHECK_EQ(rt_free((rt_runtime)(uintptr_t)arg), 0); }

static void *drive_and_exit(void *arg) {
    (void)arg;
    rt_config config = test_config();
    config.flavour = RT_CURRENT_THREAD;
    rt_runtime rt = test_runtime_with(&config);
    CHECK_EQ(rt_block_on(rt, one, NULL), 1);
    CHECK_EQ(pthread_setspecific(last_act, (void *)(uintptr_t)rt), 0);
    return NULL;
}

static void freed_by_a_destructor(void) {
    for (int i = 0; i < scaled(20); i++) on_thread(drive_and_exit, NULL);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CHECK_EQ(pthread_key_create(&last_words, speak), 0);
    CHECK_EQ(pthread_key_create(&last_gift, give_back_last), 0);
    CHECK_EQ(pthread_key_create(&last_act, free_last), 0);
    CASE(they_come_and_go);
    CASE(destructors_call);
    CASE_ONCE(destructors_alone_call, "glibc keeps what it notes of its threads");
    CASE(contexts_are_left_behind);
    CASE(leases_are_given_back);
    CASE(makers_exit);
    CASE(freed_by_a_destructor);
    return test_end();
}
