/* A descriptor that moves to another worker's driver, by an epoll_ctl(2) of this program's: where there is no room for it, it is
 * heard of as before; and who registers it once more meanwhile is told that it is there already.
 */
#include "ready.h"
#include "soon.h"

#include <sys/epoll.h>
#include <sys/syscall.h>

static struct {
    _Atomic int fd;       /* whose move it is about; -1: nobody's */
    _Atomic int no_room;  /* what adding it fails with */
    _Atomic bool meets;   /* the other one comes while it is in the old set no more */
} move = {.fd = -1};

/* Who registers it once more. */
static struct {
    rt_runtime rt;
    gate go;
    _Atomic pid_t id;
    _Atomic bool is_done;
    int64_t r;
} other;

static bool other_sleeps(void) {
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)atomic_load(&other.id));
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%*d %*s %c", &state), 1);
    fclose(f);
    return state == 'S';
}

/* The library's, too. */
int epoll_ctl(int set, int what, int fd, struct epoll_event *event) {
    bool meant = fd == atomic_load(&move.fd);
    if (meant && what == EPOLL_CTL_ADD && atomic_load(&move.no_room) != 0) {
        errno = atomic_load(&move.no_room);
        return -1;
    }
    int r = (int)syscall(SYS_epoll_ctl, set, what, fd, event);
    if (meant && what == EPOLL_CTL_DEL && atomic_exchange(&move.meets, false)) {
        gate_open(&other.go);
        /* It came, or it waits for the end of the move. */
        while (!atomic_load(&other.is_done) && (atomic_load(&other.id) == 0 || !other_sleeps())) sched_yield();
    }
    return r;
}

static void *register_once_more(void *arg) {
    (void)arg;
    rt_io again = 0;
    gate_wait(&other.go);
    atomic_store(&other.id, (pid_t)syscall(SYS_gettid));
    other.r = rt_register_fd(other.rt, atomic_load(&move.fd), RW, &again);
    atomic_store(&other.is_done, true);
    return NULL;
}

/* ---- from the one worker to the other ---- */

struct trip {
    rt_io io;
    pthread_t at; /* where it was taken to */
};

static int64_t take_here(rt_cx *cx, void *state) {
    struct trip *t = state;
    t->at = pthread_self();
    return rt_io_rehome(cx, t->io);
}

static int64_t take_elsewhere(rt_cx *cx, void *state) {
    struct trip *t = state;
    return pthread_equal(t->at, pthread_self()) ? -EXDEV : rt_io_rehome(cx, t->io);
}

static int64_t pinned(rt_runtime rt, rt_poll_fn poll, struct trip *t) {
    const rt_spawn_opts opts = {.size = sizeof opts, .flags = RT_SPAWN_PINNED, .poll = poll, .state = t};
    rt_task task;
    CHECK_EQ(rt_spawn_with(rt, &opts, &task), 0);
    return join_soon(task);
}

static int64_t travel(struct scene *s) {
    struct trip t = {.io = s->io};
    int64_t r;
    CHECK_EQ(pinned(s->rt, take_here, &t), 0);
    atomic_store(&move.fd, s->near);
    while ((r = pinned(s->rt, take_elsewhere, &t)) == -EXDEV) continue;
    return r;
}

/* ---- cases ---- */

static void where_there_is_no_room(void) {
    const int errors[] = {ENOSPC, ENOMEM};
    for (int i = 0; i < 2; i++) {
        struct scene s;
        struct waiter w;
        scene_open(&s, net_pair, RW);
        waiter_park(&w, s.rt, s.io, RT_READABLE);
        atomic_store(&move.no_room, errors[i]);
        CHECK_EQ(travel(&s), -errors[i]);
        atomic_store(&move.no_room, 0);
        atomic_store(&move.fd, -1);
        net_put(s.far, "x", 1);
        CHECK_EQ(join_soon(w.task), 0);
        CHECK_EQ(travel(&s), 0);
        atomic_store(&move.fd, -1);
        scene_close(&s);
    }
}

static void registered_once_more(void) {
    struct scene s;
    scene_open(&s, net_pair, RW);
    other.rt = s.rt;
    gate_init(&other.go);
    atomic_store(&move.meets, true);
    pthread_t thread = thread_start(register_once_more, NULL);
    CHECK_EQ(travel(&s), 0);
    thread_join(thread);
    CHECK(!atomic_load(&move.meets));
    CHECK_EQ(other.r, -EEXIST);
    atomic_store(&move.fd, -1);
    gate_destroy(&other.go);
    scene_close(&s);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (current_thread()) SKIP("there is nowhere to move to");
    must_end_soon();
    CASE(where_there_is_no_room);
    CASE(registered_once_more);
    return test_end();
}
