/* See dict.h. A key's bucket is given by the low bits of its hash: as many as `2 * low` has, or one
 * fewer if there is no such bucket yet. */
#include "dict.h"

#include <sys/random.h>

static uint64_t secret[2];

void dict_seed(void) {
    if (getrandom(secret, sizeof secret, 0) == sizeof secret) return;
    perror("kv_server: getrandom");
    exit(1);
}

/* xorshift64*: for samples and priorities, which nobody gains by guessing. */
uint64_t random_number(void) {
    static _Thread_local uint64_t state;
    if (state == 0) state = secret[0] ^ (uint64_t)(uintptr_t)&state ^ 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

/* ---- SipHash-1-3 ---- */

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline void sip_round(struct sip *s) {
    s->a += s->b, s->b = rotate(s->b, 13) ^ s->a, s->a = rotate(s->a, 32);
    s->c += s->d, s->d = rotate(s->d, 16) ^ s->c;
    s->a += s->d, s->d = rotate(s->d, 21) ^ s->a;
    s->c += s->b, s->b = rotate(s->b, 17) ^ s->c, s->c = rotate(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word) {
    s->d ^= word;
    sip_round(s);
    s->a ^= word;
}

static uint32_t hash_of(struct span key) {
    struct sip s = {secret[0] ^ UINT64_C(0x736f6d6570736575),
                    secret[1] ^ UINT64_C(0x646f72616e646f6d),
                    secret[0] ^ UINT64_C(0x6c7967656e657261),
                    secret[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t word;
    size_t i = 0;
    for (; key.n - i >= 8; i += 8) {
        memcpy(&word, key.p + i, 8);
        sip_word(&s, word);
    }
    word = 0;
    for (size_t j = 0; i + j < key.n; j++) word |= (uint64_t)(unsigned char)key.p[i + j] << (8 * j);
    sip_word(&s, word | (uint64_t)key.n << 56);
    s.c ^= 0xff;
    for (int j = 0; j < 3; j++) sip_round(&s);
    const uint64_t h = s.a ^ s.b ^ s.c ^ s.d;
    return (uint32_t)(h ^ h >> 32);
}

/* ---- the table ---- */

static struct entry **bucket_of(const struct dict *d, uint32_t hash) {
    size_t i = hash & (2 * d->low - 1);
    if (i >= d->size) i &= d->low - 1;
    return &d->buckets[i];
}

struct entry *dict_find(const struct dict *d, struct span key) {
    if (d->count == 0) return NULL;
    const uint32_t hash = hash_of(key);
    struct entry *e = *bucket_of(d, hash);
    while (e != NULL && !(e->hash == hash && span_is(entry_key(e), key))) e = e->next;
    return e;
}

static void set_room(struct dict *d, size_t room) {
    d->buckets = regrab(d->buckets, room * sizeof *d->buckets);
    d->room = room;
}

static void split_one(struct dict *d) {
    if (d->size == d->room) set_room(d, 2 * d->room);
    struct entry **from = &d->buckets[d->size - d->low], **to = &d->buckets[d->size];
    *to = NULL;
    while (*from != NULL) {
        struct entry *e = *from;
        if ((e->hash & (2 * d->low - 1)) == d->size) *from = e->next, e->next = *to, *to = e;
        else from = &e->next;
    }
    if (++d->size == 2 * d->low) d->low = d->size;
}

static void merge_one(struct dict *d) {
    if (d->size == d->low) d->low /= 2;
    struct entry *moved = d->buckets[--d->size], **end = &d->buckets[d->size - d->low];
    while (*end != NULL) end = &(*end)->next;
    *end = moved;
    if (d->size <= d->room / 4) set_room(d, d->room / 2);
}

enum { SMALLEST = 4 };

struct entry *dict_add(struct dict *d, struct span key) {
    if (d->size == 0) {
        set_room(d, SMALLEST);
        memset(d->buckets, 0, SMALLEST * sizeof *d->buckets);
        d->size = d->low = SMALLEST;
    } else if (d->count >= d->size && d->size < UINT32_MAX) {
        split_one(d);
    }
    struct entry *e = grab(sizeof *e + key.n), **bucket;
    *e = (struct entry){.hash = hash_of(key), .len = (uint32_t)key.n};
    memcpy(e->key, key.p, key.n);
    bucket = bucket_of(d, e->hash);
    e->next = *bucket, *bucket = e;
    d->count++;
    return e;
}

void dict_take(struct dict *d, struct entry *e) {
    struct entry **at = bucket_of(d, e->hash);
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    d->count--;
    if (d->size > SMALLEST && d->count < d->size / 4) merge_one(d);
}

/* At least every fourth bucket is taken on the average, so it is soon found. Fair enough: who
 * shares a bucket is drawn within it. */
struct entry *dict_any(const struct dict *d) {
    struct entry *e = NULL;
    while (e == NULL) e = d->buckets[random_number() % d->size];
    size_t n = 0;
    for (struct entry *other = e; other != NULL; other = other->next) n++;
    for (n = random_number() % n; n > 0; n--) e = e->next;
    return e;
}

struct entry *dict_next(const struct dict *d, size_t *bucket, const struct entry *e) {
    struct entry *next = e == NULL ? NULL : e->next;
    if (e != NULL && next == NULL) ++*bucket;
    while (next == NULL && *bucket < d->size)
        if ((next = d->buckets[*bucket]) == NULL) ++*bucket;
    return next;
}

void dict_free(struct dict *d, void (*drop)(struct entry *e)) {
    for (size_t i = 0; i < d->size; i++) {
        for (struct entry *e = d->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            if (drop != NULL) drop(e);
            free(e);
        }
    }
    free(d->buckets);
    *d = (struct dict){0};
}
