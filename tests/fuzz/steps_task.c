/* Steps: runtimes, tasks, wakers, contexts, calls that block. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- runtimes ---- */

/* A current-thread runtime belongs to the thread that drove it first, which must be there to free it: so
 * threads of the library's drive none. */
static bool not_here(struct thing *rt) { return rt != NULL && rt->quiet && !scripted; }

int64_t step_turn(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    if (not_here(rt.thing)) return 0;
    return SAYS(&rt, rt_turn(rt.handle, timeout_of(b[1])), EBADF, EDEADLK, EPERM, ESHUTDOWN);
}

/* What is most useful: the driving thread drives its runtime for a while. */
int64_t step_drive(struct actor *a, const uint8_t *b) {
    (void)a;
    if (!on_main()) return 0;
    struct use rt = {.handle = primary->handle, .thing = primary};
    for (int i = 0; i <= (b[0] & 15); i++)
        SAYS(&rt, rt_turn(primary->handle, b[1] & 7 ? 0 : 50000), EBADF, EDEADLK, EPERM, ESHUTDOWN);
    return 0;
}

int64_t step_block_on(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    if (not_here(rt.thing) || !may_wait_for(rt.thing) || attempting) return 0;
    struct thing *t = thing_new(K_NONE, rt.thing);
    if (t == NULL) return 0;
    struct job *job = job_new(rt.thing, b[1], b[2]);
    if (job == NULL) return 0;
    job->thing = t;
    job->blocked_on = true;
    int64_t r = SAYS(&rt, rt_block_on(rt.handle, job_poll, job), EBADF, EDEADLK, EPERM, ESHUTDOWN, ECANCELED);
    HOLDS(r < 0 || r == 7);
    HOLDS_EQ(atomic_load(&job->inside), 0);
    HOLDS_EQ(atomic_load(&job->promises), 0);
    if (job->sleep != 0) rt_timer_cancel(job->sleep);
    job_free(job);
    return r;
}

/* It returns for certain: nobody else runs, and a stop came before. */
int64_t step_run(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    if (not_here(rt.thing)) return 0;
    if (b[1] & 1) return SAYS(&rt, rt_stop(rt.handle), EBADF);
    if (!on_main()) return 0;
    SAYS(&rt, rt_stop(rt.handle), EBADF);
    return SAYS(&rt, rt_run(rt.handle), EBADF, EDEADLK, EPERM, ESHUTDOWN);
}

int64_t step_shut(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    if (not_here(rt.thing) || !may_wait_for(rt.thing) || attempting) return 0;
    if (rt.thing == primary && b[1] & 7) return 0;
    /* A call that ends its own runtime waits for ever. */
    if (rt.thing != NULL && !scripted && may_block) return 0;
    if (b[1] & 8) {
        if (rt.thing != NULL) atomic_store(&rt.thing->shut, true);
        int64_t r = SAYS(&rt, rt_shutdown(rt.handle, RT_NEVER), EBADF, EDEADLK, EPERM);
        HOLDS(r <= 0);
        return r;
    }
    if (rt.handle == 0) return said_zero(rt_free(0), "rt_free(0)", __FILE__, __LINE__);
    /* An error changes nothing; so it may be said to be released too early, but not too late. */
    releasing(&rt);
    return released_if(&rt, SAYS(&rt, rt_free(rt.handle), EBADF, EDEADLK, EPERM));
}

int64_t step_runtime_new(struct actor *a, const uint8_t *b) {
    if (atomic_fetch_add(&runtimes_made, 1) >= 2) return 0;
    struct thing *t = thing_new(K_RUNTIME, NULL);
    if (t == NULL) return 0;
    rt_config config;
    HOLDS_EQ(rt_config_init(&config, sizeof config), 0);
    config.engine = RT_ENGINE_EPOLL;
    config.flavour = b[0] & 1 ? RT_CURRENT_THREAD : RT_MULTI_THREAD;
    config.workers = b[0] & 1 ? 0 : 1;
    t->quiet = b[0] & 1;
    HOLDS_EQ(rt_new(&config, &t->handle, NULL, 0), 0);
    thing_shelve(a, t, b[1]);
    return 0;
}

int64_t step_look(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    char text[256];
    rt_metrics_data m = {.size = b[2] % sizeof m};
    switch (b[1] % 6) {
    case 0: return SAYS(&rt, rt_describe(rt.handle, text, b[2]), EBADF);
    case 1: return SAYS(&rt, rt_metrics(rt.handle, &m), EBADF, EINVAL);
    case 2: return SAYS(&rt, rt_event_fd(rt.handle), EBADF, EPERM);
    case 3:
        if (rt.hopeless) HOLDS_EQ(rt_next_deadline(rt.handle), RT_NEVER);
        return (int64_t)(rt_next_deadline(rt.handle) >> 1);
    case 4: {
        struct use task = pick(a, b[2], K_TASK);
        int64_t r = SAYS(&task, rt_task_name(task.handle, text, 4), EBADF);
        HOLDS(r < 0 || r == 0 || r == 6);
        return r;
    }
    default:
        HOLDS(rt_strerror(-(int64_t)b[2]) != NULL);
        HOLDS(rt_cx_current() == NULL || a->job != NULL || a->name[0] == 'c');
        return 0;
    }
}

/* ---- tasks ---- */

/* A task whose functions are the target's: `spawn` makes it of a job. */
static struct job *job_with_thing(struct use *rt, uint8_t script, uint8_t mode) {
    struct thing *t = thing_new(K_TASK, rt->thing);
    if (t == NULL) return NULL;
    struct job *job = job_new(rt->thing, script, mode);
    if (job == NULL) return NULL;
    t->ours = true;
    job->thing = t;
    return job;
}

int64_t step_spawn(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    struct job *job = job_with_thing(&rt, b[1], b[2]);
    if (job == NULL) return 0;
    struct thing *t = job->thing;
    bool detached = (b[1] & 0xc0) == 0xc0;
    int64_t r = SAYS(&rt, rt_spawn(rt.handle, job_poll, job, job_drop, detached ? NULL : &t->handle), EBADF, ESHUTDOWN);
    if (r < 0) job_free(job);
    else if (!detached) {
        HOLDS(t->handle != 0);
        thing_shelve(a, t, b[2]);
    }
    return r;
}

/* A task or a watch, whichever was asked for: the library takes both. */
static struct use pick_near(struct actor *a, uint8_t byte, enum kind kind) {
    struct use near = pick(a, byte, kind);
    uint64_t is = near.handle >> 27 & 31;
    if (near.thing == NULL && (is == K_TASK || is == K_WATCH)) near.hopeless = false;
    return near;
}

int64_t step_spawn_with(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0] | 0x20, K_RUNTIME), near = pick_near(a, b[2], K_TASK);
    struct job *job = job_with_thing(&rt, b[1], b[2]);
    if (job == NULL) return 0;
    struct thing *t = job->thing;
    struct job *inner[2] = {job, NULL};
    rt_spawn_opts opts;
    HOLDS_EQ(rt_spawn_opts_init(&opts, sizeof opts), 0);
    opts.poll = job_poll;
    opts.drop = job_drop;
    opts.state = job;
    opts.name = b[1] & 8 ? "a name" : "";
    if (b[1] & 16) {
        opts.flags |= RT_SPAWN_INLINE;
        opts.state = inner;
        opts.state_size = sizeof inner;
        opts.poll = inline_poll;
        opts.drop = inline_drop;
    }
    if (b[1] & 32) opts.flags |= RT_SPAWN_PINNED;
    if (b[1] & 64) opts.near = near.handle;
    if (b[1] == 0xff) opts.flags |= 1u << 31;
    if (b[1] & 64) rt.sound = false; /* it may be the other that is stale */
    int64_t r = SAYS(&rt, rt_spawn_with(rt.handle, &opts, &t->handle), EBADF, EINVAL, ESHUTDOWN);
    if (r < 0) job_free(job);
    else {
        HOLDS(b[1] != 0xff);
        HOLDS(!(b[1] & 64) || !(b[1] & 32) || near.handle == 0 || !near.hopeless);
        thing_shelve(a, t, b[2]);
    }
    return r;
}

void task_ended(struct actor *a, struct use *u, int64_t result) {
    struct thing *t = u->thing;
    HOLDS(t != NULL);
    HOLDS_EQ(atomic_fetch_add(&t->takers, 1), 0);
    released(u);
    if (!t->ours) { /* a connection, or an error */
        if (result > 0) keep_io(a, (rt_io)result, t->home, 0);
        return;
    }
    HOLDS_EQ(atomic_load(&t->drops), 1);
    if (atomic_load(&t->returned)) {
        HOLDS_EQ(result, atomic_load(&t->result));
        return;
    }
    if (t->call && (result == -EAGAIN || result == -ENOMEM)) return;
    HOLDS_EQ(result, -ECANCELED);
    HOLDS(atomic_load(&t->aborted) || atomic_load(&t->home->shut) || atomic_load(&t->home->releasing));
    if (t->call && !t->interval) HOLDS_EQ(atomic_load(&t->polls), 0);
}

int64_t step_task_abort(struct actor *a, const uint8_t *b) {
    struct use task = pick(a, b[0], K_TASK);
    if (task.thing != NULL) atomic_store(&task.thing->aborted, true);
    return SAYS(&task, rt_abort(task.handle), EBADF);
}

int64_t step_task_detach(struct actor *a, const uint8_t *b) {
    struct use task = pick(a, b[0], K_TASK);
    if (task.handle == 0) return said_zero(rt_detach(0), "rt_detach(0)", __FILE__, __LINE__);
    int64_t r = SAYS(&task, rt_detach(task.handle), EBADF);
    if (r == 0) HOLDS_EQ(atomic_fetch_add(&task.thing->takers, 1), 0);
    return r;
}

int64_t step_task_wake(struct actor *a, const uint8_t *b) {
    struct use task = pick(a, b[0], K_TASK);
    return SAYS(&task, rt_task_wake(task.handle), EBADF);
}

int64_t step_task_join(struct actor *a, const uint8_t *b) {
    struct use task = pick(a, b[0], K_TASK);
    if (task.thing != NULL && not_here(task.thing->home)) return 0;
    int64_t result = RT_PENDING;
    int64_t r = SAYS(&task, rt_join(task.handle, timeout_of(b[1]), &result), EBADF, ETIME, EDEADLK, EPERM);
    if (r == 0) task_ended(a, &task, result);
    else HOLDS_EQ(result, RT_PENDING);
    return r;
}

int64_t step_poll_join(struct actor *a, const uint8_t *b) {
    struct use task = pick(a, b[0], K_TASK);
    int64_t result = RT_PENDING;
    int64_t r = POLL_SAYS(&task, rt_poll_join(cx_of(a, b[1]), task.handle, &result), EDEADLK);
    if (r == 0) task_ended(a, &task, result);
    return waiting(a, &task, r);
}

int64_t step_yield(struct actor *a, const uint8_t *b) {
    rt_cx *cx = cx_of(a, b[0]);
    if (a->job == NULL && b[0] & 1) cx = NULL;
    if (b[1] & 1) {
        rt_runtime rt = rt_cx_runtime(cx);
        HOLDS(cx != NULL || rt == 0);
        HOLDS(cx != NULL || rt_task_self(cx) == 0);
        return 0;
    }
    return SAYS(NULL, rt_yield(cx), PEND, EINVAL, EPERM);
}

/* ---- contexts and wakers ---- */

int64_t step_context(struct actor *a, const uint8_t *b) {
    if (a->name[0] == 't' || a->name[0] == 'c') return 0;
    rt_cx **own = &a->own[b[0] >> 7];
    if (*own != NULL) {
        HOLDS_EQ(rt_cx_free(*own), 0);
        if (b[2] & 1) HOLDS_EQ(rt_cx_free(NULL), 0);
        *own = NULL;
        return 0;
    }
    struct use rt = pick(a, b[1], K_RUNTIME);
    rt_waker waker;
    HOLDS_EQ(rt_waker_new(&bell_table, bell_new(), &waker), 0);
    int64_t r = SAYS(&rt, rt_cx_new(rt.handle, &waker, own), EBADF);
    HOLDS(r == 0 || *own == NULL);
    HOLDS_EQ(rt_waker_drop(&waker), 0);
    HOLDS_EQ(rt_waker_drop(&waker), 0);
    return r;
}

int64_t step_waker(struct actor *a, const uint8_t *b) {
    struct thing *t = thing_new(K_WAKER, NULL);
    if (t == NULL) return 0;
    int64_t r;
    if (b[0] & 1) r = SAYS(NULL, rt_waker_clone(rt_cx_waker(cx_of(a, b[1])), &t->waker), EINVAL);
    else r = SAYS(NULL, rt_waker_new(&bell_table, bell_new(), &t->waker), EBADF);
    if (r == 0) thing_shelve(a, t, b[2]);
    else HOLDS(t->waker.opaque[0] == 0);
    return r;
}

int64_t step_waker_use(struct actor *a, const uint8_t *b) {
    struct thing *t = borrow(b[0], K_WAKER);
    if (t == NULL) return 0;
    struct thing *other = NULL;
    bool empty = t->waker.opaque[0] == 0 && t->waker.opaque[1] == 0;
    int64_t r = 0, expected = empty ? -EINVAL : 0;
    switch (b[1] % 5) {
    case 0: r = rt_waker_wake(&t->waker); break;
    case 1:
    case 2: r = rt_waker_wake_by_ref(&t->waker); break;
    case 3: r = rt_waker_drop(&t->waker), expected = 0; break;
    default:
        other = thing_new(K_WAKER, NULL);
        if (other == NULL) r = expected;
        else r = rt_waker_clone(&t->waker, &other->waker);
        if (other != NULL && r == 0) {
            HOLDS(rt_waker_will_wake(&t->waker, &other->waker) || b[1] != 255);
            thing_shelve(a, other, b[2]);
        }
    }
    HOLDS_EQ(r, expected);
    put_back(t);
    return r;
}

/* ---- calls ---- */

struct order {
    struct thing *thing;
    uint8_t sleeps;
};

static int64_t order_run(void *arg) {
    struct order *o = arg;
    HOLDS_EQ(atomic_fetch_add(&o->thing->polls, 1), 0);
    HOLDS_EQ(atomic_load(&o->thing->drops), 0);
    HOLDS(rt_cx_current() == NULL);
    if (o->sleeps & 1) usleep(o->sleeps);
    may_block = true;
    call_back();
    may_block = false;
    int64_t r = o->sleeps & 2 ? o->sleeps : -(int64_t)o->sleeps;
    atomic_store(&o->thing->result, r);
    atomic_store(&o->thing->returned, true);
    return r;
}

static void order_drop(void *arg) {
    struct order *o = arg;
    HOLDS_EQ(atomic_fetch_add(&o->thing->drops, 1), 0);
    free(o);
    atomic_fetch_sub(&jobs_live, 1);
    call_back();
}

static struct order *order_new(struct use *rt, uint8_t sleeps) {
    struct thing *t = thing_new(K_TASK, rt->thing);
    if (t == NULL) return NULL;
    t->ours = t->call = true;
    struct order *o = malloc(sizeof *o);
    *o = (struct order){t, sleeps};
    atomic_fetch_add(&jobs_live, 1);
    return o;
}

/* The order may be gone when its call returns; its thing stays. */
static int64_t order_made(struct actor *a, struct order *o, struct thing *t, int64_t r, uint8_t slot) {
    if (r < 0) {
        free(o);
        atomic_fetch_sub(&jobs_live, 1);
    } else if (t->handle != 0) thing_shelve(a, t, slot);
    return r;
}

int64_t step_blocking(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    struct order *o = order_new(&rt, b[1]);
    if (o == NULL) return 0;
    struct thing *t = o->thing;
    int64_t r = SAYS(&rt, rt_spawn_blocking(rt.handle, order_run, o, order_drop, b[2] & 7 ? &t->handle : NULL), EBADF, ESHUTDOWN);
    return order_made(a, o, t, r, b[2]);
}

static void order_call(void *arg) {
    struct order *o = arg;
    HOLDS(rt_now() >= atomic_load(&o->thing->at));
    HOLDS_EQ(atomic_load(&o->thing->drops), 0);
    int calls = atomic_fetch_add(&o->thing->polls, 1);
    HOLDS(calls == 0 || o->thing->interval);
    atomic_store(&o->thing->returned, !o->thing->interval);
    call_back();
}

int64_t step_call_at(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    struct order *o = order_new(&rt, b[1]);
    if (o == NULL) return 0;
    struct thing *t = o->thing;
    uint64_t at = time_of(b[1]), now = rt_now();
    t->interval = b[2] & 64;
    /* Each call is made, however late: hours of them would keep all workers busy. */
    if (t->interval && at < now) at = now - 1000000;
    atomic_store(&t->at, at);
    int64_t r = SAYS(&rt, rt_call_at(rt.handle, at, t->interval ? 100000 : 0, order_call, o, order_drop, b[2] & 7 ? &t->handle : NULL), EBADF, ESHUTDOWN);
    return order_made(a, o, t, r, b[2]);
}

/* ---- watches ---- */

struct vigil {
    struct thing *thing;
    int fd;            /* an eventfd that is ready for both, or -1 */
    atomic_int inside;
};

enum { CALLS_MAX = 50 }; /* it is ready all the time, and others want to come to an end */

static void vigil_call(void *arg, int fd, uint32_t ready) {
    struct vigil *v = arg;
    HOLDS_EQ(atomic_fetch_add(&v->inside, 1), 0);
    HOLDS_EQ(atomic_load(&v->thing->drops), 0);
    HOLDS_EQ(fd, v->fd);
    HOLDS(ready == 0 || fd >= 0);
    HOLDS(rt_cx_current() == NULL);
    if (atomic_fetch_add(&v->thing->polls, 1) >= CALLS_MAX) rt_watch_for(v->thing->handle, 0);
    call_back();
    HOLDS_EQ(atomic_fetch_sub(&v->inside, 1), 1);
}

static void vigil_free(struct vigil *v) {
    if (v->fd >= 0) HOLDS_EQ(close(v->fd), 0);
    free(v);
    atomic_fetch_sub(&jobs_live, 1);
}

static void vigil_drop(void *arg) {
    struct vigil *v = arg;
    HOLDS_EQ(atomic_load(&v->inside), 0);
    HOLDS_EQ(atomic_fetch_add(&v->thing->drops, 1), 0);
    vigil_free(v);
    call_back();
}

int64_t step_watch_open(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    struct use near = pick_near(a, b[1], b[2] & 1 ? K_WATCH : K_TASK);
    struct use all = near.handle == 0 ? rt : both(rt, near);
    struct thing *t = thing_new(K_WATCH, rt.thing);
    if (t == NULL) return 0;
    struct vigil *v = malloc(sizeof *v);
    *v = (struct vigil){.thing = t, .fd = b[2] & 2 ? eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) : -1};
    atomic_fetch_add(&jobs_live, 1);
    int64_t r = SAYS(&all, rt_watch_open(rt.handle, near.handle, v->fd, vigil_call, v, vigil_drop, &t->handle), EBADF, EINVAL, ESHUTDOWN);
    if (r < 0) {
        HOLDS_EQ(t->handle, 0);
        vigil_free(v);
    } else {
        thing_shelve(a, t, b[2]);
    }
    return r;
}

int64_t step_watch_use(struct actor *a, const uint8_t *b) {
    struct use w = pick(a, b[0], K_WATCH);
    if (b[1] & 1) return SAYS(&w, rt_watch_at(w.handle, time_of(b[2])), EBADF);
    return SAYS(&w, rt_watch_for(w.handle, b[2] & (b[1] & 2 ? 0xff : RT_READABLE | RT_WRITABLE)), EBADF, EINVAL);
}

int64_t step_watch_close(struct actor *a, const uint8_t *b) {
    struct use w = pick(a, b[0], K_WATCH);
    return RELEASE(&w, rt_watch_close(w.handle), EBADF);
}
