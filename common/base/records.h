/* Reads records from a descriptor: the whole input, its lines, or parts that end with NUL bytes.
 * Memory use is that of the longest record.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_RECORDS_H
#define BASE_RECORDS_H

#include "base/err.h"
#include "base/mem.h"

enum records_kind {
    RECORDS_WHOLE, // the whole input is one record, even if empty
    RECORDS_LINES, // '\n' ends a record, and the last one may lack it
    RECORDS_NUL,   // the same with a NUL byte
};

struct records; // owns its buffer, not the fd

/* name is for messages. A record longer than max bytes is an error. */
struct records *records_new(int fd, const char *name, enum records_kind kind, size_t max);
void records_free(struct records *r);

/* 1 with the next record, without its terminator, valid until the next call; 0 after the last; -1
 * with e set: EXIT_DATA if it is too long, EXIT_IO if reading fails. */
int records_next(struct records *r, struct str *record, struct err *e);

/* Whether the record that was returned last had no terminator. */
bool records_cut(const struct records *r);

/* Whether the next record can be returned without reading from the descriptor. */
bool records_pending(const struct records *r);
/* Reads once, and waits if no input is there. -1 with e set. */
int records_fill(struct records *r, struct err *e);

#endif
