/* Regular expressions: see regex.h.
 *
 * Compiled code uses 32 KiB of the thread's stack. A match that needs more is repeated by the
 * interpreter, which uses up to HEAP_LIMIT of memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/regex.h"

#include <stdint.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/sandbox.h"
#include "unicode/split_words.h"
#include "unicode/unicode.h"

enum {
    MAX_PATTERN = 1 << 16,   // bytes
    HEAP_LIMIT = 256 * 1024, // KiB
    BUDGET = 10 * 1000000,   // steps for a record, and BUDGET_BYTE more for each of its bytes
    BUDGET_BYTE = 20,
    N_LIMITS = 3,
};

/* Steps of one search. PCRE2 does not say how many it took, so a search begins with the smallest
 * limit, is made again with the next one if that was not enough, and counts as its limit. */
static const uint32_t limits[N_LIMITS] = {3000, 300000, 10000000};

struct regex {
    struct str pattern;              // as given
    struct buf text;                 // of a literal
    const struct split_words *words; // a hand-written matcher, or NULL
    pcre2_code *code;                // NULL: a literal, or a hand-written matcher
    pcre2_match_context *limits[N_LIMITS];
};

struct regex *regex_literal(struct str text) {
    struct regex *r = xcalloc(1, sizeof *r);
    buf_add(&r->text, text.p, text.n);
    return r;
}

struct regex *regex_new(struct str pattern, struct err *e) {
    const struct split_words *words = split_words_find(pattern);
    if (!words)
        return regex_compile(pattern, e);
    struct regex *r = xcalloc(1, sizeof *r);
    r->words = words;
    r->pattern = (struct str){str_dup(pattern), pattern.n};
    return r;
}

struct regex *regex_compile(struct str pattern, struct err *e) {
    if (pattern.n > MAX_PATTERN) {
        err_set(e, EXIT_DATA, "a regular expression of %zu bytes, more than %d", pattern.n,
                MAX_PATTERN);
        return NULL;
    }
    struct buf translated = {0};
    if (regex_from_onig(pattern, &translated, e) != 0) {
        buf_free(&translated);
        return NULL;
    }
    pcre2_compile_context *ctx = pcre2_compile_context_create(NULL);
    pcre2_set_newline(ctx, PCRE2_NEWLINE_LF);
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile(
        (PCRE2_SPTR)translated.p, translated.n,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at, ctx);
    pcre2_compile_context_free(ctx);
    buf_free(&translated);
    if (!code) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(error, why, sizeof why);
        err_set(e, EXIT_DATA, "regular expression \"%.*s\": %s",
                (int)(pattern.n > 200 ? 200 : pattern.n), pattern.p, (char *)why);
        return NULL;
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // without JIT, pcre2_match interprets
    struct regex *r = xcalloc(1, sizeof *r);
    r->code = code;
    r->pattern = (struct str){str_dup(pattern), pattern.n};
    for (int i = 0; i < N_LIMITS; i++) {
        r->limits[i] = pcre2_match_context_create(NULL);
        pcre2_set_match_limit(r->limits[i], limits[i]);
        pcre2_set_heap_limit(r->limits[i], HEAP_LIMIT);
    }
    return r;
}

bool regex_is_script(struct str name) {
    struct buf pattern = {0};
    int error;
    PCRE2_SIZE at;
    buf_fmt(&pattern, "\\p{sc:%.*s}", (int)(name.n > 40 ? 40 : name.n), name.p);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_UTF, &error, &at, NULL);
    pcre2_code_free(code);
    buf_free(&pattern);
    return code != NULL;
}

void regex_free(struct regex *r) {
    if (!r)
        return;
    if (!sandbox_sealed()) // else the memory stays until the process ends
        pcre2_code_free(r->code);
    for (int i = 0; i < N_LIMITS; i++)
        pcre2_match_context_free(r->limits[i]);
    free((char *)r->pattern.p);
    buf_free(&r->text);
    free(r);
}

struct str regex_pattern(const struct regex *r) {
    return r->pattern;
}

struct regex *regex_load(struct json *j) {
    struct str key, text = {0};
    bool literal = false, found = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        literal = str_eq(key, "String");
        if (!literal && !str_eq(key, "Regex"))
            json_refuse(j, "unknown pattern kind \"%.*s\"; known are String and Regex", (int)key.n,
                        key.p);
        if (found)
            json_refuse(j, "a pattern with two members");
        text = json_str(j);
        found = true;
    }
    if (!found)
        json_refuse(j, "a pattern without String or Regex");
    if (json_failed(j))
        return NULL;
    if (literal)
        return regex_literal(text);
    struct err e = {0};
    struct regex *r = regex_new(text, &e);
    if (!r)
        json_refuse(j, "%s", e.msg);
    return r;
}

struct regex_iter regex_begin(const struct regex *r, struct str text) {
    return (struct regex_iter){r, text, 0, SIZE_MAX, NULL};
}

uint64_t regex_budget(size_t n) {
    return BUDGET + (uint64_t)BUDGET_BYTE * n;
}

/* Finds the literal in text at or after `at`. 1 found, 0 not. */
static int find_literal(const struct regex *r, struct str text, size_t at, size_t *start,
                        size_t *end) {
    size_t n = r->text.n;
    for (; n <= text.n && at <= text.n - n; at++) {
        if (n) {
            const char *p = memchr(text.p + at, r->text.p[0], text.n - n - at + 1);
            if (!p)
                return 0;
            at = (size_t)(p - text.p);
        }
        if (n == 0 || memcmp(text.p + at, r->text.p, n) == 0) {
            *start = at;
            *end = at + n;
            return 1;
        }
    }
    return 0;
}

/* One search within limit number i. */
static int search(const struct regex_iter *it, int i, pcre2_match_data *data) {
    const struct regex *r = it->r;
    PCRE2_SPTR p = (PCRE2_SPTR)it->text.p;
    int found = pcre2_match(r->code, p, it->text.n, it->at, PCRE2_NO_UTF_CHECK, data, r->limits[i]);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) // a word of many thousand letters; the interpreter's
                                             // stack is on the heap
        found = pcre2_match(r->code, p, it->text.n, it->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                            r->limits[i]);
    return found;
}

static int find_pattern(struct regex_iter *it, size_t *start, size_t *end, struct err *e) {
    const struct regex *r = it->r;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(r->code, NULL);
    int found = PCRE2_ERROR_MATCHLIMIT;
    bool spent = false;
    for (int i = 0; i < N_LIMITS && found == PCRE2_ERROR_MATCHLIMIT && !spent; i++) {
        found = search(it, i, data);
        if (!it->budget || (i == 0 && found != PCRE2_ERROR_MATCHLIMIT))
            continue; // a short search, which a record's bytes pay for
        spent = *it->budget < limits[i];
        *it->budget -= spent ? *it->budget : limits[i];
    }
    if (found >= 0) {
        PCRE2_SIZE *range = pcre2_get_ovector_pointer(data);
        *start = range[0];
        *end = range[1];
    }
    pcre2_match_data_free(data);
    if (found >= 0)
        return 1;
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    PCRE2_UCHAR why[128] = "the text takes too many steps";
    if (!spent)
        pcre2_get_error_message(found, why, sizeof why);
    return err_set(e, EXIT_DATA, "regular expression \"%.*s\" gives up: %s: byte %zu of the text",
                   (int)(r->pattern.n > 200 ? 200 : r->pattern.n), r->pattern.p, (char *)why,
                   it->at);
}

int regex_next(struct regex_iter *it, size_t *start, size_t *end, struct err *e) {
    if (it->r->words) {
        if (it->at >= it->text.n)
            return 0;
        *start = it->at;
        *end = it->at = (size_t)(it->r->words->match(it->text.p + it->at, it->text.p + it->text.n) -
                                 it->text.p);
        return 1;
    }
    while (it->at <= it->text.n) {
        int found = it->r->code ? find_pattern(it, start, end, e)
                                : find_literal(it->r, it->text, it->at, start, end);
        if (found <= 0)
            return found;
        if (*start == *end && *end == it->last_end) {
            it->at += it->at < it->text.n ? uni_len(it->text.p[it->at]) : 1;
            continue;
        }
        it->at = it->last_end = *end;
        return 1;
    }
    return 0;
}
