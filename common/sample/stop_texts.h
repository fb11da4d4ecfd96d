/* Texts that end an answer, and finding the first of them in a text that grows.
 *
 * The answer is cut exactly before the stop text that is complete first. Of several that are
 * complete at the same byte, the longest counts. So the result does not depend on how the text is
 * cut into tokens. What may still become a stop text is held back.
 *
 *     stop texts "\n\n", "END"    text "one\nEN" "D two"    shown "one\n", and nothing after it
 *
 * Each text has a Knuth-Morris-Pratt table, so the work is bytes times texts, whatever they are.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_STOP_TEXTS_H
#define SAMPLE_STOP_TEXTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum { STOP_TEXTS_MAX = 64, STOP_TEXT_BYTES = 4096 }; // most texts, and bytes of one

struct stop_text {
    char *text;     // [n]
    uint16_t *back; // [n] the longest proper beginning of text that ends at each byte
    size_t n;
};

/* All zero is an empty list. */
struct stop_texts {
    struct stop_text items[STOP_TEXTS_MAX];
    size_t n;
};

/* Adds a text. -1 with e set (EXIT_USAGE): it is empty, too long, not UTF-8, or one too many. */
int stop_texts_add(struct stop_texts *s, struct str text, struct err *e);
/* Adds the texts of an attribute's value: a JSON array of strings, a JSON string, or anything else
 * as a text itself. -1 as above, or where the array has something else. */
int stop_texts_parse(struct stop_texts *s, struct str value, struct err *e);
void stop_texts_write(const struct stop_texts *s, struct buf *out); // appends a JSON array
size_t stop_texts_bytes(const struct stop_texts *s);                // of its memory, without *s
void stop_texts_free(struct stop_texts *s);

/* The search in one text. All zero but for texts at first; a copy goes on independently. */
struct stop_search {
    const struct stop_texts *texts;
    uint16_t at[STOP_TEXTS_MAX]; // bytes of each that the text ends with
};

/* Takes the next n bytes of a text. *held gets the bytes at its end that may belong to a stop text.
 * True if one is complete: *used is the number of bytes taken, up to its end, and *held is its
 * length. */
bool stop_search_take(struct stop_search *q, const char *p, size_t n, size_t *used, size_t *held);

#endif
