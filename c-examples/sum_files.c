/* Adler-32 checksums of files, computed on threads that may block, printed as they come.
 *
 * It shows
 *   - calls that block or compute for long, away from the runtime's workers;
 *   - a drop function as the place through which every job passes once, done or not;
 *   - a channel from many to one, and a signal that is awaited beside it;
 *   - taking back what has not begun.
 *
 * Usage: sum_files [--engine auto|epoll|uring] [--workers N] [--threads 4] FILE...
 *
 *   --threads  how many files are read at a time.
 *
 * Try it: build/c-examples/sum_files c-examples/hello_task.c, or every file below /usr/bin
 * Each line has checksum, length and name. Ctrl-C takes back the files that nobody has begun to
 * read; those that are being read are read to their end.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include <asyncio_await.h>

#include "options.h"

struct sums;

struct job {
    struct sums *all;
    const char *path;
    rt_task task;
    int64_t r; /* -ECANCELED until it has begun */
    uint32_t sum;
    uint64_t len;
};

struct sums {
    rt_runtime rt;
    struct job *jobs;
    size_t count, left;
    rt_chan done;
    rt_signal interrupt;
    bool failed;

    rt_frame frame;
    int which;
    int64_t r;
    void *item;
};

/* ---- a job ---- */

/* On a thread of its own: it may block, and keeps nobody waiting. */
static int64_t sum_up(void *arg) {
    struct job *j = arg;
    unsigned char block[65536];
    uint32_t a = 1, b = 0;
    FILE *file = fopen(j->path, "rb");
    if (file == NULL) return j->r = -errno;
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0; j->len += n) {
        for (size_t i = 0; i < n; i++) {
            a = (a + block[i]) % 65521;
            b = (b + a) % 65521;
        }
    }
    j->r = ferror(file) ? -errno : 0;
    fclose(file);
    j->sum = b << 16 | a;
    return j->r;
}

/* Called once, after the call or instead of it. The channel has room for all. */
static void hand_over(void *arg) {
    struct job *j = arg;
    rt_chan_try_send(j->all->done, j);
}

/* Nobody joins them, so they are detached; by the handle one can still be taken back. A job that
 * cannot be queued is handed over at once. */
static void start(struct sums *all) {
    for (size_t i = 0; i < all->count; i++) {
        struct job *j = &all->jobs[i];
        int64_t r = rt_spawn_blocking(all->rt, sum_up, j, hand_over, &j->task);
        if (r == 0) rt_detach(j->task);
        if (r == 0) continue;
        j->r = r;
        hand_over(j);
    }
}

/* ---- the one that prints ---- */

static void print(struct sums *all, const struct job *j) {
    all->left--;
    if (j->r == 0) {
        printf("%08" PRIx32 " %" PRIu64 " %s\n", j->sum, j->len, j->path);
    } else {
        fprintf(stderr, "sum_files: %s: %s\n", j->path, rt_strerror(j->r));
        all->failed = true;
    }
}

/* The handle of a job that has ended is stale, and the call harmless. */
static void take_back(struct sums *all) {
    for (size_t i = 0; i < all->count; i++) rt_abort(all->jobs[i].task);
}

static int64_t print_all(rt_cx *cx, void *state) {
    struct sums *all = state;
    RT_BEGIN(&all->frame);
    start(all);
    while (all->left > 0) {
        RT_SELECT2(all->which, all->r, rt_poll_signal(cx, all->interrupt),
                   rt_poll_chan_recv(cx, all->done, &all->item));
        if (all->r < 0) RT_RETURN(all->r);
        if (all->which == 0) take_back(all);
        else print(all, all->item);
    }
    RT_END(0);
}

int main(int argc, char **argv) {
    struct sums all = {0};
    char why[256] = "";
    int i = 1;
    rt_config config;
    options_init(&config);
    config.blocking_threads = 4;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (parse_common(&config, argv[i], argv[i + 1])) continue;
        if (strcmp(argv[i], "--threads") != 0) break;
        if (!parse_number(argv[i + 1], 1, 512, &config.blocking_threads)) break;
    }
    all.count = all.left = (size_t)(argc - i);
    if (all.count == 0 || strncmp(argv[i], "--", 2) == 0) {
        fprintf(stderr, "usage: %s " OPTIONS_USAGE " [--threads N] FILE...\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    all.jobs = calloc(all.count, sizeof *all.jobs);
    int64_t r = all.jobs == NULL ? -ENOMEM : rt_new(&config, &all.rt, why, sizeof why);
    for (size_t k = 0; r == 0 && k < all.count; k++)
        all.jobs[k] = (struct job){.all = &all, .path = argv[i + (int)k], .r = -ECANCELED};
    if (r == 0) r = rt_chan_new(all.count, NULL, &all.done);
    if (r == 0) r = rt_signal_open(all.rt, SIGINT, &all.interrupt);
    if (r == 0) r = rt_block_on(all.rt, print_all, &all);
    rt_signal_close(all.interrupt);
    rt_free(all.rt);
    rt_chan_free(all.done);
    free(all.jobs);
    if (r == 0 && ferror(stdout)) r = -EIO;
    if (r < 0) fprintf(stderr, "sum_files: %s %s\n", rt_strerror(r), why);
    return r < 0 || all.failed;
}
