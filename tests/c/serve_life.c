/* What a server refuses, how it ends, and what its handle is good for afterwards. */
#include "serve.h"

static rt_io listener_of(rt_runtime rt, int fd) {
    rt_io io;
    CHECK_OK(rt_register_fd(rt, fd, RT_READABLE, &io));
    return io;
}

static int64_t refuse_all(site *s, rt_io io, rt_spawn_opts *task) {
    (void)s, (void)io, (void)task;
    return -ECONNREFUSED;
}

static void ends_at_once(site *s, int count) {
    for (int i = 0; i < count; i++) {
        int fd = site_dial(s);
        CHECK_EQ(net_get(fd, &(char){0}, 1), 0);
        close(fd);
    }
}

static void refuse(void) {
    site s = {.accept = refuse_all};
    site_start(&s, NULL);
    crowd_run(&s, ends_at_once, 20);
    rt_server_stats_data stats = site_stats(&s);
    CHECK_EQ(stats.refused, 20);
    CHECK_EQ(stats.accepted + stats.live + stats.shed, 0);
    site_end(&s);
}

/* What was filled in is no task: its state is dropped all the same. */
static int64_t no_poll(site *s, rt_io io, rt_spawn_opts *task) {
    int64_t r = site_take(s, io, task);
    task->poll = NULL;
    return r;
}

static bool all_refused(void *arg) { return site_stats(arg).refused == 5; }

static void no_task(void) {
    site s = {.accept = no_poll};
    site_start(&s, NULL);
    crowd_run(&s, ends_at_once, 5);
    /* The drop function closes it, before it is counted. */
    drive_until(s.rt, all_refused, &s);
    CHECK_EQ(atomic_load(&s.ended), 5);
    site_end(&s);
}

/* So it is where it was to be copied: what it holds is nobody else's. */
typedef struct inline_conn {
    site *site;
    char *holds;
} inline_conn;

static void inline_drop(void *state) {
    inline_conn *c = state;
    CHECK(strcmp(c->holds, "held") == 0);
    free(c->holds);
    atomic_fetch_add(&c->site->ended, 1);
}

static int64_t stale_neighbour(site *s, rt_io io, rt_spawn_opts *task) {
    static _Thread_local inline_conn state;
    (void)io;
    state = (inline_conn){.site = s, .holds = strdup("held")};
    atomic_fetch_add(&s->begun, 1);
    task->flags = RT_SPAWN_INLINE | RT_SPAWN_PINNED;
    task->poll = conn_poll;
    task->state = &state;
    task->state_size = sizeof state;
    task->drop = inline_drop;
    task->near = 12345;
    return 0;
}

static void no_task_inline(void) {
    site s = {.accept = stale_neighbour};
    site_start(&s, NULL);
    crowd_run(&s, ends_at_once, 5);
    drive_until(s.rt, all_refused, &s);
    CHECK_EQ(atomic_load(&s.ended), 5);
    site_end(&s);
}

/* ---- calls from on_connection ---- */

static int64_t stop_and_spawn(site *s, rt_io io, rt_spawn_opts *task) {
    rt_server_stats_data data = {.size = sizeof data};
    CHECK_EQ(rt_server_stats(s->server, &data), 0);
    CHECK_EQ(rt_server_stop(s->server), 0);
    CHECK_EQ(rt_server_stop(s->server), 0);
    CHECK_EQ(rt_free(s->rt), -EDEADLK);
    return site_take(s, io, task);
}

static void one_echo(site *s, int count) {
    (void)count;
    int fd = site_dial(s);
    client_echo(fd, 3);
    close(fd);
}

static void stop_within(void) {
    site s = {.accept = stop_and_spawn};
    site_start(&s, NULL);
    crowd_run(&s, one_echo, 1);
    site_end(&s);
    CHECK_EQ(atomic_load(&s.ended), 1);
}

static int64_t free_it(site *s, rt_io io, rt_spawn_opts *task) {
    CHECK_EQ(rt_server_free(s->server), 0);
    return site_take(s, io, task);
}

/* Connections outlive the handle. */
static void free_within(void) {
    site s = {.accept = free_it};
    site_start(&s, NULL);
    crowd_run(&s, one_echo, 1);
    test_runtime_free(s.rt);
    CHECK_EQ(atomic_load(&s.ended), 1);
}

/* ---- waiting ---- */

static int64_t draining_poll(rt_cx *cx, void *state) { return rt_poll_draining(cx, *(rt_server *)state); }

static void waiters(void) {
    site s = {0};
    site_start(&s, NULL);
    rt_task tasks[50];
    for (int i = 0; i < 50; i++) CHECK_EQ(rt_spawn(s.rt, draining_poll, &s.server, NULL, &tasks[i]), 0);
    if (current_thread()) CHECK_OK(rt_turn(s.rt, 0));
    CHECK_EQ(rt_server_stop(s.server), 0);
    for (int i = 0; i < 50; i++) CHECK_EQ(join_task(tasks[i]), 0);
    CHECK_EQ(rt_block_on(s.rt, draining_poll, &s.server), 0);
    site_end(&s);
}

static int64_t drain_poll(rt_cx *cx, void *state) { return rt_poll_drain(cx, *(rt_server *)state, RT_NEVER); }

static void freed_under_waiter(void) {
    site s = {0};
    site_start(&s, NULL);
    int client = site_dial(&s);
    while (site_stats(&s).live == 0) {
        if (current_thread()) CHECK_OK(rt_turn(s.rt, 0));
        else sched_yield();
    }
    rt_task task;
    CHECK_EQ(rt_spawn(s.rt, drain_poll, &s.server, NULL, &task), 0);
    if (current_thread()) CHECK_OK(rt_turn(s.rt, 0));
    CHECK_EQ(rt_server_free(s.server), 0);
    CHECK_EQ(join_task(task), -EBADF);
    close(client);
    test_runtime_free(s.rt);
}

/* ---- shutdown ---- */

static void shutdown_with_server(uint32_t mode, bool free_first) {
    rt_serve_opts opts = site_opts();
    opts.mode = mode;
    opts.idle_ns = opts.total_ns = (uint64_t)3600000 * MS;
    site s = {0};
    site_start(&s, &opts);
    int clients[4];
    for (int i = 0; i < 4; i++) clients[i] = site_dial(&s);
    while (site_stats(&s).live < 4) {
        if (current_thread()) CHECK_OK(rt_turn(s.rt, 0));
        else sched_yield();
    }
    if (free_first) CHECK_EQ(rt_server_free(s.server), 0);
    CHECK_EQ(rt_shutdown(s.rt, RT_NEVER), 0);
    CHECK_EQ(atomic_load(&s.ended), 4);
    CHECK_EQ(rt_free(s.rt), 0);
    rt_server_stats_data data = {.size = sizeof data};
    CHECK_EQ(rt_server_stats(s.server, &data), -EBADF);
    CHECK_EQ(rt_server_stop(s.server), -EBADF);
    CHECK_EQ(rt_server_free(s.server), -EBADF);
    for (int i = 0; i < 4; i++) close(clients[i]);
}

static void shut_down(void) { shutdown_with_server(RT_SERVE_SHARED, false); }
static void shut_down_exclusive(void) { shutdown_with_server(RT_SERVE_EXCLUSIVE, false); }
static void shut_down_freed(void) { shutdown_with_server(RT_SERVE_SHARED, true); }

/* Nobody touches its handle again: it is gone all the same. It is good until then. */
static void gone_with_its_runtime(void) {
    uint64_t before = census_take().library.objects;
    for (uint32_t mode = RT_SERVE_SHARED; mode <= RT_SERVE_EXCLUSIVE; mode++) {
        for (int shut_down_first = 0; shut_down_first < 2; shut_down_first++) {
            rt_serve_opts opts = site_opts();
            opts.mode = mode;
            site s = {0}, freed = {0};
            site_start(&s, &opts);
            freed.rt = s.rt;
            site_serve(&freed, net_listen(4), &opts);
            CHECK_EQ(rt_server_free(freed.server), 0);
            if (shut_down_first) {
                CHECK_EQ(rt_shutdown(s.rt, RT_NEVER), 0);
                CHECK_EQ(site_stats(&s).live, 0);
                CHECK_EQ(rt_server_stop(s.server), 0);
            }
            CHECK_EQ(rt_free(s.rt), 0);
            CHECK_EQ(census_take().library.objects, before);
            CHECK_EQ(rt_server_free(s.server), -EBADF);
        }
    }
}

/* ---- arguments ---- */

static void arguments(void) {
    rt_runtime rt = test_runtime(), other = test_runtime();
    rt_server server = 7;
    site s = {.rt = rt};
    int fd = net_listen(4);
    rt_io io = listener_of(rt, fd);
    rt_serve_opts opts = site_opts();
    CHECK_EQ(rt_serve(rt, io, &opts, site_accept, &s, NULL), -EINVAL);
    CHECK_EQ(rt_serve(rt, io, &opts, NULL, &s, &server), -EINVAL);
    CHECK_EQ(server, 0);
    CHECK_EQ(rt_serve(0, io, &opts, site_accept, &s, &server), -EBADF);
    CHECK_EQ(rt_serve(rt, 0, &opts, site_accept, &s, &server), -EBADF);
    CHECK_EQ(rt_serve(other, io, &opts, site_accept, &s, &server), -EPERM);
    opts.mode = 3;
    CHECK_EQ(rt_serve(rt, io, &opts, site_accept, &s, &server), -EINVAL);
    opts.mode = RT_SERVE_REUSEPORT; /* which it was not bound with */
    CHECK_EQ(rt_serve(rt, io, &opts, site_accept, &s, &server), -EINVAL);
    opts.mode = 0;
    opts.flags = 1;
    CHECK_EQ(rt_serve(rt, io, &opts, site_accept, &s, &server), -EINVAL);
    opts.size = 2;
    CHECK_EQ(rt_serve(rt, io, &opts, site_accept, &s, &server), -EINVAL);
    /* The listener is still ours. */
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_serve(rt, io, NULL, site_accept, &s, &server), -EBADF);

    int ends[2];
    net_pipe(ends);
    io = listener_of(rt, ends[0]);
    CHECK_EQ(rt_serve(rt, io, NULL, site_accept, &s, &server), -ENOTSOCK);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    net_pair(ends);
    io = listener_of(rt, ends[0]);
    CHECK_EQ(rt_serve(rt, io, NULL, site_accept, &s, &server), -EINVAL);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);

    CHECK_EQ(rt_serve_opts_init(NULL, 8), -EINVAL);
    CHECK_EQ(rt_server_stop(0), -EBADF);
    CHECK_EQ(rt_server_stop(rt), -EBADF);
    CHECK_EQ(rt_server_free(0), 0);
    CHECK_EQ(rt_server_free(rt), -EBADF);
    rt_server_stats_data data = {.size = sizeof data};
    CHECK_EQ(rt_server_stats(0, &data), -EBADF);
    CHECK_EQ(rt_poll_draining(NULL, 0), -EINVAL);
    CHECK_EQ(rt_poll_drain(NULL, 0, 0), -EINVAL);
    test_runtime_free(other);
    test_runtime_free(rt);
}

static void stale(void) {
    site s = {0};
    site_start(&s, NULL);
    rt_server_stats_data data = {.size = 2};
    CHECK_EQ(rt_server_stats(s.server, NULL), -EINVAL);
    CHECK_EQ(rt_server_stats(s.server, &data), -EINVAL);
    CHECK_EQ(rt_server_free(s.server), 0);
    CHECK_EQ(rt_server_free(s.server), -EBADF);
    CHECK_EQ(rt_server_stop(s.server), -EBADF);
    CHECK_EQ(rt_block_on(s.rt, draining_poll, &s.server), -EBADF);
    CHECK_EQ(rt_block_on(s.rt, drain_poll, &s.server), -EBADF);
    test_runtime_free(s.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(refuse);
    CASE(no_task);
    CASE(no_task_inline);
    CASE(stop_within);
    CASE(free_within);
    CASE(waiters);
    CASE(freed_under_waiter);
    CASE(shut_down);
    CASE(shut_down_exclusive);
    CASE(shut_down_freed);
    CASE(gone_with_its_runtime);
    CASE(arguments);
    CASE(stale);
    return test_end();
}
