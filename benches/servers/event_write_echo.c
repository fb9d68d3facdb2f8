/* An echo server on libevent's bufferevents as most are written: what came in is moved to the output
 * buffer, which libevent sends when its loop comes round. The frugal way, which its users may take
 * where they know that it pays, is in event_echo.c. */
#include "event_peer.h"

static void on_input(struct bufferevent *b, void *arg) {
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(b), bufferevent_get_input(b));
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd,
                          struct sockaddr *peer, int len, void *arg) {
    struct bufferevent *b = bufferevent_socket_new(arg, fd, BEV_OPT_CLOSE_ON_FREE);
    (void)listener, (void)peer, (void)len;
    if (b == NULL) die("bufferevent_socket_new", strerror(errno));
    bufferevent_setcb(b, on_input, NULL, on_event, NULL);
    bufferevent_enable(b, EV_READ | EV_WRITE);
}

int main(int argc, char **argv) {
    int fd = open_listener(argc, argv, "libevent's bufferevents, answers by the output buffer");
    struct event_base *base = event_base_new();
    if (base == NULL) die("event_base_new", strerror(errno));
    serve(base, fd, on_connection);
    return 0;
}
