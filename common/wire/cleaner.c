/* The cleaner: see cleaner.h.
 *
 * It is forked before the socket's folder is made, and is told the paths before that. So a process
 * that is killed at any time leaves nothing.
 *
 *     process  --- FOLDER NUL SOCKET NUL --->  child      the last pair counts
 *
 * The child holds one end of a pair of sockets and nothing else. The end of the stream tells it
 * that the process is gone, or may no longer remove files: it removes socket and folder, if they
 * are still there. It runs in a session of its own, so that a signal to the whole pipeline does not
 * end it before the process.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/cleaner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "wire/peer.h"

/* What the child is to remove. */
struct places {
    char folder[CLEANER_PATH], socket[CLEANER_PATH];
    struct stat before; // of the socket when the child was told of it
};

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
        if (fd != keep && fcntl(fd, F_GETFD) >= 0)
            close(fd);
}

/* Reads the next path. False at the end of the stream. A read that fails is tried again some times,
 * because without the paths nothing can be removed. */
static bool read_path(int from, char path[CLEANER_PATH]) {
    size_t n = 0;
    int tries = 10;
    char byte;
    for (ssize_t got; (got = read(from, &byte, 1)) != 0;) {
        if (got < 0 && errno != EINTR && --tries == 0)
            return false;
        if (got < 0 || n == CLEANER_PATH)
            continue;
        path[n++] = byte;
        if (byte == '\0')
            return true;
    }
    return false;
}

/* lstat, tried again as above. False: there is no such file, or nothing can be said of it. */
static bool look(const char *path, struct stat *st) {
    int rc = -1;
    for (int tries = 10; tries > 0 && (rc = lstat(path, st)) != 0 && errno != ENOENT; tries--)
        ;
    return rc == 0;
}

/* The last pair of paths before the end of the stream. */
static void read_places(int from, struct places *p) {
    struct places next = {0};
    while (read_path(from, next.folder) && read_path(from, next.socket)) {
        memset(&next.before, 0, sizeof next.before);
        look(next.socket, &next.before);
        *p = next;
    }
}

/* Whether the path still has the file that it had before: a later process may have its own there.
 * An inode's number can be used again, but not with the same time. */
static bool is_still(const char *path, const struct stat *before) {
    struct stat st;
    return look(path, &st) && st.st_dev == before->st_dev && st.st_ino == before->st_ino &&
           st.st_ctime == before->st_ctime;
}

static NORETURN void run_cleaner(int from) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    struct places p = {0};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    close_all_but(from);
    read_places(from, &p);
    if (*p.socket && (*p.folder || is_still(p.socket, &p.before)))
        unlink(p.socket);
    if (*p.folder)
        rmdir(p.folder);
    _exit(0);
}

int cleaner_start(struct cleaner *c, struct err *e) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "no pair of sockets for the cleaner");
    c->to = ends[1];
    if (peer_set_flags(ends[1], false) != 0) {
        close(ends[0]);
        return err_errno(e, EXIT_SYSTEM, "no pair of sockets for the cleaner");
    }
    c->pid = fork();
    if (c->pid == 0)
        run_cleaner(ends[0]);
    int failed = errno;
    close(ends[0]);
    errno = failed;
    return c->pid < 0 ? err_errno(e, EXIT_SYSTEM, "cannot fork the cleaner") : 0;
}

static int tell(int to, const char *path, struct err *e) {
    size_t n = strlen(path) + 1;
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(to, path + done, n - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return err_errno(e, EXIT_SYSTEM, "the cleaner is gone");
        done += sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

int cleaner_watch(const struct cleaner *c, const char *folder, const char *socket, struct err *e) {
    return tell(c->to, folder, e) == 0 && tell(c->to, socket, e) == 0 ? 0 : -1;
}

void cleaner_stop(struct cleaner *c) {
    if (c->to >= 0)
        close(c->to);
    c->to = -1;
    if (c->pid > 0)
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    c->pid = -1;
}
