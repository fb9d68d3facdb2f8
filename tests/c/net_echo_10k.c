/* Ten thousand connections at once: both ends are here, so there are twice as many descriptors. */
#include "net_echo.h"

static void ten_thousand_connections(void) { echo_many(10000, scaled(3)); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(20100);
    CASE(ten_thousand_connections);
    return test_end();
}
