/* Shared by the files of the return path: the layout of its messages, sockets, the cleaner. Only
 * return_*.c include this.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_RETURN_PRIVATE_H
#define WIRE_RETURN_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/return.h"

/* The hello, the client's first message: magic, nonce, takes (1 takes the path, 0 declines it), and
 * the device and inode of the client's stdin. */
#define RETURN_HELLO_MAGIC "LLM-RET1"
enum {
    HELLO_MAGIC = 0,
    HELLO_NONCE = 8,
    HELLO_TAKES = 24,
    HELLO_DEV = 32,
    HELLO_INO = 40,
    HELLO_BYTES = 48
};

/* Requests. p is a header of RETURN_MESSAGE_HEADER bytes, at a multiple of 4 bytes. */
enum { RETURN_MESSAGE_HEADER = 32 };
/* *size gets the bytes of header and ids. -1 (EXIT_DATA) if the header is malformed. */
int return_message_check(const uint8_t *p, size_t *size, struct err *e);
/* Reads a complete and checked request; r->ids point into it. Returns its size. */
size_t return_message_get(const uint8_t *p, struct request *r);
/* Appends a request. -1 (EXIT_BUG) for one that return_message_check would refuse by its type or
 * number of ids. */
int return_message_put(struct buf *out, const struct request *r, struct err *e);

/* The server's socket is PLACE/tokpipe-XXXXXX/return. */
#define RETURN_FOLDER_PREFIX "tokpipe-"
#define RETURN_SOCKET_NAME   "return"

struct sockaddr_un;

/* The descriptor closes on exec, and waits or not. -1 with errno set. */
int return_set_flags(int fd, bool nonblocking);
int return_socket_address(struct sockaddr_un *sa, const char *path); // -1: the path is too long
bool return_same_user(int fd); // the peer of a connected socket runs as our own user

/* The child process that removes socket and folder when the server is gone, or cannot do it. */
struct return_cleaner {
    pid_t pid; // -1: none
    int to;    // our end of the pair of sockets; -1: none
};

/* Forks: call it before any thread is started. -1 with e set (EXIT_SYSTEM): there may be a part to
 * stop, but no child. */
int return_cleaner_start(struct return_cleaner *c, struct err *e);
/* Tells the child which folder it is to remove, with its socket, in place of the one before. Call
 * it before the folder is made. "": none. Shorter than LOGITS_ADDRESS_BYTES. */
int return_cleaner_watch(const struct return_cleaner *c, const char *folder, struct err *e);
/* The child removes what is still there of both, ends, and is waited for. Does nothing a second
 * time. */
void return_cleaner_stop(struct return_cleaner *c);

#endif
