/* Steps: operations, their outcomes, what is received into leases, ordered sends. */
#include "steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A place for an operation of this task, with memory: NULL outside of tasks and when it has enough. */
static struct pending *place(struct actor *a) {
    struct job *job = a->job;
    if (job == NULL || job->letter_count == LETTERS) return NULL;
    for (int i = 0; i < OPS; i++) {
        struct pending *p = &job->ops[i];
        if (p->thing != NULL) continue;
        struct thing *t = thing_new(K_OP, job->home);
        if (t == NULL) return NULL;
        t->owner = job->thing;
        struct letter *l = memory_new(sizeof *l);
        job->letters[job->letter_count++] = l;
        memset(&l->msg, 0, sizeof l->msg);
        l->msg.msg_iov = l->iov;
        l->msg.msg_iovlen = 2;
        l->iov[0] = (struct iovec){l->data, 20};
        l->iov[1] = (struct iovec){l->data + 100, 60};
        *p = (struct pending){.thing = t, .letter = l};
        return p;
    }
    return NULL;
}

static int64_t submitted(struct actor *a, struct pending *p, int64_t r, uint8_t slot) {
    HOLDS_EQ(r == 0, p->thing->handle != 0);
    if (r == 0) thing_shelve(a, p->thing, slot);
    else job_forget_op(a->job, p);
    return 0;
}

#define SUBMIT_SAYS(u, call) SAYS(u, call, EBADF, EINVAL, EPERM, ESHUTDOWN, ESPIPE, ENOTSOCK, SYSTEM)
#define OUT &p->thing->handle

/* Outside of tasks nothing is submitted. */
static int64_t refused(struct actor *a, const uint8_t *b) {
    rt_op op = 1;
    struct use io = pick(a, b[0], K_IO);
    if (a->job != NULL || a->cx != NULL) return 0;
    int64_t r = SAYS(NULL, rt_submit_shutdown(a->own[0], io.handle, SHUT_WR, &op), EBADF, EINVAL, EPERM, ENOTSOCK, ESHUTDOWN);
    HOLDS(r < 0 && op == 0);
    return r;
}

int64_t step_submit_bytes(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    uint64_t offset = b[1] & 8 ? RT_OFFSET_CURRENT : b[1] & 16 ? UINT64_MAX - 1 : b[2];
    size_t n = b[2];
    int64_t r;
    switch (b[1] & 3) {
    case 0: r = SUBMIT_SAYS(&io, rt_submit_recv(a->cx, io.handle, p->letter->data, n, b[1] & 32 ? MSG_WAITALL : 0, OUT)); break;
    case 1: r = SUBMIT_SAYS(&io, rt_submit_send(a->cx, io.handle, p->letter->data, n, 0, OUT)); break;
    case 2: r = SUBMIT_SAYS(&io, rt_submit_read(a->cx, io.handle, p->letter->data, n, offset, OUT)); break;
    default: r = SUBMIT_SAYS(&io, rt_submit_write(a->cx, io.handle, p->letter->data, n, offset, 0, OUT));
    }
    return submitted(a, p, r, b[1]);
}

int64_t step_submit_vectors(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    int count = b[2] == 0xff ? -1 : 1 + (b[2] & 1);
    uint64_t offset = b[1] & 8 ? RT_OFFSET_CURRENT : b[2];
    int64_t r = b[1] & 1 ? SUBMIT_SAYS(&io, rt_submit_readv(a->cx, io.handle, p->letter->iov, count, offset, OUT))
                         : SUBMIT_SAYS(&io, rt_submit_writev(a->cx, io.handle, p->letter->iov, count, offset, 0, OUT));
    return submitted(a, p, r, b[1]);
}

int64_t step_submit_message(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    int64_t r = b[1] & 1 ? SUBMIT_SAYS(&io, rt_submit_recvmsg(a->cx, io.handle, &p->letter->msg, b[2] & 1 ? MSG_PEEK : 0, OUT))
                         : SUBMIT_SAYS(&io, rt_submit_sendmsg(a->cx, io.handle, &p->letter->msg, 0, OUT));
    return submitted(a, p, r, b[1]);
}

/* The address of a listener, or one where nobody listens. */
static const struct sockaddr *address(struct actor *a, uint8_t byte, socklen_t *len) {
    static const struct sockaddr_in nobody = {.sin_family = AF_INET};
    struct use listener = pick(a, byte & 0x3f, K_IO);
    if (listener.thing == NULL || listener.thing->addr_len == 0) {
        *len = sizeof nobody;
        return (const struct sockaddr *)&nobody;
    }
    *len = listener.thing->addr_len;
    return (const struct sockaddr *)&listener.thing->addr;
}

int64_t step_submit_socket(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO), to = pick(a, b[2], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    int64_t r;
    switch (b[1] & 3) {
    case 0:
        p->makes = true;
        r = SUBMIT_SAYS(&io, rt_submit_accept(a->cx, io.handle, OUT));
        break;
    case 1: {
        socklen_t len;
        const struct sockaddr *addr = address(a, b[2], &len);
        r = SUBMIT_SAYS(&io, rt_submit_connect(a->cx, io.handle, addr, len, OUT));
        break;
    }
    default: {
        struct use u = both(io, to);
        r = SUBMIT_SAYS(&u, rt_submit_splice(a->cx, io.handle, RT_OFFSET_CURRENT, to.handle,
                                             b[1] & 16 ? b[1] : RT_OFFSET_CURRENT, b[1], 0, OUT));
    }
    }
    return submitted(a, p, r, b[1]);
}

int64_t step_submit_end(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    int64_t r;
    if (b[1] & 1) r = SUBMIT_SAYS(&io, rt_submit_shutdown(a->cx, io.handle, b[2] & 3, OUT));
    else {
        /* Of two at a time one closes it, maybe after the other one's call, whose outcome says -EBADF. */
        releasing(&io);
        if (io.thing != NULL) {
            atomic_store(&io.thing->closing, true);
            atomic_fetch_add(&io.thing->closers, 1);
        }
        r = SUBMIT_SAYS(&io, rt_submit_close(a->cx, io.handle, OUT));
        if (io.thing != NULL && atomic_fetch_sub(&io.thing->closers, 1) == 1 && r == 0) atomic_store(&io.thing->freed, true);
    }
    return submitted(a, p, r, b[1]);
}

int64_t step_submit_file(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    int64_t r;
    switch (b[1] & 3) {
    case 0: r = SUBMIT_SAYS(&io, rt_submit_fsync(a->cx, io.handle, OUT)); break;
    case 1: r = SUBMIT_SAYS(&io, rt_submit_fdatasync(a->cx, io.handle, OUT)); break;
    case 2: r = SUBMIT_SAYS(&io, rt_submit_fallocate(a->cx, io.handle, 0, b[2], b[2], OUT)); break;
    default: r = SUBMIT_SAYS(&io, rt_submit_ftruncate(a->cx, io.handle, b[2], OUT));
    }
    return submitted(a, p, r, b[1]);
}

int64_t step_submit_path(struct actor *a, const uint8_t *b) {
    struct use dir = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return 0;
    /* They are copied: so they may go when the call returns. */
    char path[128], other[128];
    snprintf(path, sizeof path, "%s/%c", scratch, "abc"[b[2] % 3]);
    snprintf(other, sizeof other, "%s/%c", scratch, "abc"[b[2] / 3 % 3]);
    atomic_store(&scratch_used, true);
    /* A directory does not matter to an absolute path, but it must be one of this runtime's. */
    rt_io d = b[1] & 64 ? dir.handle : 0;
    const struct use *u = b[1] & 64 && d != 0 ? &dir : NULL;
    int64_t r;
    switch (b[1] & 7) {
    case 0:
    case 1:
    case 2:
        p->makes = true;
        r = SUBMIT_SAYS(u, rt_submit_openat(a->cx, d, path, O_RDWR | (b[1] & 8 ? O_CREAT : 0), 0600, OUT));
        break;
    case 3: r = SUBMIT_SAYS(u, rt_submit_statx(a->cx, d, path, 0, 0x7ff, &p->letter->x, OUT)); break;
    case 4: r = SUBMIT_SAYS(u, rt_submit_unlinkat(a->cx, d, path, b[1] & 8 ? AT_REMOVEDIR : 0, OUT)); break;
    case 5: r = SUBMIT_SAYS(u, rt_submit_renameat(a->cx, d, path, 0, other, b[1] & 8 ? 1 : 0, OUT)); break;
    default: r = SUBMIT_SAYS(u, rt_submit_mkdirat(a->cx, d, path, 0700, OUT));
    }
    memset(path, 'x', sizeof path - 1);
    return submitted(a, p, r, b[1]);
}

static int64_t called(void *arg) {
    struct letter *l = arg;
    l->data[0]++;
    may_block = true;
    call_back();
    may_block = false;
    return (unsigned char)l->data[1];
}

int64_t step_submit_call(struct actor *a, const uint8_t *b) {
    struct pending *p = place(a);
    if (p == NULL) return 0;
    int64_t r = SUBMIT_SAYS(NULL, rt_submit_call(a->cx, b[0] == 0xff ? NULL : called, p->letter, OUT));
    return submitted(a, p, r, b[1]);
}

int64_t step_submit_multi(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct pending *p = place(a);
    if (p == NULL) return refused(a, b);
    p->thing->multi = true;
    int64_t r = b[1] & 1 ? SUBMIT_SAYS(&io, rt_submit_accept_multi(a->cx, io.handle, OUT))
                         : SUBMIT_SAYS(&io, rt_submit_recv_multi(a->cx, io.handle, OUT));
    return submitted(a, p, r, b[1]);
}

/* ---- outcomes ---- */

static struct pending *own_op(struct actor *a, struct thing *t) {
    if (a->job == NULL || t == NULL) return NULL;
    for (int i = 0; i < OPS; i++)
        if (a->job->ops[i].thing == t) return &a->job->ops[i];
    return NULL;
}

/* An operation of this task's, or any. */
static struct use pick_op(struct actor *a, uint8_t byte) {
    struct use u = pick(a, byte, K_OP);
    if (a->job == NULL || byte & 0x80) return u;
    for (int i = 0; i < OPS; i++) {
        struct thing *t = a->job->ops[(byte + i) % OPS].thing;
        if (t != NULL) return (struct use){.handle = t->handle, .thing = t};
    }
    return u;
}

/* The errors of the call itself are the system's, too: the handle tells them apart. */
static bool taken(struct use *op, int64_t r) {
    if (r == -EBADF || r == -EPERM || r == -EINVAL) return rt_cancel(op->handle) == -EBADF;
    return r != RT_PENDING;
}

static void over(struct actor *a, struct use *op, struct pending *p) {
    released(op);
    HOLDS_EQ(rt_cancel(op->handle), -EBADF);
    job_forget_op(a->job, p);
}

int64_t step_poll_op(struct actor *a, const uint8_t *b) {
    struct use op = pick_op(a, b[0]);
    struct pending *p = own_op(a, op.thing);
    int64_t r = POLL_SAYS(&op, rt_poll_op(cx_of(a, b[1]), op.handle), SYSTEM);
    if (p == NULL) {
        /* A poll of no task, or of another one. */
        if (a->job != NULL || a->cx == NULL) HOLDS(r == -EPERM || r == -EBADF || r == -EINVAL);
        return r;
    }
    if (!taken(&op, r)) return r;
    HOLDS(!op.thing->multi || r == -EBADF);
    bool makes = p->makes;
    over(a, &op, p);
    HOLDS(r != 0 || !makes);
    if (makes && r > 0) keep_io(a, (rt_io)r, a->job->home, b[2]);
    return r;
}

void keep_lease(struct actor *a, const rt_buf *buf, int64_t received, uint8_t slot) {
    HOLDS(buf->lease != 0 && buf->ptr != NULL && (int64_t)buf->len == received);
    /* It is the program's memory now. */
    memset(buf->ptr, (int)buf->len, buf->len);
    struct thing *t = thing_new(K_LEASE, NULL);
    if (t == NULL) HOLDS_EQ(rt_buf_release(buf->lease), 0);
    else {
        t->handle = buf->lease;
        t->buf = *buf;
        thing_shelve(a, t, slot);
    }
}

int64_t step_poll_next(struct actor *a, const uint8_t *b) {
    struct use op = pick_op(a, b[0]);
    struct pending *p = own_op(a, op.thing);
    if (a->job == NULL && a->cx != NULL) return 0;
    int64_t r;
    if (b[1] & 1) {
        rt_io conn = 0;
        r = POLL_SAYS(&op, rt_poll_accept_next(cx_of(a, b[2]), op.handle, &conn), SYSTEM);
        if (r == 0) {
            HOLDS(p != NULL && op.thing->multi);
            keep_io(a, conn, a->job->home, b[2]);
            return r;
        }
        if (r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM) return r;
    } else {
        rt_buf buf = {0, NULL, 0};
        r = POLL_SAYS(&op, rt_poll_recv_next(cx_of(a, b[2]), op.handle, &buf), SYSTEM);
        if (r > 0) {
            HOLDS(p != NULL && op.thing->multi);
            keep_lease(a, &buf, r, b[2]);
            return r;
        }
    }
    if (p == NULL) HOLDS(r == -EPERM || r == -EBADF || r == -EINVAL);
    else if (taken(&op, r)) {
        HOLDS(op.thing->multi || r == -EBADF);
        over(a, &op, p);
    }
    return r;
}

int64_t step_op_cancel(struct actor *a, const uint8_t *b) {
    struct use op = b[1] & 1 ? pick(a, b[0], K_OP) : pick_op(a, b[0]);
    return SAYS(&op, rt_cancel(op.handle), EBADF);
}

int64_t step_op_deadline(struct actor *a, const uint8_t *b) {
    struct use op = pick_op(a, b[0]);
    if (a->job == NULL && a->cx != NULL) return 0;
    int64_t r = SAYS(&op, rt_op_deadline(op.handle, time_of(b[1])), EBADF, EPERM, ENOMEM);
    if (own_op(a, op.thing) == NULL && a->job != NULL) HOLDS(r < 0);
    return r;
}

struct promise {
    struct job *job;
    bool makes;
};

/* It comes before the task's drop function. */
static void promised(void *arg, int64_t outcome) {
    struct promise *p = arg;
    HOLDS(!p->job->over);
    HOLDS(atomic_fetch_sub(&p->job->promises, 1) > 0);
    if (p->makes && outcome > 0) {
        int64_t r = rt_close((rt_io)outcome);
        HOLDS(r == 0 || r == -EBADF);
    }
    free(p);
    call_back();
}

int64_t step_op_forget(struct actor *a, const uint8_t *b) {
    struct use op = pick_op(a, b[0]);
    struct pending *own = own_op(a, op.thing);
    if (own == NULL) {
        if (a->job == NULL && a->cx != NULL) return 0;
        return SAYS(&op, rt_op_forget(op.handle, NULL, NULL), EBADF, EPERM, EINVAL);
    }
    struct promise *p = malloc(sizeof *p);
    *p = (struct promise){a->job, own->makes};
    atomic_fetch_add(&a->job->promises, 1);
    bool told = b[1] & 1;
    int64_t r = SAYS(&op, rt_op_forget(op.handle, told ? promised : NULL, p), EBADF, EPERM, EINVAL);
    if (r < 0 || !told) {
        HOLDS(atomic_fetch_sub(&a->job->promises, 1) > 0);
        free(p);
    }
    if (r == 0) {
        /* Its memory stays in use until the drop. */
        released(&op);
        *own = (struct pending){0};
    }
    return r;
}

int64_t step_quiesce(struct actor *a, const uint8_t *b) {
    (void)b;
    if (a->job == NULL) return a->cx != NULL ? 0 : SAYS(NULL, rt_poll_quiesce(a->own[0]), EPERM, EINVAL);
    int64_t r = SAYS(NULL, rt_poll_quiesce(a->cx), PEND);
    if (r == 0) HOLDS_EQ(atomic_load(&a->job->promises), 0);
    return r;
}

/* ---- leases, blobs, sends ---- */

int64_t step_buf_release(struct actor *a, const uint8_t *b) {
    struct use lease = pick(a, b[0], K_LEASE);
    return RELEASE(&lease, rt_buf_release(lease.handle), EBADF);
}

#define SEND_SAYS(u, call) SAYS(u, call, EBADF, EAGAIN, EPIPE, ENOTSOCK, EINVAL, ESHUTDOWN, SYSTEM)

int64_t step_send(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    size_t n = b[1] & 0x80 ? sizeof pattern : b[1];
    int64_t r = SEND_SAYS(&io, rt_send(io.handle, pattern, n));
    HOLDS(r < 0 || r == (int64_t)n);
    return r;
}

int64_t step_blob_new(struct actor *a, const uint8_t *b) {
    struct thing *t = thing_new(K_BLOB, NULL);
    if (t == NULL) return 0;
    size_t n = b[1] & 0x80 ? sizeof pattern : b[1];
    int64_t r = SAYS(NULL, rt_blob_new(pattern, n, &t->handle), EINVAL);
    if (r == 0) thing_shelve(a, t, b[0]);
    return r;
}

int64_t step_send_blob(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO), blob = pick(a, b[1], K_BLOB), u = both(io, blob);
    return SEND_SAYS(&u, rt_send_blob(io.handle, blob.handle));
}

int64_t step_send_buf(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO), lease = pick(a, b[1], K_LEASE), u = both(io, lease);
    rt_buf buf = lease.thing != NULL ? lease.thing->buf : (rt_buf){lease.handle, NULL, 1};
    bool outside = b[2] == 1;
    if (outside) buf.len += 1 << 20;
    if (b[2] == 2 && buf.len > 1) buf.ptr = (char *)buf.ptr + 1, buf.len--;
    releasing(&lease);
    int64_t r = SEND_SAYS(&u, rt_send_buf(io.handle, &buf));
    HOLDS(r < 0 || !outside);
    return released_if(&lease, r);
}

int64_t step_blob_free(struct actor *a, const uint8_t *b) {
    struct use blob = pick(a, b[0], K_BLOB);
    return RELEASE(&blob, rt_blob_free(blob.handle), EBADF);
}

int64_t step_flush(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    return POLL_SAYS(&io, rt_poll_flush(cx_of(a, b[1]), io.handle, b[2]), SYSTEM);
}
