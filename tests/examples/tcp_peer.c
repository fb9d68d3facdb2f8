/* One end of TCP connections on 127.0.0.1, for tests that are shell scripts. Its bytes are the same
 * known ones each time, so that either end sees whether they are right.
 *
 * Usage: tcp_peer listen BYTES [after|reset|stall]    says its port; serves one connection
 *        tcp_peer connect PORT BYTES [after|slow|urgent|held]
 *        tcp_peer many PORT COUNT                     of an echo server, all at once
 *        tcp_peer deaf                                says a port that nobody else is given while it
 *                                                     runs, and that refuses every connection
 *
 * Sends BYTES and then the end, and receives up to the end, both at the same time; the last line
 * says how much went and came, and how it ended.
 *
 *   after  sends only after the other's end.
 *   reset  sends nothing, and resets the connection when the first bytes came.
 *   stall  says `stalled` when nothing can be sent for a while.
 *   slow   receives only after a line of stdin came.
 *   urgent sends one byte more in the middle, as urgent data, and says `sent` when all went.
 *   held   as urgent, but sends the end only after as much came as went.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PERIOD = 65521, A_WHILE = 300 };

static unsigned char text[2 * PERIOD]; /* twice, so that any piece is in one piece */

static void fill_text(void) {
    unsigned x = 2463534242U;
    for (int i = 0; i < PERIOD; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        text[i] = text[i + PERIOD] = (unsigned char)x;
    }
}

static int fail(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static int finish(const char *how, size_t sent, size_t got) {
    printf("sent %zu, got %zu, %s\n", sent, got, how);
    return 0;
}

static int converse(int fd, size_t bytes, const char *manner) {
    static unsigned char buf[PERIOD];
    bool after = strcmp(manner, "after") == 0, stall = strcmp(manner, "stall") == 0;
    bool slow = strcmp(manner, "slow") == 0, resets = strcmp(manner, "reset") == 0;
    bool held = strcmp(manner, "held") == 0, urgent = held || strcmp(manner, "urgent") == 0;
    size_t sent = 0, got = 0;
    bool said_end = false, heard_end = false;
    while (!said_end || !heard_end) {
        bool sends = !said_end && !resets && (!after || heard_end);
        if (held && sent == bytes && got < bytes) sends = false;
        struct pollfd fds[2] = {{fd, 0, 0}, {slow ? STDIN_FILENO : -1, POLLIN, 0}};
        fds[0].events = (short)((sends ? POLLOUT : 0) | (slow || heard_end ? 0 : POLLIN));
        if (poll(fds, 2, stall ? A_WHILE : -1) == 0) printf("stalled\n"), stall = false;
        if (fds[1].revents != 0) slow = false;
        if (fds[0].revents & (POLLIN | POLLERR)) {
            ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
            if (n < 0 && errno == ECONNRESET) return finish("reset", sent, got);
            if (n < 0) return fail("recv");
            if (memcmp(buf, text + got % PERIOD, (size_t)n) != 0) return finish("wrong", sent, got);
            got += (size_t)n;
            heard_end = n == 0;
            if (n > 0 && resets) {
                const struct linger reset = {.l_onoff = 1};
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                close(fd);
                return finish("gone", sent, got);
            }
        }
        if (sends && fds[0].revents & POLLOUT) {
            size_t until = urgent && sent < bytes / 2 ? bytes / 2 : bytes;
            size_t n = until - sent < PERIOD ? until - sent : PERIOD;
            ssize_t m = n == 0 ? 0 : send(fd, text + sent % PERIOD, n, MSG_DONTWAIT);
            if (m < 0 && errno != EAGAIN) return fail("send");
            if (m > 0) sent += (size_t)m;
            if (m > 0 && urgent && sent == bytes / 2 && send(fd, "!", 1, MSG_OOB) != 1)
                return fail("send");
            said_end = sent == bytes && (!held || got >= bytes);
            if (said_end) shutdown(fd, SHUT_WR); /* of a reset, recv tells */
            if (urgent && sent == bytes && m > 0) printf("sent\n");
        }
    }
    return finish("end", sent, got);
}

static int connected(const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) < 0) close(fd), fd = -1;
    return fd;
}

/* A socket with a port of its own, which it says: one that listens, or one that refuses all. */
static int bound(bool listens) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, len) < 0 || (listens && listen(fd, 1) < 0)) return -1;
    if (getsockname(fd, (struct sockaddr *)&at, &len) < 0) return -1;
    printf("%d\n", ntohs(at.sin_port));
    return fd;
}

static int accepted(void) {
    int listener = bound(true);
    return listener < 0 ? -1 : accept(listener, NULL, NULL);
}

static int deaf(void) {
    if (bound(false) < 0) return fail("bind");
    for (;;) pause();
}

static int many(const char *port, int count) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int *fds = calloc((size_t)count, sizeof *fds), answer;
    for (int i = 0; i < count; i++) {
        if ((fds[i] = connected(port)) < 0) return fail("connect");
        if (send(fds[i], &i, sizeof i, 0) != sizeof i) return fail("send");
    }
    for (int i = 0; i < count; i++)
        if (recv(fds[i], &answer, sizeof answer, MSG_WAITALL) != sizeof answer || answer != i)
            return fail("answer");
    printf("%d open\n", count);
    for (int i = 0; i < count; i++) shutdown(fds[i], SHUT_WR);
    for (int i = 0; i < count; i++)
        if (recv(fds[i], &answer, sizeof answer, 0) != 0) return fail("end");
    printf("%d ended\n", count);
    free(fds);
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    fill_text();
    if (argc == 2 && strcmp(argv[1], "deaf") == 0) return deaf();
    if (argc == 4 && strcmp(argv[1], "many") == 0) return many(argv[2], atoi(argv[3]));
    bool listens = argc >= 3 && strcmp(argv[1], "listen") == 0;
    if (!listens && (argc < 4 || strcmp(argv[1], "connect") != 0)) return 2;
    int at = listens ? 2 : 3, fd = listens ? accepted() : connected(argv[2]);
    if (fd < 0) return fail(argv[1]);
    return converse(fd, (size_t)atoll(argv[at]), argc > at + 1 ? argv[at + 1] : "");
}
