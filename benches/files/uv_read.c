/* Random 4 KiB reads of a cached file with libuv: 64 in flight, on its thread pool.
 *
 * Usage: uv_read FILE READS
 */
#include <uv.h>

#include "common.h"

struct slot {
    uv_fs_t request;
    struct reads *reads;
    uint64_t offset;
    char buf[BLOCK];
};

static void start_read(uv_loop_t *loop, struct slot *slot);

static void on_read(uv_fs_t *request) {
    struct slot *slot = request->data;
    end_read(slot->reads, slot->buf, slot->offset, request->result);
    uv_fs_req_cleanup(request);
    start_read(request->loop, slot);
}

static void start_read(uv_loop_t *loop, struct slot *slot) {
    if (!next_read(slot->reads, &slot->offset)) return;
    slot->request.data = slot;
    const uv_buf_t buf = uv_buf_init(slot->buf, BLOCK);
    int error = uv_fs_read(loop, &slot->request, slot->reads->fd, &buf, 1, (int64_t)slot->offset,
                           on_read);
    if (error < 0) die("uv_fs_read", -error);
}

int main(int argc, char **argv) {
    static struct slot slots[DEPTH];
    struct reads reads;
    uint64_t wanted;
    uv_loop_t loop;
    if (argc != 3 || !parse_count(argv[2], &wanted)) {
        fprintf(stderr, "usage: %s FILE READS\n", argv[0]);
        return 2;
    }
    int error = uv_loop_init(&loop);
    if (error < 0) die("uv_loop_init", -error);
    begin_reads(&reads, argv[1], wanted);
    for (size_t i = 0; i < DEPTH; i++) {
        slots[i].reads = &reads;
        start_read(&loop, &slots[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    report_reads(&reads);
    return 0;
}
