/* A hash table that never stops to rehash: each insertion splits at most one bucket, each removal
 * merges at most one (linear hashing). Keyed with a secret, so that nobody chooses collisions. */
#ifndef KV_DICT_H
#define KV_DICT_H

#include "bytes.h"

struct entry {
    struct entry *next;
    void *value;      /* what it is, is the table's owner's business */
    uint64_t expires; /* of a key: in Unix milliseconds; 0: never */
    uint32_t hash;
    uint32_t len;
    uint8_t type; /* of a key's value */
    char key[];
};

struct dict {
    struct entry **buckets;
    size_t count, size, room;
    size_t low; /* the power of two that is at most `size` */
};

static inline struct span entry_key(struct entry *e) { return (struct span){e->key, e->len}; }

/* Draws the secret; once, before all else. */
void dict_seed(void);

struct entry *dict_find(const struct dict *d, struct span key);

/* Adds a key that is not there, with neither value nor time. */
struct entry *dict_add(struct dict *d, struct span key);

/* Takes an entry of the table out, which is the caller's to free then. */
void dict_take(struct dict *d, struct entry *e);

/* One of a table that is not empty, at random. */
struct entry *dict_any(const struct dict *d);

/* The first entry of the bucket `*bucket` or a later one; NULL at the end. Goes on after `e` if it
 * is not NULL, which must not have been taken out meanwhile. */
struct entry *dict_next(const struct dict *d, size_t *bucket, const struct entry *e);

/* Frees the table and its entries; `drop` (which may be NULL) what they have as values. */
void dict_free(struct dict *d, void (*drop)(struct entry *e));

uint64_t random_number(void);

#endif
