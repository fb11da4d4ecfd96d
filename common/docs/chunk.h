/* Cuts the sections of a document into chunks of at most N tokens.
 *
 * A section that fits is one chunk. Otherwise a chunk ends at the last place that fits, of the
 * coarsest kind that gives it at least a quarter of the tokens: the end of a paragraph, of a
 * sentence, of a line, of a word, or a character. With an overlap the next chunk begins with the
 * last sentences, lines or words of the one before, as many as fit the overlap.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DOCS_CHUNK_H
#define DOCS_CHUNK_H

#include "base/err.h"
#include "docs/doc.h"
#include "tokens/tokenizer.h"

struct chunk_options {
    size_t tokens;  // the most of a chunk, with those that the tokenizer adds
    size_t overlap; // tokens, without those; at most tokens / 2
    bool with_head; // begin each text with its section's head
    bool strict;    // text that is not UTF-8 is an error
};

/* text[from .. to) of the document, without white space at its ends. */
struct doc_chunk {
    const struct doc_section *section;
    size_t from, to;
    struct str text; // with the head if asked for, and valid UTF-8; until the next call
};

struct chunker;

struct chunker *chunker_new(const struct tokenizer *t, const struct chunk_options *o);
void chunker_free(struct chunker *c);

void chunker_begin(struct chunker *c, const struct doc *d); // d must outlive the calls
/* 1 with the next chunk; 0 after the last; -1 with e set (EXIT_DATA): a text cannot be encoded. */
int chunker_next(struct chunker *c, struct doc_chunk *out, struct err *e);

#endif
