/* More bytes than one system call moves: it stops after 0x7ffff000 of them, which is not for want of room. */
#include "op.h"
#include "soon.h"

static const size_t MOST = 0x7ffff000, MUCH = UINT64_C(0x7ffff000) + (4 << 20);

struct huge {
    struct steps steps;
    char *memory; /* MUCH bytes, for which there is a PIECE */
    size_t off;
    pthread_t peer;
    size_t came; /* the peer's, until it is joined */
};

static struct huge huge;

enum { PIECE = 16 << 20 };

static char *huge_memory(void) {
    int fd = (int)CHECK_SYS(memfd_create("piece", MFD_CLOEXEC));
    CHECK_SYS(ftruncate(fd, PIECE));
    char *all = mmap(NULL, MUCH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(all != MAP_FAILED);
    for (size_t at = 0; at < MUCH; at += PIECE) {
        size_t n = MUCH - at < PIECE ? MUCH - at : PIECE;
        CHECK(mmap(all + at, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == all + at);
    }
    close(fd);
    return all;
}

static void play(rt_poll_fn body) {
    must_end_soon();
    memset(&huge, 0, sizeof huge);
    huge.memory = huge_memory();
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, body, &huge), 0);
    op_runtime_free(rt);
    CHECK_SYS(munmap(huge.memory, MUCH));
}

/* Both as wide as they can be. */
static bool widen(int fd) {
    const int most = INT32_MAX / 2;
    return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &most, sizeof most) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &most, sizeof most) == 0;
}

static bool may_widen(void) {
    int fd = net_socket(SOCK_STREAM);
    bool may = widen(fd);
    close(fd);
    return may;
}

/* With segments as long as loopback has them, and a far end that blocks. */
static void fast_pair(int out[2]) {
    int listener = net_listen(1);
    struct sockaddr_in name = net_name(listener);
    out[1] = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK_SYS(connect(out[1], (struct sockaddr *)&name, sizeof name));
    out[0] = net_take(listener);
    close(listener);
}

static void wide_pair(int out[2]) {
    fast_pair(out);
    CHECK(widen(out[0]) && widen(out[1]));
}

/* What comes is counted, and left where it is. */
static void *drain(void *arg) {
    struct huge *h = arg;
    for (ssize_t r = 1; r > 0; h->came += (size_t)r) r = CHECK_SYS(recv(h->steps.far, NULL, 1 << 30, MSG_TRUNC));
    return NULL;
}

/* The near end, for direct calls as well, and somebody at the far one. */
static void open_ends(rt_cx *cx, struct huge *h, void (*connect_ends)(int[2]), void *(*peer)(void *)) {
    int ends[2];
    connect_ends(ends);
    h->steps.io = io_of(rt_cx_runtime(cx), ends[0], RW);
    h->steps.far = ends[1];
    h->peer = thread_start(peer, h);
}

/* The stream ends, and this came. */
static void close_ends(struct huge *h) {
    CHECK_EQ(rt_close(h->steps.io), 0);
    thread_join(h->peer);
    CHECK_EQ(h->came, MUCH);
    close(h->steps.far);
}

/* ---- a direct write ---- */

static int64_t write_directly(rt_cx *cx, void *state) {
    struct huge *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    open_ends(cx, h, wide_pair, drain);
    RT_AWAIT(s->got, rt_poll_write(cx, s->io, h->memory, MUCH));
    if (s->got < (int64_t)MOST)
        printf("%s: no long direct write: there was room for %" PRId64 " bytes\n", test_program, s->got);
    h->off = (size_t)s->got;
    RT_AWAIT(s->got, rt_poll_write_all(cx, s->io, h->memory, MUCH, &h->off));
    CHECK_EQ(s->got, MUCH);
    close_ends(h);
    RT_END(0);
}
static void a_long_write_has_room_left(void) { play(write_directly); }

/* ---- a receive of all ---- */

static void *feed(void *arg) {
    struct huge *h = arg;
    net_put(h->steps.far, h->memory, MUCH);
    h->came = MUCH;
    return NULL;
}

static int64_t receive_all(rt_cx *cx, void *state) {
    struct huge *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    open_ends(cx, h, fast_pair, feed);
    OP_EQ(s, MUCH, rt_submit_recv(cx, s->io, h->memory, MUCH, MSG_WAITALL, &s->op));
    close_ends(h);
    RT_END(0);
}
static void what_must_be_whole_is_received_whole(void) { play(receive_all); }

/* ---- a submitted write ---- */

/* To a socket it is a send. */
static int64_t send_all(rt_cx *cx, void *state) {
    struct huge *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    open_ends(cx, h, fast_pair, drain);
    OP_EQ(s, MUCH, rt_submit_write(cx, s->io, h->memory, MUCH, RT_OFFSET_CURRENT, 0, &s->op));
    close_ends(h);
    RT_END(0);
}
static void what_is_written_to_a_socket_goes_whole(void) { play(send_all); }

/* Elsewhere it is a write. */
static int64_t write_elsewhere(rt_cx *cx, void *state) {
    struct huge *h = state;
    struct steps *s = &h->steps;
    RT_BEGIN(&s->frame);
    s->io = io_of(rt_cx_runtime(cx), (int)CHECK_SYS(open("/dev/null", O_WRONLY | O_NONBLOCK | O_CLOEXEC)), 0);
    OP_EQ(s, MOST, rt_submit_write(cx, s->io, h->memory, MUCH, RT_OFFSET_CURRENT, 0, &s->op));
    CHECK_EQ(rt_close(s->io), 0);
    RT_END(0);
}
static void what_is_written_elsewhere_is_cut(void) { play(write_elsewhere); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (slowness() > 1) SKIP("it moves gigabytes");
    if (may_widen()) CASE(a_long_write_has_room_left);
    else printf("%s: no long direct write: SO_SNDBUFFORCE is refused\n", test_program);
    CASE(what_must_be_whole_is_received_whole);
    CASE(what_is_written_to_a_socket_goes_whole);
    CASE(what_is_written_elsewhere_is_cut);
    return test_end();
}
