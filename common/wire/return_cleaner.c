/* The cleaner: a child process that removes the return path's socket and folder when the server is
 * gone.
 *
 * The child holds the read end of a pipe and nothing else. The end of the pipe tells it that the
 * server is gone, or may no longer remove files: it removes both, if they are still there. It runs
 * in a session of its own, so that a signal to the whole pipeline does not end it before the
 * server.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "wire/return_private.h"

/* Closes every descriptor but `keep`. If the cleaner held the write end of a pipe, the reader of
 * that pipe would never see its end. */
static void close_all_but(int keep) {
    DIR *d = opendir("/dev/fd");
    if (d) {
        struct dirent *entry;
        while ((entry = readdir(d))) {
            uint64_t fd;
            if (parse_u64(str_of(entry->d_name), 0, INT32_MAX, &fd) && (int)fd != keep &&
                (int)fd != dirfd(d))
                close((int)fd);
        }
        closedir(d);
        return;
    }
    for (int fd = 0; fd < 1024; fd++)
        if (fd != keep)
            close(fd);
}

static NORETURN void run_cleaner(int pipe_end, const char *folder, const char *path) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    close_all_but(pipe_end);
    char byte;
    while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
        ;
    unlink(path);
    rmdir(folder);
    _exit(0);
}

int return_cleaner_start(struct return_cleaner *c, const char *folder, const char *path,
                         struct err *e) {
    int ends[2];
    if (pipe(ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "return path: no pipe");
    return_set_flags(ends[1], false);
    c->pid = fork();
    if (c->pid == 0)
        run_cleaner(ends[0], folder, path);
    close(ends[0]);
    c->pipe_end = ends[1];
    return c->pid < 0 ? err_errno(e, EXIT_SYSTEM, "return path: cannot fork") : 0;
}

void return_cleaner_stop(struct return_cleaner *c) {
    if (c->pipe_end >= 0)
        close(c->pipe_end);
    c->pipe_end = -1;
    if (c->pid > 0)
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    c->pid = -1;
}
