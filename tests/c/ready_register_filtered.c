/* Where a filter refuses statx(2), as old containers do with EPERM, descriptors are registered and told apart all the same. */
#include "child.h"
#include "op.h"

static void registers_under_a_filter(void) {
    scratch_make();
    int file = scratch_file(), dir = scratch_fd();
    scratch_remove();
    refuse_call(SYS_statx);
    rt_runtime rt = test_runtime();
    rt_io io = io_of(rt, file, 0);
    rt_io refused = 7;
    CHECK_EQ(rt_register_fd(rt, file, 0, &refused), -EEXIST);
    CHECK_EQ(rt_register_fd(rt, dir, RT_READABLE, &refused), -EPERM);

    /* Another file has the number. */
    CHECK_SYS(dup3(dir, file, O_CLOEXEC));
    CHECK_EQ(rt_close(io), -EBADF);
    io = io_of(rt, dir, 0);
    CHECK_EQ(rt_close(io), 0);
    CHECK_SYS(close(file));
    test_runtime_free(rt);
}

static void descriptors_are_told_apart(void) { in_child(registers_under_a_filter); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(descriptors_are_told_apart);
    return test_end();
}
