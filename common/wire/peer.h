/* Unix sockets: their flags, their addresses, and the user on the other side.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_PEER_H
#define WIRE_PEER_H

#include <stdbool.h>
#include <sys/types.h>

struct sockaddr_un;

/* The descriptor closes on exec, and waits or not. -1 with errno set. */
int peer_set_flags(int fd, bool nonblocking);
int peer_address(struct sockaddr_un *sa, const char *path); // -1: the path is too long

/* connect(2), tried for 60 ms where it is refused: the file of a socket is there a moment before
 * its program listens. restarts: a program that has ended may be about to listen again. Then it is
 * tried for 2 s, also where the file is missing. 0, or -1 with errno set. */
int peer_connect(int fd, const struct sockaddr_un *sa, bool restarts);

/* The user of the peer of a connected socket. False where the system cannot tell. */
bool peer_user(int fd, uid_t *user);
/* Whether that is our own user. True where the system cannot tell: folders have to suffice. */
bool peer_is_own_user(int fd);

#endif
