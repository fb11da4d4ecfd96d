/* Shared by the files of the return path: the layout of its messages. Only return_*.c include
 * this.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_RETURN_PRIVATE_H
#define WIRE_RETURN_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/cleaner.h"
#include "wire/peer.h"
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

#endif
