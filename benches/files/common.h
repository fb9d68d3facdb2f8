/* What the programs that read a file have in common: their command line, the file, the random
 * places, the clocks and the figures.
 *
 * The file is 64 MiB long, and every 64-bit word in it is its own place, so that a read which went
 * wrong does not go unnoticed. Each program reads it from end to end before it measures: what is
 * measured is the way to the page cache and back.
 */
#ifndef BENCH_FILES_COMMON_H
#define BENCH_FILES_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, DEPTH = 64, FILE_SIZE = 64 << 20, BLOCKS = FILE_SIZE / BLOCK };

/* The same places in the same order for everybody. */
struct reads {
    int fd;
    uint64_t random;
    uint64_t wanted, started, done;
    uint64_t cpu, time; /* when it began */
};

static _Noreturn void die(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) < 0) die("clock_gettime", errno);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the file ---- */

static void check_block(const void *data, uint64_t offset, int64_t result) {
    uint64_t first, last;
    if (result < 0) die("read", (int)-result);
    if (result != BLOCK) die("a short read", EIO);
    memcpy(&first, data, sizeof first);
    memcpy(&last, (const char *)data + BLOCK - sizeof last, sizeof last);
    if (first != offset || last != offset + BLOCK - sizeof last) die("the bytes are wrong", EIO);
}

static void write_file(int fd) {
    uint64_t words[BLOCK / sizeof(uint64_t)];
    for (uint64_t offset = 0; offset < FILE_SIZE; offset += BLOCK) {
        for (size_t i = 0; i < BLOCK / sizeof words[0]; i++) words[i] = offset + i * sizeof words[0];
        ssize_t n = pwrite(fd, words, BLOCK, (off_t)offset);
        if (n != BLOCK) die("write", n < 0 ? errno : ENOSPC);
    }
}

/* Makes the file unless it is there. */
static int open_file(const char *path) {
    struct stat about;
    char block[BLOCK];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || fstat(fd, &about) < 0) die(path, errno);
    if (about.st_size != FILE_SIZE) write_file(fd);
    for (uint64_t offset = 0; offset < FILE_SIZE; offset += BLOCK) {
        ssize_t n = pread(fd, block, BLOCK, (off_t)offset);
        check_block(block, offset, n < 0 ? -errno : n);
    }
    return fd;
}

/* ---- the reads ---- */

static bool parse_count(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static void begin_reads(struct reads *r, const char *path, uint64_t wanted) {
    *r = (struct reads){.fd = open_file(path), .random = 88172645463325252u, .wanted = wanted};
    r->cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    r->time = read_clock(CLOCK_MONOTONIC);
}

/* Whether there is one more to start; then *offset is its place. */
static inline bool next_read(struct reads *r, uint64_t *offset) {
    if (r->started == r->wanted) return false;
    r->started++;
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    *offset = (r->random >> 32) % BLOCKS * BLOCK;
    return true;
}

static inline void end_read(struct reads *r, const void *data, uint64_t offset, int64_t result) {
    check_block(data, offset, result);
    r->done++;
}

/* The CPU time is that of all threads: the pool's, and the kernel's workers for a ring. */
static void report_reads(const struct reads *r) {
    double cpu = (double)(read_clock(CLOCK_PROCESS_CPUTIME_ID) - r->cpu);
    double ns = (double)(read_clock(CLOCK_MONOTONIC) - r->time);
    if (r->done != r->wanted) die("reads were lost", EIO);
    printf("reads %" PRIu64 "\nseconds %.3f\nrate %.0f\n", r->done, ns / 1e9,
           (double)r->done / ns * 1e9);
    printf("cpu_ns %.1f\nns %.1f\n", cpu / (double)r->done, ns / (double)r->done);
}

#endif
