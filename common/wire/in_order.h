/* Bytes of many sequences, written in the order of the sequences' numbers, however they arrive.
 *
 * Bytes of the first unfinished sequence go straight to the output. Bytes of later ones wait in a
 * temporary file, so that memory does not grow with them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_IN_ORDER_H
#define WIRE_IN_ORDER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct in_order;

/* out stays the caller's. The temporary file is made in folder (NULL: $TMPDIR, else /tmp) and has
 * no name. Numbers begin at 0. Sequences that come after a gap in the numbers are written by
 * in_order_finish. */
struct in_order *in_order_new(FILE *out, const char *folder);

/* Appends p[0 .. n) to sequence seq. All three: -1 (EXIT_IO) if a write or the temporary file
 * fails. */
int in_order_write(struct in_order *o, uint32_t seq, const void *p, size_t n, struct err *e);
int in_order_end(struct in_order *o, uint32_t seq, struct err *e); // nothing more will come of seq
int in_order_finish(struct in_order *o, struct err *e); // nothing more will come: writes the rest
void in_order_free(struct in_order *o);

#endif
