/* What the fuzz target knows of the library's promises: the things that were made, what has become
 * of them, and what a call may say about them.
 *
 * A thing is a handle with a history. Handles never come back, so one whose release has returned must
 * be refused for ever, whoever asks; and one that nobody began to release must not be.
 */
#ifndef ASYNCIO_FUZZ_MODEL_H
#define ASYNCIO_FUZZ_MODEL_H

#include <asyncio.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbered as in handles. */
enum kind {
    K_NONE,
    K_RUNTIME,
    K_IO,
    K_TASK,
    K_OP,
    K_LEASE,
    K_BLOB,
    K_SET,
    K_TIMER,
    K_SIGNAL,
    K_PROCESS,
    K_NOTIFY,
    K_SEM,
    K_CHAN,
    K_ONESHOT,
    K_EVENT,
    K_STREAM,
    K_SERVER,
    K_WATCH,
    K_WAKER, /* no handle: the waker lies in the thing */
    K_FD,    /* no handle: a descriptor of the target's own */
};

enum { SLOTS = 64, THINGS = 768, KEYS = 64, SCRIPTS = 12 };

struct thing {
    uint64_t handle;
    enum kind kind;
    struct thing *home; /* the runtime that it ends with, or NULL */
    struct thing *owner; /* of an operation: its task; of what a runtime only wakes: that runtime */
    atomic_bool releasing, freed;
    atomic_bool closing; /* several may hear of its end: an operation was to close it, or a sender gave up */
    atomic_int closers; /* how many are about to have an operation close it */
    atomic_bool shut; /* a runtime that was asked to end */

    /* Tasks. */
    bool ours; /* its functions are the target's */
    bool call; /* a function that is called, not polled */
    atomic_int polls, drops;
    int polls_before; /* it was woken in the end */
    bool woken;
    atomic_int takers; /* who joined or detached it: one at most */
    atomic_bool aborted, returned;
    _Atomic int64_t result;
    _Atomic(struct thing *) waits_for; /* since its last poll, and for nothing else */
    _Atomic uint64_t at; /* not to be called earlier; of a timer: not to fire */

    /* Timers: `at` is believed if the version is even and the same before and after. */
    atomic_uint version;
    bool interval;

    /* Semaphores. */
    _Atomic uint64_t given, taken;

    /* Sets: how often a key was added and not reported. */
    atomic_int *keys;

    atomic_int fd;        /* K_FD; of a borrowed K_IO the number to be closed at the end */
    atomic_bool busy;     /* somebody uses the waker, the stream's lines, or the descriptor */
    bool multi;           /* an operation with many results */
    bool quiet;           /* a stream of one user at a time, whose lines are looked at */
    bool listens;
    rt_buf buf;
    rt_waker waker;
    unsigned char *memory; /* of a stream's exact reads */
    struct sockaddr_storage addr;
    socklen_t addr_len;
};

/* One argument of a call. */
struct use {
    uint64_t handle;
    struct thing *thing; /* NULL if forged */
    bool hopeless;       /* it cannot be accepted */
    bool sound;          /* nobody has begun to release it: it must be */
    struct thing *other; /* a second thing that it depends on, or NULL */
};

/* Who makes calls: a thread, a task in its poll, or a function that the library called. */
struct job;
struct actor {
    const char *name;
    unsigned script;
    size_t at;
    rt_cx *cx; /* of the poll */
    struct job *job;
    rt_cx *own[2]; /* of a thread */
    struct thing *own_home[2];
    size_t written; /* of rt_poll_write_all */
    unsigned number; /* of a thread: 1 or 2 */
    unsigned sent;   /* how many parcels */
    struct {
        struct thing *chan;
        unsigned number;
    } seen[2][16]; /* of each thread's parcels the last, by channel */
    struct thing *waits; /* what the step is pending for, if the model knows when that comes */
};

/* ---- failing ---- */

_Noreturn void fuzz_fail(const char *file, int line, const char *text, int64_t value);
#define HOLDS(cond) ((cond) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #cond, 0))
#define HOLDS_EQ(a, b)                                                       \
    do {                                                                     \
        int64_t a_ = (int64_t)(a);                                           \
        if (a_ != (int64_t)(b)) fuzz_fail(__FILE__, __LINE__, #a " == " #b, a_); \
    } while (0)

/* ---- things ---- */

struct thing *thing_new(enum kind kind, struct thing *home); /* NULL when there are enough */
void thing_shelve(struct actor *a, struct thing *t, uint8_t slot);
struct thing *thing_numbered(size_t i); /* NULL beyond the last */
size_t thing_number(const struct thing *t);
void things_forget(void);

/* Finds an argument: mostly of the right kind, sometimes any, sometimes forged. */
struct use pick(struct actor *a, uint8_t byte, enum kind kind);
/* As `pick`, of what lies in a thing and has no handle: NULL or exclusively the caller's until `put_back`. */
struct thing *borrow(uint8_t byte, enum kind kind);
void put_back(struct thing *t);
struct use both(struct use a, struct use b);
/* Says that a call begins which releases the thing; and that it succeeded. */
void releasing(struct use *u);
void released(struct use *u);

/* ---- results ---- */

/* Looks at a result: errors are among those listed, up to the 0; `RT_PENDING` if -RT_PENDING is. A `hopeless` handle
 * is not accepted, and a sound one is not -EBADF. Returns the result. */
int64_t said(const struct use *u, int64_t r, const int *errors, const char *text, const char *file,
             int line);
enum { PEND = (int)-RT_PENDING, SYSTEM = 1 << 20 }; /* SYSTEM: whatever else the system says */
#define SAYS(u, call, ...) said((u), (call), (const int[]){__VA_ARGS__, 0}, #call, __FILE__, __LINE__)
/* A poll: every context may be bad. */
#define POLL_SAYS(u, call, ...) SAYS(u, call, PEND, EBADF, EINVAL, EPERM, __VA_ARGS__)
/* The release of a handle, which accepts 0. */
#define RELEASE(u, call, ...)                            \
    (releasing(u), released_if((u), (u)->handle == 0     \
        ? said_zero((call), #call, __FILE__, __LINE__)   \
        : SAYS(u, call, EBADF, __VA_ARGS__)))
/* What a task waits for, when the model can tell that it need not. */
int64_t waiting(struct actor *a, const struct use *u, int64_t r);
int64_t said_zero(int64_t r, const char *text, const char *file, int line);
int64_t released_if(struct use *u, int64_t r);

/* ---- parcels: what is sent through channels; received or dropped once ---- */

void *parcel_new(struct actor *a);
void parcel_taken(void *item);
/* As it came out of a channel: those that a thread sent come in their order. */
void parcel_received(struct actor *a, const struct use *u, void *item);
void parcel_dropped(void *item);
void parcel_unsent(void *item);

/* ---- bells: wakers of the target's own ---- */

extern const rt_waker_vtable bell_table;
void *bell_new(void);

/* ---- memory that the library may not touch any more ---- */

void *memory_new(size_t n);
void memory_over(void *memory, size_t n);

/* Everything that was counted is as it should be when all is freed; and forgets it. */
void model_begin(void);
void model_settled(void);

extern atomic_int jobs_live, parcels_live, bells_live;

#endif
