/* Filters on strings. Other values become strings first, as str() makes them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "jinja/filter.h"

/* Calls a string method with up to three arguments. */
static struct jvalue method(struct jinja *in, const char *name, struct jtext *t,
                            const struct jvalue *a) {
    return jinja_str_method(str_of(name))->call(in, jv_text(t), a);
}

static struct jtext *plain(struct jinja *in, struct jvalue v) {
    struct jtext *t = jv_to_str(in, v);
    if (t->markup) {
        t = jt_slice(in, t, 0, t->n);
        t->markup = false;
    }
    return t;
}

JINJA_FILTER(jf_upper) {
    (void)a;
    return jv_text(jinja_upper(in, jv_to_str(in, self)));
}

JINJA_FILTER(jf_lower) {
    (void)a;
    return jv_text(jinja_lower(in, jv_to_str(in, self)));
}

JINJA_FILTER(jf_capitalize) {
    (void)a;
    return jv_text(jinja_capitalize(in, jv_to_str(in, self)));
}

static bool parts_words(uint32_t cp) {
    return jt_is_space(cp) || (cp && cp < 0x80 && strchr("-({[<", (int)cp));
}

/* Words begin after white space and -({[<, unlike those of str.title. */
JINJA_FILTER(jf_title) {
    (void)a;
    const struct jtext *t = jv_to_str(in, self);
    struct jbuild b;
    jb_init(&b, in, t->n);
    for (size_t from = 0, to = 0, len, first; from < t->n && !in->failed; from = to) {
        bool marks = parts_words(jt_decode(t, from, &first));
        for (to = from; to < t->n && parts_words(jt_decode(t, to, &len)) == marks;)
            to += len;
        jb_text(&b, jinja_upper(in, jt_slice(in, t, from, from + first)));
        jb_text(&b, jinja_lower(in, jt_slice(in, t, from + first, to)));
    }
    return jv_text(jb_done(&b));
}

JINJA_FILTER(jf_trim) {
    return method(in, "strip", jv_to_str(in, self), a);
}

JINJA_FILTER(jf_replace) {
    struct jvalue args[3] = {jv_text(plain(in, a[0])), jv_text(plain(in, a[1])), a[2]};
    return method(in, "replace", plain(in, self), args);
}

JINJA_FILTER(jf_indent) {
    struct jtext *t = jinja_arg_str(in, self, ""), *by;
    bool first = jinja_arg_bool(in, a[1], false), blank = jinja_arg_bool(in, a[2], false);
    struct jbuild b;
    if (jv_is_str(a[0])) {
        by = a[0].s;
    } else {
        jb_init(&b, in, 16);
        jb_fill(&b, jt_new(in, str_of(" "), TRUST_ALL), jinja_arg_int(in, a[0], 4));
        by = jb_done(&b);
    }
    t = jt_concat(in, t, jt_new(in, str_of("\n"), TRUST_ALL));
    struct jvalue none = {.kind = V_MISSING}, lines = method(in, "splitlines", t, &none);
    jb_init(&b, in, t->n);
    for (size_t i = 0; i < lines.l->n && !in->failed; i++) {
        const struct jtext *line = lines.l->v[i].s;
        if (i)
            jb_str(&b, "\n", true);
        if (i ? blank || line->n : first)
            jb_text(&b, by);
        jb_text(&b, line);
    }
    return jv_text(jb_done(&b));
}

JINJA_FILTER(jf_center) {
    struct jvalue args[2] = {jv_int(jinja_arg_int(in, a[0], 80)), {.kind = V_MISSING}};
    return method(in, "center", jv_to_str(in, self), args);
}

JINJA_FILTER(jf_truncate) {
    struct jtext *end = jinja_arg_str(in, a[2], "...");
    int64_t n, length = jinja_arg_int(in, a[0], 255),
               leeway = a[3].kind == V_NONE ? 5 : jinja_arg_int(in, a[3], 5);
    int64_t end_n = (int64_t)jt_chars(in, end);
    if (length < end_n || leeway < 0)
        return jinja_fail(
            in, "AssertionError: truncate: length is less than that of end, or leeway is negative");
    if (!jv_len(in, self, &n))
        return jinja_fail(in, "TypeError: object of type '%s' has no len()", jv_type(self));
    if (n <= length || n - length <= leeway)
        return self; // this may be a short list
    struct jtext *t = jinja_arg_str(in, self, "");
    struct jtext *cut = jt_slice(in, t, 0, jt_byte_at(in, t, (size_t)(length - end_n)));
    size_t space =
        jinja_arg_bool(in, a[1], false) ? SIZE_MAX : jt_rfind(in, cut, str_of(" "), 0, cut->n);
    if (space != SIZE_MAX)
        cut = jt_slice(in, cut, 0, space);
    return jv_text(jt_concat(in, cut, end));
}

JINJA_FILTER(jf_wordcount) {
    const struct jtext *t = jv_to_str(in, self);
    int64_t n = 0;
    bool in_word = false;
    (void)a;
    jinja_steps(in, t->n);
    for (size_t i = 0, len; i < t->n; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        bool word = cp == '_' || jinja_is_alpha(cp) || jinja_is_numeric(cp);
        n += word && !in_word;
        in_word = word;
    }
    return jv_int(n);
}

JINJA_FILTER(jf_string) {
    (void)a;
    return jv_text(jv_to_str(in, self));
}

JINJA_FILTER(jf_safe) {
    (void)a;
    const struct jtext *t = jv_to_str(in, self);
    struct jtext *safe = jt_slice(in, t, 0, t->n);
    safe->markup = true;
    return jv_text(safe);
}

struct jtext *jinja_escape(struct jinja *in, const struct jtext *t) {
    static const char marks[] = "&<>'\"";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jtext *out;
    struct jbuild b;
    if (t->markup)
        return jt_slice(in, t, 0, t->n);
    jb_init(&b, in, t->n);
    size_t from = 0;
    for (size_t i = 0; i < t->n; i++) {
        const char *mark = t->p[i] ? strchr(marks, t->p[i]) : NULL;
        if (!mark)
            continue;
        jb_slice(&b, t, from, i);
        jb_str(&b, entities[mark - marks], jt_trusted(t, i));
        from = i + 1;
    }
    jb_slice(&b, t, from, t->n);
    out = jb_done(&b);
    out->markup = true;
    return out;
}

JINJA_FILTER(jf_escape) {
    (void)a;
    return jv_text(jinja_escape(in, jv_to_str(in, self)));
}

JINJA_FILTER(jf_forceescape) {
    (void)a;
    return jv_text(jinja_escape(in, plain(in, self)));
}

/* Reads the HTML entity at p, with n bytes left. Returns its length, or 0 if there is none. */
static size_t entity(const char *p, size_t n, uint32_t *cp) {
    static const struct {
        const char *name;
        uint32_t cp;
    } known[] = {{"&amp;", '&'},  {"&lt;", '<'},    {"&gt;", '>'},
                 {"&quot;", '"'}, {"&apos;", '\''}, {"&nbsp;", 0xA0}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= strlen(known[i].name) && memcmp(p, known[i].name, strlen(known[i].name)) == 0) {
            *cp = known[i].cp;
            return strlen(known[i].name);
        }
    size_t i = 2;
    bool hex = n > 3 && p[1] == '#' && (p[2] | 0x20) == 'x';
    if (n < 4 || p[1] != '#')
        return 0;
    *cp = 0;
    for (i += hex; i < n && i < 10 && p[i] != ';'; i++) {
        char c = p[i];
        uint32_t d = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
                     : hex && (c | 0x20) >= 'a' && (c | 0x20) <= 'f'
                         ? (uint32_t)((c | 0x20) - 'a' + 10)
                         : 99;
        if (d == 99)
            return 0;
        *cp = *cp * (hex ? 16 : 10) + d;
    }
    bool good = *cp > 0 && *cp < 0x110000 && !(*cp >= 0xD800 && *cp < 0xE000);
    return good && i < n && p[i] == ';' ? i + 1 : 0;
}

/* Removes comments and tags, joins white space into one space, and decodes basic entities. */
JINJA_FILTER(jf_striptags) {
    (void)a;
    const struct jtext *t = jv_to_str(in, self);
    struct jbuild b;
    jb_init(&b, in, t->n);
    for (size_t i = 0; i < t->n && !in->failed;) {
        bool comment = t->n - i > 3 && memcmp(t->p + i, "<!--", 4) == 0;
        size_t end =
            t->p[i] == '<' ? jt_find(in, t, str_of(comment ? "-->" : ">"), i, t->n) : SIZE_MAX;
        if (end != SIZE_MAX) {
            i = end + (comment ? 3 : 1);
        } else {
            jb_slice(&b, t, i, i + 1);
            i++;
        }
    }
    struct jvalue none[2] = {{.kind = V_MISSING}, {.kind = V_MISSING}},
                  words = method(in, "split", jb_done(&b), none);
    struct jtext *joined = method(in, "join", jt_new(in, str_of(" "), TRUST_ALL), &words).s;
    jb_init(&b, in, joined->n);
    for (size_t i = 0, n; !in->failed && i < joined->n; i += n) {
        uint32_t cp;
        n = joined->p[i] == '&' ? entity(joined->p + i, joined->n - i, &cp) : 0;
        if (n)
            jb_char(&b, cp, jt_trusted(joined, i));
        else
            jb_slice(&b, joined, i, i + 1);
        n = n ? n : 1;
    }
    return jv_text(jb_done(&b));
}

static void quote(struct jbuild *b, const struct jtext *t, bool query) {
    for (size_t i = 0; i < t->n; i++) {
        unsigned char c = (unsigned char)t->p[i];
        char text[4];
        bool plain_byte = (c >= '0' && c <= '9') ||
                          ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80) ||
                          (c && strchr(query ? "_.-~" : "_.-~/", c));
        snprintf(text, sizeof text, "%%%02X", c);
        if (plain_byte)
            jb_slice(b, t, i, i + 1);
        else
            jb_str(b, query && c == ' ' ? "+" : text, jt_trusted(t, i));
    }
}

JINJA_FILTER(jf_urlencode) {
    (void)a;
    struct jbuild b;
    struct jiter it;
    struct jvalue v;
    jb_init(&b, in, 64);
    if (jv_is_str(self) || !jinja_iterable(self)) {
        quote(&b, jv_to_str(in, self), false);
        return jv_text(jb_done(&b));
    }
    if (self.kind == V_DICT) {
        self.kind = V_VIEW;
        self.sub = VIEW_ITEMS;
    }
    jinja_iter(in, self, &it);
    for (bool first = true; jinja_next(in, &it, &v); first = false) {
        struct jvalue pair = jinja_to_list(in, v, V_LIST);
        if (in->failed || pair.l->n != 2)
            return jinja_fail(in, "ValueError: urlencode: an item is not a pair");
        jb_str(&b, first ? "" : "&", true);
        quote(&b, jv_to_str(in, pair.l->v[0]), true);
        jb_str(&b, "=", true);
        quote(&b, jv_to_str(in, pair.l->v[1]), true);
    }
    return jv_text(jb_done(&b));
}

JINJA_FILTER(jf_xmlattr) {
    bool space = jinja_arg_bool(in, a[0], true), first = true;
    struct jbuild b;
    jb_init(&b, in, 64);
    if (self.kind != V_DICT)
        return jinja_fail(in, "AttributeError: '%s' object has no attribute 'items'",
                          jv_type(self));
    for (size_t i = 0; i < self.d->n && !in->failed; i++) {
        struct jvalue key = self.d->pairs[i].key, v = self.d->pairs[i].value;
        if (v.kind == V_NONE || v.kind == V_UNDEF)
            continue;
        struct jtext *name = jinja_arg_str(in, key, "");
        for (size_t k = 0; k < name->n; k++)
            if (strchr(" \t\n\r\f\v/>=", name->p[k]))
                jinja_fail(in, "ValueError: Invalid character in attribute name: '%.*s'",
                           name->n > 60 ? 60 : (int)name->n, name->p);
        jb_str(&b, first && !space ? "" : " ", true);
        jb_text(&b, jinja_escape(in, name));
        jb_str(&b, "=\"", true);
        jb_text(&b, jinja_escape(in, jv_to_str(in, v)));
        jb_str(&b, "\"", true);
        first = false;
    }
    return jv_text(jb_done(&b));
}

JINJA_FILTER_ARGS(jf_format) {
    struct jvalue values = jv_list(in, V_TUPLE, a->n);
    if (a->n && a->n_kw)
        return jinja_fail(
            in,
            "FilterArgumentError: can't handle positional and keyword arguments at the same time");
    for (size_t i = 0; i < a->n; i++)
        jv_push(in, values.l, a->pos[i]);
    if (a->n_kw) {
        values = jv_dict(in);
        for (size_t i = 0; i < a->n_kw; i++)
            jv_put(in, values.d, jv_text(jt_new(in, a->names[i], TRUST_ALL)), a->kw[i]);
    }
    return jinja_percent(in, jv_to_str(in, self), values);
}
