/* Names: opening, asking, making, renaming and removing, below a registered directory and below the
 * current one. The names are copied when the operation is submitted.
 */
#include "op.h"

static void scratch_open(rt_cx *cx, struct steps *s) {
    s->dir = io_of(rt_cx_runtime(cx), scratch_fd(), 0);
}

static bool is_there(struct steps *s, const char *name) {
    return faccessat((int)rt_io_fd(s->dir), name, F_OK, 0) == 0;
}

/* An empty file, by the system's own calls. */
static void touch(struct steps *s, const char *name) {
    int dir = (int)rt_io_fd(s->dir);
    close((int)CHECK_SYS(openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)));
}

static int64_t opening_makes_a_handle(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OP_EQ(s, -ENOENT, rt_submit_openat(cx, s->dir, "new", O_RDONLY, 0, &s->op));
    OP(s, rt_submit_openat(cx, s->dir, "new", O_RDWR | O_CREAT | O_EXCL, 0640, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    CHECK_EQ(net_identity((int)rt_io_fd(s->io)).st_mode & 0777, 0640);
    OP_EQ(s, -EEXIST, rt_submit_openat(cx, s->dir, "new", O_RDWR | O_CREAT | O_EXCL, 0600, &s->op));
    OP_EQ(s, -ENOTDIR, rt_submit_openat(cx, s->io, "below", O_RDONLY, 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->dir, "new", 0, &s->op));
    CHECK(!is_there(s, "new"));
    steps_close(s);
    RT_END(0);
}

/* A directory that an operation opened is a place for further names. */
static int64_t directories_are_made_opened_and_removed(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    OP_EQ(s, 0, rt_submit_mkdirat(cx, s->dir, "sub", 0750, &s->op));
    OP_EQ(s, -EEXIST, rt_submit_mkdirat(cx, s->dir, "sub", 0750, &s->op));
    OP(s, rt_submit_openat(cx, s->dir, "sub", O_RDONLY | O_DIRECTORY, 0, &s->op));
    s->peer = (rt_io)CHECK_OK(s->got);
    CHECK_EQ(net_identity((int)rt_io_fd(s->peer)).st_mode & 0777, 0750);
    OP(s, rt_submit_openat(cx, s->peer, "inner", O_WRONLY | O_CREAT, 0600, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    CHECK(is_there(s, "sub/inner"));
    OP_EQ(s, -EISDIR, rt_submit_unlinkat(cx, s->dir, "sub", 0, &s->op));
    OP_EQ(s, -ENOTEMPTY, rt_submit_unlinkat(cx, s->dir, "sub", AT_REMOVEDIR, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->peer, "inner", 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->dir, "sub", AT_REMOVEDIR, &s->op));
    CHECK(!is_there(s, "sub"));
    steps_close(s);
    RT_END(0);
}

static int64_t renaming_moves(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    touch(s, "a");
    touch(s, "b");
    OP_EQ(s, 0, rt_submit_mkdirat(cx, s->dir, "sub", 0700, &s->op));
    OP(s, rt_submit_openat(cx, s->dir, "sub", O_RDONLY | O_DIRECTORY, 0, &s->op));
    s->peer = (rt_io)CHECK_OK(s->got);
    OP_EQ(s, -EEXIST,
          rt_submit_renameat(cx, s->dir, "a", s->dir, "b", RENAME_NOREPLACE, &s->op));
    OP_EQ(s, 0, rt_submit_renameat(cx, s->dir, "a", s->dir, "b", 0, &s->op));
    CHECK(!is_there(s, "a") && is_there(s, "b"));
    OP_EQ(s, 0, rt_submit_renameat(cx, s->dir, "b", s->peer, "c", 0, &s->op));
    CHECK(!is_there(s, "b") && is_there(s, "sub/c"));
    OP_EQ(s, -ENOENT, rt_submit_renameat(cx, s->dir, "a", s->peer, "d", 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->peer, "c", 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->dir, "sub", AT_REMOVEDIR, &s->op));
    steps_close(s);
    RT_END(0);
}

/* ---- statx ---- */

static void is_the_same(const struct statx *x, int fd) {
    struct stat st = net_identity(fd);
    CHECK(x->stx_mask & STATX_INO);
    CHECK_EQ(x->stx_ino, st.st_ino);
    CHECK_EQ(x->stx_size, st.st_size);
    CHECK_EQ(x->stx_mode, st.st_mode);
}

static int64_t asking_fills_in(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    touch(s, "file");
    OP(s, rt_submit_openat(cx, s->dir, "file", O_WRONLY, 0, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    OP_EQ(s, 5, rt_submit_write(cx, s->io, "hello", 5, 0, 0, &s->op));
    OP_EQ(s, 0, rt_submit_statx(cx, s->dir, "file", 0, STATX_BASIC_STATS, &s->x, &s->op));
    is_the_same(&s->x, (int)rt_io_fd(s->io));
    CHECK_EQ(s->x.stx_size, 5);

    /* The descriptor itself. */
    memset(&s->x, 0, sizeof s->x);
    OP_EQ(s, 0,
          rt_submit_statx(cx, s->io, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &s->x, &s->op));
    is_the_same(&s->x, (int)rt_io_fd(s->io));
    OP_EQ(s, -ENOENT, rt_submit_statx(cx, s->dir, "", 0, STATX_SIZE, &s->x, &s->op));
    OP_EQ(s, -ENOENT, rt_submit_statx(cx, s->dir, "none", 0, STATX_SIZE, &s->x, &s->op));

    /* A link is followed, or not. */
    CHECK_SYS(symlinkat("file", (int)rt_io_fd(s->dir), "link"));
    OP_EQ(s, 0, rt_submit_statx(cx, s->dir, "link", 0, STATX_BASIC_STATS, &s->x, &s->op));
    is_the_same(&s->x, (int)rt_io_fd(s->io));
    OP_EQ(s, 0,
          rt_submit_statx(cx, s->dir, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &s->x, &s->op));
    CHECK(S_ISLNK(s->x.stx_mode));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->dir, "link", 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, s->dir, "file", 0, &s->op));
    steps_close(s);
    RT_END(0);
}

/* ---- names ---- */

/* Submits all with names that are gone right afterwards. */
enum { NAMED = 20 };

struct named {
    struct steps steps;
    rt_op ops[NAMED];
};

static void submit_by_passing_names(rt_cx *cx, struct named *n, bool makes) {
    for (int i = 0; i < NAMED; i++) {
        char from[16], to[16];
        snprintf(from, sizeof from, makes ? "first-%d" : "second-%d", i);
        snprintf(to, sizeof to, "second-%d", i);
        rt_io dir = n->steps.dir;
        if (makes) CHECK_EQ(rt_submit_renameat(cx, dir, from, dir, to, 0, &n->ops[i]), 0);
        else CHECK_EQ(rt_submit_unlinkat(cx, dir, from, 0, &n->ops[i]), 0);
        memset(from, '/', sizeof from);
        memset(to, '/', sizeof to);
    }
}

static int64_t pass_names(rt_cx *cx, void *state) {
    struct named *n = state;
    struct steps *s = &n->steps;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    for (int i = 0; i < NAMED; i++) {
        char name[16];
        snprintf(name, sizeof name, "first-%d", i);
        touch(s, name);
    }
    submit_by_passing_names(cx, n, true);
    for (s->i = 0; s->i < NAMED; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, n->ops[s->i]));
        CHECK_EQ(s->got, 0);
    }
    submit_by_passing_names(cx, n, false);
    for (s->i = 0; s->i < NAMED; s->i++) {
        RT_AWAIT(s->got, rt_poll_op(cx, n->ops[s->i]));
        CHECK_EQ(s->got, 0);
    }
    steps_close(s);
    RT_END(0);
}

static void names_are_copied(void) {
    struct named n = {0};
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, pass_names, &n), 0);
    op_runtime_free(rt);
}

static int64_t zero_is_the_current_directory(rt_cx *cx, void *state) {
    struct steps *s = state;
    RT_BEGIN(&s->frame);
    scratch_open(cx, s);
    CHECK_SYS(chdir(scratch_path));
    OP(s, rt_submit_openat(cx, 0, "here", O_WRONLY | O_CREAT | O_EXCL, 0600, &s->op));
    s->io = (rt_io)CHECK_OK(s->got);
    CHECK(is_there(s, "here"));
    OP_EQ(s, 0, rt_submit_statx(cx, 0, "here", 0, STATX_BASIC_STATS, &s->x, &s->op));
    is_the_same(&s->x, (int)rt_io_fd(s->io));
    OP_EQ(s, 0, rt_submit_mkdirat(cx, 0, "sub", 0700, &s->op));
    OP_EQ(s, 0, rt_submit_renameat(cx, 0, "here", s->dir, "sub/there", 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, 0, "sub/there", 0, &s->op));
    OP_EQ(s, 0, rt_submit_unlinkat(cx, 0, "sub", AT_REMOVEDIR, &s->op));
    CHECK_SYS(chdir("/"));

    /* A whole path needs no directory. */
    OP_EQ(s, 0, rt_submit_statx(cx, 0, scratch_path, 0, STATX_BASIC_STATS, &s->x, &s->op));
    CHECK_EQ(s->x.stx_ino, net_identity((int)rt_io_fd(s->dir)).st_ino);
    steps_close(s);
    RT_END(0);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    umask(0);
    scratch_make();
    OP_CASE(opening_makes_a_handle);
    OP_CASE(directories_are_made_opened_and_removed);
    OP_CASE(renaming_moves);
    OP_CASE(asking_fills_in);
    CASE(names_are_copied);
    OP_CASE(zero_is_the_current_directory);
    scratch_remove();
    return test_end();
}
