/* Messages to whoever is there. They are sent under the lock, so that all hear them in one order,
 * and nobody before the answer to the SUBSCRIBE. */
#include "kv.h"

#include <errno.h>

void client_tell(struct client *c, const struct bytes *message) {
    const int64_t r = rt_send(c->io, message->p, message->n);
    if (r == -EAGAIN && rt_close(c->io) == 0) kv.cut++; /* its task sees a stale handle, and ends */
}

/* The tables that a command is about. */
static void tables(struct client *c, bool patterns, struct dict **all, struct dict **own) {
    *all = patterns ? &kv.patterns : &kv.channels;
    *own = patterns ? &c->patterns : &c->channels;
}

static void confirm(struct call *k, const struct span *name) {
    const struct client *c = k->client;
    reply_array(k->out, 3);
    reply_bulk(k->out, text_span(k->command->name));
    if (name == NULL) reply_none(k->out);
    else reply_bulk(k->out, *name);
    reply_number(k->out, (int64_t)(c->channels.count + c->patterns.count));
}

/* `detail`: patterns instead of channels. */
static void subscribe(struct call *k) {
    struct dict *all, *own;
    tables(k->client, k->command->detail, &all, &own);
    for (size_t i = 1; i < k->argc; i++) {
        interest_add(all, own, k->argv[i], k->client);
        confirm(k, &k->argv[i]);
    }
}

static void unsubscribe(struct call *k) {
    struct dict *all, *own;
    struct entry *e;
    size_t bucket = 0;
    tables(k->client, k->command->detail, &all, &own);
    for (size_t i = 1; i < k->argc; i++) {
        interest_remove(all, own, k->argv[i], k->client);
        confirm(k, &k->argv[i]);
    }
    if (k->argc > 1) return;
    if (own->count == 0) confirm(k, NULL);
    for (; (e = dict_next(own, &bucket, NULL)) != NULL; bucket = 0) {
        struct string *name = string_new(entry_key(e));
        const struct span s = string_span(name);
        interest_remove(all, own, s, k->client);
        confirm(k, &s);
        free(name);
    }
}

static int64_t tell_all(struct dict *clients, const struct span *parts, size_t n) {
    struct bytes message = {0};
    size_t bucket = 0;
    resp_request(&message, parts, n);
    for (struct entry *e = NULL; (e = dict_next(clients, &bucket, e)) != NULL;)
        client_tell(interested(e), &message);
    bytes_free(&message);
    return (int64_t)clients->count;
}

static void publish(struct call *k) {
    const struct span channel = k->argv[1], text = k->argv[2];
    struct dict *clients = interest_in(&kv.channels, channel);
    int64_t n = 0;
    size_t bucket = 0;
    if (clients != NULL) n += tell_all(clients, (struct span[]){TEXT("message"), channel, text}, 3);
    for (struct entry *e = NULL; (e = dict_next(&kv.patterns, &bucket, e)) != NULL;)
        if (matches(entry_key(e), channel))
            n += tell_all(e->value,
                          (struct span[]){TEXT("pmessage"), entry_key(e), channel, text}, 4);
    reply_number(k->out, n);
}

const struct command pubsub_commands[] = {
    {"subscribe", -2, PUBSUB | FREE | FORBIDDEN, subscribe, false},
    {"psubscribe", -2, PUBSUB | FREE | FORBIDDEN, subscribe, true},
    {"unsubscribe", -1, PUBSUB | FREE | FORBIDDEN, unsubscribe, false},
    {"punsubscribe", -1, PUBSUB | FREE | FORBIDDEN, unsubscribe, true},
    {"publish", 3, 0, publish, 0},
    {0},
};
