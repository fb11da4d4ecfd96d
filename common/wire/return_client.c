/* The return path's client, in samplers: see return.h; the messages' bytes are in logits(5).
 *
 * While the server writes logits it does not read requests. A client that waited for room in the
 * socket while the stream is full would wait for ever. So requests are queued here, and return_send
 * stops waiting as soon as the stream has something to read.
 *
 * A stream header can come from a stranger. The client connects only to a socket of the name and in
 * a folder of the kind that return_listen makes, owned by its own user.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/return.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/bytes.h"
#include "wire/return_private.h"

struct return_client {
    int fd, stdin_fd;
    struct buf out; // requests; out.p[sent .. out.n) is not sent yet
    size_t sent;
};

/* Whether return_listen could have made it: PLACE/tokpipe-XXXXXX/return, in a folder of our own
 * that is closed to others. A recorded stream must not be able to name another program's socket. */
static bool trusted_address(const char *path) {
    const char *name = strrchr(path, '/');
    if (path[0] != '/' || !name || strcmp(name, "/" RETURN_SOCKET_NAME) != 0)
        return false;
    char *folder = xstrndup(path, (size_t)(name - path));
    const char *base = strrchr(folder, '/');
    struct stat st;
    bool ok = base && strncmp(base + 1, RETURN_FOLDER_PREFIX, strlen(RETURN_FOLDER_PREFIX)) == 0 &&
              lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
              (st.st_mode & 077) == 0;
    free(folder);
    return ok;
}

/* Refuses because nobody answers: EXIT_NO_INPUT. If errno says that the system failed, the server
 * may be there and wait: EXIT_SYSTEM. Returns -1. */
static int refuse(const struct logits_header *h, struct err *e) {
    bool gone = errno == 0 || errno == ENOENT || errno == ENOTDIR || errno == EACCES ||
                errno == ECONNREFUSED || errno == EPIPE || errno == ECONNRESET;
    return gone ? err_set(e, EXIT_NO_INPUT, "the return path is gone: %s", h->address)
                : err_errno(e, EXIT_SYSTEM, "cannot use the return path %s", h->address);
}

/* Connects and says hello. Returns the descriptor, or -1. */
static int call(const struct logits_header *h, int stdin_fd, bool takes, struct err *e) {
    struct sockaddr_un sa;
    struct stat st = {0};
    uint8_t hello[HELLO_BYTES] = {0};
    if (!h->address[0])
        return err_set(e, EXIT_NO_INPUT, "the stream has no return path");
    errno = 0;
    if (!trusted_address(h->address))
        return refuse(h, e);
    if (peer_address(&sa, h->address) != 0)
        return err_set(e, EXIT_NO_INPUT, "the return path is gone: %s", h->address);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || peer_set_flags(fd, false) != 0) {
        err_errno(e, EXIT_SYSTEM, "no socket for the return path");
        goto fail;
    }
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        refuse(h, e);
        goto fail;
    }
    if (!peer_is_own_user(fd)) {
        err_set(e, EXIT_NO_INPUT, "the return path belongs to another user: %s", h->address);
        goto fail;
    }
    memcpy(hello, RETURN_HELLO_MAGIC, HELLO_NONCE);
    memcpy(hello + HELLO_NONCE, h->nonce, sizeof h->nonce);
    put_u32(hello + HELLO_TAKES, takes);
    if (fstat(stdin_fd, &st) == 0) {
        put_u64(hello + HELLO_DEV, (uint64_t)st.st_dev);
        put_u64(hello + HELLO_INO, (uint64_t)st.st_ino);
    }
    // A new socket has room for all of it.
    if (send(fd, hello, sizeof hello, MSG_NOSIGNAL) != (ssize_t)sizeof hello) {
        refuse(h, e);
        goto fail;
    }
    return fd;
fail:
    if (fd >= 0)
        close(fd);
    return -1;
}

struct return_client *return_client_of(int peer, int stdin_fd) {
    struct return_client *c = xcalloc(1, sizeof *c);
    c->fd = peer;
    c->stdin_fd = stdin_fd;
    return c;
}

struct return_client *return_connect(const struct logits_header *h, int stdin_fd, struct err *e) {
    int fd = call(h, stdin_fd, true, e);
    return fd < 0 ? NULL : return_client_of(fd, stdin_fd);
}

void return_decline(const struct logits_header *h, int stdin_fd) {
    int fd = call(h, stdin_fd, false, NULL);
    if (fd >= 0)
        close(fd);
}

void return_client_free(struct return_client *c) {
    if (!c)
        return;
    close(c->fd);
    buf_free(&c->out);
    free(c);
}

/* Sends as much as the socket takes without waiting. */
static int send_some(struct return_client *c, struct err *e) {
    while (c->sent < c->out.n) {
        ssize_t n =
            send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        else if (errno != EINTR)
            return err_errno(e, EXIT_IO, "llm-forward is gone: return path");
    }
    buf_clear(&c->out);
    c->sent = 0;
    return 0;
}

int return_flush(struct return_client *c, struct err *e) {
    for (;;) {
        if (send_some(c, e) != 0)
            return -1;
        if (c->out.n == 0)
            return 0;
        struct pollfd p[2] = {{.fd = c->fd, .events = POLLOUT},
                              {.fd = c->stdin_fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return err_errno(e, EXIT_SYSTEM, "cannot poll the return path");
        if (p[1].revents)
            return 0;
    }
}

int return_send(struct return_client *c, const struct request *r, struct err *e) {
    if (return_message_put(&c->out, r, e) != 0)
        return -1;
    return return_flush(c, e);
}
