/* Copies a file, with several of its blocks on the way at a time.
 *
 * It shows
 *   - file operations: a submission, and an await of the outcome;
 *   - memory that is lent to operations: it lies in a task's state, which is dropped after the last
 *     operation on it has ended, also if the task is aborted or fails;
 *   - a task that shares its work out to others, and joins them.
 *
 * Usage: file_copy [--engine auto|epoll|uring] [--workers N] [--depth 8] [--block 131072] FROM TO
 *
 *   --workers  threads; 0, the default, runs everything on the main one.
 *   --depth    how many blocks are on the way at a time.
 *   --block    their size in bytes.
 *
 * Try it:
 *   build/c-examples/file_copy --depth 16 /etc/services /tmp/copy && cmp /etc/services /tmp/copy
 * Blocks of zeroes become holes. A copy that failed, or whose source changed meanwhile, is reported
 * and left as it is.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include <asyncio_await.h>

#include "options.h"

struct options {
    rt_config config;
    uint32_t depth, block;
    const char *from, *to;
};

struct copy {
    rt_runtime rt;
    const struct options *options;
    const char *what; /* is being done, for the message if it fails */
    rt_io from, to;
    struct stat from_status, to_status;

    /* of all copiers */
    atomic_uint_fast64_t next;   /* where the block begins that nobody has taken yet */
    atomic_uint_fast64_t end;    /* of what was found, */
    atomic_uint_fast64_t copied; /* and how much that was */
    atomic_bool stop;            /* one of them failed */

    /* of the main coroutine and those that it awaits */
    rt_frame frame, open_frame, copy_frame;
    rt_op op;
    rt_task *copiers;
    size_t started, joined;
    int64_t r, n, joined_r, worst;
};

struct copier {
    struct copy *copy;
    rt_frame frame;
    rt_op op;
    int64_t n;
    uint64_t offset;
    size_t len, done;
    char block[];
};

/* ---- a copier: one block after the other ---- */

static bool is_zero(const char *data, size_t len) {
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static void account(struct copy *all, uint64_t offset, size_t len) {
    uint_fast64_t end = atomic_load(&all->end);
    while (end < offset + len && !atomic_compare_exchange_weak(&all->end, &end, offset + len))
        continue;
    atomic_fetch_add(&all->copied, len);
}

/* A result that is short says nothing of the end: only a read of nothing does. */
static int64_t copy_blocks(rt_cx *cx, struct copier *c) {
    struct copy *all = c->copy;
    const size_t size = all->options->block;
    RT_BEGIN(&c->frame);
    do {
        c->offset = atomic_fetch_add(&all->next, size);
        for (c->len = 0; c->len < size; c->len += (size_t)c->n) {
            RT_AWAIT_OP(c->n, cx, c->op,
                        rt_submit_read(cx, all->from, c->block + c->len, size - c->len,
                                       c->offset + c->len, &c->op));
            if (c->n < 0) RT_RETURN(c->n);
            if (c->n == 0) break;
        }
        if (c->len == 0) break;
        /* The target is empty as yet, and as long as it must be in the end: zeroes are there. */
        c->done = is_zero(c->block, c->len) ? c->len : 0;
        for (; c->done < c->len; c->done += (size_t)c->n) {
            RT_AWAIT_OP(c->n, cx, c->op,
                        rt_submit_write(cx, all->to, c->block + c->done, c->len - c->done,
                                        c->offset + c->done, 0, &c->op));
            if (c->n <= 0) RT_RETURN(c->n < 0 ? c->n : -EIO);
        }
        account(all, c->offset, c->len);
    } while (c->len == size && !atomic_load(&all->stop));
    RT_END(0);
}

static int64_t poll_copier(rt_cx *cx, void *state) {
    struct copier *c = state;
    int64_t r = copy_blocks(cx, c);
    if (rt_failed(r)) atomic_store(&c->copy->stop, true);
    return r;
}

static int64_t start_copier(struct copy *c) {
    struct copier *copier = malloc(sizeof *copier + c->options->block);
    if (copier == NULL) return -ENOMEM;
    *copier = (struct copier){.copy = c};
    int64_t r = rt_spawn(c->rt, poll_copier, copier, free, &c->copiers[c->started]);
    if (r < 0) free(copier);
    else c->started++;
    return r;
}

/* ---- the whole ---- */

static int64_t look_at(rt_io io, struct stat *out) {
    if (fstat((int)rt_io_fd(io), out) < 0) return -errno;
    return S_ISREG(out->st_mode) ? 0 : -EINVAL;
}

static bool are_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Neither waits for the other end of a pipe, which would be refused anyhow. The target is cut only
 * when it is known not to be the source. */
static int64_t open_both(rt_cx *cx, struct copy *c) {
    const struct options *o = c->options;
    RT_BEGIN(&c->open_frame);
    c->what = o->from;
    RT_AWAIT_OP(c->n, cx, c->op,
                rt_submit_openat(cx, 0, o->from, O_RDONLY | O_NONBLOCK, 0, &c->op));
    if (c->n < 0) RT_RETURN(c->n);
    c->from = (rt_io)c->n;
    if ((c->n = look_at(c->from, &c->from_status)) < 0) RT_RETURN(c->n);

    c->what = o->to;
    RT_AWAIT_OP(c->n, cx, c->op,
                rt_submit_openat(cx, 0, o->to, O_WRONLY | O_CREAT | O_NONBLOCK,
                                 c->from_status.st_mode & 0777, &c->op));
    if (c->n < 0) RT_RETURN(c->n);
    c->to = (rt_io)c->n;
    if ((c->n = look_at(c->to, &c->to_status)) < 0) RT_RETURN(c->n);
    if (are_same(&c->from_status, &c->to_status)) {
        c->what = "source and target are the same file";
        RT_RETURN(-EINVAL);
    }
    RT_AWAIT_OP(c->n, cx, c->op, rt_submit_ftruncate(cx, c->to, 0, &c->op));
    RT_END(c->n);
}

/* Joins all that were started, whatever became of them. */
static int64_t copy_all(rt_cx *cx, struct copy *c) {
    RT_BEGIN(&c->copy_frame);
    c->what = "copying";
    for (c->worst = 0; c->started < c->options->depth && c->worst == 0;) c->worst = start_copier(c);
    if (c->worst < 0) atomic_store(&c->stop, true);
    for (c->joined = 0; c->joined < c->started; c->joined++) {
        RT_AWAIT(c->n, rt_poll_join(cx, c->copiers[c->joined], &c->joined_r));
        if (c->n == 0) c->n = c->joined_r;
        if (c->worst == 0) c->worst = c->n;
    }
    RT_END(c->worst);
}

/* Closing is an operation as well, because some file systems report only then what they lost. */
static int64_t copy_file(rt_cx *cx, void *state) {
    struct copy *c = state;
    RT_BEGIN(&c->frame);
    RT_AWAIT(c->r, open_both(cx, c));
    if (c->r < 0) RT_RETURN(c->r);
    RT_AWAIT(c->r, copy_all(cx, c));
    if (c->r < 0) RT_RETURN(c->r);
    c->what = "the source changed";
    if (atomic_load(&c->copied) != atomic_load(&c->end)) RT_RETURN(-EIO);

    c->what = c->options->to;
    RT_AWAIT_OP(c->r, cx, c->op, rt_submit_ftruncate(cx, c->to, atomic_load(&c->end), &c->op));
    if (c->r < 0) RT_RETURN(c->r);
    RT_AWAIT_OP(c->r, cx, c->op, rt_submit_fsync(cx, c->to, &c->op));
    if (c->r < 0) RT_RETURN(c->r);
    RT_AWAIT_OP(c->r, cx, c->op, rt_submit_close(cx, c->to, &c->op));
    RT_END(c->r);
}

/* ---- the program ---- */

static bool parse_option(struct options *o, const char *name, const char *value) {
    if (strcmp(name, "--depth") == 0) return parse_number(value, 1, 4096, &o->depth);
    if (strcmp(name, "--block") == 0) return parse_number(value, 1, 1 << 30, &o->block);
    return parse_common(&o->config, name, value);
}

static bool parse(struct options *o, int argc, char **argv) {
    if (argc < 3 || argc % 2 == 0) return false;
    for (int i = 1; i < argc - 2; i += 2)
        if (!parse_option(o, argv[i], argv[i + 1])) return false;
    o->from = argv[argc - 2];
    o->to = argv[argc - 1];
    return true;
}

static int64_t open_runtime(struct copy *c, char *why, size_t why_len) {
    c->what = why;
    return rt_new(&c->options->config, &c->rt, why, why_len);
}

int main(int argc, char **argv) {
    struct options o = {.depth = 8, .block = 128 * 1024};
    options_init(&o.config);
    if (!parse(&o, argc, argv)) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--depth BLOCKS] [--block BYTES] FROM TO\n",
                argv[0]);
        return 2;
    }
    char why[256] = "";
    struct copy c = {.options = &o, .what = "memory"};
    c.copiers = calloc(o.depth, sizeof *c.copiers);
    int64_t r = c.copiers == NULL ? -ENOMEM : open_runtime(&c, why, sizeof why);
    if (r == 0) r = rt_block_on(c.rt, copy_file, &c);
    rt_free(c.rt); /* closes what is open */
    free(c.copiers);
    if (r < 0) fprintf(stderr, "file_copy: %s: %s\n", c.what, rt_strerror(r));
    else printf("%" PRIuFAST64 " bytes\n", atomic_load(&c.copied));
    return r < 0;
}
