/* See values.h. */
#include "values.h"

const char *const type_names[] = {"string", "list", "set", "hash", "zset"};

/* ---- strings ---- */

struct string *string_new(struct span s) { return string_set(NULL, s); }

struct string *string_set(struct string *old, struct span s) {
    if (old == NULL || s.n > old->room || s.n < old->room / 2) {
        free(old);
        old = grab(sizeof *old + s.n);
        old->room = s.n;
    }
    memcpy(old->p, s.p, s.n);
    old->n = s.n;
    return old;
}

struct string *string_append(struct string *old, struct span s) {
    const size_t n = old->n + s.n;
    if (n > old->room) {
        old = regrab(old, sizeof *old + 2 * n);
        old->room = 2 * n;
    }
    memcpy(old->p + old->n, s.p, s.n);
    old->n = n;
    return old;
}

/* ---- lists ---- */

enum { SMALLEST = 4 };

/* Moves the ring into one of another size, in order. */
static void resize(struct list *l, size_t room) {
    struct string **ring = grab(room * sizeof *ring);
    for (size_t i = 0; i < l->n; i++) ring[i] = list_at(l, i);
    free(l->ring);
    l->ring = ring, l->first = 0, l->room = room;
}

void list_add(struct list *l, bool left, struct string *s) {
    if (l->n == l->room) resize(l, l->room == 0 ? SMALLEST : 2 * l->room);
    if (left) l->first = (l->first - 1) & (l->room - 1);
    l->ring[left ? l->first : (l->first + l->n) & (l->room - 1)] = s;
    l->n++;
}

struct string *list_take(struct list *l, bool left) {
    struct string *s = list_at(l, left ? 0 : l->n - 1);
    if (left) l->first++;
    l->n--;
    if (l->room > SMALLEST && l->n < l->room / 4) resize(l, l->room / 2);
    return s;
}

static void list_free(struct list *l) {
    for (size_t i = 0; i < l->n; i++) free(list_at(l, i));
    free(l->ring);
    free(l);
}

/* ---- sorted sets ---- */

static bool precedes(const struct member *a, const struct member *b) {
    if (a->score != b->score) return a->score < b->score;
    const uint32_t n = a->entry->len < b->entry->len ? a->entry->len : b->entry->len;
    const int order = memcmp(a->entry->key, b->entry->key, n);
    return order != 0 ? order < 0 : a->entry->len < b->entry->len;
}

static size_t size_of(const struct member *m) { return m == NULL ? 0 : m->size; }

static struct member *sized(struct member *m) {
    m->size = 1 + size_of(m->left) + size_of(m->right);
    return m;
}

/* Splits a tree into what precedes `at` and what does not. */
static void split(struct member *m, const struct member *at, struct member **before,
                  struct member **after) {
    if (m == NULL) *before = *after = NULL;
    else if (precedes(m, at)) split(m->right, at, &m->right, after), *before = sized(m);
    else split(m->left, at, before, &m->left), *after = sized(m);
}

static struct member *merge(struct member *before, struct member *after) {
    if (before == NULL || after == NULL) return before == NULL ? after : before;
    if (before->rank > after->rank) {
        before->right = merge(before->right, after);
        return sized(before);
    }
    after->left = merge(before, after->left);
    return sized(after);
}

static void enter(struct member **at, struct member *m) {
    while (*at != NULL && (*at)->rank > m->rank) {
        (*at)->size++;
        at = precedes(*at, m) ? &(*at)->right : &(*at)->left;
    }
    split(*at, m, &m->left, &m->right);
    *at = sized(m);
}

static void leave(struct member **at, struct member *m) {
    while (*at != m) {
        (*at)->size--;
        at = precedes(*at, m) ? &(*at)->right : &(*at)->left;
    }
    *at = merge(m->left, m->right);
}

bool sorted_set(struct sorted *z, struct span name, double score) {
    struct entry *e = dict_find(&z->names, name);
    const bool fresh = e == NULL;
    struct member *m;
    if (fresh) {
        e = dict_add(&z->names, name);
        e->value = m = grab(sizeof *m);
        *m = (struct member){.entry = e, .rank = random_number()};
    } else {
        m = e->value;
        if (m->score == score) return false;
        leave(&z->root, m);
    }
    m->score = score;
    enter(&z->root, m);
    return fresh;
}

void sorted_remove(struct sorted *z, struct entry *name) {
    leave(&z->root, name->value);
    dict_take(&z->names, name);
    free(name->value);
    free(name);
}

struct member *sorted_at(const struct sorted *z, size_t i) {
    struct member *m = z->root;
    while (i != size_of(m->left)) {
        if (i < size_of(m->left)) m = m->left;
        else i -= size_of(m->left) + 1, m = m->right;
    }
    return m;
}

static void each(struct member *m, size_t first, size_t end,
                 void (*visit)(struct member *m, void *arg), void *arg) {
    if (m == NULL || first >= end) return;
    const size_t here = size_of(m->left);
    if (first < here) each(m->left, first, end < here ? end : here, visit, arg);
    if (first <= here && here < end) visit(m, arg);
    if (end <= here + 1) return;
    each(m->right, first > here ? first - here - 1 : 0, end - here - 1, visit, arg);
}

void sorted_each(const struct sorted *z, size_t first, size_t end,
                 void (*visit)(struct member *m, void *arg), void *arg) {
    each(z->root, first, end, visit, arg);
}

/* ---- all ---- */

static void free_value(struct entry *e) { free(e->value); }

void *value_new(int type) {
    static const size_t sizes[] = {[LIST] = sizeof(struct list),
                                   [SET] = sizeof(struct dict),
                                   [HASH] = sizeof(struct dict),
                                   [SORTED] = sizeof(struct sorted)};
    return memset(grab(sizes[type]), 0, sizes[type]);
}

void value_free(int type, void *value) {
    struct sorted *z = value;
    if (type == LIST) {
        list_free(value);
        return;
    }
    if (type == SET || type == HASH) dict_free(value, free_value);
    if (type == SORTED) dict_free(&z->names, free_value);
    free(value);
}

size_t value_count(int type, const void *value) {
    switch (type) {
    case LIST: return ((const struct list *)value)->n;
    case SORTED: return ((const struct sorted *)value)->names.count;
    case STRING: return 1;
    default: return ((const struct dict *)value)->count;
    }
}
