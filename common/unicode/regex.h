/* The regular expressions of tokenizer.json, and plain strings used instead of them.
 *
 * The reference uses Oniguruma; this uses PCRE2 with JIT. Patterns are translated where the two
 * differ (regex_onig.c), and refused if that is not possible. Matching has limits, so that a
 * hostile pattern or text gives an error instead of running for hours: a budget of steps for each
 * record, which regex.c counts. The published patterns of
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

/* What one thread's searches need: memory, and the steps that are left for a record. A record is
 * begun with its number of bytes, which gives more steps than honest patterns need; bytes can be
 * added to it. The same pattern and text always take the same steps. */
struct regex_work;
struct regex_work *regex_work_new(void); // free with regex_work_free
void regex_work_begin(struct regex_work *w, size_t n);
void regex_work_add(struct regex_work *w, size_t n);
/* Of its memory. A stack counts with its largest size. */
size_t regex_work_bytes(const struct regex_work *w);
void regex_work_free(struct regex_work *w);

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
    struct regex_work *work;
    struct str text;
    size_t at;       // where the search continues
    size_t last_end; // of the last match; SIZE_MAX before the first
};
struct regex_iter regex_begin(const struct regex *r, struct regex_work *w, struct str text);
/* 1 with the match [*start, *end); 0 after the last; -1 with e set (EXIT_DATA) if the budget is
 * spent or memory reaches a limit. */
int regex_next(struct regex_iter *it, size_t *start, size_t *end, struct err *e);

/* Translates an Oniguruma pattern to PCRE2. -1 with e set if that is not possible. */
int regex_from_onig(struct str pattern, struct buf *out, struct err *e);

bool regex_is_script(struct str name); // whether PCRE2 knows a script of this name

#endif
