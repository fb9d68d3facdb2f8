/* Names into addresses: literals without a thread and in any context, the hosts file, a name that
 * does not exist, arguments that make no sense.
 */
#include "resolve.h"

#include <net/if.h>

static int64_t resolve_once(rt_runtime rt, struct asked *a) { return rt_block_on(rt, asks, a); }

static void literals_need_no_thread(void) {
    rt_runtime rt = test_runtime();
    const char *const texts[] = {"127.0.0.1", "1.2.3.4", "::1", "2001:db8::7", "255.255.255.255"};
    for (int i = 0; i < 5; i++) {
        struct asked a = {.host = texts[i], .port = (uint16_t)(8080 + i)};
        CHECK_EQ(resolve_once(rt, &a), 1);
        check_address(&a.out[0], texts[i], (uint16_t)(8080 + i));
        struct asked b = {.host = texts[i], .port = 1, .flags = RT_RESOLVE_NUMERIC};
        CHECK_EQ(resolve_once(rt, &b), 1);
        bool is_v4 = strchr(texts[i], ':') == NULL;
        struct asked c = {.host = texts[i], .flags = RT_RESOLVE_V4};
        CHECK_EQ(resolve_once(rt, &c), is_v4 ? 1 : -ENOENT);
        struct asked d = {.host = texts[i], .flags = RT_RESOLVE_V6};
        CHECK_EQ(resolve_once(rt, &d), is_v4 ? -ENOENT : 1);
    }
    CHECK_EQ(metrics(rt).blocking_threads, 0);
    op_runtime_free(rt);
}

/* An address of a link says which one, by its number or its name. */
static void literals_have_scopes(void) {
    char named[64], name[IF_NAMESIZE];
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    rt_op slot = 0;
    rt_addr out, parsed;
    uint32_t numeric = RT_RESOLVE_NUMERIC;
    const char *const texts[] = {"fe80::1%1", "fe80::1%12345", named};
    int count = if_indextoname(1, name) == NULL ? 2 : 3;
    if (count == 3) snprintf(named, sizeof named, "fe80::1%%%s", name);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(rt_poll_resolve(h.cx, &slot, texts[i], 443, i == 0 ? 0 : numeric, &out, 1), 1);
        check_address(&out, "fe80::1", 443);
        CHECK_EQ(rt_addr_parse(texts[i], 443, &parsed), 0);
        CHECK(out.len == parsed.len && memcmp(out.storage, parsed.storage, out.len) == 0);
        CHECK_EQ(rt_poll_resolve(h.cx, &slot, texts[i], 443, numeric | RT_RESOLVE_V4, &out, 1), -ENOENT);
    }
    CHECK_EQ(rt_poll_resolve(h.cx, &slot, "fe80::1%nothing", 443, numeric, &out, 1), -ENODEV);
    CHECK_EQ(rt_poll_resolve(h.cx, &slot, "[::1]", 443, numeric, &out, 1), -ENOENT);
    CHECK_EQ(slot, 0);
    CHECK_EQ(metrics(rt).blocking_threads, 0);
    hand_close(&h);
    op_runtime_free(rt);
    hand_check(&h);
}

static void outside_of_tasks_only_literals(void) {
    rt_runtime rt = test_runtime();
    struct hand h;
    hand_open(&h, rt);
    rt_op slot = 0;
    rt_addr out;
    CHECK_EQ(rt_poll_resolve(h.cx, &slot, "::1", 443, 0, &out, 1), 1);
    check_address(&out, "::1", 443);
    CHECK_EQ(rt_poll_resolve(h.cx, &slot, "localhost", 443, 0, &out, 1), -EPERM);
    CHECK_EQ(slot, 0);
    hand_close(&h);
    op_runtime_free(rt);
    hand_check(&h);
}

static bool hosts_file_has_localhost(void) {
    FILE *f = fopen("/etc/hosts", "re");
    char line[512];
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
        found = strncmp(line, "127.0.0.1", 9) == 0 && strstr(line, "localhost") != NULL;
    if (f != NULL) fclose(f);
    return found;
}

static void localhost_is_this_machine(void) {
    if (!hosts_file_has_localhost()) {
        printf("not checked: /etc/hosts has no localhost\n");
        return;
    }
    rt_runtime rt = test_runtime();
    struct asked a = {.host = "localhost", .port = 80, .flags = RT_RESOLVE_V4};
    CHECK_OK(resolve_once(rt, &a));
    check_address(&a.out[0], "127.0.0.1", 80);
    struct asked b = {.host = "localhost", .flags = RT_RESOLVE_NUMERIC};
    CHECK_EQ(resolve_once(rt, &b), -ENOENT);
    op_runtime_free(rt);
}

/* Where there are no name servers to say so, nobody knows. */
static void a_name_that_does_not_exist(void) {
    rt_runtime rt = test_runtime();
    struct asked a = {.host = "no-such-host.invalid"};
    int64_t r = resolve_once(rt, &a);
    CHECK(r == -ENOENT || r == -EAGAIN);
    op_runtime_free(rt);
}

static int64_t makes_no_sense(rt_cx *cx, void *state) {
    (void)state;
    rt_op slot = 0, stale = 12345;
    rt_addr out[2];
    CHECK_EQ(rt_poll_resolve(cx, NULL, "::1", 1, 0, out, 2), -EINVAL);
    CHECK_EQ(rt_poll_resolve(cx, &slot, NULL, 1, 0, out, 2), -EINVAL);
    CHECK_EQ(rt_poll_resolve(cx, &slot, "::1", 1, 0, NULL, 2), -EINVAL);
    CHECK_EQ(rt_poll_resolve(cx, &slot, "::1", 1, 0, out, 0), -EINVAL);
    CHECK_EQ(rt_poll_resolve(cx, &slot, "::1", 1, 8, out, 2), -EINVAL);
    CHECK_EQ(rt_poll_resolve(NULL, &slot, "::1", 1, 0, out, 2), -EINVAL);
    CHECK_EQ(rt_poll_resolve(cx, &slot, "", 1, RT_RESOLVE_NUMERIC, out, 2), -ENOENT);
    CHECK_EQ(slot, 0);
    CHECK_EQ(rt_poll_resolve(cx, &stale, "::1", 1, 0, out, 2), -EBADF);
    CHECK_EQ(stale, 0);
    return 0;
}

static void arguments_are_checked(void) {
    rt_runtime rt = test_runtime();
    CHECK_EQ(rt_block_on(rt, makes_no_sense, NULL), 0);
    op_runtime_free(rt);
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(literals_need_no_thread);
    CASE(literals_have_scopes);
    CASE(outside_of_tasks_only_literals);
    CASE(localhost_is_this_machine);
    CASE(a_name_that_does_not_exist);
    CASE(arguments_are_checked);
    return test_end();
}
