/* A document as doc-chunk cuts it: its text, sections under headings, and the ends of paragraphs.
 *
 * The text of a plain or Markdown document is its source. Of a man page it is what mandoc(1)
 * renders; a section then also says which bytes of the source it was rendered from:
 *
 *     text    | section 0 | section 1: heading, paragraph | paragraph | section 2 ...
 *     cuts                                               ^           ^
 *
 * Sections follow each other and do not overlap. Only paragraphs inside a section have cuts that
 * matter: a chunk never crosses the end of a section.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DOCS_DOC_H
#define DOCS_DOC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

enum doc_format { DOC_AUTO, DOC_TEXT, DOC_MARKDOWN, DOC_MAN };
enum {
    DOC_HEADS_TIMES = 16,       // bytes of heads for each byte of a document
    DOC_HEADS_LEAST = 16 << 20, // or this many
};

struct doc_section {
    size_t from, to; // in the text
    struct str head; // "A > B": the headings that it is under; n = 0: none
    // Of a man page: the range of the source. Otherwise both are 0, and `from` and `to` are it.
    size_t source_from, source_to;
};

struct doc {
    struct str text;
    bool rendered; // the text is not the source
    struct doc_section *sections;
    size_t n_sections, sections_cap;
    size_t *cuts; // where a paragraph begins after another one, ascending
    size_t n_cuts, cuts_cap;
    size_t head_bytes, most_head_bytes;
    bool heads_too_long;  // some heads were left out: the document is to be refused
    struct arena mem;     // of heads
    struct buf rendering; // of a man page: text is a view of it
};

/* What a file with this name and these bytes is: by the name's ending, and a man page also by its
 * first macros. Never DOC_AUTO. */
enum doc_format doc_guess(const char *name, struct str source);

/* Finds sections and paragraphs. d is all zero, and source must outlive it. doc_free frees it. */
void doc_open_text(struct doc *d, struct str source);
void doc_open_markdown(struct doc *d, struct str source);
/* rendering: what `mandoc -T utf8` made of the source. Section k of the source is section k of the
 * rendering if both have as many; otherwise each section has the whole source as its range. */
void doc_open_man(struct doc *d, struct str source, struct str rendering);
void doc_free(struct doc *d);

/* ---- For the files that open a document ---- */

/* The line at `at`: its end, before the newline. *next is where the next line begins. */
size_t doc_line(struct str text, size_t at, size_t *next);
bool doc_blank(struct str text, size_t from, size_t to); // only white space
void doc_cut(struct doc *d, size_t at);
/* Allows heads of a document of n bytes: a head repeats all headings above it, so a long heading
 * above many sections would take memory by the product. */
void doc_limit_heads(struct doc *d, size_t n);
/* Begins a section at `at`, which ends the one before it. `head` is copied. */
void doc_section(struct doc *d, size_t at, struct str head);

/* The headings above a place. All zero: none. */
enum { DOC_LEVELS = 7 }; // 0: the title of a man page; 1 to 6: Markdown's
struct doc_heads {
    struct str at[DOC_LEVELS]; // n = 0: none
};
/* Enters a heading: those of its level and deeper ones end. Appends the path to `path`. */
void doc_enter(struct doc_heads *h, unsigned level, struct str title, struct buf *path);

#endif
