/* An io_uring by hand: the system calls and the shared memory, as thin as it goes. For the programs
 * that the library is measured against; nothing but a C compiler and Linux 6.1 is needed.
 *
 * One thread makes the ring, submits and reaps. Entries that were taken by ring_sqe are submitted
 * by the next ring_enter. Who takes entries looks at ring_room first: a full queue is not flushed.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of Linux 6.1. */
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

struct ring {
    int fd;
    int index;            /* under which this thread has registered it: no look-up of the file */
    unsigned enter_flags; /* of every enter */
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned sq_entries, sq_mask, cq_mask;
    unsigned sq_tail; /* ours: the kernel's is written by ring_enter */
    unsigned *ksq_head, *ksq_tail, *kcq_head, *kcq_tail;
};

static inline int ring_register(const struct ring *r, unsigned what, void *arg, unsigned n) {
    return (int)syscall(__NR_io_uring_register, r->fd, what, arg, n);
}

static inline bool ring_setup(struct ring *r, unsigned entries, struct io_uring_params *p) {
    static const unsigned wanted[] = {IORING_SETUP_NO_SQARRAY, 0};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        memset(p, 0, sizeof *p);
        p->flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | wanted[i];
        p->cq_entries = 8 * entries;
        r->fd = (int)syscall(__NR_io_uring_setup, entries, p);
        if (r->fd >= 0 || errno != EINVAL) break;
    }
    return r->fd >= 0;
}

static inline bool ring_map(struct ring *r, const struct io_uring_params *p) {
    const size_t sq_size = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    const size_t cq_size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    char *base = mmap(NULL, sq_size > cq_size ? sq_size : cq_size, prot, flags, r->fd,
                      IORING_OFF_SQ_RING);
    r->sqes = mmap(NULL, p->sq_entries * sizeof *r->sqes, prot, flags, r->fd, IORING_OFF_SQES);
    if (base == MAP_FAILED || r->sqes == MAP_FAILED) return false;

    r->sq_entries = p->sq_entries;
    r->sq_mask = p->sq_entries - 1;
    r->cq_mask = p->cq_entries - 1;
    r->ksq_head = (unsigned *)(base + p->sq_off.head);
    r->ksq_tail = (unsigned *)(base + p->sq_off.tail);
    r->kcq_head = (unsigned *)(base + p->cq_off.head);
    r->kcq_tail = (unsigned *)(base + p->cq_off.tail);
    r->cqes = (struct io_uring_cqe *)(base + p->cq_off.cqes);
    if (!(p->flags & IORING_SETUP_NO_SQARRAY)) {
        unsigned *array = (unsigned *)(base + p->sq_off.array);
        for (unsigned i = 0; i < p->sq_entries; i++) array[i] = i;
    }
    return true;
}

/* False, with errno, if there is none to be had. It is closed by the end of the process. */
static inline bool ring_open(struct ring *r, unsigned entries) {
    struct io_uring_params p;
    memset(r, 0, sizeof *r);
    if (!ring_setup(r, entries, &p) || !ring_map(r, &p)) return false;
    struct io_uring_rsrc_update self = {.offset = UINT32_MAX, .data = (uint64_t)r->fd};
    if (ring_register(r, IORING_REGISTER_RING_FDS, &self, 1) != 1) return false;
    r->index = (int)self.offset;
    r->enter_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING;
    if (p.features & IORING_FEAT_NO_IOWAIT) r->enter_flags |= IORING_ENTER_NO_IOWAIT;
    return true;
}

/* How many entries can be taken before the next ring_enter. */
static inline unsigned ring_room(const struct ring *r) {
    return r->sq_entries - (r->sq_tail - __atomic_load_n(r->ksq_head, __ATOMIC_ACQUIRE));
}

/* A zeroed entry. */
static inline struct io_uring_sqe *ring_sqe(struct ring *r, uint8_t opcode, int fd,
                                            uint64_t user_data) {
    struct io_uring_sqe *sqe = &r->sqes[r->sq_tail++ & r->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = user_data;
    return sqe;
}

/* Submits what was taken, and waits for so many completions. False, with errno, on an error; those
 * that go away by reaping, or by trying again, are none. */
static inline bool ring_enter(struct ring *r, unsigned wait_for) {
    __atomic_store_n(r->ksq_tail, r->sq_tail, __ATOMIC_RELEASE);
    unsigned submit = r->sq_tail - __atomic_load_n(r->ksq_head, __ATOMIC_ACQUIRE);
    long n = syscall(__NR_io_uring_enter, r->index, submit, wait_for, r->enter_flags, NULL, 0);
    return n >= 0 || errno == EINTR || errno == EBUSY || errno == EAGAIN;
}

/* The completions from *head on that are there. Their places are the kernel's again after
 * ring_seen. */
static inline unsigned ring_ready(const struct ring *r, unsigned *head) {
    *head = *r->kcq_head;
    return __atomic_load_n(r->kcq_tail, __ATOMIC_ACQUIRE) - *head;
}

static inline const struct io_uring_cqe *ring_cqe(const struct ring *r, unsigned position) {
    return &r->cqes[position & r->cq_mask];
}

static inline void ring_seen(struct ring *r, unsigned head) {
    __atomic_store_n(r->kcq_head, head, __ATOMIC_RELEASE);
}

#endif
