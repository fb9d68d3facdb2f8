/* Two thousand connections at once. */
#include "net_echo.h"

static void two_thousand_connections(void) { echo_many(2000, scaled(10)); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(4100);
    CASE(two_thousand_connections);
    return test_end();
}
