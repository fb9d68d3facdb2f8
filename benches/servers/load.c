/* Loads an echo server, checks every byte that comes back, and measures.
 *
 * It keeps so many connections with so many messages each on the way, and sends a new message for
 * every one that came back: a closed loop, whose latencies are those of a server that is never
 * sent more than it can take. Each connection's stream is a piece of one long pattern, so what is
 * lost, doubled, or another's does not go unnoticed; nothing is copied for that.
 *
 * Usage: load --port P [--connections 64] [--size 64] [--depth 1] [--seconds 2 | --messages N]
 *             [--warmup 0.3] [--threads 1] [--pid SERVER] [--pause US | --reconnect 1]
 *
 * With --pause it sleeps that long before each message, so that the server has gone idle, and does
 * not sleep while it waits for the answer: what it measures is how the server wakes up. That takes
 * one connection a thread. With --reconnect each message has a connection of its own.
 *
 * It prints one "name value" a line. With --pid also the CPU time that the server took, exactly
 * for the time of the measurement. Without --messages it warms up first and then measures so many
 * seconds; with it, it measures from the first message to the last.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CHUNK = 64 * 1024,
    PERIOD = 65521, /* prime: no message size repeats within it */
    EVENTS = 256,
    STALL_MS = 10000,
    ADDRESSES = 200, /* 127.0.0.1 and those after it */
    OCTAVE = 64, /* histogram buckets to a doubling: within 1.6 % */
    BUCKETS = 59 * OCTAVE,
};

struct options {
    double port, connections, size, depth, seconds, messages, warmup, threads, pid, pause,
        reconnect; /* as read */
};

struct conn {
    int fd;
    uint64_t phase;           /* where in the pattern its stream begins */
    uint64_t sent, received;  /* bytes */
    uint64_t started, echoed; /* messages */
    uint64_t *sent_at;        /* of the last `depth` messages */
};

struct worker {
    const struct options *options;
    pthread_t thread;
    int epoll;
    struct conn *conns;
    size_t count, size, depth;
    uint64_t quota; /* messages to send, UINT64_MAX if time decides */
    uint64_t outstanding;
    bool measuring;
    _Atomic uint64_t echoed;
    uint64_t histogram[BUCKETS];
    char buf[CHUNK];
};

enum { WARM, MEASURE, STOP };
static atomic_int phase = WARM;
static pthread_barrier_t connected;
static char pattern[PERIOD + CHUNK];

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

static _Noreturn void die_errno(const char *what) { die(what, strerror(errno)); }

/* ---- time ---- */

static uint64_t read_clock(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) < 0) die_errno("clock_gettime");
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void sleep_for(double seconds) {
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) < 0 && errno == EINTR) continue;
}

static size_t bucket_of(uint64_t ns) {
    if (ns < 2 * OCTAVE) return ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - 6;
    return shift * OCTAVE + (ns >> shift);
}

static double bucket_us(size_t bucket) {
    if (bucket < 2 * OCTAVE) return (double)bucket / 1e3;
    size_t shift = bucket / OCTAVE - 1;
    return (double)((bucket - shift * OCTAVE) << shift) / 1e3;
}

/* ---- a connection ---- */

static const char *pattern_at(const struct conn *c, uint64_t offset) {
    return pattern + (c->phase + offset) % PERIOD;
}

static void push(struct worker *w, struct conn *c) {
    uint64_t end = c->started * w->size;
    while (c->sent < end) {
        size_t n = end - c->sent < CHUNK ? (size_t)(end - c->sent) : CHUNK;
        ssize_t r = send(c->fd, pattern_at(c, c->sent), n, MSG_NOSIGNAL);
        if (r >= 0) c->sent += (uint64_t)r;
        else if (errno == EAGAIN) return;
        else if (errno != EINTR) die_errno("send");
    }
}

static void start_messages(struct worker *w, struct conn *c, uint64_t n, uint64_t now) {
    if (n > w->quota) n = w->quota;
    if (w->quota != UINT64_MAX) w->quota -= n;
    for (uint64_t i = 0; i < n; i++) c->sent_at[c->started++ % w->depth] = now;
    w->outstanding += n;
}

/* Returns how many messages are complete with these bytes. */
static uint64_t take(struct worker *w, struct conn *c, size_t n, uint64_t now) {
    if (c->received + n > c->sent) die("echo", "more came back than was sent");
    if (memcmp(w->buf, pattern_at(c, c->received), n) != 0) die("echo", "the bytes are wrong");
    c->received += n;
    uint64_t whole = c->received / w->size, done = whole - c->echoed;
    while (c->echoed < whole) {
        uint64_t took = now - c->sent_at[c->echoed++ % w->depth];
        if (w->measuring) w->histogram[bucket_of(took)]++;
    }
    w->outstanding -= done;
    atomic_store_explicit(&w->echoed, w->echoed + done, memory_order_relaxed);
    return done;
}

static void open_conn(struct worker *w, struct conn *c);

/* What follows on `done` messages that came back. */
static void go_on(struct worker *w, struct conn *c, uint64_t done, uint64_t now) {
    if (atomic_load_explicit(&phase, memory_order_relaxed) == STOP || done == 0) return;
    if (w->options->pause > 0) return;
    if (w->options->reconnect > 0) {
        close(c->fd);
        now = read_clock(CLOCK_MONOTONIC);
        open_conn(w, c);
    }
    start_messages(w, c, done, now);
    push(w, c);
}

/* Edge-triggered: reads until the socket has no more. */
static void pull(struct worker *w, struct conn *c) {
    for (;;) {
        ssize_t n = recv(c->fd, w->buf, sizeof w->buf, 0);
        if (n == 0) die("recv", "the server closed a connection");
        if (n < 0) {
            if (errno == EAGAIN) return;
            if (errno == EINTR) continue;
            die_errno("recv");
        }
        uint64_t now = read_clock(CLOCK_MONOTONIC);
        go_on(w, c, take(w, c, (size_t)n, now), now);
        if ((size_t)n < sizeof w->buf) return;
    }
}

/* From one address after the other: the ports of a single one do not last, as each is kept for a
 * minute after its connection. */
static void use_next_address(int fd) {
    static atomic_uint last;
    const int on = 1;
    const unsigned next = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) % ADDRESSES;
    const struct sockaddr_in name = {.sin_family = AF_INET,
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK + next)};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&name, sizeof name) < 0) die_errno("bind");
}

/* Its stream begins anew. */
static void open_conn(struct worker *w, struct conn *c) {
    const struct sockaddr_in name = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)w->options->port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->sent = c->received = c->started = c->echoed = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die_errno("socket");
    use_next_address(c->fd);
    if (connect(c->fd, (const struct sockaddr *)&name, sizeof name) < 0) die_errno("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0) die_errno("fcntl");
    if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0) die_errno("epoll_ctl");
}

static void make_conn(struct worker *w, struct conn *c, uint64_t number) {
    c->phase = number * 7919 % PERIOD;
    c->sent_at = calloc(w->depth, sizeof *c->sent_at);
    if (c->sent_at == NULL) die_errno("calloc");
    open_conn(w, c);
}

/* ---- a thread ---- */

/* One message after the other, each after a pause. */
static void ping(struct worker *w, struct conn *c) {
    while (w->quota > 0 && atomic_load_explicit(&phase, memory_order_relaxed) != STOP) {
        sleep_for(w->options->pause / 1e6);
        w->measuring = atomic_load_explicit(&phase, memory_order_relaxed) == MEASURE;
        uint64_t now = read_clock(CLOCK_MONOTONIC), begun = now;
        start_messages(w, c, 1, now);
        push(w, c);
        for (; w->outstanding > 0; now = read_clock(CLOCK_MONOTONIC)) {
            pull(w, c);
            if (now - begun > STALL_MS * UINT64_C(1000000)) die("recv", "no answer for too long");
        }
    }
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct epoll_event events[EVENTS];
    pthread_barrier_wait(&connected);
    if (w->options->pause > 0) {
        ping(w, &w->conns[0]);
        return NULL;
    }
    for (size_t i = 0; i < w->count; i++) {
        start_messages(w, &w->conns[i], w->depth, read_clock(CLOCK_MONOTONIC));
        push(w, &w->conns[i]);
    }
    while (w->outstanding > 0) {
        int n = epoll_wait(w->epoll, events, EVENTS, STALL_MS);
        if (n < 0 && errno != EINTR) die_errno("epoll_wait");
        if (n == 0) die("epoll_wait", "no answer for too long");
        w->measuring = atomic_load_explicit(&phase, memory_order_relaxed) == MEASURE;
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) push(w, c);
            if (events[i].events & ~(uint32_t)EPOLLOUT) pull(w, c);
        }
    }
    return NULL;
}

/* This thread's share of something that is counted in whole pieces. */
static uint64_t share(double total, double threads, size_t index) {
    uint64_t all = (uint64_t)total, parts = (uint64_t)threads;
    return all / parts + (index < all % parts);
}

static void open_worker(struct worker *w, const struct options *o, size_t index) {
    w->options = o;
    w->size = (size_t)o->size;
    w->depth = (size_t)o->depth;
    w->count = share(o->connections, o->threads, index);
    w->quota = o->messages > 0 ? share(o->messages, o->threads, index) : UINT64_MAX;
    w->conns = calloc(w->count, sizeof *w->conns);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->conns == NULL || w->epoll < 0) die_errno("epoll_create1");
    for (size_t i = 0; i < w->count; i++)
        make_conn(w, &w->conns[i], index + i * (size_t)o->threads);
    if (pthread_create(&w->thread, NULL, work, w) != 0) die("pthread_create", "no thread");
}

static void close_worker(struct worker *w) {
    for (size_t i = 0; i < w->count; i++) {
        close(w->conns[i].fd);
        free(w->conns[i].sent_at);
    }
    free(w->conns);
    close(w->epoll);
}

/* ---- the measurement ---- */

struct sample {
    uint64_t time, server_cpu, own_cpu, echoed;
};

static struct sample take_sample(struct worker *workers, size_t count, clockid_t *server) {
    struct sample s = {.time = read_clock(CLOCK_MONOTONIC),
                       .server_cpu = server != NULL ? read_clock(*server) : 0,
                       .own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID)};
    for (size_t i = 0; i < count; i++)
        s.echoed += atomic_load_explicit(&workers[i].echoed, memory_order_relaxed);
    return s;
}

static void print_latencies(struct worker *workers, size_t count) {
    static const struct {
        const char *name;
        double part;
    } wanted[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}, {"max_us", 1}};
    static uint64_t all[BUCKETS];
    uint64_t total = 0, seen = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (size_t i = 0; i < count; i++) all[b] += workers[i].histogram[b];
        total += all[b];
    }
    size_t next = 0;
    for (size_t b = 0; b < BUCKETS && total > 0; b++) {
        seen += all[b];
        for (; next < 4 && (double)seen >= wanted[next].part * (double)total; next++)
            printf("%s %.1f\n", wanted[next].name, bucket_us(b));
    }
}

/* Who had no time left. Where it was the load, the server could have done more than `rate` says,
 * and found fewer messages in each of its turns. */
static const char *bottleneck(double load_busy, double server_busy) {
    bool load = load_busy >= 0.9, server = server_busy >= 0.9;
    return load && server ? "both" : load ? "load" : server ? "server" : "neither";
}

static void report(const struct options *o, const struct sample *a, const struct sample *b) {
    double ns = (double)(b->time - a->time), messages = (double)(b->echoed - a->echoed);
    double server_ns = (double)(b->server_cpu - a->server_cpu);
    double load_busy = (double)(b->own_cpu - a->own_cpu) / ns / o->threads;
    printf("messages %.0f\nseconds %.3f\nrate %.0f\n", messages, ns / 1e9, messages / ns * 1e9);
    printf("load_busy %.3f\n", load_busy);
    if (o->pid > 0)
        printf("server_busy %.3f\nserver_cpu_ns %.1f\n", server_ns / ns, server_ns / messages);
    printf("bottleneck %s\n", bottleneck(load_busy, server_ns / ns));
}

static void measure(const struct options *o, struct worker *workers) {
    size_t count = (size_t)o->threads;
    clockid_t clock, *server = NULL;
    if (o->pid > 0) {
        int error = clock_getcpuclockid((pid_t)o->pid, &clock);
        if (error != 0) die("--pid", strerror(error));
        server = &clock;
    }
    bool by_time = o->messages == 0;
    if (!by_time) atomic_store(&phase, MEASURE);
    struct sample before = take_sample(workers, count, server);
    pthread_barrier_wait(&connected);
    if (by_time) {
        sleep_for(o->warmup);
        before = take_sample(workers, count, server);
        atomic_store(&phase, MEASURE);
        sleep_for(o->seconds);
    } else {
        for (size_t i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
    }
    struct sample after = take_sample(workers, count, server);
    atomic_store(&phase, STOP);
    for (size_t i = 0; i < count && by_time; i++) pthread_join(workers[i].thread, NULL);
    report(o, &before, &after);
    print_latencies(workers, count);
}

/* ---- the program ---- */

static bool parse(struct options *o, int argc, char **argv) {
    const struct {
        const char *name;
        double *value, min, max;
    } known[] = {
        {"--port", &o->port, 1, 65535},       {"--connections", &o->connections, 1, 1e6},
        {"--size", &o->size, 1, 1e9},         {"--depth", &o->depth, 1, 1e6},
        {"--seconds", &o->seconds, 0.01, 1e6}, {"--messages", &o->messages, 1, 1e15},
        {"--warmup", &o->warmup, 0, 1e6},     {"--threads", &o->threads, 1, 1024},
        {"--pid", &o->pid, 1, 1e9},            {"--pause", &o->pause, 1, 1e9},
        {"--reconnect", &o->reconnect, 0, 1},
    };
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        while (k < sizeof known / sizeof known[0] && strcmp(argv[i], known[k].name) != 0) k++;
        if (k == sizeof known / sizeof known[0] || i + 1 == argc) return false;
        char *end;
        *known[k].value = strtod(argv[i + 1], &end);
        if (end == argv[i + 1] || *end != '\0') return false;
        if (!(*known[k].value >= known[k].min && *known[k].value <= known[k].max)) return false;
    }
    if (o->pause > 0 && (o->connections != o->threads || o->depth > 1)) return false;
    if (o->reconnect > 0 && (o->pause > 0 || o->depth > 1)) return false;
    return o->port > 0 && o->connections >= o->threads;
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Anything without a period of its own would do. */
static void fill_pattern(void) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < PERIOD; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pattern[i] = (char)(x >> 32);
    }
    for (size_t i = PERIOD; i < sizeof pattern; i++) pattern[i] = pattern[i - PERIOD];
}

int main(int argc, char **argv) {
    struct options o = {
        .connections = 64, .size = 64, .depth = 1, .seconds = 2, .warmup = 0.3, .threads = 1};
    if (!parse(&o, argc, argv)) {
        fprintf(stderr,
                "usage: %s --port P [--connections C] [--size BYTES] [--depth D]\n"
                "       [--seconds S | --messages N] [--warmup S] [--threads T] [--pid SERVER]\n"
                "       [--pause US | --reconnect 1]\n",
                argv[0]);
        return 2;
    }
    raise_descriptor_limit();
    fill_pattern();
    size_t count = (size_t)o.threads;
    struct worker *workers = calloc(count, sizeof *workers);
    if (workers == NULL) die_errno("calloc");
    pthread_barrier_init(&connected, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++) open_worker(&workers[i], &o, i);
    measure(&o, workers);
    for (size_t i = 0; i < count; i++) close_worker(&workers[i]);
    free(workers);
    return 0;
}
