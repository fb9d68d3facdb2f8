/* Cancelling from other threads, while operations end and their places are used again: a stale
 * handle hits nobody, a good one its own operation only, and no byte is lost.
 */
#include "op.h"

enum { WORKERS = 4, CANCELLERS = 2, REMEMBERED = 64 };

/* Receives one byte a round, from itself. Half of them show their handles to the cancellers. */
struct receiver {
    struct steps steps;
    int rounds;
    bool shows;
    _Atomic rt_op shown;            /* in flight, or ended meanwhile */
    _Atomic rt_op past[REMEMBERED]; /* all of them taken */
    unsigned received, cancelled;
    rt_task task;
};

struct arena {
    struct receiver receivers[WORKERS];
    atomic_bool over;
    atomic_uint hits;
};

static int64_t receive(rt_cx *cx, void *state) {
    struct receiver *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < (size_t)r->rounds; s->n++) {
        CHECK_EQ(rt_submit_recv(cx, s->io, s->buf, 1, 0, &s->op), 0);
        if (r->shows) atomic_store(&r->shown, s->op);
        OP_TURNS(s, (int)(s->n % 3));
        net_put(s->far, "x", 1);
        RT_AWAIT(s->got, rt_poll_op(cx, s->op));
        atomic_store(&r->shown, 0);
        atomic_store(&r->past[s->n % REMEMBERED], s->op);
        CHECK_EQ(rt_poll_op(cx, s->op), -EBADF);
        if (s->got == 1) {
            r->received++;
        } else {
            CHECK_EQ(s->got, -ECANCELED);
            CHECK(r->shows); /* nobody was told of the others */
            r->cancelled++;
            CHECK_EQ(read(s->near, s->buf, 8), 1);
        }
        CHECK_EQ(read(s->near, s->buf, 8), -1);
    }
    RT_END(0);
}

static void *cancel_what_is_seen(void *arg) {
    struct arena *a = arg;
    while (!atomic_load(&a->over)) {
        for (int w = 0; w < WORKERS; w++) {
            struct receiver *r = &a->receivers[w];
            int64_t hit = rt_cancel(atomic_load(&r->shown));
            CHECK(hit == 0 || hit == -EBADF);
            if (hit == 0) atomic_fetch_add(&a->hits, 1);
            for (int i = 0; i < REMEMBERED; i++)
                CHECK_EQ(rt_cancel(atomic_load(&r->past[i])), -EBADF);
        }
    }
    return NULL;
}

static void handles_of_others(void) {
    static struct arena a;
    rt_runtime rt = test_runtime();
    pthread_t cancellers[CANCELLERS];
    for (int w = 0; w < WORKERS; w++) {
        struct receiver *r = &a.receivers[w];
        int ends[2];
        net_unix_pair(ends);
        r->rounds = scaled(5000);
        r->shows = w % 2 == 0;
        r->steps.near = ends[0];
        r->steps.far = ends[1];
        r->steps.io = io_of(rt, ends[0], 0);
        CHECK_EQ(rt_spawn(rt, receive, r, NULL, &r->task), 0);
    }
    for (int i = 0; i < CANCELLERS; i++) cancellers[i] = thread_start(cancel_what_is_seen, &a);
    for (int w = 0; w < WORKERS; w++) CHECK_EQ(join_task(a.receivers[w].task), 0);
    atomic_store(&a.over, true);
    for (int i = 0; i < CANCELLERS; i++) thread_join(cancellers[i]);
    for (int w = 0; w < WORKERS; w++) {
        struct receiver *r = &a.receivers[w];
        CHECK_EQ(r->received + r->cancelled, (unsigned)r->rounds);
        CHECK_EQ(rt_close(r->steps.io), 0);
        close(r->steps.far);
    }
    op_runtime_free(rt);
}

/* ---- only a foreign cancel can end it ---- */

struct waiting {
    struct steps steps;
    struct stuck stuck;
    gate submitted;
};

static int64_t wait_for_a_cancel(rt_cx *cx, void *state) {
    struct waiting *w = state;
    struct steps *s = &w->steps;
    RT_BEGIN(&s->frame);
    CHECK_EQ(stuck_submit(&w->stuck, cx, &s->op), 0);
    gate_open(&w->submitted);
    OP_TAKE_EQ(s, -ECANCELED);
    RT_END(0);
}

static void *cancel_when_submitted(void *arg) {
    struct waiting *w = arg;
    gate_wait(&w->submitted);
    CHECK_EQ(rt_cancel(w->steps.op), 0);
    return NULL;
}

/* Also where the owner sleeps already, or has not even told the kernel yet. */
static void a_sleeping_owner_hears_of_it(void) {
    for (int i = 0; i < scaled(20) * STUCK_KINDS; i++) {
        static struct waiting w;
        memset(&w, 0, sizeof w);
        gate_init(&w.submitted);
        rt_runtime rt = test_runtime();
        stuck_open(&w.stuck, rt, (enum stuck_kind)(i % STUCK_KINDS), w.steps.buf);
        pthread_t thread = thread_start(cancel_when_submitted, &w);
        CHECK_EQ(rt_block_on(rt, wait_for_a_cancel, &w), 0);
        thread_join(thread);
        stuck_close(&w.stuck);
        op_runtime_free(rt);
        gate_destroy(&w.submitted);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE_ONCE(handles_of_others, "it counts in statics");
    CASE(a_sleeping_owner_hears_of_it);
    return test_end();
}
