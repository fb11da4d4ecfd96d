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

/* connect(2). Where it is refused it is tried some more times, for 60 ms: the file of a socket is
 * there a moment before its program listens. */
int peer_connect(int fd, const struct sockaddr_un *sa);

/* The user of the peer of a connected socket. False where the system cannot tell. */
bool peer_user(int fd, uid_t *user);
/* Whether that is our own user. True where the system cannot tell: folders have to suffice. */
bool peer_is_own_user(int fd);

#endif
