/* A connection: heads are received and answered, one after the other. What came together is
 * answered together; who sends nothing holds no buffer; who is slow is given up.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "http.h"

#define MS UINT64_C(1000000)
enum { SPARES = 64, LINGER_MS = 2000, LINGER_BYTES = 1024 * 1024 };

/* ---- what a thread has for itself ---- */

_Thread_local struct worker me;

static struct {
    pthread_mutex_t lock;
    struct worker *workers;
    uint64_t requests, bytes; /* of threads that are gone */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

void worker_start(void *arg) {
    (void)arg;
    pthread_mutex_lock(&all.lock);
    me.next = all.workers;
    all.workers = &me;
    pthread_mutex_unlock(&all.lock);
}

void worker_stop(void *arg) {
    (void)arg;
    pthread_mutex_lock(&all.lock);
    struct worker **at = &all.workers;
    while (*at != &me) at = &(*at)->next;
    *at = me.next;
    all.requests += me.requests;
    all.bytes += me.bytes;
    pthread_mutex_unlock(&all.lock);
    for (struct block *b; (b = me.spare) != NULL; free(b)) me.spare = b->next;
}

void count_all(uint64_t *requests, uint64_t *bytes) {
    pthread_mutex_lock(&all.lock);
    *requests = all.requests, *bytes = all.bytes;
    for (struct worker *w = all.workers; w != NULL; w = w->next)
        *requests += w->requests, *bytes += w->bytes;
    pthread_mutex_unlock(&all.lock);
}

/* Busy connections take turns with few blocks, which stay in the cache. */
static bool take_block(struct conn *c) {
    c->block = me.spare;
    if (c->block == NULL) return (c->block = malloc(sizeof *c->block)) != NULL;
    me.spare = c->block->next;
    me.spares--;
    return true;
}

static void give_block(struct conn *c) {
    struct block *b = c->block;
    c->block = NULL;
    if (b == NULL) return;
    if (me.spares == SPARES) {
        free(b);
        return;
    }
    b->next = me.spare;
    me.spare = b;
    me.spares++;
}

/* ---- receiving and sending ---- */

/* Receives behind what was received and not used. */
static int64_t fill(rt_cx *cx, struct conn *c) {
    if (c->block == NULL && !take_block(c)) return -ENOMEM;
    struct block *b = c->block;
    if (c->at > 0) memmove(b->in, b->in + c->at, c->end - c->at);
    c->end -= c->at;
    c->at = 0;
    const int64_t n = rt_poll_read(cx, c->io, b->in + c->end, IN - c->end);
    if (n > 0) c->end += (size_t)n;
    return n;
}

/* The same between two requests, which is where a connection ends when the server does. Who
 * asked once is woken. */
static int64_t wait_for_request(rt_cx *cx, struct conn *c) {
    const int64_t n = fill(cx, c);
    if (n != RT_PENDING) return n;
    give_block(c);
    if (c->asked) return atomic_load(&server.going) ? 0 : RT_PENDING;
    c->asked = true;
    return rt_poll_draining(cx, server.server) == RT_PENDING ? RT_PENDING : 0;
}

int64_t flush(rt_cx *cx, struct conn *c) {
    if (c->unsent == 0) return 0;
    if (c->unsent > c->reply) c->reply = GONE;
    const int64_t r = rt_poll_write_all(cx, c->io, c->block->out, c->unsent, &c->sent);
    if (r < 0) return r;
    count(&me.bytes, c->unsent);
    c->unsent = 0;
    if (c->reply != GONE) c->reply = 0;
    return 0;
}

/* ---- a request ---- */

/* A line that ends in LF alone is one line for some, and two for others. */
static bool has_lone_lf(const char *head, size_t len) {
    const char *const end = head + len;
    for (const char *at = head; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        if (at == head || at[-1] != '\r') return true;
    return false;
}

static int not_a_head(const char *in, size_t len, ptrdiff_t why) {
    const char *end = memchr(in, '\n', len);
    if (why == 0) return end == NULL ? 414 : 431; /* it is not over, and too long already */
    if (why == -2) return 431;
    if (why == -3 && end != NULL && memmem(in, (size_t)(end - in), " HTTP/", 6) != NULL) return 505;
    return 400;
}

static int take_head(struct conn *c) {
    struct block *b = c->block;
    const size_t len = c->end - c->at;
    if (len == 0) return MORE;
    const char *in = b->in + c->at;
    const ptrdiff_t n = http_parse(in, len, &b->head);
    if (n == 0 && len < IN) return MORE;
    if (n <= 0) return not_a_head(in, len, n);
    c->at += (size_t)n;
    return has_lone_lf(in, (size_t)n) ? 400 : understand(&b->head, &b->request);
}

/* 1: a head came, and c->status says whether it is any good; 0: none will. */
static int64_t receive_head(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->part);
    c->until = 0;
    while ((c->status = take_head(c)) == MORE) {
        RT_AWAIT(c->r, flush(cx, c));
        if (c->r < 0) RT_RETURN(c->r);
        if (c->at == c->end) {
            RT_AWAIT(c->r, wait_for_request(cx, c));
        } else {
            if (c->until == 0) c->until = rt_now() + server.head_ms * MS;
            RT_AWAIT(c->r, rt_poll_deadline(cx, &c->timer, c->until, fill(cx, c)));
            if (c->r == -ETIME) {
                c->status = 408;
                break;
            }
        }
        if (c->r <= 0) RT_RETURN(c->r);
    }
    RT_END(1);
}

/* A body that nobody wants is received all the same, as the next request comes behind it; unless
 * its sender waits for being asked: then it may come or not. */
static void expected(struct conn *c) {
    if (!c->echo) {
        c->keep = false;
        c->body = NO_BODY;
        c->linger = true;
    } else if (c->at == c->end) {
        put_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
        c->reply = c->unsent;
    }
}

/* What to do about a request, which may have no head that makes sense. */
static void begin(struct conn *c) {
    const struct request *q = &c->block->request;
    const bool good = c->status == 0;
    c->reply = c->unsent;
    c->old = good && q->old;
    c->bare = good && q->method == HEAD;
    c->keep = good && q->keep;
    c->linger = !good;
    c->echo = good && is_echo(q);
    c->begun = false;
    c->body = good ? q->body : NO_BODY;
    c->chunked = c->body == CHUNK_LINE;
    c->left = good ? q->length : 0;
    c->taken = 0;
    if (good && c->left > server.body_limit) c->status = 413;
    if (c->status != 0) {
        c->body = NO_BODY;
        c->linger = true;
        refuse_instead(c, c->status);
    } else if (q->expects) {
        expected(c);
    }
}

static int64_t receive_body(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->body_part);
    c->until = rt_now() + server.body_ms * MS;
    while (c->body != NO_BODY) {
        c->status = take_body(c);
        if (c->body != NO_BODY && c->status <= 0) {
            RT_AWAIT(c->r, flush(cx, c));
            if (c->r < 0) RT_RETURN(c->r);
        }
        if (c->status == MORE) {
            RT_AWAIT(c->r, rt_poll_deadline(cx, &c->timer, c->until, fill(cx, c)));
            if (c->r == -ETIME) c->status = 408;
            else if (c->r <= 0) RT_RETURN(c->r < 0 ? c->r : -ECONNRESET);
        }
        if (c->status <= 0) continue;
        c->body = NO_BODY;
        c->linger = true;
        /* A reply that has left in part is cut short, which is how its reader learns of it. */
        if (!refuse_instead(c, c->status)) RT_RETURN(-EBADMSG);
    }
    RT_END(0);
}

static int64_t answer(rt_cx *cx, struct conn *c) {
    RT_BEGIN(&c->part);
    if (OUT - c->unsent < ROOM) RT_AWAIT(c->r, flush(cx, c));
    else c->r = 0;
    if (c->r < 0) RT_RETURN(c->r);
    begin(c);
    if (c->status == 0) {
        if (route(c)) RT_AWAIT(c->r, serve_file(cx, c));
        if (c->r < 0) RT_RETURN(c->r);
        if (c->body != NO_BODY) RT_AWAIT(c->r, receive_body(cx, c));
        if (c->r < 0) RT_RETURN(c->r);
    }
    count(&me.requests, 1);
    RT_END(0);
}

/* ---- a connection ---- */

static int64_t converse(rt_cx *cx, void *state) {
    struct conn *c = state;
    RT_BEGIN(&c->frame);
    do {
        RT_AWAIT(c->r, receive_head(cx, c));
        if (c->r <= 0) RT_RETURN(c->r);
        RT_AWAIT(c->r, answer(cx, c));
        if (c->r < 0) RT_RETURN(c->r);
    } while (c->keep);
    RT_AWAIT(c->r, flush(cx, c));
    if (c->r < 0 || (!c->linger && c->at == c->end)) RT_RETURN(c->r);
    /* The peer gets some time to see the reply, whatever it is sending. */
    give_block(c);
    c->until = rt_now() + LINGER_MS * MS;
    c->unread = LINGER_BYTES;
    RT_AWAIT(c->r, rt_poll_deadline(cx, &c->timer, c->until,
                                    rt_poll_linger(cx, c->io, &c->unread)));
    RT_END(0);
}

/* The one place where a connection ends, whatever it was doing. */
static void drop_conn(void *state) {
    struct conn *c = state;
    rt_timer_cancel(c->timer);
    rt_close(c->file);
    give_block(c);
    rt_close(c->io);
}

int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    (void)arg;
    static _Thread_local struct conn fresh; /* copied when this has returned */
    fresh = (struct conn){.io = io};
    task->flags = RT_SPAWN_INLINE;
    task->poll = converse, task->drop = drop_conn;
    task->state = &fresh, task->state_size = sizeof fresh;
    return 0;
}
