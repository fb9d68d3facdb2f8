/* Files have no readiness, and none is registered for it; but by some the system tells of changes. */
#include "mounts.h"
#include "op.h"
#include "soon.h"

static int proc_mounts(void) { return (int)CHECK_SYS(open("/proc/self/mounts", O_RDONLY | O_CLOEXEC)); }

static void files_have_no_readiness(void) {
    rt_runtime rt = test_runtime();
    static const uint32_t interests[] = {
        RT_READABLE, RT_WRITABLE, RT_PRIORITY, RT_ERROR, RT_READABLE | RT_PRIORITY, RT_PRIORITY | RT_ERROR,
    };
    int fds[] = {scratch_file(), scratch_fd()};
    rt_io io;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 6; k++) {
            io = 7;
            CHECK_EQ(rt_register_fd(rt, fds[i], interests[k], &io), -EPERM);
            CHECK_EQ(io, 0);
        }
        io = io_of(rt, fds[i], 0);
        CHECK_EQ(rt_close(io), 0);
    }
    /* That it can be read is no news of this one either. */
    int fd = proc_mounts();
    CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE, &io), -EPERM);
    CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE | RT_PRIORITY, &io), -EPERM);
    close(fd);
    test_runtime_free(rt);
}

struct watcher {
    rt_frame frame;
    rt_io io;
    rt_op op;
    int64_t got;
    rt_ready ready;
    char text[65536];
};

/* Waits for a change, after which the mount is there to be read by an operation. */
static int64_t watch_mounts(rt_cx *cx, void *state) {
    struct watcher *w = state;
    RT_BEGIN(&w->frame);
    do {
        RT_AWAIT(w->got, rt_poll_ready(cx, w->io, RT_PRIORITY, &w->ready));
        CHECK_EQ(w->got, 0);
        CHECK(w->ready.bits & RT_PRIORITY);
        CHECK_EQ(rt_clear_ready(w->io, w->ready), 0);
        CHECK_EQ(rt_submit_read(cx, w->io, w->text, sizeof w->text - 1, 0, &w->op), 0);
        RT_AWAIT(w->got, rt_poll_op(cx, w->op));
        w->text[CHECK_OK(w->got)] = '\0';
    } while (strstr(w->text, scratch_path) == NULL);
    RT_END(0);
}

static void a_mount_is_told(void) {
    static struct watcher w;
    memset(&w, 0, sizeof w);
    rt_runtime rt = test_runtime();
    rt_task task;
    w.io = io_of(rt, proc_mounts(), RT_PRIORITY | RT_ERROR);
    CHECK_EQ(rt_spawn(rt, watch_mounts, &w, NULL, &task), 0);
    CHECK_SYS(mount("none", scratch_path, "tmpfs", MS_NOSUID | MS_NODEV, NULL));
    CHECK_EQ(join_soon(task), 0);
    CHECK_SYS(umount2(scratch_path, MNT_DETACH));
    CHECK_EQ(rt_close(w.io), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    mounts_of_our_own();
    scratch_make();
    CASE(files_have_no_readiness);
    CASE(a_mount_is_told);
    scratch_remove();
    return test_end();
}
