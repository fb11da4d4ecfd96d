/* Regular expressions: see regex.h.
 *
 * Work is counted by callouts, which regex_onig.c puts after each quantifier: a callout costs 1,
 * and 1 for each byte between its place in the text and that of the last one. A search costs 1 for
 * each byte that it has passed. A large pattern takes longer at each byte, so it costs more.
 * PCRE2's own limits are of no use here: they begin anew at each place in the text, and a scan of a
 * million bytes can count as one step.
 *
 * Compiled code uses 32 KiB of the thread's stack. A match that needs more, for a word of many
 * thousand letters, gets a stack of its own, which grows up to MOST_STACK. Where there is no
 * compiled code, the interpreter's stack is on the heap.
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
    MAX_PATTERN = 1 << 16,          // bytes
    MOST_STACK = 256 << 20,         // bytes
    HEAP_LIMIT = MOST_STACK / 1024, // KiB
    MATCH_LIMIT = 2000000000,       // of PCRE2's own steps: out of the way
    BUDGET = 2 * 1000000, // steps for a record, and BUDGET_BYTE more for each of its bytes
    BUDGET_BYTE = 300,
    SIZE_STEP = 512, // bytes of a compiled pattern that make each step cost one more
};

struct regex_work {
    uint64_t left; // steps
    uint64_t cost; // of one step of the pattern that is running
    size_t start;  // where the match that is tried begins
    size_t last;   // the last callout's place in the text
    bool refs;     // the pattern refers to groups
    bool spent;
    pcre2_match_data *data; // NULL before the first search
    pcre2_match_context *context;
    pcre2_jit_stack *stack; // NULL: not needed yet
};

struct regex {
    struct str pattern;              // as given
    struct buf text;                 // of a literal
    const struct split_words *words; // a hand-written matcher, or NULL
    pcre2_code *code;                // NULL: a literal, or a hand-written matcher
    uint64_t cost;                   // of a step
    bool refs;                       // it has references to groups
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
    size_t size;
    uint32_t last_ref;
    pcre2_pattern_info(code, PCRE2_INFO_SIZE, &size);
    pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &last_ref);
    r->cost = 1 + size / SIZE_STEP;
    r->refs = last_ref > 0;
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

/* ---- Work ---- */

struct regex_work *regex_work_new(void) {
    return xcalloc(1, sizeof(struct regex_work));
}

void regex_work_begin(struct regex_work *w, size_t n) {
    w->left = BUDGET + (uint64_t)BUDGET_BYTE * n;
}

void regex_work_add(struct regex_work *w, size_t n) {
    w->left += (uint64_t)BUDGET_BYTE * n;
}

size_t regex_work_bytes(const struct regex_work *w) {
    return sizeof *w + (w->data ? pcre2_get_match_data_size(w->data) : 0) +
           (w->stack ? MOST_STACK : 0);
}

void regex_work_free(struct regex_work *w) {
    if (!w)
        return;
    pcre2_match_data_free(w->data);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    free(w);
}

/* Pays for n steps. False if the budget is spent. */
static bool pay(struct regex_work *w, uint64_t n) {
    uint64_t steps = n * w->cost;
    w->spent = w->left < steps;
    w->left -= w->spent ? w->left : steps;
    return !w->spent;
}

/* A reference compares the bytes of its group, which no callout counts. */
static size_t longest_group(const pcre2_callout_block *b) {
    size_t longest = 0;
    for (uint32_t i = 1; i < b->capture_top; i++) {
        size_t start = b->offset_vector[2 * i], end = b->offset_vector[2 * i + 1];
        if (start != PCRE2_UNSET && end > start && end - start > longest)
            longest = end - start;
    }
    return longest;
}

static int count(pcre2_callout_block *b, void *work) {
    struct regex_work *w = work;
    if (b->start_match != w->start)
        w->start = w->last = b->start_match;
    size_t at = b->current_position, moved = at > w->last ? at - w->last : w->last - at;
    w->last = at;
    if (w->refs)
        moved += longest_group(b);
    return pay(w, moved + ((uint64_t)1 << (b->callout_number & 31))) ? 0 : PCRE2_ERROR_CALLOUT;
}

/* Memory for searches, which is made with the first. */
static void work_open(struct regex_work *w) {
    w->data = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_create(NULL);
    if (!w->data || !w->context)
        die(EXIT_SYSTEM, "out of memory: a regular expression's match");
    pcre2_set_match_limit(w->context, MATCH_LIMIT);
    pcre2_set_depth_limit(w->context, MATCH_LIMIT);
    pcre2_set_heap_limit(w->context, HEAP_LIMIT);
    pcre2_set_callout(w->context, count, w);
}

/* ---- Searching ---- */

struct regex_iter regex_begin(const struct regex *r, struct regex_work *w, struct str text) {
    return (struct regex_iter){r, w, text, 0, SIZE_MAX};
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

static int give_up(const struct regex_iter *it, int found, struct err *e) {
    struct str pattern = it->r->pattern;
    PCRE2_UCHAR why[128] = "the text takes too many steps";
    if (!it->work->spent)
        pcre2_get_error_message(found, why, sizeof why);
    return err_set(e, EXIT_DATA, "regular expression \"%.*s\" gives up: %s: byte %zu of the text",
                   (int)(pattern.n > 200 ? 200 : pattern.n), pattern.p, (char *)why, it->at);
}

static int find_pattern(struct regex_iter *it, size_t *start, size_t *end, struct err *e) {
    const struct regex *r = it->r;
    struct regex_work *w = it->work;
    PCRE2_SPTR text = (PCRE2_SPTR)it->text.p;
    if (!w->data)
        work_open(w);
    w->cost = r->cost;
    w->refs = r->refs;
    w->start = SIZE_MAX;
    int found =
        pcre2_match(r->code, text, it->text.n, it->at, PCRE2_NO_UTF_CHECK, w->data, w->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT && !w->stack &&
        (w->stack = pcre2_jit_stack_create(1 << 16, MOST_STACK, NULL))) {
        pcre2_jit_stack_assign(w->context, NULL, w->stack);
        found =
            pcre2_match(r->code, text, it->text.n, it->at, PCRE2_NO_UTF_CHECK, w->data, w->context);
    }
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return give_up(it, found, e);
    PCRE2_SIZE *range = pcre2_get_ovector_pointer(w->data);
    size_t passed = found < 0 ? it->text.n : range[1] > it->at ? range[1] : it->at;
    if (!pay(w, passed - it->at + 1))
        return give_up(it, found, e);
    if (found < 0)
        return 0;
    *start = range[0];
    *end = range[1];
    return 1;
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
