/* The texts of records, from a file of JSON lines, by their ids: for vec-index and vec-search,
 * whose vectors(5) have no texts.
 *
 * An id is compared as it is written in an attribute: 7 and "7" differ. The file is mapped, so that
 * memory is some tens of bytes a line.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_TEXTS_H
#define STAGES_TEXTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct texts;

/* Reads the ids of all lines. NULL with e set: EXIT_NO_INPUT, or EXIT_DATA if a line is no JSON
 * object or an id comes twice, with the line's number. A line without an id is ignored. */
struct texts *texts_open(const char *path, struct err *e);
void texts_free(struct texts *t);

bool texts_have(const struct texts *t, struct str id);
/* The text of the record with this id, into out. False if there is none. */
bool texts_find(const struct texts *t, struct str id, struct buf *out);

/* The id in a record's attributes: custom_id, else id. False if it has neither, or if it is empty
 * or has a newline. */
bool texts_id(struct str attrs, struct buf *out);

/* What vec-index needs of a JSON record: its id as in an attribute, and its text. -1 with e set if
 * it is no JSON object; both are empty where they are missing. */
int texts_read(struct str record, struct buf *id, struct buf *text, struct err *e);

#endif
