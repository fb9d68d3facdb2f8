/* Unix sockets by path and by abstract name: modes, files that are in the way, queues that are
 * full, and who is at the other end.
 */
#include "ready.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/un.h>

static char dir[64];

/* A path in a directory of this case's own; a buffer in turns. */
static const char *path_of(const char *name) {
    static char paths[4][128];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void dir_make(void) {
    strcpy(dir, "/tmp/asyncio-unix-XXXXXX"); /* whatever TMPDIR says: a socket's name is short */
    CHECK(mkdtemp(dir) != NULL);
}

static void dir_remove(void) { CHECK_SYS(rmdir(dir)); }

static rt_unix_opts opts_of(uint32_t flags) {
    rt_unix_opts opts;
    CHECK_EQ(rt_unix_opts_init(&opts, sizeof opts), 0);
    opts.flags = flags;
    return opts;
}

static rt_io listen_at(rt_runtime rt, const char *path, const rt_unix_opts *opts) {
    rt_io io = 0;
    CHECK_EQ(rt_unix_listen(rt, path, opts, &io), 0);
    CHECK(io != 0);
    return io;
}

static rt_task begin(rt_runtime rt, const char *path, const rt_unix_opts *opts) {
    rt_task task = 0;
    CHECK_EQ(rt_unix_connect(rt, path, opts, &task), 0);
    return task;
}

static int64_t connect_to(rt_runtime rt, const char *path, const rt_unix_opts *opts) {
    return join_task(begin(rt, path, opts));
}

static int fd_of(rt_io io) { return (int)CHECK_OK(rt_io_fd(io)); }

static int option(rt_io io, int name) {
    int value = 0;
    CHECK_SYS(getsockopt(fd_of(io), SOL_SOCKET, name, &value, &(socklen_t){sizeof value}));
    return value;
}

static void talk(rt_runtime rt, rt_io listener, const char *path, const rt_unix_opts *opts) {
    rt_io io = (rt_io)CHECK_OK(connect_to(rt, path, opts));
    int far = net_take(fd_of(listener));
    char byte = 0, text[160], expected[160];
    rt_addr peer;
    CHECK_EQ(write(far, "x", 1), 1);
    CHECK_EQ(read(fd_of(io), &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(fcntl(fd_of(io), F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(fd_of(io), F_GETFL) & O_NONBLOCK);
    snprintf(expected, sizeof expected, "unix:%s", path);
    CHECK_EQ(rt_peer_addr(io, &peer), 0);
    CHECK_OK(rt_addr_text(&peer, text, sizeof text));
    CHECK(strcmp(text, expected) == 0);
    close(far);
    CHECK_EQ(rt_close(io), 0);
}

static void by_path(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    const char *path = path_of("s");
    rt_unix_opts seqpacket = opts_of(0);
    seqpacket.kind = SOCK_SEQPACKET;
    rt_io listener = listen_at(rt, path, NULL);
    talk(rt, listener, path, NULL);
    CHECK_EQ(option(listener, SO_TYPE), SOCK_STREAM);
    CHECK_EQ(connect_to(rt, path, &seqpacket), -EPROTOTYPE);
    CHECK_EQ(rt_close(listener), 0);
    CHECK_EQ(connect_to(rt, path, NULL), -ECONNREFUSED);
    CHECK_SYS(unlink(path));
    CHECK_EQ(connect_to(rt, path, NULL), -ENOENT);
    listener = listen_at(rt, path, &seqpacket);
    CHECK_EQ(option(listener, SO_TYPE), SOCK_SEQPACKET);
    talk(rt, listener, path, &seqpacket);
    CHECK_EQ(rt_close(listener), 0);
    CHECK_SYS(unlink(path));
    test_runtime_free(rt);
    dir_remove();
}

static void by_abstract_name(void) {
    rt_runtime rt = test_runtime();
    char name[64];
    snprintf(name, sizeof name, "@asyncio-test-%d", getpid());
    rt_io listener = listen_at(rt, name, NULL), second = 77;
    talk(rt, listener, name, NULL);
    rt_unix_opts stale = opts_of(RT_UNIX_UNLINK_STALE);
    CHECK_EQ(rt_unix_listen(rt, name, &stale, &second), -EADDRINUSE);
    CHECK_EQ(second, 0);
    CHECK_EQ(rt_close(listener), 0);
    CHECK_EQ(connect_to(rt, name, NULL), -ECONNREFUSED);
    test_runtime_free(rt);
}

static mode_t mode_of(const char *path) {
    struct stat st;
    CHECK_SYS(lstat(path, &st));
    CHECK(S_ISSOCK(st.st_mode));
    return st.st_mode & 07777;
}

static void modes(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    const char *plain = path_of("plain"), *closed = path_of("closed"), *open = path_of("open");
    rt_unix_opts opts = opts_of(0);
    mode_t mask = umask(027);
    rt_io a = listen_at(rt, plain, NULL);
    opts.mode = 0600;
    rt_io b = listen_at(rt, closed, &opts);
    opts.mode = 0666;
    rt_io c = listen_at(rt, open, &opts);
    umask(mask);
    CHECK_EQ(mode_of(plain), 0750);
    CHECK_EQ(mode_of(closed), 0600);
    CHECK_EQ(mode_of(open), 0666);
    CHECK_EQ(rt_close(a), 0);
    CHECK_EQ(rt_close(b), 0);
    CHECK_EQ(rt_close(c), 0);
    CHECK_SYS(unlink(plain));
    CHECK_SYS(unlink(closed));
    CHECK_SYS(unlink(open));
    test_runtime_free(rt);
    dir_remove();
}

/* Only a socket on which nobody listens makes place. */
static void what_is_in_the_way(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    const char *path = path_of("s"), *file = path_of("file"), *link = path_of("link");
    rt_unix_opts stale = opts_of(RT_UNIX_UNLINK_STALE);
    rt_io second = 77;
    rt_io first = listen_at(rt, path, &stale);
    CHECK_EQ(rt_unix_listen(rt, path, &stale, &second), -EADDRINUSE);
    CHECK_EQ(second, 0);
    close(net_take(fd_of(first))); /* the look whether it is stale */
    talk(rt, first, path, NULL);
    CHECK_EQ(rt_close(first), 0);
    CHECK_EQ(rt_unix_listen(rt, path, NULL, &second), -EADDRINUSE);
    CHECK_SYS(symlink(path, link));
    CHECK_EQ(rt_unix_listen(rt, link, &stale, &second), -EADDRINUSE);
    first = listen_at(rt, path, &stale);
    talk(rt, first, path, NULL);
    int fd = (int)CHECK_SYS(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    close(fd);
    CHECK_EQ(rt_unix_listen(rt, file, &stale, &second), -EADDRINUSE);
    CHECK_SYS(access(file, F_OK));
    CHECK_EQ(rt_close(first), 0);
    CHECK_SYS(unlink(path));
    CHECK_SYS(unlink(file));
    CHECK_SYS(unlink(link));
    test_runtime_free(rt);
    dir_remove();
}

/* Who waits for others to be done is not hurried by signals. */
static atomic_int hurried;
static atomic_bool may_begin;

static void on_hurry(int signum) { (void)signum; }

/* The library's, too. A handler would not do to count: ThreadSanitizer calls it only from calls that it knows. */
int flock(int fd, int operation) {
    int r = (int)syscall(SYS_flock, fd, operation);
    if (r < 0 && errno == EINTR) atomic_fetch_add(&hurried, 1);
    return r;
}

static void *start_in_time(void *arg) {
    rt_unix_opts stale = opts_of(RT_UNIX_UNLINK_STALE);
    rt_io io = listen_at(*(rt_runtime *)arg, path_of("s"), &stale);
    CHECK(atomic_load(&may_begin));
    CHECK_EQ(rt_close(io), 0);
    return NULL;
}

static void a_lock_and_signals(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    int lock = (int)CHECK_SYS(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK_SYS(flock(lock, LOCK_EX));
    struct sigaction hurry = {.sa_handler = on_hurry}, before;
    CHECK_SYS(sigaction(SIGUSR1, &hurry, &before));
    atomic_store(&hurried, 0);
    atomic_store(&may_begin, false);
    pthread_t thread = thread_start(start_in_time, &rt);
    while (atomic_load(&hurried) < 20) {
        CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
        usleep(1000);
    }
    atomic_store(&may_begin, true);
    CHECK_SYS(flock(lock, LOCK_UN));
    thread_join(thread);
    CHECK_SYS(sigaction(SIGUSR1, &before, NULL));
    close(lock);
    CHECK_SYS(unlink(path_of("s")));
    test_runtime_free(rt);
    dir_remove();
}

enum { STARTERS = 4 };

struct starter {
    rt_runtime rt;
    const char *path;
    rt_io io;
};

static void *start(void *arg) {
    struct starter *s = arg;
    rt_unix_opts stale = opts_of(RT_UNIX_UNLINK_STALE);
    int64_t r = rt_unix_listen(s->rt, s->path, &stale, &s->io);
    if (r != 0) CHECK_EQ(r, -EADDRINUSE);
    return NULL;
}

/* Several start at once where a stale socket is: one of them listens, and keeps its file. */
static void one_of_many_starters(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    const char *path = path_of("s");
    for (int round = scaled(100); round > 0; round--) {
        CHECK_EQ(rt_close(listen_at(rt, path, NULL)), 0);
        struct starter starters[STARTERS];
        pthread_t threads[STARTERS];
        rt_io winner = 0;
        for (int i = 0; i < STARTERS; i++) {
            starters[i] = (struct starter){rt, path, 0};
            threads[i] = thread_start(start, &starters[i]);
        }
        for (int i = 0; i < STARTERS; i++) {
            thread_join(threads[i]);
            if (starters[i].io == 0) continue;
            CHECK_EQ(winner, 0);
            winner = starters[i].io;
        }
        rt_io io = (rt_io)CHECK_OK(connect_to(rt, path, NULL));
        CHECK_EQ(rt_close(io), 0);
        CHECK_EQ(rt_close(winner), 0);
        CHECK_SYS(unlink(path));
    }
    test_runtime_free(rt);
    dir_remove();
}

static void a_full_queue(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    const char *path = path_of("s");
    rt_unix_opts opts = opts_of(0);
    opts.backlog = 1;
    rt_io listener = listen_at(rt, path, &opts);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int filling[8], filled = 0;
    for (;; filled++) {
        CHECK(filled < 8);
        filling[filled] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (connect(filling[filled], (struct sockaddr *)&name, sizeof name) != 0) break;
    }
    CHECK_EQ(errno, EAGAIN);
    close(filling[filled]);
    opts.deadline = 1; /* long ago */
    CHECK_EQ(connect_to(rt, path, &opts), -ETIME);
    rt_task aborted = begin(rt, path, NULL), task = begin(rt, path, NULL);
    CHECK_EQ(rt_join(task, 20000000, NULL), -ETIME);
    CHECK_EQ(rt_abort(aborted), 0);
    CHECK_EQ(join_task(aborted), -ECANCELED);
    for (int i = 0; i < filled; i++) {
        close(net_take(fd_of(listener)));
        close(filling[i]);
    }
    rt_io io = (rt_io)CHECK_OK(join_task(task));
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_close(listener), 0);
    CHECK_SYS(unlink(path));
    test_runtime_free(rt);
    dir_remove();
}

static void is_me(rt_io io) {
    rt_unix_cred cred = {0};
    CHECK_EQ(rt_unix_peer(io, &cred), 0);
    CHECK_EQ(cred.pid, getpid());
    CHECK_EQ(cred.uid, geteuid());
    CHECK_EQ(cred.gid, getegid());
}

static void pairs_and_peers(void) {
    static const int kinds[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    rt_runtime rt = test_runtime();
    rt_io pair[2];
    rt_unix_cred cred;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rt_unix_pair(rt, kinds[i], pair), 0);
        CHECK_EQ(option(pair[0], SO_TYPE), kinds[i]);
        CHECK_EQ(fcntl(fd_of(pair[1]), F_GETFD), FD_CLOEXEC);
        char byte = 0;
        CHECK_EQ(write(fd_of(pair[0]), "x", 1), 1);
        CHECK_EQ(read(fd_of(pair[1]), &byte, 1), 1);
        is_me(pair[0]);
        is_me(pair[1]);
        CHECK_EQ(rt_unix_peer(pair[0], NULL), -EINVAL);
        CHECK_EQ(rt_close(pair[0]), 0);
        CHECK_EQ(rt_close(pair[1]), 0);
        CHECK_EQ(rt_unix_peer(pair[0], &cred), -EBADF);
    }
    pair[0] = pair[1] = 77;
    CHECK_EQ(rt_unix_pair(rt, SOCK_RAW, pair), -EINVAL);
    CHECK(pair[0] == 0 && pair[1] == 0);
    CHECK_EQ(rt_unix_pair(rt, SOCK_STREAM, NULL), -EINVAL);
    rt_io io = 0;
    CHECK_EQ(rt_udp_bind(rt, "127.0.0.1", 0, NULL, &io), 0);
    CHECK_EQ(rt_unix_peer(io, &cred), -EAFNOSUPPORT);
    CHECK_EQ(rt_close(io), 0);
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    CHECK_EQ(rt_register_fd(rt, fd, RT_READABLE, &io), 0);
    CHECK_EQ(rt_unix_peer(io, &cred), -ENOTCONN);
    CHECK_EQ(rt_close(io), 0);
    test_runtime_free(rt);
}

/* A path in this case's directory that leaves no room for a NUL, with `c` at its end. */
static const char *longest_path(char c) {
    static char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
    memset(path, c, sizeof path - 1);
    memcpy(path, dir, strlen(dir));
    path[strlen(dir)] = '/';
    return path;
}

/* Where a socket is can be told, and be used as an address, though the system says that there is a NUL more. */
static void is_at(rt_io io, const char *path) {
    char text[128], expected[128];
    rt_addr addr, again;
    snprintf(expected, sizeof expected, "unix:%s", path);
    CHECK_EQ(rt_local_addr(io, &addr), 0);
    CHECK_EQ(addr.len, sizeof(struct sockaddr_un));
    CHECK_EQ(rt_addr_text(&addr, text, sizeof text), strlen(expected));
    CHECK(strcmp(text, expected) == 0);
    CHECK_EQ(rt_addr_parse(text, 0, &again), 0);
    CHECK_EQ(memcmp(&addr, &again, sizeof addr), 0);
}

/* What it receives can be answered. */
static void answers(rt_runtime rt) {
    rt_io ends[2];
    rt_addr at[2];
    struct hand hand;
    hand_open(&hand, rt);
    for (int i = 0; i < 2; i++) {
        char text[128];
        snprintf(text, sizeof text, "unix:%s", longest_path((char)('a' + i)));
        CHECK_EQ(rt_addr_parse(text, 0, &at[i]), 0);
        int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        CHECK_SYS(bind(fd, (struct sockaddr *)at[i].storage, at[i].len));
        ends[i] = io_of(rt, fd, RW);
        is_at(ends[i], text + 5);
    }
    char byte = 'q';
    rt_datagram d = {.buf = &byte, .len = 1, .addr = at[1]};
    AWAIT_EQ(&hand, 1, rt_poll_send_many(hand.cx, ends[0], &d, 1));
    AWAIT_EQ(&hand, 1, rt_poll_recv_many(hand.cx, ends[1], &d, 1));
    CHECK_EQ(d.addr.len, sizeof(struct sockaddr_un));
    CHECK_EQ(memcmp(&d.addr, &at[0], sizeof at[0]), 0);
    AWAIT_EQ(&hand, 1, rt_poll_send_many(hand.cx, ends[1], &d, 1));
    CHECK_EQ(rt_udp_connect(ends[1], &d.addr), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(rt_close(ends[i]), 0);
        CHECK_SYS(unlink(longest_path((char)('a' + i))));
    }
    hand_close(&hand);
    hand_check(&hand);
}

static void the_longest_path(void) {
    dir_make();
    rt_runtime rt = test_runtime();
    const char *path = longest_path('s');
    rt_io listener = listen_at(rt, path, NULL);
    is_at(listener, path);
    rt_io io = (rt_io)CHECK_OK(connect_to(rt, path, NULL));
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_close(listener), 0);
    rt_unix_opts opts = opts_of(RT_UNIX_UNLINK_STALE);
    CHECK_EQ(rt_close(listen_at(rt, path, &opts)), 0);
    CHECK_SYS(unlink(path));
    answers(rt);
    test_runtime_free(rt);
    dir_remove();
}

static void bad_arguments(void) {
    rt_runtime rt = test_runtime();
    rt_io io = 77;
    rt_task task = 77;
    char path[120];
    memset(path, 'x', sizeof path);
    path[109] = 0;
    CHECK_EQ(rt_unix_listen(rt, path, NULL, &io), -ENAMETOOLONG);
    CHECK_EQ(io, 0);
    CHECK_EQ(rt_unix_connect(rt, path, NULL, &task), -ENAMETOOLONG);
    CHECK_EQ(task, 0);
    path[0] = '@';
    CHECK_EQ(rt_unix_listen(rt, path, NULL, &io), -ENAMETOOLONG);
    const char *none[] = {NULL, "", "@"};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rt_unix_listen(rt, none[i], NULL, &io), -EINVAL);
        CHECK_EQ(rt_unix_connect(rt, none[i], NULL, &task), -EINVAL);
    }
    CHECK_EQ(rt_unix_listen(rt, "@x", NULL, NULL), -EINVAL);
    CHECK_EQ(rt_unix_connect(rt, "@x", NULL, NULL), -EINVAL);
    CHECK_EQ(rt_unix_listen(rt, "/no/such/directory/s", NULL, &io), -ENOENT);
    rt_unix_opts bad[5];
    for (int i = 0; i < 5; i++) bad[i] = opts_of(0);
    bad[0].flags = 2;
    bad[1].kind = SOCK_DGRAM;
    bad[2].mode = 010000;
    bad[3].backlog = UINT32_MAX;
    bad[4].reserved = 1;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(rt_unix_listen(rt, "@x", &bad[i], &io), -EINVAL);
        CHECK_EQ(rt_unix_connect(rt, "@x", &bad[i], &task), -EINVAL);
    }
    test_runtime_free(rt);
    CHECK_EQ(rt_unix_connect(rt, "@x", NULL, &task), -EBADF);
    CHECK_EQ(rt_unix_listen(rt, "@x", NULL, &io), -EBADF);
    rt_io pair[2];
    CHECK_EQ(rt_unix_pair(rt, SOCK_STREAM, pair), -EBADF);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(by_path);
    CASE(by_abstract_name);
    CASE(modes);
    CASE(what_is_in_the_way);
    CASE(one_of_many_starters);
    CASE(a_lock_and_signals);
    CASE(a_full_queue);
    CASE(pairs_and_peers);
    CASE(the_longest_path);
    CASE(bad_arguments);
    return test_end();
}
