/* How a request finds its command; and the commands that are about the client or the server. */
#include "kv.h"

#include <unistd.h>

/* ---- finding and calling ---- */

/* By name, with free places. */
enum { PLACES = 512 };
static const struct command *places[PLACES];

static size_t place_of(struct span name) {
    size_t h = name.n;
    for (size_t i = 0; i < name.n; i++) h = h * 31 + (unsigned char)(name.p[i] | 0x20);
    return (h ^ h >> 9) % PLACES;
}

void commands_init(void) {
    const struct command *const tables[] = {key_commands, collection_commands, pubsub_commands,
                                            client_commands};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (const struct command *c = tables[i]; c->name != NULL; c++) {
            size_t at = place_of(text_span(c->name));
            while (places[at] != NULL) at = (at + 1) % PLACES;
            places[at] = c;
        }
    }
}

const struct command *command_find(struct span name) {
    size_t at = place_of(name);
    while (places[at] != NULL && !span_says(name, places[at]->name)) at = (at + 1) % PLACES;
    return places[at];
}

struct queued {
    struct queued *next;
    const struct command *command;
    size_t argc;
    struct span argv[];
};

static void enqueue(struct client *c, const struct command *command, const struct span *argv,
                    size_t argc, struct bytes *out) {
    size_t n = 0;
    for (size_t i = 0; i < argc; i++) n += argv[i].n;
    if (c->queued_bytes + n > kv.most_query && !kv.loading) {
        c->multi_failed = true;
        reply_error(out, "ERR transaction is too large");
        return;
    }
    struct queued *q = grab(sizeof *q + argc * sizeof *argv + n);
    char *p = (char *)(q->argv + argc);
    q->next = NULL, q->command = command, q->argc = argc;
    for (size_t i = 0; i < argc; p += argv[i++].n) {
        q->argv[i] = (struct span){p, argv[i].n};
        memcpy(p, argv[i].p, argv[i].n);
    }
    *c->queue_end = q, c->queue_end = &q->next;
    c->queued++, c->queued_bytes += n + argc * sizeof *argv;
    reply_status(out, "QUEUED");
}

static void run(struct client *c, const struct command *command, struct span *argv, size_t argc,
                struct bytes *out) {
    struct call k = {c, command, argv, argc, out, false};
    kv.requests++;
    command->run(&k);
    if (k.changed) log_record(argv, argc);
}

static void unknown(const struct span *argv, size_t argc, struct bytes *out) {
    char args[128] = "";
    size_t n = 0;
    for (size_t i = 1; i < argc && n + 4 < sizeof args; i++)
        n += (size_t)snprintf(args + n, sizeof args - n, "'%.*s' ",
                              (int)(argv[i].n < sizeof args ? argv[i].n : sizeof args), argv[i].p);
    reply_error(out, "ERR unknown command '%.*s', with args beginning with: %s",
                (int)(argv[0].n < sizeof args ? argv[0].n : sizeof args), argv[0].p, args);
}

/* False after an answer: it is no good. */
static bool may_run(const struct client *c, const struct command *command, const struct span *argv,
                    size_t argc, struct bytes *out) {
    if (command == NULL) {
        unknown(argv, argc, out);
    } else if (command->argc > 0 ? argc != (size_t)command->argc : argc < (size_t)-command->argc) {
        reply_error(out, "ERR wrong number of arguments for '%s' command", command->name);
    } else if (is_subscriber(c) && !(command->flags & FREE)) {
        reply_error(out, "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / "
                         "QUIT / RESET are allowed in this context", command->name);
    } else if (c->in_multi && (command->flags & FORBIDDEN)) {
        reply_error(out, "ERR '%s' inside MULTI is not allowed", command->name);
    } else {
        return true;
    }
    return false;
}

void command_run(struct client *c, const struct command *command, struct span *argv, size_t argc,
                 struct bytes *out) {
    if (!may_run(c, command, argv, argc, out)) c->multi_failed = c->in_multi;
    else if (c->in_multi && !(command->flags & CONTROL)) enqueue(c, command, argv, argc, out);
    else run(c, command, argv, argc, out);
}

/* ---- what commands have in common ---- */

struct entry *typed(struct call *k, struct span key, int type, bool *wrong) {
    struct entry *e = key_find(key);
    *wrong = e != NULL && type != ANY && e->type != type;
    if (!*wrong) return e;
    reply_error(k->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
    return NULL;
}

bool number_argument(struct call *k, size_t i, int64_t *out) {
    if (span_number(k->argv[i], out)) return true;
    reply_error(k->out, "ERR value is not an integer or out of range");
    return false;
}

void wrong_syntax(struct call *k) { reply_error(k->out, "ERR syntax error"); }

static void bulk_text(struct bytes *out, const char *text) {
    reply_bulk(out, text_span(text));
}

/* ---- transactions ---- */

static void lose_interest(struct client *c, struct dict *all, struct dict *own) {
    size_t bucket = 0;
    for (struct entry *e; (e = dict_next(own, &bucket, NULL)) != NULL; bucket = 0)
        interest_remove(all, own, entry_key(e), c);
    dict_free(own, NULL);
}

static void unwatch_all(struct client *c) {
    lose_interest(c, &kv.watched, &c->watched);
    c->touched = false;
}

static void drop_queue(struct queued *q) {
    for (struct queued *next; q != NULL; q = next) next = q->next, free(q);
}

static void leave_multi(struct client *c) {
    drop_queue(c->queue);
    c->queue = NULL;
    c->queued = c->queued_bytes = 0;
    c->in_multi = c->multi_failed = false;
    unwatch_all(c);
}

void client_reset(struct client *c) {
    leave_multi(c);
    lose_interest(c, &kv.channels, &c->channels);
    lose_interest(c, &kv.patterns, &c->patterns);
}

static void multi(struct call *k) {
    struct client *c = k->client;
    if (c->in_multi) {
        reply_error(k->out, "ERR MULTI calls can not be nested");
        return;
    }
    c->in_multi = true;
    c->queue_end = &c->queue;
    reply_status(k->out, "OK");
}

static void discard(struct call *k) {
    if (!k->client->in_multi) {
        reply_error(k->out, "ERR DISCARD without MULTI");
        return;
    }
    leave_multi(k->client);
    reply_status(k->out, "OK");
}

static void exec(struct call *k) {
    struct client *c = k->client;
    struct entry *e = NULL;
    size_t bucket = 0;
    if (!c->in_multi) {
        reply_error(k->out, "ERR EXEC without MULTI");
        return;
    }
    while ((e = dict_next(&c->watched, &bucket, e)) != NULL)
        key_find(entry_key(e)); /* is its time over? */
    const bool failed = c->multi_failed, touched = c->touched;
    struct queued *queue = c->queue;
    const size_t n = c->queued;
    c->queue = NULL;
    leave_multi(c);
    if (failed) {
        reply_error(k->out, "EXECABORT Transaction discarded because of previous errors.");
    } else if (touched) {
        bytes_add(k->out, "*-1\r\n", 5);
    } else {
        reply_array(k->out, n);
        log_begin();
        for (struct queued *q = queue; q != NULL; q = q->next)
            run(c, q->command, q->argv, q->argc, k->out);
        log_commit();
    }
    drop_queue(queue);
}

static void watch(struct call *k) {
    if (k->client->in_multi) {
        reply_error(k->out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (size_t i = 1; i < k->argc; i++) {
        (void)key_find(k->argv[i]); /* one that is over now is watched as one that is not there */
        interest_add(&kv.watched, &k->client->watched, k->argv[i], k->client);
    }
    reply_status(k->out, "OK");
}

static void unwatch(struct call *k) {
    unwatch_all(k->client);
    reply_status(k->out, "OK");
}

/* ---- the client ---- */

static void ping(struct call *k) {
    if (k->argc > 2) {
        reply_error(k->out, "ERR wrong number of arguments for 'ping' command");
    } else if (is_subscriber(k->client)) {
        reply_array(k->out, 2);
        bulk_text(k->out, "pong");
        reply_bulk(k->out, k->argc == 2 ? k->argv[1] : TEXT(""));
    } else if (k->argc == 2) {
        reply_bulk(k->out, k->argv[1]);
    } else {
        reply_status(k->out, "PONG");
    }
}

static void echo(struct call *k) { reply_bulk(k->out, k->argv[1]); }

static void quit(struct call *k) {
    k->client->leaves = true;
    reply_status(k->out, "OK");
}

static void reset(struct call *k) {
    client_reset(k->client);
    free(k->client->name);
    k->client->name = NULL;
    reply_status(k->out, "RESET");
}

static void select_(struct call *k) {
    int64_t n;
    if (!number_argument(k, 1, &n)) return;
    if (n == 0) reply_status(k->out, "OK");
    else reply_error(k->out, "ERR DB index is out of range");
}

static void set_name(struct client *c, struct span name) {
    free(c->name);
    c->name = name.n == 0 ? NULL : string_new(name);
}

static void hello(struct call *k) {
    if (k->argc > 1 && !span_is(k->argv[1], TEXT("2"))) {
        reply_error(k->out, "NOPROTO unsupported protocol version");
        return;
    }
    for (size_t i = 2; i < k->argc; i += 2) {
        if (!span_says(k->argv[i], "setname") || i + 1 == k->argc) {
            wrong_syntax(k);
            return;
        }
        set_name(k->client, k->argv[i + 1]);
    }
    reply_array(k->out, 14);
    bulk_text(k->out, "server"), bulk_text(k->out, "redis");
    bulk_text(k->out, "version"), bulk_text(k->out, "7.0.0");
    bulk_text(k->out, "proto"), reply_number(k->out, 2);
    bulk_text(k->out, "id"), reply_number(k->out, (int64_t)k->client->id);
    bulk_text(k->out, "mode"), bulk_text(k->out, "standalone");
    bulk_text(k->out, "role"), bulk_text(k->out, "master");
    bulk_text(k->out, "modules"), reply_array(k->out, 0);
}

static void client(struct call *k) {
    struct client *c = k->client;
    const struct span what = k->argv[1];
    if (k->argc == 2 && span_says(what, "id")) {
        reply_number(k->out, (int64_t)c->id);
    } else if (k->argc == 2 && span_says(what, "getname")) {
        if (c->name == NULL) reply_none(k->out);
        else reply_bulk(k->out, string_span(c->name));
    } else if (k->argc == 3 && span_says(what, "setname")) {
        set_name(c, k->argv[2]);
        reply_status(k->out, "OK");
    } else if (k->argc == 4 && span_says(what, "setinfo")) {
        reply_status(k->out, "OK");
    } else {
        reply_error(k->out, "ERR unknown subcommand or wrong number of arguments for '%.*s'",
                    (int)(what.n < 64 ? what.n : 64), what.p);
    }
}

/* ---- the server ---- */

/* What clients ask for before they begin. */
static void config(struct call *k) {
    char most_clients[20];
    most_clients[number_text(kv.most_clients, most_clients)] = '\0';
    const char *const known[][2] = {{"save", ""},
                                    {"appendonly", log_is_on() ? "yes" : "no"},
                                    {"appendfsync", log_policy()},
                                    {"maxclients", most_clients},
                                    {"databases", "1"}};
    struct bytes found = {0};
    size_t n = 0;
    if (k->argc < 3 || !span_says(k->argv[1], "get")) {
        reply_error(k->out, "ERR only CONFIG GET is there");
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        bool wanted = false;
        for (size_t j = 2; j < k->argc; j++)
            wanted = wanted || matches(k->argv[j], text_span(known[i][0]));
        if (!wanted) continue;
        bulk_text(&found, known[i][0]), bulk_text(&found, known[i][1]);
        n += 2;
    }
    reply_array(k->out, n);
    bytes_add(k->out, found.p, found.n);
    bytes_free(&found);
}

static void info(struct call *k) {
    char text[1024];
    const struct log_state log = log_state();
    int n = snprintf(text, sizeof text,
                     "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nprocess_id:%d\r\n"
                     "runtime:%s\r\n"
                     "# Clients\r\nconnected_clients:%llu\r\nmaxclients:%u\r\n"
                     "# Persistence\r\nloading:0\r\naof_enabled:%d\r\n"
                     "aof_rewrite_in_progress:%d\r\naof_current_size:%llu\r\naof_base_size:%llu\r\n"
                     "# Stats\r\ntotal_connections_received:%llu\r\n"
                     "total_commands_processed:%llu\r\n"
                     "expired_keys:%llu\r\nclient_output_buffer_limit_disconnections:%llu\r\n"
                     "pubsub_channels:%zu\r\npubsub_patterns:%zu\r\n"
                     "# Keyspace\r\n",
                     (int)getpid(), kv.about, (unsigned long long)kv.clients, kv.most_clients,
                     log_is_on(), log.rewriting, (unsigned long long)log.size,
                     (unsigned long long)log.base, (unsigned long long)kv.next_id,
                     (unsigned long long)kv.requests,
                     (unsigned long long)kv.expired, (unsigned long long)kv.cut, kv.channels.count,
                     kv.patterns.count);
    if (kv.keys.count > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, "db0:keys=%zu,expires=%zu,avg_ttl=0\r\n",
                      kv.keys.count, kv.volatiles);
    reply_bulk(k->out, (struct span){text, (size_t)n});
}

static void rewrite(struct call *k) {
    if (!log_is_on()) reply_error(k->out, "ERR there is no append only file");
    else if (!log_rewrite())
        reply_error(k->out, "ERR Background append only file rewriting already in progress");
    else reply_status(k->out, "Background append only file rewriting started");
}

/* How many there are; not what they are like. */
static void command(struct call *k) {
    size_t n = 0;
    for (size_t i = 0; i < PLACES; i++) n += places[i] != NULL;
    if (k->argc == 2 && span_says(k->argv[1], "count")) reply_number(k->out, (int64_t)n);
    else reply_array(k->out, 0);
}

const struct command client_commands[] = {
    {"multi", 1, CONTROL, multi, 0},
    {"exec", 1, CONTROL, exec, 0},
    {"discard", 1, CONTROL, discard, 0},
    {"watch", -2, CONTROL, watch, 0},
    {"unwatch", 1, 0, unwatch, 0},
    {"ping", -1, FREE, ping, 0},
    {"echo", 2, 0, echo, 0},
    {"quit", -1, FREE | CONTROL, quit, 0},
    {"reset", 1, FREE | CONTROL, reset, 0},
    {"select", 2, 0, select_, 0},
    {"hello", -1, FORBIDDEN, hello, 0},
    {"client", -2, 0, client, 0},
    {"config", -2, 0, config, 0},
    {"info", -1, 0, info, 0},
    {"command", -1, 0, command, 0},
    {"bgrewriteaof", 1, 0, rewrite, 0},
    {0},
};
