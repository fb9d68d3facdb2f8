/* rt_spawn_with: pinned, near another task, names; and options that are refused. */
#include "check.h"

static rt_spawn_opts options(rt_poll_fn poll, void *state) {
    rt_spawn_opts o;
    CHECK_EQ(rt_spawn_opts_init(&o, sizeof o), 0);
    CHECK_EQ(o.size, sizeof o);
    CHECK(o.poll == NULL && o.flags == 0 && o.near == 0 && o.name == NULL);
    o.poll = poll;
    o.state = state;
    return o;
}

static void the_plain_options_are_a_plain_spawn(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true, .result = 21};
    rt_spawn_opts o = options(probe_poll, &p);
    o.drop = probe_drop;
    rt_task task;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
    CHECK_EQ(join_task(task), 21);
    CHECK_EQ(p.drops, 1);
    probe q = {.ready = true};
    o.state = &q;
    CHECK_EQ(rt_spawn_with(rt, &o, NULL), 0); /* detached */
    settle(rt);
    CHECK_EQ(q.drops, 1);
    test_runtime_free(rt);
}

/* ---- pinned ---- */

enum { RESIDENTS = 8, VISITORS = 8 };

struct resident {
    pthread_t home;
    bool settled;
    int laps, drops;
};

static void at_home(struct resident *r) {
    if (!r->settled) r->home = pthread_self();
    r->settled = true;
    CHECK(pthread_equal(r->home, pthread_self()));
}

static int64_t reside(rt_cx *cx, void *state) {
    struct resident *r = state;
    at_home(r);
    return r->laps-- > 0 ? rt_yield(cx) : 0;
}

static void leave_home(void *state) {
    struct resident *r = state;
    at_home(r);
    r->drops++;
}

/* Stealable tasks beside them keep the workers stealing. */
static int64_t visit(rt_cx *cx, void *state) {
    int *laps = state;
    return (*laps)-- > 0 ? rt_yield(cx) : 0;
}

static void a_pinned_task_keeps_its_thread(void) {
    rt_runtime rt = test_runtime();
    struct resident residents[RESIDENTS];
    int laps[VISITORS];
    rt_task homes[RESIDENTS];
    for (int i = 0; i < VISITORS; i++) {
        laps[i] = scaled(1000);
        CHECK_EQ(rt_spawn(rt, visit, &laps[i], NULL, NULL), 0);
    }
    for (int i = 0; i < RESIDENTS; i++) {
        residents[i] = (struct resident){.laps = scaled(1000)};
        rt_spawn_opts o = options(reside, &residents[i]);
        o.flags = RT_SPAWN_PINNED;
        o.drop = leave_home;
        CHECK_EQ(rt_spawn_with(rt, &o, &homes[i]), 0);
    }
    for (int i = 0; i < RESIDENTS; i++) {
        CHECK_EQ(join_task(homes[i]), 0);
        CHECK_EQ(residents[i].drops, 1);
    }
    test_runtime_free(rt);
}

/* Aborted from another thread while it is parked, it still drops at home. */
static int64_t reside_parked(rt_cx *cx, void *state) {
    (void)cx;
    struct resident *r = state;
    at_home(r);
    return RT_PENDING;
}

static void a_pinned_task_drops_on_its_thread(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < scaled(500); i++) {
        struct resident r = {.laps = 0};
        rt_spawn_opts o = options(reside_parked, &r);
        o.flags = RT_SPAWN_PINNED;
        o.drop = leave_home;
        rt_task task;
        CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        CHECK_EQ(r.drops, 1);
    }
    test_runtime_free(rt);
}

/* ---- near ---- */

struct neighbour {
    pthread_t thread;
    atomic_bool told, leave;
};

static int64_t tell_thread(rt_cx *cx, void *state) {
    (void)cx;
    struct neighbour *n = state;
    n->thread = pthread_self();
    atomic_store(&n->told, true);
    return atomic_load(&n->leave) ? 0 : RT_PENDING;
}

static void near_a_pinned_task_is_its_worker(void) {
    rt_runtime rt = test_runtime();
    struct neighbour host = {.told = false};
    rt_spawn_opts o = options(tell_thread, &host);
    o.flags = RT_SPAWN_PINNED;
    rt_task home;
    CHECK_EQ(rt_spawn_with(rt, &o, &home), 0);
    drive_until(rt, flag_set, &host.told);
    for (int i = 0; i < 50; i++) {
        struct neighbour guest = {.leave = true};
        o.state = &guest;
        o.near = home;
        rt_task task;
        CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
        CHECK_EQ(join_task(task), 0);
        CHECK(pthread_equal(guest.thread, host.thread));
    }
    atomic_store(&host.leave, true);
    CHECK_EQ(rt_task_wake(home), 0);
    CHECK_EQ(join_task(home), 0);
    rt_task task;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EBADF); /* nobody there any more */
    o.near = rt;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EBADF);
    test_runtime_free(rt);
}

static void near_a_task_of_another_runtime_is_refused(void) {
    rt_runtime rt = test_runtime(), other = test_runtime();
    probe host = {0}, guest = {0};
    rt_spawn_opts o = options(probe_poll, &host);
    o.flags = RT_SPAWN_PINNED;
    rt_task home, task;
    CHECK_EQ(rt_spawn_with(other, &o, &home), 0);
    o.state = &guest;
    o.near = home;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EINVAL);
    CHECK_EQ(guest.polls, 0);
    probe_finish(&host, home);
    CHECK_EQ(join_task(home), 0);
    test_runtime_free(other);
    test_runtime_free(rt);
}

/* ---- names ---- */

static void a_name_is_copied_and_cut_to_fit(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    char name[] = "accept loop", seen[32];
    rt_spawn_opts o = options(probe_poll, &p);
    o.name = name;
    rt_task task;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
    memset(name, 'x', sizeof name - 1);
    CHECK_EQ(rt_task_name(task, seen, sizeof seen), 11);
    CHECK(strcmp(seen, "accept loop") == 0);
    memset(seen, '#', sizeof seen);
    CHECK_EQ(rt_task_name(task, seen, 7), 11);
    CHECK(memcmp(seen, "accept\0#", 8) == 0);
    CHECK_EQ(rt_task_name(task, NULL, 0), 11);
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    CHECK_EQ(rt_task_name(task, seen, sizeof seen), -EBADF);
    test_runtime_free(rt);
}

static void a_task_without_a_name_has_an_empty_one(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    char seen[4] = "###";
    rt_task task = probe_spawn(rt, &p);
    CHECK_EQ(rt_task_name(task, seen, sizeof seen), 0);
    CHECK_EQ(seen[0], '\0');
    probe_finish(&p, task);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

/* ---- refusals ---- */

static void bad_options_are_refused(void) {
    rt_runtime rt = test_runtime();
    probe p = {0};
    rt_task task = 0;
    rt_spawn_opts good = options(probe_poll, &p), o = good;
    CHECK_EQ(rt_spawn_with(rt, NULL, &task), -EINVAL);
    CHECK_EQ(rt_spawn_with(0, &good, &task), -EBADF);
    o.flags = 4;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EINVAL);
    o.flags = 0x80000000;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EINVAL);
    o = good;
    o.poll = NULL;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EINVAL);
    o = good;
    o.size = 0;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), -EINVAL);
    CHECK_EQ(p.polls, 0);
    test_runtime_free(rt);
}

static void older_and_newer_options_work(void) {
    rt_runtime rt = test_runtime();
    probe p = {.ready = true, .result = 4}, q = {.ready = true, .result = 5};
    rt_task task;
    rt_spawn_opts older;
    size_t older_size = offsetof(rt_spawn_opts, near);
    memset(&older, 0xff, sizeof older); /* what lies behind an older struct must not be read */
    CHECK_EQ(rt_spawn_opts_init(&older, older_size), 0);
    CHECK_EQ(older.size, older_size);
    older.poll = probe_poll;
    older.state = &p;
    CHECK_EQ(rt_spawn_with(rt, &older, &task), 0);
    CHECK_EQ(join_task(task), 4);

    struct {
        rt_spawn_opts known;
        uint64_t unknown;
    } newer;
    CHECK_EQ(rt_spawn_opts_init(&newer.known, sizeof newer), 0);
    CHECK_EQ(newer.unknown, 0);
    newer.known.poll = probe_poll;
    newer.known.state = &q;
    CHECK_EQ(rt_spawn_with(rt, &newer.known, &task), 0);
    CHECK_EQ(join_task(task), 5);
    newer.unknown = 1;
    CHECK_EQ(rt_spawn_with(rt, &newer.known, &task), -EINVAL);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(the_plain_options_are_a_plain_spawn);
    CASE(a_pinned_task_keeps_its_thread);
    CASE(a_pinned_task_drops_on_its_thread);
    CASE(near_a_pinned_task_is_its_worker);
    CASE(near_a_task_of_another_runtime_is_refused);
    CASE(a_name_is_copied_and_cut_to_fit);
    CASE(a_task_without_a_name_has_an_empty_one);
    CASE(bad_options_are_refused);
    CASE(older_and_newer_options_work);
    return test_end();
}
