/* A call that no cancel ends: opening a FIFO without a writer. On io_uring the kernel interrupts it;
 * elsewhere it holds a thread of the library's. A shutdown with a deadline gives its task up, and the
 * runtime can be freed all the same.
 */
#include "op.h"

#include <sys/stat.h>

struct opening {
    struct steps steps;
    const char *path;
    atomic_bool submitted;
    atomic_int drops;
};

static int64_t open_it(rt_cx *cx, void *state) {
    struct opening *o = state;
    RT_BEGIN(&o->steps.frame);
    CHECK_EQ(rt_submit_openat(cx, 0, o->path, O_RDONLY, 0, &o->steps.op), 0);
    atomic_store(&o->submitted, true);
    RT_AWAIT(o->steps.got, rt_poll_op(cx, o->steps.op));
    RT_END(o->steps.got);
}

static void dropped(void *state) { atomic_fetch_add(&((struct opening *)state)->drops, 1); }

static void given_up(void) {
    static struct opening o; /* the library's for good, if it is given up */
    char path[256];
    temp_template(path, sizeof path);
    int fd = (int)CHECK_SYS(mkstemp(path));
    close(fd);
    CHECK_SYS(unlink(path));
    CHECK_SYS(mkfifo(path, 0600));
    memset(&o, 0, sizeof o);
    o.path = path;
    rt_runtime rt = test_runtime();
    rt_task task;
    CHECK_EQ(rt_spawn(rt, open_it, &o, dropped, &task), 0);
    /* Where the kernel opens it at once, there is nothing to give up. */
    while (!atomic_load(&o.submitted) || (metrics(rt).ops_live == 0 && atomic_load(&o.drops) == 0))
        if (test_workers == 0) CHECK_OK(rt_turn(rt, 1000000));
    int64_t abandoned = CHECK_OK(rt_shutdown(rt, 100000000));
    CHECK_EQ(abandoned, 1 - atomic_load(&o.drops));
    CHECK_EQ(rt_free(rt), 0);
    /* Lets go of the thread, which closes what it got. */
    int writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (writer >= 0) close(writer);
    CHECK_SYS(unlink(path));
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE_LEAVES(given_up, "a thread that is stuck in a call");
    return test_end();
}
