/* Packets and descriptors between two processes over a Unix socket, and reading and writing without
 * waiting on descriptors that a stranger also holds.
 *
 * O_NONBLOCK belongs to the open file description, which is shared by all who hold it. So setting
 * it on a descriptor that was passed would change the sender's, and the sender can clear it. Where
 * the kernel can (Linux 6.4 and later, for pipes), each call itself says that it does not wait.
 * Elsewhere the sender must have set O_NONBLOCK, which is checked before each call.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_PASSING_H
#define WIRE_PASSING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { PASSING_MAX = 4 }; // descriptors with a packet

/* Sends the packet p [n] with fds [n_fds]; does not wait. False with errno set. */
bool passing_send(int fd, const void *p, size_t n, const int *fds, size_t n_fds);

/* Receives a packet into p [n] without waiting. Descriptors that came with it are fds [*n_fds],
 * which close on exec and are the caller's. Returns the packet's bytes; 0: the other side has left;
 * -1 with errno set (EAGAIN: there is none; EMSGSIZE: it was longer than n, or had more descriptors
 * than PASSING_MAX or than the process may open. Then none was received). */
ssize_t passing_receive(int fd, void *p, size_t n, int fds[PASSING_MAX], size_t *n_fds);

/* A descriptor that a stranger passed, as something to be read or written without waiting. */
struct passed {
    int fd; // -1: none
    bool is_socket;
};

/* Whether fd is a pipe that can be read (or written), or a connected socket of a stream. Others can
 * make a reader wait. */
bool passed_init(struct passed *p, int fd, bool writes);

/* read(2) and writev(2) that do not wait. errno is EAGAIN where they would. */
ssize_t passed_read(const struct passed *p, void *to, size_t n);
ssize_t passed_write(const struct passed *p, const struct iovec *v, int n);

/* A descriptor of the same pipe with a file description of our own, which does not wait. -1: fd is
 * no pipe, or a FIFO with a name that is to be read, or the system has no way. */
int passing_open_again(int fd, bool for_writing);

#endif
