/* The commands on keys as such, and on strings. */
#include "kv.h"

/* ---- strings ---- */

static void get(struct call *k) {
    bool wrong;
    struct entry *e = typed(k, k->argv[1], STRING, &wrong);
    if (wrong) return;
    if (e == NULL) reply_none(k->out);
    else reply_bulk(k->out, string_span(e->value));
}

/* Whatever the key had, it has a string then, and as much time as it had. */
static struct entry *assign(struct span key, struct span value) {
    struct entry *e = key_find(key);
    if (e == NULL) return key_changed(key), key_add(key, STRING, string_new(value));
    if (e->type != STRING) value_free(e->type, e->value), e->value = NULL;
    e->type = STRING;
    e->value = string_set(e->value, value);
    key_changed(key);
    return e;
}

/* A number of seconds or milliseconds, from now or from 1970, to a time in milliseconds. */
enum { FROM_NOW = 1, SECONDS = 2 };

static bool time_of(struct call *k, int64_t n, int unit, int64_t *at) {
    if (((unit & SECONDS) == 0 || !__builtin_mul_overflow(n, 1000, &n)) &&
        ((unit & FROM_NOW) == 0 || !__builtin_add_overflow(n, (int64_t)unix_ms(), &n))) {
        *at = n;
        return true;
    }
    reply_error(k->out, "ERR invalid expire time in '%s' command", k->command->name);
    return false;
}

struct set_options {
    bool nx, xx, get, keep, timed;
    int64_t at;
};

static bool set_time(struct call *k, size_t *i, int unit, struct set_options *o) {
    int64_t n;
    if (o->timed || o->keep || ++*i == k->argc) return wrong_syntax(k), false;
    if (!number_argument(k, *i, &n)) return false;
    if (n <= 0) {
        reply_error(k->out, "ERR invalid expire time in '%s' command", k->command->name);
        return false;
    }
    o->timed = true;
    return time_of(k, n, unit, &o->at);
}

static bool set_option(struct call *k, size_t *i, struct set_options *o) {
    const struct span s = k->argv[*i];
    if (span_says(s, "ex")) return set_time(k, i, FROM_NOW | SECONDS, o);
    if (span_says(s, "px")) return set_time(k, i, FROM_NOW, o);
    if (span_says(s, "exat")) return set_time(k, i, SECONDS, o);
    if (span_says(s, "pxat")) return set_time(k, i, 0, o);
    if (span_says(s, "nx") && !o->xx) o->nx = true;
    else if (span_says(s, "xx") && !o->nx) o->xx = true;
    else if (span_says(s, "get")) o->get = true;
    else if (span_says(s, "keepttl") && !o->timed) o->keep = true;
    else return wrong_syntax(k), false;
    return true;
}

/* With an absolute time, without conditions. */
static void log_set(struct span key, struct span value, const struct set_options *o) {
    char digits[20];
    struct span argv[5] = {TEXT("SET"), key, value, TEXT("KEEPTTL")};
    if (o->timed) {
        argv[3] = TEXT("PXAT");
        argv[4] = (struct span){digits, number_text(o->at, digits)};
    }
    log_record(argv, o->timed ? 5 : o->keep ? 4 : 3);
}

static void set_(struct call *k) {
    const struct span key = k->argv[1], value = k->argv[2];
    struct set_options o = {0};
    for (size_t i = 3; i < k->argc; i++)
        if (!set_option(k, &i, &o)) return;
    if (o.nx || o.xx || o.get) {
        bool wrong;
        struct entry *e = typed(k, key, o.get ? STRING : ANY, &wrong);
        if (wrong) return;
        const bool refused = e == NULL ? o.xx : o.nx;
        if (!o.get && refused) reply_none(k->out);
        else if (o.get && e == NULL) reply_none(k->out);
        else if (o.get) reply_bulk(k->out, string_span(e->value));
        if (refused) return;
    }
    struct entry *e = assign(key, value);
    if (!o.keep && (o.timed || e->expires != 0)) key_expires(e, o.timed ? (uint64_t)o.at : 0);
    if (log_is_on()) log_set(key, value, &o);
    if (!o.get) bytes_add(k->out, "+OK\r\n", 5);
}

static void mget(struct call *k) {
    reply_array(k->out, k->argc - 1);
    for (size_t i = 1; i < k->argc; i++) {
        struct entry *e = key_find(k->argv[i]);
        if (e == NULL || e->type != STRING) reply_none(k->out);
        else reply_bulk(k->out, string_span(e->value));
    }
}

static void mset(struct call *k) {
    if (k->argc % 2 == 0) {
        reply_error(k->out, "ERR wrong number of arguments for 'mset' command");
        return;
    }
    for (size_t i = 1; i < k->argc; i += 2) key_expires(assign(k->argv[i], k->argv[i + 1]), 0);
    k->changed = true;
    reply_status(k->out, "OK");
}

/* INCR and its kin: `detail` is the sign. */
static void add(struct call *k) {
    int64_t step = 1, value = 0;
    char digits[20];
    bool wrong;
    if (k->argc == 3 && !number_argument(k, 2, &step)) return;
    struct entry *e = typed(k, k->argv[1], STRING, &wrong);
    if (wrong) return;
    if (e != NULL && !span_number(string_span(e->value), &value)) {
        reply_error(k->out, "ERR value is not an integer or out of range");
    } else if (__builtin_mul_overflow(step, k->command->detail, &step) ||
               __builtin_add_overflow(value, step, &value)) {
        reply_error(k->out, "ERR increment or decrement would overflow");
    } else {
        assign(k->argv[1], (struct span){digits, number_text(value, digits)});
        reply_number(k->out, value);
        k->changed = true;
    }
}

static void append(struct call *k) {
    bool wrong;
    struct entry *e = typed(k, k->argv[1], STRING, &wrong);
    if (wrong) return;
    if (e == NULL) {
        e = assign(k->argv[1], k->argv[2]);
    } else if (string_span(e->value).n + k->argv[2].n > LONGEST_STRING) {
        reply_error(k->out, "ERR string exceeds maximum allowed size (512MB)");
        return;
    } else {
        e->value = string_append(e->value, k->argv[2]);
        key_changed(k->argv[1]);
    }
    reply_number(k->out, (int64_t)string_span(e->value).n);
    k->changed = true;
}

static void strlen_(struct call *k) {
    bool wrong;
    struct entry *e = typed(k, k->argv[1], STRING, &wrong);
    if (!wrong) reply_number(k->out, e == NULL ? 0 : (int64_t)string_span(e->value).n);
}

/* ---- keys ---- */

static void del_(struct call *k) {
    int64_t n = 0;
    for (size_t i = 1; i < k->argc; i++) {
        struct entry *e = key_find(k->argv[i]);
        if (e != NULL) key_remove(e), n++;
    }
    k->changed = n > 0;
    reply_number(k->out, n);
}

static void exists(struct call *k) {
    int64_t n = 0;
    for (size_t i = 1; i < k->argc; i++) n += key_find(k->argv[i]) != NULL;
    reply_number(k->out, n);
}

static void type(struct call *k) {
    struct entry *e = key_find(k->argv[1]);
    reply_status(k->out, e == NULL ? "none" : type_names[e->type]);
}

static void keys(struct call *k) {
    struct bytes found = {0};
    size_t bucket = 0, n = 0;
    for (struct entry *e = NULL; (e = dict_next(&kv.keys, &bucket, e)) != NULL;) {
        if (e->expires != 0 && e->expires <= unix_ms()) continue;
        if (matches(k->argv[1], entry_key(e))) reply_bulk(&found, entry_key(e)), n++;
    }
    reply_array(k->out, n);
    bytes_add(k->out, found.p, found.n);
    bytes_free(&found);
}

static void dbsize(struct call *k) { reply_number(k->out, (int64_t)kv.keys.count); }

static void flush(struct call *k) {
    for (size_t i = 1; i < k->argc; i++) {
        if (i == 1 && (span_says(k->argv[1], "sync") || span_says(k->argv[1], "async"))) continue;
        wrong_syntax(k);
        return;
    }
    keys_flush();
    k->changed = true;
    reply_status(k->out, "OK");
}

/* ---- times ---- */

/* `detail` is the unit. A time that is over removes the key. */
static void expire(struct call *k) {
    int64_t n, at;
    char digits[20];
    if (!number_argument(k, 2, &n) || !time_of(k, n, (int)k->command->detail, &at)) return;
    struct entry *e = key_find(k->argv[1]);
    reply_number(k->out, e != NULL);
    if (e == NULL) return;
    if (!kv.loading && at <= (int64_t)unix_ms()) {
        log_record((struct span[]){TEXT("DEL"), k->argv[1]}, 2);
        key_remove(e);
        return;
    }
    key_expires(e, (uint64_t)at);
    key_changed(k->argv[1]);
    const struct span when = {digits, number_text(at, digits)};
    log_record((struct span[]){TEXT("PEXPIREAT"), k->argv[1], when}, 3);
}

static void ttl(struct call *k) {
    struct entry *e = key_find(k->argv[1]);
    const int64_t unit = k->command->detail == SECONDS ? 1000 : 1;
    if (e == NULL || e->expires == 0) reply_number(k->out, e == NULL ? -2 : -1);
    else reply_number(k->out, ((int64_t)(e->expires - unix_ms()) + unit / 2) / unit);
}

static void persist(struct call *k) {
    struct entry *e = key_find(k->argv[1]);
    k->changed = e != NULL && e->expires != 0;
    if (k->changed) key_expires(e, 0), key_changed(k->argv[1]);
    reply_number(k->out, k->changed);
}

const struct command key_commands[] = {
    {"get", 2, 0, get, 0},
    {"set", -3, 0, set_, 0},
    {"mget", -2, 0, mget, 0},
    {"mset", -3, 0, mset, 0},
    {"incr", 2, 0, add, 1},
    {"decr", 2, 0, add, -1},
    {"incrby", 3, 0, add, 1},
    {"decrby", 3, 0, add, -1},
    {"append", 3, 0, append, 0},
    {"strlen", 2, 0, strlen_, 0},
    {"del", -2, 0, del_, 0},
    {"exists", -2, 0, exists, 0},
    {"type", 2, 0, type, 0},
    {"keys", 2, 0, keys, 0},
    {"dbsize", 1, 0, dbsize, 0},
    {"flushall", -1, 0, flush, 0},
    {"flushdb", -1, 0, flush, 0},
    {"expire", 3, 0, expire, FROM_NOW | SECONDS},
    {"pexpire", 3, 0, expire, FROM_NOW},
    {"expireat", 3, 0, expire, SECONDS},
    {"pexpireat", 3, 0, expire, 0},
    {"ttl", 2, 0, ttl, SECONDS},
    {"pttl", 2, 0, ttl, 0},
    {"persist", 2, 0, persist, 0},
    {0},
};
