/* Files, whole or a range of them. They are opened by an operation, since a disk may take its time;
 * the first bytes leave with the head, and the rest goes from the page cache to the socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "http.h"

/* At once: more would keep the thread's other connections waiting. */
#define PIECE (256 * 1024)

/* ---- the path ---- */

/* 0, and the path below the root, or a status. Names that begin with a dot are nobody's
 * business, "." and ".." among them; nor may one be empty, lest the path be absolute. */
static int decode_path(struct slice from, char *to) {
    size_t n = 0;
    for (size_t i = 0; i < from.len; i++) {
        char c = from.at[i];
        if (c == '%') {
            const int high = from.len - i < 3 ? -1 : hex_digit(from.at[i + 1]);
            const int low = high < 0 ? -1 : hex_digit(from.at[i + 2]);
            if (low < 0) return 400;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0') return 400;
        if ((c == '.' || c == '/') && (n == 0 || to[n - 1] == '/')) return 404;
        to[n++] = c;
    }
    if (n == 0 || to[n - 1] == '/') {
        memcpy(to + n, "index.html", 10);
        n += 10;
    }
    to[n] = '\0';
    return 0;
}

static const char *type_of(const char *path) {
    static const char *const types[][2] = {
        {"html", "text/html; charset=utf-8"}, {"css", "text/css"},
        {"js", "text/javascript"},            {"json", "application/json"},
        {"txt", "text/plain; charset=utf-8"}, {"md", "text/plain; charset=utf-8"},
        {"svg", "image/svg+xml"},             {"png", "image/png"},
        {"jpg", "image/jpeg"},                {"gif", "image/gif"},
        {"ico", "image/x-icon"},              {"pdf", "application/pdf"},
        {"wasm", "application/wasm"},         {"c", "text/plain; charset=utf-8"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot + 1, types[i][0]) == 0) return types[i][1];
    return "application/octet-stream";
}

/* ---- the head ---- */

struct version {
    char etag[48], date[32];
    time_t modified;
};

static struct version version_of(const struct stat *st) {
    struct version v = {.modified = st->st_mtim.tv_sec};
    snprintf(v.etag, sizeof v.etag, "\"%" PRIx64 ".%lx-%" PRIx64 "\"", (uint64_t)st->st_mtim.tv_sec,
             st->st_mtim.tv_nsec, (uint64_t)st->st_size);
    http_date(v.modified, v.date, sizeof v.date);
    return v;
}

static bool parse_date(struct slice s, time_t *out) {
    char text[32];
    struct tm tm = {0};
    if (s.at == NULL || s.len >= sizeof text) return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0') return false;
    *out = timegm(&tm);
    return true;
}

/* The client has it: this comparison is the weak one, so that a cache's "W/" does not matter. */
static bool unchanged(const struct request *q, const struct version *v) {
    const struct slice tags = q->fields[IF_NONE_MATCH], since = q->fields[IF_MODIFIED_SINCE];
    time_t then;
    if (tags.at == NULL) return parse_date(since, &then) && v->modified <= then;
    char weak[sizeof v->etag + 2] = "W/";
    strcat(weak, v->etag);
    return same(tags, "*") || listed(tags, v->etag) || listed(tags, weak);
}

/* 200: all of it; 206: `*first` to `*last`; 416. What is no range, or several, is nobody's: all
 * of it. */
static int range(const struct request *q, const struct version *v, uint64_t size, uint64_t *first,
                 uint64_t *last) {
    struct slice r = q->fields[RANGE];
    const struct slice condition = q->fields[IF_RANGE];
    if (r.at == NULL || q->method != GET) return 200;
    if (condition.at != NULL && !same(condition, v->etag) && !same(condition, v->date)) return 200;
    if (r.len < 7 || !same((struct slice){r.at, 6}, "bytes=")) return 200;
    r.at += 6, r.len -= 6;
    const char *dash = memchr(r.at, '-', r.len);
    if (dash == NULL) return 200;
    const struct slice from = {r.at, (size_t)(dash - r.at)},
                       to = {dash + 1, r.len - from.len - 1};
    uint64_t n;
    *last = size - 1;
    if (from.len == 0) {
        if (!number(to, &n)) return 200;
        if (n == 0 || size == 0) return 416;
        *first = n < size ? size - n : 0;
        return 206;
    }
    if (!number(from, first)) return 200;
    if (to.len > 0) {
        if (!number(to, &n) || n < *first) return 200;
        if (n < size) *last = n;
    }
    return *first < size ? 206 : 416;
}

static void file_head(struct conn *c, const struct stat *st) {
    const struct request *q = &c->block->request;
    const struct version v = version_of(st);
    const uint64_t size = (uint64_t)st->st_size;
    uint64_t first = 0, last = size - 1;
    char text[80];
    const int status = unchanged(q, &v) ? 304 : range(q, &v, size, &first, &last);
    reply_head(c, status);
    reply_field(c, "ETag", v.etag);
    reply_field(c, "Last-Modified", v.date);
    reply_field(c, "Accept-Ranges", "bytes");
    c->rest = 0;
    if (status == 416) {
        snprintf(text, sizeof text, "bytes */%" PRIu64, size);
        reply_field(c, "Content-Range", text);
        reply_length(c, 0);
    } else if (status != 304) {
        if (status == 206) {
            snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last,
                     size);
            reply_field(c, "Content-Range", text);
        } else {
            last = size - 1;
            first = 0;
        }
        c->offset = (int64_t)first;
        c->rest = size == 0 ? 0 : last - first + 1;
        reply_field(c, "Content-Type", type_of(c->block->path));
        reply_length(c, c->rest);
        if (c->bare) c->rest = 0;
    }
    put(c, "\r\n", 2);
}

/* ---- the bytes ---- */

static size_t to_read(const struct conn *c) {
    const size_t room = OUT - c->unsent;
    return c->rest < room ? (size_t)c->rest : room;
}

static void took(struct conn *c, int64_t n) {
    c->unsent += (size_t)n;
    c->offset += n;
    c->rest -= (uint64_t)n;
}

/* What is in the page cache, as most is. An error says that it is to be read in another way. */
static int64_t read_cached(struct conn *c) {
    const struct iovec iov = {c->block->out + c->unsent, to_read(c)};
    const ssize_t n = preadv2((int)rt_io_fd(c->file), &iov, 1, c->offset, RWF_NOWAIT);
    return n < 0 ? -errno : n;
}

static int64_t send_piece(int fd, void *state) {
    struct conn *c = state;
    const size_t most = c->rest < PIECE ? (size_t)c->rest : PIECE;
    const ssize_t n = sendfile(fd, (int)rt_io_fd(c->file), &c->offset, most);
    if (n < 0) return -errno;
    c->rest -= (uint64_t)n;
    count(&me.bytes, (uint64_t)n);
    return n;
}

static int64_t send_bytes(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->bytes_part);
    c->r = read_cached(c);
    if (c->r < 0)
        RT_AWAIT_OP(c->r, cx, c->opening,
                    rt_submit_read(cx, c->file, c->block->out + c->unsent, to_read(c),
                                   (uint64_t)c->offset, &c->opening));
    /* Nothing, before its end: it was cut short meanwhile. Its length is promised already. */
    if (c->r <= 0) RT_RETURN(c->r < 0 ? c->r : -EIO);
    took(c, c->r);
    while (c->rest > 0) {
        RT_AWAIT(c->r, flush(cx, c));
        if (c->r < 0) RT_RETURN(c->r);
        RT_AWAIT(c->r, rt_poll_try(cx, c->io, RT_WRITABLE, send_piece, c));
        if (c->r <= 0) RT_RETURN(c->r < 0 ? c->r : -EIO);
    }
    RT_END(0);
}

static int status_of(int64_t r) {
    switch (r) {
    case -ENOENT:
    case -ENOTDIR:
    case -ENXIO:
    case -ELOOP:
    case -ENAMETOOLONG: return 404;
    case -EACCES:
    case -EPERM: return 403;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM: return 503;
    default: return 500;
    }
}

static void close_file(struct conn *c) {
    rt_close(c->file);
    c->file = 0;
}

int64_t serve_file(rt_cx *cx, struct conn *c) {
    struct stat st;
    RT_BEGIN(&c->file_part);
    c->status = decode_path((struct slice){c->block->request.path.at + 7,
                                           c->block->request.path.len - 7}, c->block->path);
    if (c->status != 0) {
        refuse(c, c->status);
        RT_RETURN(0);
    }
    /* A FIFO must not be waited for. */
    RT_AWAIT_OP(c->r, cx, c->opening,
                rt_submit_openat(cx, server.root, c->block->path,
                                 O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &c->opening));
    if (c->r < 0) {
        refuse(c, status_of(c->r));
        RT_RETURN(0);
    }
    c->file = (rt_io)c->r;
    if (fstat((int)rt_io_fd(c->file), &st) < 0 || !S_ISREG(st.st_mode)) {
        close_file(c);
        refuse(c, 404);
        RT_RETURN(0);
    }
    file_head(c, &st);
    if (c->rest > 0) RT_AWAIT(c->r, send_bytes(cx, c));
    close_file(c);
    RT_END(c->r < 0 ? c->r : 0);
}
