/* What a child has: pipes, copies of descriptors, a folder, an environment; no signal blocked, none
 * of our descriptors; and what it leaves to the program: SIGCHLD.
 */
#include "process.h"

#include <fcntl.h>

enum { ROOM = 1 << 16, BYTES = 1 << 20 };

/* ---- a coroutine that spawns, writes to the child and reads all that it says ---- */

struct talk {
    rt_frame frame;
    rt_process_opts opts;
    rt_process p;
    rt_io in, out;
    rt_exit exit;
    int64_t r;
    size_t off, got;
    char said[ROOM];
};

static struct talk talk;

static void talk_init(char *const *argv) {
    memset(&talk, 0, sizeof talk);
    CHECK_EQ(rt_process_opts_init(&talk.opts, sizeof talk.opts), 0);
    talk.opts.file = argv[0];
    talk.opts.argv = (char **)argv;
    talk.opts.stdout_fd = RT_STDIO_PIPE;
}

static int64_t listen_to_it(rt_cx *cx, void *state) {
    struct talk *t = state;
    RT_BEGIN(&t->frame);
    CHECK_EQ(rt_process_spawn(rt_cx_runtime(cx), &t->opts, &t->p), 0);
    CHECK_EQ(rt_process_stdio(t->p, 1, &t->out), 0);
    for (;;) {
        RT_AWAIT(t->r, rt_poll_read(cx, t->out, t->said + t->got, ROOM - 1 - t->got));
        CHECK_OK(t->r);
        if (t->r == 0) break;
        t->got += (size_t)t->r;
    }
    CHECK_EQ(rt_close(t->out), 0);
    RT_AWAIT(t->r, rt_poll_process(cx, t->p, &t->exit));
    CHECK_EQ(t->r, 0);
    CHECK_EQ(rt_process_close(t->p), 0);
    CHECK_EQ(t->exit.signal, 0);
    RT_END(t->exit.code);
}

/* What the shell says to this. Spawned by a task, so on a worker where there are some. */
static const char *said_by(const char *script) {
    char *argv[] = {"/bin/sh", "-c", (char *)script, NULL};
    rt_process_opts asked = talk.opts;
    talk_init(argv);
    talk.opts.cwd = asked.cwd;
    talk.opts.envp = asked.envp;
    talk.opts.stdin_fd = asked.stdin_fd;
    talk.opts.stderr_fd = asked.stderr_fd;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, listen_to_it, &talk), 0);
    test_runtime_free(rt);
    return talk.said;
}

/* Before the options of the next child are set. */
static void ask_anew(void) { memset(&talk, 0, sizeof talk); }

#define CHECK_SAID(script, expected) CHECK(strcmp(said_by(script), expected) == 0)

/* ---- a round trip through cat ---- */

static char sent[BYTES], came[BYTES];

static int64_t feed(rt_cx *cx, void *state) {
    struct talk *t = state;
    int64_t r = rt_poll_write_all(cx, t->in, sent, BYTES, &t->off);
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, BYTES);
    return rt_close(t->in); /* the end of its input */
}

static int64_t drain(rt_cx *cx, void *state) {
    struct talk *t = state;
    int64_t r;
    while ((r = rt_poll_read(cx, t->out, came + t->got, BYTES - t->got)) > 0) t->got += (size_t)r;
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, t->got == BYTES ? 0 : -1);
    return rt_close(t->out);
}

static int64_t poll_exit(rt_cx *cx, void *state) {
    struct talk *t = state;
    return rt_poll_process(cx, t->p, &t->exit);
}

static void through_cat_and_back(void) {
    char *argv[] = {"cat", NULL};
    rt_io io;
    rt_task tasks[3];
    rt_runtime rt = test_runtime();
    talk_init(argv);
    talk.opts.stdin_fd = RT_STDIO_PIPE;
    for (size_t i = 0; i < BYTES; i++) sent[i] = (char)(i * 31 + i / 251);
    CHECK_EQ(rt_process_spawn(rt, &talk.opts, &talk.p), 0);
    CHECK_EQ(rt_process_stdio(talk.p, 0, &talk.in), 0);
    CHECK_EQ(rt_process_stdio(talk.p, 1, &talk.out), 0);
    CHECK_EQ(rt_process_stdio(talk.p, 1, &io), -ENOENT); /* once */
    CHECK_EQ(io, 0);
    CHECK_EQ(rt_process_stdio(talk.p, 2, &io), -ENOENT);
    CHECK_EQ(rt_process_stdio(talk.p, 3, &io), -EINVAL);
    CHECK_EQ(rt_process_stdio(talk.p, 0, NULL), -EINVAL);
    rt_poll_fn bodies[] = {feed, drain, poll_exit};
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_spawn(rt, bodies[i], &talk, NULL, &tasks[i]), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(join_soon(tasks[i]), 0);
    CHECK(memcmp(sent, came, BYTES) == 0);
    CHECK_EQ(talk.exit.code, 0);
    CHECK_EQ(rt_process_close(talk.p), 0);
    CHECK_EQ(rt_process_stdio(talk.p, 0, &io), -EBADF);
    test_runtime_free(rt);
}

/* Pipes that nobody takes are closed with the process, which sees the end of its input then. */
static void pipes_that_nobody_takes(void) {
    char *argv[] = {"cat", NULL};
    rt_runtime rt = test_runtime();
    talk_init(argv);
    talk.opts.stdin_fd = talk.opts.stderr_fd = RT_STDIO_PIPE;
    CHECK_EQ(rt_process_spawn(rt, &talk.opts, &talk.p), 0);
    CHECK_EQ(rt_process_close(talk.p), 0);
    test_runtime_free(rt); /* once the child ended and was reaped */
    no_children();
}

/* ---- descriptors ---- */

static void the_null_device(void) {
    ask_anew();
    talk.opts.stdin_fd = talk.opts.stderr_fd = RT_STDIO_NULL;
    CHECK_SAID("cat; readlink /proc/self/fd/0; echo lost >&2", "/dev/null\n");
}

/* The child's stderr is our stdout, although its stdout is replaced. */
static void copies_are_made_of_what_we_have(void) {
    char name[256], text[16] = "";
    temp_template(name, sizeof name);
    int fd = (int)CHECK_SYS(mkstemp(name));
    int own = (int)CHECK_SYS(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10));
    fflush(NULL);
    CHECK_SYS(dup2(fd, STDOUT_FILENO));
    ask_anew();
    talk.opts.stderr_fd = STDOUT_FILENO;
    CHECK_SAID("echo out; echo err >&2", "out\n");
    CHECK_SYS(dup2(own, STDOUT_FILENO));
    CHECK_SYS(close(own));
    CHECK_EQ(CHECK_SYS(pread(fd, text, sizeof text, 0)), 4);
    CHECK(memcmp(text, "err\n", 4) == 0);
    CHECK_SYS(close(fd));
    CHECK_SYS(unlink(name));
}

/* Everything that the library can have open is; 3 is the listing itself. */
static void no_descriptor_is_inherited(void) {
    rt_runtime rt = test_runtime();
    rt_signal s;
    rt_event e;
    rt_process p;
    char *argv[] = {"cat", NULL};
    int pipes[2];
    CHECK_SYS(pipe(pipes)); /* the program's own: inherited */
    talk_init(argv);
    talk.opts.stdin_fd = talk.opts.stderr_fd = RT_STDIO_PIPE;
    CHECK_EQ(rt_signal_open(rt, SIGUSR1, &s), 0);
    CHECK_EQ(rt_event_new(rt, &e), 0);
    CHECK_EQ(rt_process_spawn(rt, &talk.opts, &p), 0);
    for (int fd = 3; fd < 200; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && fd != pipes[0] && fd != pipes[1]) CHECK(flags & FD_CLOEXEC);
    }
    CHECK_SYS(close(pipes[0]));
    CHECK_SYS(close(pipes[1]));
    ask_anew();
    CHECK_SAID("exec ls /proc/self/fd", "0\n1\n2\n3\n");
    CHECK_EQ(rt_process_close(p), 0);
    CHECK_EQ(rt_signal_close(s), 0);
    CHECK_EQ(rt_event_free(e), 0);
    test_runtime_free(rt);
}

/* ---- signals ---- */

/* Workers block all signals, and this thread one. */
static void no_signal_is_blocked(void) {
    sigset_t one, before;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &one, &before), 0);
    ask_anew();
    CHECK_SAID("exec grep SigBlk /proc/self/status", "SigBlk:\t0000000000000000\n");
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

/* A listener's signal ends a child as ever. */
static void a_listener_is_not_inherited(void) {
    rt_runtime rt = test_runtime();
    rt_signal s;
    CHECK_EQ(rt_signal_open(rt, SIGUSR1, &s), 0);
    char *argv[] = {"sleep", "1000", NULL};
    talk_init(argv);
    CHECK_EQ(rt_process_spawn(rt, &talk.opts, &talk.p), 0);
    CHECK_EQ(rt_process_signal(talk.p, SIGUSR1), 0);
    CHECK_EQ(rt_block_on(rt, poll_exit, &talk), 0);
    CHECK_EQ(talk.exit.signal, SIGUSR1);
    CHECK_EQ(rt_process_close(talk.p), 0);
    CHECK_EQ(rt_signal_close(s), 0);
    test_runtime_free(rt);
}

static atomic_int children_ended;

static void on_child(int sig) {
    (void)sig;
    atomic_fetch_add(&children_ended, 1);
}

static bool told_of_child(void *arg) {
    (void)arg;
    return atomic_load(&children_ended) > 0;
}

/* The program's handler is called for each child; that is all the library has to do with it. */
static void sigchld_is_the_programs(void) {
    struct sigaction mine = {.sa_handler = on_child, .sa_flags = SA_RESTART}, now;
    CHECK_SYS(sigaction(SIGCHLD, &mine, NULL));
    for (int i = 0; i < 5; i++) {
        atomic_store(&children_ended, 0);
        ask_anew();
        CHECK_SAID("echo hello", "hello\n");
        while (!told_of_child(NULL)) sched_yield();
    }
    CHECK_SYS(sigaction(SIGCHLD, NULL, &now));
    CHECK(now.sa_handler == on_child);
    signal(SIGCHLD, SIG_DFL);
}

/* ---- the folder and the environment ---- */

static void a_folder_of_its_own(void) {
    ask_anew();
    talk.opts.cwd = "/usr/bin";
    CHECK_SAID("pwd -P", "/usr/bin\n");
    ask_anew();
    CHECK_SAID("test \"$(pwd -P)\" = /usr/bin || echo ours", "ours\n");
}

static void an_environment_of_its_own(void) {
    char *envp[] = {"ONLY=this", NULL};
    ask_anew();
    talk.opts.envp = envp;
    CHECK_SAID("echo $ONLY $OURS", "this\n");
    setenv("OURS", "that", 1);
    ask_anew();
    CHECK_SAID("echo $ONLY $OURS", "that\n");
    unsetenv("OURS");
}

int main(int argc, char **argv) {
    process_start(argc, argv);
    CASE(through_cat_and_back);
    CASE(pipes_that_nobody_takes);
    CASE(the_null_device);
    CASE(copies_are_made_of_what_we_have);
    CASE(no_descriptor_is_inherited);
    CASE(no_signal_is_blocked);
    CASE(a_listener_is_not_inherited);
    CASE(sigchld_is_the_programs);
    CASE(a_folder_of_its_own);
    CASE(an_environment_of_its_own);
    return test_end();
}
