/* Frames out: see output.h.
 *
 * The descriptor itself is not made non-blocking, because others may share it (a shell's 2>&1). On
 * Linux a pipe is opened once more through /proc, which gives a file description of our own. A
 * socket is written with MSG_DONTWAIT. On other systems writes wait, and a peer's requests must be
 * short enough for the socket's buffer. Where the descriptor was passed, passing.h writes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // F_SETPIPE_SZ
#endif
#include "stages/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/progress.h"

enum {
    MAX_FRAMES = 64, // gathered before they are sent
    MAX_PIECES = 4 * MAX_FRAMES,
    PIPE_BYTES = 1 << 20, // the most that an unprivileged process may ask for on Linux
};

struct output {
    int fd, own_fd; // own_fd: fd opened again, non-blocking; -1: none
    bool is_socket, left;
    bool queues;          // never waits
    struct passed passed; // where it queues
    struct buf queue;     // queue.p[written .. queue.n) is to be written
    size_t written;
    const struct logits_header *header;
    struct return_server *ret;
    uint8_t heads[MAX_FRAMES][LOGITS_FRAME_BYTES];
    struct iovec pieces[MAX_PIECES];
    int n_frames, n_pieces;
    double seconds;
    uint64_t bytes;
};

static int open_again(int fd) {
#if defined(__linux__)
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
#else
    (void)fd;
    return -1;
#endif
}

struct output *output_new(int fd, const struct logits_header *h, struct return_server *ret) {
    struct output *o = xcalloc(1, sizeof *o);
    struct stat st = {0};
    fstat(fd, &st);
    o->fd = fd;
    o->own_fd = -1;
    o->is_socket = S_ISSOCK(st.st_mode);
    o->header = h;
    o->ret = ret;
    if (S_ISFIFO(st.st_mode)) {
#if defined(F_SETPIPE_SZ)
        fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); // a row of 50,000 logits is three times the default
#endif
        if (ret)
            o->own_fd = open_again(fd);
    }
    return o;
}

struct output *output_new_passed(const struct passed *to, const struct logits_header *h) {
    struct output *o = xcalloc(1, sizeof *o);
    o->fd = to->fd;
    o->own_fd = -1;
    o->header = h;
    o->queues = true;
    o->passed = *to;
    return o;
}

bool output_waits(const struct output *o) {
    return o->written < o->queue.n;
}

void output_free(struct output *o) {
    if (!o)
        return;
    buf_free(&o->queue);
    if (o->own_fd >= 0)
        close(o->own_fd);
    free(o);
}

int output_fd(const struct output *o) {
    return o->fd;
}

bool output_left(const struct output *o) {
    return o->left;
}

int output_set_left(struct output *o, struct err *e) {
    o->left = true;
    return err_set(e, EXIT_IO, "the reader of stdout has left");
}

double output_seconds(const struct output *o) {
    return o->seconds;
}

uint64_t output_bytes(const struct output *o) {
    return o->bytes;
}

static ssize_t send_some(struct output *o, struct iovec *v, int n) {
    if (o->queues)
        return passed_write(&o->passed, v, n);
#if defined(MSG_DONTWAIT)
    if (o->is_socket && o->ret) {
        struct msghdr msg = {.msg_iov = v, .msg_iovlen = (size_t)n};
        return sendmsg(o->fd, &msg, MSG_DONTWAIT);
    }
#endif
    return writev(o->own_fd >= 0 ? o->own_fd : o->fd, v, n);
}

/* Waits until some bytes can be written, and reads requests at the same time. */
static int wait_writable(struct output *o, struct err *e) {
    struct pollfd fds[2] = {{.fd = o->fd, .events = POLLOUT}, {.fd = -1, .events = POLLIN}};
    if (o->ret)
        fds[1].fd = return_poll_fd(o->ret);
    if (poll(fds, 2, o->ret ? return_timeout_ms(o->ret) : -1) < 0 && errno != EINTR)
        return err_errno(e, EXIT_SYSTEM, "cannot poll");
    return o->ret ? return_serve(o->ret, e) : 0;
}

/* Copies pieces that cannot be written yet. */
static void queue(struct output *o, const struct iovec *v, int n) {
    for (int i = 0; i < n; i++)
        buf_add(&o->queue, v[i].iov_base, v[i].iov_len);
}

static int send_all(struct output *o, struct iovec *v, int n, struct err *e) {
    while (n > 0) {
        ssize_t sent = send_some(o, v, n);
        if (sent < 0 && errno == EPIPE)
            return output_set_left(o, e);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && o->queues) {
            queue(o, v, n);
            return 0;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (wait_writable(o, e) != 0)
                return -1;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return err_errno(e, EXIT_IO, "cannot write to stdout");
        o->bytes += (uint64_t)sent;
        size_t left = (size_t)sent;
        for (; n > 0 && left >= v->iov_len; v++, n--)
            left -= v->iov_len;
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + left;
            v->iov_len -= left;
        }
    }
    return 0;
}

/* Writes as much of the queue as goes. */
static int send_queue(struct output *o, struct err *e) {
    while (output_waits(o)) {
        struct iovec v = {o->queue.p + o->written, o->queue.n - o->written};
        ssize_t sent = send_some(o, &v, 1);
        if (sent < 0 && errno == EPIPE)
            return output_set_left(o, e);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (sent < 0)
            return err_errno(e, EXIT_IO, "cannot write to stdout");
        o->written += (size_t)sent;
        o->bytes += (uint64_t)sent;
    }
    buf_free(&o->queue); // it may have been large
    o->written = 0;
    return 0;
}

int output_flush(struct output *o, struct err *e) {
    if (o->n_pieces == 0 && !output_waits(o))
        return 0;
    double start = seconds_now();
    int rc = output_waits(o) ? send_queue(o, e) : 0;
    if (rc == 0 && output_waits(o))
        queue(o, o->pieces, o->n_pieces);
    else if (rc == 0)
        rc = send_all(o, o->pieces, o->n_pieces, e);
    o->n_frames = o->n_pieces = 0;
    o->seconds += seconds_now() - start;
    return rc;
}

int output_add(struct output *o, const struct frame *f, struct err *e) {
    if (o->n_frames == MAX_FRAMES && output_flush(o, e) != 0)
        return -1;
    int n = logits_frame_pieces(o->header, f, o->heads[o->n_frames], o->pieces + o->n_pieces, e);
    if (n < 0)
        return -1;
    o->n_frames++;
    o->n_pieces += n;
    return 0;
}

int output_header(struct output *o, struct err *e) {
    if (o->queues)
        return logits_put_header(&o->queue, o->header, e) != 0 ? -1 : send_queue(o, e);
    errno = 0;
    if (logits_write_header(o->fd, o->header, e) == 0)
        return 0;
    return errno == EPIPE ? output_set_left(o, e) : err_where(e, "stdout");
}
