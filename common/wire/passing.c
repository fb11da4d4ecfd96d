/* Passing descriptors: see passing.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // preadv2, pwritev2, MSG_CMSG_CLOEXEC
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#include "wire/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(MSG_NOSIGNAL)
#define MSG_NOSIGNAL 0
#endif
#if !defined(MSG_CMSG_CLOEXEC)
#define MSG_CMSG_CLOEXEC 0
#endif

/* ---- Packets ---- */

/* Room for the control data of PASSING_MAX descriptors, aligned for its header. */
union passing_room {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(PASSING_MAX * sizeof(int))];
};

bool passing_send(int fd, const void *p, size_t n, const int *fds, size_t n_fds) {
    union passing_room room = {0};
    struct iovec v = {(void *)p, n};
    struct msghdr msg = {.msg_iov = &v, .msg_iovlen = 1};
    if (n_fds > 0) {
        msg.msg_control = room.bytes;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof *fds);
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof *fds);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

/* Takes the descriptors of a message; closes those past PASSING_MAX. */
static void take_fds(struct msghdr *msg, int *fds, size_t *n_fds) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*n_fds < PASSING_MAX)
                fds[(*n_fds)++] = fd;
            else
                close(fd);
        }
    }
}

ssize_t passing_receive(int fd, void *p, size_t n, int fds[PASSING_MAX], size_t *n_fds) {
    union passing_room room;
    struct iovec v = {p, n};
    struct msghdr msg = {.msg_iov = &v,
                         .msg_iovlen = 1,
                         .msg_control = room.bytes,
                         .msg_controllen = sizeof room.bytes};
    ssize_t got;
    *n_fds = 0;
    do
        got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return got;
    take_fds(&msg, fds, n_fds);
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        while (*n_fds > 0)
            close(fds[--*n_fds]);
        errno = EMSGSIZE;
        return -1;
    }
    return got;
}

/* ---- Descriptors that were passed ---- */

bool passed_init(struct passed *p, int fd, bool writes) {
    struct stat st;
    int type = 0;
    socklen_t n = sizeof type;
    struct sockaddr_storage peer;
    socklen_t peer_n = sizeof peer;
    *p = (struct passed){.fd = -1};
    if (fstat(fd, &st) != 0)
        return false;
    bool is_socket = S_ISSOCK(st.st_mode);
    if (is_socket && (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_STREAM ||
                      getpeername(fd, (struct sockaddr *)&peer, &peer_n) != 0))
        return false;
    int flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE;
    if (!is_socket && (!S_ISFIFO(st.st_mode) || flags < 0 ||
                       (mode != O_RDWR && mode != (writes ? O_WRONLY : O_RDONLY))))
        return false;
    *p = (struct passed){fd, is_socket};
    return true;
}

/* Whether the description is non-blocking, so that a plain call does not wait. */
static bool may_call(const struct passed *p) {
    int flags = fcntl(p->fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK))
        return true;
    errno = EINVAL;
    return false;
}

ssize_t passed_read(const struct passed *p, void *to, size_t n) {
    ssize_t got;
    do {
        if (p->is_socket) {
            got = recv(p->fd, to, n, MSG_DONTWAIT);
            continue;
        }
#if defined(RWF_NOWAIT)
        struct iovec v = {to, n};
        got = preadv2(p->fd, &v, 1, -1, RWF_NOWAIT);
        if (got >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
            continue;
#endif
        got = may_call(p) ? read(p->fd, to, n) : -1;
    } while (got < 0 && errno == EINTR);
    return got;
}

ssize_t passed_write(const struct passed *p, const struct iovec *v, int n) {
    ssize_t sent;
    do {
        if (p->is_socket) {
            struct msghdr msg = {.msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n};
            sent = sendmsg(p->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
            continue;
        }
#if defined(RWF_NOWAIT)
        sent = pwritev2(p->fd, v, n, -1, RWF_NOWAIT);
        if (sent >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
            continue;
#endif
        sent = may_call(p) ? writev(p->fd, v, n) : -1;
    } while (sent < 0 && errno == EINTR);
    return sent;
}

int passing_open_again(int fd, bool for_writing) {
#if defined(__linux__)
    char path[64];
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    // Of a FIFO with a name that is opened without a writer, poll would never report the end.
    char name[8] = "";
    if (!for_writing &&
        (readlink(path, name, sizeof name - 1) < 0 || strncmp(name, "pipe:", 5) != 0))
        return -1;
    return open(path, (for_writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
#else
    (void)fd;
    (void)for_writing;
    return -1;
#endif
}
