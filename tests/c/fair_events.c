/* Events are looked for although wakes from another thread keep the only worker busy: two pinned
 * tasks take turns, each of them woken from outside before the other's poll ends. */
#include "ready.h"
#include "soon.h"

enum { NOBODY = -1, WARM = 200 };

struct game {
    rt_io io;
    int writer;
    _Atomic rt_task players[2];
    atomic_int asked; /* whom the helper shall wake */
    atomic_int polls;
    atomic_bool seen;
};
struct player {
    struct game *game;
    int number;
};

static int64_t play(rt_cx *cx, void *state) {
    (void)cx;
    struct player *p = state;
    struct game *g = p->game;
    atomic_fetch_add(&g->polls, 1);
    if (atomic_load(&g->seen)) return 0;
    atomic_store(&g->asked, 1 - p->number);
    while (atomic_load(&g->asked) != NOBODY) sched_yield(); /* the other's wake is in the inbox */
    return RT_PENDING;
}

/* Writes one byte when the game goes on, and serves until that was seen. */
static void *help(void *arg) {
    struct game *g = arg;
    bool written = false;
    while (!atomic_load(&g->seen)) {
        int asked = atomic_load(&g->asked);
        if (asked == NOBODY) {
            sched_yield();
            continue;
        }
        CHECK_EQ(rt_task_wake(atomic_load(&g->players[asked])), 0);
        if (!written && atomic_load(&g->polls) >= WARM) {
            net_put(g->writer, "x", 1);
            written = true;
        }
        atomic_store(&g->asked, NOBODY);
    }
    return NULL; /* nobody asks any more: the reader and the players share a thread */
}

static int64_t read_byte(rt_cx *cx, void *state) {
    struct game *g = state;
    char byte;
    int64_t r = rt_poll_read(cx, g->io, &byte, 1);
    if (r == RT_PENDING) return r;
    CHECK_EQ(r, 1);
    atomic_store(&g->seen, true);
    return 0;
}

static rt_task spawn_player(rt_runtime rt, struct player *p) {
    rt_spawn_opts opts;
    rt_task task = 0;
    CHECK_OK(rt_spawn_opts_init(&opts, sizeof opts));
    opts.flags = RT_SPAWN_PINNED;
    opts.poll = play;
    opts.state = p;
    CHECK_EQ(rt_spawn_with(rt, &opts, &task), 0);
    return task;
}

static void an_event_is_seen_while_wakes_come_in(void) {
    rt_config config = test_config();
    if (!current_thread()) config.workers = 1;
    rt_runtime rt = test_runtime_with(&config);
    int ends[2];
    net_pipe(ends);
    struct game g = {.io = io_of(rt, ends[0], RT_READABLE), .writer = ends[1], .asked = NOBODY};
    struct player players[2] = {{&g, 0}, {&g, 1}};
    rt_task reader;
    CHECK_EQ(rt_spawn(rt, read_byte, &g, NULL, &reader), 0);
    /* The first poll asks for the second player, who is not there before the helper starts. */
    for (int i = 0; i < 2; i++) atomic_store(&g.players[i], spawn_player(rt, &players[i]));
    pthread_t helper = thread_start(help, &g);
    CHECK_EQ(join_soon(reader), 0);
    thread_join(helper);
    for (int i = 0; i < 2; i++) {
        rt_task_wake(atomic_load(&g.players[i]));
        CHECK_EQ(join_soon(atomic_load(&g.players[i])), 0);
    }
    CHECK_EQ(rt_close(g.io), 0);
    close(ends[1]);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(an_event_is_seen_while_wakes_come_in);
    return test_end();
}
