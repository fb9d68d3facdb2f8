/* RT_SPAWN_INLINE: the task has a copy of the state, or zeroes, and the drop gets the same copy. */
#include "check.h"

static rt_spawn_opts options(rt_poll_fn poll, void *state, size_t size) {
    rt_spawn_opts o;
    CHECK_EQ(rt_spawn_opts_init(&o, sizeof o), 0);
    o.flags = RT_SPAWN_INLINE;
    o.poll = poll;
    o.state = state;
    o.state_size = size;
    return o;
}

struct blob {
    size_t size;
    unsigned char fill;
    atomic_int drops;
    unsigned char *seen;
};

/* The copy starts with a pointer back to the blob. */
static int64_t check_copy(rt_cx *cx, void *state) {
    (void)cx;
    unsigned char *copy = state;
    struct blob *b;
    memcpy(&b, copy, sizeof b);
    CHECK_EQ((uintptr_t)copy % 16, 0);
    for (size_t i = sizeof b; i < b->size; i++) CHECK_EQ(copy[i], b->fill);
    b->seen = copy;
    return 0;
}

static void drop_copy(void *state) {
    struct blob *b;
    memcpy(&b, state, sizeof b);
    CHECK(b->seen == state);
    atomic_fetch_add(&b->drops, 1);
}

static void inline_state_is_a_copy(void) {
    rt_runtime rt = test_runtime();
    size_t sizes[] = {8, 9, 64, 100, 1000, 4096, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct blob b = {.size = sizes[i], .fill = (unsigned char)(i + 1)}, *back = &b;
        unsigned char *original = malloc(b.size);
        CHECK(original != NULL);
        memset(original, b.fill, b.size);
        memcpy(original, &back, sizeof back);
        rt_spawn_opts o = options(check_copy, original, b.size);
        o.drop = drop_copy;
        rt_task task;
        CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
        memset(original, 0xee, b.size); /* ours again */
        free(original);
        CHECK_EQ(join_task(task), 0);
        CHECK_EQ(b.drops, 1);
    }
    test_runtime_free(rt);
}

enum { ZEROED = 3000 };

static int64_t check_zeroed(rt_cx *cx, void *state) {
    (void)cx;
    unsigned char *copy = state;
    for (int i = 0; i < ZEROED; i++) CHECK_EQ(copy[i], 0);
    memset(copy, 0xff, ZEROED); /* the next task must not see this */
    return 0;
}

static void inline_state_without_a_source_is_zeroed(void) {
    rt_runtime rt = test_runtime();
    rt_spawn_opts o = options(check_zeroed, NULL, ZEROED);
    for (int i = 0; i < 100; i++) {
        rt_task task;
        CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
        CHECK_EQ(join_task(task), 0);
    }
    test_runtime_free(rt);
}

static int64_t ignore_state(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return 0;
}

static void inline_state_may_be_empty(void) {
    rt_runtime rt = test_runtime();
    rt_spawn_opts o = options(ignore_state, NULL, 0);
    o.flags |= RT_SPAWN_PINNED;
    rt_task task;
    CHECK_EQ(rt_spawn_with(rt, &o, &task), 0);
    CHECK_EQ(join_task(task), 0);
    test_runtime_free(rt);
}

/* ---- the copy goes with the task, whichever way that ends ---- */

struct parked {
    atomic_int *drops;
    char weight[1000];
};

static int64_t park(rt_cx *cx, void *state) {
    (void)cx, (void)state;
    return RT_PENDING;
}

static void count_drop(void *state) { atomic_fetch_add(((struct parked *)state)->drops, 1); }

static void an_aborted_task_drops_its_copy(void) {
    rt_runtime rt = test_runtime();
    atomic_int drops = 0;
    struct parked original = {.drops = &drops};
    rt_spawn_opts o = options(park, &original, sizeof original);
    o.drop = count_drop;
    rt_task aborted, left;
    CHECK_EQ(rt_spawn_with(rt, &o, &aborted), 0);
    CHECK_EQ(rt_spawn_with(rt, &o, &left), 0);
    original.drops = NULL;
    CHECK_EQ(rt_abort(aborted), 0);
    CHECK_EQ(join_task(aborted), -ECANCELED);
    CHECK_EQ(drops, 1);
    CHECK_EQ(rt_free(rt), 0);
    CHECK_EQ(drops, 2);
}

static void a_state_too_large_is_an_error(void) {
    rt_runtime rt = test_runtime();
    size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 - 4096, (size_t)1 << 46};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rt_spawn_opts o = options(park, NULL, sizes[i]);
        rt_task task;
        int64_t r = rt_spawn_with(rt, &o, &task);
        CHECK(r == -ENOMEM || r == -EINVAL);
    }
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(inline_state_is_a_copy);
    CASE(inline_state_without_a_source_is_zeroed);
    CASE(inline_state_may_be_empty);
    CASE(an_aborted_task_drops_its_copy);
    CASE(a_state_too_large_is_an_error);
    return test_end();
}
