/* Records from a descriptor: all of it, its lines, or what NUL bytes end. Memory is that of the
 * longest record.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_RECORDS_H
#define BASE_RECORDS_H

#include "base/err.h"
#include "base/mem.h"

enum records_kind {
    RECORDS_WHOLE, // everything is one record, also nothing
    RECORDS_LINES, // '\n' ends a record, and the last one may lack it
    RECORDS_NUL,   // the same with a NUL byte
};

struct records; // owns its buffer, not the fd

/* name is for messages. A record longer than max bytes is an error. */
struct records *records_new(int fd, const char *name, enum records_kind kind, size_t max);
void records_free(struct records *r);

/* 1 with the next record, without what ends it, good until the next call; 0 behind the last; -1
 * with e set: EXIT_DATA for one that is too long, EXIT_IO where reading fails. */
int records_next(struct records *r, struct str *record, struct err *e);

/* Whether the next record can be had without reading from the descriptor. */
bool records_pending(const struct records *r);
/* Reads once, which waits where nothing has come. -1 with e set. */
int records_fill(struct records *r, struct err *e);

#endif
