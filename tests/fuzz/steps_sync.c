/* Steps: what tasks and threads share; times; sets. */
#include "steps.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>


/* ---- notifications ---- */

int64_t step_notify_new(struct actor *a, const uint8_t *b) {
    struct thing *t = thing_new(K_NOTIFY, NULL);
    if (t == NULL) return 0;
    HOLDS_EQ(rt_notify_new(&t->handle), 0);
    thing_shelve(a, t, b[0]);
    return 0;
}

int64_t step_notify(struct actor *a, const uint8_t *b) {
    struct use n = pick(a, b[0], K_NOTIFY);
    if (b[1] & 1) return SAYS(&n, rt_notify_one(n.handle), EBADF);
    return SAYS(&n, rt_notify_all(n.handle), EBADF);
}

int64_t step_poll_notified(struct actor *a, const uint8_t *b) {
    struct use n = pick(a, b[0], K_NOTIFY);
    return POLL_SAYS(&n, rt_poll_notified(cx_of(a, b[1]), n.handle), EBADF);
}

int64_t step_notify_free(struct actor *a, const uint8_t *b) {
    struct use n = pick(a, b[0], K_NOTIFY);
    return RELEASE(&n, rt_notify_free(n.handle), EBADF);
}

/* ---- semaphores ---- */

static uint64_t permits(uint8_t byte) { return byte < 0xf0 ? byte & 3 : (uint64_t)INT64_MAX - (byte & 7); }

int64_t step_sem_new(struct actor *a, const uint8_t *b) {
    struct thing *t = thing_new(K_SEM, NULL);
    if (t == NULL) return 0;
    uint64_t n = permits(b[1]);
    HOLDS_EQ(rt_sem_new(n, &t->handle), 0);
    atomic_store(&t->given, n);
    thing_shelve(a, t, b[0]);
    return 0;
}

/* What was taken had been given before. */
static int64_t took(struct use *sem, int64_t r, uint64_t n) {
    if (r == 0) {
        HOLDS(n > 0);
        uint64_t taken = atomic_fetch_add(&sem->thing->taken, n) + n;
        HOLDS(taken <= atomic_load(&sem->thing->given));
    }
    return r;
}

int64_t step_sem_acquire(struct actor *a, const uint8_t *b) {
    struct use sem = pick(a, b[0], K_SEM);
    uint64_t n = permits(b[1]);
    /* Who waits in a context keeps a place without a task. */
    if (sem.thing != NULL && a->job == NULL) sem.thing->quiet = true;
    return took(&sem, POLL_SAYS(&sem, rt_poll_acquire(cx_of(a, b[2]), sem.handle, n), EPIPE), n);
}

int64_t step_sem_try(struct actor *a, const uint8_t *b) {
    struct use sem = pick(a, b[0], K_SEM);
    uint64_t n = permits(b[1]);
    return took(&sem, SAYS(&sem, rt_sem_try_acquire(sem.handle, n), EBADF, EAGAIN, EPIPE, EINVAL), n);
}

int64_t step_sem_release(struct actor *a, const uint8_t *b) {
    struct use sem = pick(a, b[0], K_SEM);
    uint64_t n = permits(b[1]) & 0xff;
    if (sem.thing != NULL) atomic_fetch_add(&sem.thing->given, n);
    int64_t r = SAYS(&sem, rt_sem_release(sem.handle, n), EBADF, EOVERFLOW);
    if (r < 0 && sem.thing != NULL) atomic_fetch_sub(&sem.thing->given, n);
    return r;
}

int64_t step_sem_end(struct actor *a, const uint8_t *b) {
    struct use sem = pick(a, b[0], K_SEM);
    if (b[1] & 1) return RELEASE(&sem, rt_sem_free(sem.handle), EBADF);
    if (sem.thing != NULL) sem.thing->quiet = true;
    return SAYS(&sem, rt_sem_close(sem.handle), EBADF);
}

/* ---- channels ---- */

int64_t step_chan_new(struct actor *a, const uint8_t *b) {
    struct thing *t = thing_new(K_CHAN, NULL);
    if (t == NULL) return 0;
    size_t capacity = b[1] == 0xff ? SIZE_MAX : b[1] & 7;
    int64_t r = SAYS(NULL, rt_chan_new(capacity, parcel_dropped, &t->handle), EINVAL);
    HOLDS_EQ(r == 0, capacity != 0);
    HOLDS_EQ(r == 0, t->handle != 0);
    if (r == 0) thing_shelve(a, t, b[0]);
    return r;
}

/* The item is the caller's until it is sent. */
#define SEND(u, call, ...)                                          \
    do {                                                            \
        void *item = parcel_new(a);                                 \
        int64_t r = SAYS((u), (call), EBADF, __VA_ARGS__);          \
        if (r != 0) parcel_unsent(item);                            \
        return r;                                                   \
    } while (0)

#define RECEIVE(u, call, ...)                              \
    do {                                                   \
        void *item = NULL;                                 \
        int64_t r = SAYS((u), (call), EBADF, __VA_ARGS__); \
        if (r == 0) parcel_received(a, (u), item);         \
        return r;                                          \
    } while (0)

int64_t step_chan_send(struct actor *a, const uint8_t *b) {
    struct use ch = pick(a, b[0], K_CHAN);
    if (b[1] & 1) SEND(&ch, rt_chan_send(ch.handle, item, timeout_of(b[2])), ETIME, EPIPE, EDEADLK);
    SEND(&ch, rt_chan_try_send(ch.handle, item), EAGAIN, EPIPE);
}

int64_t step_chan_recv(struct actor *a, const uint8_t *b) {
    struct use ch = pick(a, b[0], K_CHAN);
    if (b[1] == 0xff) return SAYS(NULL, rt_chan_try_recv(ch.handle, NULL), EBADF, EINVAL);
    if (b[1] & 1) RECEIVE(&ch, rt_chan_recv(ch.handle, &item, timeout_of(b[2])), ETIME, EPIPE, EDEADLK);
    RECEIVE(&ch, rt_chan_try_recv(ch.handle, &item), EAGAIN, EPIPE);
}

int64_t step_chan_poll_send(struct actor *a, const uint8_t *b) {
    struct use ch = pick(a, b[0], K_CHAN);
    SEND(&ch, rt_poll_chan_send(cx_of(a, b[1]), ch.handle, item), PEND, EPIPE, EINVAL, EPERM);
}

int64_t step_chan_poll_recv(struct actor *a, const uint8_t *b) {
    struct use ch = pick(a, b[0], K_CHAN);
    RECEIVE(&ch, waiting(a, &ch, rt_poll_chan_recv(cx_of(a, b[1]), ch.handle, &item)), PEND, EPIPE, EINVAL, EPERM);
}

int64_t step_chan_end(struct actor *a, const uint8_t *b) {
    struct use ch = pick(a, b[0], K_CHAN);
    switch (b[1] & 3) {
    case 0: return RELEASE(&ch, rt_chan_free(ch.handle), EBADF);
    case 1: return SAYS(&ch, rt_chan_close(ch.handle), EBADF);
    default: return SAYS(&ch, rt_chan_len(ch.handle), EBADF);
    }
}

/* ---- oneshots ---- */

int64_t step_oneshot_new(struct actor *a, const uint8_t *b) {
    struct thing *t = thing_new(K_ONESHOT, NULL);
    if (t == NULL) return 0;
    HOLDS_EQ(rt_oneshot_new(parcel_dropped, &t->handle), 0);
    thing_shelve(a, t, b[0]);
    return 0;
}

int64_t step_oneshot_send(struct actor *a, const uint8_t *b) {
    struct use o = pick(a, b[0], K_ONESHOT);
    void *item = parcel_new(a);
    int64_t r = SAYS(&o, rt_oneshot_send(o.handle, item), EBADF, EALREADY, EPIPE);
    if (r == 0) HOLDS_EQ(atomic_fetch_add(&o.thing->polls, 1), 0); /* it is sent once */
    else parcel_unsent(item);
    return r;
}

/* Received once: then the handle is spent. Or given up, of which all hear who wait, be it while another frees it: the last of
 * them spends it. */
static int64_t oneshot_got(struct use *o, int64_t r, void *item) {
    if (r == 0) {
        parcel_taken(item);
        released(o);
    }
    if (r == -EPIPE && o->thing != NULL) atomic_store(&o->thing->closing, true);
    return r;
}

int64_t step_oneshot_wait(struct actor *a, const uint8_t *b) {
    struct use o = pick(a, b[0], K_ONESHOT);
    void *item = NULL;
    int64_t r = SAYS(&o, rt_oneshot_wait(o.handle, timeout_of(b[1]), &item), EBADF, EPIPE, ETIME, EDEADLK);
    return oneshot_got(&o, r, item);
}

int64_t step_poll_oneshot(struct actor *a, const uint8_t *b) {
    struct use o = pick(a, b[0], K_ONESHOT);
    void *item = NULL;
    int64_t r = POLL_SAYS(&o, rt_poll_oneshot(cx_of(a, b[1]), o.handle, &item), EPIPE);
    waiting(a, &o, r);
    return oneshot_got(&o, r, item);
}

int64_t step_oneshot_end(struct actor *a, const uint8_t *b) {
    struct use o = pick(a, b[0], K_ONESHOT);
    if (b[1] & 1) return RELEASE(&o, rt_oneshot_free(o.handle), EBADF);
    if (o.handle == 0) return said_zero(rt_oneshot_close(0), "rt_oneshot_close(0)", __FILE__, __LINE__);
    return SAYS(&o, rt_oneshot_close(o.handle), EBADF, EALREADY);
}

/* ---- events and signals ---- */

int64_t step_event_new(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[1], K_RUNTIME);
    struct thing *t = thing_new(K_EVENT, NULL);
    if (t == NULL) return 0;
    int64_t r = SAYS(&rt, rt_event_new(rt.handle, &t->handle), EBADF);
    t->owner = rt.thing;
    if (r == 0) thing_shelve(a, t, b[0]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

int64_t step_event_set(struct actor *a, const uint8_t *b) {
    struct use e = pick(a, b[0], K_EVENT);
    if (b[1] & 1) return SAYS(&e, rt_event_set(e.handle), EBADF);
    return SAYS(&e, rt_event_reset(e.handle), EBADF);
}

int64_t step_poll_event(struct actor *a, const uint8_t *b) {
    struct use e = pick(a, b[0], K_EVENT);
    e.other = e.thing == NULL ? NULL : e.thing->owner; /* whose runtime it waits by */
    return POLL_SAYS(&e, rt_poll_event(cx_of(a, b[1]), e.handle), ESHUTDOWN);
}

int64_t step_event_wait(struct actor *a, const uint8_t *b) {
    struct use e = pick(a, b[0], K_EVENT);
    return SAYS(&e, rt_event_wait(e.handle, timeout_of(b[1])), EBADF, ETIME, EDEADLK);
}

int64_t step_event_free(struct actor *a, const uint8_t *b) {
    struct use e = pick(a, b[0], K_EVENT);
    return RELEASE(&e, rt_event_free(e.handle), EBADF);
}

int64_t step_signal_open(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[1], K_RUNTIME);
    struct thing *t = thing_new(K_SIGNAL, NULL);
    if (t == NULL) return 0;
    int signum = b[2] < 0xf0 ? SIGWINCH : b[2] & 1 ? SIGSEGV : 4096;
    int64_t r = SAYS(&rt, rt_signal_open(rt.handle, signum, &t->handle), EBADF, EINVAL);
    HOLDS(r < 0 || signum == SIGWINCH);
    t->owner = rt.thing;
    if (r == 0) thing_shelve(a, t, b[0]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

int64_t step_signal_raise(struct actor *a, const uint8_t *b) {
    (void)a, (void)b;
    kill(getpid(), SIGWINCH);
    return 0;
}

int64_t step_poll_signal(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_SIGNAL);
    s.other = s.thing == NULL ? NULL : s.thing->owner;
    int64_t r = POLL_SAYS(&s, rt_poll_signal(cx_of(a, b[1]), s.handle), ESHUTDOWN);
    HOLDS(r != 0);
    return r;
}

int64_t step_signal_close(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_SIGNAL);
    return RELEASE(&s, rt_signal_close(s.handle), EBADF);
}

/* ---- times ---- */

int64_t step_timer_start(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[1], K_RUNTIME);
    struct thing *t = thing_new(K_TIMER, rt.thing);
    if (t == NULL) return 0;
    uint64_t at = time_of(b[2]);
    atomic_store(&t->at, at);
    int64_t r = SAYS(&rt, rt_timer_start(rt.handle, at, &t->handle), EBADF, ESHUTDOWN);
    if (r == 0) thing_shelve(a, t, b[0]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

int64_t step_timer_interval(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    struct thing *t = thing_new(K_TIMER, rt.thing);
    if (t == NULL) return 0;
    uint64_t first = time_of(b[1]), period = b[2] == 0 ? 0 : b[2] == 1 ? UINT64_MAX : (uint64_t)b[2] * 4000;
    atomic_store(&t->at, first);
    t->interval = true;
    int64_t r = SAYS(&rt, rt_timer_interval(rt.handle, first, period, b[1] >> 6, &t->handle), EBADF, ESHUTDOWN, EINVAL);
    HOLDS(r < 0 || (period != 0 && b[1] >> 6 != 3));
    if (r == 0) thing_shelve(a, t, b[2]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

int64_t step_timer_reset(struct actor *a, const uint8_t *b) {
    struct use u = pick(a, b[0], K_TIMER);
    uint64_t at = time_of(b[1]);
    if (u.thing == NULL) return SAYS(&u, rt_timer_reset(u.handle, at), EBADF);
    /* Of two resets at a time nobody knows the later one: then no time is known from then on. */
    unsigned version = atomic_load(&u.thing->version);
    if (version & 1 || !atomic_compare_exchange_strong(&u.thing->version, &version, version + 1)) {
        atomic_fetch_or(&u.thing->version, 1u << 31 | 1);
        return SAYS(&u, rt_timer_reset(u.handle, at), EBADF);
    }
    int64_t r = SAYS(&u, rt_timer_reset(u.handle, at), EBADF);
    if (r >= 0) atomic_store(&u.thing->at, at);
    version += 1;
    atomic_compare_exchange_strong(&u.thing->version, &version, version + 1);
    return r;
}

int64_t step_timer_cancel(struct actor *a, const uint8_t *b) {
    struct use u = pick(a, b[0], K_TIMER);
    return RELEASE(&u, rt_timer_cancel(u.handle), EBADF);
}

int64_t step_poll_timer(struct actor *a, const uint8_t *b) {
    struct use u = pick(a, b[0], K_TIMER);
    unsigned version = u.thing == NULL ? 1 : atomic_load(&u.thing->version);
    uint64_t at = u.thing == NULL ? 0 : atomic_load(&u.thing->at);
    int64_t r = POLL_SAYS(&u, rt_poll_timer(cx_of(a, b[1]), u.handle), EBADF);
    if (r >= 0) {
        if (u.thing->interval) HOLDS(r > 0);
        else HOLDS_EQ(r, 0);
        atomic_fetch_add(&u.thing->polls, 1);
        /* A timer is never early. */
        if (!(version & 1) && version == atomic_load(&u.thing->version)) HOLDS(rt_now() >= at);
    }
    return waiting(a, &u, r);
}

int64_t step_sleep(struct actor *a, const uint8_t *b) {
    if (a->job == NULL) {
        rt_timer wrong = b[1];
        return SAYS(NULL, rt_poll_sleep(a->own[0], wrong == 0 ? NULL : &wrong, 0), EINVAL, EBADF, EPERM);
    }
    struct job *job = a->job;
    if (job->sleep == 0 || b[0] & 1) job->sleep_at = time_of(b[1]);
    int64_t r = SAYS(NULL, rt_poll_sleep(a->cx, &job->sleep, job->sleep_at), PEND, EBADF, ESHUTDOWN);
    if (r == 0) HOLDS(rt_now() >= job->sleep_at);
    if (r == 0) HOLDS_EQ(job->sleep, 0);
    /* One that waits has a timer, if it does not wait for its turn alone: the time is over then, and the budget spent. */
    if (r == RT_PENDING && job->sleep == 0) HOLDS(rt_now() >= job->sleep_at);
    return r;
}

int64_t step_deadline(struct actor *a, const uint8_t *b) {
    if (a->job == NULL) return 0;
    struct job *job = a->job;
    int64_t inner = b[0] & 3 ? RT_PENDING : (int64_t)b[0] - 128;
    if (job->sleep == 0) job->sleep_at = time_of(b[1]);
    int64_t r = rt_poll_deadline(a->cx, &job->sleep, job->sleep_at, inner);
    if (inner != RT_PENDING) HOLDS_EQ(r, inner);
    else if (r == -ETIME) HOLDS(rt_now() >= job->sleep_at);
    else SAYS(NULL, r, PEND, EBADF, ESHUTDOWN);
    if (r != RT_PENDING && r != -EBADF && r != -ESHUTDOWN) HOLDS_EQ(job->sleep, 0);
    return r;
}

/* ---- sets ---- */

int64_t step_set_new(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[1], K_RUNTIME);
    struct thing *t = thing_new(K_SET, NULL);
    if (t == NULL) return 0;
    t->keys = calloc(KEYS, sizeof *t->keys);
    int64_t r = SAYS(&rt, rt_set_new(rt.handle, &t->handle), EBADF);
    if (r == 0) thing_shelve(a, t, b[0]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

static bool may_be_member(uint64_t handle) {
    enum kind kind = handle >> 27 & 31;
    return kind == K_OP || kind == K_TIMER || kind == K_TASK;
}

int64_t step_set_add(struct actor *a, const uint8_t *b) {
    struct use set = pick(a, b[0], K_SET), member = pick(a, b[1], b[2] & 1 ? K_OP : b[2] & 2 ? K_TIMER : K_TASK);
    /* What was picked in place of the kind that was asked for may be a member as well. */
    if (member.thing == NULL && may_be_member(member.handle)) member.hopeless = false;
    uint64_t key = b[1] % KEYS;
    if (set.thing != NULL) atomic_fetch_add(&set.thing->keys[key], 1);
    struct use u = both(set, member);
    u.sound = false;
    int64_t r = SAYS(&u, rt_set_add(cx_of(a, b[2]), set.handle, member.handle, key), EBADF, EINVAL, EPERM, EEXIST, EDEADLK);
    if (r < 0 && set.thing != NULL) atomic_fetch_sub(&set.thing->keys[key], 1);
    return r;
}

int64_t step_poll_set(struct actor *a, const uint8_t *b) {
    struct use set = pick(a, b[0], K_SET);
    uint64_t key = UINT64_MAX;
    int64_t r = POLL_SAYS(&set, rt_poll_set(cx_of(a, b[1]), set.handle, &key), ENOENT);
    if (r == 0) {
        /* It was added, and each time is reported once. */
        HOLDS(key < KEYS);
        HOLDS(atomic_fetch_sub(&set.thing->keys[key], 1) > 0);
    }
    return r;
}

int64_t step_set_free(struct actor *a, const uint8_t *b) {
    struct use set = pick(a, b[0], K_SET);
    return RELEASE(&set, rt_set_free(set.handle), EBADF);
}
