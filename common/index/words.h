/* The words of a text, as a record of an index stores them for BM25.
 *
 * A word is a run of letters, digits and underscores, of any script, in lower case. Each different
 * word is one number: 48 bits of a hash of it, then the count in 16 bits. So a record's words are
 * a sorted array, and a look-up is a binary search.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef INDEX_WORDS_H
#define INDEX_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum { WORDS_MOST_COUNT = 65535 };

struct words {
    uint64_t *at; // [n], ascending: hash << 16 | count
    size_t n, cap;
    size_t length; // words, with repetitions
};

/* Replaces w's content by the words of text, valid UTF-8. */
void words_read(struct words *w, struct str text);
void words_free(struct words *w);

/* The count of the word with this hash among n words at p, little-endian; 0: it is not there. */
uint32_t words_count(const unsigned char *p, size_t n, uint64_t hash);

#endif
