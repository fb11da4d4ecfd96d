/* Lists of content hashes: BLAKE2b-256 of each whole file and of each tensor's bytes, in lines like
 * b2sum's.
 *
 *     HEX  model.safetensors                  the file, header and all: what `b2sum -l 256` prints
 * in its folder HEX  model.safetensors:lm_head.weight   the bytes of one tensor
 *
 * Files are named without their folder. Empty lines and lines that begin with '#' are skipped. A
 * list may leave out the tensors of a file altogether, never the file: only its hash covers names,
 * shapes, dtypes and metadata.
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

/* Every item of weights that weights_open opened, ordered by file; a file stands before its
 * tensors. w must outlive the set. */
struct hashlist_set {
    struct hashlist_item *items;
    size_t n;
    struct arena labels;
};
int hashlist_set_new(struct hashlist_set *s, const struct weights *w,
                     struct err *e); // refuses file names that break lines
void hashlist_set_free(struct hashlist_set *s);

/* Computes all hashes on n_threads threads, with a progress line on a terminal. done (or NULL) is
 * called in order, as items become known. */
typedef void hashlist_done(void *arg, const struct hashlist_item *item);
int hashlist_set_compute(struct hashlist_set *s, const struct weights *w, size_t n_threads,
                         hashlist_done *done, void *arg, struct err *e);

enum hashlist_verdict { HASH_SAME, HASH_DIFFERS, HASH_MISSING, HASH_NEW };

/* Called for each line of the list and each item that the list lacks. */
typedef void hashlist_report(void *arg, enum hashlist_verdict v, const char *label);

/* Compares the weights with the list at list_path. 0 where every line holds and nothing is new;
 * else -1 with e set: EXIT_SOME_FAILED where contents differ (the message counts, and names the
 * first), EXIT_DATA for a list that cannot be read as one. report may be NULL. Reads every byte of
 * the weights that the list speaks of. */
int hashlist_verify(const struct weights *w, const char *list_path, size_t n_threads,
                    hashlist_report *report, void *arg, struct err *e);

#endif
