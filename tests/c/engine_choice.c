/* once: the engines are the test's own.
 * Which engine it is: the one that was asked for, or an error that says why not; by itself io_uring
 * where it can be had, else epoll, with the reason; and epoll where the operator says so. */
#include "child.h"
#include "net.h"

/* ---- what a runtime says and does ---- */

static char description[1024], why[512];

static int64_t make(uint32_t engine, uint32_t flavour, rt_runtime *out) {
    rt_config config;
    CHECK_OK(rt_config_init(&config, sizeof config));
    config.engine = engine;
    config.flavour = flavour;
    config.workers = flavour == RT_CURRENT_THREAD ? 0 : 2;
    memset(why, 0, sizeof why);
    return rt_new(&config, out, why, sizeof why);
}

struct work {
    int far;
    rt_io io;
    rt_op op;
    char buf[8];
};

static int64_t receive(rt_cx *cx, void *state) {
    struct work *w = state;
    if (w->op == 0) {
        CHECK_EQ(rt_submit_recv(cx, w->io, w->buf, 8, 0, &w->op), 0);
        CHECK_EQ(rt_poll_op(cx, w->op), RT_PENDING);
        net_put(w->far, "works", 5);
    }
    return rt_poll_op(cx, w->op);
}

/* An operation gets through; whatever the engine is called, it is one that works. */
static void works(rt_runtime rt) {
    struct work w = {0};
    int ends[2];
    net_unix_pair(ends);
    w.far = ends[1];
    CHECK_EQ(rt_register_fd(rt, ends[0], 0, &w.io), 0);
    CHECK_EQ(rt_block_on(rt, receive, &w), 5);
    CHECK(memcmp(w.buf, "works", 5) == 0);
    CHECK_EQ(rt_close(w.io), 0);
    close(ends[1]);
}

/* With both flavours: such a runtime can be had, and names its engine. Leaves the description. */
static void runs_on(uint32_t engine, const char *name) {
    for (uint32_t flavour = RT_MULTI_THREAD; flavour <= RT_CURRENT_THREAD; flavour++) {
        rt_runtime rt = 0;
        int64_t r = make(engine, flavour, &rt);
        if (r < 0) fprintf(stderr, "rt_new: %s\n", why);
        CHECK_EQ(r, 0);
        CHECK(rt_describe(rt, description, sizeof description) > 0);
        if (strstr(description, name) == NULL) fprintf(stderr, "it says: %s\n", description);
        CHECK(strstr(description, name) != NULL);
        works(rt);
        test_runtime_free(rt);
    }
}

static void falls_back(void) {
    runs_on(RT_ENGINE_AUTO, "engine epoll (no io_uring: ");
    const char *reason = strstr(description, "no io_uring: ") + strlen("no io_uring: ");
    CHECK(strlen(reason) > strlen(")"));
}

/* An error, and a sentence; nothing is left. */
static void cannot_be_had(uint32_t engine) {
    for (uint32_t flavour = RT_MULTI_THREAD; flavour <= RT_CURRENT_THREAD; flavour++) {
        int before = open_fds();
        rt_runtime rt = 1;
        CHECK(rt_failed(make(engine, flavour, &rt)));
        CHECK_EQ(rt, 0);
        CHECK(strstr(why, "io_uring") != NULL);
        CHECK(strchr(why, ' ') != NULL);
        CHECK_EQ(open_fds(), before);
    }
}

/* Asked of the system, not of the library. */
static bool uring_is_there(void) {
    char params[256] = {0};
    long fd = syscall(SYS_io_uring_setup, 1, params);
    if (fd >= 0) close((int)fd);
    return fd >= 0;
}

static void do_without(void) {
    falls_back();
    cannot_be_had(RT_ENGINE_URING);
    runs_on(RT_ENGINE_EPOLL, "engine epoll");
}

/* ---- by name ---- */

/* As this machine is: kernel.io_uring_disabled may say no. It is everybody's, so it is not set;
 * whoever sets it by hand finds the other branch tested. */
static void ask_by_name(void) {
    runs_on(RT_ENGINE_EPOLL, "engine epoll");
    if (!uring_is_there()) {
        do_without();
        return;
    }
    runs_on(RT_ENGINE_URING, "engine io_uring");
    runs_on(RT_ENGINE_AUTO, "engine io_uring");
}
static void by_name(void) { in_child(ask_by_name); }

/* ---- the operator's word ---- */

static void obey(void) {
    CHECK_SYS(setenv("ASYNCIO_ENGINE", "epoll", 1));
    runs_on(RT_ENGINE_AUTO, "engine epoll");
    CHECK(strstr(description, "ASYNCIO_ENGINE") != NULL);
    runs_on(RT_ENGINE_URING, "engine epoll");
    CHECK(strstr(description, "ASYNCIO_ENGINE") != NULL);
    runs_on(RT_ENGINE_EPOLL, "engine epoll");
}
static void the_environment_overrides(void) { in_child(obey); }

/* ---- filters of system calls, as in containers ---- */

static void without_permission(void) {
    refuse_call_with(SYS_io_uring_setup, EPERM);
    CHECK(!uring_is_there());
    do_without();
    cannot_be_had(RT_ENGINE_URING);
    CHECK(strstr(why, "seccomp") != NULL || strstr(why, "io_uring_disabled") != NULL);
}

static void without_the_call(void) {
    refuse_call_with(SYS_io_uring_setup, ENOSYS);
    do_without();
}

static void without_memory(void) {
    refuse_call_with(SYS_io_uring_setup, ENOMEM);
    do_without();
}

static void without_entering(void) {
    refuse_call_with(SYS_io_uring_enter, EPERM);
    do_without();
}

/* Whether it can do without registering is its own affair, but it says the truth and works. */
static void without_registering(void) {
    refuse_call_with(SYS_io_uring_register, EPERM);
    rt_runtime rt = 0;
    if (make(RT_ENGINE_URING, RT_MULTI_THREAD, &rt) == 0) {
        CHECK_EQ(rt_free(rt), 0);
        runs_on(RT_ENGINE_URING, "engine io_uring");
        runs_on(RT_ENGINE_AUTO, "engine io_uring");
    } else {
        do_without();
    }
}

static void setup_is_not_permitted(void) { in_child(without_permission); }
static void setup_is_not_known(void) { in_child(without_the_call); }
static void setup_has_no_memory(void) { in_child(without_memory); }
static void enter_is_not_permitted(void) { in_child(without_entering); }
static void register_is_not_permitted(void) { in_child(without_registering); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(by_name);
    CASE(the_environment_overrides);
    CASE(setup_is_not_permitted);
    CASE(setup_is_not_known);
    CASE(setup_has_no_memory);
    CASE(enter_is_not_permitted);
    CASE(register_is_not_permitted);
    return test_end();
}
