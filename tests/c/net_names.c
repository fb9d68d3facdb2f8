/* Connecting to a host with many addresses: families take turns, one that fails lets the next begin
 * at once, one that hangs has 250 ms, the first that answers wins, and the others are closed.
 *
 * This program is its own resolver. All addresses are of this machine: at the first of each
 * network below somebody listens, the second refuses, at the third connections hang.
 */
#include "net.h"

#include <arpa/inet.h>
#include <netdb.h>

#define GOOD "127.0.0.2"
#define REFUSES "127.0.0.3"
#define HANGS "127.0.0.4"
#define GOOD6 "::1"

enum { MANY = 12 };
static const uint64_t HEAD_START = 250000000;

/* ---- the resolver ---- */

static const char *answers[2 * MANY];
static int answer_count;
static atomic_int asked;

static void answer(int times, const char *text) {
    while (times-- > 0) answers[answer_count++] = text;
}

struct entry {
    struct addrinfo info;
    struct sockaddr_in6 addr; /* the larger one */
};

static struct addrinfo *entry_new(const char *text, const char *service, struct addrinfo *next) {
    struct entry *e = calloc(1, sizeof *e);
    bool is_v6 = strchr(text, ':') != NULL;
    uint16_t port = htons((uint16_t)(service != NULL ? atoi(service) : 0));
    struct sockaddr_in *v4 = (struct sockaddr_in *)&e->addr;
    CHECK(e != NULL);
    CHECK_EQ(inet_pton(is_v6 ? AF_INET6 : AF_INET, text, is_v6 ? (void *)&e->addr.sin6_addr : &v4->sin_addr), 1);
    e->addr.sin6_family = is_v6 ? AF_INET6 : AF_INET;
    e->addr.sin6_port = port; /* at the same place in both */
    e->info.ai_family = e->addr.sin6_family;
    e->info.ai_socktype = SOCK_STREAM;
    e->info.ai_protocol = IPPROTO_TCP;
    e->info.ai_addr = (struct sockaddr *)&e->addr;
    e->info.ai_addrlen = is_v6 ? sizeof e->addr : sizeof *v4;
    e->info.ai_next = next;
    return &e->info;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    (void)hints;
    atomic_fetch_add(&asked, 1);
    if (strcmp(node, "host.test") != 0) return EAI_NONAME;
    *out = NULL;
    for (int i = answer_count; i > 0; i--) *out = entry_new(answers[i - 1], service, *out);
    return 0;
}

void freeaddrinfo(struct addrinfo *first) {
    while (first != NULL) {
        struct addrinfo *next = first->ai_next;
        free(first);
        first = next;
    }
}

/* ---- the addresses ---- */

struct street {
    rt_runtime rt;
    rt_io good, good6;
    uint16_t port;
    int hangs, filling[4];
};

static void street_open(struct street *s) {
    rt_addr at;
    memset(s, 0, sizeof *s);
    answer_count = 0;
    s->rt = test_runtime();
    CHECK_EQ(rt_tcp_listen(s->rt, GOOD, 0, NULL, &s->good), 0);
    CHECK_EQ(rt_local_addr(s->good, &at), 0);
    s->port = (uint16_t)CHECK_OK(rt_addr_port(&at));
    if (rt_tcp_listen(s->rt, GOOD6, s->port, NULL, &s->good6) == -EADDRINUSE) {
        /* Somebody else has the port in the other family. */
        CHECK_EQ(rt_close(s->good), 0);
        test_runtime_free(s->rt);
        street_open(s);
        return;
    }
    CHECK(s->good6 != 0);
    CHECK_EQ(rt_addr_parse(HANGS, s->port, &at), 0);
    s->hangs = net_socket(SOCK_STREAM);
    CHECK_SYS(bind(s->hangs, (struct sockaddr *)at.storage, at.len));
    CHECK_SYS(listen(s->hangs, 0));
    for (int i = 0; i < 4; i++) {
        s->filling[i] = net_socket(SOCK_STREAM);
        if (connect(s->filling[i], (struct sockaddr *)at.storage, at.len) != 0) CHECK_EQ(errno, EINPROGRESS);
    }
}

static void street_close(struct street *s) {
    CHECK_EQ(rt_close(s->good), 0);
    CHECK_EQ(rt_close(s->good6), 0);
    close(s->hangs);
    for (int i = 0; i < 4; i++) close(s->filling[i]);
    test_runtime_free(s->rt);
}

static uint64_t now(void) {
    struct timespec t;
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &t));
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static rt_task begin(struct street *s, uint64_t deadline) {
    rt_tcp_opts opts;
    rt_task task = 0;
    CHECK_EQ(rt_tcp_opts_init(&opts, sizeof opts), 0);
    opts.deadline = deadline;
    CHECK_EQ(rt_tcp_connect(s->rt, "host.test", s->port, &opts, &task), 0);
    return task;
}

/* Connects, to this one of all, and leaves nothing else open. Returns how long it took. */
static uint64_t wins(struct street *s, const char *expected) {
    uint64_t begun = now();
    int before = open_fds();
    rt_io io = (rt_io)CHECK_OK(join_task(begin(s, 0)));
    uint64_t took = now() - begun;
    rt_addr peer, at;
    CHECK_EQ(rt_peer_addr(io, &peer), 0);
    CHECK_EQ(rt_addr_parse(expected, s->port, &at), 0);
    CHECK(peer.len == at.len && memcmp(peer.storage, at.storage, at.len) == 0);
    CHECK_EQ(open_fds(), before + 1);
    CHECK_EQ(metrics(s->rt).ios_live, 3);
    CHECK_EQ(rt_close(io), 0);
    return took;
}

/* ---- the cases ---- */

static void the_first_wins(void) {
    struct street s;
    street_open(&s);
    answer(1, GOOD);
    answer(1, GOOD6);
    wins(&s, GOOD);
    answer_count = 0;
    answer(1, GOOD6);
    answer(1, GOOD);
    wins(&s, GOOD6);
    CHECK(atomic_load(&asked) >= 2);
    street_close(&s);
}

static void at_once_after_refusals(void) {
    struct street s;
    street_open(&s);
    answer(MANY, REFUSES);
    answer(1, GOOD);
    CHECK(wins(&s, GOOD) < MANY * HEAD_START);
    street_close(&s);
}

static void later_beside_one_that_hangs(void) {
    struct street s;
    street_open(&s);
    answer(1, HANGS);
    answer(1, GOOD);
    CHECK(wins(&s, GOOD) >= HEAD_START);
    street_close(&s);
}

/* The other family is second, however many come before it. */
static void families_take_turns(void) {
    struct street s;
    street_open(&s);
    answer(MANY, HANGS);
    answer(1, GOOD6);
    uint64_t took = wins(&s, GOOD6);
    CHECK(took >= HEAD_START);
    CHECK(took < MANY * HEAD_START);
    street_close(&s);
}

static void all_refuse(void) {
    struct street s;
    street_open(&s);
    answer(MANY, REFUSES);
    CHECK_EQ(join_task(begin(&s, 0)), -ECONNREFUSED);
    street_close(&s);
}

/* Addresses are left to be tried when the deadline comes. */
static void at_the_deadline(void) {
    struct street s;
    street_open(&s);
    answer(MANY, HANGS);
    answer(1, GOOD);
    int before = open_fds();
    uint64_t at = now() + HEAD_START + HEAD_START / 2;
    CHECK_EQ(join_task(begin(&s, at)), -ETIME);
    CHECK(now() >= at);
    CHECK_EQ(open_fds(), before);
    street_close(&s);
}

static bool two_are_under_way(void *arg) { return metrics(((struct street *)arg)->rt).ios_live >= 4; }

static void aborted(void) {
    struct street s;
    street_open(&s);
    answer(MANY, HANGS);
    int before = open_fds();
    rt_task task = begin(&s, 0);
    drive_until(s.rt, two_are_under_way, &s);
    CHECK_EQ(rt_abort(task), 0);
    CHECK_EQ(join_task(task), -ECANCELED);
    CHECK_EQ(open_fds(), before);
    street_close(&s);
}

static void no_such_name(void) {
    struct street s;
    street_open(&s);
    rt_task task = 0;
    CHECK_EQ(rt_tcp_connect(s.rt, "nobody.test", s.port, NULL, &task), 0);
    CHECK_EQ(join_task(task), -ENOENT);
    street_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_first_wins);
    CASE(at_once_after_refusals);
    CASE(later_beside_one_that_hangs);
    CASE(families_take_turns);
    CASE(all_refuse);
    CASE(at_the_deadline);
    CASE(aborted);
    CASE(no_such_name);
    return test_end();
}
