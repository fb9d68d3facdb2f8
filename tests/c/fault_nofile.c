/* Out of descriptors at every step: each thing that holds some is tried with room for none more, for
 * one, for two.. until it succeeds. Before that it says -EMFILE and leaves nothing behind.
 */
#include "nouns.h"
#include "soon.h"

/* Room for so many more descriptors than there are. */
static struct rlimit allow_more(rlim_t room) {
    struct rlimit before, low;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
    int next = (int)CHECK_SYS(dup(0));
    close(next);
    low = before;
    low.rlim_cur = (rlim_t)next + room;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &low));
    return before;
}

/* Others do without: a message's bytes come without its descriptors, a server works without its
 * reserve, and has no further listeners where there is one worker; a watch takes none. */
static bool fails_without(const struct noun *n) {
    if (n->end == end_server) return n->make != make_server && !current_thread();
    return n->make != make_received && n->make != make_watch;
}

static void deny(rt_runtime rt, const struct noun *n) {
    struct kit k = {.rt = rt};
    n->prepare(&k);
    int before = open_fds();
    for (rlim_t room = 0;; room++) {
        CHECK(room < 64);
        struct rlimit limit = allow_more(room);
        int64_t r = n->make(&k);
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
        if (r == 0) {
            CHECK(room > 0 || !fails_without(n));
            break;
        }
        CHECK_EQ(r, -EMFILE);
        /* What an operation made last may go a moment after its task. */
        while (open_fds() != before)
            if (current_thread()) CHECK_OK(rt_turn(rt, 0));
            else sched_yield();
    }
    n->end(&k);
}

static void every_step(void) {
    rt_runtime rt = test_runtime();
    for (int i = 0; i < NOUNS; i++) {
        test_case = nouns[i].name;
        deny(rt, &nouns[i]);
    }
    op_runtime_free(rt);
}

/* An engine that was asked for is not exchanged for another because descriptors are short. */
static void an_engine_is_kept(void) {
    char why[256];
    rt_config config = test_config();
    for (rlim_t room = 0;; room++) {
        rt_runtime rt = 0;
        struct rlimit limit = allow_more(room);
        int64_t r = rt_new(&config, &rt, why, sizeof why);
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
        if (r == 0) {
            char text[256];
            CHECK_OK(rt_describe(rt, text, sizeof text));
            CHECK(strstr(text, test_engine == RT_ENGINE_URING ? "io_uring" : "epoll") != NULL);
            test_runtime_free(rt);
            return;
        }
        CHECK_EQ(r, -EMFILE);
        CHECK(strchr(why, ' ') != NULL);
    }
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    if (under("valgrind")) SKIP("valgrind takes no notice of a lower RLIMIT_NOFILE");
    must_end_soon();
    CASE(every_step);
    CASE(an_engine_is_kept);
    return test_end();
}
