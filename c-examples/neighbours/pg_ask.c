/* Asks a PostgreSQL server, each question over a connection of its own, all at once, by libpq.
 *
 * It shows a library that says what it waits for (pg.c), in tasks that any worker may run; and a
 * deadline over each, wherever it is.
 *
 * Usage: pg_ask [--engine auto|epoll|uring] [--workers N] [--timeout 10000] --at CONNINFO QUERY..
 *
 *   --at       such as "host=/run/postgresql dbname=me", as libpq has it.
 *   --timeout  how many milliseconds each question may take.
 *
 * The answers come in the order of the questions: a line for each row, its columns separated by
 * tabs.
 */
#include <stdio.h>

#include <asyncio_await.h>

#include "../options.h"
#include "pg.h"

struct question {
    const char *at, *query;
    struct pg pg;
    PGresult *result;
    char error[256];
    uint64_t until;
    rt_timer timer;
    rt_task task;
    rt_frame frame;
    int64_t r;
};

struct all {
    rt_runtime rt;
    struct question *questions;
    int count, i;
    bool good;
    rt_frame frame;
    int64_t r, n;
};

static int64_t ask(rt_cx *cx, struct question *q) {
    RT_BEGIN(&q->frame);
    RT_AWAIT(q->r, pg_connect(cx, &q->pg, q->at));
    if (q->r == 0) RT_AWAIT(q->r, pg_query(cx, &q->pg, q->query, &q->result));
    RT_END(q->r);
}

static int64_t ask_in_time(rt_cx *cx, void *state) {
    struct question *q = state;
    return rt_poll_deadline(cx, &q->timer, q->until, ask(cx, q));
}

/* What the connection says is gone with it. */
static void drop_question(void *state) {
    struct question *q = state;
    rt_timer_cancel(q->timer);
    snprintf(q->error, sizeof q->error, "%s", PQerrorMessage(q->pg.conn));
    pg_close(&q->pg);
}

static bool show(const struct question *q, int64_t r) {
    const PGresult *result = q->result;
    if (r < 0 || PQresultStatus(result) > PGRES_TUPLES_OK) {
        const char *said = r < 0 ? q->error : PQresultErrorMessage(result);
        if (r < 0) printf("%s%s", rt_strerror(r), *said == '\0' ? "" : ": ");
        printf("%.*s\n", (int)strcspn(said, "\n"), said);
        return false;
    }
    for (int row = 0; row < PQntuples(result); row++)
        for (int column = 0; column < PQnfields(result); column++)
            printf("%s%c", PQgetvalue(result, row, column),
                   column + 1 == PQnfields(result) ? '\n' : '\t');
    return true;
}

static int64_t ask_all(rt_cx *cx, void *state) {
    struct all *a = state;
    RT_BEGIN(&a->frame);
    for (int i = 0; i < a->count; i++) {
        struct question *q = &a->questions[i];
        if ((a->r = rt_spawn(a->rt, ask_in_time, q, drop_question, &q->task)) < 0) RT_RETURN(a->r);
    }
    for (a->i = 0; a->i < a->count; a->i++) {
        RT_AWAIT(a->r, rt_poll_join(cx, a->questions[a->i].task, &a->n));
        if (a->r < 0) RT_RETURN(a->r);
        a->good = show(&a->questions[a->i], a->n) && a->good;
    }
    RT_END(0);
}

int main(int argc, char **argv) {
    struct all a = {.good = true};
    char why[256] = "", *conninfo = NULL;
    uint32_t timeout_ms = 10000;
    rt_config config;
    options_init(&config);
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--at") == 0) conninfo = argv[at + 1];
        else if (!parse_common(&config, argv[at], argv[at + 1]) &&
                 (strcmp(argv[at], "--timeout") != 0 ||
                  !parse_number(argv[at + 1], 1, A_DAY, &timeout_ms)))
            break;
    }
    if (conninfo == NULL || at >= argc || strncmp(argv[at], "--", 2) == 0) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--timeout MS] --at CONNINFO QUERY..\n",
                argv[0]);
        return 2;
    }
    a.questions = calloc((size_t)(argc - at), sizeof *a.questions);
    if (a.questions == NULL) return 1;
    for (uint64_t until = rt_now() + timeout_ms * UINT64_C(1000000); at < argc; at++)
        a.questions[a.count++] =
            (struct question){.at = conninfo, .query = argv[at], .until = until};

    int64_t r = rt_new(&config, &a.rt, why, sizeof why);
    if (r >= 0) r = rt_block_on(a.rt, ask_all, &a);
    rt_free(a.rt);
    for (int i = 0; i < a.count; i++) PQclear(a.questions[i].result);
    free(a.questions);
    if (r < 0) fprintf(stderr, "pg_ask: %s %s\n", rt_strerror(r), why);
    return r < 0 || !a.good;
}
