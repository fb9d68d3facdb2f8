/* The smallest user of an installed library: one task on a runtime of its own. */
#include <asyncio.h>
#include <inttypes.h>
#include <stdio.h>

static int64_t answer(rt_cx *cx, void *state) {
    (void)cx;
    return *(int64_t *)state;
}

int main(void) {
    char why[128] = "";
    rt_runtime rt;
    int64_t state = 42;
    if (rt_new(NULL, &rt, why, sizeof why) < 0) {
        fprintf(stderr, "rt_new: %s\n", why);
        return 1;
    }
    printf("libasyncio %s: %" PRId64 "\n", rt_version(), rt_block_on(rt, answer, &state));
    return rt_free(rt) == 0 ? 0 : 1;
}
