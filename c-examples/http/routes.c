/* What there is to ask for. */
#include <inttypes.h>
#include <stdio.h>

#include "http.h"

static const char index_page[] =
    "<!doctype html>\n<title>http_server</title>\n<h1>It works</h1>\n<pre>\n"
    "GET  <a href=/hello>/hello</a>   a few words\n"
    "POST /echo    the body comes back: curl -d 'some words' .../echo\n"
    "GET  <a href=/stats>/stats</a>   what was served so far\n"
    "GET  /files/  the files of the directory that --root names, also in ranges\n"
    "</pre>\n";
static const char hello[] = "Hello, world!\n";

static bool is(struct slice path, const char *text) {
    return path.len == strlen(text) && memcmp(path.at, text, path.len) == 0;
}

bool is_echo(const struct request *q) { return q->method == POST && is(q->path, "/echo"); }

static void stats(struct conn *c) {
    rt_server_stats_data s = {.size = sizeof s};
    uint64_t requests, bytes;
    char text[512];
    rt_server_stats(server.server, &s);
    count_all(&requests, &bytes);
    const int len = snprintf(
        text, sizeof text,
        "{\"connections\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"refused\": %" PRIu64
        ", \"cut\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"bytes_sent\": %" PRIu64 "}\n",
        s.live, s.accepted, s.refused + s.shed, s.cut_first_byte + s.cut_idle + s.cut_total,
        requests, bytes);
    reply_head(c, 200);
    reply_field(c, "Cache-Control", "no-store");
    reply_text(c, "application/json", text, (size_t)len);
}

static void not_so(struct conn *c, const char *allow) {
    static const char text[] = "405 Method Not Allowed\n";
    reply_head(c, 405);
    reply_field(c, "Allow", allow);
    reply_text(c, "text/plain", text, sizeof text - 1);
}

static void echo_or_not(struct conn *c) {
    if (!c->echo) {
        not_so(c, "POST");
    } else if (c->block->request.fields[CONTENT_LENGTH].at == NULL && !c->chunked) {
        refuse(c, 411);
    } else if (c->body == NO_BODY) {
        reply_head(c, 200);
        reply_text(c, "application/octet-stream", "", 0);
    }
}

bool route(struct conn *c) {
    const struct request *q = &c->block->request;
    const bool get = q->method == GET || q->method == HEAD;
    if (is(q->path, "/hello") && get) {
        reply_head(c, 200);
        reply_text(c, "text/plain", hello, sizeof hello - 1);
        return false;
    }
    if (is(q->path, "/echo")) {
        echo_or_not(c);
        return false;
    }
    const bool file = q->path.len >= 7 && memcmp(q->path.at, "/files/", 7) == 0 && server.root != 0;
    if (!file && !is(q->path, "/") && !is(q->path, "/hello") && !is(q->path, "/stats")) {
        refuse(c, 404);
    } else if (!get) {
        not_so(c, "GET, HEAD");
    } else if (file) {
        return true;
    } else if (is(q->path, "/stats")) {
        stats(c);
    } else {
        reply_head(c, 200);
        reply_text(c, "text/html; charset=utf-8", index_page, sizeof index_page - 1);
    }
    return false;
}
