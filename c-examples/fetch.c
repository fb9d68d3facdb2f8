/* Fetches one document by HTTP/1.0, and writes it to stdout.
 *
 * It shows
 *   - connecting by name, to the first of the addresses that answers;
 *   - a buffered stream: lines, then whatever comes; a request in pieces, which go out together;
 *   - one deadline over all of it, and what is released when it strikes anywhere.
 *
 * Usage: fetch [--engine auto|epoll|uring] [--workers N] [--timeout 10000] HOST[:PORT][/PATH]
 *
 *   --timeout  how many milliseconds all of it may take.
 *
 * Try it: build/c-examples/fetch example.com/
 * The status is 0 if the server said 200 and sent all that it promised. Else stderr has the reason.
 */
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include <asyncio_await.h>

#include "options.h"

struct fetch {
    char host[256]; /* as it was said: HOST[:PORT], an address with colons [in brackets] */
    char name[256]; /* without these */
    uint16_t port;
    const char *path;
    uint32_t timeout_ms;
    uint64_t at; /* the deadline */
    rt_timer timer;

    rt_op connecting;
    rt_io io;
    rt_stream stream;
    uint64_t promised, came;
    char status[256]; /* the first line of the answer */

    rt_frame frame, ask_frame, read_frame, body_frame;
    int64_t r, n;
    size_t i, len;
    const void *at_line;
};

/* The first read that would wait sends what was written. `request` is made anew by each poll. */
static int64_t ask(rt_cx *cx, struct fetch *f) {
    const char *request[] = {"GET ", f->path, " HTTP/1.0\r\nHost: ", f->host, "\r\n\r\n", NULL};
    RT_BEGIN(&f->ask_frame);
    for (f->i = 0; request[f->i] != NULL; f->i++) {
        RT_AWAIT(f->n, rt_poll_stream_write(cx, f->stream, request[f->i], strlen(request[f->i])));
        if (f->n < 0) RT_RETURN(f->n);
    }
    RT_END(0);
}

/* What is no number says nothing. (strtoull would look for one beyond the line.) One that is too
 * large for a number is a promise as well, though nobody can keep it. */
static uint64_t parse_length(const char *text) {
    text += strspn(text, " \t");
    if (*text < '0' || *text > '9') return UINT64_MAX;
    const uint64_t length = strtoull(text, NULL, 10);
    return length < UINT64_MAX ? length : UINT64_MAX - 1;
}

static bool says_ok(const char *status) {
    return strncmp(status, "HTTP/1.", 7) == 0 && strncmp(status + 8, " 200", 4) == 0 &&
           (status[12] == ' ' || status[12] == '\0');
}

/* Lines up to the empty one. Each is the stream's memory, and ends with its '\n'. */
static int64_t read_head(rt_cx *cx, struct fetch *f) {
    static const char length[] = "Content-Length:";
    RT_BEGIN(&f->read_frame);
    for (;;) {
        RT_AWAIT(f->n, rt_poll_read_until(cx, f->stream, '\n', &f->at_line, &f->len));
        if (f->n < 0) RT_RETURN(f->n);
        const char *line = f->at_line;
        if (f->n == 0 || line[f->len - 1] != '\n') RT_RETURN(-ENODATA);
        if (strcspn(line, "\r\n") == 0) RT_RETURN(0);
        if (f->status[0] == '\0')
            snprintf(f->status, sizeof f->status, "%.*s", (int)strcspn(line, "\r\n"), line);
        else if (strncasecmp(line, length, sizeof length - 1) == 0)
            f->promised = parse_length(line + sizeof length - 1);
    }
    RT_END(0);
}

/* Up to the end, which is a good one if no length was promised, or so much came. */
static int64_t copy_body(rt_cx *cx, struct fetch *f) {
    RT_BEGIN(&f->body_frame);
    while (f->came < f->promised) {
        RT_AWAIT(f->n, rt_poll_fill(cx, f->stream, 1, &f->at_line, &f->len));
        if (f->n < 0) RT_RETURN(f->n);
        if (f->n == 0) RT_RETURN(f->promised == UINT64_MAX ? 0 : -ENODATA);
        if (f->len > f->promised - f->came) f->len = (size_t)(f->promised - f->came);
        if (fwrite(f->at_line, 1, f->len, stdout) < f->len) RT_RETURN(-EIO);
        rt_stream_consume(f->stream, f->len);
        f->came += f->len;
    }
    RT_END(0);
}

static int64_t converse(rt_cx *cx, struct fetch *f) {
    RT_BEGIN(&f->frame);
    RT_AWAIT(f->r, rt_poll_tcp_connect(cx, &f->connecting, f->name, f->port, NULL, &f->io));
    if (f->r == 0) f->r = rt_stream_new(f->io, NULL, &f->stream);
    if (f->r < 0) RT_RETURN(f->r);

    RT_AWAIT(f->r, ask(cx, f));
    if (f->r == 0) RT_AWAIT(f->r, read_head(cx, f));
    if (f->r == 0) RT_AWAIT(f->r, copy_body(cx, f));
    RT_END(f->r);
}

/* A deadline over a coroutine: where it was does not matter, since `release` looks at the state. */
static int64_t fetch(rt_cx *cx, void *state) {
    struct fetch *f = state;
    return rt_poll_deadline(cx, &f->timer, f->at, converse(cx, f));
}

/* Zero handles may be released too. An attempt to connect ended with its task. */
static void release(struct fetch *f) {
    rt_timer_cancel(f->timer);
    rt_stream_free(f->stream);
    rt_close(f->io);
}

static bool parse_target(struct fetch *f, const char *target) {
    uint32_t port = 80;
    f->path = strchr(target, '/');
    size_t len = f->path == NULL ? strlen(target) : (size_t)(f->path - target);
    if (f->path == NULL) f->path = "/";
    if (len == 0 || len >= sizeof f->host) return false;
    memcpy(f->host, target, len);
    bool bracketed = f->host[0] == '[';
    const char *name = f->host + bracketed, *end = name + strcspn(name, bracketed ? "]" : ":");
    memcpy(f->name, name, (size_t)(end - name));
    if (bracketed && *end++ == '\0') return false;
    if (*end != '\0' && (*end != ':' || !parse_number(end + 1, 1, 65535, &port))) return false;
    f->port = (uint16_t)port;
    return f->name[0] != '\0';
}

int main(int argc, char **argv) {
    struct fetch f = {.timeout_ms = 10000, .promised = UINT64_MAX};
    char why[256] = "";
    rt_runtime rt = 0;
    rt_config config;
    options_init(&config);
    bool good = argc % 2 == 0 && parse_target(&f, argv[argc - 1]);
    for (int i = 1; good && i < argc - 1; i += 2)
        good = parse_common(&config, argv[i], argv[i + 1]) ||
               (strcmp(argv[i], "--timeout") == 0 &&
                parse_number(argv[i + 1], 1, A_DAY, &f.timeout_ms));
    if (!good) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--timeout MS] HOST[:PORT][/PATH]\n", argv[0]);
        return 2;
    }
    f.at = rt_now() + f.timeout_ms * UINT64_C(1000000);
    int64_t r = rt_new(&config, &rt, why, sizeof why);
    if (r == 0) r = rt_block_on(rt, fetch, &f);
    release(&f);
    rt_free(rt);
    if (r == 0 && fflush(stdout) != 0) r = -EIO;
    if (r < 0) fprintf(stderr, "fetch: %s: %s\n", rt == 0 ? why : f.host, rt_strerror(r));
    else if (!says_ok(f.status))
        fprintf(stderr, "fetch: %s: %s\n", f.host, f.status), r = -1;
    return r < 0;
}
