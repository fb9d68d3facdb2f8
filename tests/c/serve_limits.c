/* Never more connections than the limit, and everybody is served in the end; without descriptors
 * clients are turned away at once, without a spin, and served again when there is room.
 */
#include "serve.h"

enum { CLIENTS = 60, LIMIT = 3 };

static void *one_client(void *arg) {
    site *s = arg;
    int fd = site_dial(s);
    client_echo(fd, fd);
    close(fd);
    return NULL;
}

static void many_threads(site *s, int count) {
    pthread_t threads[CLIENTS];
    for (int i = 0; i < count; i++) threads[i] = thread_start(one_client, s);
    for (int i = 0; i < count; i++) thread_join(threads[i]);
}

static void limited(uint32_t mode) {
    rt_serve_opts opts = site_opts();
    opts.mode = mode;
    opts.max_connections = LIMIT;
    site s = {0};
    site_start(&s, &opts);
    crowd_run(&s, many_threads, scaled(CLIENTS));
    site_end(&s);
    CHECK_EQ(atomic_load(&s.ended), scaled(CLIENTS));
    CHECK(atomic_load(&s.most) <= LIMIT);
}

static void limit_shared(void) { limited(RT_SERVE_SHARED); }
static void limit_exclusive(void) { limited(RT_SERVE_EXCLUSIVE); }

/* ---- no descriptors ---- */

enum { SHED = 10 };

static int shed[SHED]; /* made before: accept(2) takes a number for a while also where nobody waits */

static bool three_live(void *arg) { return site_stats(arg).live == 3; }

static void until_gone(site *s, int count) {
    for (int i = 0; i < count; i++) {
        char byte;
        CHECK_SYS(connect(shed[i], (struct sockaddr *)&s->name, s->name_len));
        /* Closed at once: the end, or a reset. */
        net_wait(shed[i], POLLIN);
        CHECK(read(shed[i], &byte, 1) <= 0);
    }
}

static void without_descriptors(void) {
    site s = {0};
    site_start(&s, NULL);
    int keep[3], spare[64], spares = 0;
    /* None for the server but the one that it keeps. */
    for (int i = 0; i < 3; i++) keep[i] = site_dial(&s);
    drive_until(s.rt, three_live, &s);
    for (int i = 0; i < SHED; i++) shed[i] = (int)CHECK_SYS(socket(s.name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct rlimit before, low;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
    low = before;
    low.rlim_cur = (rlim_t)CHECK_SYS(dup(0));
    CHECK_SYS(close((int)low.rlim_cur));
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
    while (spares < 64 && (spare[spares] = dup(0)) >= 0) spares++;
    CHECK_EQ(errno, EMFILE);
    crowd_run(&s, until_gone, SHED);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(stats.shed, SHED);
    CHECK_EQ(stats.accepted, 3);
    CHECK_EQ(stats.refused, 0);
    /* A shed connection costs a few polls, and waiting for the next one none. */
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    for (int i = 0; i < spares; i++) close(spare[i]);
    for (int i = 0; i < SHED; i++) close(shed[i]);
    crowd_run(&s, many_threads, 10);
    CHECK_EQ(site_stats(&s).accepted, 13);
    for (int i = 0; i < 3; i++) close(keep[i]);
    site_end(&s);
}

/* Not even the reserve can be kept: it was taken by somebody else. The server tries again after a
 * while, and serves when there is room. */
static struct rlimit full;

static void *make_room(void *arg) {
    (void)arg;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &full));
    return NULL;
}

static int starved_client;

static void echo_starved(site *s, int count) {
    (void)s, (void)count;
    client_echo(starved_client, 7);
}

static bool time_is_over(void *arg) { return rt_now() >= *(uint64_t *)arg; }

static void no_reserve(void) {
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &full));
    site s = {.rt = test_runtime()};
    /* The limit counts numbers: with one that is below all that are in use nothing can be made. */
    int fd = net_listen(16);
    s.name_len = sizeof s.name;
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&s.name, &s.name_len));
    starved_client = site_dial(&s);
    struct rlimit low = full;
    low.rlim_cur = 3;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
    site_serve(&s, fd, NULL);
    uint64_t before = metrics(s.rt).polls, begun = rt_now(), until = begun + 250 * MS;
    if (current_thread()) {
        while (rt_now() < until) CHECK_OK(rt_turn(s.rt, 10 * MS));
    } else {
        while (!time_is_over(&until)) usleep(1000);
    }
    /* One try, and one more each 100 ms. */
    uint64_t polls = metrics(s.rt).polls - before;
    CHECK(polls <= 40 + 10 * ((rt_now() - until) / (100 * MS)));
    CHECK_EQ(site_stats(&s).accepted, 0);
    on_thread(make_room, NULL);
    crowd_run(&s, echo_starved, 1);
    CHECK_EQ(site_stats(&s).accepted, 1);
    close(starved_client);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(limit_shared);
    CASE(limit_exclusive);
    if (!under("valgrind")) { /* which keeps descriptors of its own */
        CASE(without_descriptors);
        CASE(no_reserve);
    }
    return test_end();
}
