/* Documents: what all formats share, and plain text. See doc.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "docs/doc.h"

#include <stdlib.h>

/* Whether name ends in .3 or .3pm: a section of the manual, and at most five letters. */
static bool named_as_page(const char *name) {
    const char *dot = strrchr(name, '.');
    if (!dot || dot[1] < '1' || dot[1] > '9')
        return false;
    size_t n = strlen(dot + 2);
    return n <= 5 && strspn(dot + 2, "abcdefghijklmnopqrstuvwxyz") == n;
}

/* Whether a line of the source begins with .Dd, .TH, .SH or .so, as pages do. */
static bool has_page_macro(struct str source) {
    for (size_t at = 0, next; at < source.n; at = next) {
        size_t n = doc_line(source, at, &next) - at;
        if (n < 3 || source.p[at] != '.')
            continue;
        const char *macro = source.p + at + 1;
        if (memcmp(macro, "Dd", 2) == 0 || memcmp(macro, "TH", 2) == 0 ||
            memcmp(macro, "SH", 2) == 0 || memcmp(macro, "so", 2) == 0)
            return true;
    }
    return false;
}

enum doc_format doc_guess(const char *name, struct str source) {
    struct str s = str_of(name);
    if (str_ends_with(s, ".md") || str_ends_with(s, ".markdown"))
        return DOC_MARKDOWN;
    return named_as_page(name) && has_page_macro(source) ? DOC_MAN : DOC_TEXT;
}

size_t doc_line(struct str text, size_t at, size_t *next) {
    const char *newline = at < text.n ? memchr(text.p + at, '\n', text.n - at) : NULL;
    size_t end = newline ? (size_t)(newline - text.p) : text.n;
    *next = newline ? end + 1 : text.n;
    return end;
}

bool doc_blank(struct str text, size_t from, size_t to) {
    while (from < to && (text.p[from] == ' ' || text.p[from] == '\t' || text.p[from] == '\r' ||
                         text.p[from] == '\f'))
        from++;
    return from == to;
}

void doc_cut(struct doc *d, size_t at) {
    if (d->n_cuts == d->cuts_cap) {
        d->cuts_cap = 2 * d->cuts_cap + 64;
        d->cuts = xreallocarray(d->cuts, d->cuts_cap, sizeof *d->cuts);
    }
    d->cuts[d->n_cuts++] = at;
}

void doc_limit_heads(struct doc *d, size_t n) {
    d->most_head_bytes = larger(DOC_HEADS_LEAST, DOC_HEADS_TIMES * n);
}

void doc_section(struct doc *d, size_t at, struct str head) {
    d->heads_too_long |= head.n > d->most_head_bytes - d->head_bytes;
    if (d->heads_too_long)
        head.n = 0;
    d->head_bytes += head.n;
    if (d->n_sections == d->sections_cap) {
        d->sections_cap = 2 * d->sections_cap + 16;
        d->sections = xreallocarray(d->sections, d->sections_cap, sizeof *d->sections);
    }
    if (d->n_sections)
        d->sections[d->n_sections - 1].to = at;
    d->sections[d->n_sections++] = (struct doc_section){
        .from = at, .to = d->text.n, .head = arena_str(&d->mem, head.p, head.n)};
}

void doc_enter(struct doc_heads *h, unsigned level, struct str title, struct buf *path) {
    h->at[level] = title;
    for (unsigned i = level + 1; i < DOC_LEVELS; i++)
        h->at[i].n = 0;
    for (unsigned i = 0; i <= level; i++) {
        if (h->at[i].n == 0)
            continue;
        if (path->n)
            buf_str(path, " > ");
        buf_add(path, h->at[i].p, h->at[i].n);
    }
}

void doc_open_text(struct doc *d, struct str source) {
    bool blank = false;
    d->text = source;
    doc_section(d, 0, str_of(""));
    for (size_t at = 0, next; at < source.n; at = next) {
        bool before = blank;
        blank = doc_blank(source, at, doc_line(source, at, &next));
        if (before && !blank)
            doc_cut(d, at);
    }
}

void doc_free(struct doc *d) {
    free(d->sections);
    free(d->cuts);
    arena_free(&d->mem);
    buf_free(&d->rendering);
    *d = (struct doc){0};
}
