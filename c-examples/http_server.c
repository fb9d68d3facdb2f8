/* An HTTP/1.1 server: keep-alive, pipelining, bodies in chunks, files in ranges, limits and
 * deadlines on everything, and an end that lets those who are being answered finish.
 *
 * It shows a whole server of some size: rt_serve and its drain, a coroutine for each connection
 * that is made of smaller ones, buffers that idle connections do not hold, file operations,
 * sendfile over rt_poll_try, deadlines, and a foreign parser. Its parts are in http/, which begins
 * with http.h.
 *
 * Usage: http_server [OPTION VALUE].. [--demo]
 *
 *   --port P           0: the kernel picks one. Default: 8080, or another if that is taken.
 *   --host ADDRESS     Default: 127.0.0.1
 *   --root DIR         what /files/ has: no names that begin with a dot, but what symbolic links
 *                      lead to. Default: no files.
 *   --connections N    at once; 0: no limit. Default: 10000
 *   --body-limit N     bytes. Default: 1 MiB
 *   --head-ms N        a head that has begun must be there by then. Default: 10000
 *   --body-ms N        the same for a body. Default: 60000
 *   --first-byte-ms N  who sends nothing at all is cut; 0: never. Default: 10000
 *   --idle-ms N        who neither sends nor receives is cut; 0: never. Default: 60000
 *   --total-ms N       how long a connection may last. 0, the default: for ever
 *   --grace-ms N       after SIGTERM or SIGINT requests may be finished for so long; a second
 *                      signal ends that. Default: 10000
 *   --engine E, --workers N: as everywhere. 0 workers run all on the main thread. Default: one for
 *                      each CPU.
 *   --demo             asks itself for a few things first, and shows the answers.
 *
 * Try it: build/c-examples/http_server --root . and what it says then.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "http/http.h"
#include "options.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

struct server server = {.body_limit = 1024 * 1024, .head_ms = 10000, .body_ms = 60000};

static struct {
    const char *host, *root;
    uint32_t port, connections, first_byte_ms, idle_ms, total_ms, grace_ms;
    bool port_given, demo;
} options = {.host = "127.0.0.1", .port = 8080, .connections = 10000, .first_byte_ms = 10000,
             .idle_ms = 60000, .grace_ms = 10000};

/* The main coroutine's. */
static struct {
    rt_frame frame;
    rt_signal signals[2];
    rt_timer second, patience; /* the latter with the demo */
    char address[64];
    uint16_t port;
    int which;
    int64_t r, cut;
    uint64_t until; /* of the demo, and of the drain */
} control;

/* ---- what is shown ---- */

static int64_t fail(const char *what, int64_t r) {
    fprintf(stderr, "http_server: %s: %s\n", what, rt_strerror(r));
    return r;
}

static struct {
    atomic_bool busy;
    uint64_t at, requests, bytes;
    bool terminal, shown;
} figures;

/* May block, as when a terminal is stopped by Ctrl-S. Nothing new is nothing to say; on a
 * terminal each line takes the place of the one before. */
static int64_t show_figures(void *arg) {
    (void)arg;
    rt_server_stats_data s = {.size = sizeof s};
    uint64_t requests, bytes;
    const uint64_t now = rt_now();
    const double seconds = (double)(now - figures.at) / (double)SECOND;
    rt_server_stats(server.server, &s);
    count_all(&requests, &bytes);
    const bool news = requests != figures.requests || bytes != figures.bytes;
    if (news || figures.terminal) {
        printf("%s%" PRIu64 " connections, %.0f requests/s, %.2f MB/s, %" PRIu64 " requests%s",
               figures.terminal ? "\r\033[K" : "", s.live,
               (double)(requests - figures.requests) / seconds,
               (double)(bytes - figures.bytes) / seconds / 1e6, requests,
               figures.terminal ? "" : "\n");
        fflush(stdout);
        figures.shown = true;
    }
    figures.at = now, figures.requests = requests, figures.bytes = bytes;
    atomic_store(&figures.busy, false);
    return 0;
}

static void figure_it_out(void) {
    if (atomic_exchange(&figures.busy, true)) return;
    if (rt_spawn_blocking(server.rt, show_figures, NULL, NULL, NULL) < 0) figures.busy = false;
}

static void greet(const char *about) {
    const char *address = control.address;
    printf("listening on %s (%s)\n", address, about);
    printf("try:  curl -i http://%s/\n", address);
    printf("      curl -i -d 'some words' http://%s/echo\n", address);
    if (server.root != 0) printf("      curl -r 0-99 http://%s/files/README.md\n", address);
    printf("      wrk -c 64 -d 5 http://%s/hello\n", address);
    printf("end:  Ctrl-C\n");
}

/* ---- the server ---- */

/* Until somebody asks for the end; and then until it is reached. */
static int64_t run(rt_cx *cx, void *state) {
    (void)state;
    RT_BEGIN(&control.frame);
    if (options.demo) {
        RT_AWAIT(control.r,
                 rt_poll_deadline(cx, &control.patience, control.until,
                                  demo(cx, options.host, control.port, control.address)));
        if (control.r < 0) fail("demo", control.r);
        printf("\nserving, until Ctrl-C\n");
    }
    for (;;) {
        RT_SELECT3(control.which, control.r, rt_poll_signal(cx, control.signals[0]),
                   rt_poll_signal(cx, control.signals[1]), rt_poll_timer(cx, control.second));
        if (control.r < 0) RT_RETURN(control.r);
        if (control.which < 2) break;
        figure_it_out();
    }
    atomic_store(&server.going, true);
    control.until = rt_now() + options.grace_ms * MS;
    RT_SELECT3(control.which, control.cut, rt_poll_drain(cx, server.server, control.until),
               rt_poll_signal(cx, control.signals[0]), rt_poll_signal(cx, control.signals[1]));
    if (control.which > 0) RT_AWAIT(control.cut, rt_poll_drain(cx, server.server, rt_now()));
    RT_END(control.cut);
}

static int64_t open_root(void) {
    if (options.root == NULL) return 0;
    const int fd = open(options.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(options.root, -errno);
    const int64_t r = rt_register_fd(server.rt, fd, 0, &server.root);
    if (r < 0) close(fd);
    return r < 0 ? fail(options.root, r) : 0;
}

static int64_t listen_somewhere(rt_io *listener) {
    rt_addr name;
    int64_t r = rt_tcp_listen(server.rt, options.host, (uint16_t)options.port, NULL, listener);
    if (r == -EADDRINUSE && !options.port_given) {
        printf("port %" PRIu32 " is taken: another one, then\n", options.port);
        r = rt_tcp_listen(server.rt, options.host, 0, NULL, listener);
    }
    if (r >= 0) r = rt_local_addr(*listener, &name);
    if (r >= 0) r = rt_addr_text(&name, control.address, sizeof control.address);
    if (r >= 0) control.port = (uint16_t)rt_addr_port(&name);
    return r < 0 ? fail("listen", r) : 0;
}

/* What a failure leaves open goes with the runtime. */
static int64_t open_server(const rt_config *config) {
    char about[256] = "";
    rt_io listener;
    rt_serve_opts serve = {.size = sizeof serve,
                           .max_connections = options.connections,
                           .first_byte_ns = options.first_byte_ms * MS,
                           .idle_ns = options.idle_ms * MS,
                           .total_ns = options.total_ms * MS};
    int64_t r = rt_new(config, &server.rt, about, sizeof about);
    if (r < 0) return fail(about, r);
    if ((r = open_root()) < 0 || (r = listen_somewhere(&listener)) < 0) return r;
    r = rt_signal_open(server.rt, SIGTERM, &control.signals[0]);
    if (r >= 0) r = rt_signal_open(server.rt, SIGINT, &control.signals[1]);
    if (r >= 0)
        r = rt_timer_interval(server.rt, rt_now() + SECOND, SECOND, RT_MISSED_SKIP,
                              &control.second);
    if (r >= 0) r = rt_serve(server.rt, listener, &serve, on_connection, NULL, &server.server);
    if (r < 0) return fail("serve", r);
    rt_describe(server.rt, about, sizeof about);
    greet(about);
    figures.at = rt_now();
    control.until = figures.at + 10 * SECOND;
    return 0;
}

/* ---- the program ---- */

static bool parse_option(rt_config *config, const char *name, const char *value) {
    const struct {
        const char *name;
        uint32_t max, *to;
    } numbers[] = {
        {"--port", UINT16_MAX, &options.port},
        {"--connections", 1 << 24, &options.connections},
        {"--body-limit", 1 << 30, &server.body_limit},
        {"--head-ms", A_DAY, &server.head_ms},
        {"--body-ms", A_DAY, &server.body_ms},
        {"--first-byte-ms", A_DAY, &options.first_byte_ms},
        {"--idle-ms", A_DAY, &options.idle_ms},
        {"--total-ms", A_DAY, &options.total_ms},
        {"--grace-ms", A_DAY, &options.grace_ms},
    };
    if (strcmp(name, "--host") == 0) return options.host = value, true;
    if (strcmp(name, "--root") == 0) return options.root = value, true;
    if (strcmp(name, "--port") == 0) options.port_given = true;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return parse_number(value, 0, numbers[i].max, numbers[i].to);
    return parse_common(config, name, value);
}

static bool parse(rt_config *config, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--demo") == 0) options.demo = true;
        else if (i + 1 == argc || !parse_option(config, argv[i], argv[i + 1])) return false;
        else i++;
    }
    return true;
}

int main(int argc, char **argv) {
    rt_config config = {.size = sizeof config,
                        .on_thread_start = worker_start,
                        .on_thread_stop = worker_stop};
    rt_server_stats_data stats = {.size = sizeof stats};
    uint64_t requests, bytes;
    if (!parse(&config, argc, argv)) {
        fprintf(stderr, "usage: %s [--port P] [--root DIR] [--demo] " OPTIONS_USAGE
                        " ..; the top of its source has the others\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* whoever reads our output may go */
    setvbuf(stdout, NULL, _IOLBF, 0);
    figures.terminal = isatty(STDOUT_FILENO);
    raise_descriptor_limit();

    worker_start(NULL); /* this thread may be one */
    int64_t r = open_server(&config);
    if (r >= 0) {
        r = rt_block_on(server.rt, run, NULL);
        if (r < 0) fail("serve", r);
    }
    rt_server_stats(server.server, &stats);
    rt_server_free(server.server);
    rt_free(server.rt);
    for (int i = 0; i < 2; i++) rt_signal_close(control.signals[i]);
    count_all(&requests, &bytes);
    worker_stop(NULL);
    if (r < 0) return 1;
    const uint64_t cut = stats.cut_first_byte + stats.cut_idle + stats.cut_total;
    printf("%sserved %" PRIu64 " requests on %" PRIu64 " connections, %" PRIu64 " bytes; "
           "cut %" PRIu64 " for being slow, %" PRId64 " at the end\n",
           figures.terminal && figures.shown ? "\n" : "", requests, stats.accepted, bytes, cut,
           control.cut);
    return 0;
}
