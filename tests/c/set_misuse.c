/* Sets that are stale, handles that are no members, and calls from the wrong place. */
#include "multi.h"
#include "watch.h"

struct misuse {
    struct steps steps;
    rt_set set, other;
    rt_runtime elsewhere;
    rt_task task, stranger;
    uint64_t key;
    probe probe;
};

static struct misuse misuse;

static void play(rt_poll_fn body) {
    memset(&misuse, 0, sizeof misuse);
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_set_new(rt, &misuse.set), 0);
    CHECK_EQ(rt_block_on(rt, body, &misuse), 0);
    CHECK_EQ(rt_set_free(misuse.set), 0);
    op_runtime_free(rt);
}

/* ---- handles ---- */

static void handles(void) {
    rt_runtime rt = test_runtime();
    rt_set set = 77, next = 0;
    CHECK_EQ(rt_set_new(rt, NULL), -EINVAL);
    CHECK_EQ(rt_set_new(0, &set), -EBADF);
    CHECK_EQ(set, 0);
    CHECK_EQ(rt_set_new(rt, &set), 0);
    CHECK_EQ(rt_set_free(0), 0);
    CHECK_EQ(rt_set_free(rt), -EBADF);
    CHECK_EQ(rt_set_free(set + 1), -EBADF);
    CHECK_EQ(rt_set_free(set), 0);
    CHECK_EQ(rt_set_free(set), -EBADF);
    CHECK_EQ(rt_set_new(rt, &next), 0); /* the same place, another life */
    CHECK(next != set);
    CHECK_EQ(rt_set_free(set), -EBADF);
    test_runtime_free(rt);
    rt_set last = 77;
    CHECK_EQ(rt_set_new(rt, &last), -EBADF);
    CHECK_EQ(last, 0);
    CHECK_EQ(rt_set_free(next), 0); /* after its runtime */
}

/* ---- arguments ---- */

static int64_t foreign_op(rt_cx *cx, void *state) {
    struct misuse *m = state;
    CHECK_EQ(rt_set_add(cx, m->set, m->steps.op, 1), -EPERM);
    CHECK_EQ(rt_set_add(cx, m->set, rt_task_self(cx), 1), -EDEADLK);
    return 0;
}

static void hear_nothing(void *arg, int fd, uint32_t ready) { (void)arg, (void)fd, (void)ready; }

static int64_t arguments(rt_cx *cx, void *state) {
    struct misuse *m = state;
    struct steps *s = &m->steps;
    rt_runtime rt = rt_cx_runtime(cx);
    rt_op op = 0;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
    CHECK_EQ(rt_set_new(rt, &m->other), 0);

    CHECK_EQ(rt_set_add(NULL, m->set, s->op, 1), -EINVAL);
    CHECK_EQ(rt_poll_set(NULL, m->set, &m->key), -EINVAL);
    CHECK_EQ(rt_poll_set(cx, m->set, NULL), -EINVAL);
    CHECK_EQ(rt_set_add(cx, 0, s->op, 1), -EBADF);
    CHECK_EQ(rt_poll_set(cx, 0, &m->key), -EBADF);
    CHECK_EQ(rt_set_add(cx, s->op, s->op, 1), -EBADF);
    CHECK_EQ(rt_poll_set(cx, s->op, &m->key), -EBADF);
    CHECK_EQ(rt_set_add(cx, m->set, 0, 1), -EBADF);
    CHECK_EQ(rt_set_add(cx, m->set, UINT64_MAX, 1), -EBADF);
    CHECK_EQ(rt_set_add(cx, m->set, s->op + 1, 1), -EBADF);
    CHECK_EQ(rt_set_add(cx, m->set, s->io, 1), -EINVAL);
    CHECK_EQ(rt_set_add(cx, m->set, rt, 1), -EINVAL);
    CHECK_EQ(rt_set_add(cx, m->set, m->other, 1), -EINVAL);
    CHECK_EQ(rt_set_add(cx, m->set, m->set, 1), -EINVAL);
    {
        rt_watch watch = 0;
        CHECK_EQ(rt_watch_open(rt, 0, -1, hear_nothing, NULL, NULL, &watch), 0);
        CHECK_EQ(rt_set_add(cx, m->set, watch, 1), -EINVAL);
        CHECK_EQ(rt_watch_close(watch), 0);
    }
    CHECK_EQ(rt_spawn(rt, foreign_op, m, NULL, &m->task), 0);
    RT_AWAIT(s->got, rt_poll_join(cx, m->task, NULL));
    CHECK_EQ(rt_set_add(cx, m->set, m->task, 1), -EBADF);
    m->task = probe_spawn(rt_cx_runtime(cx), &m->probe);
    CHECK_EQ(rt_detach(m->task), 0);
    CHECK_EQ(rt_set_add(cx, m->set, m->task, 1), -EBADF);
    CHECK_EQ(rt_abort(m->task), 0);
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), -ENOENT); /* none of these is a member */

    /* One set for an operation that is not ready; a set that was freed does not count. */
    CHECK_EQ(rt_set_add(cx, m->other, s->op, 1), 0);
    CHECK_EQ(rt_set_add(cx, m->set, s->op, 2), -EEXIST);
    CHECK_EQ(rt_set_add(cx, m->other, s->op, 2), -EEXIST);
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), -ENOENT);
    CHECK_EQ(rt_set_free(m->other), 0);
    CHECK_EQ(rt_set_add(cx, m->other, s->op, 2), -EBADF);
    CHECK_EQ(rt_set_add(cx, m->set, s->op, 3), 0);
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), RT_PENDING);
    net_put(s->far, "x", 1);
    RT_AWAIT(s->got, rt_poll_set(cx, m->set, &m->key));
    CHECK_EQ(s->got, 0);
    CHECK_EQ(m->key, 3);
    CHECK_EQ(rt_poll_op(cx, s->op), 1);
    CHECK_EQ(rt_set_add(cx, m->set, s->op, 1), -EBADF);

    /* A key may come twice. */
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &op), 0);
    CHECK_EQ(rt_set_add(cx, m->set, s->op, 0), 0);
    CHECK_EQ(rt_set_add(cx, m->set, op, 0), 0);
    CHECK_EQ(rt_close(s->io), 0);
    for (s->n = 0; s->n < 2; s->n++) {
        m->key = 5;
        RT_AWAIT(s->got, rt_poll_set(cx, m->set, &m->key));
        CHECK_EQ(s->got, 0);
        CHECK_EQ(m->key, 0);
    }
    close(s->far);
    RT_END(0);
}
static void bad_arguments(void) { play(arguments); }

/* ---- the wrong place ---- */

static int64_t outside(rt_cx *cx, void *state) {
    struct misuse *m = state;
    struct steps *s = &m->steps;
    struct hand h;
    rt_set foreign = 0;
    RT_BEGIN(&s->frame);
    steps_pair(cx, s, net_unix_pair);
    CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
    hand_open(&h, rt_cx_runtime(cx));
    CHECK_EQ(rt_set_add(h.cx, m->set, s->op, 1), -EPERM);
    CHECK_EQ(rt_poll_set(h.cx, m->set, &m->key), -ENOENT);
    hand_close(&h);
    hand_check(&h);
    CHECK_EQ(rt_set_new(m->elsewhere, &foreign), 0);
    CHECK_EQ(rt_set_add(cx, foreign, s->op, 1), -EPERM);
    CHECK_EQ(rt_set_add(cx, foreign, m->stranger, 1), -EPERM);
    CHECK_EQ(rt_poll_set(cx, foreign, &m->key), -EPERM);
    CHECK_EQ(rt_set_free(foreign), 0);

    /* A task of another runtime is a member like any other, whatever becomes of that. */
    CHECK_EQ(rt_set_add(cx, m->set, m->stranger, 6), 0);
    CHECK_EQ(rt_poll_set(cx, m->set, &m->key), RT_PENDING);
    CHECK_EQ(rt_abort(m->stranger), 0);
    if (current_thread()) CHECK_OK(rt_turn(m->elsewhere, 0));
    RT_AWAIT(s->got, rt_poll_set(cx, m->set, &m->key));
    CHECK_EQ(m->key, 6);
    CHECK_EQ(rt_poll_join(cx, m->stranger, &s->got), 0);
    CHECK_EQ(s->got, -ECANCELED);
    steps_close(s);
    RT_END(0);
}

static void from_elsewhere(void) {
    static probe p;
    memset(&misuse, 0, sizeof misuse);
    memset(&p, 0, sizeof p);
    rt_runtime rt = test_runtime();
    misuse.elsewhere = test_runtime();
    misuse.stranger = probe_spawn(misuse.elsewhere, &p);
    CHECK_EQ(rt_set_new(rt, &misuse.set), 0);
    CHECK_EQ(rt_block_on(rt, outside, &misuse), 0);
    CHECK_EQ(rt_set_free(misuse.set), 0);
    op_runtime_free(rt);
    op_runtime_free(misuse.elsewhere);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(handles);
    CASE(bad_arguments);
    CASE(from_elsewhere);
    return test_end();
}
