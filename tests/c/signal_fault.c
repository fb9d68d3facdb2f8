/* A program's handler for a fault runs on a worker's thread as on any other: a crash reporter sees
 * what happened in a poll. */
#include "child.h"

#include <sys/mman.h>

enum { HANDLED = 42 };

static pthread_t main_thread;

static void on_fault(int sig) {
    (void)sig;
    bool on_main = pthread_equal(pthread_self(), main_thread);
    _exit(on_main == current_thread() ? HANDLED : 1);
}

static int64_t write_to(rt_cx *cx, void *state) {
    (void)cx;
    *(volatile int *)state = 1;
    return 0;
}

static void fault(int sig, void *where) {
    signal(sig, on_fault);
    main_thread = pthread_self();
    rt_runtime rt = test_runtime();
    rt_block_on(rt, write_to, where);
    CHECK(!"the fault came to nobody");
}

/* Memory that may not be written to, and memory that no file is behind. */
static void touch_protected(void) {
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    fault(SIGSEGV, page);
}

static void touch_beyond_the_file(void) {
    int fd = (int)CHECK_SYS(memfd_create("empty", MFD_CLOEXEC));
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(page != MAP_FAILED);
    fault(SIGBUS, page);
}

static void a_segmentation_fault(void) { CHECK_EQ(child_status(touch_protected), HANDLED); }
static void a_bus_error(void) { CHECK_EQ(child_status(touch_beyond_the_file), HANDLED); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (instrumented()) SKIP("valgrind and the sanitizers report the fault themselves");
    CASE(a_segmentation_fault);
    CASE(a_bus_error);
    return test_end();
}
