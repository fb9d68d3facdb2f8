/* The commands on lists, sets, hashes and sorted sets. A key whose last member goes, goes too. */
#include "kv.h"

#include <errno.h>
#include <math.h>

static void changed(struct call *k, struct entry *e) {
    if (value_count(e->type, e->value) == 0) key_remove(e);
    else key_changed(k->argv[1]);
    k->changed = true;
}

/* The key's value, made if there is none. NULL after an answer: it is of another type. */
static void *make(struct call *k, int type, struct entry **e) {
    bool wrong;
    *e = typed(k, k->argv[1], type, &wrong);
    if (wrong) return NULL;
    if (*e == NULL) *e = key_add(k->argv[1], type, value_new(type));
    return (*e)->value;
}

/* The same for those who only look: NULL, after the answer `none`, if there is no such key. */
static void *look(struct call *k, int type, void (*none)(struct bytes *out), struct entry **e) {
    bool wrong;
    *e = typed(k, k->argv[1], type, &wrong);
    if (*e == NULL && !wrong) none(k->out);
    return *e == NULL ? NULL : (*e)->value;
}

static void zero(struct bytes *out) { reply_number(out, 0); }
static void empty(struct bytes *out) { reply_array(out, 0); }
static void nothing(struct bytes *out) { bytes_add(out, "*-1\r\n", 5); }

/* The number of members; `detail` is the type. */
static void count(struct call *k) {
    struct entry *e;
    void *value = look(k, (int)k->command->detail, zero, &e);
    if (value != NULL) reply_number(k->out, (int64_t)value_count(e->type, value));
}

/* Two positions, of which negative ones count from the end, to `first` and the one behind the
 * last. */
static bool range(struct call *k, size_t n, size_t *first, size_t *end) {
    int64_t a, b;
    const int64_t all = (int64_t)n;
    if (!number_argument(k, 2, &a) || !number_argument(k, 3, &b)) return false;
    if (a < 0) a = a + all < 0 ? 0 : a + all;
    if (b < 0) b += all;
    if (b >= all) b = all - 1;
    if (a > b) a = 0, b = -1;
    *first = (size_t)a, *end = (size_t)(b + 1);
    return true;
}

/* An optional number of members to take. */
static bool how_many(struct call *k, size_t *n) {
    int64_t number = 1;
    if (k->argc > 3) return wrong_syntax(k), false;
    if (k->argc == 3 && (!span_number(k->argv[2], &number) || number < 0)) {
        reply_error(k->out, "ERR value is out of range, must be positive");
        return false;
    }
    *n = (size_t)number;
    return true;
}

/* ---- lists ---- */

enum { RIGHT, LEFT };

static void push(struct call *k) {
    struct entry *e;
    struct list *l = make(k, LIST, &e);
    if (l == NULL) return;
    for (size_t i = 2; i < k->argc; i++)
        list_add(l, k->command->detail == LEFT, string_new(k->argv[i]));
    reply_number(k->out, (int64_t)l->n);
    changed(k, e);
}

static void pop(struct call *k) {
    struct entry *e;
    size_t n;
    if (!how_many(k, &n)) return;
    struct list *l = look(k, LIST, k->argc == 3 ? nothing : reply_none, &e);
    if (l == NULL) return;
    if (n > l->n) n = l->n;
    if (k->argc == 3) reply_array(k->out, n);
    for (size_t i = 0; i < n; i++) {
        struct string *s = list_take(l, k->command->detail == LEFT);
        reply_bulk(k->out, string_span(s));
        free(s);
    }
    if (n > 0) changed(k, e);
}

static void lrange(struct call *k) {
    struct entry *e;
    size_t first, end;
    struct list *l = look(k, LIST, empty, &e);
    if (l == NULL || !range(k, l->n, &first, &end)) return;
    reply_array(k->out, end - first);
    for (size_t i = first; i < end; i++) reply_bulk(k->out, string_span(list_at(l, i)));
}

/* ---- sets ---- */

static void sadd(struct call *k) {
    struct entry *e;
    int64_t n = 0;
    struct dict *d = make(k, SET, &e);
    if (d == NULL) return;
    for (size_t i = 2; i < k->argc; i++)
        if (dict_find(d, k->argv[i]) == NULL) dict_add(d, k->argv[i]), n++;
    reply_number(k->out, n);
    if (n > 0) changed(k, e);
}

static void forget(struct dict *d, struct entry *member) {
    dict_take(d, member);
    free(member->value);
    free(member);
}

/* SREM and HDEL; `detail` is the type. */
static void remove_members(struct call *k) {
    struct entry *e, *member;
    int64_t n = 0;
    struct dict *d = look(k, (int)k->command->detail, zero, &e);
    if (d == NULL) return;
    for (size_t i = 2; i < k->argc; i++)
        if ((member = dict_find(d, k->argv[i])) != NULL) forget(d, member), n++;
    reply_number(k->out, n);
    if (n > 0) changed(k, e);
}

/* Which ones, is chance: the log is told. */
static void spop(struct call *k) {
    struct entry *e;
    size_t n;
    if (!how_many(k, &n)) return;
    struct dict *d = look(k, SET, k->argc == 3 ? empty : reply_none, &e);
    if (d == NULL) return;
    if (n > d->count) n = d->count;
    if (k->argc == 3) reply_array(k->out, n);
    for (size_t i = 0; i < n; i++) {
        struct entry *member = dict_any(d);
        reply_bulk(k->out, entry_key(member));
        log_record((struct span[]){TEXT("SREM"), k->argv[1], entry_key(member)}, 3);
        forget(d, member);
    }
    if (n > 0) changed(k, e);
    k->changed = false;
}

static void smembers(struct call *k) {
    struct entry *e;
    size_t bucket = 0;
    struct dict *d = look(k, SET, empty, &e);
    if (d == NULL) return;
    reply_array(k->out, d->count);
    for (e = NULL; (e = dict_next(d, &bucket, e)) != NULL;) reply_bulk(k->out, entry_key(e));
}

/* SISMEMBER and HEXISTS; `detail` is the type. */
static void has_member(struct call *k) {
    struct entry *e;
    struct dict *d = look(k, (int)k->command->detail, zero, &e);
    if (d != NULL) reply_number(k->out, dict_find(d, k->argv[2]) != NULL);
}

/* ---- hashes ---- */

static void hset(struct call *k) {
    struct entry *e;
    int64_t n = 0;
    if (k->argc % 2 != 0) {
        reply_error(k->out, "ERR wrong number of arguments for 'hset' command");
        return;
    }
    struct dict *d = make(k, HASH, &e);
    if (d == NULL) return;
    for (size_t i = 2; i < k->argc; i += 2) {
        struct entry *field = dict_find(d, k->argv[i]);
        if (field == NULL) field = dict_add(d, k->argv[i]), n++;
        field->value = string_set(field->value, k->argv[i + 1]);
    }
    reply_number(k->out, n);
    changed(k, e);
}

static void hget(struct call *k) {
    struct entry *e;
    struct dict *d = look(k, HASH, reply_none, &e);
    if (d == NULL) return;
    struct entry *field = dict_find(d, k->argv[2]);
    if (field == NULL) reply_none(k->out);
    else reply_bulk(k->out, string_span(field->value));
}

static void hgetall(struct call *k) {
    struct entry *e;
    size_t bucket = 0;
    struct dict *d = look(k, HASH, empty, &e);
    if (d == NULL) return;
    reply_array(k->out, 2 * d->count);
    for (e = NULL; (e = dict_next(d, &bucket, e)) != NULL;) {
        reply_bulk(k->out, entry_key(e));
        reply_bulk(k->out, string_span(e->value));
    }
}

/* ---- sorted sets ---- */

static bool score_argument(struct call *k, size_t i, double *out) {
    char text[64], *end;
    const struct span s = k->argv[i];
    if (s.n > 0 && s.n < sizeof text && s.p[0] != ' ') {
        memcpy(text, s.p, s.n);
        text[s.n] = '\0';
        *out = strtod(text, &end);
        if (end == text + s.n && !isnan(*out)) return true;
    }
    reply_error(k->out, "ERR value is not a valid float");
    return false;
}

static void zadd(struct call *k) {
    struct entry *e;
    int64_t n = 0;
    double score;
    if (k->argc % 2 != 0) {
        wrong_syntax(k);
        return;
    }
    for (size_t i = 2; i < k->argc; i += 2) /* all or nothing */
        if (!score_argument(k, i, &score)) return;
    struct sorted *z = make(k, SORTED, &e);
    if (z == NULL) return;
    for (size_t i = 2; i < k->argc; i += 2) {
        (void)score_argument(k, i, &score);
        n += sorted_set(z, k->argv[i + 1], score);
    }
    reply_number(k->out, n);
    changed(k, e);
}

static void zrem(struct call *k) {
    struct entry *e, *name;
    int64_t n = 0;
    struct sorted *z = look(k, SORTED, zero, &e);
    if (z == NULL) return;
    for (size_t i = 2; i < k->argc; i++)
        if ((name = dict_find(&z->names, k->argv[i])) != NULL) sorted_remove(z, name), n++;
    reply_number(k->out, n);
    if (n > 0) changed(k, e);
}

static void show_name(struct member *m, void *out) { reply_bulk(out, entry_key(m->entry)); }

static void show(struct member *m, void *out) {
    show_name(m, out);
    reply_double(out, m->score);
}

static void zpopmin(struct call *k) {
    struct entry *e;
    size_t n;
    if (!how_many(k, &n)) return;
    struct sorted *z = look(k, SORTED, empty, &e);
    if (z == NULL) return;
    if (n > z->names.count) n = z->names.count;
    reply_array(k->out, 2 * n);
    for (size_t i = 0; i < n; i++) {
        struct member *m = sorted_at(z, 0);
        show(m, k->out);
        sorted_remove(z, m->entry);
    }
    if (n > 0) changed(k, e);
}

static void zrange(struct call *k) {
    struct entry *e;
    size_t first, end;
    const bool scores = k->argc == 5 && span_says(k->argv[4], "withscores");
    if (k->argc > 4 && !scores) {
        wrong_syntax(k);
        return;
    }
    struct sorted *z = look(k, SORTED, empty, &e);
    if (z == NULL || !range(k, z->names.count, &first, &end)) return;
    reply_array(k->out, (scores ? 2 : 1) * (end - first));
    sorted_each(z, first, end, scores ? show : show_name, k->out);
}

static void zscore(struct call *k) {
    struct entry *e;
    struct sorted *z = look(k, SORTED, reply_none, &e);
    if (z == NULL) return;
    struct entry *name = dict_find(&z->names, k->argv[2]);
    if (name == NULL) reply_none(k->out);
    else reply_double(k->out, ((struct member *)name->value)->score);
}

const struct command collection_commands[] = {
    {"lpush", -3, 0, push, LEFT},
    {"rpush", -3, 0, push, RIGHT},
    {"lpop", -2, 0, pop, LEFT},
    {"rpop", -2, 0, pop, RIGHT},
    {"llen", 2, 0, count, LIST},
    {"lrange", 4, 0, lrange, 0},
    {"sadd", -3, 0, sadd, 0},
    {"srem", -3, 0, remove_members, SET},
    {"spop", -2, 0, spop, 0},
    {"scard", 2, 0, count, SET},
    {"smembers", 2, 0, smembers, 0},
    {"sismember", 3, 0, has_member, SET},
    {"hset", -4, 0, hset, 0},
    {"hget", 3, 0, hget, 0},
    {"hdel", -3, 0, remove_members, HASH},
    {"hlen", 2, 0, count, HASH},
    {"hexists", 3, 0, has_member, HASH},
    {"hgetall", 2, 0, hgetall, 0},
    {"zadd", -4, 0, zadd, 0},
    {"zrem", -3, 0, zrem, 0},
    {"zpopmin", -2, 0, zpopmin, 0},
    {"zcard", 2, 0, count, SORTED},
    {"zrange", -4, 0, zrange, 0},
    {"zscore", 3, 0, zscore, 0},
    {0},
};
