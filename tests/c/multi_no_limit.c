/* A kernel that knows no limit for a receive with many results (before Linux 6.17) refuses the entries that have one. Many are
 * begun before the first answer comes, and none of them ends because of that. The refusal is made here, on whatever kernel.
 */
#include "multi.h"

#include <dlfcn.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <sys/syscall.h>

enum { RINGS = 16, RECEIVERS = 8 };

/* The entries of the rings that there are: shared with the kernel, as the library's own view of them is. */
static struct ring {
    int fd;
    unsigned entries;
    struct io_uring_sqe *sqes;
} rings[RINGS];
static int made;
static atomic_int refused;

/* The ring that this thread enabled, which nobody else enters. */
static _Thread_local struct ring *own;

static void look_into(int fd, const struct io_uring_params *params) {
    CHECK(made < RINGS);
    size_t size = params->sq_entries * sizeof(struct io_uring_sqe);
    void *sqes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
    CHECK(sqes != MAP_FAILED);
    rings[made++] = (struct ring){fd, params->sq_entries, sqes};
}

static void look_no_more(void) {
    for (int i = 0; i < made; i++)
        CHECK_SYS(munmap(rings[i].sqes, rings[i].entries * sizeof(struct io_uring_sqe)));
    made = 0;
    own = NULL;
}

static void enabled(int fd) {
    for (int i = 0; i < made; i++)
        if (rings[i].fd == fd) own = &rings[i]; /* the newest, if the number was used before */
}

/* Where the limit is there was nothing before, which had to be 0. An address makes the entry invalid for all kernels. */
static void refuse_limits(void) {
    for (unsigned i = 0; own != NULL && i < own->entries; i++) {
        struct io_uring_sqe *sqe = &own->sqes[i];
        if (sqe->opcode != IORING_OP_RECV || sqe->file_index == 0 || sqe->addr2 != 0) continue;
        sqe->addr2 = 1;
        atomic_fetch_add(&refused, 1);
    }
}

/* The library's, too. It takes six numbers, as the system does, also from a caller who gives fewer. */
__attribute__((no_sanitize("address"))) long syscall(long number, ...) {
    static _Atomic(void *) found;
    long (*real)(long, ...), args[6];
    va_list list;
    if (atomic_load(&found) == NULL) atomic_store(&found, dlsym(RTLD_NEXT, "syscall"));
    memcpy(&real, &(void *){atomic_load(&found)}, sizeof real);
    va_start(list, number);
    for (int i = 0; i < 6; i++) args[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_io_uring_enter) refuse_limits();
    long r = real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    if (number == SYS_io_uring_setup && r >= 0) {
        struct io_uring_params params;
        memcpy(&params, (void *)args[1], sizeof params);
        look_into((int)r, &params);
    }
    if (number == SYS_io_uring_register && args[1] == IORING_REGISTER_ENABLE_RINGS && r >= 0)
        enabled((int)args[0]);
    return r;
}

struct receivers {
    rt_frame frame;
    rt_io ios[RECEIVERS];
    rt_op ops[RECEIVERS];
    int fars[RECEIVERS], i, round;
    rt_buf buf;
    int64_t got;
};

static int64_t receive_at_all(rt_cx *cx, void *state) {
    struct receivers *r = state;
    RT_BEGIN(&r->frame);
    for (r->i = 0; r->i < RECEIVERS; r->i++) {
        int ends[2];
        net_udp_pair(ends);
        r->ios[r->i] = io_of(rt_cx_runtime(cx), ends[0], 0);
        r->fars[r->i] = ends[1];
        CHECK_EQ(rt_submit_recv_multi(cx, r->ios[r->i], &r->ops[r->i]), 0);
    }
    for (r->round = 0; r->round < 3; r->round++) {
        for (r->i = 0; r->i < RECEIVERS; r->i++) {
            CHECK_EQ(send(r->fars[r->i], &r->i, sizeof r->i, 0), sizeof r->i);
            RT_AWAIT(r->got, rt_poll_recv_next(cx, r->ops[r->i], &r->buf));
            CHECK_EQ(r->got, sizeof r->i);
            CHECK_EQ(memcmp(r->buf.ptr, &r->i, sizeof r->i), 0);
            CHECK_EQ(rt_buf_release(r->buf.lease), 0);
        }
    }
    for (r->i = 0; r->i < RECEIVERS; r->i++) {
        CHECK_EQ(rt_close(r->ios[r->i]), 0);
        RT_AWAIT(r->got, rt_poll_recv_next(cx, r->ops[r->i], &r->buf));
        CHECK_EQ(r->got, -ECANCELED);
        close(r->fars[r->i]);
    }
    RT_END(0);
}

static void many_receivers_go_on_without(void) {
    struct receivers r = {0};
    atomic_store(&refused, 0);
    play_alone(receive_at_all, &r);
    /* All of the first turn, or the case shows nothing. */
    if (test_engine == RT_ENGINE_URING) CHECK(atomic_load(&refused) >= RECEIVERS);
    look_no_more();
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(many_receivers_go_on_without);
    return test_end();
}
