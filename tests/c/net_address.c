/* once: Addresses and their texts: each way there and back, and what is no address. */
#include "net.h"

#include <net/if.h>
#include <stddef.h>
#include <sys/un.h>

static rt_addr parsed(const char *text, uint16_t port) {
    rt_addr addr;
    memset(&addr, 0xff, sizeof addr);
    CHECK_EQ(rt_addr_parse(text, port, &addr), 0);
    CHECK_EQ(addr.reserved, 0);
    return addr;
}

static void check_text(const rt_addr *addr, const char *expected) {
    char text[200];
    CHECK_EQ(rt_addr_text(addr, text, sizeof text), strlen(expected));
    if (strcmp(text, expected) != 0) fprintf(stderr, "%s, not %s\n", text, expected);
    CHECK(strcmp(text, expected) == 0);
}

static void becomes(const char *text, uint16_t port, const char *expected) {
    rt_addr addr = parsed(text, port), again;
    check_text(&addr, expected);
    again = parsed(expected, 1);
    CHECK_EQ(memcmp(&addr, &again, sizeof addr), 0);
}

static void there_and_back(void) {
    becomes("1.2.3.4", 80, "1.2.3.4:80");
    becomes("1.2.3.4:81", 80, "1.2.3.4:81");
    becomes("0.0.0.0:0", 80, "0.0.0.0:0");
    becomes("255.255.255.255:65535", 0, "255.255.255.255:65535");
    becomes("::", 0, "[::]:0");
    becomes("::1", 80, "[::1]:80");
    becomes("[::1]", 80, "[::1]:80");
    becomes("[::1]:443", 80, "[::1]:443");
    becomes("[2001:DB8:0:0::1]:443", 80, "[2001:db8::1]:443");
    becomes("::ffff:1.2.3.4", 7, "[::ffff:1.2.3.4]:7");
    becomes("[fe80::1%3]:80", 0, "[fe80::1%3]:80");
    becomes("unix:/a/path", 80, "unix:/a/path");
    becomes("unix:relative:80", 80, "unix:relative:80");
    becomes("unix:@name", 80, "unix:@name");
    becomes("unix:./@name", 80, "unix:./@name");
}

/* The bytes are those of the system's structures. */
static void is_a_sockaddr(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x01020304)};
    rt_addr addr = parsed("1.2.3.4:80", 0);
    CHECK_EQ(addr.len, sizeof in);
    CHECK_EQ(memcmp(addr.storage, &in, sizeof in), 0);
    CHECK_EQ(rt_addr_port(&addr), 80);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(9), .sin6_addr.s6_addr[15] = 1};
    in6.sin6_scope_id = if_nametoindex("lo");
    addr = parsed("[::1%lo]:9", 0);
    CHECK_EQ(addr.len, sizeof in6);
    CHECK_EQ(memcmp(addr.storage, &in6, sizeof in6), 0);
    CHECK_EQ(rt_addr_port(&addr), 9);
    addr = parsed("unix:/x", 0);
    const struct sockaddr_un *un = (const void *)addr.storage;
    CHECK_EQ(un->sun_family, AF_UNIX);
    CHECK(strcmp(un->sun_path, "/x") == 0);
    CHECK_EQ(rt_addr_port(&addr), -EAFNOSUPPORT);
    addr = parsed("unix:@x", 0);
    CHECK_EQ(addr.len, sizeof(sa_family_t) + 2);
    CHECK_EQ(memcmp(un->sun_path, "\0x", 2), 0);
}

static void is_none(const char *text, int64_t error) {
    rt_addr addr = {.len = 77};
    int64_t r = rt_addr_parse(text, 80, &addr);
    if (r != error) fprintf(stderr, "\"%s\"\n", text);
    CHECK_EQ(r, error);
    CHECK_EQ(addr.len, 0);
}

static void malformed(void) {
    static const char *const bad[] = {
        "", " ", ":", ":80", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1",
        "1.2.3.4:+1", "1.2.3.4: 1", "1.2.3.4:1 ", " 1.2.3.4", "1.2.3.4:80:80", "01.2.3.4", "0x1.2.3.4", "[1.2.3.4]",
        "[1.2.3.4]:80", "[::1", "::1]", "[::1]80", "[::1]:", "[::1]:x", "[[::1]]:80", "[]:80", "[]", "::1:80:", ":::1",
        "1:2:3:4:5:6:7:8:9", "fe80::1%", "[fe80::1%]:80", "1.2.3.4%lo", "localhost", "localhost:80", "unix:",
        "unix:@", "UNIX:/x", "unix", "\xff\xfe", "[::1]:\xff", "1.2.3.4:80\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bool is_scope = strchr(bad[i], '%') != NULL && strncmp(bad[i], "1.2", 3) != 0;
        is_none(bad[i], is_scope ? -ENODEV : -EINVAL);
    }
    is_none("fe80::1%no-such-interface", -ENODEV);
    is_none("[fe80::1%99999999999]:80", -ENODEV);
    /* A port without brackets, and not a scope of which the kernel takes a part. */
    is_none("fe80::1%lo:80", -EINVAL);
    is_none("[fe80::1%lo:80]:80", -EINVAL);
    is_none("fe80::1%1:80", -EINVAL);
    CHECK_EQ(rt_addr_parse(NULL, 80, &(rt_addr){0}), -EINVAL);
    CHECK_EQ(rt_addr_parse("1.2.3.4", 80, NULL), -EINVAL);
}

static void lengths_of_paths(void) {
    char text[130] = "unix:";
    memset(text + 5, 'x', 107);
    becomes(text, 0, text);
    CHECK_EQ(parsed(text, 0).len, sizeof(struct sockaddr_un));
    text[5 + 107] = 'x';
    becomes(text, 0, text);
    CHECK_EQ(parsed(text, 0).len, sizeof(struct sockaddr_un));
    text[5] = '@';
    becomes(text, 0, text);
    text[5 + 108] = 'x';
    is_none(text, -ENAMETOOLONG);
    text[5] = 'x';
    is_none(text, -ENAMETOOLONG);
}

static void texts_are_cut(void) {
    rt_addr addr = parsed("1.2.3.4:80", 0);
    char text[8] = "zzzzzzz";
    CHECK_EQ(rt_addr_text(&addr, NULL, 0), 10);
    CHECK_EQ(rt_addr_text(&addr, text, 4), 10);
    CHECK(strcmp(text, "1.2") == 0);
    CHECK_EQ(text[4], 'z');
    CHECK_EQ(rt_addr_text(&addr, NULL, 4), -EINVAL);
}

static void is_whole_from(const char *text, uint32_t least) {
    char said[60];
    rt_addr addr = parsed(text, 0);
    for (addr.len = 0; addr.len < least; addr.len++) {
        CHECK_EQ(rt_addr_text(&addr, said, sizeof said), -EINVAL);
        CHECK_EQ(rt_addr_port(&addr), -EINVAL);
    }
    for (; addr.len <= sizeof addr.storage; addr.len++) {
        CHECK_EQ(rt_addr_text(&addr, said, sizeof said), strlen(text));
        CHECK(strcmp(said, text) == 0);
    }
}

/* A part of an address is none. */
static void least_lengths(void) {
    is_whole_from("1.2.3.4:80", sizeof(struct sockaddr_in));
    is_whole_from("[1:2:3:4:5:6:7:8]:80", offsetof(struct sockaddr_in6, sin6_scope_id));
    rt_addr addr = parsed("[fe80::1%3]:80", 0);
    addr.len = offsetof(struct sockaddr_in6, sin6_scope_id);
    check_text(&addr, "[fe80::1]:80");
}

static void strange_ones(void) {
    char text[40];
    rt_addr addr = {0};
    CHECK_EQ(rt_addr_text(&addr, text, sizeof text), -EINVAL);
    CHECK_EQ(rt_addr_port(&addr), -EINVAL);
    CHECK_EQ(rt_addr_text(NULL, text, sizeof text), -EINVAL);
    CHECK_EQ(rt_addr_port(NULL), -EINVAL);
    addr = parsed("1.2.3.4:80", 0);
    addr.len = 129;
    CHECK_EQ(rt_addr_text(&addr, text, sizeof text), -EINVAL);
    addr.len = 1;
    CHECK_EQ(rt_addr_text(&addr, text, sizeof text), -EINVAL);
    addr = (rt_addr){.len = 16, .storage = {AF_NETLINK}};
    CHECK_EQ(rt_addr_text(&addr, text, sizeof text), -EAFNOSUPPORT);
    CHECK_EQ(rt_addr_port(&addr), -EAFNOSUPPORT);
    addr = (rt_addr){.len = sizeof(sa_family_t), .storage = {AF_UNIX}};
    check_text(&addr, "unix:");
    addr = parsed("unix:@abc", 0);
    ((char *)addr.storage)[4] = 0;
    check_text(&addr, "unix:@a@c"); /* a NUL would end the text */
    /* A path ends with the address, or with a NUL in it. */
    addr = parsed("unix:/path", 0);
    for (addr.len = sizeof(sa_family_t) + 5; addr.len <= sizeof addr.storage; addr.len++)
        check_text(&addr, "unix:/path");
}

int main(int argc, char **argv) {
    test_start(argc, argv);
    CASE(there_and_back);
    CASE(is_a_sockaddr);
    CASE(malformed);
    CASE(lengths_of_paths);
    CASE(texts_are_cut);
    CASE(least_lengths);
    CASE(strange_ones);
    return test_end();
}
