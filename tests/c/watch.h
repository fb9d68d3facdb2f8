/* A watch that counts its calls, and checks what holds for every one: none beside another, none after
 * the drop, and one drop.
 */
#ifndef ASYNCIO_TESTS_WATCH_H
#define ASYNCIO_TESTS_WATCH_H

#include "ready.h"
#include "soon.h"

struct watched {
    rt_runtime rt;
    rt_watch watch;
    int fd, far;
    void (*then)(struct watched *w, uint32_t ready); /* in each call; may be NULL */
    atomic_int calls; /* for readiness */
    atomic_int times;
    atomic_int drops, inside;
    atomic_uint last; /* what was ready the last time */
    int want;         /* for calls_reached */
};

static inline void watched_call(void *arg, int fd, uint32_t ready) {
    struct watched *w = arg;
    CHECK_EQ(atomic_fetch_add(&w->inside, 1), 0);
    CHECK_EQ(atomic_load(&w->drops), 0);
    CHECK_EQ(fd, w->fd);
    if (ready != 0) atomic_store(&w->last, ready);
    if (w->then != NULL) w->then(w, ready);
    atomic_fetch_add(ready != 0 ? &w->calls : &w->times, 1);
    CHECK_EQ(atomic_fetch_sub(&w->inside, 1), 1);
}

static inline void watched_drop(void *arg) {
    struct watched *w = arg;
    CHECK_EQ(atomic_load(&w->inside), 0);
    CHECK_EQ(rt_watch_close(w->watch), -EBADF); /* stale already */
    CHECK_EQ(atomic_fetch_add(&w->drops, 1), 0);
}

static inline void watched_open_near(struct watched *w, rt_runtime rt, uint64_t near, int fd,
                                     void (*then)(struct watched *, uint32_t)) {
    *w = (struct watched){.rt = rt, .fd = fd, .far = -1, .then = then};
    CHECK_EQ(rt_watch_open(rt, near, fd, watched_call, w, watched_drop, &w->watch), 0);
    CHECK(w->watch != 0);
}

static inline void watched_open(struct watched *w, rt_runtime rt, int fd,
                                void (*then)(struct watched *, uint32_t)) {
    watched_open_near(w, rt, 0, fd, then);
}

/* One end of a fresh pair; the other is `far`. */
static inline void watched_pair(struct watched *w, rt_runtime rt, void (*connect_ends)(int[2]),
                                void (*then)(struct watched *, uint32_t)) {
    int ends[2];
    connect_ends(ends);
    watched_open(w, rt, ends[0], then);
    w->far = ends[1];
}

static inline bool watched_dropped(void *arg) {
    return atomic_load(&((struct watched *)arg)->drops) == 1;
}

static inline bool watched_called(void *arg) {
    struct watched *w = arg;
    return atomic_load(&w->calls) + atomic_load(&w->times) >= w->want;
}

/* Until it was called so often, for whatever. */
static inline void watched_await(struct watched *w, int calls) {
    w->want = calls;
    drive_until(w->rt, watched_called, w);
}

/* From outside: a call that goes on may use the descriptor until the drop. */
static inline void watched_close(struct watched *w) {
    CHECK_EQ(rt_watch_close(w->watch), 0);
    drive_until(w->rt, watched_dropped, w);
    if (w->fd >= 0) CHECK_SYS(close(w->fd));
    if (w->far >= 0) CHECK_SYS(close(w->far));
}

/* In a function, whose watch may be closed from outside meanwhile. */
static inline void watched_for(struct watched *w, uint32_t interest) {
    int64_t r = rt_watch_for(w->watch, interest);
    CHECK(r == 0 || r == -EBADF);
}

static inline void watched_at(struct watched *w, uint64_t at) {
    int64_t r = rt_watch_at(w->watch, at);
    CHECK(r == 0 || r == -EBADF);
}

#endif
