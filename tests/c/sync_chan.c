/* A channel: items in their order, senders that wait for room, a close that lets what is there be
 * received, and items that nobody received dropped once.
 */
#include "check.h"

#include <asyncio_await.h>

enum { ITEMS = 1000, MANY = 8, EACH = 2000 };

static atomic_int drops[ITEMS];

static void *item(int i) { return (void *)(intptr_t)i; }
static void drop_item(void *p) { atomic_fetch_add(&drops[(intptr_t)p], 1); }

struct end {
    rt_chan ch;
    int from, to, i, sum;
    void *item;
    atomic_int done, waits;
    rt_frame frame;
    int64_t r;
    rt_task task;
};

static int64_t send_range(rt_cx *cx, void *state) {
    struct end *e = state;
    RT_BEGIN(&e->frame);
    for (e->i = e->from; e->i < e->to; e->i++) {
        while ((e->r = rt_poll_chan_send(cx, e->ch, item(e->i))) == RT_PENDING) {
            atomic_store(&e->waits, e->i + 1);
            RT_AWAIT(e->r, rt_poll_chan_send(cx, e->ch, item(e->i)));
            break;
        }
        if (e->r < 0) RT_RETURN(e->r);
        atomic_store(&e->done, e->i + 1);
    }
    RT_END(0);
}

static int64_t receive_all(rt_cx *cx, void *state) {
    struct end *e = state;
    RT_BEGIN(&e->frame);
    for (;;) {
        e->r = rt_poll_chan_recv(cx, e->ch, &e->item);
        if (e->r == RT_PENDING) {
            atomic_store(&e->waits, 1);
            RT_AWAIT(e->r, rt_poll_chan_recv(cx, e->ch, &e->item));
        }
        if (e->r < 0) RT_RETURN(e->r);
        e->i++;
        e->sum += (int)(intptr_t)e->item;
    }
    RT_END(0);
}

static bool end_waits(void *arg) { return atomic_load(&((struct end *)arg)->waits) > 0; }

static void end_start(rt_runtime rt, struct end *e, rt_poll_fn poll) {
    CHECK_EQ(rt_spawn(rt, poll, e, NULL, &e->task), 0);
}

/* ---- order and room ---- */

static void backpressure(void) {
    rt_chan ch;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_chan_new(3, NULL, &ch), 0);
    struct end sender = {.ch = ch, .to = 10};
    end_start(rt, &sender, send_range);
    drive_until(rt, end_waits, &sender);
    CHECK_EQ(atomic_load(&sender.done), 3);
    CHECK_EQ(rt_chan_len(ch), 3);
    CHECK_EQ(rt_chan_try_send(ch, NULL), -EAGAIN);
    for (int i = 0; i < 10;) {
        void *got;
        int64_t r = rt_chan_try_recv(ch, &got);
        CHECK(r == 0 || r == -EAGAIN);
        CHECK(rt_chan_len(ch) <= 3);
        if (r == 0) CHECK_EQ((intptr_t)got, i++);
        else if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else sched_yield();
    }
    CHECK_EQ(join_task(sender.task), 0);
    CHECK_EQ(rt_chan_len(ch), 0);
    CHECK_EQ(rt_chan_free(ch), 0);
    test_runtime_free(rt);
}

static void many_to_many(void) {
    static struct end senders[MANY], receivers[MANY];
    rt_chan ch;
    int received = 0, sum = 0;
    rt_runtime rt = test_runtime();
    int each = scaled(EACH);
    memset(senders, 0, sizeof senders);
    memset(receivers, 0, sizeof receivers);
    CHECK_EQ(rt_chan_new(4, NULL, &ch), 0);
    for (int i = 0; i < MANY; i++) {
        receivers[i].ch = senders[i].ch = ch;
        senders[i].to = each;
        end_start(rt, &receivers[i], receive_all);
        end_start(rt, &senders[i], send_range);
    }
    for (int i = 0; i < MANY; i++) CHECK_EQ(join_task(senders[i].task), 0);
    CHECK_EQ(rt_chan_close(ch), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(join_task(receivers[i].task), -EPIPE);
        received += receivers[i].i;
        sum += receivers[i].sum;
    }
    CHECK_EQ(received, MANY * each);
    CHECK_EQ(sum, MANY * (each * (each - 1) / 2));
    CHECK_EQ(rt_chan_free(ch), 0);
    test_runtime_free(rt);
}

/* ---- ends ---- */

static void a_close_lets_the_rest_be_received(void) {
    rt_chan ch;
    void *got;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_chan_new(2, drop_item, &ch), 0);
    struct end sender = {.ch = ch, .to = 5};
    end_start(rt, &sender, send_range);
    drive_until(rt, end_waits, &sender);
    CHECK_EQ(rt_chan_close(ch), 0);
    CHECK_EQ(rt_chan_close(ch), 0);
    CHECK_EQ(join_task(sender.task), -EPIPE);
    CHECK_EQ(rt_chan_try_send(ch, item(9)), -EPIPE);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(rt_chan_try_recv(ch, &got), 0);
        CHECK_EQ((intptr_t)got, i);
    }
    CHECK_EQ(rt_chan_try_recv(ch, &got), -EPIPE);
    CHECK_EQ(rt_chan_recv(ch, &got, RT_NEVER), -EPIPE);
    CHECK_EQ(rt_chan_send(ch, NULL, RT_NEVER), -EPIPE);
    CHECK_EQ(rt_chan_free(ch), 0);
    CHECK_EQ(atomic_load(&drops[0]) + atomic_load(&drops[1]) + atomic_load(&drops[2]), 0);
    test_runtime_free(rt);
}

static void a_close_ends_receivers(void) {
    struct end receivers[3] = {0};
    rt_chan ch;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_chan_new(2, NULL, &ch), 0);
    for (int i = 0; i < 3; i++) {
        receivers[i].ch = ch;
        end_start(rt, &receivers[i], receive_all);
        drive_until(rt, end_waits, &receivers[i]);
    }
    CHECK_EQ(rt_chan_close(ch), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(join_task(receivers[i].task), -EPIPE);
    CHECK_EQ(rt_chan_free(ch), 0);
    test_runtime_free(rt);
}

static void what_nobody_received_is_dropped_once(void) {
    rt_chan ch;
    void *got;
    rt_runtime rt = test_runtime();
    memset(drops, 0, sizeof drops);
    CHECK_EQ(rt_chan_new(10, drop_item, &ch), 0);
    struct end sender = {.ch = ch, .to = 20};
    end_start(rt, &sender, send_range);
    drive_until(rt, end_waits, &sender);
    CHECK_EQ(rt_chan_try_recv(ch, &got), 0);
    if (current_thread()) CHECK_OK(rt_turn(rt, 0));
    while (rt_chan_len(ch) < 10) {
        if (current_thread()) CHECK_OK(rt_turn(rt, 0));
        else sched_yield();
    }
    CHECK_EQ(rt_chan_free(ch), 0);
    CHECK_EQ(join_task(sender.task), -EBADF);
    CHECK_EQ(rt_chan_try_recv(ch, &got), -EBADF);
    CHECK_EQ(rt_chan_try_send(ch, item(3)), -EBADF);
    CHECK_EQ(rt_chan_send(ch, item(3), 0), -EBADF);
    CHECK_EQ(rt_chan_recv(ch, &got, 0), -EBADF);
    CHECK_EQ(rt_chan_close(ch), -EBADF);
    CHECK_EQ(rt_chan_len(ch), -EBADF);
    CHECK_EQ(rt_chan_free(ch), -EBADF);
    CHECK_EQ(rt_chan_free(0), 0);
    for (int i = 0; i < ITEMS; i++) CHECK_EQ(atomic_load(&drops[i]), i >= 1 && i <= 10);
    test_runtime_free(rt);
}

/* Aborted while its item waits for room: the item is still its own. */
static void an_aborted_sender_keeps_its_item(void) {
    rt_chan ch;
    void *got;
    rt_runtime rt = test_runtime();
    memset(drops, 0, sizeof drops);
    CHECK_EQ(rt_chan_new(1, drop_item, &ch), 0);
    struct end sender = {.ch = ch, .to = 5};
    end_start(rt, &sender, send_range);
    drive_until(rt, end_waits, &sender);
    CHECK_EQ(rt_abort(sender.task), 0);
    CHECK_EQ(join_task(sender.task), -ECANCELED);
    CHECK_EQ(rt_chan_try_recv(ch, &got), 0);
    CHECK_EQ(rt_chan_try_send(ch, item(7)), 0); /* the room is nobody's */
    CHECK_EQ(rt_chan_free(ch), 0);
    for (int i = 0; i < ITEMS; i++) CHECK_EQ(atomic_load(&drops[i]), i == 7);
    test_runtime_free(rt);
}

static int64_t misuse(rt_cx *cx, void *state) {
    rt_chan ch = *(rt_chan *)state;
    CHECK_EQ(rt_poll_chan_recv(cx, ch, NULL), -EINVAL);
    CHECK_EQ(rt_poll_chan_recv(NULL, ch, &state), -EINVAL);
    CHECK_EQ(rt_poll_chan_send(NULL, ch, NULL), -EINVAL);
    CHECK_EQ(rt_poll_chan_send(cx, 0, NULL), -EBADF);
    CHECK_EQ(rt_poll_chan_send(cx, ch ^ UINT64_C(1) << 32, NULL), -EBADF);
    return 0;
}

static void mistakes(void) {
    rt_chan ch = 5;
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_chan_new(0, NULL, &ch), -EINVAL);
    CHECK_EQ(ch, 0);
    CHECK_EQ(rt_chan_new(1, NULL, NULL), -EINVAL);
    CHECK_EQ(rt_chan_new(SIZE_MAX, NULL, &ch), 0);
    CHECK_EQ(rt_chan_try_recv(ch, NULL), -EINVAL);
    CHECK_EQ(rt_chan_recv(ch, NULL, 0), -EINVAL);
    CHECK_EQ(rt_block_on(rt, misuse, &ch), 0);
    CHECK_EQ(rt_chan_free(ch), 0);
    test_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(backpressure);
    CASE(many_to_many);
    CASE(a_close_lets_the_rest_be_received);
    CASE(a_close_ends_receivers);
    CASE(what_nobody_received_is_dropped_once);
    CASE(an_aborted_sender_keeps_its_item);
    CASE(mistakes);
    return test_end();
}
