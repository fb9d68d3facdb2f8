/* What the tests of names share: a coroutine that asks once. */
#ifndef ASYNCIO_TESTS_RESOLVE_H
#define ASYNCIO_TESTS_RESOLVE_H

#include "op.h"

#include <arpa/inet.h>
#include <netdb.h>

enum { MOST_ADDRESSES = 8 };

struct asked {
    rt_frame frame;
    rt_op slot;
    const char *host;
    uint32_t flags, max;
    uint16_t port;
    int64_t got;
    atomic_bool submitted;
    atomic_ullong name; /* the slot, for others to cancel */
    rt_addr out[MOST_ADDRESSES];
};

/* The host is only good during the first call. */
static inline int64_t ask_once(rt_cx *cx, struct asked *a) {
    char host[64] = "";
    if (a->slot == 0) snprintf(host, sizeof host, "%s", a->host);
    bool first = a->slot == 0;
    int64_t r = rt_poll_resolve(cx, &a->slot, first ? host : NULL, a->port, a->flags, a->out,
                                a->max == 0 ? MOST_ADDRESSES : a->max);
    if (r != RT_PENDING) return r;
    CHECK(a->slot != 0);
    atomic_store(&a->name, a->slot);
    atomic_store(&a->submitted, true);
    return r;
}

static inline int64_t asks(rt_cx *cx, void *state) {
    struct asked *a = state;
    RT_BEGIN(&a->frame);
    RT_AWAIT(a->got, ask_once(cx, a));
    CHECK_EQ(a->slot, 0);
    RT_END(a->got);
}

static inline bool asked_submitted(void *arg) {
    return atomic_load(&((struct asked *)arg)->submitted);
}

/* What is written is an address of this text, with this port. */
static inline void check_address(const rt_addr *addr, const char *text, uint16_t port) {
    char buf[INET6_ADDRSTRLEN] = "";
    const void *place = &addr->storage;
    const struct sockaddr_in *v4 = place;
    const struct sockaddr_in6 *v6 = place;
    if (v4->sin_family == AF_INET) {
        CHECK_EQ(addr->len, sizeof *v4);
        CHECK(inet_ntop(AF_INET, &v4->sin_addr, buf, sizeof buf) != NULL);
        CHECK_EQ(ntohs(v4->sin_port), port);
    } else {
        CHECK_EQ(v6->sin6_family, AF_INET6);
        CHECK_EQ(addr->len, sizeof *v6);
        CHECK(inet_ntop(AF_INET6, &v6->sin6_addr, buf, sizeof buf) != NULL);
        CHECK_EQ(ntohs(v6->sin6_port), port);
    }
    CHECK(strcmp(buf, text) == 0);
}

#endif
