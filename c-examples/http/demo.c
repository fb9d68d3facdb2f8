/* What the server looks like from outside: a client in the server's own runtime, which asks it
 * for a few things and prints what comes back.
 */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "http.h"

static const struct {
    const char *as, *method, *path, *more; /* as curl would be told */
} shows[] = {
    {"curl -i", "GET", "/hello", "\r\n"},
    {"curl -i -d 'some words'", "POST", "/echo", "Content-Length: 10\r\n\r\nsome words"},
    {"curl -i -r 2-11", "GET", "/files/README.md", "Range: bytes=2-11\r\n\r\n"},
    {"curl -i", "GET", "/files/../etc/passwd", "\r\n"},
};

static struct {
    rt_frame frame, part;
    rt_op connecting;
    rt_io io;
    rt_stream stream;
    size_t show;
    char request[512];
    const void *at;
    size_t len;
    uint64_t body;
    int64_t r;
} client;

static void ask(const char *address) {
    const char *path = shows[client.show].path, *more = shows[client.show].more;
    printf("\n$ %s http://%s%s\n", shows[client.show].as, address, path);
    client.len = (size_t)snprintf(client.request, sizeof client.request,
                                  "%s %s HTTP/1.1\r\nHost: %s\r\n%s", shows[client.show].method,
                                  path, address, more);
    client.body = 0;
}

/* False: that was the empty line, after which the body comes. */
static bool show_line(const char *line, size_t len) {
    static const char length[] = "Content-Length: ";
    const size_t n = sizeof length - 1;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) len--;
    printf("  %.*s\n", (int)len, line);
    if (len > n && strncasecmp(line, length, n) == 0)
        number((struct slice){line + n, len - n}, &client.body);
    return len > 0;
}

static int64_t show_answer(rt_cx *cx) {
    RT_BEGIN(&client.part);
    do {
        RT_AWAIT(client.r, rt_poll_read_until(cx, client.stream, '\n', &client.at, &client.len));
        if (client.r <= 0) RT_RETURN(client.r < 0 ? client.r : -ENODATA);
    } while (show_line(client.at, client.len));
    if (client.body == 0) RT_RETURN(0);
    RT_AWAIT(client.r, rt_poll_fill(cx, client.stream, client.body, &client.at, &client.len));
    if (client.r < (int64_t)client.body) RT_RETURN(client.r < 0 ? client.r : -ENODATA);
    printf("  %.*s", (int)client.body, (const char *)client.at);
    if (((const char *)client.at)[client.body - 1] != '\n') putchar('\n');
    RT_END(rt_stream_consume(client.stream, client.body));
}

int64_t demo(rt_cx *cx, const char *host, uint16_t port, const char *address) {
    RT_BEGIN(&client.frame);
    RT_AWAIT(client.r,
             rt_poll_tcp_connect(cx, &client.connecting, host, port, NULL, &client.io));
    if (client.r >= 0) client.r = rt_stream_new(client.io, NULL, &client.stream);
    for (; client.r >= 0 && client.show < sizeof shows / sizeof shows[0]; client.show++) {
        ask(address);
        RT_AWAIT(client.r, rt_poll_stream_write(cx, client.stream, client.request, client.len));
        if (client.r >= 0) RT_AWAIT(client.r, show_answer(cx));
    }
    rt_stream_free(client.stream);
    rt_close(client.io);
    RT_END(client.r);
}
