/* See resp.h. */
#include "resp.h"

#include <math.h>
#include <stdarg.h>

enum { DIGITS = 32, LINE = 64 * 1024, MOST_ARGUMENTS = 1024 * 1024, MANY_ARGUMENTS = 256 };

/* ---- requests ---- */

void resp_next(struct parser *q) {
    if (q->room > MANY_ARGUMENTS) resp_free(q);
    q->argc = q->at = q->missing = 0;
    q->begun = q->whole = false;
}

void resp_free(struct parser *q) {
    free(q->argv);
    q->argv = NULL;
    q->room = 0;
}

static void move_to(struct parser *q, char *p) {
    if (q->base == (uintptr_t)p) return;
    for (size_t i = 0; i < q->argc; i++) q->argv[i].p = p + ((uintptr_t)q->argv[i].p - q->base);
    q->base = (uintptr_t)p;
}

static void add_argument(struct parser *q, char *p, size_t n) {
    if (q->argc == q->room) {
        q->room = q->room == 0 ? 4 : 2 * q->room;
        q->argv = regrab(q->argv, q->room * sizeof *q->argv);
    }
    q->argv[q->argc++] = (struct span){p, n};
}

static int wrong(struct parser *q, const char *why) {
    q->wrong = why;
    return PARSE_WRONG;
}

/* A line with a kind and a number: the length of an array or of a string. */
static int parse_length(struct parser *q, const char *p, size_t n, int64_t most, const char *why,
                        int64_t *out) {
    size_t i = q->at + 1;
    const bool minus = i < n && p[i] == '-';
    int64_t value = 0;
    for (i += minus; i < n && p[i] >= '0' && p[i] <= '9'; i++)
        if ((value = value * 10 + (p[i] - '0')) > most) return wrong(q, why);
    if (i - q->at > DIGITS) return wrong(q, why); /* zeros before it may go on for ever */
    if (n - i < 2) return i < n && p[i] != '\r' ? wrong(q, why) : PARSE_MORE;
    if (p[i] != '\r' || p[i + 1] != '\n' || i == q->at + 1 + minus) return wrong(q, why);
    *out = minus ? -value : value;
    q->at = i + 2;
    return PARSE_WHOLE;
}

static int parse_array(struct parser *q, char *p, size_t n, size_t most) {
    int64_t length = 0;
    int r;
    if (!q->begun) {
        r = parse_length(q, p, n, MOST_ARGUMENTS, "invalid multibulk length", &length);
        if (r != PARSE_WHOLE) return r;
        q->begun = true;
        q->missing = length < 0 ? 0 : (size_t)length;
    }
    for (; q->missing > 0; q->missing--) {
        const size_t before = q->at;
        if (q->at == n) return PARSE_MORE;
        if (p[q->at] != '$') return wrong(q, "expected '$'");
        r = parse_length(q, p, n, (int64_t)most, "invalid bulk length", &length);
        if (r != PARSE_WHOLE) return r;
        if (length < 0) return wrong(q, "invalid bulk length");
        if (q->at + (size_t)length > most) return wrong(q, "too big request");
        if (n - q->at < (size_t)length + 2) {
            q->at = before;
            return PARSE_MORE;
        }
        add_argument(q, p + q->at, (size_t)length);
        q->at += (size_t)length;
        if (p[q->at] != '\r' || p[q->at + 1] != '\n') return wrong(q, "unterminated string");
        q->at += 2;
    }
    return PARSE_WHOLE;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash between double quotes. */
static char escaped(char **p, const char *end) {
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    char *at = *p;
    if (end - at > 2 && *at == 'x' && digit_of(at[1]) >= 0 && digit_of(at[2]) >= 0) {
        *p += 3;
        return (char)(digit_of(at[1]) * 16 + digit_of(at[2]));
    }
    *p += 1;
    const char *known = *at == '\0' ? NULL : strchr(from, *at);
    return known == NULL ? *at : to[known - from];
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* One word, decoded in its place. False: a quote is not closed, or not followed by a blank. */
static bool parse_word(struct parser *q, char **from, const char *end) {
    char *p = *from, *word = p, *out = p;
    while (p < end && !is_blank(*p)) {
        const char quote = *p;
        if (quote != '"' && quote != '\'') {
            *out++ = *p++;
            continue;
        }
        for (p++; p < end && *p != quote;) {
            if (*p != '\\' || p + 1 == end || (quote == '\'' && p[1] != '\'')) *out++ = *p++;
            else if (quote == '\'') *out++ = '\'', p += 2;
            else p++, *out++ = escaped(&p, end);
        }
        if (p == end || (++p < end && !is_blank(*p))) return false;
    }
    add_argument(q, word, (size_t)(out - word));
    *from = p;
    return true;
}

static int parse_line(struct parser *q, char *p, size_t n) {
    char *newline = memchr(p + q->at, '\n', n - q->at);
    if (newline == NULL) {
        q->at = n;
        return n > LINE ? wrong(q, "too big inline request") : PARSE_MORE;
    }
    for (char *at = p;;) {
        while (at < newline && is_blank(*at)) at++;
        if (at == newline) break;
        if (!parse_word(q, &at, newline)) return wrong(q, "unbalanced quotes in request");
    }
    q->at = (size_t)(newline + 1 - p);
    return PARSE_WHOLE;
}

int resp_parse(struct parser *q, char *p, size_t n, size_t most) {
    move_to(q, p);
    if (q->whole) return PARSE_WHOLE;
    if (n == 0) return PARSE_MORE;
    const int r = *p == '*' ? parse_array(q, p, n, most) : parse_line(q, p, n);
    q->whole = r == PARSE_WHOLE;
    return r;
}

/* ---- replies ---- */

static void add_line(struct bytes *out, char kind, const char *text, size_t n) {
    char *p = bytes_room(out, n + 3);
    *p++ = kind;
    memcpy(p, text, n);
    memcpy(p + n, "\r\n", 2);
    out->n += n + 3;
}

static void add_length(struct bytes *out, char kind, int64_t n) {
    char *p = bytes_room(out, 24);
    p[0] = kind;
    const size_t len = number_text(n, p + 1);
    memcpy(p + 1 + len, "\r\n", 2);
    out->n += len + 3;
}

void reply_status(struct bytes *out, const char *text) { add_line(out, '+', text, strlen(text)); }

void reply_error(struct bytes *out, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++)
        if (*p == '\r' || *p == '\n') *p = ' ';
    add_line(out, '-', text, strlen(text));
}

void reply_number(struct bytes *out, int64_t value) { add_length(out, ':', value); }

void reply_bulk(struct bytes *out, struct span s) {
    add_length(out, '$', (int64_t)s.n);
    char *p = bytes_room(out, s.n + 2);
    memcpy(p, s.p, s.n);
    memcpy(p + s.n, "\r\n", 2);
    out->n += s.n + 2;
}

/* As short as it can be without being another number. */
void reply_double(struct bytes *out, double value) {
    char text[32];
    int n = 0;
    if (isinf(value)) n = snprintf(text, sizeof text, value > 0 ? "inf" : "-inf");
    else if (fabs(value) < 1e15 && value == (double)(int64_t)value)
        n = snprintf(text, sizeof text, "%lld", (long long)value);
    else
        for (int digits = 15; digits <= 17; digits++) {
            n = snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value) break;
        }
    reply_bulk(out, (struct span){text, (size_t)n});
}

void reply_none(struct bytes *out) { bytes_add(out, "$-1\r\n", 5); }

void reply_array(struct bytes *out, size_t n) { add_length(out, '*', (int64_t)n); }

void resp_request(struct bytes *out, const struct span *argv, size_t argc) {
    reply_array(out, argc);
    for (size_t i = 0; i < argc; i++) reply_bulk(out, argv[i]);
}
