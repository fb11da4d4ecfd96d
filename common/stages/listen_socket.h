/* The socket of a resident engine or of llm-serve, and messages to a service manager.
 *
 * The socket is made at a path, with mode 0600, or 0660 for a group. Its folder must not be
 * writable by others, unless it has the sticky bit. Or systemd has made the socket and passes it
 * (LISTEN_FDS: sd_listen_fds(3)). The program writes to
 * $NOTIFY_SOCKET when it is ready and when it stops (sd_notify(3)).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_LISTEN_SOCKET_H
#define STAGES_LISTEN_SOCKET_H

#include <stdbool.h>

#include "base/err.h"
#include "wire/cleaner.h"

struct listen_socket {
    int fd;     // does not wait; -1: none
    int notify; // $NOTIFY_SOCKET; -1: none
    struct cleaner cleaner;
};

/* type: SOCK_SEQPACKET for packets, SOCK_STREAM for bytes. path: where to listen; NULL: the service
 * manager has passed the socket. A socket that is there already is replaced if nobody listens on
 * it. Forks: call it before any thread is started. listen_socket_close is needed after -1 too:
 * EXIT_USAGE, no path and no socket; EXIT_SYSTEM. */
int listen_socket_open(struct listen_socket *s, const char *path, int type, bool group,
                       struct err *e);

/* Refuses connections from now on, and removes the socket if it was made here. */
void listen_socket_close(struct listen_socket *s);

/* Tells the service manager, "READY=1" or "STOPPING=1". */
void listen_socket_notify(const struct listen_socket *s, const char *state);

#endif
