/* Text on its way through the steps: a piece of it, and a rewriter that keeps track of where each
 * byte came from.
 *
 * Pieces are views; nothing is copied until a step changes something. Where tracking is on, every
 * byte of a changed text has the range of input bytes that it stands for, by the rules of the
 * reference's NormalizedString: a character that replaces another has its range, an inserted one
 * that of the character before it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TEXT_H
#define TOKENS_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

struct span {
    uint32_t start, end; // bytes of the input
};

struct tok_piece {
    const char *p; // [n] valid UTF-8
    size_t n;
    const struct span
        *align; // [n] where each byte came from; NULL: p is the input's own text, or not tracked
    struct span from; // the input that it stands for; without tracking, only of unchanged text
};

/* Bytes [start, end) of p, both between characters. */
struct tok_piece tok_piece_cut(const struct tok_piece *p, size_t start, size_t end);

/* The input range of byte i's character. */
struct span tok_piece_span(const struct tok_piece *p, size_t i);

/* A piece and the memory for changed versions of it. All zero is a good beginning. */
struct tok_text {
    struct tok_piece now;
    bool track;
    struct buf bytes[2]; // `now` lies in one, the next version is written to the other
    struct span *align[2];
    size_t align_cap[2];
    int next;
};

void text_set(struct tok_text *t, const struct tok_piece *p, bool track);
void text_free(struct tok_text *t);

/* Rewrites t->now from its beginning; what is neither copied nor replaced is dropped. */
struct rewrite {
    struct tok_text *t;
    size_t at; // bytes of the old version consumed
};
struct rewrite text_rewrite_begin(struct tok_text *t);
void text_rewrite_copy(struct rewrite *w, size_t n); // the next n bytes as they are
void text_rewrite_drop(struct rewrite *w, size_t n); // leave out the next n bytes
void text_rewrite_replace(struct rewrite *w, size_t old_n, const char *p,
                          size_t n);                                  // old_n bytes become p
void text_rewrite_insert(struct rewrite *w, const char *p, size_t n); // p, in addition
void text_rewrite_end(struct rewrite *w); // drops what is left of the old version

#endif
