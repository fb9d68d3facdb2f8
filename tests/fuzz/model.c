/* The model: see model.h. */
#include "model.h"
#include "steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

atomic_int jobs_live, parcels_live, bells_live;

static struct thing things[THINGS];
static atomic_size_t made;
static _Atomic(struct thing *) slots[SLOTS];
static atomic_uint next_slot;

/* Handles of earlier runs, dead for ever. */
enum { DEAD = 64 };
static uint64_t dead[DEAD];

_Noreturn void fuzz_fail(const char *file, int line, const char *text, int64_t value) {
    fprintf(stderr, "%s:%d: does not hold: %s (value %lld", file, line, text, (long long)value);
    if (value < 0) fprintf(stderr, ", %s", rt_strerror(value));
    fprintf(stderr, ")\n");
    fflush(NULL);
    abort();
}

/* ---- things ---- */

struct thing *thing_new(enum kind kind, struct thing *home) {
    size_t i = atomic_fetch_add(&made, 1);
    if (i >= THINGS) {
        atomic_store(&made, THINGS);
        return NULL;
    }
    struct thing *t = &things[i];
    t->kind = kind;
    t->home = home;
    atomic_store(&t->fd, -1);
    return t;
}

void thing_shelve(struct actor *a, struct thing *t, uint8_t slot) {
    (void)a;
    /* Half of them go where there is something already, which is then out of sight. */
    unsigned at = slot & 0x80 ? slot % SLOTS : atomic_fetch_add(&next_slot, 1) % SLOTS;
    atomic_store(&slots[at], t);
}

struct thing *thing_numbered(size_t i) {
    size_t n = atomic_load(&made);
    return i < (n < THINGS ? n : THINGS) ? &things[i] : NULL;
}

size_t thing_number(const struct thing *t) { return (size_t)(t - things); }

void things_forget(void) {
    struct thing *t;
    for (size_t i = 0; (t = thing_numbered(i)) != NULL; i++) {
        if (t->kind != K_FD && t->kind != K_WAKER) dead[i % DEAD] = t->handle;
        free(t->keys);
        free(t->memory);
    }
    size_t n = atomic_load(&made);
    memset(things, 0, sizeof things[0] * (n < THINGS ? n : THINGS));
    atomic_store(&made, 0);
    memset(slots, 0, sizeof slots);
    atomic_store(&next_slot, 0);
}

static bool over(struct thing *t) {
    return atomic_load(&t->freed) || (t->home != NULL && atomic_load(&t->home->freed)) ||
           (t->owner != NULL && atomic_load(&t->owner->drops) > 0);
}

static bool ending(struct thing *t) {
    return atomic_load(&t->releasing) ||
           (t->home != NULL && (atomic_load(&t->home->releasing) || atomic_load(&t->home->shut)));
}

/* Those that end in no other way than by their release. */
static bool ends_by_release(enum kind kind) {
    switch (kind) {
    case K_RUNTIME:
    case K_LEASE:
    case K_BLOB:
    case K_SET:
    case K_TIMER:
    case K_SIGNAL:
    case K_NOTIFY:
    case K_SEM:
    case K_CHAN:
    case K_EVENT:
    case K_SERVER:
    case K_WATCH: return true;
    default: return false;
    }
}

static bool has_handle(struct thing *t) {
    return t != NULL && t->handle != 0 && t->kind != K_FD && t->kind != K_WAKER;
}

static struct thing *find(uint8_t from, enum kind kind, bool alive) {
    for (unsigned i = 0; i < SLOTS; i++) {
        struct thing *t = atomic_load(&slots[(from + i) % SLOTS]);
        if (t != NULL && t->kind == kind && !(alive && over(t))) return t;
    }
    return NULL;
}

/* Values that no handle has: none of them may be accepted by anybody, ever. */
static uint64_t forged(uint8_t byte) {
    struct thing *t = atomic_load(&slots[byte >> 3 & 7]);
    uint64_t base = has_handle(t) ? t->handle : 0;
    switch (byte & 7) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return base ^ UINT64_C(1) << 63;      /* a life that is far away */
    case 3: return (base | 1) ^ UINT64_C(1) << 26; /* an entry that is far away */
    case 4: return base & UINT32_MAX;              /* life 0 */
    case 5: return base >> 32 > 1 ? base - (UINT64_C(1) << 32) : 0; /* the life before */
    case 6: return base ^ UINT64_C(30) << 27;      /* mostly a kind that does not exist */
    default: return dead[byte >> 3];
    }
}

struct use pick(struct actor *a, uint8_t byte, enum kind kind) {
    (void)a;
    struct use u = {.handle = 0};
    struct thing *t = NULL;
    switch (byte >> 6) {
    case 0:
    case 1:
        t = find(byte % SLOTS, kind, (byte & 3) != 0);
        break;
    case 2:
        t = byte & 32 ? atomic_load(&slots[byte % SLOTS]) : find(byte % SLOTS, kind, true);
        break;
    default:
        if (byte & 32) t = find(byte % SLOTS, kind, true);
        else u.handle = forged(byte);
    }
    if (has_handle(t)) {
        u.thing = t->kind == kind ? t : NULL;
        u.handle = t->handle;
    }
    u.hopeless = u.thing == NULL || over(t);
    /* A kind that was forged may turn out to be the right one. */
    if (u.hopeless && u.thing == NULL && (u.handle >> 27 & 31) == kind && (byte & 7) == 6 && byte >> 6 == 3)
        u.handle = 0;
    u.sound = !u.hopeless && ends_by_release(kind) && !ending(u.thing);
    return u;
}

struct use both(struct use a, struct use b) {
    a.hopeless |= b.hopeless;
    a.sound &= b.sound;
    a.other = b.thing;
    return a;
}

struct thing *borrow(uint8_t byte, enum kind kind) {
    struct thing *t = find(byte % SLOTS, kind, true);
    return t != NULL && !atomic_exchange(&t->busy, true) ? t : NULL;
}

void put_back(struct thing *t) { atomic_store(&t->busy, false); }

void releasing(struct use *u) {
    if (u->thing != NULL) atomic_store(&u->thing->releasing, true);
}

void released(struct use *u) {
    if (u->thing != NULL) HOLDS(!atomic_exchange(&u->thing->freed, true) || atomic_load(&u->thing->closing));
}

int64_t released_if(struct use *u, int64_t r) {
    if (r >= 0 && u->handle != 0) released(u);
    return r;
}

/* ---- results ---- */

static bool listed(int64_t r, const int *errors) {
    for (; *errors != 0; errors++) {
        if (-r == *errors) return true;
        if (*errors == SYSTEM && r > -4096 && r != -EFAULT && r != -ENOTRECOVERABLE) return true;
    }
    return false;
}

int64_t said(const struct use *u, int64_t r, const int *errors, const char *text, const char *file,
             int line) {
    if (r < 0 && !listed(r, errors)) fuzz_fail(file, line, text, r);
    if (u == NULL) return r;
    if (u->hopeless && (r >= 0 || r == RT_PENDING)) fuzz_fail(file, line, text, r);
    /* Who released it began before it was refused. */
    if (r == -EBADF && u->sound && !ending(u->thing) && !(u->other != NULL && ending(u->other)))
        fuzz_fail(file, line, text, r);
    return r;
}

int64_t waiting(struct actor *a, const struct use *u, int64_t r) {
    if (r == RT_PENDING) a->waits = u->thing;
    return r;
}

int64_t said_zero(int64_t r, const char *text, const char *file, int line) {
    if (r != 0) fuzz_fail(file, line, text, r);
    return r;
}

/* ---- parcels ---- */

enum { PARCEL = 0x9a2ce1 };
struct parcel {
    atomic_int life;
    unsigned sender, number; /* 0: no thread's */
};

void *parcel_new(struct actor *a) {
    struct parcel *p = malloc(sizeof *p);
    p->sender = a->number;
    p->number = ++a->sent;
    atomic_init(&p->life, PARCEL);
    atomic_fetch_add(&parcels_live, 1);
    return p;
}

void parcel_taken(void *item) {
    struct parcel *p = item;
    HOLDS(p != NULL);
    HOLDS_EQ(atomic_exchange(&p->life, 0), PARCEL);
    atomic_fetch_sub(&parcels_live, 1);
    free(p);
}

void parcel_received(struct actor *a, const struct use *u, void *item) {
    struct parcel *p = item;
    HOLDS(p != NULL);
    unsigned sender = p->sender, number = p->number;
    parcel_taken(item);
    if (a->number == 0 || sender == 0) return;
    size_t place = thing_number(u->thing) % 16;
    bool same = a->seen[sender - 1][place].chan == u->thing;
    HOLDS(!same || a->seen[sender - 1][place].number < number);
    a->seen[sender - 1][place].chan = u->thing;
    a->seen[sender - 1][place].number = number;
}

void parcel_unsent(void *item) { parcel_taken(item); }

void parcel_dropped(void *item) {
    parcel_taken(item);
    call_back();
}

/* ---- bells ---- */

struct bell {
    atomic_int references;
};

void *bell_new(void) {
    struct bell *b = malloc(sizeof *b);
    atomic_init(&b->references, 1);
    atomic_fetch_add(&bells_live, 1);
    return b;
}

static void *bell_clone(void *data) {
    HOLDS(atomic_fetch_add(&((struct bell *)data)->references, 1) > 0);
    return data;
}

static void bell_wake_by_ref(void *data) {
    HOLDS(atomic_load(&((struct bell *)data)->references) > 0);
    call_back();
}

static void bell_drop(void *data) {
    struct bell *b = data;
    int before = atomic_fetch_sub(&b->references, 1);
    HOLDS(before > 0);
    if (before > 1) return;
    free(b);
    atomic_fetch_sub(&bells_live, 1);
    call_back();
}

static void bell_wake(void *data) {
    bell_wake_by_ref(data);
    bell_drop(data);
}

const rt_waker_vtable bell_table = {bell_clone, bell_wake, bell_wake_by_ref, bell_drop};

/* ---- memory ---- */

enum { STAIN = 0xa5 };
struct stained {
    struct stained *next;
    unsigned char *memory;
    size_t n;
};
static struct stained *quarantine;
static pthread_mutex_t quarantine_lock = PTHREAD_MUTEX_INITIALIZER;

void *memory_new(size_t n) {
    void *memory = malloc(n);
    memset(memory, 0x11, n);
    return memory;
}

/* Nobody writes to it from now on: looked at in the end. */
void memory_over(void *memory, size_t n) {
    if (memory == NULL) return;
    memset(memory, STAIN, n);
    struct stained *s = malloc(sizeof *s);
    s->memory = memory;
    s->n = n;
    pthread_mutex_lock(&quarantine_lock);
    s->next = quarantine;
    quarantine = s;
    pthread_mutex_unlock(&quarantine_lock);
}

void model_begin(void) {
    HOLDS_EQ(atomic_load(&jobs_live), 0);
    HOLDS_EQ(atomic_load(&parcels_live), 0);
    HOLDS_EQ(atomic_load(&bells_live), 0);
}

void model_settled(void) {
    while (quarantine != NULL) {
        struct stained *s = quarantine;
        quarantine = s->next;
        for (size_t i = 0; i < s->n; i++) HOLDS_EQ(s->memory[i], STAIN);
        free(s->memory);
        free(s);
    }
    HOLDS_EQ(atomic_load(&jobs_live), 0);
    HOLDS_EQ(atomic_load(&parcels_live), 0);
    HOLDS_EQ(atomic_load(&bells_live), 0);
}
