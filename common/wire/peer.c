/* Unix sockets: see peer.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // struct ucred
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE // getpeereid
#endif
#include "wire/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int peer_set_flags(int fd, bool nonblocking) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return fcntl(fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

int peer_address(struct sockaddr_un *sa, const char *path) {
    memset(sa, 0, sizeof *sa);
    sa->sun_family = AF_UNIX;
    size_t n = strlen(path);
    if (n >= sizeof sa->sun_path)
        return -1;
    memcpy(sa->sun_path, path, n);
    return 0;
}

enum { WAIT_MS = 20, WAITS = 3, WAITS_FOR_RESTART = 100 };

int peer_connect(int fd, const struct sockaddr_un *sa, bool restarts) {
    int rc, n = restarts ? WAITS_FOR_RESTART : WAITS;
    while ((rc = connect(fd, (const struct sockaddr *)sa, sizeof *sa)) != 0 && n-- > 0 &&
           (errno == ECONNREFUSED || (restarts && errno == ENOENT)))
        poll(NULL, 0, WAIT_MS);
    return rc;
}

bool peer_user(int fd, uid_t *user) {
#if defined(SO_PEERCRED) && defined(__linux__)
    struct ucred who;
    socklen_t n = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0 || n != sizeof who)
        return false;
    *user = who.uid;
    return true;
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || \
    defined(__DragonFly__)
    gid_t gid;
    return getpeereid(fd, user, &gid) == 0;
#else
    (void)fd;
    *user = geteuid();
    return true;
#endif
}

bool peer_is_own_user(int fd) {
    uid_t user;
    return peer_user(fd, &user) && user == geteuid();
}
