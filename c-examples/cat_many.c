/* Writes files to stdout, in the order of the arguments, while it reads several of them at a time.
 *
 * It shows
 *   - a task a file, so many at a time, and a main task that gives each its turn: reading goes on
 *     side by side, writing one after the other;
 *   - how a task waits for something of the program's own: it looks, returns RT_PENDING, and is
 *     woken by whoever changes it;
 *   - operations on whatever stdout is: a file, a pipe, a terminal, a socket.
 *
 * Usage: cat_many [--engine auto|epoll|uring] [--workers N] [--jobs 16] FILE...
 *
 *   --workers  threads; 0, the default, runs everything on the main one.
 *   --jobs     how many files are open at a time.
 *
 * Try it: build/c-examples/cat_many c-examples/[a-z]*.c | wc
 * A file that cannot be read is reported and passed over; the exit status is then 1.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asyncio_await.h>

#include "options.h"

enum { BLOCK = 256 * 1024 }; /* that a task reads ahead of its turn, at most */

struct options {
    rt_config config;
    uint32_t jobs;
    char **paths;
    size_t count;
};

struct cat;

struct job {
    struct cat *cat;
    size_t index;
    rt_task task; /* 0: it could not be started, */
    int64_t why;  /* for this reason */

    rt_frame frame;
    rt_op op;
    rt_io io;
    int64_t n, m;
    size_t len, done;
    char *block; /* allocated while it is running */
};

struct cat {
    rt_runtime rt;
    const struct options *options;
    rt_io out;
    int out_flags;      /* to be restored, or -1 */
    atomic_size_t turn; /* whose it is to write: an index */
    int64_t out_error;  /* of the one whose turn it was, before it ended */
    bool complained;

    rt_frame frame;
    struct job *jobs;
    size_t started, joined;
    int64_t n, r;
};

/* ---- a file ---- */

/* To be awaited: the main task changes whose turn it is, and then wakes that one. */
static int64_t my_turn(const struct job *j) {
    return atomic_load(&j->cat->turn) == j->index ? 0 : RT_PENDING;
}

/* In its turn it writes what it has; before it, a whole block is read ahead. */
static bool wants_more(const struct job *j) {
    return j->len == 0 || (j->len < BLOCK && my_turn(j) == RT_PENDING);
}

/* The position is the descriptor's, for a FILE may be a pipe. Such a one is opened without waiting
 * for its other end. */
static int64_t cat_file(rt_cx *cx, void *state) {
    struct job *j = state;
    struct cat *all = j->cat;
    const char *path = all->options->paths[j->index];
    RT_BEGIN(&j->frame);
    RT_AWAIT_OP(j->n, cx, j->op, rt_submit_openat(cx, 0, path, O_RDONLY | O_NONBLOCK, 0, &j->op));
    if (j->n < 0) RT_RETURN(j->n);
    j->io = (rt_io)j->n;
    do {
        for (j->len = 0; wants_more(j); j->len += (size_t)j->n) {
            RT_AWAIT_OP(j->n, cx, j->op,
                        rt_submit_read(cx, j->io, j->block + j->len, BLOCK - j->len,
                                       RT_OFFSET_CURRENT, &j->op));
            if (j->n <= 0) break;
        }
        RT_AWAIT(j->m, my_turn(j));
        for (j->done = 0; j->done < j->len; j->done += (size_t)j->m) {
            RT_AWAIT_OP(j->m, cx, j->op,
                        rt_submit_write(cx, all->out, j->block + j->done, j->len - j->done,
                                        RT_OFFSET_CURRENT, 0, &j->op));
            if (j->m > 0) continue;
            all->out_error = j->m < 0 ? j->m : -EIO;
            RT_RETURN(0);
        }
    } while (j->n > 0);
    RT_END(j->n);
}

static void drop_job(void *state) {
    struct job *j = state;
    rt_close(j->io);
    free(j->block);
}

static void start_job(struct cat *c) {
    struct job *j = &c->jobs[c->started];
    *j = (struct job){.cat = c, .index = c->started++, .block = malloc(BLOCK), .why = -ENOMEM};
    if (j->block != NULL) j->why = rt_spawn(c->rt, cat_file, j, drop_job, &j->task);
    if (j->why < 0) free(j->block);
}

/* ---- all files ---- */

static void give_turn(struct cat *c) {
    atomic_store(&c->turn, c->joined);
    rt_task_wake(c->jobs[c->joined].task);
}

static void complain(struct cat *c, const char *what, int64_t r) {
    fprintf(stderr, "cat_many: %s: %s\n", what, rt_strerror(r));
    c->complained = true;
}

static int64_t cat_all(rt_cx *cx, void *state) {
    struct cat *c = state;
    const struct options *o = c->options;
    RT_BEGIN(&c->frame);
    for (c->joined = 0; c->joined < o->count; c->joined++) {
        while (c->started < o->count && c->started < c->joined + o->jobs) start_job(c);
        c->r = c->jobs[c->joined].why;
        if (c->r == 0) {
            give_turn(c);
            RT_AWAIT(c->n, rt_poll_join(cx, c->jobs[c->joined].task, &c->r));
            if (c->n < 0) c->r = c->n;
        }
        if (c->r < 0) complain(c, o->paths[c->joined], c->r);
        if (c->out_error < 0) RT_RETURN(c->out_error);
    }
    RT_END(0);
}

/* ---- stdout ---- */

/* Operations want a descriptor that does not block. O_NONBLOCK would be seen by all who share
 * stdout, the shell among them, so a pipe or a terminal is opened once more. What cannot be, as a
 * socket, is made non-blocking for the time being. A regular file is used as it is: opened anew
 * it would lose its position. */
static int64_t open_out(struct cat *c) {
    struct stat about;
    if (fstat(STDOUT_FILENO, &about) < 0) return -errno;
    int fd = -1;
    uint32_t flags = RT_WRITABLE;
    if (!S_ISREG(about.st_mode))
        fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        fd = STDOUT_FILENO;
        flags |= RT_IO_BORROWED;
        if (!S_ISREG(about.st_mode)) c->out_flags = fcntl(fd, F_GETFL);
    }
    if (c->out_flags >= 0) fcntl(fd, F_SETFL, c->out_flags | O_NONBLOCK);
    int64_t r = rt_register_fd(c->rt, fd, flags, &c->out);
    /* What has no readiness, as a file or /dev/null, has operations all the same. */
    if (r == -EPERM) r = rt_register_fd(c->rt, fd, flags & ~RT_WRITABLE, &c->out);
    if (r < 0 && fd != STDOUT_FILENO) close(fd);
    return r;
}

static void restore_out(const struct cat *c) {
    if (c->out_flags >= 0) fcntl(STDOUT_FILENO, F_SETFL, c->out_flags);
}

/* ---- the program ---- */

static bool parse_option(struct options *o, const char *name, const char *value) {
    if (strcmp(name, "--jobs") == 0) return parse_number(value, 1, 4096, &o->jobs);
    return parse_common(&o->config, name, value);
}

static bool parse(struct options *o, int argc, char **argv) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2)
        if (i + 1 == argc || !parse_option(o, argv[i], argv[i + 1])) return false;
    o->paths = argv + i;
    o->count = (size_t)(argc - i);
    return o->count > 0;
}

static int64_t open_runtime(struct cat *c) {
    char why[256] = "";
    int64_t r = rt_new(&c->options->config, &c->rt, why, sizeof why);
    if (r < 0) complain(c, why, r);
    return r;
}

int main(int argc, char **argv) {
    struct options o = {.jobs = 16};
    options_init(&o.config);
    if (!parse(&o, argc, argv)) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--jobs FILES] FILE...\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error like others */
    struct cat c = {.options = &o, .out_flags = -1};
    c.jobs = calloc(o.count, sizeof *c.jobs);
    if (c.jobs == NULL) {
        complain(&c, "memory", -ENOMEM);
    } else if (open_runtime(&c) == 0) {
        int64_t r = open_out(&c);
        if (r == 0) r = rt_block_on(c.rt, cat_all, &c);
        if (r < 0) complain(&c, "stdout", r);
        rt_free(c.rt); /* and with it the tasks that are left, if it ended early */
        restore_out(&c);
    }
    free(c.jobs);
    return c.complained;
}
