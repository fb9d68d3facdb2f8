/* An echo server on libuv's streams as most are written: each read gets a buffer of the size that
 * libuv suggests, and each answer is a write request, which owns it until it is done. The frugal
 * way, which its users may take where they know that it pays, is in uv_streams_echo.c. */
#include "uv_peer.h"

struct answer {
    uv_write_t write;
    char *data;
};

static void on_close(uv_handle_t *handle) {
    free(handle);
}

static void end(uv_stream_t *stream) {
    uv_handle_t *handle = (uv_handle_t *)stream;
    if (!uv_is_closing(handle)) uv_close(handle, on_close);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    char *buf = malloc(suggested);
    (void)handle;
    *out = uv_buf_init(buf, buf == NULL ? 0 : (unsigned)suggested);
}

static void on_written(uv_write_t *write, int status) {
    struct answer *a = (struct answer *)write;
    if (status < 0) end(write->handle);
    free(a->data);
    free(a);
}

static bool reply(uv_stream_t *stream, char *data, size_t n) {
    struct answer *a = malloc(sizeof *a);
    if (a == NULL) return false;
    a->data = data;
    const uv_buf_t all = uv_buf_init(data, (unsigned)n);
    if (uv_write(&a->write, stream, &all, 1, on_written) == 0) return true;
    free(a);
    return false;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    if (n > 0 && reply(stream, buf->base, (size_t)n)) return;
    free(buf->base);
    if (n != 0) end(stream); /* 0 is libuv's EAGAIN */
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) return;
    uv_tcp_t *tcp = malloc(sizeof *tcp);
    if (tcp == NULL) die("malloc", strerror(errno));
    uv_tcp_init(listener->loop, tcp);
    if (uv_accept(listener, (uv_stream_t *)tcp) < 0 ||
        uv_read_start((uv_stream_t *)tcp, give_buffer, on_read) < 0)
        end((uv_stream_t *)tcp);
}

int main(int argc, char **argv) {
    serve_streams(open_listener(argc, argv, "libuv's streams, a write request for each answer"), on_connection);
    return 0;
}
