/* Metaspace: spaces become a visible mark (SentencePiece's U+2581), one mark may be added in front,
 * and each mark begins a word.
 *
 * "two words" becomes "▁two", "▁words". prepend_scheme "first" adds the mark only at the very
 * beginning of the input.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/metaspace.h"
#include "tokens/pre.h"
#include "unicode/unicode.h"

static void *load(struct json *j) {
    return metaspace_load(j);
}

static void mark_spaces(const struct metaspace *m, struct tok_text *t) {
    const char *space = memchr(t->now.p, ' ', t->now.n);
    if (!space)
        return;
    struct text_rewrite w = text_rewrite_begin(t);
    do {
        text_rewrite_copy(&w, (size_t)(space - t->now.p) - w.at);
        text_rewrite_drop(&w, 1);
        text_rewrite_insert(&w, m->mark, m->mark_n);
        space = memchr(t->now.p + w.at, ' ', t->now.n - w.at);
    } while (space);
    text_rewrite_copy(&w, t->now.n - w.at);
    text_rewrite_end(&w);
}

static bool begins_with_mark(const struct metaspace *m, const char *p, size_t n) {
    return n >= m->mark_n && memcmp(p, m->mark, m->mark_n) == 0;
}

static int split(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    const struct metaspace *m = data;
    struct tok_text *t = &run->work[step];
    text_set(t, p, run->track);
    mark_spaces(m, t);
    bool prepend =
        m->scheme == METASPACE_ALWAYS || (m->scheme == METASPACE_FIRST && p->from.start == 0);
    if (prepend && !begins_with_mark(m, t->now.p, t->now.n)) {
        struct text_rewrite w = text_rewrite_begin(t);
        size_t len = uni_len(t->now.p[0]);
        text_rewrite_replace(&w, len, m->mark, m->mark_n);
        text_rewrite_insert(&w, t->now.p, len);
        text_rewrite_copy(&w, t->now.n - len);
        text_rewrite_end(&w);
    }
    if (!m->split)
        return pre_next(run, step, &t->now);
    struct tok_piece whole = t->now;
    size_t from = 0;
    for (size_t i = 1; i <= whole.n; i++) {
        if (i < whole.n && !begins_with_mark(m, whole.p + i, whole.n - i))
            continue;
        struct tok_piece word = tok_piece_cut(&whole, from, i);
        if (pre_next(run, step, &word) != 0)
            return -1;
        from = i;
    }
    return 0;
}

const struct pre_kind pre_metaspace = {"Metaspace", load, free, split};
