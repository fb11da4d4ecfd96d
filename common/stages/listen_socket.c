/* The socket of an engine or a server: see listen_socket.h. The folder is locked (flock) while a
 * stale socket is replaced, so that of two engines that begin at once one is refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#include "stages/listen_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "wire/peer.h"

enum { BACKLOG = 128, FIRST_PASSED = 3 /* SD_LISTEN_FDS_START */ };

/* ---- A socket of our own ---- */

static int check_folder(int fd, const char *folder, struct err *e) {
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot open the socket's folder %s", folder);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(e, EXIT_SYSTEM, "the socket's folder belongs to another user: %s", folder);
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
        return err_set(e, EXIT_SYSTEM,
                       "others can write to the socket's folder (chmod go-w, or another folder): "
                       "%s",
                       folder);
    return 0;
}

/* Removes what a dead engine has left. */
static int remove_stale(const char *path, const struct sockaddr_un *sa, int type, struct err *e) {
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : err_errno(e, EXIT_SYSTEM, "cannot examine %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, EXIT_SYSTEM, "expected a socket or nothing, found a file: %s", path);
    int fd = socket(AF_UNIX, type, 0);
    if (fd < 0)
        return err_errno(e, EXIT_SYSTEM, "cannot make a socket");
    int rc = connect(fd, (const struct sockaddr *)sa, sizeof *sa);
    bool stale = rc != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!stale)
        return err_set(e, EXIT_SYSTEM, "somebody listens there already: %s", path);
    return unlink(path) == 0 ? 0 : err_errno(e, EXIT_SYSTEM, "cannot remove %s", path);
}

/* Listens on a new file of this mode, and tells the cleaner. Umask is the only way to have the mode
 * from the beginning. */
static int bind_there(struct listen_socket *s, const char *path, const struct sockaddr_un *sa,
                      mode_t mode, struct err *e) {
    mode_t before = umask(0777 & ~mode);
    int rc = bind(s->fd, (const struct sockaddr *)sa, sizeof *sa);
    umask(before);
    if (rc != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot listen on %s", path);
    if (listen(s->fd, BACKLOG) != 0)
        rc = err_errno(e, EXIT_SYSTEM, "cannot listen on %s", path);
    else
        rc = cleaner_watch(&s->cleaner, "", path, e);
    if (rc != 0)
        unlink(path);
    return rc;
}

static int make(struct listen_socket *s, const char *path, int type, bool group, struct err *e) {
    struct sockaddr_un sa;
    if (peer_address(&sa, path) != 0)
        return err_set(e, EXIT_USAGE, "the socket's path has more than %zu bytes: %s",
                       sizeof sa.sun_path - 1, path);
    s->fd = socket(AF_UNIX, type, 0);
    if (s->fd < 0 || peer_set_flags(s->fd, true) != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot make a socket");
    char *folder = path_parent(path);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = check_folder(dir, folder, e);
    if (rc == 0 && flock(dir, LOCK_EX) != 0)
        rc = err_errno(e, EXIT_SYSTEM, "cannot lock %s", folder);
    if (rc == 0)
        rc = remove_stale(path, &sa, type, e);
    if (rc == 0)
        rc = cleaner_start(&s->cleaner, e);
    if (rc == 0)
        rc = bind_there(s, path, &sa, group ? 0660 : 0600, e);
    if (dir >= 0)
        close(dir); // and with it the lock
    free(folder);
    return rc;
}

/* ---- A socket that was passed ---- */

static int check_passed(int fd, int wanted, struct err *e) {
    struct sockaddr_storage address;
    socklen_t n = sizeof address, n_int = sizeof(int);
    int listens = 0, type = 0;
    if (getsockname(fd, (struct sockaddr *)&address, &n) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n_int) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n_int) != 0)
        return err_errno(e, EXIT_SYSTEM, "LISTEN_FDS: descriptor %d", fd);
    if (address.ss_family != AF_UNIX || type != wanted || !listens)
        return err_set(e, EXIT_SYSTEM, "LISTEN_FDS: expected a listening Unix socket of %s",
                       wanted == SOCK_SEQPACKET ? "packets (ListenSequentialPacket=)"
                                                : "bytes (ListenStream=)");
    return 0;
}

static int take_passed(struct listen_socket *s, int type, struct err *e) {
    const char *pid = getenv("LISTEN_PID"), *n_text = getenv("LISTEN_FDS");
    uint64_t n;
    if (!pid || !n_text || !parse_u64(str_of(pid), 0, INT32_MAX, &n) || n != (uint64_t)getpid())
        return err_set(e, EXIT_USAGE, "--listen: give a path, or pass a socket (LISTEN_FDS)");
    if (!parse_u64(str_of(n_text), 1, 1, &n))
        return err_set(e, EXIT_USAGE, "LISTEN_FDS: expected one socket, found %s", n_text);
    if (check_passed(FIRST_PASSED, type, e) != 0)
        return -1;
    s->fd = FIRST_PASSED;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return peer_set_flags(s->fd, true) == 0 ? 0 : err_errno(e, EXIT_SYSTEM, "LISTEN_FDS");
}

/* ---- The service manager ---- */

static int connect_notify(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa;
    if (!path || (path[0] != '/' && path[0] != '@') || peer_address(&sa, path) != 0)
        return -1;
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        sa.sun_path[0] = '\0'; // the abstract namespace
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd >= 0 && (peer_set_flags(fd, true) != 0 || connect(fd, (struct sockaddr *)&sa, n) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

void listen_socket_notify(const struct listen_socket *s, const char *state) {
    if (s->notify >= 0 && send(s->notify, state, strlen(state), 0) < 0)
        warn("NOTIFY_SOCKET: %s", strerror(errno));
}

/* ---- Open and close ---- */

int listen_socket_open(struct listen_socket *s, const char *path, int type, bool group,
                       struct err *e) {
    *s = (struct listen_socket){.fd = -1, .notify = -1, .cleaner = {-1, -1}};
    if ((path ? make(s, path, type, group, e) : take_passed(s, type, e)) != 0)
        return -1;
    s->notify = connect_notify();
    return 0;
}

void listen_socket_close(struct listen_socket *s) {
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    cleaner_stop(&s->cleaner);
}
