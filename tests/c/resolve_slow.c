/* Names that take long, by a getaddrinfo of this program's, which stands before the C library's:
 * cancels and deadlines end a question at once, its thread goes on alone and harms nobody; names
 * keep no file operation waiting, nor the other way round; what the resolver says is translated.
 */
#include "resolve.h"

static struct {
    gate hold;
    atomic_int entered, left;
} servers;

static struct addrinfo *entry_of(const char *text, struct addrinfo *next) {
    struct {
        struct addrinfo info;
        struct sockaddr_storage address;
    } *made = calloc(1, sizeof *made);
    CHECK(made != NULL);
    struct sockaddr_in *v4 = (void *)&made->address;
    struct sockaddr_in6 *v6 = (void *)&made->address;
    bool is_v6 = inet_pton(AF_INET6, text, &v6->sin6_addr) == 1;
    if (is_v6) v6->sin6_family = AF_INET6;
    else CHECK_EQ(inet_pton(AF_INET, text, &v4->sin_addr), 1);
    if (!is_v6) v4->sin_family = AF_INET;
    made->info.ai_family = is_v6 ? AF_INET6 : AF_INET;
    made->info.ai_addr = (void *)&made->address;
    made->info.ai_next = next;
    return &made->info;
}

/* "slow": three addresses, as soon as the gate opens. "says N": fails so. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out) {
    CHECK(service == NULL && hints != NULL);
    int code = 0;
    if (strcmp(host, "slow") == 0) {
        atomic_fetch_add(&servers.entered, 1);
        gate_wait(&servers.hold);
        atomic_fetch_add(&servers.left, 1);
    } else if (sscanf(host, "says %d", &code) == 1) {
        if (code == EAI_SYSTEM) errno = EMFILE;
        return code;
    }
    *out = entry_of("10.0.0.1", entry_of("fe80::5", entry_of("10.0.0.2", NULL)));
    return 0;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

enum { RESOLVERS = 2 };

static rt_runtime start(void) {
    memset(&servers, 0, sizeof servers);
    gate_init(&servers.hold);
    rt_config config = test_config();
    config.blocking_threads = 1;
    config.resolver_threads = RESOLVERS;
    return test_runtime_with(&config);
}

/* The servers answer whom they keep waiting, though nobody may want to know any more. */
static void let_go(void) {
    int entered = atomic_load(&servers.entered);
    for (int i = atomic_load(&servers.left); i < entered; i++) gate_open(&servers.hold);
    while (atomic_load(&servers.left) != entered) sched_yield();
}

static bool all_ask(void *arg) {
    (void)arg;
    return atomic_load(&servers.entered) == RESOLVERS;
}

static rt_task asked_spawn(rt_runtime rt, struct asked *a) {
    rt_task task;
    CHECK_EQ(rt_spawn(rt, asks, a, NULL, &task), 0);
    return task;
}

/* ---- results ---- */

static void answers_in_their_order(void) {
    rt_runtime rt = start();
    struct asked a = {.host = "any", .port = 53};
    CHECK_EQ(rt_block_on(rt, asks, &a), 3);
    check_address(&a.out[0], "10.0.0.1", 53);
    check_address(&a.out[1], "fe80::5", 53);
    check_address(&a.out[2], "10.0.0.2", 53);
    struct asked b = {.host = "any", .port = 53, .max = 2};
    memset(b.out, 0xaa, sizeof b.out);
    CHECK_EQ(rt_block_on(rt, asks, &b), 2);
    check_address(&b.out[1], "fe80::5", 53);
    CHECK_EQ(b.out[2].len, 0xaaaaaaaa);
    op_runtime_free(rt);
}

static void errors_are_translated(void) {
    static const struct {
        int said;
        int64_t result;
    } errors[] = {{EAI_NONAME, -ENOENT}, {-5 /* EAI_NODATA */, -ENOENT}, {EAI_AGAIN, -EAGAIN},
                  {EAI_FAIL, -EIO},      {EAI_MEMORY, -ENOMEM},          {EAI_SYSTEM, -EMFILE},
                  {-999, -EIO}};
    rt_runtime rt = start();
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        char host[32];
        snprintf(host, sizeof host, "says %d", errors[i].said);
        struct asked a = {.host = host};
        CHECK_EQ(rt_block_on(rt, asks, &a), errors[i].result);
    }
    op_runtime_free(rt);
}

/* ---- ends before the answer ---- */

static void a_cancel_ends_it_at_once(void) {
    rt_runtime rt = start();
    struct asked asked[4];
    rt_task tasks[4];
    memset(asked, 0, sizeof asked);
    for (int i = 0; i < 4; i++) {
        asked[i].host = "slow";
        tasks[i] = asked_spawn(rt, &asked[i]);
        drive_until(rt, asked_submitted, &asked[i]);
    }
    drive_until(rt, all_ask, NULL);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(rt_cancel(atomic_load(&asked[i].name)), 0);
        CHECK_EQ(join_task(tasks[i]), -ECANCELED);
    }
    CHECK_EQ(atomic_load(&servers.left), 0);
    let_go();
    CHECK_EQ(atomic_load(&servers.entered), RESOLVERS); /* the others were taken back */
    struct asked after = {.host = "any"};
    CHECK_EQ(rt_block_on(rt, asks, &after), 3);
    op_runtime_free(rt);
}

struct timed {
    struct asked asked;
    uint64_t at;
};

static int64_t runs_out(rt_cx *cx, void *state) {
    struct timed *t = state;
    RT_BEGIN(&t->asked.frame);
    CHECK_EQ(ask_once(cx, &t->asked), RT_PENDING);
    while (!all_ask(NULL)) RT_YIELD(cx);
    t->at = rt_now() + 2000000;
    CHECK_EQ(rt_op_deadline(t->asked.slot, t->at), 0);
    RT_AWAIT(t->asked.got, ask_once(cx, &t->asked));
    CHECK(rt_now() >= t->at);
    CHECK_EQ(t->asked.slot, 0);
    RT_END(t->asked.got);
}

static void a_deadline_holds(void) {
    rt_runtime rt = start();
    struct timed timed[4];
    rt_task tasks[4];
    memset(timed, 0, sizeof timed);
    for (int i = 0; i < 4; i++) {
        timed[i].asked.host = "slow";
        CHECK_EQ(rt_spawn(rt, runs_out, &timed[i], NULL, &tasks[i]), 0);
    }
    for (int i = 0; i < 4; i++) CHECK_EQ(join_task(tasks[i]), -ETIME);
    CHECK_EQ(atomic_load(&servers.left), 0);
    let_go();
    op_runtime_free(rt);
}

/* The task ends, and its operation's place is used again, before the answer comes. */
static void a_late_answer_reaches_nobody(void) {
    rt_runtime rt = start();
    for (int i = 0; i < scaled(200); i++) {
        struct asked a = {.host = "slow"};
        int entered = atomic_load(&servers.entered);
        rt_task task = asked_spawn(rt, &a);
        drive_until(rt, asked_submitted, &a);
        while (atomic_load(&servers.entered) == entered) sched_yield();
        CHECK_EQ(rt_abort(task), 0);
        CHECK_EQ(join_task(task), -ECANCELED);
        gate_open(&servers.hold);
        struct asked b = {.host = "any", .port = 7};
        CHECK_EQ(rt_block_on(rt, asks, &b), 3);
        check_address(&b.out[0], "10.0.0.1", 7);
        while (atomic_load(&servers.left) != entered + 1) sched_yield();
    }
    op_runtime_free(rt);
}

static void a_freed_runtime_is_not_touched(void) {
    rt_runtime rt = start();
    struct asked asked[4];
    memset(asked, 0, sizeof asked);
    for (int i = 0; i < 4; i++) {
        asked[i].host = "slow";
        CHECK_EQ(rt_spawn(rt, asks, &asked[i], NULL, NULL), 0);
    }
    drive_until(rt, all_ask, NULL);
    CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(atomic_load(&servers.left), 0);
    rt_runtime other = test_runtime();
    struct asked b = {.host = "any"};
    CHECK_EQ(rt_block_on(other, asks, &b), 3);
    let_go();
    op_runtime_free(other);
}

/* ---- shares ---- */

struct opens {
    struct steps steps;
};

static int64_t uses_files(rt_cx *cx, void *state) {
    struct steps *s = &((struct opens *)state)->steps;
    RT_BEGIN(&s->frame);
    for (s->i = 0; s->i < 20; s->i++) {
        RT_AWAIT(s->got, (s->op == 0 ? rt_submit_statx(cx, 0, "/", 0, STATX_BASIC_STATS, &s->x, &s->op) : 0,
                          rt_poll_op(cx, s->op)));
        CHECK_EQ(s->got, 0);
        s->op = 0;
    }
    RT_END(0);
}

static int64_t held(void *arg) {
    gate_wait(arg);
    return 3;
}

static int64_t ends(void *arg) {
    (void)arg;
    return 4;
}

static void names_keep_no_file_waiting(void) {
    rt_runtime rt = start();
    struct asked asked[4];
    rt_task tasks[4];
    memset(asked, 0, sizeof asked);
    for (int i = 0; i < 4; i++) {
        asked[i].host = "slow";
        tasks[i] = asked_spawn(rt, &asked[i]);
    }
    drive_until(rt, all_ask, NULL);
    static struct opens o;
    memset(&o, 0, sizeof o);
    CHECK_EQ(rt_block_on(rt, uses_files, &o), 0);
    rt_task call;
    CHECK_EQ(rt_spawn_blocking(rt, ends, NULL, NULL, &call), 0);
    CHECK_EQ(join_task(call), 4);
    CHECK_EQ(atomic_load(&servers.left), 0);
    for (int i = 0; i < 4; i++) gate_open(&servers.hold);
    for (int i = 0; i < 4; i++) CHECK_EQ(join_task(tasks[i]), 3);
    op_runtime_free(rt);
}

static void calls_keep_no_name_waiting(void) {
    rt_runtime rt = start();
    gate hold;
    gate_init(&hold);
    rt_task calls[3];
    for (int i = 0; i < 3; i++) CHECK_EQ(rt_spawn_blocking(rt, held, &hold, NULL, &calls[i]), 0);
    for (int i = 0; i < 20; i++) {
        struct asked a = {.host = "any"};
        CHECK_EQ(rt_block_on(rt, asks, &a), 3);
    }
    for (int i = 0; i < 3; i++) gate_open(&hold);
    for (int i = 0; i < 3; i++) CHECK_EQ(join_task(calls[i]), 3);
    gate_destroy(&hold);
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(answers_in_their_order);
    CASE(errors_are_translated);
    CASE(a_cancel_ends_it_at_once);
    CASE(a_deadline_holds);
    CASE(a_late_answer_reaches_nobody);
    CASE(a_freed_runtime_is_not_touched);
    CASE(names_keep_no_file_waiting);
    CASE(calls_keep_no_name_waiting);
    return test_end();
}
