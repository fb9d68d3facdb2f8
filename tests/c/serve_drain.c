/* Draining under load: what was asked is answered, who comes later is refused, who will not end is
 * cut when the time is over, and counted.
 */
#include "serve.h"

enum { CLIENTS = 8, STUBBORN = 5 };

static atomic_int answered, connected;

/* Asks until the server ends the connection between two answers: no answer may be cut short. */
static void *load(void *arg) {
    site *s = arg;
    for (;;) {
        int fd = site_dial_raw(s);
        if (fd < 0) {
            /* Reset: the listener was closed while the handshake went on. */
            CHECK(errno == ECONNREFUSED || errno == ECONNRESET);
            return NULL;
        }
        atomic_fetch_add(&connected, 1);
        for (int i = 0;; i++) {
            char out[100], in[100];
            net_pattern(out, sizeof out, (uint64_t)i, 0);
            if (send(fd, out, sizeof out, MSG_NOSIGNAL) != sizeof out) break;
            size_t have = 0;
            ssize_t r = 1;
            while (have < sizeof in && (r = recv(fd, in + have, sizeof in - have, 0)) > 0)
                have += (size_t)r;
            if (have < sizeof in) {
                CHECK_EQ(have, 0);
                break;
            }
            CHECK(net_pattern_holds(in, sizeof in, (uint64_t)i, 0));
            atomic_fetch_add(&answered, 1);
        }
        close(fd);
    }
}

static void all_load(site *s, int count) {
    pthread_t threads[CLIENTS];
    for (int i = 0; i < count; i++) threads[i] = thread_start(load, s);
    for (int i = 0; i < count; i++) thread_join(threads[i]);
}

static bool is_busy(void *arg) {
    (void)arg;
    return atomic_load(&answered) > 100 && atomic_load(&connected) >= CLIENTS;
}

static void under_load(uint32_t mode) {
    atomic_store(&answered, 0);
    atomic_store(&connected, 0);
    rt_serve_opts opts = site_opts();
    opts.mode = mode;
    site s = {.finish_on_drain = true};
    site_start(&s, &opts);
    crowd c = {.site = &s, .count = CLIENTS, .run = all_load};
    pthread_t thread = thread_start(crowd_main, &c);
    drive_until(s.rt, is_busy, NULL);
    CHECK_EQ(site_drain(&s, RT_NEVER), 0);
    /* The listener is closed by now. */
    CHECK_EQ(site_dial_raw(&s), -1);
    CHECK_EQ(errno, ECONNREFUSED);
    drive_until(s.rt, flag_set, &c.done);
    thread_join(thread);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(stats.live, 0);
    CHECK_EQ(stats.accepted, atomic_load(&s.begun));
    site_end(&s);
}

static void under_load_shared(void) { under_load(RT_SERVE_SHARED); }
static void under_load_exclusive(void) { under_load(RT_SERVE_EXCLUSIVE); }

/* ---- who is in the backlog is served ---- */

static atomic_bool held;

static int64_t hold_worker(site *s, rt_io io, rt_spawn_opts *task) {
    /* The first connection stops the server, with the others behind it. */
    if (atomic_exchange(&held, true) == false) CHECK_EQ(rt_server_stop(s->server), 0);
    return site_take(s, io, task);
}

static void backlog(void) {
    enum { WAITING = 20 };
    atomic_store(&held, false);
    site s = {.rt = test_runtime(), .accept = hold_worker};
    int fd = net_listen(64), clients[WAITING];
    s.name_len = sizeof s.name;
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&s.name, &s.name_len));
    for (int i = 0; i < WAITING; i++) clients[i] = site_dial(&s);
    site_serve(&s, fd, NULL);
    struct site_drain d = {&s, RT_NEVER};
    rt_task drain;
    CHECK_EQ(rt_spawn(s.rt, site_drain_poll, &d, NULL, &drain), 0);
    /* All are accepted, and live until they leave. */
    for (int i = 0; i < WAITING; i++) net_put(clients[i], "x", 1);
    for (int i = 0; i < WAITING; i++) {
        if (current_thread())
            for (struct pollfd p = {.fd = clients[i], .events = POLLIN}; poll(&p, 1, 0) == 0;)
                CHECK_OK(rt_turn(s.rt, 0));
        CHECK_EQ(net_get(clients[i], &(char){0}, 1), 1);
        close(clients[i]);
    }
    CHECK_EQ(join_task(drain), 0);
    CHECK_EQ(site_stats(&s).accepted, WAITING);
    site_end(&s);
}

/* ---- the time is over ---- */

static bool stubborn_live(void *arg) { return site_stats(arg).live == STUBBORN; }

static void cut(void) {
    site s = {0};
    site_start(&s, NULL);
    int clients[STUBBORN + 1];
    for (int i = 0; i < STUBBORN; i++) clients[i] = site_dial(&s);
    drive_until(s.rt, stubborn_live, &s);
    uint64_t at = rt_now() + 50 * MS;
    CHECK_EQ(site_drain(&s, at), STUBBORN);
    CHECK(rt_now() >= at);
    CHECK_EQ(atomic_load(&s.ended), STUBBORN);
    CHECK_EQ(site_stats(&s).live, 0);
    /* It stays so. */
    CHECK_EQ(site_drain(&s, RT_NEVER), STUBBORN);
    CHECK_EQ(site_drain(&s, 0), STUBBORN);
    for (int i = 0; i < STUBBORN; i++) {
        CHECK_EQ(net_get(clients[i], &(char){0}, 1), 0);
        close(clients[i]);
    }
    CHECK_EQ(rt_server_free(s.server), 0);
    test_runtime_free(s.rt);
}

static void site_wait_live(site *s) {
    while (site_stats(s).live == 0) {
        if (current_thread()) CHECK_OK(rt_turn(s->rt, 0));
        else sched_yield();
    }
}

/* The earliest time holds; one that never comes keeps nothing alive. */
static void earliest(void) {
    site s = {0};
    site_start(&s, NULL);
    int client = site_dial(&s);
    site_wait_live(&s);
    struct site_drain late = {&s, rt_now() + UINT64_C(3600000) * MS}, soon = {&s, rt_now() + 20 * MS};
    rt_task first, second;
    CHECK_EQ(rt_spawn(s.rt, site_drain_poll, &late, NULL, &first), 0);
    CHECK_EQ(rt_spawn(s.rt, site_drain_poll, &soon, NULL, &second), 0);
    CHECK_EQ(join_task(first), 1);
    CHECK_EQ(join_task(second), 1);
    CHECK(rt_now() >= soon.at);
    close(client);
    CHECK_EQ(rt_server_free(s.server), 0);
    /* Who waited for the hour to come has ended with the server. */
    test_runtime_free(s.rt);
}

/* ---- wakers that ask the server ---- */

static site *asked;

static void *ask_and_clone(void *data) {
    (void)site_stats(asked);
    return data;
}
static void nothing(void *data) { (void)data; }

static const rt_waker_vtable curious = {ask_and_clone, nothing, nothing, nothing};

/* No function of theirs is called with a lock held. */
static void asked_by_wakers(void) {
    site s = {0};
    site_start(&s, NULL);
    asked = &s;
    int client = site_dial(&s);
    site_wait_live(&s);
    rt_waker waker;
    rt_cx *cx;
    CHECK_EQ(rt_waker_new(&curious, &s, &waker), 0);
    CHECK_EQ(rt_cx_new(s.rt, &waker, &cx), 0);
    CHECK_EQ(rt_waker_drop(&waker), 0);
    CHECK_EQ(rt_poll_draining(cx, s.server), RT_PENDING);
    CHECK_EQ(rt_poll_drain(cx, s.server, RT_NEVER), RT_PENDING);
    CHECK_EQ(rt_cx_free(cx), 0);
    close(client);
    site_end(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(under_load_shared);
    CASE(under_load_exclusive);
    CASE(backlog);
    CASE(cut);
    CASE(earliest);
    CASE(asked_by_wakers);
    return test_end();
}
