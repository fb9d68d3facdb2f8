/* once: neither the engine nor the flavour has a part in it.
 * A child that somebody reaped before it could be held by a pidfd: its number may be another process' by then, which is left
 * alone. One that cannot be held, and is there, is killed and reaped. The spawn and the kill are made here.
 */
#include "child.h"
#include "process.h"

#include <spawn.h>

static pid_t spawned, killed; /* the last one, by its number */
static bool reaps;            /* as a handler of SIGCHLD would that waits for any child */

/* The library's, too. What is run here has a path. */
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    int error = posix_spawn(pid, file, actions, attributes, argv, envp);
    spawned = *pid;
    if (error == 0 && reaps) CHECK_EQ(waitpid(*pid, NULL, 0), *pid);
    return error;
}

int kill(pid_t pid, int signum) {
    killed = pid;
    return (int)syscall(SYS_kill, pid, signum);
}

static void spawn_and_fail(const char *file, int64_t error) {
    rt_runtime rt = test_runtime();
    rt_process p = 77;
    rt_process_opts opts;
    CHECK_EQ(rt_process_opts_init(&opts, sizeof opts), 0);
    opts.file = file;
    spawned = killed = 0;
    CHECK_EQ(rt_process_spawn(rt, &opts, &p), error);
    CHECK_EQ(p, 0);
    CHECK(spawned != 0);
    no_children();
    test_runtime_free(rt);
}

static void its_number_is_nobodys(void) {
    reaps = true;
    spawn_and_fail("/bin/true", -ECHILD);
    CHECK_EQ(killed, 0);
    reaps = false;
}

static void without_pidfds(void) {
    refuse_call(SYS_pidfd_open);
    spawn_and_fail("/bin/cat", -EPERM);
    CHECK_EQ(killed, spawned);
}

static void it_is_not_left_alone(void) { CHECK_EQ(child_status(without_pidfds), 0); }

int main(int argc, char **argv) {
    process_start(argc, argv);
    CASE(it_is_not_left_alone); /* by a child of this program, so before anything else */
    CASE(its_number_is_nobodys);
    return test_end();
}
