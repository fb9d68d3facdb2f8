/* The driver for where there is no libFuzzer: plays files, and then inputs that it makes of them.
 *
 *     replay [-everywhere] [-times=N] [-seconds=N] [-seed=N] [-out=DIR] FILE-OR-DIRECTORY...
 *
 * Each file is played `times` times, with -everywhere on each engine with each flavour; then what is made
 * of them, for `seconds`. An input that fails, or does not end, is written to `out`.
 */
#include "mutate.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 800, LIMIT = 30 /* seconds for an input */ };

struct input {
    size_t size;
    uint8_t data[ROOM];
};
static struct input *inputs;
static size_t input_count;
static struct input current;
static char failed[256];
static const char *program;

static void read_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        exit(2);
    }
    if (input_count % 64 == 0) inputs = realloc(inputs, (input_count + 64) * sizeof *inputs);
    struct input *in = &inputs[input_count++];
    ssize_t n = read(fd, in->data, ROOM);
    in->size = n > 0 ? (size_t)n : 0;
    close(fd);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void read_all(const char *path) {
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, by_name);
    if (n < 0) {
        read_file(path);
        return;
    }
    char file[1024];
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') read_file(file);
        free(entries[i]);
    }
    free(entries);
}

static void put(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) _exit(1);
}

/* In a signal handler: the input goes to its file, and the default action of the signal comes. */
static void on_failure(int sig) {
    int fd = open(failed, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, current.data, current.size) == (ssize_t)current.size) {
        put(sig == SIGALRM ? "an input does not end: " : "an input fails: ");
        put(failed);
        put("\nto play it again: ");
        put(program);
        put(" -times=1000 ");
        put(failed);
        put("\nwith ASYNCIO_FUZZ_TRACE=1 it says what it does\n");
    }
    signal(sig, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    if (sig == SIGALRM) abort();
    raise(sig);
}

static unsigned long played;

static void play(void) {
    alarm(LIMIT);
    LLVMFuzzerTestOneInput(current.data, current.size);
    alarm(0);
    played++;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fuzz(double seconds, unsigned seed) {
    double begin = now();
    for (unsigned i = 0; now() - begin < seconds; i++) {
        unsigned r = (seed + i) * 2654435761u;
        current.size = 0;
        if (input_count > 0) current = inputs[(r >> 7) % input_count];
        current.size = mutate(current.data, current.size, ROOM, r);
        play();
    }
}

int main(int argc, char **argv) {
    double seconds = 0;
    unsigned long times = 1, ways = 1;
    unsigned seed = (unsigned)time(NULL);
    const char *out = ".";
    program = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-seconds=", 9) == 0) seconds = atof(argv[i] + 9);
        else if (strncmp(argv[i], "-times=", 7) == 0) times = strtoul(argv[i] + 7, NULL, 10);
        else if (strncmp(argv[i], "-seed=", 6) == 0) seed = (unsigned)strtoul(argv[i] + 6, NULL, 10);
        else if (strcmp(argv[i], "-everywhere") == 0) ways = 4;
        else if (strncmp(argv[i], "-out=", 5) == 0) out = argv[i] + 5;
        else read_all(argv[i]);
    }
    snprintf(failed, sizeof failed, "%s/failed-%u", out, seed);
    int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], on_failure);

    double begin = now();
    for (unsigned long t = 0; t < times * ways; t++) {
        for (size_t i = 0; i < input_count; i++) {
            current = inputs[i];
            /* The lowest bits of an input choose engine and flavour. */
            if (ways > 1) current.data[0] = (uint8_t)((current.data[0] & ~3) | t % ways);
            play();
        }
    }
    if (seconds > 0) fuzz(seconds, seed);
    double took = now() - begin;
    printf("%lu executions in %.0f s, %.0f a second, seed %u\n", played, took, (double)played / (took > 0 ? took : 1), seed);
    free(inputs);
    return 0;
}
