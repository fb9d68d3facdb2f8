/* Random 4 KiB reads of a cached file on io_uring, by hand: 64 in flight, one enter a turn.
 *
 * Usage: ring_read FILE READS [fixed]
 *
 * With "fixed" the file and the buffers are registered: what a program can have that knows all of
 * them beforehand.
 */
#include <sys/uio.h>

#include "common.h"
#include "ring.h"

struct slot {
    uint64_t offset;
    char *buf;
};

struct reader {
    struct ring ring;
    struct reads reads;
    struct slot slots[DEPTH];
    char *memory;
    bool fixed;
};

static void register_all(struct reader *r) {
    struct iovec all = {.iov_base = r->memory, .iov_len = DEPTH * BLOCK};
    int32_t fd = r->reads.fd;
    if (ring_register(&r->ring, IORING_REGISTER_BUFFERS, &all, 1) < 0) die("buffers", errno);
    if (ring_register(&r->ring, IORING_REGISTER_FILES, &fd, 1) < 0) die("files", errno);
}

static void start_read(struct reader *r, unsigned i) {
    struct slot *slot = &r->slots[i];
    if (!next_read(&r->reads, &slot->offset)) return;
    struct io_uring_sqe *sqe = r->fixed ? ring_sqe(&r->ring, IORING_OP_READ_FIXED, 0, i)
                                        : ring_sqe(&r->ring, IORING_OP_READ, r->reads.fd, i);
    if (r->fixed) sqe->flags = IOSQE_FIXED_FILE;
    sqe->addr = (uintptr_t)slot->buf;
    sqe->len = BLOCK;
    sqe->off = slot->offset;
}

static void read_all(struct reader *r) {
    for (unsigned i = 0; i < DEPTH; i++) start_read(r, i);
    while (r->reads.done < r->reads.wanted) {
        if (!ring_enter(&r->ring, 1)) die("io_uring_enter", errno);
        unsigned head, n = ring_ready(&r->ring, &head);
        for (const unsigned end = head + n; head != end; head++) {
            const struct io_uring_cqe *cqe = ring_cqe(&r->ring, head);
            const unsigned i = (unsigned)cqe->user_data;
            end_read(&r->reads, r->slots[i].buf, r->slots[i].offset, cqe->res);
            start_read(r, i);
        }
        ring_seen(&r->ring, head);
    }
}

int main(int argc, char **argv) {
    static struct reader r;
    uint64_t reads;
    r.fixed = argc == 4 && strcmp(argv[3], "fixed") == 0;
    if (argc != 3 + r.fixed || !parse_count(argv[2], &reads)) {
        fprintf(stderr, "usage: %s FILE READS [fixed]\n", argv[0]);
        return 2;
    }
    r.memory = aligned_alloc(BLOCK, DEPTH * BLOCK);
    if (r.memory == NULL) die("buffers", ENOMEM);
    for (size_t i = 0; i < DEPTH; i++) r.slots[i].buf = r.memory + i * BLOCK;
    if (!ring_open(&r.ring, DEPTH)) die("io_uring", errno);
    begin_reads(&r.reads, argv[1], reads);
    if (r.fixed) register_all(&r);
    read_all(&r);
    report_reads(&r.reads);
    return 0;
}
