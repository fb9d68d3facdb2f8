/* A program that gives its privileges up has given them up: an operation opens what the thread may open
 * that submits it, also by a ring that was made before, and no thread of the kernel's polls the ring
 * with the rights of its maker.
 */
#include "child.h"
#include "op.h"

enum { NOBODY = 65534 };

struct opening {
    rt_frame frame;
    rt_op op;
    int64_t r;
    char name[300];
};

static int64_t try_to_open(rt_cx *cx, void *state) {
    struct opening *o = state;
    RT_BEGIN(&o->frame);
    CHECK_EQ(rt_submit_openat(cx, 0, o->name, O_RDONLY, 0, &o->op), 0);
    RT_AWAIT(o->r, rt_poll_op(cx, o->op));
    if (o->r > 0) {
        CHECK_EQ(rt_close((rt_io)o->r), 0);
        o->r = 0;
    }
    RT_END(o->r);
}

static int64_t opened(rt_runtime rt, const char *name) {
    struct opening o = {0};
    snprintf(o.name, sizeof o.name, "%s", name);
    return rt_block_on(rt, try_to_open, &o);
}

static char secret[300];

/* The runtime, its rings and its threads are there before. glibc changes all threads. */
static void give_up(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(opened(rt, secret), 0);
    CHECK_SYS(setresgid(NOBODY, NOBODY, NOBODY));
    CHECK_SYS(setresuid(NOBODY, NOBODY, NOBODY));
    CHECK_EQ(open(secret, O_RDONLY), -1);
    for (int i = 0; i < 20; i++) CHECK_EQ(opened(rt, secret), -EACCES);
    CHECK_EQ(opened(rt, "/dev/null"), 0);
    op_runtime_free(rt);
}

static void what_was_given_up_is_gone(void) {
    scratch_make();
    CHECK_SYS(chmod(scratch_path, 0755));
    snprintf(secret, sizeof secret, "%s/secret", scratch_path);
    close((int)CHECK_SYS(open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
    in_child(give_up);
    CHECK_SYS(unlink(secret));
    scratch_remove();
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (geteuid() != 0) SKIP("only root has privileges to give up");
    if (instrumented()) SKIP("valgrind has threads of its own");
    CASE(what_was_given_up_is_gone);
    return test_end();
}
