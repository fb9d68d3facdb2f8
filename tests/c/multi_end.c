/* The end of a stream races the receive of its last bytes, and is heard all the same. Linux (seen on 6.18.44; liburing's issue
 * 1549 is about Unix sockets) has lost it for a multishot receive, once in some thousand times: the receiver then waits for
 * ever.
 */
#include <semaphore.h>

#include "multi.h"

enum { BYTES = 10 };

struct race {
    struct steps steps;
    rt_buf buf;
    size_t got;
    int rounds;
    bool reset;
    void (*connect_ends)(int[2]);
    /* The far end, on a thread. */
    sem_t go;
    unsigned delay;
    bool over;
    atomic_size_t ended; /* how many ends it has made, and returned */
};

static struct race race;

static void *far(void *arg) {
    struct race *r = arg;
    for (;;) {
        while (sem_wait(&r->go) < 0) continue;
        if (r->over) return NULL;
        for (volatile unsigned i = 0; i < r->delay; i++) continue;
        net_put(r->steps.far, "0123456789", BYTES);
        if (r->reset) net_reset(r->steps.far);
        else CHECK_SYS(shutdown(r->steps.far, SHUT_WR));
        atomic_fetch_add(&r->ended, 1);
    }
}

static int64_t hear_ends(rt_cx *cx, void *state) {
    struct race *r = state;
    struct steps *s = &r->steps;
    RT_BEGIN(&s->frame);
    for (s->n = 0; s->n < (size_t)r->rounds; s->n++) {
        steps_pair(cx, s, r->connect_ends);
        CHECK_EQ(rt_submit_recv_multi(cx, s->io, &s->op), 0);
        r->delay = (unsigned)(s->n * 37 % 3000);
        r->got = 0;
        sem_post(&r->go);
        for (;;) {
            RT_AWAIT(s->got, rt_poll_recv_next(cx, s->op, &r->buf));
            if (s->got <= 0) break;
            r->got += r->buf.len;
            CHECK_EQ(rt_buf_release(r->buf.lease), 0);
        }
        CHECK_EQ(s->got, r->reset ? -ECONNRESET : 0);
        /* A reset may overtake them. */
        CHECK(r->got == BYTES || r->reset);
        while (atomic_load(&r->ended) <= s->n) RT_YIELD(cx);
        /* net_reset has closed it, and nobody else waits for the far end. */
        if (r->reset) s->far = -1;
        steps_close(s);
    }
    RT_END(0);
}

static void hear(void (*connect_ends)(int[2]), bool reset) {
    memset(&race, 0, sizeof race);
    race.connect_ends = connect_ends;
    race.reset = reset;
    race.rounds = scaled(4000);
    CHECK_SYS(sem_init(&race.go, 0, 0));
    pthread_t thread = thread_start(far, &race);
    play_alone(hear_ends, &race);
    race.over = true;
    sem_post(&race.go);
    thread_join(thread);
}

static void a_shutdown_of_a_unix_socket(void) { hear(net_unix_pair, false); }
static void a_shutdown_of_a_connection(void) { hear(net_pair, false); }
static void a_reset(void) { hear(net_pair, true); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(a_shutdown_of_a_unix_socket);
    CASE(a_shutdown_of_a_connection);
    CASE(a_reset);
    return test_end();
}
