/* Cutting and rewriting tracked text: see text.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/text.h"

#include <stdlib.h>

#include "unicode/unicode.h"

struct tok_span tok_piece_span(const struct tok_piece *p, size_t i) {
    if (p->align)
        return p->align[i];
    size_t start = i;
    while (start > 0 && uni_inside(p->p[start]))
        start--;
    size_t end = start + uni_len(p->p[start]);
    return (struct tok_span){p->from.start + (uint32_t)start, p->from.start + (uint32_t)end};
}

struct tok_piece tok_piece_cut(const struct tok_piece *p, size_t start, size_t end) {
    struct tok_piece cut = {p->p + start,
                            end - start,
                            NULL,
                            {p->from.start + (uint32_t)start, p->from.start + (uint32_t)end}};
    if (p->align) {
        cut.align = p->align + start;
        if (cut.n)
            cut.from = (struct tok_span){p->align[start].start, p->align[end - 1].end};
    }
    return cut;
}

void text_set(struct tok_text *t, const struct tok_piece *p, bool track) {
    t->now = *p;
    t->track = track;
    t->most = ((size_t)1 << 20) + 64 * p->n;
    t->too_long = false;
}

void text_free(struct tok_text *t) {
    for (int i = 0; i < 2; i++) {
        buf_free(&t->bytes[i]);
        free(t->align[i]);
    }
    *t = (struct tok_text){0};
}

struct text_rewrite text_rewrite_begin(struct tok_text *t) {
    buf_clear(&t->bytes[t->next]);
    buf_reserve(&t->bytes[t->next], t->now.n);
    return (struct text_rewrite){t, 0};
}

/* Gives the last n bytes of the new version the range s. */
static void align_add(struct text_rewrite *w, size_t n, struct tok_span s) {
    struct tok_text *t = w->t;
    int k = t->next;
    size_t have = t->bytes[k].n;
    if (have > t->align_cap[k]) {
        t->align_cap[k] = have * 2;
        t->align[k] = xreallocarray(t->align[k], t->align_cap[k], sizeof *t->align[k]);
    }
    for (size_t i = have - n; i < have; i++)
        t->align[k][i] = s;
}

void text_rewrite_copy(struct text_rewrite *w, size_t n) {
    const struct tok_piece *old = &w->t->now;
    struct buf *out = &w->t->bytes[w->t->next];
    if (!w->t->track) {
        buf_add(out, old->p + w->at, n);
        w->at += n;
        return;
    }
    for (size_t end = w->at + n; w->at < end; w->at++) {
        buf_byte(out, old->p[w->at]);
        align_add(w, 1, tok_piece_span(old, w->at));
    }
}

void text_rewrite_drop(struct text_rewrite *w, size_t n) {
    w->at += n;
}

/* Whether n more bytes are within the text's limit. */
static bool has_room(struct tok_text *t, size_t n) {
    t->too_long |= t->bytes[t->next].n + n > t->most;
    return !t->too_long;
}

void text_rewrite_replace(struct text_rewrite *w, size_t old_n, const char *p, size_t n) {
    if (!has_room(w->t, n))
        return;
    buf_add(&w->t->bytes[w->t->next], p, n);
    if (w->t->track)
        align_add(w, n, tok_piece_span(&w->t->now, w->at));
    w->at += old_n;
}

void text_rewrite_insert(struct text_rewrite *w, const char *p, size_t n) {
    const struct tok_piece *old = &w->t->now;
    if (!has_room(w->t, n))
        return;
    buf_add(&w->t->bytes[w->t->next], p, n);
    if (w->t->track)
        align_add(w, n,
                  w->at > 0 ? tok_piece_span(old, w->at - 1)
                            : (struct tok_span){old->from.start, old->from.start});
}

void text_rewrite_end(struct text_rewrite *w) {
    struct tok_text *t = w->t;
    int k = t->next;
    t->now.p = t->bytes[k].n ? t->bytes[k].p : "";
    t->now.n = t->bytes[k].n;
    t->now.align = t->track ? t->align[k] : NULL;
    t->next = 1 - k;
}
