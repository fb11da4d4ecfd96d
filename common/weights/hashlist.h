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
struct hash_item {
    const char *label;           // as in the list; owned by the set
    const struct tensor *tensor; // NULL: the whole file
    size_t file;
    struct hash hash; // once computed
};

/* Every item of weights that weights_open opened, ordered by file; a file stands before its
 * tensors. w must outlive the set. */
struct hash_set {
    struct hash_item *items;
    size_t n;
    struct arena labels;
};
int hash_set_new(struct hash_set *s, const struct weights *w,
                 struct err *e); // refuses file names that break lines
void hash_set_free(struct hash_set *s);

/* Computes all hashes on n_threads threads, with a progress line on a terminal. done (or NULL) is
 * called in order, as items become known. */
typedef void hash_done(void *arg, const struct hash_item *item);
int hash_set_compute(struct hash_set *s, const struct weights *w, size_t n_threads, hash_done *done,
                     void *arg, struct err *e);

enum hash_verdict { HASH_SAME, HASH_DIFFERS, HASH_MISSING, HASH_NEW };

/* Called for each line of the list and each item that the list lacks. */
typedef void hash_report(void *arg, enum hash_verdict v, const char *label);

/* Compares the weights with the list at list_path. 0 where every line holds and nothing is new;
 * else -1 with e set: EXIT_SOME_FAILED where contents differ (the message counts, and names the
 * first), EXIT_DATA for a list that cannot be read as one. report may be NULL. Reads every byte of
 * the weights that the list speaks of. */
int hashlist_verify(const struct weights *w, const char *list_path, size_t n_threads,
                    hash_report *report, void *arg, struct err *e);

#endif
