/* A stream can still be sent on after rt_shutdown, though nobody sends any more what does not go at
 * once: rt_free drops it, closes the descriptor, and the peer sees a beginning and the end. */
#include "multi.h"
#include "soon.h"

enum { ROUNDS = 6, PIECE = 32768, MUCH = 1 << 20 };

enum way { COPIED, BLOB, IN_PIECES, WAYS };

static char data[MUCH];

/* What of the pattern the stream takes; the kernel's buffers are full then. */
static size_t fill(rt_io io, enum way way) {
    size_t piece = way == IN_PIECES ? PIECE : MUCH, sent = 0;
    while (sent < MUCH) {
        rt_blob blob = 0;
        int64_t r;
        net_pattern(data, piece, 5, sent);
        if (way == BLOB) {
            CHECK_EQ(rt_blob_new(data, piece, &blob), 0);
            r = rt_send_blob(io, blob);
        } else {
            r = rt_send(io, data, piece);
        }
        CHECK_EQ(rt_blob_free(blob), 0);
        if (r < 0) break; /* it may be refused, but not be forgotten */
        CHECK_EQ(r, piece);
        sent += piece;
    }
    return sent;
}

/* What was sent, and no more, up to the end of the stream. */
static void sees_the_end(int far, size_t sent) {
    static char seen[MUCH + 1];
    size_t n = net_get(far, seen, sizeof seen);
    CHECK(n <= sent);
    CHECK(net_pattern_holds(seen, n, 5, 0));
}

static void send_after_shutdown(enum way way) {
    for (int round = 0; round < ROUNDS; round++) {
        rt_runtime rt = test_runtime();
        int ends[2];
        (round % 2 == 0 ? net_unix_pair : net_pair)(ends);
        net_small_buffer(ends[0]);
        rt_io io = io_of(rt, ends[0], 0);
        CHECK_EQ(rt_shutdown(rt, RT_NEVER), 0);
        size_t sent = fill(io, way);
        if (round >= ROUNDS - 2) CHECK_EQ(rt_close(io), 0);
        CHECK_EQ(rt_free(rt), 0);
        CHECK(!net_is_open(ends[0]));
        sees_the_end(ends[1], sent);
        close(ends[1]);
    }
}

static void what_was_copied(void) { send_after_shutdown(COPIED); }
static void what_a_blob_holds(void) { send_after_shutdown(BLOB); }
static void many_pieces(void) { send_after_shutdown(IN_PIECES); }

int main(int argc, char **argv) {
    test_start(argc, argv);
    must_end_soon();
    CASE(what_was_copied);
    CASE(what_a_blob_holds);
    CASE(many_pieces);
    return test_end();
}
