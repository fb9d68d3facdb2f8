/* A million timers at once, which tasks and a foreign thread start, reset and cancel at random, each
 * of them those of another: what is left fires, never early, and nothing else does.
 */
#include "timer.h"

enum { ACTORS = 3, MILLION = 1000000, FEWER = 20000 };

struct one {
    rt_timer timer;
    uint64_t at;
    bool cancelled;
};

static struct one *all;
static int share; /* how many are an actor's */
static atomic_int phases_done[2];
static rt_runtime rt;
static uint64_t begun, latest;

struct actor {
    rt_frame frame;
    int number, i;
    uint64_t random;
    rt_timer slot;
    int64_t got;
    atomic_long fired, cancelled;
};

static struct actor actors[ACTORS];

static struct one *ones_of(struct actor *a, int phase) {
    return all + (size_t)((a->number + phase) % ACTORS) * (size_t)share;
}

/* Some are over before they start. */
static uint64_t some_time(struct actor *a) {
    return begun + timer_random(&a->random) % (latest - begun);
}

static void start_one(struct actor *a, struct one *o) {
    o->at = some_time(a);
    o->timer = timer_at(rt, o->at);
}

/* What a reset or a cancel says must be true of the clock: what fired was due. */
static void disturb_one(struct actor *a, struct one *o) {
    uint64_t what = timer_random(&a->random) % 8;
    if (what < 3) {
        uint64_t at = some_time(a);
        int64_t r = CHECK_OK(rt_timer_reset(o->timer, at));
        if (r == 0) CHECK(rt_now() >= o->at);
        o->at = at;
    } else if (what < 5) {
        int64_t r = CHECK_OK(rt_timer_cancel(o->timer));
        if (r == 0) CHECK(rt_now() >= o->at);
        CHECK_EQ(rt_timer_cancel(o->timer), -EBADF);
        o->cancelled = true;
    }
}

static int64_t finish_one(rt_cx *cx, struct actor *a, struct one *o) {
    int64_t r = rt_poll_timer(cx, o->timer);
    if (r == RT_PENDING) return RT_PENDING;
    CHECK_EQ(r, o->cancelled ? -EBADF : 0);
    atomic_fetch_add(o->cancelled ? &a->cancelled : &a->fired, 1);
    if (o->cancelled) return 0;
    CHECK(rt_now() >= o->at);
    CHECK_EQ(rt_timer_cancel(o->timer), 0); /* it had fired */
    return 0;
}

static bool phase_done(int phase) { return atomic_load(&phases_done[phase]) == ACTORS; }

static int64_t act(rt_cx *cx, void *state) {
    struct actor *a = state;
    RT_BEGIN(&a->frame);
    for (a->i = 0; a->i < share; a->i++) {
        start_one(a, &ones_of(a, 0)[a->i]);
        if (a->i % 1000 == 0) RT_YIELD(cx);
    }
    atomic_fetch_add(&phases_done[0], 1);
    while (!phase_done(0)) RT_YIELD(cx);
    for (a->i = 0; a->i < share; a->i++) {
        disturb_one(a, &ones_of(a, 1)[a->i]);
        if (a->i % 1000 == 0) RT_YIELD(cx);
    }
    atomic_fetch_add(&phases_done[1], 1);
    while (!phase_done(1)) RT_YIELD(cx);
    /* The first are waited for one by one, the others all at once. */
    for (a->i = 0; a->i < share; a->i++) {
        if (a->i == share / 16) RT_AWAIT(a->got, rt_poll_sleep(cx, &a->slot, latest));
        RT_AWAIT(a->got, finish_one(cx, a, &ones_of(a, 2)[a->i]));
    }
    RT_END(0);
}

static void *act_on_a_thread(void *arg) {
    struct actor *a = arg;
    struct hand h;
    hand_open(&h, rt);
    for (int i = 0; i < share; i++) start_one(a, &ones_of(a, 0)[i]);
    atomic_fetch_add(&phases_done[0], 1);
    while (!phase_done(0)) sched_yield();
    for (int i = 0; i < share; i++) disturb_one(a, &ones_of(a, 1)[i]);
    atomic_fetch_add(&phases_done[1], 1);
    while (!phase_done(1)) sched_yield();
    for (int i = 0; i < share; i++)
        while (finish_one(h.cx, a, &ones_of(a, 2)[i]) == RT_PENDING) gate_wait(&h.woken);
    hand_close(&h);
    while (atomic_load(&h.wakers) > 0) sched_yield(); /* whoever woke it last may be about to drop it */
    hand_check(&h);
    return NULL;
}

static void a_million(void) {
    int count = slowness() > 1 ? FEWER : MILLION;
    share = count / ACTORS;
    all = calloc((size_t)share * ACTORS, sizeof *all);
    CHECK(all != NULL);
    rt = test_runtime();
    begun = rt_now();
    latest = begun + 1500 * ms;
    rt_task tasks[ACTORS - 1];
    for (int i = 0; i < ACTORS; i++) {
        actors[i].number = i;
        actors[i].random = (uint64_t)(i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    }
    for (int i = 0; i < ACTORS - 1; i++)
        CHECK_EQ(rt_spawn(rt, act, &actors[i], NULL, &tasks[i]), 0);
    pthread_t thread = thread_start(act_on_a_thread, &actors[ACTORS - 1]);
    for (int i = 0; i < ACTORS - 1; i++) CHECK_EQ(join_task(tasks[i]), 0);
    if (!current_thread()) thread_join(thread);
    else
        while (pthread_tryjoin_np(thread, NULL) != 0) CHECK_OK(rt_turn(rt, ms));
    long fired = 0, cancelled = 0;
    for (int i = 0; i < ACTORS; i++) {
        fired += atomic_load(&actors[i].fired);
        cancelled += atomic_load(&actors[i].cancelled);
    }
    CHECK_EQ(fired + cancelled, (long)share * ACTORS);
    CHECK(fired > cancelled);
    timer_runtime_free(rt);
    free(all);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE_ONCE(a_million, "a million is enough");
    return test_end();
}
