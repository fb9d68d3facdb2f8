/* An echo server on libuv's streams. What was read is sent at once, from the one buffer that all
 * connections share; only what the socket does not take is copied and queued, and until it is sent
 * nothing more is read. */
#include "uv_peer.h"

struct conn {
    uv_tcp_t tcp;
    uv_write_t write;
    char *unsent;
};

static void on_close(uv_handle_t *handle) {
    struct conn *c = (struct conn *)handle;
    free(c->unsent);
    free(c);
}

static void end(struct conn *c) {
    uv_handle_t *handle = (uv_handle_t *)&c->tcp;
    if (!uv_is_closing(handle)) uv_close(handle, on_close);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    static char buf[BUFFER];
    (void)handle, (void)suggested;
    *out = uv_buf_init(buf, sizeof buf);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status) {
    struct conn *c = write->data;
    free(c->unsent);
    c->unsent = NULL;
    if (status < 0 || uv_read_start((uv_stream_t *)&c->tcp, give_buffer, on_read) < 0) end(c);
}

/* Whether the connection goes on. */
static bool send_later(struct conn *c, const char *data, size_t n) {
    c->unsent = malloc(n);
    if (c->unsent == NULL) return false;
    memcpy(c->unsent, data, n);
    const uv_buf_t rest = uv_buf_init(c->unsent, (unsigned)n);
    c->write.data = c;
    uv_read_stop((uv_stream_t *)&c->tcp);
    return uv_write(&c->write, (uv_stream_t *)&c->tcp, &rest, 1, on_written) == 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct conn *c = (struct conn *)stream;
    if (n == 0) return; /* libuv's EAGAIN */
    if (n < 0) {
        end(c);
        return;
    }
    const uv_buf_t all = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(stream, &all, 1);
    if (sent == n) return;
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0 || !send_later(c, buf->base + sent, (size_t)(n - sent))) end(c);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) return;
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) die("calloc", strerror(errno));
    uv_tcp_init(listener->loop, &c->tcp);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, give_buffer, on_read) < 0)
        end(c);
}

int main(int argc, char **argv) {
    serve_streams(open_listener(argc, argv, "libuv's streams"), on_connection);
    return 0;
}
