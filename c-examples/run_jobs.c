/* Runs the commands that stdin has, one a line, several at a time, and shows what each one said.
 *
 * It shows
 *   - processes: a shell for each command, a pipe from its stdout, how it ended;
 *   - a semaphore that bounds how many run, and by which all are awaited in the end;
 *   - one deadline over a whole coroutine, and a signal for who is late;
 *   - a call that may block, on a thread for that: reading a line of stdin, whatever that is.
 *
 * Usage: run_jobs [--engine auto|epoll|uring] [--workers N] [--jobs 4] [--limit 10000] < COMMANDS
 *
 *   --jobs   how many run at a time.
 *   --limit  how many milliseconds each of them has.
 *
 * Try it: yes 'sleep 1; date' | head -9 | build/c-examples/run_jobs --jobs 3
 * It takes three seconds. What a command wrote is shown whole when it has ended. Who is late is
 * killed: the shell, that is; children that it leaves behind find nobody at the pipe any more.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include <asyncio_await.h>

#include "options.h"

struct jobs {
    uint32_t at_once, limit_ms;
    rt_sem free; /* a permit for each job that may still begin */
    atomic_bool failed;

    rt_frame frame;
    rt_op op;
    char *line;
    size_t room;
    int64_t r;
};

struct job {
    struct jobs *all;
    rt_process child;
    rt_io out;
    rt_stream stream;
    rt_timer timer;
    uint64_t at; /* the deadline */
    bool late;
    rt_exit exit;
    FILE *file; /* writes to: */
    char *text;
    size_t len;

    rt_frame frame, follow_frame;
    int64_t r, n;
    const void *piece;
    size_t piece_len;
    char command[];
};

static void fail(struct jobs *all, const char *what, int64_t why) {
    fprintf(stderr, "run_jobs: %s: %s\n", what, rt_strerror(why));
    atomic_store(&all->failed, true);
}

static int64_t start(rt_cx *cx, struct job *j) {
    char *argv[] = {"sh", "-c", j->command, NULL};
    rt_process_opts opts;
    rt_process_opts_init(&opts, sizeof opts);
    opts.file = "/bin/sh";
    opts.argv = argv;
    opts.stdin_fd = RT_STDIO_NULL; /* ours is the list of commands */
    opts.stdout_fd = RT_STDIO_PIPE;
    j->file = open_memstream(&j->text, &j->len);
    if (j->file == NULL) return -ENOMEM;
    int64_t r = rt_process_spawn(rt_cx_runtime(cx), &opts, &j->child);
    if (r == 0) r = rt_process_stdio(j->child, 1, &j->out);
    if (r == 0) r = rt_stream_new(j->out, NULL, &j->stream);
    return r;
}

/* Everything that it says, and then its end. */
static int64_t follow(rt_cx *cx, struct job *j) {
    RT_BEGIN(&j->follow_frame);
    for (;;) {
        RT_AWAIT(j->n, rt_poll_fill(cx, j->stream, 1, &j->piece, &j->piece_len));
        if (j->n <= 0) break;
        if (fwrite(j->piece, 1, j->piece_len, j->file) < j->piece_len) RT_RETURN(-ENOMEM);
        rt_stream_consume(j->stream, j->piece_len);
    }
    if (j->n == 0) RT_AWAIT(j->n, rt_poll_process(cx, j->child, &j->exit));
    RT_END(j->n);
}

/* Jobs of other workers print as well: a job's text stays in one piece. */
static int64_t report(struct job *j) {
    FILE *file = j->file;
    j->file = NULL;
    if (fclose(file) != 0) return -errno;
    flockfile(stdout);
    printf("$ %s\n", j->command);
    fwrite(j->text, 1, j->len, stdout);
    if (j->exit.signal == 0) printf("[exit %d]\n", j->exit.code);
    else printf("[signal %d%s]\n", j->exit.signal, j->late ? ": it was late" : "");
    fflush(stdout);
    funlockfile(stdout);
    if (j->exit.code != 0 || j->exit.signal != 0) atomic_store(&j->all->failed, true);
    return 0;
}

static int64_t run(rt_cx *cx, void *state) {
    struct job *j = state;
    RT_BEGIN(&j->frame);
    j->at = rt_now() + j->all->limit_ms * UINT64_C(1000000);
    j->r = start(cx, j);
    if (j->r == 0) RT_AWAIT(j->r, rt_poll_deadline(cx, &j->timer, j->at, follow(cx, j)));
    if (j->r == -ETIME) {
        j->late = true;
        rt_process_signal(j->child, SIGKILL);
        RT_AWAIT(j->r, rt_poll_process(cx, j->child, &j->exit));
    }
    if (j->r == 0) j->r = report(j);
    if (j->r < 0) fail(j->all, j->command, j->r);
    RT_END(j->r);
}

/* However the job ended, and wherever it was. */
static void release(void *state) {
    struct job *j = state;
    rt_timer_cancel(j->timer);
    rt_stream_free(j->stream);
    rt_close(j->out);
    rt_process_close(j->child);
    if (j->file != NULL) fclose(j->file);
    free(j->text);
    rt_sem_release(j->all->free, 1);
    free(j);
}

/* ---- all of them ---- */

static int64_t read_line(void *arg) {
    struct jobs *all = arg;
    ssize_t len = getline(&all->line, &all->room, stdin);
    if (len < 0) return feof(stdin) ? 0 : -errno;
    if (all->line[len - 1] == '\n') all->line[len - 1] = '\0';
    return 1;
}

/* Takes a permit along, which `release` gives back. */
static int64_t begin(rt_cx *cx, struct jobs *all) {
    size_t len = strlen(all->line) + 1;
    struct job *j = calloc(1, sizeof *j + len);
    if (j == NULL) return rt_sem_release(all->free, 1), -ENOMEM;
    j->all = all;
    memcpy(j->command, all->line, len);
    int64_t r = rt_spawn(rt_cx_runtime(cx), run, j, release, NULL);
    if (r < 0) release(j);
    return r;
}

/* Who has all the permits knows that no job is left. */
static int64_t run_all(rt_cx *cx, void *state) {
    struct jobs *all = state;
    RT_BEGIN(&all->frame);
    for (;;) {
        RT_AWAIT_OP(all->r, cx, all->op, rt_submit_call(cx, read_line, all, &all->op));
        if (all->r <= 0) break;
        RT_AWAIT(all->r, rt_poll_acquire(cx, all->free, 1));
        if (all->r == 0) all->r = begin(cx, all);
        if (all->r < 0) break;
    }
    if (all->r < 0) fail(all, "next job", all->r);
    RT_AWAIT(all->r, rt_poll_acquire(cx, all->free, all->at_once));
    RT_END(all->r);
}

int main(int argc, char **argv) {
    struct jobs all = {.at_once = 4, .limit_ms = 10000};
    char why[256] = "";
    rt_runtime rt = 0;
    rt_config config;
    options_init(&config);
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--jobs") == 0 && parse_number(value, 1, 4096, &all.at_once)) continue;
        if (strcmp(name, "--limit") == 0 && parse_number(value, 1, A_DAY, &all.limit_ms)) continue;
        if (parse_common(&config, name, value)) continue;
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--jobs N] [--limit MS] < COMMANDS\n", *argv);
        return 2;
    }
    int64_t r = rt_new(&config, &rt, why, sizeof why);
    if (r == 0) r = rt_sem_new(all.at_once, &all.free);
    if (r == 0) r = rt_block_on(rt, run_all, &all);
    rt_free(rt);
    rt_sem_free(all.free);
    free(all.line);
    if (r < 0) fail(&all, rt == 0 ? why : "awaiting", r);
    if (ferror(stdout)) fail(&all, "stdout", -EIO);
    return atomic_load(&all.failed);
}
