/* No descriptor of the library's reaches a program that is run, however it is run: the library's own
 * children, and those of a program that forks and executes by itself, get what they were given.
 */
#include "nouns.h"
#include "soon.h"

#include <sys/wait.h>

/* What is open in a shell's child, beside the one that looks: 0, 1, 2 and nothing else. */
static const char *const look[] = {"/bin/ls", "/proc/self/fd", NULL};
static const char expected[] = "0\n1\n2\n3\n";

static struct kit kits[NOUNS];

/* One of everything, at the same time. */
static void make_all(rt_runtime rt) {
    for (int i = 0; i < NOUNS; i++) {
        test_case = nouns[i].name;
        kits[i] = (struct kit){.rt = rt};
        nouns[i].prepare(&kits[i]);
        CHECK_EQ(nouns[i].make(&kits[i]), 0);
    }
    test_case = "all of them";
}

static void end_all(void) {
    for (int i = NOUNS - 1; i >= 0; i--) nouns[i].end(&kits[i]);
}

/* ---- each descriptor for itself: this says which ---- */

static void all_are_marked(void) {
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        int fd = atoi(e->d_name);
        if (fd <= 2 || fd == dirfd(dir) || e->d_name[0] == '.') continue;
        if ((CHECK_SYS(fcntl(fd, F_GETFD)) & FD_CLOEXEC) != 0) continue;
        char path[64], what[128] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        CHECK_SYS(readlink(path, what, sizeof what - 1));
        fprintf(stderr, "descriptor %d is not close-on-exec: %s\n", fd, what);
        CHECK(!"every descriptor is close-on-exec");
    }
    closedir(dir);
}

/* ---- a child that the program makes ---- */

static void forked_sees(void) {
    int out[2], status;
    char said[256] = "";
    CHECK_SYS(pipe2(out, O_CLOEXEC));
    pid_t pid = (pid_t)CHECK_SYS(fork());
    if (pid == 0) {
        dup2(out[1], 1);
        execv(look[0], (char **)look);
        _exit(127);
    }
    close(out[1]);
    size_t n = net_get(out[0], said, sizeof said - 1);
    said[n] = '\0';
    close(out[0]);
    CHECK_EQ(CHECK_SYS(waitpid(pid, &status, 0)), pid);
    CHECK_EQ(status, 0);
    if (strcmp(said, expected) != 0) fprintf(stderr, "a forked child has:\n%s", said);
    CHECK(strcmp(said, expected) == 0);
}

/* ---- the library's child ---- */

struct listing {
    rt_frame frame;
    rt_process p;
    rt_io out;
    int64_t r;
    size_t got;
    char said[256];
};

static int64_t list(rt_cx *cx, void *state) {
    struct listing *l = state;
    rt_process_opts opts;
    RT_BEGIN(&l->frame);
    CHECK_EQ(rt_process_opts_init(&opts, sizeof opts), 0);
    opts.file = look[0];
    opts.argv = (char **)look;
    opts.stdout_fd = RT_STDIO_PIPE;
    opts.stdin_fd = RT_STDIO_NULL;
    CHECK_EQ(rt_process_spawn(rt_cx_runtime(cx), &opts, &l->p), 0);
    CHECK_EQ(rt_process_stdio(l->p, 1, &l->out), 0);
    for (;;) {
        RT_AWAIT(l->r, rt_poll_read(cx, l->out, l->said + l->got, sizeof l->said - 1 - l->got));
        CHECK_OK(l->r);
        if (l->r == 0) break;
        l->got += (size_t)l->r;
    }
    CHECK_EQ(rt_close(l->out), 0);
    RT_AWAIT(l->r, rt_poll_process(cx, l->p, NULL));
    CHECK_EQ(l->r, 0);
    CHECK_EQ(rt_process_close(l->p), 0);
    RT_END(0);
}

static void spawned_sees(rt_runtime rt) {
    struct listing l = {0};
    CHECK_EQ(rt_block_on(rt, list, &l), 0);
    if (strcmp(l.said, expected) != 0) fprintf(stderr, "a spawned child has:\n%s", l.said);
    CHECK(strcmp(l.said, expected) == 0);
}

static void nothing_is_inherited(void) {
    rt_runtime rt = test_runtime();
    make_all(rt);
    all_are_marked();
    forked_sees();
    spawned_sees(rt);
    end_all();
    op_runtime_free(rt);
}

/* While everything is made and ended, others run programs all the time: there is no moment between
 * the making of a descriptor and its mark. */
struct runner {
    atomic_bool stop, began;
};

static void *run_programs(void *arg) {
    struct runner *r = arg;
    while (!atomic_load(&r->stop)) {
        forked_sees();
        atomic_store(&r->began, true);
    }
    return NULL;
}

static void not_even_for_a_moment(void) {
    struct runner r = {false, false};
    rt_runtime rt = test_runtime();
    pthread_t thread = thread_start(run_programs, &r);
    while (!atomic_load(&r.began)) sched_yield();
    for (int round = 0; round < scaled(20); round++) {
        make_all(rt);
        end_all();
    }
    atomic_store(&r.stop, true);
    thread_join(thread);
    op_runtime_free(rt);
}

/* Valgrind has a descriptor or two of its own, which its child sees. */
int main(int argc, char **argv) {
    test_start(argc, argv);
    if (under("valgrind")) SKIP("valgrind's own descriptors are inherited");
    /* What we inherited would be inherited by children too. */
    for (int fd = 3; fd < 256; fd++) close(fd);
    must_end_soon();
    CASE(nothing_is_inherited);
    CASE(not_even_for_a_moment);
    return test_end();
}
