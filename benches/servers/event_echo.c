/* An echo server on libevent's bufferevents. What came in is sent at once, straight from the input
 * buffer; what the socket does not take moves to the output buffer without a copy, and until that is
 * sent nothing more is read. */
#include "event_peer.h"

static void on_input(struct bufferevent *b, void *arg) {
    struct evbuffer *in = bufferevent_get_input(b), *out = bufferevent_get_output(b);
    (void)arg;
    if (evbuffer_write(in, bufferevent_getfd(b)) < 0 && errno != EAGAIN && errno != EINTR) {
        bufferevent_free(b);
        return;
    }
    if (evbuffer_get_length(in) == 0) return;
    evbuffer_add_buffer(out, in);
    bufferevent_disable(b, EV_READ);
}

static void on_sent(struct bufferevent *b, void *arg) {
    (void)arg;
    bufferevent_enable(b, EV_READ);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd,
                          struct sockaddr *peer, int len, void *arg) {
    struct bufferevent *b = bufferevent_socket_new(arg, fd, BEV_OPT_CLOSE_ON_FREE);
    (void)listener, (void)peer, (void)len;
    if (b == NULL) die("bufferevent_socket_new", strerror(errno));
    bufferevent_setcb(b, on_input, on_sent, on_event, NULL);
    bufferevent_set_max_single_read(b, BUFFER);
    bufferevent_enable(b, EV_READ);
}

int main(int argc, char **argv) {
    int fd = open_listener(argc, argv, "libevent's bufferevents");
    struct event_config *config = event_config_new();
    if (config == NULL) die("event_config_new", strerror(errno));
    /* Changes of interest are made when it next waits; those that cancel out are not made at all. */
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST | EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    if (base == NULL) die("event_base_new", strerror(errno));
    serve(base, fd, on_connection);
    return 0;
}
