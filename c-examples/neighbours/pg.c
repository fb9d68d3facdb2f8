#include <errno.h>
#include <stdbool.h>

#include "pg.h"

static int64_t watch(rt_cx *cx, struct pg *p) {
    const uint32_t flags = RT_READABLE | RT_WRITABLE | RT_IO_BORROWED;
    return rt_register_fd(rt_cx_runtime(cx), PQsocket(p->conn), flags, &p->io);
}

static void unwatch(struct pg *p) {
    rt_deregister(p->io);
    p->io = 0;
}

/* PQconnectPoll may close its socket and make another, for the next address or without encryption,
 * of the same number even. So none is registered while it is called. */
int64_t pg_connect(rt_cx *cx, struct pg *p, const char *conninfo) {
    RT_BEGIN(&p->frame);
    if ((p->conn = PQconnectStart(conninfo)) == NULL) RT_RETURN(-ENOMEM);
    if (PQstatus(p->conn) == CONNECTION_BAD) RT_RETURN(-ECONNREFUSED);
    for (p->status = PGRES_POLLING_WRITING; p->status != PGRES_POLLING_OK;
         p->status = PQconnectPoll(p->conn)) {
        if (p->status == PGRES_POLLING_FAILED) RT_RETURN(-ECONNREFUSED);
        p->wants = p->status == PGRES_POLLING_READING ? RT_READABLE : RT_WRITABLE;
        if ((p->r = watch(cx, p)) < 0) RT_RETURN(p->r);
        RT_AWAIT(p->r, rt_poll_level(cx, p->io, p->wants, &p->ready));
        unwatch(p);
        if (p->r < 0) RT_RETURN(p->r);
    }
    if (PQsetnonblocking(p->conn, 1) != 0) RT_RETURN(-EIO);
    RT_END(watch(cx, p));
}

/* A COPY has another end than queries have. */
static bool is_copy(const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

int64_t pg_query(rt_cx *cx, struct pg *p, const char *query, PGresult **out) {
    RT_BEGIN(&p->frame);
    if (PQsendQuery(p->conn, query) != 1) RT_RETURN(-ECONNRESET);
    /* A server that has much to say does not listen meanwhile: so who sends must read, too. */
    for (;;) {
        int left = PQflush(p->conn);
        if (left < 0) RT_RETURN(-ECONNRESET);
        if (left == 0 && !PQisBusy(p->conn)) {
            PGresult *next = PQgetResult(p->conn);
            if (next == NULL) break;
            PQclear(p->result);
            p->result = next;
            if (is_copy(next)) RT_RETURN(-EOPNOTSUPP);
            continue;
        }
        p->wants = left == 0 ? RT_READABLE : RT_READABLE | RT_WRITABLE;
        RT_AWAIT(p->r, rt_poll_level(cx, p->io, p->wants, &p->ready));
        if (p->r < 0) RT_RETURN(p->r);
        if (p->ready.bits & ~RT_WRITABLE && PQconsumeInput(p->conn) != 1) RT_RETURN(-ECONNRESET);
    }
    *out = p->result;
    p->result = NULL;
    RT_END(0);
}

void pg_close(struct pg *p) {
    unwatch(p);
    PQclear(p->result);
    PQfinish(p->conn);
    p->conn = NULL, p->result = NULL;
}
