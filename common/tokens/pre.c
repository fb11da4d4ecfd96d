/* The list of pre-tokenizers, its loader and its run: see pre.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/pre.h"

#include <stdlib.h>

#include "tokens/component.h"
#include "unicode/unicode.h"

static const struct pre_kind *const kinds[] = {
    &pre_bert,
    &pre_byte_level,
    &pre_char_delimiter,
    &pre_digits,
    &pre_fixed_length,
    &pre_metaspace,
    &pre_punctuation,
    &pre_split,
    &pre_unicode_scripts,
    &pre_whitespace,
    &pre_whitespace_split,
};

static void add(struct pres *p, const struct pre_kind *kind, struct json *j) {
    p->steps = xreallocarray(p->steps, p->n + 1, sizeof *p->steps);
    p->steps[p->n++] = (struct pre){kind, kind->load ? kind->load(j) : (json_skip(j), NULL)};
    p->byte_level = kind == &pre_byte_level;
}

static void load_sequence(struct pres *p, struct json *j) {
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "pretokenizers")) {
            found = true;
            json_enter_array(j);
            while (json_item(j))
                pres_load(p, j);
        } else {
            json_skip(j);
        }
    component_need(j, found, "Sequence", "pretokenizers");
}

void pres_load(struct pres *p, struct json *j) {
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        return;
    }
    struct str type = component_type(j);
    component_limit(j, p->n);
    if (str_eq(type, "Sequence")) {
        load_sequence(p, j);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(type, kinds[i]->type)) {
            add(p, kinds[i], j);
            return;
        }
    json_refuse(j, "unknown pre-tokenizer \"%.*s\"", (int)type.n, type.p);
}

void pres_free(struct pres *p) {
    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].kind->unload)
            p->steps[i].kind->unload(p->steps[i].data);
    free(p->steps);
}

/* Passes p to step number i, or to the model after the last step. */
static int give(struct pre_run *run, size_t i, const struct tok_piece *p) {
    if (p->n == 0)
        return 0;
    if (i == run->pres->n)
        return run->word(run->ctx, p);
    const struct pre *step = &run->pres->steps[i];
    return step->kind->split(step->data, run, i, p);
}

int pre_begin(struct pre_run *run, const struct tok_piece *p) {
    return give(run, 0, p);
}

int pre_next(struct pre_run *run, size_t step, const struct tok_piece *word) {
    return give(run, step + 1, word);
}

enum pre_behavior pre_behavior_load(struct json *j) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    struct str s = json_str(j);
    for (int i = 0; i < 5; i++)
        if (str_eq(s, names[i]))
            return (enum pre_behavior)i;
    json_refuse(j, "unknown split behavior \"%.*s\"", (int)s.n, s.p);
    return BEHAVIOR_REMOVED;
}

struct pre_splitter pre_splitter_begin(struct pre_run *run, size_t step, const struct tok_piece *p,
                                       enum pre_behavior b) {
    return (struct pre_splitter){run, step, p, b, false, false, 0, 0};
}

static int pass_on(struct pre_splitter *s, size_t start, size_t end) {
    if (start == end)
        return 0;
    struct tok_piece word = tok_piece_cut(s->p, start, end);
    return pre_next(s->run, s->step, &word);
}

int pre_splitter_add(struct pre_splitter *s, size_t start, size_t end, bool match) {
    if (s->behavior == BEHAVIOR_ISOLATED)
        return pass_on(s, start, end);
    if (s->behavior == BEHAVIOR_REMOVED)
        return match ? 0 : pass_on(s, start, end);
    bool join = s->pending && (s->behavior == BEHAVIOR_CONTIGUOUS ? match == s->last_match
                               : s->behavior == BEHAVIOR_PREVIOUS ? match && !s->last_match
                                                                  : !match && s->last_match);
    s->last_match = match;
    if (join) {
        s->end = end;
        return 0;
    }
    int rc = s->pending ? pass_on(s, s->start, s->end) : 0;
    s->pending = true;
    s->start = start;
    s->end = end;
    return rc;
}

int pre_splitter_end(struct pre_splitter *s) {
    return s->pending ? pass_on(s, s->start, s->end) : 0;
}

int pre_split_chars(struct pre_run *run, size_t step, const struct tok_piece *p, unsigned bits,
                    enum pre_behavior b) {
    struct pre_splitter s = pre_splitter_begin(run, step, p, b);
    size_t from = 0, len;
    for (size_t i = 0; i < p->n; i += len) {
        if (!(uni_bits(uni_next(p->p + i, &len)) & bits))
            continue;
        if (from < i && pre_splitter_add(&s, from, i, false) != 0)
            return -1;
        if (pre_splitter_add(&s, i, i + len, true) != 0)
            return -1;
        from = i + len;
    }
    if (from < p->n && pre_splitter_add(&s, from, p->n, false) != 0)
        return -1;
    return pre_splitter_end(&s);
}
