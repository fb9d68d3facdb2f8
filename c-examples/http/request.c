/* What a head means. Whatever two servers may read differently is refused, since that is how
 * requests are smuggled: two lengths, a length beside chunks, lines that end in a lone LF.
 */
#include <strings.h>

#include "http.h"

bool same(struct slice s, const char *text) {
    return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

static struct slice trimmed(struct slice s) {
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t')) s.at++, s.len--;
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t')) s.len--;
    return s;
}

bool listed(struct slice list, const char *word) {
    while (list.len > 0) {
        const char *comma = memchr(list.at, ',', list.len);
        const size_t len = comma == NULL ? list.len : (size_t)(comma - list.at);
        if (same(trimmed((struct slice){list.at, len}), word)) return true;
        if (comma == NULL) return false;
        list.at += len + 1, list.len -= len + 1;
    }
    return false;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Digits only, and not too many. */
bool number(struct slice s, uint64_t *out) {
    uint64_t n = 0;
    if (s.len == 0 || s.len > 18) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9') return false;
        n = n * 10 + (uint64_t)(s.at[i] - '0');
    }
    *out = n;
    return true;
}

static const struct {
    const char *name;
    size_t len;
} known[KNOWN] = {
#define NAMED(text) {text, sizeof text - 1}
    [HOST] = NAMED("host"),
    [CONTENT_LENGTH] = NAMED("content-length"),
    [TRANSFER_ENCODING] = NAMED("transfer-encoding"),
    [EXPECT] = NAMED("expect"),
    [RANGE] = NAMED("range"),
    [IF_RANGE] = NAMED("if-range"),
    [IF_NONE_MATCH] = NAMED("if-none-match"),
    [IF_MODIFIED_SINCE] = NAMED("if-modified-since"),
    [CONNECTION] = NAMED("connection"),
#undef NAMED
};

/* False: a field that may come once came twice. */
static bool note_field(struct request *q, const struct field *field) {
    for (int i = 0; i < KNOWN; i++) {
        if (field->name.len != known[i].len) continue;
        if (strncasecmp(field->name.at, known[i].name, known[i].len) != 0) continue;
        if (i == CONNECTION) {
            if (listed(field->value, "close")) q->keep = false;
            else if (q->old && listed(field->value, "keep-alive")) q->keep = true;
        }
        if (q->fields[i].at == NULL) q->fields[i] = field->value;
        else if (i <= TRANSFER_ENCODING) return false;
        return true;
    }
    return true;
}

static int understand_body(struct request *q) {
    const struct slice length = q->fields[CONTENT_LENGTH], coding = q->fields[TRANSFER_ENCODING];
    if (coding.at != NULL) {
        if (length.at != NULL || q->old) return 400;
        if (!same(coding, "chunked")) return 501;
        q->body = CHUNK_LINE;
    } else if (length.at != NULL) {
        if (!number(length, &q->length)) return 400;
        if (q->length > 0) q->body = COUNTED;
    }
    const struct slice expect = q->fields[EXPECT];
    if (expect.at == NULL || q->old) return 0;
    if (!same(expect, "100-continue")) return 417;
    q->expects = q->body != NO_BODY;
    return 0;
}

/* "/path?query", "http://host/path?query", and "*" for OPTIONS. */
static int understand_target(struct request *q, struct slice target) {
    if (target.len > TARGET - 16) return 414; /* "index.html" may come to it */
    if (target.len > 0 && target.at[0] != '/' && target.at[0] != '*') {
        const char *end = target.at + target.len, *host = memchr(target.at, ':', target.len);
        if (host == NULL || end - host < 3 || memcmp(host, "://", 3) != 0) return 400;
        host += 3;
        const char *path = memchr(host, '/', (size_t)(end - host));
        target = path == NULL ? (struct slice){"/", 1} : (struct slice){path, (size_t)(end - path)};
    }
    const char *query = memchr(target.at, '?', target.len);
    q->path = (struct slice){target.at, query == NULL ? target.len : (size_t)(query - target.at)};
    return 0;
}

/* Methods are told apart by case. */
static int understand_method(struct request *q, struct slice method) {
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
                                        "TRACE", "CONNECT"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        if (method.len != strlen(names[i])) continue;
        if (memcmp(method.at, names[i], method.len) != 0) continue;
        q->method = i < OTHER_METHOD ? (enum method)i : OTHER_METHOD;
        return i == 8 ? 501 : 0; /* the target of CONNECT is none that is served here */
    }
    return 501;
}

int understand(const struct head *head, struct request *q) {
    memset(q, 0, sizeof *q);
    q->old = head->minor == 0;
    q->keep = !q->old;
    int status = understand_method(q, head->method);
    for (int i = 0; i < head->count; i++)
        if (!note_field(q, &head->fields[i])) return 400;
    if (q->fields[HOST].at == NULL && !q->old) return 400;
    if (status == 0) status = understand_body(q);
    if (status == 0) status = understand_target(q, head->target);
    return status;
}
