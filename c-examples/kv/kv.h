/* The parts of kv_server, and what they share. One lock holds the keys, the clients' interests and
 * the log's buffer: it is taken once for all the requests that came together, and whoever has it
 * makes no call that blocks. So a transaction is atomic, and the log has one order, with any number
 * of workers. */
#ifndef KV_H
#define KV_H

#include <pthread.h>
#include <stdatomic.h>

#include <asyncio_await.h>

#include "resp.h"
#include "values.h"

enum { LONGEST_STRING = 512 * 1024 * 1024 };

struct client {
    rt_io io;
    uint64_t id;
    struct string *name;

    /* What came and was not executed yet: in `in`, or in the thread's buffer during a poll. */
    struct parser parser;
    struct bytes in;
    char *at;
    size_t left;

    /* What was answered and waits for the log; else it is in the thread's buffer during a poll. */
    struct bytes out;
    uint64_t position; /* what the log must have before that is sent */
    size_t unread;     /* what may still come from who is sent away */

    rt_frame frame;
    rt_timer timer;
    uint64_t until;
    int64_t r;
    bool more, leaves;

    /* A transaction: the requests after MULTI. */
    bool in_multi, multi_failed, touched;
    struct queued *queue, **queue_end;
    size_t queued, queued_bytes;

    struct dict channels, patterns, watched; /* names */
};

struct call {
    struct client *client;
    const struct command *command;
    struct span *argv;
    size_t argc;
    struct bytes *out;
    bool changed; /* the request is to be logged as it is */
};

enum {
    PUBSUB = 1,    /* answered at once, in order with what is published */
    FREE = 2,      /* for subscribers, too */
    CONTROL = 4,   /* in a transaction it is executed, not queued */
    FORBIDDEN = 8, /* in a transaction */
};

struct command {
    const char *name;
    int argc; /* how many words; negative: at least so many */
    int flags;
    void (*run)(struct call *k);
    int64_t detail; /* what tells commands apart that share a function */
};

extern struct kv {
    pthread_mutex_t lock;
    rt_runtime rt;
    rt_server server;
    _Atomic bool stopping;
    struct dict keys;
    size_t volatiles; /* keys with a time */
    uint64_t now;     /* in Unix milliseconds; 0: ask the clock */
    bool loading;     /* from the log: nothing expires, nothing is logged */
    struct dict channels, patterns, watched; /* by name, a table of clients */
    uint64_t clients, requests, expired, next_id, cut;
    uint32_t most_clients, most_query, most_output, grace, idle;
    char about[256];
} kv;

/* ---- keys (store.c). With the lock ---- */

uint64_t unix_ms(void); /* the same for all requests that came together */

struct entry *key_find(struct span key); /* NULL, too, if its time was over */
struct entry *key_add(struct span key, int type, void *value);
void key_remove(struct entry *e);
void key_expires(struct entry *e, uint64_t at); /* 0: never */
void key_changed(struct span key);              /* fails the transactions that watch it */
void keys_flush(void);

/* Removes keys whose time is over from the next so many buckets; says how many. */
size_t keys_sweep(size_t buckets);

/* Clients by what they are interested in. True if that is new, or was the case. */
bool interest_add(struct dict *all, struct dict *own, struct span name, struct client *c);
bool interest_remove(struct dict *all, struct dict *own, struct span name, struct client *c);
struct dict *interest_in(const struct dict *all, struct span name); /* NULL: nobody has */
static inline struct client *interested(const struct entry *e) { return e->value; }

/* Whether a text matches a pattern with * ? [a-c] [^a] and \. */
bool matches(struct span pattern, struct span text);

/* ---- commands. With the lock ---- */

extern const struct command key_commands[], collection_commands[], pubsub_commands[],
    client_commands[];

void commands_init(void);
const struct command *command_find(struct span name);
/* A request; `command` is NULL if there is none of its name. */
void command_run(struct client *c, const struct command *command, struct span *argv, size_t argc,
                 struct bytes *out);

static inline bool is_subscriber(const struct client *c) {
    return c->channels.count + c->patterns.count > 0;
}

void client_reset(struct client *c); /* no transaction, no interests */

/* Sends to whoever does not keep the lock waiting: a client who leaves too much unread is cut. */
void client_tell(struct client *c, const struct bytes *message);

/* A key; NULL if there is none, and after an answer if it is of another type: that is `wrong`. */
struct entry *typed(struct call *k, struct span key, int type, bool *wrong);
bool number_argument(struct call *k, size_t i, int64_t *out); /* false: after an answer */
void wrong_syntax(struct call *k);

/* ---- the log (log.c) ---- */

enum { FSYNC_ALWAYS, FSYNC_EVERYSEC, FSYNC_NO };

struct log_options {
    const char *path; /* NULL: no log */
    int policy;
};

bool log_parse_policy(const char *text, int *out);

/* Executes what the file has. False, after a message, if it cannot be used. */
bool log_load(const struct log_options *o);
int64_t log_init(void);
void log_free(void);
int64_t log_run(rt_cx *cx, void *frame); /* a task, until `log_end` */

bool log_is_on(void);
const char *log_policy(void);

/* With the lock. */
struct log_state {
    bool rewriting;
    uint64_t size, base; /* what it was when it was new or loaded */
};
struct log_state log_state(void);
void log_record(const struct span *argv, size_t argc);
void log_begin(void); /* a transaction: in the log as a whole or not at all */
void log_commit(void);
uint64_t log_position(void); /* what must be there before an answer may be sent */
void log_end(void);
bool log_rewrite(void); /* begins it; false: that is going on already */

bool log_has(uint64_t position); /* any time */

/* Waits, in a poll, until the log has so much. */
int64_t log_poll(rt_cx *cx, uint64_t position);

/* In a forked child: writes all keys to a file, and exits. (snapshot.c) */
_Noreturn void snapshot_write(const char *path);

#endif
