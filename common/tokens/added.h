/* Added tokens: texts that are found before everything else and become one id, whatever the model
 * would do.
 *
 * Two sets are searched: tokens that match the input as it was written, and "normalized" ones that
 * match it behind the normalizer, each for the leftmost match, and of those the longest. A token
 * that normalizing leaves nothing of matches between any two characters, as in the reference: it
 * cuts the text there, and stands for the space that it strips.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_ADDED_H
#define TOKENS_ADDED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

struct added_token {
    struct str content; // as in the file
    struct str pattern; // what is looked for: content, or normalized content
    struct str text;    // what decoding gives to the decoder
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool gone;  // a later token took its id: it is not looked for
    bool plain; // found in foreign text too, where all of it is foreign
};

/* A set of patterns to look for: a byte trie whose nodes lie in one array. */
struct trie_node {
    uint32_t
        first; // index of the first child; children of a node lie side by side, ordered by byte
    uint32_t token; // index of the token that ends here, NO_ID for none
    uint16_t n_children;
    unsigned char byte;
};

struct added_set {
    struct trie_node *nodes; // nodes[0] is the root; NULL where the set is empty
    uint32_t n_nodes;
    uint32_t empty;   // index of the token whose pattern is nothing, NO_ID for none
    bool starts[256]; // bytes that begin a pattern
    int only_start;   // the one byte that begins every pattern, or -1
};

struct added {
    struct added_token *tokens; // [n]
    size_t n;
    struct added_set plain, normalized;
};

/* Builds both sets from a->tokens. */
void added_build(struct added *a);
void added_free(struct added *a);

struct added_match {
    const struct added_token *token;
    size_t start, end; // with the space that lstrip and rstrip take; where they are equal, the text
                       // is only cut there
    size_t from;       // the text before it that is in no match begins here
};

/* Walks the matches in text as the reference does. `allowed` may be NULL; otherwise only bytes for
 * which it is nonzero can be part of a match, but for tokens that are not special and nothing but
 * white space, and for `plain` ones, of whose bytes none is then. */
struct added_iter {
    const struct added *a;
    const struct added_set *set;
    struct str text;
    const uint8_t *allowed; // [text.n]
    size_t at;              // the search goes on here
    size_t covered;         // end of the last match given out
    bool behind;            // `at` is the end of a match of more than nothing
};
struct added_iter added_begin(const struct added *a, bool normalized, struct str text,
                              const uint8_t *allowed);
bool added_next(struct added_iter *it, struct added_match *m);

#endif
