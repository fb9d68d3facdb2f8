/* What rt_block_on polls with is the caller's, so it does not return while its poll goes on: not
 * even when a shutdown gave the task up. */
#include "soon.h"

enum { MOMENT = 50 * 1000 * 1000 };

struct caller {
    rt_runtime rt;
    gate inside, leave, returned;
    atomic_bool left;
};

static int64_t stay_inside(rt_cx *cx, void *state) {
    (void)cx;
    struct caller *c = state;
    gate_open(&c->inside);
    gate_wait(&c->leave);
    atomic_store(&c->left, true);
    return 7;
}

static void *block(void *arg) {
    struct caller *c = arg;
    int64_t r = rt_block_on(c->rt, stay_inside, c);
    CHECK(atomic_load(&c->left));
    CHECK(r == 7 || r == -ECANCELED);
    gate_open(&c->returned);
    return NULL;
}

static void caller_init(struct caller *c) {
    *c = (struct caller){.rt = test_runtime()};
    gate_init(&c->inside);
    gate_init(&c->leave);
    gate_init(&c->returned);
}

static void caller_destroy(struct caller *c) {
    gate_destroy(&c->inside);
    gate_destroy(&c->leave);
    gate_destroy(&c->returned);
}

static void it_returns_after_its_poll(void) {
    struct caller c;
    caller_init(&c);
    pthread_t blocked = thread_start(block, &c);
    gate_wait(&c.inside);
    CHECK_EQ(rt_shutdown(c.rt, 1000000), 1);
    CHECK(!gate_wait_for(&c.returned, MOMENT));
    gate_open(&c.leave);
    gate_wait_soon(&c.returned);
    thread_join(blocked);
    CHECK_EQ(rt_free(c.rt), 0);
    caller_destroy(&c);
}

/* The free waits for the poll no more than the shutdown did. */
static void a_free_does_not_wait_for_it(void) {
    struct caller c;
    caller_init(&c);
    pthread_t blocked = thread_start(block, &c);
    gate_wait(&c.inside);
    CHECK_EQ(rt_shutdown(c.rt, 1000000), 1);
    CHECK_EQ(rt_free(c.rt), 0);
    CHECK(!atomic_load(&c.left));
    gate_open(&c.leave);
    gate_wait_soon(&c.returned);
    thread_join(blocked);
    caller_destroy(&c);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("rt_block_on polls on its own thread there");
    must_end_soon();
    CASE_LEAVES(it_returns_after_its_poll, "a call that is stuck in a poll");
    CASE_LEAVES(a_free_does_not_wait_for_it, "a call that is stuck in a poll");
    return test_end();
}
