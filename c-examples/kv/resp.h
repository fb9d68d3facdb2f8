/* The protocol: requests as arrays of strings or as lines, and the five kinds of replies. */
#ifndef KV_RESP_H
#define KV_RESP_H

#include "bytes.h"

struct parser {
    struct span *argv;
    size_t argc, room;
    uintptr_t base; /* where the request was the last time */
    size_t at;      /* how much of the request was looked at */
    size_t missing; /* arguments that are still to come */
    bool begun, whole;
    const char *wrong; /* why it is no request */
};

enum { PARSE_MORE, PARSE_WHOLE, PARSE_WRONG };

/* Goes on with the request at `p`, of which `n` bytes are there; it may have been moved, and what
 * was looked at is not looked at again. A whole one is in `argv`, pointing into `p`, and `at`
 * long, which is `most` at most. A request may be empty. A line is decoded in its place. */
int resp_parse(struct parser *q, char *p, size_t n, size_t most);

/* Forgets the request. */
void resp_next(struct parser *q);

void resp_free(struct parser *q);

void reply_status(struct bytes *out, const char *text);
void reply_error(struct bytes *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_number(struct bytes *out, int64_t value);
void reply_bulk(struct bytes *out, struct span s);
void reply_double(struct bytes *out, double value);
void reply_none(struct bytes *out);  /* no string */
void reply_array(struct bytes *out, size_t n); /* n replies follow */

/* As a request. */
void resp_request(struct bytes *out, const struct span *argv, size_t argc);

#endif
