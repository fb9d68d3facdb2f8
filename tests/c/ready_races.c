/* From many threads at once: clears with ticks that are out of date, and every call on handles that
 * are released, reused and freed meanwhile. Nothing is lost, nothing is worse than an error.
 */
#include "ready.h"

#include <asyncio_await.h>
#include <sys/eventfd.h>

/* ---- stale clears beside a conversation ---- */

struct clearing {
    rt_io io;
    atomic_bool stop;
};

/* Clears only what a delivery has overtaken: such a clear must have no effect at all. */
static void *clear_the_past(void *arg) {
    struct clearing *c = arg;
    rt_ready older = {0, 0}, now;
    bool known = false;
    while (!atomic_load(&c->stop)) {
        if (rt_try_ready(c->io, RW, &now) != 0) break;
        if (known && older.tick != now.tick) {
            rt_ready past = {RW, older.tick};
            CHECK_EQ(rt_clear_ready(c->io, past), 0);
        }
        /* Without the tick that is current there is nothing to overtake. */
        if (now.bits != 0) {
            older = now;
            known = true;
        }
        sched_yield(); /* there may be fewer processors than threads */
    }
    return NULL;
}

struct talk {
    rt_frame frame;
    rt_io io;
    int rounds, at;
    int64_t r;
    bool speaks_first;
    unsigned char byte;
};

static int64_t talk(rt_cx *cx, void *state) {
    struct talk *t = state;
    RT_BEGIN(&t->frame);
    for (t->at = 0; t->at < t->rounds; t->at++) {
        if (t->speaks_first || t->at > 0) {
            t->byte = (unsigned char)t->at;
            RT_AWAIT(t->r, rt_poll_write(cx, t->io, &t->byte, 1));
            CHECK_EQ(t->r, 1);
        }
        RT_AWAIT(t->r, rt_poll_read(cx, t->io, &t->byte, 1));
        CHECK_EQ(t->r, 1);
        CHECK_EQ(t->byte, (unsigned char)(t->speaks_first ? t->at + 1 : t->at));
    }
    RT_END(0);
}

static void stale_clears_do_not_disturb(void) {
    struct scene s;
    scene_open(&s, net_unix_pair, RW);
    rt_io far = io_of(s.rt, s.far, RW);
    struct clearing clearing[2] = {{.io = s.io}, {.io = far}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) threads[i] = thread_start(clear_the_past, &clearing[i]);

    /* The second answers with its own count, which is one ahead after its first read. */
    int rounds = scaled(20000);
    struct talk first = {.io = s.io, .rounds = rounds, .speaks_first = true};
    struct talk second = {.io = far, .rounds = rounds};
    rt_task tasks[2];
    CHECK_EQ(rt_spawn(s.rt, talk, &first, NULL, &tasks[0]), 0);
    CHECK_EQ(rt_spawn(s.rt, talk, &second, NULL, &tasks[1]), 0);
    CHECK_EQ(join_task(tasks[1]), 0);
    net_put(s.far, &(char){(char)rounds}, 1); /* the answer that the second no longer gives */
    CHECK_EQ(join_task(tasks[0]), 0);
    for (int i = 0; i < 2; i++) {
        atomic_store(&clearing[i].stop, true);
        thread_join(threads[i]);
    }
    CHECK_EQ(rt_close(far), 0);
    s.far = -1;
    scene_close(&s);
}

/* ---- everything on handles that come and go ---- */

enum { SLOTS = 8 };

struct bazaar {
    rt_runtime rt;
    _Atomic rt_io slots[SLOTS];
    atomic_bool stop;
    struct hand hands[2];
};

static unsigned next_random(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

static bool harmless(int64_t r) {
    return r >= 0 || r == RT_PENDING || r == -EBADF || r == -ESHUTDOWN || r == -EPIPE ||
           r == -ECONNRESET;
}

static void use_one(struct bazaar *b, struct hand *h, unsigned *seed) {
    rt_io io = atomic_load(&b->slots[next_random(seed) % SLOTS]);
    rt_ready got = {RW, 0};
    char byte;
    switch (next_random(seed) % 8) {
    case 0: CHECK(harmless(rt_try_ready(io, RW, &got))); break;
    case 1: CHECK(harmless(rt_clear_ready(io, got))); break;
    case 2: CHECK(harmless(rt_io_fd(io))); break;
    case 3: CHECK(harmless(rt_poll_ready(h->cx, io, RT_READABLE, &got))); break;
    case 4: CHECK(harmless(rt_poll_level(h->cx, io, RT_WRITABLE, &got))); break;
    case 5: CHECK(harmless(rt_poll_read(h->cx, io, &byte, 1))); break;
    case 6: CHECK(harmless(rt_poll_write(h->cx, io, "w", 1))); break;
    default: CHECK(harmless(rt_close(io))); break;
    }
}

struct visitor {
    struct bazaar *bazaar;
    struct hand *hand;
    unsigned seed;
};

static void *visit(void *arg) {
    struct visitor *v = arg;
    while (!atomic_load(&v->bazaar->stop)) {
        for (int i = 0; i < 20; i++) use_one(v->bazaar, v->hand, &v->seed);
        sched_yield();
    }
    return NULL;
}

/* Opens, publishes and closes connections; some are closed by the visitors first. */
static void trade(struct bazaar *b, int rounds) {
    int far[SLOTS];
    rt_io ios[SLOTS] = {0};
    for (int i = 0; i < rounds; i++) {
        int slot = i % SLOTS, fds[2];
        if (ios[slot] != 0) {
            CHECK(harmless(rt_close(ios[slot])));
            close(far[slot]);
        }
        net_unix_pair(fds);
        ios[slot] = io_of(b->rt, fds[0], RW);
        far[slot] = fds[1];
        net_put(far[slot], "data", 4);
        atomic_store(&b->slots[slot], ios[slot]);
    }
    for (int i = 0; i < SLOTS; i++) {
        CHECK(harmless(rt_close(ios[i])));
        close(far[i]);
    }
}

static void handles_that_come_and_go(void) {
    struct bazaar b = {.rt = test_runtime()};
    struct visitor visitors[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        hand_open(&b.hands[i], b.rt);
        visitors[i] = (struct visitor){&b, &b.hands[i], (unsigned)i + 1};
        threads[i] = thread_start(visit, &visitors[i]);
    }
    trade(&b, scaled(5000));
    /* The visitors go on while the runtime is freed: its handles are stale, not dangling. */
    CHECK_EQ(rt_free(b.rt), 0);
    for (int i = 0; i < scaled(1000); i++) sched_yield();
    atomic_store(&b.stop, true);
    /* Either may have the other's waker in hand until it ends. */
    for (int i = 0; i < 2; i++) thread_join(threads[i]);
    for (int i = 0; i < 2; i++) {
        rt_cx_free(b.hands[i].cx);
        hand_check(&b.hands[i]);
    }
}

/* ---- two who register one descriptor ---- */

struct rivals {
    rt_runtime rt;
    int fd;
    atomic_int came;
    atomic_bool last;
};

struct rival {
    struct rivals *all;
    rt_io io;
    int64_t result;
};

/* Returns when three have come so often, at the same moment to all of them: nobody slept. */
static void meet(struct rivals *all, int times) {
    atomic_fetch_add(&all->came, 1);
    for (int i = 0; atomic_load(&all->came) < 3 * times; i++)
        if (i % 3000 == 2999) sched_yield();
}

static void *contend(void *arg) {
    struct rival *r = arg;
    struct rivals *all = r->all;
    for (int i = 0; !atomic_load(&all->last); i++) {
        meet(all, 2 * i + 1);
        r->result = rt_register_fd(all->rt, all->fd, RT_READABLE | RT_IO_BORROWED, &r->io);
        meet(all, 2 * i + 2);
    }
    return NULL;
}

/* One of them gets it, and a handle that is good. */
static void one_of_two_registers(void) {
    struct rivals all = {.rt = test_runtime()};
    struct rival rivals[2] = {{.all = &all}, {.all = &all}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) threads[i] = thread_start(contend, &rivals[i]);
    uint64_t start = test_clock();
    for (int i = 0; !atomic_load(&all.last); i++) {
        all.fd = (int)CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        meet(&all, 2 * i + 1);
        atomic_store(&all.last, i + 1 >= scaled(60000) || long_at_it(start));
        meet(&all, 2 * i + 2);
        int winner = rivals[0].result == 0 ? 0 : 1;
        CHECK_EQ(rivals[winner].result, 0);
        CHECK_EQ(rivals[1 - winner].result, -EEXIST);
        CHECK_EQ(rt_io_fd(rivals[winner].io), all.fd);
        CHECK_EQ(rt_close(rivals[winner].io), 0);
        close(all.fd);
    }
    for (int i = 0; i < 2; i++) thread_join(threads[i]);
    test_runtime_free(all.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(stale_clears_do_not_disturb);
    CASE(handles_that_come_and_go);
    CASE(one_of_two_registers);
    return test_end();
}
