/* Two thousand connections at once, both ends of each in one runtime. */
#include "net_echo.h"

static void two_thousand_connections(void) {
    struct echo echo = {.rt = test_runtime(), .connections = 2000, .rounds = scaled(10)};
    struct echo_acceptor acceptor;
    rt_task accepting;
    int listener = net_listen(4096);
    echo.name = net_name(listener);
    echo_server_start(&echo, listener, &acceptor, &accepting);
    echo_clients(&echo);
    echo_server_end(&echo, accepting);
    test_runtime_free(echo.rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(4100);
    CASE(two_thousand_connections);
    return test_end();
}
