/* Mounts of a test's own, in a namespace that ends with it. */
#ifndef ASYNCIO_TESTS_MOUNTS_H
#define ASYNCIO_TESTS_MOUNTS_H

#include "check.h"

#include <fcntl.h>
#include <sys/mount.h>

static inline void mounts_map(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) SKIP("a namespace of users cannot be had here");
    close(fd);
}

static inline void mounts_map_user(uid_t user, gid_t group) {
    char map[64];
    snprintf(map, sizeof map, "%u %u 1", user, user);
    mounts_map("/proc/self/uid_map", map);
    mounts_map("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", group, group);
    mounts_map("/proc/self/gid_map", map);
}

/* From now on nobody else sees what is mounted here. To be called before there are threads. */
static inline void mounts_of_our_own(void) {
    uid_t user = getuid();
    gid_t group = getgid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) SKIP("a namespace of mounts cannot be had here");
        mounts_map_user(user, group);
    }
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) SKIP("mounts cannot be kept from others here");
}

#endif
