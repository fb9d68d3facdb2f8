/* A server for `fetch`, on plain sockets: says its port, and answers one connection at a time.
 *
 *   /hello    the request's lines, in two pieces, with their length
 *   /endless  a line without a length, ended by closing
 *   /missing  404
 *   /cut      less than was promised
 *   /more     more than was promised
 *   /never    nothing, until the client has gone
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n <= 0) return;
        text += n;
        len -= (size_t)n;
    }
}

static void tell(int fd, const char *text) { say(fd, text, strlen(text)); }

/* All up to the empty line. */
static size_t listen_to(int fd, char *request, size_t room) {
    size_t len = 0;
    while (len < room - 1 && (len < 4 || memcmp(request + len - 4, "\r\n\r\n", 4) != 0)) {
        if (read(fd, request + len, 1) <= 0) break;
        len++;
    }
    request[len] = '\0';
    return len;
}

static void answer(int fd) {
    char request[4096], head[128];
    size_t len = listen_to(fd, request, sizeof request);
    if (strncmp(request, "GET /hello ", 11) == 0) {
        int n = snprintf(head, sizeof head,
                         "HTTP/1.0 200 OK\r\nX: y\r\ncontent-length: %zu\r\n\r\n", len);
        say(fd, head, (size_t)n);
        say(fd, request, len / 2);
        say(fd, request + len / 2, len - len / 2);
    } else if (strncmp(request, "GET /endless ", 13) == 0) {
        tell(fd, "HTTP/1.1 200 OK\r\n\r\nas long as it is\n");
    } else if (strncmp(request, "GET /missing ", 13) == 0) {
        tell(fd, "HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n");
    } else if (strncmp(request, "GET /cut ", 9) == 0) {
        tell(fd, "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhalf\n");
    } else if (strncmp(request, "GET /huge ", 10) == 0) {
        tell(fd, "HTTP/1.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nnot so much\n");
    } else if (strncmp(request, "GET /status ", 12) == 0) {
        tell(fd, "HTTP/1.0 2000 OK\r\n\r\nwhat is that?\n");
    } else if (strncmp(request, "GET /short ", 11) == 0) {
        tell(fd, "HTTP/1.0 200\r\n\r\nno reason\n");
    } else if (strncmp(request, "GET /more ", 10) == 0) {
        tell(fd, "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nenough\ntoo much\n");
    } else {
        while (read(fd, head, sizeof head) > 0) continue;
    }
}

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGPIPE, SIG_IGN);
    if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 16) < 0) return 1;
    if (getsockname(listener, (struct sockaddr *)&at, &len) < 0) return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        answer(fd);
        close(fd);
    }
}
