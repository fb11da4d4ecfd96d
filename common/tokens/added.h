/* Added tokens: texts that become one id each before the model sees them, for example "<|im_end|>".
 *
 * There are two sets. One matches the input as it was written. The other, of "normalized" tokens,
 * matches the text after the normalizers. A search finds the leftmost match, and of several there
 * the longest. Each set is a byte trie.
 *
 * A token whose pattern is empty after normalization matches between any two characters, as in the
 * reference. It cuts the text there and covers only the white space that it strips.
 *
 * A chat can trust part of its text only. Added tokens then match in the trusted part, so that a
 * user cannot write "<|im_end|>" into a conversation.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_ADDED_H
#define TOKENS_ADDED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

struct added_token {
    struct str content; // as the file writes it
    struct str pattern; // what the search looks for: content, or normalized content
    struct str text;    // what decoding passes to the decoder
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool gone;  // a later token took its id: it no longer matches
    bool plain; // also matches in text that is untrusted as a whole
};

/* A set of patterns to search for: a byte trie in one array. */
struct added_node {
    // Index of the first child. The children of a node are adjacent and ordered by byte.
    uint32_t first;
    // Index of the token that ends here, or NO_ID.
    uint32_t token;
    uint16_t n_children;
    unsigned char byte;
};

struct added_set {
    struct added_node *nodes; // nodes[0] is the root; NULL if the set is empty
    uint32_t n_nodes;
    uint32_t empty;   // index of the token with an empty pattern, or NO_ID
    bool starts[256]; // bytes that begin a pattern
    int only_start;   // the one byte that begins every pattern, or -1
};

struct added {
    struct added_token *tokens; // [n]
    size_t n, cap;
    struct added_set plain, normalized;
};

/* Builds both sets from a->tokens. */
void added_build(struct added *a);
void added_free(struct added *a);

/* Whether foreign text must not become this token: it is neither `plain` nor white space that is
 * not special. */
bool added_is_control(const struct added_token *t);

struct added_match {
    const struct added_token *token;
    // The range includes the white space that lstrip and rstrip take. start == end: the text is
    // only cut there.
    size_t start, end;
    size_t from; // the unmatched text before the match begins here
};

/* Walks over the matches in text, as the reference does. If `allowed` is not NULL, a match must
 * have only bytes with allowed[i] nonzero. There are two exceptions: white space that is not
 * special matches everywhere, and a `plain` token also matches where all of its bytes are not
 * allowed. */
struct added_iter {
    const struct added *a;
    const struct added_set *set;
    struct str text;
    const uint8_t *allowed; // [text.n]
    bool split_special;     // every token that is not special is `plain`
    size_t at;              // the search continues here
    size_t covered;         // end of the last match
    bool after_match;       // `at` is the end of a match that is not empty
    uint64_t steps;         // bytes that were compared where no match began
    bool too_slow;          // the search ended because they are more than ADDED_STEPS a byte
};
enum { ADDED_STEPS = 256 };
struct added_iter added_begin(const struct added *a, bool normalized, struct str text,
                              const uint8_t *allowed);
bool added_next(struct added_iter *it, struct added_match *m); // false after the last, or too_slow

#endif
