/* A descriptor that was closed behind the library's back: whatever is done with its handle is an
 * error at most, and a stranger who was given the number since keeps it, registered or not.
 */
#include "ready.h"

static int64_t rehome_task(rt_cx *cx, void *state) { return rt_io_rehome(cx, *(rt_io *)state); }

/* An error or a success, never a wait or something worse. */
static void try_everything(struct scene *s) {
    rt_ready got;
    CHECK(rt_block_on(s->rt, rehome_task, &s->io) <= 0);
    CHECK(rt_try_ready(s->io, RW, &got) <= 0);
    CHECK(rt_clear_ready(s->io, (rt_ready){RW, 0}) <= 0);
    CHECK(rt_poll_ready(s->hand.cx, s->io, RT_WRITABLE, &got) <= 0);
    CHECK(rt_io_fd(s->io) >= -EBADF);
}

static void closed_and_gone(int64_t (*release)(rt_io), int64_t expected) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    close(s.near);
    try_everything(&s);
    int64_t r = release(s.io);
    if (expected == 0) CHECK_EQ(r, 0);
    else CHECK(r < 0);
    CHECK_EQ(rt_io_fd(s.io), -EBADF); /* released all the same */
    CHECK_EQ(metrics(s.rt).ios_live, 0);
    s.io = 0;
    scene_close(&s);
}

static void gone_then_close(void) { closed_and_gone(rt_close, -EBADF); }
static void gone_then_deregister(void) { closed_and_gone(rt_deregister, -EBADF); }
static void gone_then_forget(void) { closed_and_gone(rt_forget, 0); }

/* ---- the number is a stranger's ---- */

/* Gives the number to another connection; returns the stranger's far end. */
static int give_away_number(struct scene *s, struct stat *stranger) {
    int fds[2];
    net_unix_pair(fds);
    CHECK_SYS(dup3(fds[0], s->near, O_CLOEXEC));
    close(fds[0]);
    *stranger = net_identity(s->near);
    return fds[1];
}

static void a_stranger_has_it(int64_t (*release)(rt_io), int64_t expected) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    struct waiter reader;
    waiter_park(&reader, s.rt, s.io, RT_READABLE);
    struct stat stranger;
    int stranger_far = give_away_number(&s, &stranger);
    try_everything(&s);
    CHECK(net_is_still(s.near, &stranger));

    int64_t r = release(s.io);
    if (expected == 0) CHECK_EQ(r, 0);
    else CHECK(r < 0);
    CHECK(net_is_still(s.near, &stranger));
    CHECK_EQ(join_task(reader.task), -EBADF);

    char byte;
    net_put(stranger_far, "x", 1);
    CHECK_EQ(net_get(s.near, &byte, 1), 1);
    close(s.near);
    close(stranger_far);
    s.io = 0;
    scene_close(&s);
}

static void strange_then_close(void) { a_stranger_has_it(rt_close, -EBADF); }
static void strange_then_deregister(void) { a_stranger_has_it(rt_deregister, -EBADF); }
static void strange_then_forget(void) { a_stranger_has_it(rt_forget, 0); }

/* ---- the stranger registered ---- */

static void the_stranger_is_registered(int64_t (*release)(rt_io)) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    struct waiter old_reader, new_reader;
    waiter_park(&old_reader, s.rt, s.io, RT_READABLE);
    struct stat stranger;
    int stranger_far = give_away_number(&s, &stranger);
    rt_io io = io_of(s.rt, s.near, RW);
    waiter_park(&new_reader, s.rt, io, RT_READABLE);

    release(s.io); /* its result is another case's matter */
    CHECK_EQ(rt_io_fd(s.io), -EBADF);
    CHECK_EQ(join_task(old_reader.task), -EBADF);
    CHECK(net_is_still(s.near, &stranger));
    CHECK_EQ(rt_io_fd(io), s.near);
    deliver(s.rt);
    CHECK(atomic_load(&new_reader.pending));
    net_put(stranger_far, "x", 1);
    CHECK_EQ(join_task(new_reader.task), 0);
    CHECK_EQ(rt_close(io), 0);
    CHECK(!net_is_open(s.near));
    close(stranger_far);
    s.io = 0;
    scene_close(&s);
}

static void registered_then_close(void) { the_stranger_is_registered(rt_close); }
static void registered_then_deregister(void) { the_stranger_is_registered(rt_deregister); }
static void registered_then_forget(void) { the_stranger_is_registered(rt_forget); }

static void rehoming_the_old_leaves_the_registered_stranger(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    struct stat stranger;
    int stranger_far = give_away_number(&s, &stranger);
    rt_io io = io_of(s.rt, s.near, RW);
    for (int i = 0; i < 50; i++) {
        CHECK(rt_block_on(s.rt, rehome_task, &s.io) <= 0);
        net_put(stranger_far, "x", 1);
        rt_ready seen = await_ready(&s.hand, io, RT_READABLE);
        net_drain(s.near);
        CHECK_EQ(rt_clear_ready(io, seen), 0);
    }
    rt_forget(s.io);
    s.io = io;
    close(s.far);
    s.far = stranger_far;
    scene_close(&s);
}

/* A copy keeps the old file alive, and the kernel goes on reporting it under the old number. */
static void a_copy_that_lives_on_tells_the_stranger_nothing(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    int copy = (int)CHECK_SYS(fcntl(s.near, F_DUPFD_CLOEXEC, 0));
    struct stat stranger;
    int stranger_far = give_away_number(&s, &stranger);
    rt_forget(s.io);
    rt_io io = io_of(s.rt, s.near, RW);
    struct waiter reader;
    waiter_park(&reader, s.rt, io, RT_READABLE);
    for (int i = 0; i < 20; i++) {
        net_put(s.far, "x", 1);
        deliver(s.rt);
        CHECK(atomic_load(&reader.pending));
    }
    close(s.far);
    deliver(s.rt);
    CHECK(atomic_load(&reader.pending));
    net_put(stranger_far, "x", 1);
    CHECK_EQ(join_task(reader.task), 0);
    CHECK_EQ(reader.got.bits, RT_READABLE);
    close(copy);
    s.io = io;
    s.far = stranger_far;
    scene_close(&s);
}

/* ---- at the end of the runtime ---- */

static void freeing_the_runtime_spares_the_stranger(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    struct stat stranger;
    int stranger_far = give_away_number(&s, &stranger);
    hand_close(&s.hand);
    CHECK_EQ(rt_free(s.rt), 0);
    hand_check(&s.hand);
    CHECK(net_is_still(s.near, &stranger));
    close(s.near);
    close(stranger_far);
    close(s.far);
}

static void a_borrowed_one_was_closed_by_its_owner(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW | RT_IO_BORROWED);
    struct stat stranger;
    int stranger_far = give_away_number(&s, &stranger);
    CHECK(rt_close(s.io) <= 0);
    CHECK(net_is_still(s.near, &stranger));
    close(s.near);
    close(stranger_far);
    s.io = 0;
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(gone_then_close);
    CASE(gone_then_deregister);
    CASE(gone_then_forget);
    CASE(strange_then_close);
    CASE(strange_then_deregister);
    CASE(strange_then_forget);
    CASE(registered_then_close);
    CASE(registered_then_deregister);
    CASE(registered_then_forget);
    CASE(rehoming_the_old_leaves_the_registered_stranger);
    CASE(a_copy_that_lives_on_tells_the_stranger_nothing);
    CASE(freeing_the_runtime_spares_the_stranger);
    CASE(a_borrowed_one_was_closed_by_its_owner);
    return test_end();
}
