/* Lists of content hashes: the BLAKE2b-256 of each whole file and of each tensor's bytes, in the
 * format of b2sum.
 *
 *     HEX  model.safetensors                  the whole file, as `b2sum -l 256` prints it
 *     HEX  model.safetensors:lm_head.weight   the bytes of one tensor
 *
 * Files are named without their folder. Empty lines and lines that begin with '#' are skipped. A
 * list must have every file, because only its hash covers names, shapes, dtypes and metadata. It
 * may have no tensors of a file, or all of them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_HASHLIST_H
#define WEIGHTS_HASHLIST_H

#include <stddef.h>

#include "base/err.h"
#include "base/hash.h"
#include "weights/safetensors.h"

/* One thing with a hash: file number `file`, or a tensor in it. */
struct hashlist_item {
    const char *label;           // as in the list; owned by the set
    const struct tensor *tensor; // NULL: the whole file
    size_t file;
    struct hash hash; // once computed
};

/* All items of weights opened by weights_open, ordered by file; a file comes before its tensors. w
 * must outlive the set. */
struct hashlist_set {
    struct hashlist_item *items;
    size_t n;
    struct arena labels;
};
/* Refuses names of files that are not UTF-8 or have control characters. */
int hashlist_set_new(struct hashlist_set *s, const struct weights *w, struct err *e);
void hashlist_set_free(struct hashlist_set *s);

/* Computes all hashes on n_threads threads, with a progress line on a terminal. done (or NULL) is
 * called for each item, in order. */
typedef void hashlist_done(void *arg, const struct hashlist_item *item);
int hashlist_set_compute(struct hashlist_set *s, const struct weights *w, size_t n_threads,
                         hashlist_done *done, void *arg, struct err *e);

enum hashlist_verdict { HASH_SAME, HASH_DIFFERS, HASH_MISSING, HASH_NEW };

/* Called for each line of the list, and for each item that is missing from it. */
typedef void hashlist_report(void *arg, enum hashlist_verdict v, const char *label);

/* Compares the weights with the list at list_path. 0 if every line matches and nothing is new; else
 * -1 with e set: EXIT_SOME_FAILED if contents differ (the message has their number and the first),
 * EXIT_DATA for a malformed list. report may be NULL. Reads all bytes of the items in the list. */
int hashlist_verify(const struct weights *w, const char *list_path, size_t n_threads,
                    hashlist_report *report, void *arg, struct err *e);

#endif
