/* Records that an earlier run has answered, for tok-encode --skip-done.
 *
 * The file has JSON lines, as tok-decode -j and llm-score -j write them. A line counts if its
 * answer is complete: its "finish" is eos, stop or length; or it has no "text" and no "error", as a
 * score. Records are the same if they have equal "custom_id", or equal "id" where they have no
 * custom_id. A record whose id comes twice needs two lines.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_DONE_H
#define STAGES_DONE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct done;

/* Reads the file; one that does not exist has no lines. A last line without a newline was cut: it
 * is ignored with a warning. NULL with e set: EXIT_DATA if a line is no JSON object, with its
 * number; EXIT_NO_INPUT or EXIT_IO if the file cannot be read. */
struct done *done_open(const char *path, struct err *e);
void done_free(struct done *d);

/* Whether a record, a JSON line, has an answer that no earlier call has counted. */
bool done_take(struct done *d, struct str record);

size_t done_lines(const struct done *d);      // lines whose answer is complete
size_t done_without_id(const struct done *d); // records that done_take saw without an id
#endif
