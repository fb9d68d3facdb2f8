/* A connect that is refused after a while, beside sends and reads that wait for the connection. The kernel
 * says once why, to whoever asks first; who connects, who flushes and the first who sends are told all the
 * same. What waited is gone by then: of the next connection of the same socket it is no part.
 */
#include "multi.h"
#include "soon.h"

enum connects { BY_POLL, BEFORE_ALL, BY_OP, CONNECTS };
enum sends { BY_SEND, BY_SENDMSG, BY_WRITEV, BY_RT_SEND, BY_BLOB, SENDS };
enum reads { NO_READ, BY_READ, BY_RECV, BY_STREAM, BY_WRITE, READS };
enum { MOST = 3, CALLERS = 200 };

struct caller {
    rt_frame frame;
    enum connects connects;
    enum sends sends;
    enum reads reads;
    int count, at, fd;
    bool shuts, again;
    rt_io io;
    rt_op connect, ops[MOST], shutdown, recv;
    rt_stream stream;
    rt_task task, reader;
    int64_t got, joined;
    char byte;
};

static struct caller callers[CALLERS];
static int listed;
static struct sockaddr_in nobody, somebody;
static atomic_int waiting;
static atomic_bool is_closed;
static rt_blob blob;

static struct iovec early_piece = {(char[]){"early"}, 5};
static struct msghdr early_message = {.msg_iov = &early_piece, .msg_iovlen = 1};

static bool is_owed(const struct caller *c) { return c->sends <= BY_WRITEV; }

static void send_early(rt_cx *cx, struct caller *c, rt_op *op) {
    switch (c->sends) {
    case BY_SEND: CHECK_EQ(rt_submit_send(cx, c->io, "early", 5, 0, op), 0); return;
    case BY_SENDMSG: CHECK_EQ(rt_submit_sendmsg(cx, c->io, &early_message, 0, op), 0); return;
    case BY_WRITEV:
        CHECK_EQ(rt_submit_writev(cx, c->io, &early_piece, 1, RT_OFFSET_CURRENT, 0, op), 0);
        return;
    case BY_RT_SEND: CHECK_EQ(rt_send(c->io, "early", 5), 5); return;
    default: CHECK_EQ(rt_send_blob(c->io, blob), 5);
    }
}

static int64_t read_early(rt_cx *cx, void *state) {
    struct caller *c = state;
    switch (c->reads) {
    case BY_READ: return rt_poll_read(cx, c->io, &c->byte, 1);
    case BY_WRITE: return rt_poll_write(cx, c->io, &c->byte, 1);
    case BY_STREAM: return rt_poll_stream_read(cx, c->stream, &c->byte, 1);
    default:
        if (c->recv == 0) CHECK_EQ(rt_submit_recv(cx, c->io, &c->byte, 1, 0, &c->recv), 0);
        return rt_poll_op(cx, c->recv);
    }
}

static int64_t connect_to(rt_cx *cx, struct caller *c, struct sockaddr_in *name) {
    if (c->connects != BY_OP) return rt_poll_connect(cx, c->io, (struct sockaddr *)name, sizeof *name);
    if (c->connect == 0)
        CHECK_EQ(rt_submit_connect(cx, c->io, (struct sockaddr *)name, sizeof *name, &c->connect), 0);
    return rt_poll_op(cx, c->connect);
}

static int64_t call(rt_cx *cx, void *state) {
    struct caller *c = state;
    RT_BEGIN(&c->frame);
    c->fd = net_socket(SOCK_STREAM);
    c->io = io_of(rt_cx_runtime(cx), c->fd, RW);
    CHECK_EQ(rt_stream_new(c->io, NULL, &c->stream), 0);
    CHECK_EQ(connect_to(cx, c, &nobody), RT_PENDING);
    for (int i = 0; i < c->count; i++) send_early(cx, c, &c->ops[i]);
    if (c->shuts) CHECK_EQ(rt_submit_shutdown(cx, c->io, SHUT_WR, &c->shutdown), 0);
    if (c->reads != NO_READ) c->reader = spawn_near(rt_cx_runtime(cx), read_early, c, rt_task_self(cx));
    /* The sends are in the kernel, where there is a ring, and the reader waits. */
    for (c->at = 0; c->at < 20; c->at++) RT_YIELD(cx);
    atomic_fetch_add(&waiting, 1);
    if (c->connects == BEFORE_ALL) {
        while (!atomic_load(&is_closed)) RT_YIELD(cx);
        net_wait(c->fd, 0);
    }

    RT_AWAIT(c->got, connect_to(cx, c, &nobody));
    CHECK_EQ(c->got, -ECONNREFUSED);
    if (c->count > 0) CHECK_EQ(rt_poll_flush(cx, c->io, 0), -ECONNREFUSED);
    for (c->at = 0; is_owed(c) && c->at < c->count; c->at++) {
        RT_AWAIT(c->got, rt_poll_op(cx, c->ops[c->at]));
        CHECK_EQ(c->got, c->at == 0 ? -ECONNREFUSED : -EPIPE);
    }
    if (c->shuts) {
        RT_AWAIT(c->got, rt_poll_op(cx, c->shutdown));
        CHECK_EQ(c->got, -ENOTCONN);
    }
    if (c->reads != NO_READ) {
        RT_AWAIT(c->joined, rt_poll_join(cx, c->reader, &c->got));
        CHECK(c->got < 0);
    }

    if (c->again) {
        c->connect = 0;
        c->got = connect_to(cx, c, &somebody);
        CHECK(c->got == RT_PENDING || c->got == 0);
        CHECK_EQ(rt_send(c->io, "now ", 4), 4); /* it has begun */
        if (c->got != 0) RT_AWAIT(c->got, connect_to(cx, c, &somebody));
        CHECK_EQ(c->got, 0);
        CHECK_EQ(rt_send(c->io, "then", 4), 4);
        RT_AWAIT(c->got, rt_poll_flush(cx, c->io, 0));
        CHECK_EQ(c->got, 0);
    }
    CHECK_EQ(rt_stream_free(c->stream), 0);
    CHECK_EQ(rt_close(c->io), 0);
    RT_END(0);
}

static void drive(rt_runtime rt) {
    if (current_thread()) CHECK_OK(rt_turn(rt, 0));
    else sched_yield();
}

static struct caller *enlist(enum connects connects, bool again) {
    struct caller *c = &callers[listed++];
    *c = (struct caller){.connects = connects, .again = again};
    return c;
}

static int reusing(void) {
    int fd = net_socket(SOCK_STREAM);
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
    return fd;
}

/* When it is closed its port is still the keeper's: or else somebody who runs beside us may listen there. */
static int listen_beside(int keeper) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_SYS(bind(keeper, (struct sockaddr *)&name, sizeof name));
    int fd = reusing();
    name = net_name(keeper);
    CHECK_SYS(bind(fd, (struct sockaddr *)&name, sizeof name));
    CHECK_SYS(listen(fd, 0));
    return fd;
}

/* Those in the list call where nobody will listen, and then perhaps where somebody does. */
static void play(void) {
    char heard[16];
    rt_runtime rt = test_runtime();
    int keeper = reusing(), full = listen_beside(keeper), spare = net_fill(full), near = net_listen(CALLERS);
    nobody = net_name(full);
    somebody = net_name(near);
    CHECK_EQ(rt_blob_new("early", 5, &blob), 0);
    atomic_store(&waiting, 0);
    atomic_store(&is_closed, false);
    for (int i = 0; i < listed; i++) callers[i].task = spawn_near(rt, call, &callers[i], 0);
    while (atomic_load(&waiting) < listed) drive(rt);
    close(spare);
    close(full);
    atomic_store(&is_closed, true);
    for (int i = 0; i < listed; i++) CHECK_EQ(join_soon(callers[i].task), 0);
    for (int i = 0; i < listed; i++) {
        if (!callers[i].again) continue;
        int far = net_take(near);
        CHECK_EQ(net_get(far, heard, sizeof heard), 8);
        CHECK(memcmp(heard, "now then", 8) == 0);
        close(far);
    }
    close(near);
    close(keeper);
    CHECK_EQ(rt_blob_free(blob), 0);
    multi_runtime_free(rt);
    listed = 0;
}

static void enlist_senders(bool again, bool shuts) {
    for (int connects = 0; connects < CONNECTS; connects++)
        for (int sends = 0; sends < SENDS; sends++)
            for (int count = 1; count <= MOST; count++) {
                struct caller *c = enlist((enum connects)connects, again);
                c->sends = (enum sends)sends;
                c->count = count;
                c->shuts = shuts;
            }
}

static void all_hear_why(void) {
    enlist_senders(false, false);
    play();
}

static void nobody_hears_what_was_for_another(void) {
    enlist_senders(true, false);
    enlist_senders(true, true);
    play();
}

static void who_reads_or_writes_tells_it(void) {
    for (int connects = 0; connects < CONNECTS; connects++)
        for (int reads = BY_READ; reads < READS; reads++)
            for (int round = 0; round < 12; round++) {
                struct caller *c = enlist((enum connects)connects, round % 2 == 0);
                c->reads = (enum reads)reads;
                /* What is queued keeps others from writing. */
                c->count = reads == BY_WRITE ? 0 : round % 3;
            }
    play();
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(all_hear_why);
    CASE(nobody_hears_what_was_for_another);
    CASE(who_reads_or_writes_tells_it);
    return test_end();
}
