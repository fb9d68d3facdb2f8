#include "answer.h"

void answer_give(struct answer *a, int64_t result) {
    a->given = true;
    a->result = result;
    rt_waker_wake(&a->waiter); /* if there is one */
}

int64_t answer_poll(rt_cx *cx, struct answer *a) {
    if (a->given) return a->result;
    if (!rt_waker_will_wake(&a->waiter, rt_cx_waker(cx))) {
        rt_waker_drop(&a->waiter);
        rt_waker_clone(rt_cx_waker(cx), &a->waiter);
    }
    return RT_PENDING;
}

void answer_drop(struct answer *a) { rt_waker_drop(&a->waiter); }
