/* A server of keys and values that speaks the protocol of redis (RESP2): strings with times to
 * live, lists, sets, hashes, sorted sets, transactions, messages, and an append-only file.
 *
 * It shows a whole server whose requests come in bursts: what came together is executed under one
 * lock and answered with one send; answers wait for the disk when they must, and many wait for the
 * same write; who does not read is kept waiting or cut; an idle connection holds no buffer.
 *
 * Usage: kv_server [--port P] [--bind ADDRESS] [--engine auto|epoll|uring] [--workers N]
 *                  [--appendonly FILE] [--appendfsync always|everysec|no] [--max-clients N]
 *                  [--query-limit BYTES] [--output-limit BYTES] [--idle SECONDS] [--grace SECONDS]
 *
 *   --port          0, the default: the kernel picks one. The first line of output says which.
 *   --bind          default: 127.0.0.1. There are no passwords: who can connect can do everything.
 *   --workers       threads; 0, the default, runs everything on the main one.
 *   --appendonly    where changes are kept. Default: nowhere.
 *   --appendfsync   when they are on disk: before the answer, a second later (the default), or when
 *                   the kernel likes.
 *   --max-clients   more wait until one leaves. Default: 10000.
 *   --query-limit   the longest request, and the longest transaction. Default: 64 MiB.
 *   --output-limit  a subscriber who leaves so much unread is cut. Default: 8 MiB.
 *   --idle          who is silent for so long is cut. 0, the default: nobody is.
 *   --grace         after SIGTERM or SIGINT, what came is answered for so long at most. Default: 5.
 *
 * Try it: build/c-examples/kv_server --port 7000 --appendonly /tmp/kv.log, then
 *   redis-cli -p 7000        or        redis-benchmark -p 7000 -P 16
 *
 * The parts: resp (the protocol), dict and values (what there is), store (keys, times, interests),
 * keys, collections, pubsub and clients (the commands), log (the file), and here the connections.
 */
#include "kv.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "../options.h"

#define SECOND UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

enum {
    INPUT = 16 * 1024,
    /* Of a connection, in bytes: so much is answered before it is sent, and then it waits until the
     * peer has read most of it. */
    MUCH_UNSENT = 64 * 1024,
    LITTLE_UNSENT = 16 * 1024,
    MUCH_UNREAD = 64 * 1024 * 1024, /* from who is sent away */
    SWEEP = 1024, /* buckets in which keys are looked for whose time is over */
    MOST_SWEEPS = 64,
};

/* What a poll works with, and leaves empty. So only connections that wait in the middle of
 * something have memory for it. */
static _Thread_local struct {
    char in[INPUT];
    struct bytes out;
} thread;

/* ---- a connection ---- */

/* What a poll leaves for a later one becomes the connection's own. */
static void keep_output(struct client *c) {
    if (c->out.n > 0 || thread.out.n == 0) return;
    c->out = thread.out;
    thread.out = (struct bytes){0};
}

static void keep_input(struct client *c) {
    if (c->left == 0) {
        bytes_free(&c->in);
    } else if (c->at != c->in.p) {
        if (c->at >= thread.in && c->at < thread.in + INPUT) {
            bytes_add(&c->in, c->at, c->left);
        } else {
            memmove(c->in.p, c->at, c->left);
            c->in.n = c->left;
        }
        c->at = c->in.p;
    }
}

/* True when the server is going and nothing is left to be read. What waits although there is
 * something has had its share of this turn. */
static bool has_all(struct client *c) {
    rt_ready ready;
    return atomic_load_explicit(&kv.stopping, memory_order_relaxed) &&
           (rt_try_ready(c->io, RT_READABLE, &ready) < 0 || ready.bits == 0);
}

/* Reads behind the part of a request that is there. 0: there is no more, or the server is going. */
static int64_t receive(rt_cx *cx, struct client *c) {
    int64_t r;
    if (c->left == 0) {
        bytes_free(&c->in);
        r = rt_poll_read(cx, c->io, thread.in, INPUT);
        if (r > 0) c->at = thread.in;
    } else {
        keep_input(c);
        char *to = bytes_room(&c->in, INPUT);
        c->at = c->in.p;
        r = rt_poll_read(cx, c->io, to, c->in.room - c->in.n);
        if (r > 0) c->in.n += (size_t)r;
    }
    if (r > 0) c->left += (size_t)r;
    return r == RT_PENDING && has_all(c) ? 0 : r;
}

/* What is wrong with a request ends the connection: nobody knows where the next one begins. */
static void complain(struct client *c) {
    reply_error(&thread.out, "ERR Protocol error: %s", c->parser.wrong);
    c->leaves = true;
}

/* Executes what came, until there is much to send. Requests about subscriptions, and those of
 * subscribers, are not mixed with others: those answers leave before anything can be published,
 * these when the log allows. True: there may be more. */
static bool execute(struct client *c) {
    struct parser *q = &c->parser;
    enum { UNKNOWN, OTHERS, SUBSCRIPTIONS } kind = thread.out.n > 0 ? OTHERS : UNKNOWN;
    bool more = true;
    while (!c->leaves && thread.out.n < MUCH_UNSENT) {
        const int r = resp_parse(q, c->at, c->left, kv.most_query);
        if (r == PARSE_WRONG) complain(c);
        if (r != PARSE_WHOLE) {
            more = false;
            break;
        }
        if (q->argc > 0) {
            const struct command *command = command_find(q->argv[0]);
            const bool about = is_subscriber(c) || (command != NULL && (command->flags & PUBSUB));
            if (kind == (about ? OTHERS : SUBSCRIPTIONS)) break;
            kind = about ? SUBSCRIPTIONS : OTHERS;
            command_run(c, command, q->argv, q->argc, &thread.out);
        }
        c->at += q->at, c->left -= q->at;
        resp_next(q);
    }
    if (kind == SUBSCRIPTIONS) client_tell(c, &thread.out), thread.out.n = 0;
    return more && !c->leaves;
}

static bool execute_locked(struct client *c) {
    pthread_mutex_lock(&kv.lock);
    kv.now = 0;
    const bool more = execute(c);
    c->position = log_position();
    pthread_mutex_unlock(&kv.lock);
    return more;
}

/* Executes what came. As long as the log is behind, more is looked for: the longer the batch, the
 * fewer the waits. An end, too, is seen again by who waits for it. */
static bool execute_batch(rt_cx *cx, struct client *c) {
    bool more = execute_locked(c);
    while (!more && !c->leaves && thread.out.n < MUCH_UNSENT && !log_has(c->position) &&
           receive(cx, c) > 0)
        more = execute_locked(c);
    return more;
}

/* Sends the answers as soon as the log has what they are about, and waits until the peer has read
 * most. May be repeated. */
static int64_t answer(rt_cx *cx, struct client *c) {
    int64_t r = log_has(c->position) ? 0 : log_poll(cx, c->position);
    struct bytes *out = c->out.n > 0 ? &c->out : &thread.out;
    if (r == 0 && out->n > 0) {
        r = rt_send(c->io, out->p, out->n);
        out->n = 0;
        if (out == &c->out || out->room > 4 * MUCH_UNSENT) bytes_free(out);
    }
    if (r >= 0) r = rt_poll_flush(cx, c->io, LITTLE_UNSENT);
    if (r == RT_PENDING) keep_output(c), keep_input(c);
    return r;
}

/* What is unsent when a descriptor is closed gets lost, hence the flush at the end. Who is sent away
 * may be sending still: so that they hear why, they may first say the rest. */
static int64_t serve(rt_cx *cx, void *state) {
    struct client *c = state;
    RT_BEGIN(&c->frame);
    /* Once is enough: it is woken when the server goes, and then `stopping` says so. */
    (void)rt_poll_draining(cx, kv.server);
    while (!c->leaves) {
        RT_AWAIT(c->r, receive(cx, c));
        if (c->r <= 0) break;
        do {
            c->more = execute_batch(cx, c);
            RT_AWAIT(c->r, answer(cx, c));
        } while (c->more && c->r == 0);
        if (c->r < 0) break;
    }
    if (c->r < 0) RT_RETURN(c->r);
    c->until = rt_now() + SECOND;
    c->unread = MUCH_UNREAD;
    RT_AWAIT(c->r, rt_poll_deadline(cx, &c->timer, c->until,
                                    c->leaves ? rt_poll_linger(cx, c->io, &c->unread)
                                              : rt_poll_flush(cx, c->io, 0)));
    RT_END(c->r);
}

/* The one place where a connection ends, however it does. */
static void drop_client(void *state) {
    struct client *c = state;
    pthread_mutex_lock(&kv.lock);
    client_reset(c);
    kv.clients--;
    pthread_mutex_unlock(&kv.lock);
    rt_timer_cancel(c->timer);
    rt_close(c->io);
    resp_free(&c->parser);
    bytes_free(&c->in);
    bytes_free(&c->out);
    free(c->name);
    free(c);
}

static int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL) return -ENOMEM;
    c->io = io;
    pthread_mutex_lock(&kv.lock);
    c->id = ++kv.next_id;
    kv.clients++;
    pthread_mutex_unlock(&kv.lock);
    task->poll = serve, task->state = c, task->drop = drop_client;
    return (void)arg, 0;
}

/* ---- the server ---- */

/* Ten times a second; more at a time as long as it pays. */
static void sweep(void *arg) {
    size_t found = SWEEP;
    for (int i = 0; i < MOST_SWEEPS && found > SWEEP / 4; i++) {
        pthread_mutex_lock(&kv.lock);
        kv.now = 0;
        found = keys_sweep(SWEEP);
        pthread_mutex_unlock(&kv.lock);
    }
    (void)arg;
}

static struct {
    rt_signal signals[2];
    rt_task log;
    rt_frame frame, log_frame;
    int64_t which, r, drained, log_result;
    uint64_t until;
    const char *what; /* failed */
} run;

/* Until a signal asks for the end, or the log cannot go on. Then what came is answered, and the log
 * has it. */
static int64_t run_server(rt_cx *cx, void *arg) {
    (void)arg;
    RT_BEGIN(&run.frame);
    RT_SELECT3(run.which, run.r, rt_poll_signal(cx, run.signals[0]),
               rt_poll_signal(cx, run.signals[1]),
               log_is_on() ? rt_poll_join(cx, run.log, &run.log_result) : RT_PENDING);
    run.what = "the log";
    if (run.which == 2) RT_RETURN(run.r < 0 ? run.r : run.log_result);
    if (run.r < 0) RT_RETURN(run.r);
    atomic_store(&kv.stopping, true);
    run.until = rt_now() + kv.grace * SECOND;
    RT_AWAIT(run.drained, rt_poll_drain(cx, kv.server, run.until));
    if (!log_is_on()) RT_RETURN(run.drained);
    pthread_mutex_lock(&kv.lock);
    log_end();
    pthread_mutex_unlock(&kv.lock);
    RT_AWAIT(run.r, rt_poll_join(cx, run.log, &run.log_result));
    RT_END(run.r < 0 ? run.r : run.log_result < 0 ? run.log_result : run.drained);
}

struct options {
    rt_config config;
    struct log_options log;
    const char *bind;
    uint32_t port;
};

/* What a failure leaves open goes with the runtime. */
static int64_t open_server(const struct options *o) {
    static const int signums[] = {SIGTERM, SIGINT};
    rt_serve_opts opts = {.size = sizeof opts,
                          .max_connections = kv.most_clients,
                          .idle_ns = kv.idle * SECOND};
    rt_io listener = 0;
    rt_addr name;
    char text[64] = "";
    run.what = kv.about;
    int64_t r = rt_new(&o->config, &kv.rt, kv.about, sizeof kv.about);
    if (r < 0) return r;
    rt_describe(kv.rt, kv.about, sizeof kv.about);
    run.what = "signals";
    for (int i = 0; r >= 0 && i < 2; i++) r = rt_signal_open(kv.rt, signums[i], &run.signals[i]);
    if (r >= 0) r = log_init();
    if (r >= 0 && log_is_on()) r = rt_spawn(kv.rt, log_run, &run.log_frame, NULL, &run.log);
    if (r >= 0) r = rt_call_at(kv.rt, rt_now(), 100 * MILLISECOND, sweep, NULL, NULL, NULL);
    if (r < 0) return r;
    run.what = o->bind;
    r = rt_tcp_listen(kv.rt, o->bind, (uint16_t)o->port, NULL, &listener);
    if (r >= 0) r = rt_local_addr(listener, &name);
    if (r >= 0) r = rt_serve(kv.rt, listener, &opts, on_connection, NULL, &kv.server);
    if (r < 0) return r;
    rt_addr_text(&name, text, sizeof text);
    printf("listening on %s (%s)\n", text, kv.about);
    return 0;
}

static bool parse_option(struct options *o, const char *name, const char *value) {
    if (strcmp(name, "--port") == 0) return parse_number(value, 0, UINT16_MAX, &o->port);
    if (strcmp(name, "--bind") == 0) return o->bind = value, true;
    if (strcmp(name, "--appendonly") == 0) return o->log.path = value, true;
    if (strcmp(name, "--appendfsync") == 0) return log_parse_policy(value, &o->log.policy);
    if (strcmp(name, "--max-clients") == 0)
        return parse_number(value, 1, 1000000, &kv.most_clients);
    if (strcmp(name, "--query-limit") == 0)
        return parse_number(value, 1024, LONGEST_STRING, &kv.most_query);
    if (strcmp(name, "--output-limit") == 0)
        return parse_number(value, MUCH_UNSENT, 1 << 30, &kv.most_output);
    if (strcmp(name, "--idle") == 0) return parse_number(value, 0, A_DAY, &kv.idle);
    if (strcmp(name, "--grace") == 0) return parse_number(value, 0, A_DAY, &kv.grace);
    return parse_common(&o->config, name, value);
}

static void free_thread_buffer(void *arg) {
    bytes_free(&thread.out);
    (void)arg;
}

static void close_server(void) {
    rt_server_stats_data stats = {.size = sizeof stats};
    rt_server_stats(kv.server, &stats);
    printf("served %llu connections, %llu requests, cut %llu\n", (unsigned long long)stats.accepted,
           (unsigned long long)kv.requests,
           (unsigned long long)(kv.cut + stats.cut_idle +
                                (uint64_t)(run.drained > 0 ? run.drained : 0)));
    rt_server_free(kv.server);
}

int main(int argc, char **argv) {
    struct options o = {.log = {.policy = FSYNC_EVERYSEC}, .bind = "127.0.0.1"};
    options_init(&o.config);
    kv.most_clients = 10000, kv.grace = 5;
    kv.most_query = 64 * 1024 * 1024, kv.most_output = 8 * 1024 * 1024;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && parse_option(&o, argv[i], argv[i + 1])) continue;
        fprintf(stderr, "%s: not like that; see the top of its source\n", argv[i]);
        return 2;
    }
    o.config.send_limit = kv.most_output;
    o.config.on_thread_stop = free_thread_buffer;
    o.config.spin_ns = RT_SPIN_OFF; /* CPU time that others can use is worth more than a wake-up */
    setvbuf(stdout, NULL, _IOLBF, 0);
    raise_descriptor_limit();
    signal(SIGCHLD, SIG_DFL); /* ignored, it would hide how children end */
    dict_seed();
    commands_init();
    if (!log_load(&o.log)) return 1;

    int64_t r = open_server(&o);
    if (r >= 0) r = rt_block_on(kv.rt, run_server, NULL);
    if (r < 0) fprintf(stderr, "kv_server: %s: %s\n", run.what, rt_strerror(r));
    else close_server();
    rt_free(kv.rt);
    for (int i = 0; i < 2; i++) rt_signal_close(run.signals[i]);
    log_free();
    keys_flush();
    free_thread_buffer(NULL);
    return r < 0;
}
