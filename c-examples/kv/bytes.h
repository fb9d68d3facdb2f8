/* Bytes: some that are somebody else's, some that grow, and the memory of both.
 *
 * Memory that cannot be had ends the program: what was acknowledged under `--appendfsync always` is
 * in the log, and nothing half done is left that could be acted on. */
#ifndef KV_BYTES_H
#define KV_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct span {
    char *p;
    size_t n;
};

struct bytes {
    char *p;
    size_t n, room;
};

#define TEXT(literal) ((struct span){(char *)(uintptr_t)(literal), sizeof(literal) - 1})

static inline void *regrab(void *old, size_t size) {
    void *p = realloc(old, size);
    if (p != NULL) return p;
    fprintf(stderr, "kv_server: out of memory (%zu bytes)\n", size);
    _Exit(1);
}

static inline void *grab(size_t size) { return regrab(NULL, size); }

/* Makes room for `n` more bytes, and returns where they go. */
static inline char *bytes_room(struct bytes *b, size_t n) {
    if (b->room - b->n < n) {
        b->room = b->n + n > 2 * b->room ? b->n + n : 2 * b->room;
        b->p = regrab(b->p, b->room);
    }
    return b->p + b->n;
}

static inline void bytes_add(struct bytes *b, const void *p, size_t n) {
    if (n == 0) return;
    memcpy(bytes_room(b, n), p, n);
    b->n += n;
}

static inline void bytes_free(struct bytes *b) {
    free(b->p);
    *b = (struct bytes){0};
}

/* Of a constant, which nobody writes to. */
static inline struct span text_span(const char *text) {
    return (struct span){(char *)(uintptr_t)text, strlen(text)};
}

static inline bool span_is(struct span a, struct span b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Letters of either case; `name` has only small ones. */
static inline bool span_says(struct span s, const char *name) {
    size_t i = 0;
    for (; i < s.n && name[i] != '\0'; i++) {
        char c = s.p[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != name[i]) return false;
    }
    return i == s.n && name[i] == '\0';
}

/* A whole decimal number with an optional minus and nothing around it, as redis has them: no plus,
 * no leading zeros. */
static inline bool span_number(struct span s, int64_t *out) {
    size_t i = s.n > 0 && s.p[0] == '-';
    const bool minus = i == 1;
    if (s.n - i == 0 || s.n - i > 19) return false;
    if (s.p[i] == '0' && (minus || s.n > 1)) return false;
    uint64_t v = 0;
    for (; i < s.n; i++) {
        const unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9) return false;
        v = v * 10 + digit; /* 19 digits fit */
    }
    if (v > (uint64_t)INT64_MAX + minus) return false;
    *out = (int64_t)(minus ? 0 - v : v);
    return true;
}

/* Writes a number; returns how long it is. 20 bytes are enough. */
static inline size_t number_text(int64_t value, char *out) {
    char digits[20];
    size_t n = 0, len = 0;
    uint64_t v = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    if (value < 0) out[len++] = '-';
    while (n > 0) out[len++] = digits[--n];
    return len;
}

#endif
