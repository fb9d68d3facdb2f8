/* What the parts of http_server share. A request's way: connection.c receives it, request.c says
 * what it wants, reply.c and file.c answer it, body.c takes its body.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <asyncio_await.h>

enum {
    IN = 16 * 1024,  /* the longest head */
    OUT = 16 * 1024, /* replies leave when so much is there, or when nothing else is to do */
    ROOM = 4 * 1024, /* enough for any reply but the bytes of a file or a body */
    TARGET = 8 * 1024,
    FIELDS = 64,
    TRAILERS = 4 * 1024,
};

struct slice {
    const char *at;
    size_t len;
};

struct field {
    struct slice name, value;
};

struct head {
    struct slice method, target;
    int minor, count;
    struct field fields[FIELDS];
};

/* c-examples/httparse: the length of the head that `bytes` begin with; 0: it is not complete;
 * -1: it is none; -2: too many fields; -3: of another version. What it finds is slices of
 * `bytes`. */
ptrdiff_t http_parse(const char *bytes, size_t len, struct head *out);

enum method { GET, HEAD, POST, OTHER_METHOD };

enum known { HOST, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, RANGE, IF_RANGE, IF_NONE_MATCH,
             IF_MODIFIED_SINCE, CONNECTION, KNOWN };

/* How a body is framed. */
enum body { NO_BODY, COUNTED, CHUNK_LINE, CHUNK, CHUNK_END, TRAILER };

struct request {
    enum method method;
    enum body body;
    bool old;  /* HTTP/1.0 */
    bool keep; /* the connection, after this */
    bool expects; /* to be told to go on */
    uint64_t length;
    struct slice path; /* without the query */
    struct slice fields[KNOWN];
};

/* What a connection needs while it has something to do, and an idle one does not hold. */
struct block {
    struct block *next;
    struct head head;
    struct request request;
    char path[TARGET];
    char in[IN], out[OUT];
};

/* What each thread has for itself. The counters are read by others. */
struct worker {
    struct worker *next;
    _Atomic uint64_t requests, bytes;
    struct block *spare;
    int spares;
    time_t second;
    char date[32];
};
extern _Thread_local struct worker me;

struct server {
    rt_runtime rt;
    rt_io root; /* the directory with the files, or 0 */
    rt_server server;
    uint32_t body_limit;       /* bytes */
    uint32_t head_ms, body_ms; /* in which a head, and a body, must have come */
    atomic_bool going;         /* set before the server is stopped */
};
extern struct server server;

struct conn {
    rt_frame frame, part, body_part, file_part, bytes_part; /* a level each */
    rt_io io;
    struct block *block;
    size_t at, end;         /* of what was received and not used, in block->in */
    size_t unsent, sent;    /* of block->out: how much there is, and how much of it went */
    size_t reply;           /* where the last reply begins in it; GONE once some of it was sent */
    size_t unread;          /* bytes that the peer may still send when all is said */
    rt_timer timer;
    uint64_t until;
    int64_t r;
    int status;   /* what to refuse the request with, or 0; or MORE */
    bool asked;   /* to be woken when the server drains */
    bool keep;    /* the connection, after this request */
    bool linger;  /* before it is closed: the peer may be sending still */
    bool old;     /* the request is HTTP/1.0 */
    bool bare;    /* the reply has no body, as that to HEAD */
    bool echo;    /* the request's body is the reply's */
    bool begun;   /* ..., whose head is written */
    bool chunked; /* the request's body */

    enum body body; /* what is expected of it next */
    uint64_t left;  /* of the body, or of its chunk */
    uint64_t taken; /* of a chunked body, and then of its trailers */

    rt_io file;
    rt_op opening;
    int64_t offset; /* of what is to be sent of it next */
    uint64_t rest;
};
#define GONE SIZE_MAX
enum { MORE = -1 };

/* ---- connection.c ---- */

int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task);
int64_t flush(rt_cx *cx, struct conn *c);
void worker_start(void *arg);
void worker_stop(void *arg);
void count_all(uint64_t *requests, uint64_t *bytes);

/* Counters that only their own thread changes. */
static inline void count(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- request.c ---- */

/* 0, or the status to refuse the request with. */
int understand(const struct head *head, struct request *out);
bool same(struct slice s, const char *text); /* regardless of case */
bool listed(struct slice list, const char *word);
bool number(struct slice s, uint64_t *out);
int hex_digit(char c); /* or -1 */

/* ---- reply.c ---- */

static inline void put(struct conn *c, const void *bytes, size_t n) {
    memcpy(c->block->out + c->unsent, bytes, n);
    c->unsent += n;
}
static inline void put_text(struct conn *c, const char *text) { put(c, text, strlen(text)); }
void put_number(struct conn *c, uint64_t n);

void reply_head(struct conn *c, int status);
void reply_field(struct conn *c, const char *name, const char *value);
void reply_length(struct conn *c, uint64_t length);
void reply_text(struct conn *c, const char *type, const char *text, size_t len);
void refuse(struct conn *c, int status);
/* A refusal that may come when a reply has begun. False: it has left, at least in part. */
bool refuse_instead(struct conn *c, int status);
void http_date(time_t at, char *out, size_t len);

/* ---- body.c ---- */

/* Takes what there is of the body. 0: that was its end, or replies must leave first; MORE: all
 * that was there is taken; or a status. */
int take_body(struct conn *c);

/* ---- file.c ---- */

int64_t serve_file(rt_cx *cx, struct conn *c);

/* ---- routes.c ---- */

/* The request's body is wanted. */
bool is_echo(const struct request *q);
/* Answers, or begins to. True: it is for serve_file to do. */
bool route(struct conn *c);

/* ---- demo.c ---- */

int64_t demo(rt_cx *cx, const char *host, uint16_t port, const char *address);

#endif
