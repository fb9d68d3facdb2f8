/* The keys, their times, and who is interested in what. */
#include "kv.h"

#include <time.h>

struct kv kv = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- keys ---- */

uint64_t unix_ms(void) {
    if (kv.now == 0) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        kv.now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    }
    return kv.now;
}

static bool is_over(const struct entry *e) {
    return e->expires != 0 && !kv.loading && e->expires <= unix_ms();
}

/* The log is told, so that a reader of it needs no clock. */
static void expire(struct entry *e) {
    struct span argv[] = {TEXT("DEL"), entry_key(e)};
    log_record(argv, 2);
    kv.expired++;
    key_remove(e);
}

struct entry *key_find(struct span key) {
    struct entry *e = dict_find(&kv.keys, key);
    if (e == NULL || !is_over(e)) return e;
    expire(e);
    return NULL;
}

struct entry *key_add(struct span key, int type, void *value) {
    struct entry *e = dict_add(&kv.keys, key);
    e->type = (uint8_t)type;
    e->value = value;
    return e;
}

void key_remove(struct entry *e) {
    key_expires(e, 0);
    key_changed(entry_key(e));
    dict_take(&kv.keys, e);
    value_free(e->type, e->value);
    free(e);
}

void key_expires(struct entry *e, uint64_t at) {
    kv.volatiles += (size_t)(at != 0) - (size_t)(e->expires != 0);
    e->expires = at;
}

void key_changed(struct span key) {
    struct dict *clients = interest_in(&kv.watched, key);
    size_t bucket = 0;
    if (clients == NULL) return;
    for (struct entry *e = NULL; (e = dict_next(clients, &bucket, e)) != NULL;)
        interested(e)->touched = true;
}

static void drop_key(struct entry *e) { value_free(e->type, e->value); }

void keys_flush(void) {
    size_t bucket = 0;
    for (struct entry *e = NULL; (e = dict_next(&kv.watched, &bucket, e)) != NULL;)
        if (dict_find(&kv.keys, entry_key(e)) != NULL) key_changed(entry_key(e));
    dict_free(&kv.keys, drop_key);
    kv.volatiles = 0;
}

/* Keys that nobody asks for any more would stay for ever otherwise. A bucket that moves meanwhile
 * is looked at in the next round. */
size_t keys_sweep(size_t buckets) {
    static size_t at;
    const uint64_t before = kv.expired;
    if (kv.volatiles == 0) return 0;
    if (buckets > kv.keys.size) buckets = kv.keys.size;
    for (; buckets > 0 && kv.keys.size > 0; buckets--, at++) {
        if (at >= kv.keys.size) at = 0;
        for (struct entry *e = kv.keys.buckets[at], *next; e != NULL; e = next) {
            next = e->next;
            if (is_over(e)) expire(e);
        }
    }
    return (size_t)(kv.expired - before);
}

/* ---- interests ---- */

static struct span name_of(struct client *const *c) {
    return (struct span){(char *)(uintptr_t)c, sizeof *c};
}

struct dict *interest_in(const struct dict *all, struct span name) {
    struct entry *e = dict_find(all, name);
    return e == NULL ? NULL : e->value;
}

bool interest_add(struct dict *all, struct dict *own, struct span name, struct client *c) {
    if (dict_find(own, name) != NULL) return false;
    dict_add(own, name);
    struct dict *clients = interest_in(all, name);
    if (clients == NULL) {
        clients = memset(grab(sizeof *clients), 0, sizeof *clients);
        dict_add(all, name)->value = clients;
    }
    dict_add(clients, name_of(&c))->value = c;
    return true;
}

bool interest_remove(struct dict *all, struct dict *own, struct span name, struct client *c) {
    struct entry *mine = dict_find(own, name);
    if (mine == NULL) return false;
    struct entry *e = dict_find(all, name);
    struct dict *clients = e->value;
    struct entry *me = dict_find(clients, name_of(&c));
    dict_take(clients, me);
    free(me);
    if (clients->count == 0) {
        dict_free(clients, NULL);
        free(clients);
        dict_take(all, e);
        free(e);
    }
    dict_take(own, mine);
    free(mine); /* last: the name may be its */
    return true;
}

/* ---- patterns ---- */

/* One class, from behind its bracket; moves `*at` behind its end. */
static bool in_class(struct span p, size_t *at, unsigned char c) {
    size_t i = *at;
    bool found = false;
    const bool inverted = i < p.n && p.p[i] == '^';
    for (i += inverted; i < p.n && p.p[i] != ']'; i++) {
        if (p.p[i] == '\\' && i + 1 < p.n) i++;
        unsigned char low = (unsigned char)p.p[i], high = low;
        if (i + 2 < p.n && p.p[i + 1] == '-' && p.p[i + 2] != ']') {
            i += 2;
            if (p.p[i] == '\\' && i + 1 < p.n) i++;
            high = (unsigned char)p.p[i];
        }
        found = found || (low <= c && c <= high) || (high <= c && c <= low);
    }
    *at = i < p.n ? i + 1 : i;
    return found != inverted;
}

/* A star that does not fit is tried one character later; an earlier one never needs to be, so this
 * is quick with any number of stars. */
bool matches(struct span p, struct span text) {
    size_t i = 0, at = 0, star = SIZE_MAX, retry = 0;
    while (at < text.n) {
        size_t next = i + 1;
        bool fits = false;
        if (i < p.n) {
            if (p.p[i] == '*') {
                star = ++i, retry = at;
                continue;
            }
            if (p.p[i] == '?') fits = true;
            else if (p.p[i] == '[') fits = in_class(p, &next, (unsigned char)text.p[at]);
            else if (p.p[i] == '\\' && next < p.n) fits = p.p[next] == text.p[at], next++;
            else fits = p.p[i] == text.p[at];
        }
        if (fits) i = next, at++;
        else if (star == SIZE_MAX) return false;
        else i = star, at = ++retry;
    }
    while (i < p.n && p.p[i] == '*') i++;
    return i == p.n;
}
