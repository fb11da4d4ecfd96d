/* Bytes of many sequences, written in the order of their numbers though they come mixed: those of
 * the first unfinished sequence go straight to the output, the others wait in a temporary file, so
 * that memory does not grow with them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_IN_ORDER_H
#define WIRE_IN_ORDER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct in_order;

/* out stays the caller's. path names the output: what waits lies, without a name, in its folder;
 * NULL: in $TMPDIR, else /tmp. Sequences are numbered from 0 without gaps; RETURN_FIRST_FORK and
 * higher ones come last. */
struct in_order *in_order_new(FILE *out, const char *path);
int in_order_write(struct in_order *o, uint32_t seq, const void *p, size_t n,
                   struct err *e);                                 // -1: EXIT_IO
int in_order_end(struct in_order *o, uint32_t seq, struct err *e); // nothing more comes of seq
int in_order_finish(struct in_order *o,
                    struct err *e); // nothing more comes at all: writes all that waits
void in_order_free(struct in_order *o);

#endif
