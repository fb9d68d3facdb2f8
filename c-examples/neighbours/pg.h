/* libpq in this loop. It has no callbacks: it says what it waits for, and is called again; so its
 * connection is a coroutine's, and its task may move from worker to worker. */
#ifndef PG_H
#define PG_H

#include <libpq-fe.h>

#include <asyncio_await.h>

/* Zero at first. */
struct pg {
    PGconn *conn; /* PQerrorMessage says what went wrong */
    rt_io io;
    rt_frame frame;
    uint32_t wants;
    rt_ready ready;
    int64_t r;
    PostgresPollingStatusType status;
    PGresult *result;
};

/* Awaitable: connects. 0; -ECONNREFUSED if that cannot be, for whatever reason. A host that is a
 * name is looked up by a call that blocks: give `hostaddr`, or a directory of Unix sockets. */
int64_t pg_connect(rt_cx *cx, struct pg *p, const char *conninfo);

/* Awaitable: one query. 0, with what came in *out, which PQclear frees, be it an error of the
 * server's; of several results the last. -ECONNRESET without a connection; -EOPNOTSUPP for a COPY,
 * after which the connection is good for nothing. */
int64_t pg_query(rt_cx *cx, struct pg *p, const char *query, PGresult **out);

/* Ends the connection, wherever it is; also of a zeroed one. For drop functions, too. After a
 * deadline that came in the midst of a call nothing else is possible. */
void pg_close(struct pg *p);

#endif
