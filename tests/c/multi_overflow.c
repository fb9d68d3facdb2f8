/* Far more results at once than a small completion queue has places: none is lost, and none comes
 * twice.
 */
#include "multi.h"

enum { RINGS = 8, CONNECTIONS = 2000, LINES = 200, DATAGRAMS = 20, BYTES = 60 };

static rt_config small_rings(void) {
    rt_config config = test_config();
    config.ring_entries = RINGS;
    return config;
}

/* ---- connections ---- */

struct listener {
    struct steps steps;
    int fd, want, count, clients[CONNECTIONS];
    rt_io listener, conn;
    bool seen[CONNECTIONS];
};

static struct listener listener;

static void dial_all(struct listener *l) {
    for (int i = 0; i < l->want; i++) {
        l->clients[i] = net_dial(l->fd);
        net_put(l->clients[i], &i, sizeof i);
    }
}

static int64_t accept_at_once(rt_cx *cx, void *state) {
    struct listener *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    l->fd = net_listen(4096);
    l->listener = io_of(rt_cx_runtime(cx), l->fd, 0);
    CHECK_EQ(rt_submit_accept_multi(cx, l->listener, &s->op), 0);
    OP_TURNS(s, 100);
    dial_all(l); /* all in one poll */
    OP_TURNS(s, 500);
    while (l->count < l->want) {
        int number = -1;
        RT_AWAIT(s->got, rt_poll_accept_next(cx, s->op, &l->conn));
        CHECK_EQ(s->got, 0);
        int fd = (int)CHECK_OK(rt_io_fd(l->conn));
        CHECK_EQ(net_get(fd, &number, sizeof number), sizeof number);
        CHECK(number >= 0 && number < l->want && !l->seen[number]);
        l->seen[number] = true;
        l->count++;
        CHECK_EQ(rt_close(l->conn), 0);
    }
    CHECK_EQ(rt_poll_accept_next(cx, s->op, &l->conn), RT_PENDING);
    CHECK_EQ(rt_close(l->listener), 0);
    for (int i = 0; i < l->want; i++) close(l->clients[i]);
    RT_END(0);
}

static void thousands_of_connections(void) {
    memset(&listener, 0, sizeof listener);
    listener.want = scaled(CONNECTIONS);
    rt_config config = small_rings();
    play_with(&config, accept_at_once, &listener);
}

/* ---- datagrams, and bytes of streams ---- */

struct line {
    int far;
    rt_io io;
    rt_op op;
    int next; /* number */
};

struct lines {
    struct steps steps;
    struct line lines[LINES];
    int at;
    rt_buf buf;
};

static struct lines lines;

static void lines_open(rt_cx *cx, struct lines *l, void (*connect_ends)(int[2])) {
    for (int i = 0; i < LINES; i++) {
        int ends[2];
        connect_ends(ends);
        l->lines[i].far = ends[1];
        l->lines[i].io = io_of(rt_cx_runtime(cx), ends[0], 0);
        CHECK_EQ(rt_submit_recv_multi(cx, l->lines[i].io, &l->lines[i].op), 0);
    }
}

static void lines_close(struct lines *l) {
    for (int i = 0; i < LINES; i++) {
        CHECK_EQ(rt_close(l->lines[i].io), 0);
        close(l->lines[i].far);
    }
}

/* Each line gets more than it may hold, and all together more than there are buffers. */
static int64_t datagrams_at_once(rt_cx *cx, void *state) {
    struct lines *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    lines_open(cx, l, net_udp_pair);
    OP_TURNS(s, 100);
    for (int i = 0; i < LINES; i++)
        for (int number = 0; number < DATAGRAMS; number++)
            CHECK_EQ(send(l->lines[i].far, &number, sizeof number, 0), sizeof number);
    OP_TURNS(s, 500);
    /* The lines share the buffers, so what is there is taken before any line is waited for. */
    for (s->n = 0; s->n < LINES * DATAGRAMS;) {
        for (l->at = 0; l->at < LINES; l->at++) {
            s->got = rt_poll_recv_next(cx, l->lines[l->at].op, &l->buf);
            if (s->got == RT_PENDING) continue;
            CHECK_EQ(s->got, sizeof(int));
            CHECK_EQ(*(int *)l->buf.ptr, l->lines[l->at].next);
            l->lines[l->at].next++;
            CHECK_EQ(rt_buf_release(l->buf.lease), 0);
            s->n++;
        }
        RT_YIELD(cx);
    }
    for (int i = 0; i < LINES; i++) {
        CHECK_EQ(l->lines[i].next, DATAGRAMS);
        CHECK_EQ(rt_poll_recv_next(cx, l->lines[i].op, &l->buf), RT_PENDING);
    }
    lines_close(l);
    RT_END(0);
}

static void thousands_of_datagrams(void) {
    memset(&lines, 0, sizeof lines);
    rt_config config = small_rings();
    play_with(&config, datagrams_at_once, &lines);
}

/* Bytes come one by one, from all lines at the same time, and then every line ends at once. */
static int64_t bytes_at_once(rt_cx *cx, void *state) {
    struct lines *l = state;
    struct steps *s = &l->steps;
    RT_BEGIN(&s->frame);
    lines_open(cx, l, net_unix_pair);
    for (s->n = 0; s->n < BYTES; s->n++) {
        for (int i = 0; i < LINES; i++) net_put(l->lines[i].far, &(char){(char)s->n}, 1);
        RT_YIELD(cx);
    }
    for (int i = 0; i < LINES; i++) CHECK_SYS(shutdown(l->lines[i].far, SHUT_WR));
    OP_TURNS(s, 300);
    for (l->at = LINES - 1; l->at >= 0; l->at--) {
        for (;;) {
            RT_AWAIT(s->got, rt_poll_recv_next(cx, l->lines[l->at].op, &l->buf));
            if (s->got <= 0) break;
            for (size_t i = 0; i < l->buf.len; i++)
                CHECK_EQ(((char *)l->buf.ptr)[i], l->lines[l->at].next++);
            CHECK_EQ(rt_buf_release(l->buf.lease), 0);
        }
        CHECK_EQ(s->got, 0);
        CHECK_EQ(l->lines[l->at].next, BYTES);
    }
    lines_close(l);
    RT_END(0);
}

static void thousands_of_bytes_and_ends(void) {
    memset(&lines, 0, sizeof lines);
    rt_config config = small_rings();
    play_with(&config, bytes_at_once, &lines);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(2 * CONNECTIONS + 100);
    CASE(thousands_of_connections);
    CASE(thousands_of_datagrams);
    CASE(thousands_of_bytes_and_ends);
    return test_end();
}
