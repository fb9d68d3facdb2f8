/* Asks a Redis server, all at once, by hiredis, and says its answers in their order.
 *
 * It shows a library that wants reading and writing at will, and may be done with its connection
 * inside of any call (redis.c); a deadline over all answers; and what becomes of those that did not
 * come.
 *
 * Usage: redis_ask [--engine auto|epoll|uring] [--workers N] [--timeout 10000] --at PORT|PATH
 *                  COMMAND..
 *
 *   --at       a port of 127.0.0.1, or a Unix socket.
 *   --timeout  how many milliseconds all of it may take.
 *   COMMAND    such as "SET a 1": its words are separated by a space each.
 */
#include <stdio.h>

#include <asyncio_await.h>

#include "../options.h"
#include "answer.h"
#include "redis.h"

enum { WORDS = 64, TEXT = 256 };

struct question {
    char *command;
    struct answer answer;
    char text[TEXT]; /* of the answer, if the result is 0 */
};

struct all {
    rt_runtime rt;
    const char *at;
    uint32_t timeout_ms;
    redisAsyncContext *context; /* NULL once hiredis is done with it */
    struct answer connected;
    struct question *questions;
    int count, i;
    rt_timer timer;
    uint64_t until;
    rt_frame frame, talk_frame;
    int64_t r, n;
};

/* The reply is hiredis' and gone after this. Without one the connection is gone: it failed, or we
 * ended it. */
static void on_reply(redisAsyncContext *context, void *reply, void *arg) {
    struct question *q = arg;
    const redisReply *said = reply;
    (void)context;
    if (said == NULL) {
        answer_give(&q->answer, -ECONNRESET);
        return;
    }
    if (said->type == REDIS_REPLY_INTEGER) snprintf(q->text, TEXT, "%lld", said->integer);
    else if (said->type == REDIS_REPLY_NIL) snprintf(q->text, TEXT, "nil");
    else if (said->type == REDIS_REPLY_ARRAY) snprintf(q->text, TEXT, "%zu items", said->elements);
    else snprintf(q->text, TEXT, "%.*s", (int)said->len, said->str);
    answer_give(&q->answer, 0);
}

static void on_connect(const redisAsyncContext *context, int status) {
    struct all *a = context->data;
    if (status != REDIS_OK) a->context = NULL; /* hiredis frees it after this */
    answer_give(&a->connected, status == REDIS_OK ? 0 : -ECONNREFUSED);
}

static void on_disconnect(const redisAsyncContext *context, int status) {
    (void)status;
    ((struct all *)context->data)->context = NULL;
}

static int64_t ask(struct all *a, struct question *q) {
    const char *words[WORDS];
    int n = 0;
    char *next = NULL;
    for (char *word = strtok_r(q->command, " ", &next); word != NULL && n < WORDS; n++) {
        words[n] = word;
        word = strtok_r(NULL, " ", &next);
    }
    if (n == 0) return -EINVAL;
    int r = redisAsyncCommandArgv(a->context, on_reply, q, n, words, NULL);
    return r == REDIS_OK ? 0 : -ECONNRESET;
}

static int64_t connect_to(struct all *a, rt_task near) {
    uint32_t port;
    if (parse_number(a->at, 1, UINT16_MAX, &port))
        a->context = redisAsyncConnect("127.0.0.1", (int)port);
    else
        a->context = redisAsyncConnectUnix(a->at);
    if (a->context == NULL) return -ENOMEM;
    if (a->context->err != 0) return -ECONNREFUSED;
    a->context->data = a;
    int64_t r = redis_attach(a->rt, near, a->context);
    if (r < 0) return r;
    redisAsyncSetConnectCallback(a->context, on_connect);
    redisAsyncSetDisconnectCallback(a->context, on_disconnect);
    return 0;
}

static int64_t converse(rt_cx *cx, struct all *a) {
    RT_BEGIN(&a->talk_frame);
    RT_AWAIT(a->n, answer_poll(cx, &a->connected));
    if (a->n < 0) RT_RETURN(a->n);
    for (int i = 0; i < a->count; i++)
        if ((a->n = ask(a, &a->questions[i])) < 0) RT_RETURN(a->n);
    for (a->i = 0; a->i < a->count; a->i++) {
        RT_AWAIT(a->n, answer_poll(cx, &a->questions[a->i].answer));
        if (a->n < 0) RT_RETURN(a->n);
    }
    RT_END(0);
}

static int64_t ask_all(rt_cx *cx, void *state) {
    struct all *a = state;
    RT_BEGIN(&a->frame);
    a->until = rt_now() + a->timeout_ms * UINT64_C(1000000);
    if ((a->r = connect_to(a, rt_task_self(cx))) < 0) RT_RETURN(a->r);
    RT_AWAIT(a->r, rt_poll_deadline(cx, &a->timer, a->until, converse(cx, a)));
    /* Ends what is not answered: on_reply is called for each, before this returns. */
    if (a->context != NULL) redisAsyncFree(a->context);
    a->context = NULL;
    RT_END(a->r);
}

int main(int argc, char **argv) {
    struct all a = {.timeout_ms = 10000};
    char why[256] = "";
    rt_config config;
    options_init(&config);
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--at") == 0) a.at = argv[at + 1];
        else if (!parse_common(&config, argv[at], argv[at + 1]) &&
                 (strcmp(argv[at], "--timeout") != 0 ||
                  !parse_number(argv[at + 1], 1, A_DAY, &a.timeout_ms)))
            break;
    }
    if (a.at == NULL || at >= argc || strncmp(argv[at], "--", 2) == 0) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--timeout MS] --at PORT|PATH COMMAND..\n",
                argv[0]);
        return 2;
    }
    a.questions = calloc((size_t)(argc - at), sizeof *a.questions);
    if (a.questions == NULL) return 1;
    for (; at < argc; at++) a.questions[a.count++].command = argv[at];

    int64_t r = rt_new(&config, &a.rt, why, sizeof why);
    if (r >= 0) r = rt_block_on(a.rt, ask_all, &a);
    rt_timer_cancel(a.timer);
    rt_free(a.rt);
    if (a.context != NULL) redisAsyncFree(a.context);
    for (int i = 0; i < a.count; i++) {
        struct question *q = &a.questions[i];
        if (q->answer.given && q->answer.result == 0) printf("%s\n", q->text);
        answer_drop(&q->answer);
    }
    answer_drop(&a.connected);
    free(a.questions);
    if (r < 0) fprintf(stderr, "redis_ask: %s %s\n", rt_strerror(r), why);
    return r < 0;
}
