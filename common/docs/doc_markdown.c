/* Sections of Markdown: a heading begins one, and its path of headings is the head.
 *
 * Headings are those of CommonMark 0.31 (sections 4.2 and 4.3): "## title", and a paragraph line
 * over "===" or "---". Nothing inside a fenced code block (section 4.5) is a heading or ends a
 * paragraph. Other syntax is left as it is: the text of a chunk is a part of the source.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "docs/doc.h"

struct md_line {
    size_t from, to, next; // without the newline; where the next line begins
    size_t indent;         // spaces before the first other byte
};

struct md_fence {
    char mark; // 0: none is open
    size_t n;  // of marks that opened it
};

static struct md_line line_at(struct str t, size_t at) {
    struct md_line l = {.from = at};
    l.to = doc_line(t, at, &l.next);
    if (l.to > at && t.p[l.to - 1] == '\r')
        l.to--;
    while (l.from + l.indent < l.to && t.p[l.from + l.indent] == ' ')
        l.indent++;
    return l;
}

/* How many bytes c there are at `at`. */
static size_t run_of(struct str t, size_t at, size_t to, char c) {
    size_t n = 0;
    while (at + n < to && t.p[at + n] == c)
        n++;
    return n;
}

static struct str trimmed(struct str t, size_t from, size_t to) {
    while (from < to && (t.p[from] == ' ' || t.p[from] == '\t'))
        from++;
    while (to > from && (t.p[to - 1] == ' ' || t.p[to - 1] == '\t'))
        to--;
    return (struct str){t.p + from, to - from};
}

/* Opens or closes a fence at this line. True if the line is one, or is inside. */
static bool fenced(struct str t, const struct md_line *l, struct md_fence *f) {
    size_t at = l->from + l->indent;
    char mark = at < l->to ? t.p[at] : ' ';
    size_t n = mark == '`' || mark == '~' ? run_of(t, at, l->to, mark) : 0;
    bool inside = f->mark != 0;
    if (l->indent > 3)
        return inside;
    if (inside && mark == f->mark && n >= f->n && doc_blank(t, at + n, l->to))
        f->mark = 0;
    else if (!inside && n >= 3 && (mark == '~' || !memchr(t.p + at + n, '`', l->to - at - n)))
        *f = (struct md_fence){mark, n};
    return inside || f->mark != 0;
}

/* The level of "## title ##", with the title; 0 if the line is no such heading. */
static unsigned atx(struct str t, const struct md_line *l, struct str *title) {
    size_t at = l->from + l->indent, n = run_of(t, at, l->to, '#'), end = l->to;
    if (l->indent > 3 || n == 0 || n > 6 ||
        (at + n < l->to && t.p[at + n] != ' ' && t.p[at + n] != '\t'))
        return 0;
    *title = trimmed(t, at + n, end);
    size_t marks = 0; // at the end: they count only after a space
    while (marks < title->n && title->p[title->n - 1 - marks] == '#')
        marks++;
    if (marks == title->n)
        title->n = 0;
    else if (marks &&
             (title->p[title->n - 1 - marks] == ' ' || title->p[title->n - 1 - marks] == '\t'))
        *title = trimmed((struct str){title->p, title->n - marks}, 0, title->n - marks);
    return (unsigned)n;
}

/* The level of a heading that this line underlines; 0 if it is no underline. */
static unsigned underline(struct str t, const struct md_line *l) {
    size_t at = l->from + l->indent;
    char mark = at < l->to ? t.p[at] : ' ';
    if (l->indent > 3 || (mark != '=' && mark != '-'))
        return 0;
    if (!doc_blank(t, at + run_of(t, at, l->to, mark), l->to))
        return 0;
    return mark == '=' ? 1 : 2;
}

/* Whether a line can be the text of an underlined heading: no list item, quote, table or code. */
static bool is_plain(struct str t, const struct md_line *l) {
    size_t at = l->from + l->indent;
    return l->indent <= 3 && at < l->to && !strchr("-*+>|#", t.p[at]);
}

static void begin(struct doc *d, struct doc_heads *heads, unsigned level, struct str title,
                  size_t at) {
    struct buf path = {0};
    doc_enter(heads, level, title, &path);
    doc_section(d, at, path.n ? buf_view(&path) : str_of(""));
    buf_free(&path);
}

void doc_open_markdown(struct doc *d, struct str source) {
    struct doc_heads heads = {0};
    struct md_fence fence = {0};
    struct md_line last = {0};
    bool blank = true, plain = false; // of the line before
    d->text = source;
    doc_limit_heads(d, source.n);
    doc_section(d, 0, str_of(""));
    for (size_t at = 0; at < source.n;) {
        struct md_line l = line_at(source, at);
        struct str title;
        unsigned level = 0;
        bool was_inside = fence.mark != 0, inside = fenced(source, &l, &fence),
             empty = doc_blank(source, l.from, l.to);
        if (!inside && (level = atx(source, &l, &title)) > 0) {
            begin(d, &heads, level, title, l.from);
        } else if (!inside && plain && (level = underline(source, &l)) > 0) {
            begin(d, &heads, level, trimmed(source, last.from, last.to), last.from);
        } else if (blank && !empty && !was_inside) {
            doc_cut(d, l.from);
        }
        blank = empty && !inside;
        plain = !inside && level == 0 && !empty && is_plain(source, &l);
        last = l;
        at = l.next;
    }
}
