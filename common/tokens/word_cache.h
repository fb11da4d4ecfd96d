/* A cache of words and their ids. Text repeats its words, so most are found here and the model does
 * not run.
 *
 * The table has a fixed size and one cache line per entry. A word's hash chooses its line, and the
 * newest word replaces the older one. Words of more than 26 bytes or 9 ids are not cached.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_WORD_CACHE_H
#define TOKENS_WORD_CACHE_H

#include "tokens/model.h"
#include "tokens/short_bytes.h"

enum {
    WORD_CACHE_LINES = 1 << 16,
    WORD_CACHE_BYTES = 26, // of the longest word that is cached
    WORD_CACHE_IDS = 9,
};

struct word_line {
    uint32_t ids[WORD_CACHE_IDS];
    unsigned char n_ids, word_n; // word_n 0: the line is free
    char word[WORD_CACHE_BYTES];
};

/* The table. Pages that are never touched cost nothing. */
struct word_cache {
    void *memory;
    struct word_line *lines; // [WORD_CACHE_LINES], each a cache line
};

static inline void word_cache_begin(struct word_cache *c) {
    c->memory = xcalloc(WORD_CACHE_LINES + 1, sizeof *c->lines);
    c->lines =
        (struct word_line *)(void *)((char *)c->memory + (64 - (uintptr_t)c->memory % 64) % 64);
}

/* Returns the line of a word of at most WORD_CACHE_BYTES bytes. It may hold another word. */
static inline struct word_line *word_line(const struct word_cache *c, const char *p, size_t n) {
    return &c->lines[bytes_hash(p, n) & (WORD_CACHE_LINES - 1)];
}

/* Appends the word's ids if the line holds this word. */
static inline bool word_line_get(const struct word_line *line, const char *p, size_t n,
                                 struct token_ids *out) {
    if (line->word_n != n || memcmp(line->word, p, n) != 0)
        return false;
    for (unsigned i = 0; i < line->n_ids; i++)
        token_ids_add(out, line->ids[i], 0, 0);
    return true;
}

static inline void word_line_put(struct word_line *line, const char *p, size_t n,
                                 const uint32_t *ids, size_t n_ids) {
    if (n_ids > WORD_CACHE_IDS)
        return;
    line->word_n = (unsigned char)n;
    line->n_ids = (unsigned char)n_ids;
    memcpy(line->word, p, n);
    for (size_t i = 0; i < n_ids; i++) // ids may be NULL if there are none
        line->ids[i] = ids[i];
}

#endif
