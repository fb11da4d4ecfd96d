/* Other programs: see spawn.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int spawn_program(const char *const *argv, int in, int out, bool quiet, const char *why,
                  pid_t *child, struct err *e) {
    posix_spawn_file_actions_t actions;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        if ((rc = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO)) == 0 &&
            (rc = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO)) == 0 && quiet)
            rc =
                posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        if (rc == 0) // it does not change the words
            rc = posix_spawnp(child, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
                              environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    errno = rc;
    if (rc == ENOENT)
        return err_set(e, EXIT_SYSTEM, "%s %s, and it is not installed", argv[0], why);
    return rc ? err_errno(e, EXIT_SYSTEM, "cannot run %s", argv[0]) : 0;
}

int spawn_wait(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_SYSTEM;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int spawn_pipe(int ends[2], struct err *e) {
    if (pipe(ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot make a pipe");
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
}
