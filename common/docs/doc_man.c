/* Sections of a man page, from what mandoc(1) renders of it with -T utf8.
 *
 * In the rendering bold is "x\bx" and italic "_\bx"; both become x. The first line is the page's
 * header, and the last its footer. A line in column 0 is a section's title, one in column 3 a
 * subsection's, and the rest is indented further. Headings in the source are the lines that begin
 * with .SH, .Sh, .SS or .Ss.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "docs/doc.h"

#include <stdlib.h>

enum { SUBSECTION_COLUMN = 3 };

/* Appends the rendering to out without overstrikes: of "a\bb" b stays. */
static void strip_overstrikes(struct str in, struct buf *out) {
    buf_reserve(out, in.n);
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '\b') {
            out->p[out->n++] = in.p[i];
            continue;
        }
        while (out->n > 0 && ((unsigned char)out->p[out->n - 1] & 0xC0) == 0x80)
            out->n--; // the rest of a character
        if (out->n > 0 && out->p[out->n - 1] != '\n')
            out->n--;
    }
}

static size_t indent_of(struct str t, size_t from, size_t to) {
    size_t n = 0;
    while (from + n < to && t.p[from + n] == ' ')
        n++;
    return n;
}

/* The indentation of the body: the smallest one past that of subsections. */
static size_t body_indent(struct str t) {
    size_t least = SIZE_MAX;
    for (size_t at = 0, next; at < t.n; at = next) {
        size_t to = doc_line(t, at, &next), n = indent_of(t, at, to);
        if (n > SUBSECTION_COLUMN && n < least && at + n < to)
            least = n;
    }
    return least == SIZE_MAX ? 0 : least;
}

/* The first word of the header line: "OPEN(2)". */
static struct str title_of(struct str header) {
    return str_word(&header);
}

/* Copies the body into d->rendering: without header and footer, and with the body's indentation
 * taken off. Titles are the lines that begin a section. */
static void copy_body(struct doc *d, struct str plain) {
    size_t body = body_indent(plain), end = plain.n;
    while (end > 0 && doc_blank(plain, end - 1, end - (plain.p[end - 1] == '\n')))
        end--;
    while (end > 0 && plain.p[end - 1] != '\n')
        end--; // the footer
    struct doc_heads heads = {0};
    struct buf path = {0};
    bool first = true, blank = true;
    buf_reserve(&d->rendering, end); // the text never moves
    d->text = (struct str){d->rendering.p, 0};
    for (size_t at = 0, next; at < end; at = next) {
        size_t to = doc_line(plain, at, &next), indent = indent_of(plain, at, to);
        bool empty = at + indent == to, title = !empty && indent <= SUBSECTION_COLUMN;
        size_t begins = d->rendering.n;
        if (first && title) {
            heads.at[0] = title_of((struct str){plain.p + at, to - at});
            first = false;
            continue;
        }
        size_t off = indent < body ? indent : body;
        buf_add(&d->rendering, plain.p + at + off, next - at - off);
        if (title) {
            buf_clear(&path);
            doc_enter(&heads, indent == 0 ? 1 : 2,
                      (struct str){plain.p + at + indent, to - at - indent}, &path);
            doc_section(d, begins, buf_view(&path));
        } else if (!empty && d->n_sections == 0) {
            doc_section(d, begins, heads.at[0].n ? heads.at[0] : str_of(""));
        } else if (blank && !empty) {
            doc_cut(d, begins);
        }
        blank = empty;
    }
    buf_free(&path);
    d->text.n = d->rendering.n;
    if (d->n_sections)
        d->sections[d->n_sections - 1].to = d->text.n;
}

/* The places of the headings in the source. */
static size_t source_headings(struct str source, size_t **places) {
    size_t n = 0, cap = 0;
    for (size_t at = 0, next; at < source.n; at = next) {
        size_t to = doc_line(source, at, &next);
        const char *p = source.p + at;
        if (to - at < 3 || (p[0] != '.' && p[0] != '\'') || p[1] != 'S' || !strchr("hHsS", p[2]) ||
            (to - at > 3 && !strchr(" \t\r", p[3])))
            continue;
        if (n == cap) {
            cap = 2 * cap + 16;
            *places = xreallocarray(*places, cap, sizeof **places);
        }
        (*places)[n++] = at;
    }
    return n;
}

void doc_open_man(struct doc *d, struct str source, struct str rendering) {
    struct buf plain = {0};
    size_t *places = NULL;
    d->rendered = true;
    doc_limit_heads(d, rendering.n);
    strip_overstrikes(rendering, &plain);
    copy_body(d, plain.n ? buf_view(&plain) : str_of(""));
    size_t n = source_headings(source, &places);
    for (size_t i = 0; i < d->n_sections; i++) {
        struct doc_section *s = &d->sections[i];
        bool same = n == d->n_sections;
        s->source_from = same ? places[i] : 0;
        s->source_to = same && i + 1 < n ? places[i + 1] : source.n;
    }
    free(places);
    buf_free(&plain);
}
