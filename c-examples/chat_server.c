/* A chat of lines, over TCP and a Unix socket at once: what one says, all the others read.
 *
 * It shows a whole server: rt_serve, with a task for each connection and an end that lets them
 * finish; rt_stream for lines; rt_send_blob, one copy of a line whoever it goes to, and a limit for
 * who does not read; signals, deadlines, and a file that is read without blocking a worker.
 *
 * Usage: chat_server [--port P] [--unix PATH] [--greeting FILE] [--idle SECONDS] [--grace SECONDS]
 *                    [--engine auto|epoll|uring] [--workers N]
 *
 *   --port      on 127.0.0.1; 0, the default: the kernel picks one. The output says which.
 *   --greeting  what newcomers read first. SIGHUP has it read again.
 *   --idle      who says no whole line for so long is cut. 0, the default: nobody is.
 *   --grace     after SIGTERM or SIGINT those who are here may finish for so long. Default: 5.
 *   --workers   threads; 0: everything runs on the main one. Default: as many as there are CPUs.
 *
 * Try it: build/c-examples/chat_server --port 7000 --unix /tmp/chat, `nc 127.0.0.1 7000` and
 * `nc -U /tmp/chat`. Say a name, then anything; /who tells who is here, /quit leaves.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include <asyncio_await.h>

#include "options.h"

#define SECOND UINT64_C(1000000000)
enum { LINE = 1024, NAME = 24, GREETING = 4096, UNREAD = 64 * 1024 };

struct member {
    struct member *next;
    char name[NAME + 1]; /* empty until it is in the list */
    rt_server server;
    rt_io io;
    rt_stream in; /* only reads; any task writes, by rt_send */
    rt_frame frame;
    rt_timer timer;
    uint64_t until;
    int64_t which, r;
    bool told, leaves;
    const void *line;
    size_t len;
};

static struct {
    rt_runtime rt;
    rt_server servers[2];
    rt_signal signals[3];
    char *path, *file; /* of the Unix socket and of the greeting, or NULL */
    uint32_t port, idle, grace;
    _Atomic uint64_t cut;
    uint64_t until; /* of the main coroutine */
    int64_t which, r, drained[2];
    pthread_mutex_t lock; /* of the greeting and the list, hence everybody reads the same order */
    rt_blob greeting;
    struct member *members;
} chat = {.grace = 5, .lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- what is said ---- */

/* Cuts who leaves too much unread. The handle is stale then, for its task, which ends by that, and
 * for others who send still. Other errors are the task's own to see. */
static void sent(struct member *m, int64_t r) {
    if (r == -EAGAIN && rt_close(m->io) == 0) chat.cut++;
}

static void tell(struct member *m, const char *text) {
    sent(m, rt_send(m->io, text, strlen(text)));
}

static void tell_others(struct member *from, const char *before, const char *after) {
    char text[LINE + NAME + 16];
    rt_blob blob;
    int n = snprintf(text, sizeof text, "%s%s%s\n", before, from->name, after);
    if (rt_blob_new(text, (size_t)n, &blob) < 0) return;
    for (struct member *m = chat.members; m != NULL; m = m->next)
        if (m != from) sent(m, rt_send_blob(m->io, blob));
    rt_blob_free(blob);
}

static void enter(struct member *m, const char *name) {
    struct member **end = &chat.members;
    bool good = *name != '\0' && *name != '/' && strlen(name) <= NAME;
    for (; *end != NULL; end = &(*end)->next) good = good && strcmp((*end)->name, name) != 0;
    tell(m, good ? "* welcome\n" : "* not that one. name?\n");
    if (good) *end = m, strcpy(m->name, name), tell_others(m, "* ", " is here");
}

static void hear(struct member *m) {
    char text[LINE + 4] = ": ", *line = text + 2;
    const char *p = m->line;
    for (size_t n = 0; n < m->len && p[n] != '\n' && p[n] != '\r'; n++)
        line[n] = (unsigned char)p[n] < ' ' || p[n] == 0x7f ? '?' : p[n];
    pthread_mutex_lock(&chat.lock);
    if (strcmp(line, "/quit") == 0) m->leaves = true;
    else if (m->name[0] == '\0') enter(m, line);
    else if (strcmp(line, "/who") != 0) tell_others(m, "", text);
    else for (struct member *o = chat.members; o != NULL; o = o->next)
        tell(m, o->name), tell(m, o->next == NULL ? "\n" : ", ");
    pthread_mutex_unlock(&chat.lock);
}

/* ---- a connection ---- */

/* The one place where a connection ends: it left, or was cut. */
static void drop_member(void *state) {
    struct member *m = state, **at = &chat.members;
    pthread_mutex_lock(&chat.lock);
    while (*at != NULL && *at != m) at = &(*at)->next;
    if (*at == m) *at = m->next, tell_others(m, "* ", " has left");
    pthread_mutex_unlock(&chat.lock);
    rt_timer_cancel(m->timer);
    rt_stream_free(m->in);
    rt_close(m->io);
    free(m);
}

static int64_t converse(rt_cx *cx, void *state) {
    struct member *m = state;
    RT_BEGIN(&m->frame);
    pthread_mutex_lock(&chat.lock);
    rt_send_blob(m->io, chat.greeting);
    pthread_mutex_unlock(&chat.lock);
    tell(m, "name?\n");
    while (!m->leaves) {
        m->until = chat.idle == 0 ? RT_NEVER : rt_now() + chat.idle * SECOND;
        RT_SELECT2(m->which, m->r, m->told ? RT_PENDING : rt_poll_draining(cx, m->server),
                   rt_poll_deadline(cx, &m->timer, m->until,
                                    rt_poll_read_until(cx, m->in, '\n', &m->line, &m->len)));
        if (m->which == 0) m->told = true, tell(m, "* server is going\n");
        else if (m->r > 0) hear(m);
        else break;
    }
    if (m->r == -ETIME || m->r == -EMSGSIZE) chat.cut++;
    tell(m, m->r == -ETIME ? "* too silent\n" : m->r == -EMSGSIZE ? "* too long\n" : "* goodbye\n");
    m->until = rt_now() + SECOND; /* closing loses what is unsent */
    RT_AWAIT(m->r, rt_poll_deadline(cx, &m->timer, m->until, rt_poll_flush(cx, m->io, 0)));
    RT_END(m->r);
}

static int64_t on_connection(void *arg, rt_io io, rt_spawn_opts *task) {
    const rt_stream_opts opts = {.size = sizeof opts, .limit = LINE};
    struct member *m = calloc(1, sizeof *m);
    int64_t r = m == NULL ? -ENOMEM : rt_stream_new(io, &opts, &m->in);
    if (r < 0) return free(m), r;
    m->server = *(rt_server *)arg, m->io = io;
    task->poll = converse, task->state = m, task->drop = drop_member;
    return 0;
}

/* ---- the server ---- */

/* Blocks, as files do. One at a time, so that what was read last stays. */
static int64_t read_greeting(void *file) {
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    char text[GREETING];
    rt_blob fresh = 0, old = 0;
    pthread_mutex_lock(&turn);
    FILE *f = fopen(file, "r");
    int64_t r = f == NULL ? -errno : rt_blob_new(text, fread(text, 1, sizeof text, f), &fresh);
    if (f != NULL) fclose(f);
    if (r >= 0) {
        pthread_mutex_lock(&chat.lock);
        old = chat.greeting, chat.greeting = fresh;
        pthread_mutex_unlock(&chat.lock);
    }
    printf("greeting: %s\n", r < 0 ? rt_strerror(r) : "read");
    pthread_mutex_unlock(&turn);
    return rt_blob_free(old), r; /* who is being sent the old one gets all of it */
}

static int64_t run(rt_cx *cx, void *frame) {
    RT_BEGIN(frame);
    do {
        RT_SELECT3(chat.which, chat.r, rt_poll_signal(cx, chat.signals[0]),
                   rt_poll_signal(cx, chat.signals[1]), rt_poll_signal(cx, chat.signals[2]));
        if (chat.r < 0) RT_RETURN(chat.r);
        if (chat.which == 0 && chat.file != NULL)
            rt_spawn_blocking(chat.rt, read_greeting, chat.file, NULL, NULL);
    } while (chat.which == 0);
    chat.until = rt_now() + chat.grace * SECOND;
    rt_server_stop(chat.servers[1]); /* both at once */
    RT_AWAIT(chat.drained[0], rt_poll_drain(cx, chat.servers[0], chat.until));
    if (chat.path) RT_AWAIT(chat.drained[1], rt_poll_drain(cx, chat.servers[1], chat.until));
    RT_END(chat.drained[0] < 0 ? chat.drained[0] : chat.drained[1]);
}

/* What a failure leaves open goes with the runtime. */
static int64_t open_chat(const rt_config *config, char *text, size_t len) {
    static const int signums[] = {SIGHUP, SIGTERM, SIGINT};
    rt_io io[2] = {0};
    rt_addr name;
    const rt_unix_opts opts = {.size = sizeof opts, .flags = RT_UNIX_UNLINK_STALE};
    int64_t r = rt_new(config, &chat.rt, text, len);
    for (int i = 0; r >= 0 && i < 3; i++) r = rt_signal_open(chat.rt, signums[i], &chat.signals[i]);
    if (r >= 0 && chat.file != NULL) r = read_greeting(chat.file);
    if (r >= 0) r = rt_tcp_listen(chat.rt, "127.0.0.1", (uint16_t)chat.port, NULL, &io[0]);
    if (r >= 0) r = rt_local_addr(io[0], &name);
    if (r >= 0 && chat.path != NULL) r = rt_unix_listen(chat.rt, chat.path, &opts, &io[1]);
    for (int i = 0; r >= 0 && i < 2 && io[i] != 0; i++)
        r = rt_serve(chat.rt, io[i], NULL, on_connection, &chat.servers[i], &chat.servers[i]);
    if (r >= 0) rt_describe(chat.rt, text, len);
    if (r >= 0) printf("listening on 127.0.0.1:%d (%s)\n", (int)rt_addr_port(&name), text);
    return r;
}

static bool option(rt_config *config, const char *name, char *value) {
    if (strcmp(name, "--unix") == 0) return chat.path = value, true;
    if (strcmp(name, "--greeting") == 0) return chat.file = value, true;
    if (strcmp(name, "--port") == 0) return parse_number(value, 0, UINT16_MAX, &chat.port);
    if (strcmp(name, "--idle") == 0) return parse_number(value, 0, UINT16_MAX, &chat.idle);
    if (strcmp(name, "--grace") == 0) return parse_number(value, 0, UINT16_MAX, &chat.grace);
    return parse_common(config, name, value);
}

int main(int argc, char **argv) {
    rt_config config = {.size = sizeof config, .send_limit = UNREAD};
    rt_server_stats_data stats[2] = {{.size = sizeof stats[0]}, {.size = sizeof stats[0]}};
    rt_frame frame = {0};
    char text[256] = "";
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !option(&config, argv[i], argv[i + 1]))
            return fprintf(stderr, "%s: not like that; see the top of its source\n", argv[i]), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);

    int64_t r = open_chat(&config, text, sizeof text);
    if (r >= 0) r = rt_block_on(chat.rt, run, &frame);
    if (r < 0) fprintf(stderr, "chat_server: %s %s\n", rt_strerror(r), text);
    for (int i = 0; i < 2; i++)
        rt_server_stats(chat.servers[i], &stats[i]), rt_server_free(chat.servers[i]);
    if (chat.servers[1] != 0) remove(chat.path);
    rt_free(chat.rt);
    for (int i = 0; i < 3; i++) rt_signal_close(chat.signals[i]);
    rt_blob_free(chat.greeting);
    if (r < 0) return 1;
    printf("served %d, cut %d\n", (int)(stats[0].accepted + stats[1].accepted),
           (int)(chat.cut + (uint64_t)(chat.drained[0] + chat.drained[1])));
    return 0;
}
