/* Connects its input and its output to a Unix socket, for tests that are shell scripts.
 *
 * Usage: unix_pipe PATH */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void copy(int from, int to) {
    char buf[4096];
    for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0;)
        for (ssize_t off = 0, m; off < n; off += m)
            if ((m = write(to, buf + off, (size_t)(n - off))) <= 0) return;
}

int main(int argc, char **argv) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (argc != 2 || strlen(argv[1]) >= sizeof name.sun_path) return 2;
    strcpy(name.sun_path, argv[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name) < 0) {
        perror(argv[1]);
        return 1;
    }
    if (fork() == 0) {
        close(STDOUT_FILENO); /* whose end is the other copy's */
        copy(STDIN_FILENO, fd);
        shutdown(fd, SHUT_WR);
        return 0;
    }
    copy(fd, STDOUT_FILENO);
    return 0;
}
