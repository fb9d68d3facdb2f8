/* Steps: descriptors, readiness, direct calls, and the far ends, which the target has to itself. */
#include "steps.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct thing *keep_io(struct actor *a, rt_io io, struct thing *home, uint8_t slot) {
    HOLDS(io != 0);
    struct thing *t = thing_new(K_IO, home);
    if (t == NULL) {
        int64_t r = rt_close(io);
        HOLDS(r == 0 || r == -EBADF);
        return NULL;
    }
    t->handle = io;
    thing_shelve(a, t, slot);
    return t;
}

static void keep_fd(struct actor *a, int fd, uint8_t slot) {
    struct thing *t = thing_new(K_FD, NULL);
    if (t == NULL) {
        close(fd);
        return;
    }
    atomic_store(&t->fd, fd);
    thing_shelve(a, t, slot);
}

/* Registers a descriptor, or closes it. */
static struct thing *adopt(struct actor *a, int fd, uint8_t runtime, uint8_t flags, uint8_t slot) {
    struct use rt = pick(a, runtime, K_RUNTIME);
    struct thing *t = thing_new(K_IO, rt.thing);
    if (t == NULL) {
        close(fd);
        return NULL;
    }
    uint32_t bits = flags & 64 ? flags & 15 : RT_READABLE | RT_WRITABLE;
    if (flags & 16) bits |= RT_IO_BORROWED;
    if (flags == 0xff) bits |= 1u << 30;
    int64_t r = SAYS(&rt, rt_register_fd(rt.handle, fd, bits | RT_IO_SET_NONBLOCK, &t->handle), EBADF, EPERM, EINVAL);
    HOLDS(r < 0 || flags != 0xff);
    if (r < 0) {
        HOLDS_EQ(t->handle, 0);
        HOLDS_EQ(close(fd), 0);
        return NULL;
    }
    if (flags & 16) atomic_store(&t->fd, fd); /* stays the target's, which closes it in the end */
    thing_shelve(a, t, slot);
    return t;
}

/* Both ends are registered, or one of them is the target's. */
static void adopt_both(struct actor *a, int near, int far, const uint8_t *b) {
    adopt(a, near, b[0], b[1], b[2]);
    if (b[1] & 32) adopt(a, far, b[0] & 0x1f, b[1] & 64, (uint8_t)(b[2] + 1));
    else keep_fd(a, far, (uint8_t)(b[2] + 1));
}

int64_t step_io_pair(struct actor *a, const uint8_t *b) {
    static const int types[] = {SOCK_STREAM, SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    int ends[2], small = 1;
    if (b[1] & 8) {
        rt_io both[2] = {1, 1};
        struct use rt = pick(a, b[0], K_RUNTIME);
        int64_t r = SAYS(&rt, rt_unix_pair(rt.handle, types[b[1] & 3], both), EBADF);
        if (r == 0) {
            keep_io(a, both[0], rt.thing, b[2]);
            keep_io(a, both[1], rt.thing, (uint8_t)(b[2] + 1));
        } else HOLDS(both[0] == 0 && both[1] == 0);
        return r;
    }
    HOLDS_EQ(socketpair(AF_UNIX, types[b[1] & 3] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    if (b[1] & 4) setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    adopt_both(a, ends[0], ends[1], b);
    return 0;
}

int64_t step_io_pipe(struct actor *a, const uint8_t *b) {
    int ends[2];
    HOLDS_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    if (b[1] & 4) fcntl(ends[1], F_SETPIPE_SZ, 4096);
    adopt_both(a, ends[b[1] & 1], ends[~b[1] & 1], b);
    return 0;
}

int64_t step_io_event(struct actor *a, const uint8_t *b) {
    int fd = eventfd(b[1] & 1, EFD_CLOEXEC | EFD_NONBLOCK);
    HOLDS(fd >= 0);
    adopt(a, fd, b[0], b[1] & 0x50, b[2]);
    return 0;
}

int64_t step_io_file(struct actor *a, const uint8_t *b) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    HOLDS(fd >= 0);
    HOLDS_EQ(write(fd, pattern, 64), 64);
    adopt(a, fd, b[0], 64 | (b[1] & 0x10) | (b[1] & 3 ? 0 : 1), b[2]);
    return 0;
}

int64_t step_io_close(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    return RELEASE(&io, rt_close(io.handle), EBADF);
}

/* It may wait for others, so it is not for attempts: two would wait for each other. */
int64_t step_io_deregister(struct actor *a, const uint8_t *b) {
    if (attempting) return 0;
    struct use io = pick(a, b[0], K_IO);
    int64_t fd = rt_io_fd(io.handle);
    int64_t r = RELEASE(&io, rt_deregister(io.handle), EBUSY, EDEADLK);
    /* The descriptor is open, and nobody else's. */
    if (r == 0 && io.handle != 0) {
        HOLDS(fd >= 0);
        if (atomic_load(&io.thing->fd) < 0) HOLDS_EQ(close((int)fd), 0);
        else HOLDS(fcntl((int)fd, F_GETFD) >= 0);
    }
    return r;
}

/* Only what nobody else has seen may be closed behind the library, and not what `rt_free` closes. */
int64_t step_io_forget(struct actor *a, const uint8_t *b) {
    struct use rt = pick(a, b[0], K_RUNTIME);
    int ends[2];
    HOLDS_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    rt_io io = 0;
    int64_t r = SAYS(&rt, rt_register_fd(rt.handle, ends[0], RT_READABLE | RT_IO_BORROWED, &io), EBADF);
    if (b[1] & 1) HOLDS_EQ(send(ends[1], "x", 1, MSG_NOSIGNAL), 1);
    HOLDS_EQ(close(ends[0]), 0);
    HOLDS_EQ(close(ends[1]), 0);
    if (r < 0) return r;
    r = SAYS(NULL, rt_forget(io), EBADF);
    HOLDS_EQ(rt_forget(io), -EBADF);
    HOLDS_EQ(rt_forget(0), 0);
    return r;
}

/* What readers and writers hear beside the system's. */
#define IO_SAYS(u, call) POLL_SAYS(u, call, ESHUTDOWN, EBUSY, SYSTEM)

int64_t step_io_read(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    if (b[1] & 16) {
        rt_buf leased = {0, NULL, 0};
        int64_t r = IO_SAYS(&io, rt_poll_read_buf(cx_of(a, b[1]), io.handle, &leased));
        if (r > 0) keep_lease(a, &leased, r, b[2]);
        else HOLDS(leased.lease == 0);
        return r;
    }
    unsigned char buf[256];
    size_t n = b[2];
    memset(buf, 0xee, sizeof buf);
    int64_t r = IO_SAYS(&io, rt_poll_read(cx_of(a, b[1]), io.handle, buf, n));
    HOLDS(r <= (int64_t)n && r != -EAGAIN && r != -EINTR);
    if (r < 0) HOLDS(buf[0] == 0xee);
    HOLDS(buf[n] == 0xee);
    return r;
}

int64_t step_io_write(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    size_t n = b[2] & 0x80 ? sizeof pattern : b[2];
    int64_t r;
    if (b[1] & 16) {
        size_t *off = a->job != NULL ? &a->job->written : &a->written;
        if (*off > n) *off = b[2] & 1 ? 0 : *off;
        r = IO_SAYS(&io, rt_poll_write_all(cx_of(a, b[1]), io.handle, pattern, n, off));
        HOLDS(r < 0 || ((size_t)r == n && *off == 0));
        HOLDS(*off <= n || r == -EINVAL || r == -EBADF || r == -EPERM || r == -ESHUTDOWN || r == -EBUSY);
    } else {
        r = IO_SAYS(&io, rt_poll_write(cx_of(a, b[1]), io.handle, pattern, n));
        HOLDS(r <= (int64_t)n);
    }
    HOLDS(r != -EAGAIN && r != -EINTR);
    return r;
}

int64_t step_io_vectors(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    unsigned char one[16], two[64];
    struct iovec iov[2] = {{one, b[2] & 15}, {two, b[2] >> 2}};
    int count = b[1] & 0x80 ? -1 : b[1] >> 4 & 3;
    if (count == 3) count = 2;
    int64_t r;
    if (b[1] & 8) {
        memcpy(one, pattern, sizeof one);
        memcpy(two, pattern, sizeof two);
        r = IO_SAYS(&io, rt_poll_writev(cx_of(a, b[1]), io.handle, iov, count));
    } else r = IO_SAYS(&io, rt_poll_readv(cx_of(a, b[1]), io.handle, iov, count));
    HOLDS(r <= (int64_t)(iov[0].iov_len + iov[1].iov_len));
    return r;
}

int64_t step_io_message(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    unsigned char data[64] = "message";
    struct iovec iov = {data, b[2] & 63};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    int flags = b[1] & 16 ? MSG_OOB : b[1] & 32 ? MSG_PEEK : 0;
    if (b[1] & 8) return IO_SAYS(&io, rt_poll_sendmsg(cx_of(a, b[1]), io.handle, &msg, flags & MSG_OOB));
    return IO_SAYS(&io, rt_poll_recvmsg(cx_of(a, b[1]), io.handle, &msg, flags));
}

static const uint32_t closed = RT_ERROR | RT_READ_CLOSED | RT_WRITE_CLOSED;

int64_t step_io_ready(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    rt_ready ready = {0, 0};
    uint32_t interest = b[1] & 15;
    if (b[2] & 1) {
        int64_t r = SAYS(&io, rt_try_ready(io.handle, interest, &ready), EBADF, ESHUTDOWN, EINVAL);
        HOLDS(r < 0 || (ready.bits & ~(interest | closed)) == 0);
        return r;
    }
    int64_t r = POLL_SAYS(&io, rt_poll_ready(cx_of(a, b[2]), io.handle, interest, &ready), ESHUTDOWN);
    HOLDS(r < 0 || ready.bits != 0);
    HOLDS(r < 0 || (ready.bits & ~(interest | closed)) == 0);
    if (r == 0 && b[2] & 2) SAYS(&io, rt_clear_ready(io.handle, ready), EBADF);
    return r;
}

int64_t step_io_level(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    rt_ready ready = {0, 0};
    uint32_t interest = b[1] & 15;
    int64_t r = POLL_SAYS(&io, rt_poll_level(cx_of(a, b[2]), io.handle, interest, &ready), ESHUTDOWN);
    HOLDS(r < 0 || (ready.bits != 0 && (ready.bits & ~(interest | closed)) == 0));
    return r;
}

int64_t step_io_clear(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    /* Of a time that never was, mostly. */
    return SAYS(&io, rt_clear_ready(io.handle, (rt_ready){b[1], b[2]}), EBADF, EINVAL);
}

struct attempt {
    uint8_t how;
    int times;
};

static int64_t attempt(int fd, void *arg) {
    struct attempt *at = arg;
    HOLDS(fcntl(fd, F_GETFD) >= 0); /* it cannot be closed meanwhile */
    bool before = attempting;
    attempting = true;
    if (at->how & 1) call_back();
    attempting = before;
    HOLDS(fcntl(fd, F_GETFD) >= 0);
    if (at->times++ == 0 && at->how & 2) return -EINTR;
    if (at->how & 4) return -EAGAIN;
    if (at->how & 8) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
        return n >= 0 ? n : -errno;
    }
    return at->how;
}

int64_t step_io_try(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    struct attempt at = {b[2], 0};
    int64_t r = IO_SAYS(&io, rt_poll_try(cx_of(a, b[1]), io.handle, b[1] >> 1 & 3, attempt, &at));
    HOLDS(r != -EAGAIN && r != -EINTR);
    return r;
}

int64_t step_io_rehome(struct actor *a, const uint8_t *b) {
    struct use io = pick(a, b[0], K_IO);
    return SAYS(&io, rt_io_rehome(cx_of(a, b[1]), io.handle), EBADF, EPERM, EINVAL);
}

/* ---- the far ends ---- */

int64_t step_raw_use(struct actor *a, const uint8_t *b) {
    (void)a;
    struct thing *t = borrow(b[0], K_FD);
    if (t == NULL) return 0;
    int fd = atomic_load(&t->fd);
    char data[512];
    size_t n = b[2] & 0x80 ? sizeof data : b[2];
    ssize_t r;
    switch (b[1] & 7) {
    case 0: r = shutdown(fd, b[2] % 3); break;
    case 1:
    case 2: r = read(fd, data, n); break;
    default:
        memcpy(data, pattern, n < 46 ? n : 46);
        r = send(fd, data, n, MSG_NOSIGNAL | (b[1] & 8 ? MSG_OOB : 0));
        /* A pipe whose reader may be gone is not written to, for want of a flag against SIGPIPE. */
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (r < 0 && errno == ENOTSOCK && poll(&p, 1, 0) == 1 && !(p.revents & (POLLERR | POLLNVAL))) {
            sigset_t pipes, before;
            sigemptyset(&pipes);
            sigaddset(&pipes, SIGPIPE);
            pthread_sigmask(SIG_BLOCK, &pipes, &before);
            r = write(fd, data, n);
            if (r < 0 && errno == EPIPE) sigtimedwait(&pipes, NULL, &(struct timespec){0, 0});
            pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
    }
    put_back(t);
    return r;
}

int64_t step_raw_close(struct actor *a, const uint8_t *b) {
    (void)a;
    struct thing *t = borrow(b[0], K_FD);
    if (t == NULL) return 0;
    HOLDS_EQ(close(atomic_exchange(&t->fd, -1)), 0);
    atomic_store(&t->freed, true);
    put_back(t);
    return 0;
}
