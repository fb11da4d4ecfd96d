/* The cleaner: see cleaner.h.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "wire/cleaner.h"
#include "wire/peer.h"

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

/* Whether the path still has the file that it had before: a later server may have its own there. An
 * inode's number can be used again, but not with the same time. */
static bool is_still(const char *path, const struct stat *before) {
    struct stat st;
    return lstat(path, &st) == 0 && st.st_dev == before->st_dev && st.st_ino == before->st_ino &&
           st.st_ctime == before->st_ctime;
}

static NORETURN void run_cleaner(int pipe_end, const char *folder, const char *path) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    close_all_but(pipe_end);
    struct stat before = {0};
    lstat(path, &before);
    char byte;
    while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
        ;
    if (is_still(path, &before))
        unlink(path);
    if (folder)
        rmdir(folder);
    _exit(0);
}

int cleaner_start(struct cleaner *c, const char *folder, const char *path, struct err *e) {
    int ends[2];
    if (pipe(ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "no pipe for the process that removes %s", path);
    peer_set_flags(ends[1], false);
    c->pid = fork();
    if (c->pid == 0)
        run_cleaner(ends[0], folder, path);
    close(ends[0]);
    c->pipe_end = ends[1];
    return c->pid < 0 ? err_errno(e, EXIT_SYSTEM, "cannot fork the process that removes %s", path)
                      : 0;
}

void cleaner_stop(struct cleaner *c) {
    if (c->pipe_end >= 0)
        close(c->pipe_end);
    c->pipe_end = -1;
    if (c->pid > 0)
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    c->pid = -1;
}
