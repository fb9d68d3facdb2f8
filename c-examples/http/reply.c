/* Replies: they are written behind each other into the block, and leave together. */
#include <stdio.h>
#include <time.h>

#include "http.h"

void http_date(time_t at, char *out, size_t len) {
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(out, len, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* Made once a second by each thread. */
static const char *date_now(void) {
    const time_t now = time(NULL);
    if (now != me.second) {
        http_date(now, me.date, sizeof me.date);
        me.second = now;
    }
    return me.date;
}

static const char *reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "";
    }
}

void put_number(struct conn *c, uint64_t n) {
    char text[20], *at = text + sizeof text;
    do *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    put(c, at, (size_t)(text + sizeof text - at));
}

void reply_field(struct conn *c, const char *name, const char *value) {
    put_text(c, name);
    put(c, ": ", 2);
    put_text(c, value);
    put(c, "\r\n", 2);
}

void reply_length(struct conn *c, uint64_t length) {
    put_text(c, "Content-Length: ");
    put_number(c, length);
    put(c, "\r\n", 2);
}

void reply_head(struct conn *c, int status) {
    if (atomic_load_explicit(&server.going, memory_order_relaxed)) c->keep = false;
    put_text(c, "HTTP/1.1 ");
    put_number(c, (uint64_t)status);
    put(c, " ", 1);
    put_text(c, reason(status));
    put_text(c, "\r\nDate: ");
    put(c, date_now(), 29);
    put(c, "\r\n", 2);
    if (!c->keep) put_text(c, "Connection: close\r\n");
    else if (c->old) put_text(c, "Connection: keep-alive\r\n");
}

void reply_text(struct conn *c, const char *type, const char *text, size_t len) {
    reply_field(c, "Content-Type", type);
    reply_length(c, len);
    put(c, "\r\n", 2);
    if (!c->bare) put(c, text, len);
}

void refuse(struct conn *c, int status) {
    char text[64];
    int len = snprintf(text, sizeof text, "%d %s\n", status, reason(status));
    reply_head(c, status);
    reply_text(c, "text/plain", text, (size_t)len);
}

bool refuse_instead(struct conn *c, int status) {
    if (c->reply == GONE) return false;
    c->unsent = c->reply;
    c->keep = false;
    refuse(c, status);
    return true;
}
