/* Text between the steps of a tokenizer: a view of it, and a rewriter that records where each byte
 * came from.
 *
 * A piece is a view, so nothing is copied until a step changes something. With tracking on, each
 * byte of a changed text has the range of input bytes that it comes from. If "ß" (input bytes 3 to
 * 5) becomes "ss", both letters have the range 3 to 5. The rules are those of the reference's
 * NormalizedString: a replacement gets the range of the character that it replaces. An inserted
 * character gets the range of the character before it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TEXT_H
#define TOKENS_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

struct tok_span {
    uint32_t start, end; // bytes of the input
};

struct tok_piece {
    const char *p; // [n] valid UTF-8
    size_t n;
    // [n] where each byte came from. NULL: p is the input itself, or tracking is off.
    const struct tok_span *align;
    // The input range of the piece. Without tracking it is valid only for unchanged text.
    struct tok_span from;
};

/* Bytes [start, end) of p. Both ends must be between characters. */
struct tok_piece tok_piece_cut(const struct tok_piece *p, size_t start, size_t end);

/* The input range of the character that byte i belongs to. */
struct tok_span tok_piece_span(const struct tok_piece *p, size_t i);

/* A piece and the memory for its changed versions. All zero is a valid empty one. */
struct tok_text {
    struct tok_piece now;
    bool track;
    struct buf bytes[2]; // one holds `now`, the other receives the next version
    struct tok_span *align[2];
    size_t align_cap[2];
    int next;
    size_t most;              // bytes that a version may have: see text_set
    bool too_long;            // a version would have been longer, and is cut
    struct regex_work *regex; // for normalizers that have one: see regex.h
};

/* The versions of p may be 64 times as long as p, and a MiB more: no honest step needs that, and a
 * stranger's tokenizer.json must not take all memory. */
void text_set(struct tok_text *t, const struct tok_piece *p, bool track);
void text_free(struct tok_text *t);

/* Rewrites t->now from its beginning. Bytes that are neither copied nor replaced are dropped. */
struct text_rewrite {
    struct tok_text *t;
    size_t at; // bytes of the old version consumed
};
struct text_rewrite text_rewrite_begin(struct tok_text *t);
void text_rewrite_copy(struct text_rewrite *w, size_t n); // the next n bytes as they are
void text_rewrite_drop(struct text_rewrite *w, size_t n); // skip the next n bytes
void text_rewrite_replace(struct text_rewrite *w, size_t old_n, const char *p,
                          // The next old_n bytes become p[0..n).
                          size_t n);
void text_rewrite_insert(struct text_rewrite *w, const char *p, size_t n); // adds p[0..n)
void text_rewrite_end(struct text_rewrite *w); // drops the rest of the old version

#endif
