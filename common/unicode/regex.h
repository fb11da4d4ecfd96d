/* The regular expressions of tokenizer.json, and plain strings in their place.
 *
 * The reference runs them with Oniguruma; here PCRE2 does, with JIT. Patterns are translated where
 * the two differ (regex_onig.c), and refused where that cannot be done. Matching has limits, so
 * that a hostile pattern or text ends in an error, not in hours. The published patterns of
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

/* {"Regex": "..."} or {"String": "..."}, the value that j stands before. NULL: refused in j. */
struct regex *regex_load(struct json *j);

/* The matches in text, from left to right. An empty match right behind the last match does not
 * count. */
struct regex_iter {
    const struct regex *r;
    struct str text;
    size_t at;        // where the search goes on
    size_t last_end;  // of the last match; SIZE_MAX before the first
    uint64_t *budget; // steps that all searches for one record may still take; NULL: no limit but
                      // that of each search
};
/* A budget for searches in a record of n bytes: what no honest pattern needs. */
uint64_t regex_budget(size_t n);
struct regex_iter regex_begin(const struct regex *r, struct str text);
/* 1 and [*start, *end), 0 behind the last one, -1 with e set (EXIT_DATA) where a limit was reached.
 */
int regex_next(struct regex_iter *it, size_t *start, size_t *end, struct err *e);

/* Rewrites an Oniguruma pattern as PCRE2 understands it. -1 with e set where there is no such
 * pattern. */
int regex_from_onig(struct str pattern, struct buf *out, struct err *e);

bool regex_is_script(struct str name); // whether PCRE2 knows a script of this name

#endif
