/* Split: splits the text at the matches of a string or a regular expression. `invert` swaps matches
 * and the text between them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/pre.h"
#include "unicode/regex.h"

struct split {
    struct regex *pattern;
    enum pre_behavior behavior;
    bool invert;
};

static void *load(struct json *j) {
    struct split *s = xcalloc(1, sizeof *s);
    struct str key;
    bool behavior = false, invert = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "pattern")) {
            regex_free(s->pattern);
            s->pattern = regex_load(j);
        } else if (str_eq(key, "behavior")) {
            s->behavior = pre_behavior_load(j);
            behavior = true;
        } else if (str_eq(key, "invert")) {
            s->invert = json_bool(j);
            invert = true;
        } else {
            json_skip(j);
        }
    component_need(j, s->pattern, "Split", "pattern");
    component_need(j, behavior, "Split", "behavior");
    component_need(j, invert, "Split", "invert");
    return s;
}

static void unload(void *data) {
    struct split *s = data;
    regex_free(s->pattern);
    free(s);
}

static int split(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    const struct split *sp = data;
    struct pre_splitter s = pre_splitter_begin(run, step, p, sp->behavior);
    struct regex_iter it = regex_begin(sp->pattern, run->regex, (struct str){p->p, p->n});
    size_t from = 0, start, end;
    int found;
    while ((found = regex_next(&it, &start, &end, run->e)) > 0) {
        if (from < start && pre_splitter_add(&s, from, start, sp->invert) != 0)
            return -1;
        if (pre_splitter_add(&s, start, end, !sp->invert) != 0)
            return -1;
        from = end;
    }
    if (found < 0 || (from < p->n && pre_splitter_add(&s, from, p->n, sp->invert) != 0))
        return -1;
    return pre_splitter_end(&s);
}

const struct pre_kind pre_split = {"Split", load, unload, split};
