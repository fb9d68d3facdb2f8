/* What a key can have: a string, a list, a set, a hash, or a sorted set. */
#ifndef KV_VALUES_H
#define KV_VALUES_H

#include "dict.h"

enum { STRING, LIST, SET, HASH, SORTED, ANY };

extern const char *const type_names[];

struct string {
    size_t n, room;
    char p[];
};

/* A ring: taken from and added to at both ends. */
struct list {
    struct string **ring;
    size_t first, n, room; /* a power of two, or 0 */
};

/* A member of a sorted set: a node of a tree that is ordered by score, then by name, and a heap by
 * `rank`, which is random. So the tree is balanced as well as one that grew in random order. */
struct member {
    struct member *left, *right;
    struct entry *entry; /* its name */
    double score;
    size_t size; /* of the tree below, itself included */
    uint64_t rank;
};

/* The names are a table, whose values are the members. */
struct sorted {
    struct dict names;
    struct member *root;
};

static inline struct span string_span(struct string *s) { return (struct span){s->p, s->n}; }

struct string *string_new(struct span s);

/* Puts `s` into `old`, which may be NULL, in its place if it fits well. */
struct string *string_set(struct string *old, struct span s);
struct string *string_append(struct string *old, struct span s);

void list_add(struct list *l, bool left, struct string *s);
struct string *list_take(struct list *l, bool left); /* the caller's, of a list that is not empty */
static inline struct string *list_at(const struct list *l, size_t i) {
    return l->ring[(l->first + i) & (l->room - 1)];
}

/* True if the member is new. */
bool sorted_set(struct sorted *z, struct span name, double score);
void sorted_remove(struct sorted *z, struct entry *name);

/* The first member is at 0. */
struct member *sorted_at(const struct sorted *z, size_t i);

/* Calls `visit` for the members from `first` to before `end`, in order. */
void sorted_each(const struct sorted *z, size_t first, size_t end,
                 void (*visit)(struct member *m, void *arg), void *arg);

void *value_new(int type); /* not a string */
void value_free(int type, void *value);

/* How many members it has; of a string, always some. */
size_t value_count(int type, const void *value);

#endif
