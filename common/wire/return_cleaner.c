/* The cleaner: a child process that removes the return path's socket and folder when the server is
 * gone.
 *
 * It is forked before the folder is made, and is told the folder's path before that. So a server
 * that is killed at any time leaves nothing.
 *
 *     server  --- "/tmp/tokpipe-a1B2c3" NUL --->  child      the last path counts; "" is none
 *
 * The child holds one end of a pair of sockets and nothing else. The end of the stream tells it
 * that the server is gone, or may no longer remove files: it removes socket and folder, if they are
 * still there. It runs in a session of its own, so that a signal to the whole pipeline does not end
 * it before the server.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "wire/return_private.h"

/* Closes the descriptors that /dev/fd lists, but `keep`. False if it does not list all. */
static bool close_listed(int keep) {
    DIR *d = opendir("/dev/fd");
    struct dirent *entry;
    if (!d)
        return false;
    while (errno = 0, (entry = readdir(d))) {
        uint64_t fd;
        if (parse_u64(str_of(entry->d_name), 0, INT32_MAX, &fd) && (int)fd != keep &&
            (int)fd != dirfd(d))
            close((int)fd);
    }
    bool whole = errno == 0;
    closedir(d);
    return whole;
}

/* Closes every descriptor but `keep`. If the cleaner held the write end of a pipe, the reader of
 * that pipe would never see its end. */
static void close_all_but(int keep) {
    if (close_listed(keep))
        return;
    for (int fd = 0; fd < 1024; fd++)
        if (fd != keep)
            close(fd);
}

/* Reads paths until the stream ends. Copies the last whole one to last. A read that fails is tried
 * again some times, because without the path nothing can be removed. */
static void read_paths(int from, char last[LOGITS_ADDRESS_BYTES]) {
    char path[LOGITS_ADDRESS_BYTES], byte;
    size_t n = 0;
    int tries = 10;
    for (ssize_t got; (got = read(from, &byte, 1)) != 0;) {
        if (got < 0 && errno != EINTR && --tries == 0)
            return;
        if (got < 0 || n == sizeof path)
            continue;
        path[n++] = byte;
        if (byte != '\0')
            continue;
        memcpy(last, path, n);
        n = 0;
    }
}

static NORETURN void run_cleaner(int from) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    char folder[LOGITS_ADDRESS_BYTES] = "", path[LOGITS_ADDRESS_BYTES + 16];
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    close_all_but(from);
    read_paths(from, folder);
    if (*folder) {
        snprintf(path, sizeof path, "%s/" RETURN_SOCKET_NAME, folder);
        unlink(path);
        rmdir(folder);
    }
    _exit(0);
}

int return_cleaner_start(struct return_cleaner *c, struct err *e) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "return path: no pair of sockets");
    c->to = ends[1];
    if (return_set_flags(ends[1], false) != 0) {
        close(ends[0]);
        return err_errno(e, EXIT_SYSTEM, "return path: no pair of sockets");
    }
    c->pid = fork();
    if (c->pid == 0)
        run_cleaner(ends[0]);
    int failed = errno;
    close(ends[0]);
    errno = failed;
    return c->pid < 0 ? err_errno(e, EXIT_SYSTEM, "return path: cannot fork") : 0;
}

int return_cleaner_watch(const struct return_cleaner *c, const char *folder, struct err *e) {
    size_t n = strlen(folder) + 1;
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(c->to, folder + done, n - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return err_errno(e, EXIT_SYSTEM, "return path: the cleaner is gone");
        done += sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

void return_cleaner_stop(struct return_cleaner *c) {
    if (c->to >= 0)
        close(c->to);
    c->to = -1;
    if (c->pid > 0)
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    c->pid = -1;
}
