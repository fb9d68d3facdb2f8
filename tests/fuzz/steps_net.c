/* Steps: sockets, names, datagrams, buffered streams, servers. */
#include "steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- listening and connecting ---- */

/* "@..", an abstract name of this process'. */
static void name_of(uint8_t byte, char out[32]) { snprintf(out, 32, "@asyncio-fuzz-%d-%d", (int)getpid(), byte & 3); }

static struct thing *keep_listener(struct actor *a, rt_io io, struct thing *home, uint8_t slot) {
    rt_addr addr;
    int64_t r = rt_local_addr(io, &addr);
    HOLDS(r == 0 || r == -EBADF);
    struct thing *t = thing_new(K_IO, home);
    if (t == NULL) {
        rt_close(io);
        return NULL;
    }
    t->handle = io;
    t->listens = true;
    if (r == 0) {
        memcpy(&t->addr, addr.storage, addr.len);
        t->addr_len = addr.len;
    }
    thing_shelve(a, t, slot);
    return t;
}

int64_t step_listen(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    rt_io io = 1;
    int64_t r;
    if (b[1] & 3) {
        char name[32];
        name_of(b[1] >> 2, name);
        rt_unix_opts opts;
        HOLDS_EQ(rt_unix_opts_init(&opts, sizeof opts), 0);
        opts.backlog = 1;
        if (b[1] & 16) opts.kind = SOCK_SEQPACKET;
        r = SAYS(&rt, rt_unix_listen(rt.handle, name, b[1] & 32 ? NULL : &opts, &io), EBADF, EADDRINUSE);
    } else {
        rt_tcp_opts opts;
        HOLDS_EQ(rt_tcp_opts_init(&opts, sizeof opts), 0);
        if (b[1] & 4) opts.flags = RT_TCP_REUSEPORT;
        r = SAYS(&rt, rt_tcp_listen(rt.handle, b[1] & 8 ? "::1" : "127.0.0.1", 0, b[1] & 16 ? NULL : &opts, &io), EBADF, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT);
    }
    if (r == 0) keep_listener(a, io, rt.thing, b[2]);
    else HOLDS_EQ(io, 0);
    return r;
}

int64_t step_accept(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    rt_io conn = 0;
    int64_t r = POLL_SAYS(&io, rt_poll_accept(cx_of(a, b[1]), io.handle, &conn), ESHUTDOWN, SYSTEM);
    HOLDS(r <= 0);
    if (r == 0) keep_io(a, conn, io.thing->home, b[2]);
    return r;
}

/* A socket of one's own, connected in polls. */
int64_t step_connect(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME), listener = pick(a, b[1] & 0x3f, K_IO);
    if (listener.thing == NULL || listener.thing->addr_len == 0) return 0;
    const struct sockaddr *addr = (const struct sockaddr *)&listener.thing->addr;
    if (b[2] & 1) { /* one that is there */
        struct use io = pick(a, b[0], K_IO);
        return POLL_SAYS(&io, rt_poll_connect(cx_of(a, b[1]), io.handle, addr, listener.thing->addr_len), ESHUTDOWN, SYSTEM);
    }
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    HOLDS(fd >= 0);
    rt_io io = 0;
    int64_t r = SAYS(&rt, rt_register_fd(rt.handle, fd, RT_READABLE | RT_WRITABLE, &io), EBADF);
    if (r < 0) {
        close(fd);
        return r;
    }
    struct use u = {.handle = io};
    r = POLL_SAYS(&u, rt_poll_connect(cx_of(a, b[1]), io, addr, listener.thing->addr_len), ESHUTDOWN, SYSTEM);
    keep_io(a, io, rt.thing, b[2]);
    return r == RT_PENDING ? 0 : r;
}

int64_t step_connect_task(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME), listener = pick(a, b[2] & 0x3f, K_IO);
    struct thing *t = thing_new(K_TASK, rt.thing);
    if (t == NULL) return 0;
    int64_t r;
    if (b[1] & 3) {
        char name[32];
        name_of(b[1] >> 2, name);
        rt_unix_opts opts;
        HOLDS_EQ(rt_unix_opts_init(&opts, sizeof opts), 0);
        opts.deadline = time_of(b[2]);
        r = SAYS(&rt, rt_unix_connect(rt.handle, name, &opts, &t->handle), EBADF, ESHUTDOWN);
    } else {
        uint16_t port = 1;
        if (listener.thing != NULL && listener.thing->addr.ss_family == AF_INET)
            port = ntohs(((struct sockaddr_in *)&listener.thing->addr)->sin_port);
        rt_tcp_opts opts;
        HOLDS_EQ(rt_tcp_opts_init(&opts, sizeof opts), 0);
        opts.deadline = time_of(b[2]);
        r = SAYS(&rt, rt_tcp_connect(rt.handle, b[1] & 4 ? "::1" : "127.0.0.1", port, &opts, &t->handle), EBADF, ESHUTDOWN);
    }
    HOLDS_EQ(r == 0, t->handle != 0);
    if (r == 0) thing_shelve(a, t, b[2]);
    return r;
}

/* ---- datagrams and descriptors ---- */

int64_t step_udp(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    if (b[1] & 1) {
        struct use io = pick(a, b[0], K_IO), peer = pick(a, b[1] >> 1, K_IO);
        rt_addr addr = {.len = 0};
        if (rt_local_addr(peer.handle, &addr) != 0) return 0;
        return SAYS(&io, rt_udp_connect(io.handle, b[2] & 7 ? &addr : NULL), EBADF, EINVAL, ENOTSOCK, EPROTOTYPE, SYSTEM);
    }
    rt_io io = 1;
    int64_t r = SAYS(&rt, rt_udp_bind(rt.handle, "127.0.0.1", 0, NULL, &io), EBADF, EADDRINUSE);
    if (r == 0) keep_listener(a, io, rt.thing, b[2]);
    else HOLDS_EQ(io, 0);
    return r;
}

int64_t step_datagrams(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO), peer = pick(a, b[2] & 0x3f, K_IO);
    char data[3][64] = {"one", "two", "three"};
    rt_datagram v[3] = {{.buf = data[0], .len = 64}, {.buf = data[1], .len = 1}, {.buf = data[2], .len = 64}};
    uint32_t n = b[2] & 3;
    int64_t r;
    if (b[1] & 2) {
        if (b[1] & 4) {
            for (int i = 0; i < 3; i++)
                if (rt_local_addr(peer.handle, &v[i].addr) != 0) v[i].addr.len = 0;
        }
        if (b[1] & 8) v[0].segment = 16;
        r = POLL_SAYS(&io, rt_poll_send_many(cx_of(a, b[1]), io.handle, v, n), SYSTEM);
    } else {
        r = POLL_SAYS(&io, rt_poll_recv_many(cx_of(a, b[1]), io.handle, v, n), SYSTEM);
        for (int64_t i = 0; i < r; i++) HOLDS(v[i].len <= 64);
    }
    HOLDS(r < 0 || (r >= 1 && r <= (int64_t)n));
    return r;
}

int64_t step_fds(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    char data[32] = "with descriptors";
    int fds[2] = {2, b[2] == 0xff ? -5 : 2};
    uint32_t count = b[2] & 1 ? 2 : b[2] >> 1 & 1, flags = 77;
    if (b[1] & 2) return POLL_SAYS(&io, rt_poll_send_fds(cx_of(a, b[1]), io.handle, data, b[2] >> 3, fds, count), SYSTEM);
    uint32_t room = count;
    int64_t r = POLL_SAYS(&io, rt_poll_recv_fds(cx_of(a, b[1]), io.handle, data, 1 + (b[2] >> 4), fds, &count, &flags), SYSTEM);
    if (r < 0) {
        HOLDS_EQ(count, room);
        return r;
    }
    HOLDS(count <= room && flags <= 1);
    for (uint32_t i = 0; i < count; i++) HOLDS_EQ(close(fds[i]), 0);
    return r;
}

int64_t step_addresses(struct actor *a, const uint8_t *b) {
    static const char *const texts[] = {"127.0.0.1:80", "[::1]:1", "unix:@name", "unix:/path", "1.2.3", "", "[fe80::1%lo]:2", "unix:"};
    struct use io = pick(a, b[0], K_IO);
    rt_addr addr = {.len = 0}, again = {.len = 0};
    rt_unix_cred cred;
    char text[160];
    switch (b[1] & 3) {
    case 0: return SAYS(&io, rt_local_addr(io.handle, &addr), EBADF, ENOTSOCK, SYSTEM);
    case 1: return SAYS(&io, rt_peer_addr(io.handle, &addr), EBADF, ENOTSOCK, ENOTCONN, EINVAL, SYSTEM);
    case 2: return SAYS(&io, rt_unix_peer(io.handle, &cred), EBADF, ENOTSOCK, ENOTCONN, EAFNOSUPPORT, ENODATA);
    default: break;
    }
    /* A text of an address is that of the address that it makes. */
    int64_t r = SAYS(NULL, rt_addr_parse(texts[b[2] & 7], 5, &addr), EINVAL, ENODEV);
    if (r < 0) {
        HOLDS_EQ(addr.len, 0);
        return r;
    }
    HOLDS(rt_addr_text(&addr, text, sizeof text) > 0);
    HOLDS(rt_addr_text(&addr, text, 3) > 0 && strlen(text) == 2);
    HOLDS(rt_addr_text(&addr, text, sizeof text) < (int64_t)sizeof text);
    if (strcmp(text, "unix:") == 0) return 0;
    HOLDS_EQ(rt_addr_parse(text, 5, &again), 0);
    HOLDS(addr.len == again.len && memcmp(addr.storage, again.storage, addr.len) == 0);
    return 0;
}

int64_t step_resolve(struct actor *a, const uint8_t *b) {
    rt_addr out[2];
    rt_op none = 0;
    const char *host = b[0] & 1 ? "127.0.0.1" : b[0] & 2 ? "::1" : "no.such.name";
    uint32_t flags = b[0] & 3 ? b[1] & 7 : RT_RESOLVE_NUMERIC;
    if (b[1] & 8) flags |= 64;
    rt_op *slot = a->job != NULL ? &a->job->question : &none;
    if (a->job == NULL && a->cx != NULL) return 0;
    int64_t r = SAYS(NULL, rt_poll_resolve(cx_of(a, 0), slot, host, 80, flags, out, b[2] & 3), PEND, ENOENT, EINVAL, EPERM, EBADF, ESHUTDOWN, SYSTEM);
    HOLDS(r <= (int64_t)(b[2] & 3));
    return r;
}

/* ---- buffered streams ---- */

int64_t step_stream_new(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct thing *t = thing_new(K_STREAM, NULL);
    if (t == NULL) return 0;
    t->quiet = b[1] & 1;
    t->memory = calloc(1, 64);
    rt_stream_opts opts;
    HOLDS_EQ(rt_stream_opts_init(&opts, sizeof opts), 0);
    if (b[1] & 2) opts.read_buffer = 16;
    if (b[1] & 4) opts.limit = 16;
    if (b[1] & 8) opts.write_buffer = 16;
    int64_t r = SAYS(&io, rt_stream_new(io.handle, b[1] & 16 ? NULL : &opts, &t->handle), EBADF, EINVAL, ESHUTDOWN);
    if (r == 0) thing_shelve(a, t, b[2]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

/* Of a quiet stream the lines are looked at, so nobody else may make a call in between. */
static bool enter(struct use *s) {
    if (s->thing == NULL || !s->thing->quiet) return true;
    return !atomic_exchange(&s->thing->busy, true);
}

static int64_t leave(struct use *s, int64_t r) {
    if (s->thing != NULL && s->thing->quiet) put_back(s->thing);
    return r;
}

#define STREAM_SAYS(u, call) POLL_SAYS(u, call, ESHUTDOWN, EBUSY, EMSGSIZE, ENODATA, SYSTEM)

int64_t step_stream_read(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_STREAM);
    if (!enter(&s)) return 0;
    unsigned char buf[256];
    memset(buf, 0xee, sizeof buf);
    size_t n = b[2];
    int64_t r = STREAM_SAYS(&s, rt_poll_stream_read(cx_of(a, b[1]), s.handle, buf, n));
    HOLDS(r <= (int64_t)n && buf[n] == 0xee);
    return leave(&s, r);
}

static void looked_at(struct use *s, const void *at, size_t len) {
    if (!s->thing->quiet) return;
    for (size_t i = 0; i < len; i++) (void)((const volatile unsigned char *)at)[i];
}

int64_t step_stream_lines(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_STREAM);
    if (!enter(&s)) return 0;
    const void *at = NULL;
    size_t len = 0;
    int64_t r;
    if (b[1] & 8) {
        r = SAYS(&s, rt_stream_consume(s.handle, b[2]), EBADF, EINVAL, EBUSY);
    } else if (b[1] & 4) {
        r = STREAM_SAYS(&s, rt_poll_fill(cx_of(a, b[1]), s.handle, b[2] & 31, &at, &len));
        HOLDS(r < 0 || (size_t)r == len);
        HOLDS((r > 0) == (at != NULL));
        if (r > 0) looked_at(&s, at, len);
    } else {
        r = STREAM_SAYS(&s, rt_poll_read_until(cx_of(a, b[1]), s.handle, b[2] & 1 ? '\n' : b[2] == 4 ? 256 : ' ', &at, &len));
        HOLDS(r <= 1 && (r == 1) == (at != NULL));
        if (r > 0) {
            HOLDS(len > 0);
            looked_at(&s, at, len);
        }
    }
    return leave(&s, r);
}

int64_t step_stream_exact(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_STREAM);
    unsigned char own[64];
    /* The same memory in every call: the stream's, as long as there is one. */
    unsigned char *into = s.thing != NULL ? s.thing->memory : own;
    if (!enter(&s)) return 0;
    int64_t r = STREAM_SAYS(&s, rt_poll_read_exact(cx_of(a, b[1]), s.handle, into, 40));
    HOLDS(r < 0 || r == 40);
    return leave(&s, r);
}

int64_t step_stream_write(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_STREAM);
    if (!enter(&s)) return 0;
    size_t n = b[2] & 0x80 ? sizeof pattern : b[2];
    int64_t r = STREAM_SAYS(&s, rt_poll_stream_write(cx_of(a, b[1]), s.handle, pattern, n));
    HOLDS(r < 0 || r == (int64_t)n);
    return leave(&s, r);
}

int64_t step_stream_flush(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_STREAM);
    if (!enter(&s)) return 0;
    return leave(&s, STREAM_SAYS(&s, rt_poll_stream_flush(cx_of(a, b[1]), s.handle)));
}

int64_t step_stream_free(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_STREAM);
    if (!enter(&s)) return 0;
    return leave(&s, RELEASE(&s, rt_stream_free(s.handle), EBADF));
}

/* ---- servers ---- */

static int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    struct thing *server = arg;
    HOLDS(io != 0);
    HOLDS(rt_cx_current() == NULL);
    HOLDS(!atomic_load(&server->home->freed));
    unsigned n = (unsigned)atomic_fetch_add(&server->polls, 1);
    call_back();
    if (n % 5 == 4) return -1;
    struct thing *t = thing_new(K_TASK, server->home);
    struct job *job = t == NULL ? NULL : job_new(server->home, (uint8_t)n, (uint8_t)(n * 37));
    if (job == NULL) return -1;
    t->ours = true;
    job->thing = t;
    job->io = io;
    struct thing *connection = thing_new(K_IO, server->home);
    if (connection != NULL) {
        connection->handle = io;
        thing_shelve(NULL, connection, (uint8_t)n);
    }
    task->poll = job_poll;
    task->drop = job_drop;
    task->state = job;
    return 0;
}

int64_t step_serve(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0] & 0x3f, K_RUNTIME), io = pick(a, b[1], K_IO), u = both(rt, io);
    if (rt.thing == NULL) return SAYS(&rt, rt_stop(rt.handle), EBADF);
    struct thing *t = thing_new(K_SERVER, rt.thing);
    if (t == NULL) return 0;
    rt_serve_opts opts;
    HOLDS_EQ(rt_serve_opts_init(&opts, sizeof opts), 0);
    opts.mode = b[2] & 3;
    if (b[2] & 4) opts.max_connections = 1;
    if (b[2] & 8) opts.first_byte_ns = 200000;
    if (b[2] & 16) opts.idle_ns = 400000;
    if (b[2] & 32) opts.total_ns = 300000;
    releasing(&io);
    int64_t r = SAYS(&u, rt_serve(rt.handle, io.handle, &opts, on_connection, t, &t->handle), EBADF, EINVAL, EPERM, EBUSY, ESHUTDOWN, ENOTSOCK);
    HOLDS(r < 0 || opts.mode < 3);
    if (r == 0) thing_shelve(a, t, b[2]);
    else HOLDS_EQ(t->handle, 0);
    return r;
}

int64_t step_server_use(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_SERVER);
    rt_server_stats_data stats = {.size = sizeof stats};
    switch (b[1] & 3) {
    case 0: return SAYS(&s, rt_server_stop(s.handle), EBADF);
    case 1: {
        int64_t r = SAYS(&s, rt_server_stats(s.handle, &stats), EBADF);
        HOLDS(r < 0 || stats.live <= stats.accepted);
        return r;
    }
    default: return POLL_SAYS(&s, rt_poll_draining(cx_of(a, b[2]), s.handle), EBADF);
    }
}

int64_t step_server_drain(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_SERVER);
    return POLL_SAYS(&s, rt_poll_drain(cx_of(a, b[1]), s.handle, time_of(b[2])), ESHUTDOWN, ENOMEM);
}

int64_t step_server_free(struct actor *a, const uint8_t *b) {
    struct use s = pick(a, b[0], K_SERVER);
    return RELEASE(&s, rt_server_free(s.handle), EBADF);
}
