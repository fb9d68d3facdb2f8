/* All keys as requests, for a log that begins anew. It is written by a forked child, which has the
 * keys as they were at that moment; of the runtime it has nothing, and it touches nothing of it. */
#include "kv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

enum { BLOCK = 256 * 1024, MEMBERS = 64 }; /* of one request */

static struct {
    int fd;
    struct bytes out;
    struct span argv[2 + 2 * MEMBERS];
    size_t argc;
    char scores[MEMBERS][32];
} snapshot;

static void check(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "kv_server: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void write_out(void) {
    for (size_t off = 0; off < snapshot.out.n;) {
        const ssize_t n = write(snapshot.fd, snapshot.out.p + off, snapshot.out.n - off);
        check(n > 0 || errno == EINTR, "writing the new log");
        if (n > 0) off += (size_t)n;
    }
    snapshot.out.n = 0;
}

static void put(const struct span *argv, size_t argc) {
    resp_request(&snapshot.out, argv, argc);
    if (snapshot.out.n >= BLOCK) write_out();
}

/* The requests of one key, of so many members each. */
static void put_members(void) {
    if (snapshot.argc > 2) put(snapshot.argv, snapshot.argc);
    snapshot.argc = 2;
}

static void put_word(struct span s) { snapshot.argv[snapshot.argc++] = s; }

static void put_full(size_t words) {
    if (snapshot.argc + words > sizeof snapshot.argv / sizeof snapshot.argv[0]) put_members();
}

static void put_list(const struct list *l) {
    for (size_t i = 0; i < l->n; i++) put_full(1), put_word(string_span(list_at(l, i)));
}

static void put_table(const struct dict *d, bool values) {
    size_t bucket = 0;
    for (struct entry *e = NULL; (e = dict_next(d, &bucket, e)) != NULL;) {
        put_full(2);
        put_word(entry_key(e));
        if (values) put_word(string_span(e->value));
    }
}

/* 17 digits are the very number. */
static void put_member(struct member *m, void *arg) {
    put_full(2);
    char *text = snapshot.scores[(snapshot.argc - 2) / 2];
    const int n = snprintf(text, sizeof snapshot.scores[0], "%.17g", m->score);
    put_word((struct span){text, (size_t)n});
    put_word(entry_key(m->entry));
    (void)arg;
}

static void put_key(struct entry *e) {
    static const char *const commands[] = {
        [LIST] = "RPUSH", [SET] = "SADD", [HASH] = "HSET", [SORTED] = "ZADD"};
    char digits[20];
    if (e->type == STRING) {
        put((struct span[]){TEXT("SET"), entry_key(e), string_span(e->value)}, 3);
    } else {
        const struct sorted *z = e->value;
        snapshot.argv[0] = text_span(commands[e->type]);
        snapshot.argv[1] = entry_key(e);
        snapshot.argc = 2;
        if (e->type == LIST) put_list(e->value);
        else if (e->type == SORTED) sorted_each(z, 0, z->names.count, put_member, NULL);
        else put_table(e->value, e->type == HASH);
        put_members();
    }
    if (e->expires == 0) return;
    const struct span when = {digits, number_text((int64_t)e->expires, digits)};
    put((struct span[]){TEXT("PEXPIREAT"), entry_key(e), when}, 3);
}

/* The server's connections must end when it closes them, and this process when it does. */
_Noreturn void snapshot_write(const char *path) {
    size_t bucket = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    snapshot.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    check(snapshot.fd >= 0, path);
    for (struct entry *e = NULL; (e = dict_next(&kv.keys, &bucket, e)) != NULL;) put_key(e);
    write_out();
    check(fsync(snapshot.fd) == 0, path);
    _exit(0);
}
