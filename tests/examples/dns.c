/* A name server of its own world, on plain sockets: says its port, answers a question at a time.
 *
 *   aN.test       127.0.0.N
 *   lost.test     as a9.test, but the first of two questions is lost
 *   long.test     16 addresses, which are too many for a datagram: it says to ask over TCP
 *   silent.test   nothing, ever
 *   others        there is no such name
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 12, ROOM = 512, ENTRY = 16 };

/* The name of a question, with dots; and where the question ends, or 0. */
static size_t parse(const unsigned char *p, size_t len, char *name) {
    size_t at = HEAD, to = 0;
    while (at < len && p[at] != 0) {
        size_t n = p[at++];
        if (n > 63 || at + n > len || to + n + 2 > ROOM) return 0;
        memcpy(name + to, p + at, n);
        to += n, at += n;
        name[to++] = '.';
    }
    name[to == 0 ? 0 : to - 1] = '\0';
    return at + 5 <= len ? at + 5 : 0;
}

static size_t add(unsigned char *p, size_t at, int last) {
    const unsigned char entry[ENTRY] = {0xc0, HEAD, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0,
                                        (unsigned char)last};
    memcpy(p + at, entry, ENTRY);
    p[7]++;
    return at + ENTRY;
}

/* Makes the answer in place; 0: there is none. */
static size_t answer(unsigned char *p, size_t len, bool datagram) {
    static unsigned lost;
    char name[ROOM];
    size_t at = len < HEAD ? 0 : parse(p, len, name);
    int last;
    if (at == 0 || strcmp(name, "silent.test") == 0) return 0;
    p[2] = 0x84, p[3] = 0; /* an answer, by who must know */
    memset(p + 6, 0, 6);
    if (sscanf(name, "a%d.test", &last) == 1) return add(p, at, last);
    if (strcmp(name, "lost.test") == 0) return ++lost % 2 == 1 ? 0 : add(p, at, 9);
    if (strcmp(name, "long.test") != 0) return p[3] = 3, at;
    if (datagram) return p[2] |= 2, at;
    for (last = 1; last <= 16; last++) at = add(p, at, last);
    return at;
}

static void serve_stream(int fd) {
    unsigned char buf[2 + ROOM];
    while (recv(fd, buf, 2, MSG_WAITALL) == 2) {
        size_t len = (size_t)buf[0] << 8 | buf[1];
        if (len > ROOM / 2 || recv(fd, buf + 2, len, MSG_WAITALL) != (ssize_t)len) break;
        if ((len = answer(buf + 2, len, false)) == 0) continue;
        buf[0] = (unsigned char)(len >> 8), buf[1] = (unsigned char)len;
        if (send(fd, buf, len + 2, MSG_NOSIGNAL) < 0) break;
    }
    close(fd);
}

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int listener = -1, datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    signal(SIGCHLD, SIG_IGN);
    do { /* until nobody has the same port for datagrams */
        close(listener);
        at.sin_port = 0;
        listener = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 16) < 0) return 1;
        if (getsockname(listener, (struct sockaddr *)&at, &len) < 0) return 1;
    } while (bind(datagrams, (struct sockaddr *)&at, len) < 0);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        struct pollfd fds[2] = {{datagrams, POLLIN, 0}, {listener, POLLIN, 0}};
        unsigned char buf[2 * ROOM];
        poll(fds, 2, -1);
        if (fds[1].revents != 0) {
            int fd = accept(listener, NULL, NULL);
            if (fd >= 0 && fork() == 0) return serve_stream(fd), 0;
            close(fd);
        }
        if (fds[0].revents == 0) continue;
        len = sizeof at;
        ssize_t n = recvfrom(datagrams, buf, ROOM / 2, 0, (struct sockaddr *)&at, &len);
        size_t m = n < 0 ? 0 : answer(buf, (size_t)n, true);
        if (m > 0) sendto(datagrams, buf, m, 0, (struct sockaddr *)&at, len);
    }
}
