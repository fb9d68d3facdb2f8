/* An attempt that wants to read or write: the peer will send no more, which stays true, and there is
 * no room to write. That is no reason to try again and again; room is. */
#include "ready.h"
#include "soon.h"

enum { FEW = 100 };

struct trier {
    rt_io io;
    atomic_int attempts, pendings;
};

static int64_t send_byte(int fd, void *arg) {
    struct trier *t = arg;
    CHECK(atomic_fetch_add(&t->attempts, 1) < FEW);
    ssize_t r = send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    return r < 0 ? -errno : r;
}

static int64_t try_to_send(rt_cx *cx, void *state) {
    struct trier *t = state;
    int64_t r = rt_poll_try(cx, t->io, RW, send_byte, t);
    if (r == RT_PENDING) atomic_fetch_add(&t->pendings, 1);
    return r;
}

static bool is_pending(void *arg) { return atomic_load(&((struct trier *)arg)->pendings) > 0; }

static void drain(int fd) {
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) continue;
    CHECK_EQ(errno, EAGAIN);
}

static void it_waits_for_room(uint32_t poll_budget) {
    rt_config config = test_config();
    config.poll_budget = poll_budget;
    rt_runtime rt = test_runtime_with(&config);
    int ends[2];
    net_unix_pair(ends);
    while (send(ends[0], "y", 1, MSG_NOSIGNAL) == 1) continue;
    CHECK_EQ(errno, EAGAIN);
    CHECK_SYS(shutdown(ends[1], SHUT_WR));
    struct trier t = {.io = io_of(rt, ends[0], RW)};
    rt_task task;
    CHECK_EQ(rt_spawn(rt, try_to_send, &t, NULL, &task), 0);
    drive_until(rt, is_pending, &t);
    deliver(rt);
    CHECK_EQ(rt_join(task, 0, NULL), -ETIME);
    drain(ends[1]);
    CHECK_EQ(join_soon(task), 1);
    CHECK_EQ(rt_close(t.io), 0);
    close(ends[1]);
    test_runtime_free(rt);
}

static void without_a_budget(void) { it_waits_for_room(RT_BUDGET_OFF); }
static void with_a_budget(void) { it_waits_for_room(0); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(without_a_budget);
    CASE(with_a_budget);
    return test_end();
}
