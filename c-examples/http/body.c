/* The body of a request: counted or in chunks, thrown away or sent back. No more of it is held than
 * what was received at once.
 */
#include "http.h"

enum { LINE = 256, FRAME = 32 }; /* the longest line of a chunk; room for the frame of one */

/* The length of a line "SIZE[;EXTENSION]\r\n", whose extension nobody asks for; 0: there is more to
 * come; -1: it is none. */
static ptrdiff_t chunk_line(const char *in, size_t n, uint64_t *size) {
    size_t i = 0;
    *size = 0;
    for (; i < n && hex_digit(in[i]) >= 0; i++) {
        if (i == 15) return -1;
        *size = *size * 16 + (uint64_t)hex_digit(in[i]);
    }
    if (i == n) return 0;
    if (i == 0 || (in[i] != ';' && in[i] != '\r')) return -1;
    for (; i < n && in[i] != '\r'; i++)
        if (i == LINE || ((unsigned char)in[i] < ' ' && in[i] != '\t')) return -1;
    if (i + 1 >= n) return 0;
    return in[i + 1] == '\n' ? (ptrdiff_t)i + 2 : -1;
}

/* The head of the reply goes with the first of the body: until then it may turn into a refusal. */
static void begin_echo(struct conn *c) {
    if (c->begun) return;
    c->begun = true;
    reply_head(c, 200);
    reply_field(c, "Content-Type", "application/octet-stream");
    if (c->chunked) reply_field(c, "Transfer-Encoding", "chunked");
    else reply_length(c, c->left);
    put(c, "\r\n", 2);
}

static void echo(struct conn *c, const char *bytes, size_t n) {
    begin_echo(c);
    if (c->chunked) {
        char size[16], *at = size + sizeof size;
        for (size_t rest = n; rest > 0; rest /= 16) *--at = "0123456789abcdef"[rest % 16];
        put(c, at, (size_t)(size + sizeof size - at));
        put(c, "\r\n", 2);
    }
    put(c, bytes, n);
    if (c->chunked) put(c, "\r\n", 2);
}

static int take_chunk_line(struct conn *c) {
    const ptrdiff_t n = chunk_line(c->block->in + c->at, c->end - c->at, &c->left);
    if (n <= 0) return n == 0 ? MORE : 400;
    c->taken += c->left;
    if (c->taken > server.body_limit) return 413;
    c->at += (size_t)n;
    c->body = c->left > 0 ? CHUNK : TRAILER;
    if (c->left == 0) c->taken = 0;
    return 0;
}

static int take_bytes(struct conn *c) {
    size_t n = c->end - c->at;
    if (n == 0) return MORE;
    if (n > c->left) n = (size_t)c->left;
    if (c->echo) {
        const size_t room = OUT - c->unsent - FRAME - (c->begun ? 0 : ROOM / 2);
        if (n > room) n = room;
        echo(c, c->block->in + c->at, n);
    }
    c->at += n;
    c->left -= n;
    if (c->left == 0) c->body = c->body == CHUNK ? CHUNK_END : NO_BODY;
    return 0;
}

static int take_chunk_end(struct conn *c) {
    if (c->end - c->at < 2) return MORE;
    if (memcmp(c->block->in + c->at, "\r\n", 2) != 0) return 400;
    c->at += 2;
    c->body = CHUNK_LINE;
    return 0;
}

/* Fields after the last chunk are nobody's here. */
static int take_trailer(struct conn *c) {
    const char *line = c->block->in + c->at, *end = memchr(line, '\n', c->end - c->at);
    const size_t n = end == NULL ? c->end - c->at : (size_t)(end - line) + 1;
    if (c->taken + n > TRAILERS) return 431;
    if (end == NULL) return MORE;
    if (n < 2 || end[-1] != '\r') return 400;
    c->taken += n;
    c->at += n;
    if (n > 2) return 0;
    c->body = NO_BODY;
    if (!c->echo) return 0;
    begin_echo(c);
    put_text(c, "0\r\n\r\n");
    return 0;
}

int take_body(struct conn *c) {
    int status = 0;
    while (status == 0 && c->body != NO_BODY && OUT - c->unsent >= ROOM) {
        switch (c->body) {
        case CHUNK_LINE: status = take_chunk_line(c); break;
        case CHUNK_END: status = take_chunk_end(c); break;
        case TRAILER: status = take_trailer(c); break;
        default: status = take_bytes(c); break;
        }
    }
    return status;
}
