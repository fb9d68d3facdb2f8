/* Ten thousand connections at once. The clients are a process of their own, with a runtime of their own, so that each
 * side needs no more descriptors than a usual limit allows.
 */
#include "net_echo.h"

#include <sys/wait.h>

enum { CONNECTIONS = 10000 };

static void be_the_clients(struct sockaddr_in name) {
    struct echo echo = {.rt = test_runtime(), .connections = CONNECTIONS, .rounds = scaled(3), .name = name};
    echo_clients(&echo);
    test_runtime_free(echo.rt);
}

/* The clients' end of the pipe closes when they are through, or die. */
static int64_t wait_for_clients(rt_cx *cx, void *state) {
    char none;
    return rt_poll_read(cx, *(rt_io *)state, &none, 1);
}

static void ten_thousand_connections(void) {
    int listener = net_listen(4096), ends[2];
    net_pipe(ends);
    fflush(NULL);
    pid_t pid = (pid_t)CHECK_SYS(fork()); /* before this process has a runtime */
    if (pid == 0) {
        be_the_clients(net_name(listener));
        _exit(0);
    }
    close(ends[1]);

    struct echo echo = {.rt = test_runtime()};
    struct echo_acceptor acceptor;
    rt_task accepting;
    echo_server_start(&echo, listener, &acceptor, &accepting);
    rt_io through = io_of(echo.rt, ends[0], RT_READABLE);
    CHECK_EQ(rt_block_on(echo.rt, wait_for_clients, &through), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_EQ(rt_close(through), 0);
    echo_server_end(&echo, accepting);
    test_runtime_free(echo.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(CONNECTIONS + 100);
    CASE_ONCE(ten_thousand_connections, "it forks before it uses the library");
    return test_end();
}
