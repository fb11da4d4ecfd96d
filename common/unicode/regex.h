/* The regular expressions of tokenizer.json, and plain strings used instead of them.
 *
 * The reference uses Oniguruma; this uses PCRE2 with JIT. Patterns are translated where the two
 * differ (regex_onig.c), and refused if that is not possible. Matching has limits, so that a
 * hostile pattern or text gives an error instead of running for hours. The published patterns of
 * well-known tokenizers have hand-written matchers (split_words.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_REGEX_H
#define UNICODE_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

struct regex;

/* NULL with e set: EXIT_DATA names the pattern and what is wrong with it. */
struct regex *regex_new(struct str pattern, struct err *e);
struct regex *regex_compile(struct str pattern,
                            struct err *e);   // the same, never a hand-written matcher in its place
struct regex *regex_literal(struct str text); // matches exactly text
void regex_free(struct regex *r);
struct str regex_pattern(const struct regex *r); // as given; n = 0 for a literal

/* Reads {"Regex": "..."} or {"String": "..."} at j. NULL: refused in j. */
struct regex *regex_load(struct json *j);

/* The matches in text, from left to right. An empty match directly after the last match is
 * skipped. */
struct regex_iter {
    const struct regex *r;
    struct str text;
    size_t at;        // where the search continues
    size_t last_end;  // of the last match; SIZE_MAX before the first
    uint64_t *budget; // steps left for all searches of one record; NULL: only the limit of a search
};
/* A budget for searches in a record of n bytes, more than honest patterns need. PCRE2's compiled
 * code counts few of its steps, so a slow pattern may take seconds a KB before the budget ends. */
uint64_t regex_budget(size_t n);
struct regex_iter regex_begin(const struct regex *r, struct str text);
/* 1 with the match [*start, *end); 0 after the last; -1 with e set (EXIT_DATA) if a limit was
 * reached. */
int regex_next(struct regex_iter *it, size_t *start, size_t *end, struct err *e);

/* Translates an Oniguruma pattern to PCRE2. -1 with e set if that is not possible. */
int regex_from_onig(struct str pattern, struct buf *out, struct err *e);

bool regex_is_script(struct str name); // whether PCRE2 knows a script of this name

#endif
