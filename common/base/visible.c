/* Escaped text for people: see visible.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/visible.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/utf8.h"

enum { ESCAPE_BYTES = 8 }; // "\u009b" and its NUL

/* The bytes at p[0 .. n) that are shown as one: returns their number. Writes their escape, or ""
 * where they stay as they are. */
static size_t escape(const char *p, size_t n, enum visible how, char out[ESCAPE_BYTES]) {
    uint32_t cp = 0;
    size_t len = utf8_decode(p, n, &cp);
    out[0] = '\0';
    if (len == 0) {
        snprintf(out, ESCAPE_BYTES, "\\x%02x", (unsigned char)*p);
        return 1;
    }
    bool control = cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
    if (!control || (how == VISIBLE_TEXT && (cp == '\n' || cp == '\t')))
        return len;
    const char *name = cp == '\n' ? "\\n" : cp == '\t' ? "\\t" : cp == '\r' ? "\\r" : NULL;
    if (name)
        memcpy(out, name, 3);
    else
        snprintf(out, ESCAPE_BYTES, "\\u%04x", (unsigned)cp);
    return len;
}

size_t visible_copy(char *out, size_t room, struct str text, enum visible how) {
    size_t used = 0;
    for (size_t i = 0, len; i < text.n; i += len) {
        char escaped[ESCAPE_BYTES];
        len = escape(text.p + i, text.n - i, how, escaped);
        size_t n = *escaped ? strlen(escaped) : len;
        if (n >= room - used)
            break;
        memcpy(out + used, *escaped ? escaped : text.p + i, n);
        used += n;
    }
    out[used] = '\0';
    return used;
}

void visible_add(struct buf *out, struct str text, enum visible how) {
    size_t from = 0;
    for (size_t i = 0, len; i < text.n; i += len) {
        char escaped[ESCAPE_BYTES];
        len = escape(text.p + i, text.n - i, how, escaped);
        if (!*escaped)
            continue;
        buf_add(out, text.p + from, i - from);
        buf_str(out, escaped);
        from = i + len;
    }
    if (text.n > from)
        buf_add(out, text.p + from, text.n - from);
}

bool visible_terminal(FILE *f) {
    return isatty(fileno(f)) == 1;
}

void visible_write(FILE *f, struct str text, bool terminal) {
    struct buf shown = {0};
    if (terminal) {
        visible_add(&shown, text, VISIBLE_TEXT);
        text = buf_view(&shown);
    }
    if (text.n)
        fwrite(text.p, 1, text.n, f);
    buf_free(&shown);
}

void visible_begin(struct visible_out *v, FILE *f) {
    *v = (struct visible_out){.f = f, .to = f};
    if (!visible_terminal(f))
        return;
    v->f = open_memstream(&v->text, &v->n);
    if (!v->f)
        die(EXIT_SYSTEM, "out of memory: the text for the terminal");
}

void visible_end(struct visible_out *v) {
    if (v->f == v->to)
        return;
    bool lost = ferror(v->f) != 0;
    if (fclose(v->f) != 0 || lost || !v->text)
        die(EXIT_SYSTEM, "out of memory: the text for the terminal");
    visible_write(v->to, (struct str){v->text, v->n}, true);
    free(v->text);
}
