/* Blobs: the same bytes to many, of which the caller lets go at once. */
#include "multi.h"

enum { CONNECTIONS = 500, BYTES = 20000, READERS = 4, ROUNDS = 100, HUGE = 4 << 20 };

static int fars[CONNECTIONS];
static rt_io ios[CONNECTIONS];
static char bytes[BYTES];

/* ---- one to many ---- */

struct share {
    int from, step;
    size_t sends;
};

static void *read_share(void *arg) {
    struct share *share = arg;
    char data[BYTES];
    for (int i = share->from; i < CONNECTIONS; i += share->step)
        for (size_t n = 0; n < share->sends; n++) {
            CHECK_EQ(net_get(fars[i], data, sizeof data), sizeof data);
            CHECK(net_pattern_holds(data, sizeof data, 9, 0));
        }
    return NULL;
}

static int64_t flush_all(rt_cx *cx, void *state) {
    int *at = state;
    while (*at < CONNECTIONS) {
        int64_t r = rt_poll_flush(cx, ios[*at], 0);
        if (r == RT_PENDING) return r;
        CHECK_EQ(r, 0);
        ++*at;
    }
    return 0;
}

static void connect_all(rt_runtime rt) {
    for (int i = 0; i < CONNECTIONS; i++) {
        int ends[2];
        net_unix_pair(ends);
        if (i % 2 == 0) net_small_buffer(ends[0]); /* these must queue */
        ios[i] = io_of(rt, ends[0], 0);
        fars[i] = ends[1];
    }
}

static void *send_to_all(void *arg) {
    rt_blob *blob = arg;
    for (int i = 0; i < CONNECTIONS; i++) CHECK_EQ(rt_send_blob(ios[i], *blob), BYTES);
    return NULL;
}

static void one_for_many(int from_threads) {
    rt_runtime rt = test_runtime();
    rt_blob blob;
    struct share shares[READERS];
    pthread_t readers[READERS], senders[2];
    int at = 0;
    connect_all(rt);
    net_pattern(bytes, sizeof bytes, 9, 0);
    CHECK_EQ(rt_blob_new(bytes, sizeof bytes, &blob), 0);
    memset(bytes, 0, sizeof bytes); /* it is a copy */
    for (int i = 0; i < from_threads; i++) senders[i] = thread_start(send_to_all, &blob);
    for (int i = 0; i < from_threads; i++) thread_join(senders[i]);
    if (from_threads == 0) send_to_all(&blob);
    CHECK_EQ(rt_blob_free(blob), 0);
    CHECK_EQ(rt_blob_free(blob), -EBADF);
    CHECK_EQ(rt_send_blob(ios[0], blob), -EBADF);
    for (int i = 0; i < READERS; i++) {
        shares[i] = (struct share){i, READERS, from_threads > 0 ? (size_t)from_threads : 1};
        readers[i] = thread_start(read_share, &shares[i]);
    }
    CHECK_EQ(rt_block_on(rt, flush_all, &at), 0);
    for (int i = 0; i < READERS; i++) thread_join(readers[i]);
    for (int i = 0; i < CONNECTIONS; i++) {
        CHECK_EQ(net_drain(fars[i]), 0);
        CHECK_EQ(rt_close(ios[i]), 0);
        close(fars[i]);
    }
    multi_runtime_free(rt);
}

static void one_for_five_hundred(void) { one_for_many(0); }
static void from_two_threads_at_once(void) { one_for_many(2); }

/* ---- handles ---- */

static void handles(void) {
    rt_runtime rt = test_runtime();
    rt_blob blob = 77;
    char data[8];
    int ends[2];
    net_unix_pair(ends);
    rt_io io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_blob_free(0), 0);
    CHECK_EQ(rt_blob_free(io), -EBADF);
    CHECK_EQ(rt_blob_free(UINT64_MAX), -EBADF);
    CHECK_EQ(rt_blob_new(NULL, 1, &blob), -EINVAL);
    CHECK_EQ(blob, 0);
    CHECK_EQ(rt_blob_new("x", 1, NULL), -EINVAL);
    CHECK_EQ(rt_send_blob(io, 0), -EBADF);
    CHECK_EQ(rt_blob_new(NULL, 0, &blob), 0);
    CHECK(blob != 0);
    CHECK_EQ(rt_send_blob(io, blob), 0);
    CHECK_EQ(rt_blob_free(blob), 0);
    CHECK_EQ(rt_blob_new("bytes", 5, &blob), 0);
    CHECK_EQ(rt_send_blob(0, blob), -EBADF);
    CHECK_EQ(rt_send_blob(io, blob), 5);
    CHECK_EQ(rt_send_blob(io, blob), 5);
    CHECK_EQ(net_drain(ends[1]), 10);
    CHECK_EQ(rt_close(io), 0);
    CHECK_EQ(rt_send_blob(io, blob), -EBADF);
    close(ends[1]);
    multi_runtime_free(rt);
    CHECK_EQ(rt_blob_free(blob), 0); /* it is of no runtime */

    net_unix_pair(ends);
    rt = test_runtime();
    CHECK_EQ(rt_blob_new("later", 5, &blob), 0);
    io = io_of(rt, ends[0], 0);
    CHECK_EQ(rt_send_blob(io, blob), 5);
    CHECK_EQ(rt_blob_free(blob), 0);
    CHECK_EQ(net_get(ends[1], data, 5), 5);
    CHECK(memcmp(data, "later", 5) == 0);
    CHECK_EQ(rt_close(io), 0);
    close(ends[1]);
    multi_runtime_free(rt);
}

/* ---- memory ---- */

static size_t resident(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long all, here;
    CHECK(file != NULL);
    CHECK_EQ(fscanf(file, "%lu %lu", &all, &here), 2);
    fclose(file);
    return here * (size_t)sysconf(_SC_PAGESIZE);
}

/* What could not be sent before the close goes with it. */
static void the_last_to_let_go_frees(void) {
    rt_runtime rt = test_runtime();
    char *huge = malloc(HUGE);
    CHECK(huge != NULL);
    memset(huge, 1, HUGE);
    size_t before = resident();
    for (int round = 0; round < ROUNDS; round++) {
        rt_blob blob;
        int ends[2];
        net_unix_pair(ends);
        rt_io io = io_of(rt, ends[0], 0);
        CHECK_EQ(rt_blob_new(huge, HUGE, &blob), 0);
        CHECK_EQ(rt_send_blob(io, blob), HUGE);
        CHECK_EQ(rt_blob_free(blob), 0);
        if (round % 2 == 0) deliver(rt);
        CHECK_EQ(rt_close(io), 0);
        close(ends[1]);
        settle(rt);
    }
    CHECK(resident() < before + (size_t)HUGE * ROUNDS / 4);
    free(huge);
    multi_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    net_want_fds(2 * CONNECTIONS + 100);
    CASE(one_for_five_hundred);
    CASE(from_two_threads_at_once);
    CASE(handles);
    /* AddressSanitizer keeps what was freed for a while. */
    if (!under("asan")) CASE(the_last_to_let_go_frees);
    return test_end();
}
