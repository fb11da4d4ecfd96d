/* Lists of content hashes: the BLAKE2b-256 of each whole file and of each tensor's bytes, in the
 * format of b2sum.
 *
 *     HEX  model.safetensors                  the whole file, as `b2sum -l 256` prints it
 *     HEX  model.safetensors:lm_head.weight   the bytes of one tensor
 *     HEX  config.json                        another file of the model's folder
 *
 * Files are named without their folder. Empty lines and lines that begin with '#' are skipped. A
 * list must have every file of weights, because only its hash covers names, shapes, dtypes and
 * metadata. It may have no tensors of a file, or all of them. It may also have none of the other
 * files that programs read (configurations, tokenizer, templates), or all that the folder has.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_HASHLIST_H
#define WEIGHTS_HASHLIST_H

#include <stddef.h>

#include "base/err.h"
#include "base/hash.h"
#include "weights/safetensors.h"

/* One thing with a hash: a file, or a tensor in it. */
struct hashlist_item {
    const char *label; // as in the list; owned by the set
    struct str bytes;
    size_t file;      // its number in the weights; w->n_files: another file of the folder
    bool part;        // a tensor of the file
    struct hash hash; // once computed
};

/* All items of weights opened by weights_open, ordered by file; a file comes before its tensors.
 * Where `folder` is not NULL, the other files that programs read from it come first. w must outlive
 * the set. */
struct hashlist_set {
    struct hashlist_item *items;
    size_t n;
    struct map *maps; // [n_maps] of other files
    size_t n_maps;
    struct arena labels;
};
/* Refuses names of files that are not UTF-8 or have control characters, and files of the folder
 * that cannot be read. The set must be freed also then. */
int hashlist_set_new(struct hashlist_set *s, const struct weights *w, const char *folder,
                     struct err *e);
void hashlist_set_free(struct hashlist_set *s);

/* Computes all hashes on n_threads threads, with a progress line on a terminal. done (or NULL) is
 * called for each item, in order. */
typedef void hashlist_done(void *arg, const struct hashlist_item *item);
int hashlist_set_compute(struct hashlist_set *s, size_t n_threads, hashlist_done *done, void *arg,
                         struct err *e);

enum hashlist_verdict { HASH_SAME, HASH_DIFFERS, HASH_MISSING, HASH_NEW };

/* Called for each line of the list, and for each item that is missing from it. */
typedef void hashlist_report(void *arg, enum hashlist_verdict v, const char *label);

/* Compares the weights, and the other files of the folder (NULL: none) if the list has one of them,
 * with the list at list_path. 0 if every line matches and nothing is new; else
 * -1 with e set: EXIT_SOME_FAILED if contents differ (the message has their number and the first),
 * EXIT_DATA for a malformed list. report may be NULL. Reads all bytes of the items in the list. */
int hashlist_verify(const struct weights *w, const char *folder, const char *list_path,
                    size_t n_threads, hashlist_report *report, void *arg, struct err *e);

/* The same for a program that does not read weights: compares only the folder's other files, and
 * refuses (EXIT_DATA) a list that has none of them. */
int hashlist_verify_folder(const char *folder, const char *list_path, struct err *e);

#endif
