/* Each program here is right without MISTAKE, and must be refused with it. */
#include <asyncio_await.h>

#ifdef MISTAKE
#define BAD(...) __VA_ARGS__
#define GOOD(...)
#else
#define BAD(...)
#define GOOD(...) __VA_ARGS__
#endif

struct state {
    rt_frame frame;
    int64_t r;
    int kind;
};

enum colour { RED, GREEN };

int64_t call(rt_cx *cx);
void no_result(rt_cx *cx);

static int64_t body(rt_cx *cx, struct state *s);
int64_t start(rt_cx *cx, struct state *s);
int64_t start(rt_cx *cx, struct state *s) { return body(cx, s); }
