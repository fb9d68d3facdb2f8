/* Sends datagrams back to where they came from, many with each call, until Ctrl-C or SIGTERM.
 *
 * It shows
 *   - a UDP socket, which receives all that is there with one call, and sends likewise;
 *   - signals as more things to await, beside a coroutine that has no end.
 *
 * Usage: udp_echo [--engine auto|epoll|uring] [--workers N] [--port 7000]
 *
 * Try it: build/c-examples/udp_echo, and then, elsewhere, nc -u 127.0.0.1 7000
 * In the end it says how many datagrams came, how many bytes they had, in how many batches they
 * were received, and how many could not be sent back. With port 0 the kernel chooses one.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include <asyncio_await.h>

#include "options.h"

enum { BATCH = 32, ROOM = 65536 };

struct echo {
    rt_io io;
    rt_signal interrupt, term;
    uint64_t datagrams, bytes, batches, lost;

    rt_frame frame, echo_frame;
    int64_t r, n;
    int which;
    uint32_t came, sent;
    rt_datagram v[BATCH];
    char room[BATCH][ROOM];
};

/* `len` says how much room there is before a call, and how much came after it. */
static void empty(struct echo *e) {
    for (int i = 0; i < BATCH; i++) e->v[i] = (rt_datagram){.buf = e->room[i], .len = ROOM};
}

/* What came is what is sent: the bytes, the length and the address are where they must be. An error
 * is the first datagram's, and the others go on. */
static int64_t echo(rt_cx *cx, struct echo *e) {
    RT_BEGIN(&e->echo_frame);
    for (;;) {
        empty(e);
        RT_AWAIT(e->n, rt_poll_recv_many(cx, e->io, e->v, BATCH));
        if (e->n < 0) RT_RETURN(e->n);
        e->came = (uint32_t)e->n;
        e->batches++;
        e->datagrams += e->came;
        for (uint32_t i = 0; i < e->came; i++) e->bytes += e->v[i].len;

        for (e->sent = 0; e->sent < e->came; e->sent += e->n < 0 ? 1 : (uint32_t)e->n) {
            RT_AWAIT(e->n, rt_poll_send_many(cx, e->io, e->v + e->sent, e->came - e->sent));
            if (e->n < 0) e->lost++;
        }
    }
    RT_END(0);
}

/* The signals are asked first: traffic that never pauses does not keep them from being heard. */
static int64_t serve(rt_cx *cx, void *state) {
    struct echo *e = state;
    RT_BEGIN(&e->frame);
    RT_SELECT3(e->which, e->r, rt_poll_signal(cx, e->interrupt), rt_poll_signal(cx, e->term),
               echo(cx, e));
    RT_END(e->r < 0 ? e->r : 0);
}

static int64_t greet(struct echo *e) {
    rt_addr at;
    char text[64];
    int64_t r = rt_local_addr(e->io, &at);
    if (r == 0) r = rt_addr_text(&at, text, sizeof text);
    if (r < 0) return r;
    printf("listening on %s\n", text);
    fflush(stdout);
    return 0;
}

static struct echo echo_state; /* 2 MiB: not for the stack */

int main(int argc, char **argv) {
    struct echo *e = &echo_state;
    char why[256] = "";
    uint32_t port = 7000;
    rt_runtime rt = 0;
    rt_config config;
    options_init(&config);
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--port") == 0 && parse_number(value, 0, 65535, &port)) continue;
        if (parse_common(&config, name, value)) continue;
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--port PORT]\n", argv[0]);
        return 2;
    }
    int64_t r = rt_new(&config, &rt, why, sizeof why);
    if (r == 0) r = rt_signal_open(rt, SIGINT, &e->interrupt);
    if (r == 0) r = rt_signal_open(rt, SIGTERM, &e->term);
    if (r == 0) r = rt_udp_bind(rt, "127.0.0.1", (uint16_t)port, NULL, &e->io);
    if (r == 0) r = greet(e);
    if (r == 0) r = rt_block_on(rt, serve, e);
    rt_close(e->io);
    rt_signal_close(e->interrupt);
    rt_signal_close(e->term);
    rt_free(rt);
    if (r < 0) fprintf(stderr, "udp_echo: %s %s\n", rt_strerror(r), why);
    else printf("%" PRIu64 " datagrams, %" PRIu64 " bytes, %" PRIu64 " batches, %" PRIu64 " lost\n",
                e->datagrams, e->bytes, e->batches, e->lost);
    return r < 0;
}
