/* Adds records to an index, and removes some. The file is written beside the old one and renamed.
 *
 * Records are staged in two temporary files, and which record has an id is in a third (ids.h): own
 * memory does not grow with the index.
 * index_commit copies what stays of the old file, adds what is staged, and opens the new file:
 *
 *     index_writer_open, index_add ..., index_commit, index_add ..., index_commit, close
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef INDEX_WRITER_H
#define INDEX_WRITER_H

#include "index/index.h"

struct index_writer;

enum index_added { INDEX_NEW, INDEX_REPLACED, INDEX_SAME };

/* Opens the index at path, or prepares for a new one. info: dim, metric, model and tokenizer of
 * the vectors that come, which must be those of the index; a tokenizer of 0 is any. store 0: that
 * of the index, INDEX_F32 for a new one. NULL with e set: EXIT_DATA if they differ. */
struct index_writer *index_writer_open(const char *path, const struct index_info *info,
                                       struct err *e);
/* The same for an index that must exist, whatever it holds: to remove records. */
struct index_writer *index_writer_open_old(const char *path, struct err *e);
void index_writer_close(struct index_writer *w); // what was not committed is lost

/* One record to add. Texts are valid UTF-8; id is not empty, and has no newline. */
struct index_item {
    const float *values; // [dim], finite
    struct str id, attrs, text;
};

/* Adds a record in place of one with the same id. One that is the same in everything is not
 * written again: an empty text is the same as any. *added says which. -1 with e set: EXIT_DATA if
 * a part is too long, or the index is damaged; EXIT_IO. */
int index_add(struct index_writer *w, const struct index_item *item, enum index_added *added,
              struct err *e);

/* Removes the records for which keep() is false, at the next commit. Returns how many in *n. */
int index_prune(struct index_writer *w, bool (*keep)(void *ctx, struct str id), void *ctx,
                size_t *n, struct err *e);

size_t index_staged(const struct index_writer *w); // records added since the last commit
/* Writes the index with what was added and without what was removed. EXIT_DATA if another program
 * has changed the index since it was opened. Nothing to do if nothing has changed. */
int index_commit(struct index_writer *w, struct err *e);
size_t index_count(const struct index_writer *w); // records of the index after the last commit

#endif
