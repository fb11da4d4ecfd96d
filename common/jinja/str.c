/* Methods of strings, as Python's str has them, on texts that keep the trust of each byte.
 *
 * encode is left out, as there are no bytes; so are translate and maketrans. Positions count code
 * points.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

#define SELF(name)                                                                                 \
    static struct jvalue name(struct jinja *in, struct jvalue self, const struct jvalue *a)

/* Whether to strip cp: it is white space, or one of the characters in set. */
static bool strips(const struct jtext *set, uint32_t cp) {
    if (!set)
        return jt_is_space(cp);
    for (size_t i = 0, len; i < set->n; i += len)
        if (jt_decode(set, i, &len) == cp)
            return true;
    return false;
}

static struct jvalue strip(struct jinja *in, struct jvalue self, struct jvalue chars, bool left,
                           bool right) {
    const struct jtext *t = self.s, *set = NULL;
    size_t from = 0, to = t->n, len;
    if (chars.kind != V_MISSING && chars.kind != V_NONE)
        set = jinja_arg_str(in, chars, "");
    while (left && from < to && strips(set, jt_decode(t, from, &len)))
        from += len;
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)t->p[at] & 0xC0) == 0x80)
            at--;
        if (!strips(set, jt_decode(t, at, &len)))
            break;
        to = at;
    }
    jinja_steps(in, (t->n - (to - from)) * (set ? set->n + 1 : 1));
    return jv_text(jt_slice(in, t, from, to));
}

SELF(str_strip) {
    return strip(in, self, a[0], true, true);
}

SELF(str_lstrip) {
    return strip(in, self, a[0], true, false);
}

SELF(str_rstrip) {
    return strip(in, self, a[0], false, true);
}

static void push_slice(struct jinja *in, struct jlist *l, const struct jtext *t, size_t from,
                       size_t to) {
    jv_push(in, l, jv_text(jt_slice(in, t, from, to)));
}

/* Returns the end of the run of white space, or of anything else, that begins at i. */
static size_t run(const struct jtext *t, size_t i, bool space) {
    size_t len;
    while (i < t->n && jt_is_space(jt_decode(t, i, &len)) == space)
        i += len;
    return i;
}

static void split_space(struct jinja *in, const struct jtext *t, int64_t most, struct jlist *out) {
    size_t i = run(t, 0, true);
    while (i < t->n && jinja_steps(in, 1)) {
        if (most-- == 0) {
            push_slice(in, out, t, i, t->n);
            return;
        }
        size_t end = run(t, i, false);
        jinja_steps(in, end - i);
        push_slice(in, out, t, i, end);
        i = run(t, end, true);
    }
}

static size_t run_back(const struct jtext *t, size_t i, bool space) {
    size_t len;
    while (i > 0) {
        size_t at = i - 1;
        while (at > 0 && ((unsigned char)t->p[at] & 0xC0) == 0x80)
            at--;
        if (jt_is_space(jt_decode(t, at, &len)) != space)
            break;
        i = at;
    }
    return i;
}

static void turn(struct jlist *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        struct jvalue v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
}

static void rsplit_space(struct jinja *in, const struct jtext *t, int64_t most, struct jlist *out) {
    size_t i = run_back(t, t->n, true);
    while (i > 0 && jinja_steps(in, 1)) {
        if (most-- == 0) {
            push_slice(in, out, t, 0, i);
            break;
        }
        size_t start = run_back(t, i, false);
        push_slice(in, out, t, start, i);
        i = run_back(t, start, true);
    }
    turn(out);
}

static struct jvalue split(struct jinja *in, struct jvalue self, const struct jvalue *a,
                           bool right) {
    struct jvalue list = jv_list(in, V_LIST, 0);
    const struct jtext *t = self.s;
    int64_t most = jinja_arg_int(in, a[1], -1);
    if (a[0].kind == V_MISSING || a[0].kind == V_NONE) {
        if (right)
            rsplit_space(in, t, most, list.l);
        else
            split_space(in, t, most, list.l);
        return list;
    }
    struct jtext *sep = jinja_arg_str(in, a[0], "");
    if (!in->failed && sep->n == 0)
        return jinja_fail(in, "ValueError: empty separator");
    size_t from = 0, to = t->n, at;
    while (most-- != 0 && jinja_steps(in, 1)) {
        at = right ? jt_rfind(in, t, jt_view(sep), from, to)
                   : jt_find(in, t, jt_view(sep), from, to);
        if (at == SIZE_MAX)
            break;
        push_slice(in, list.l, t, right ? at + sep->n : from, right ? to : at);
        if (right)
            to = at;
        else
            from = at + sep->n;
    }
    push_slice(in, list.l, t, from, to);
    if (right)
        turn(list.l);
    return list;
}

SELF(str_split) {
    return split(in, self, a, false);
}

SELF(str_rsplit) {
    return split(in, self, a, true);
}

SELF(str_splitlines) {
    const struct jtext *t = self.s;
    struct jvalue list = jv_list(in, V_LIST, 0);
    bool keep = jinja_arg_bool(in, a[0], false);
    size_t from = 0, len;
    for (size_t i = 0; i < t->n && !in->failed; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        if (!jt_is_line_end(cp))
            continue;
        size_t end = i;
        if (cp == '\r' && i + 1 < t->n && t->p[i + 1] == '\n')
            len++;
        push_slice(in, list.l, t, from, keep ? i + len : end);
        from = i + len;
    }
    jinja_steps(in, t->n);
    if (from < t->n)
        push_slice(in, list.l, t, from, t->n);
    return list;
}

/* Converts start and end arguments to byte positions. False if the range is empty or past the
 * end. */
static bool range_of(struct jinja *in, const struct jtext *t, const struct jvalue *a, size_t *from,
                     size_t *to) {
    *from = 0;
    *to = t->n;
    bool has_start = a[0].kind != V_MISSING && a[0].kind != V_NONE,
         has_end = a[1].kind != V_MISSING && a[1].kind != V_NONE;
    if (!has_start && !has_end)
        return true;
    int64_t n = (int64_t)jt_chars(in, t), start = has_start ? jinja_arg_int(in, a[0], 0) : 0;
    int64_t end = has_end ? jinja_arg_int(in, a[1], n) : n;
    start = start < 0 ? (start + n < 0 ? 0 : start + n) : start;
    end = end < 0 ? (end + n < 0 ? 0 : end + n) : end > n ? n : end;
    if (start > end || in->failed)
        return false;
    *from = jt_byte_at(in, t, (size_t)start);
    *to = jt_byte_at(in, t, (size_t)end);
    return true;
}

static int64_t find(struct jinja *in, struct jvalue self, const struct jvalue *a, bool right) {
    size_t from, to;
    const struct jtext *t = self.s, *needle = jinja_arg_str(in, a[0], "");
    if (!range_of(in, t, a + 1, &from, &to))
        return -1;
    size_t at = right ? jt_rfind(in, t, jt_view(needle), from, to)
                      : jt_find(in, t, jt_view(needle), from, to);
    return at == SIZE_MAX ? -1 : (int64_t)jt_chars(in, jt_slice(in, t, 0, at));
}

SELF(str_find) {
    return jv_int(find(in, self, a, false));
}

SELF(str_rfind) {
    return jv_int(find(in, self, a, true));
}

SELF(str_index) {
    int64_t at = find(in, self, a, false);
    return at < 0 ? jinja_fail(in, "ValueError: substring not found") : jv_int(at);
}

SELF(str_rindex) {
    int64_t at = find(in, self, a, true);
    return at < 0 ? jinja_fail(in, "ValueError: substring not found") : jv_int(at);
}

SELF(str_count) {
    size_t from, to;
    int64_t n = 0;
    const struct jtext *t = self.s, *needle = jinja_arg_str(in, a[0], "");
    if (!range_of(in, t, a + 1, &from, &to))
        return jv_int(0);
    if (needle->n == 0)
        return jv_int((int64_t)jt_chars(in, jt_slice(in, t, from, to)) + 1);
    while ((from = jt_find(in, t, jt_view(needle), from, to)) != SIZE_MAX && jinja_steps(in, 1)) {
        n++;
        from += needle->n;
    }
    return jv_int(n);
}

/* Whether t[from..to) begins or ends with v, or with one string of a tuple. */
static bool affix(struct jinja *in, const struct jtext *t, struct jvalue v, size_t from, size_t to,
                  bool end) {
    if (v.kind == V_TUPLE) {
        for (size_t i = 0; i < v.l->n; i++)
            if (v.l->v[i].kind != V_TUPLE && affix(in, t, v.l->v[i], from, to, end))
                return true;
        return false;
    }
    const struct jtext *s = jinja_arg_str(in, v, "");
    jinja_steps(in, s->n / 64);
    return s->n <= to - from && memcmp(end ? t->p + to - s->n : t->p + from, s->p, s->n) == 0 &&
           !in->failed;
}

SELF(str_startswith) {
    size_t from, to;
    return jv_bool(range_of(in, self.s, a + 1, &from, &to) &&
                   affix(in, self.s, a[0], from, to, false));
}

SELF(str_endswith) {
    size_t from, to;
    return jv_bool(range_of(in, self.s, a + 1, &from, &to) &&
                   affix(in, self.s, a[0], from, to, true));
}

SELF(str_removeprefix) {
    struct jtext *s = jinja_arg_str(in, a[0], "");
    bool has = affix(in, self.s, a[0], 0, self.s->n, false);
    return jv_text(jt_slice(in, self.s, has ? s->n : 0, self.s->n));
}

SELF(str_removesuffix) {
    struct jtext *s = jinja_arg_str(in, a[0], "");
    bool has = affix(in, self.s, a[0], 0, self.s->n, true);
    return jv_text(jt_slice(in, self.s, 0, self.s->n - (has ? s->n : 0)));
}

/* An empty `old` matches before each character and at the end. */
static void replace_empty(struct jbuild *b, const struct jtext *t, const struct jtext *to,
                          int64_t most) {
    for (size_t i = 0, len; i <= t->n && jinja_steps(b->in, 1); i += len) {
        if (most-- != 0)
            jb_text(b, to);
        else
            most = 0;
        len = 1;
        if (i < t->n)
            jt_decode(t, i, &len);
        jb_slice(b, t, i, i + len > t->n ? t->n : i + len);
    }
}

SELF(str_replace) {
    const struct jtext *t = self.s, *from = jinja_arg_str(in, a[0], ""),
                       *to = jinja_arg_str(in, a[1], "");
    int64_t most = a[2].kind == V_NONE ? -1 : jinja_arg_int(in, a[2], -1);
    struct jbuild b;
    if (t->markup) {
        from = jinja_escape(in, from);
        to = jinja_escape(in, to);
    }
    jb_init(&b, in, t->n);
    if (from->n == 0) {
        replace_empty(&b, t, to, most);
    } else {
        size_t i = 0, at;
        while (most-- != 0 && (at = jt_find(in, t, jt_view(from), i, t->n)) != SIZE_MAX &&
               jinja_steps(in, 1)) {
            jb_slice(&b, t, i, at);
            jb_text(&b, to);
            i = at + from->n;
        }
        jb_slice(&b, t, i, t->n);
    }
    struct jtext *out = jb_done(&b);
    out->markup = t->markup;
    return jv_text(out);
}

SELF(str_join) {
    struct jiter it;
    struct jvalue v;
    struct jbuild b;
    size_t n = 0;
    jb_init(&b, in, 64);
    if (!jinja_iter(in, a[0], &it))
        return jv_none();
    for (; jinja_next(in, &it, &v); n++) {
        if (v.kind != V_STR)
            return jinja_fail(in, "TypeError: sequence item %zu: expected str instance, %s found",
                              n, jv_type(v));
        if (n)
            jb_text(&b, self.s);
        jb_text(&b, self.s->markup ? jinja_escape(in, v.s) : v.s);
    }
    struct jtext *out = jb_done(&b);
    out->markup = self.s->markup;
    return jv_text(out);
}

static struct jvalue partition(struct jinja *in, struct jvalue self, const struct jvalue *a,
                               bool right) {
    const struct jtext *t = self.s, *sep = jinja_arg_str(in, a[0], "");
    struct jvalue out = jv_list(in, V_TUPLE, 3);
    if (sep->n == 0)
        return jinja_fail(in, "ValueError: empty separator");
    size_t at =
        right ? jt_rfind(in, t, jt_view(sep), 0, t->n) : jt_find(in, t, jt_view(sep), 0, t->n);
    bool found = at != SIZE_MAX;
    size_t first = found ? at : right ? 0 : t->n, second = found ? at + sep->n : first;
    push_slice(in, out.l, t, 0, first);
    push_slice(in, out.l, t, first, second);
    push_slice(in, out.l, t, second, t->n);
    return out;
}

SELF(str_partition) {
    return partition(in, self, a, false);
}

SELF(str_rpartition) {
    return partition(in, self, a, true);
}

static struct jvalue justify(struct jinja *in, struct jvalue self, const struct jvalue *a,
                             int where) {
    struct jtext *fill = jinja_arg_str(in, a[1], " ");
    int64_t n = (int64_t)jt_chars(in, self.s), width = jinja_arg_int(in, a[0], 0),
            gap = width > n ? width - n : 0;
    if (!in->failed && jt_chars(in, fill) != 1)
        return jinja_fail(in, "TypeError: The fill character must be exactly one character long");
    int64_t left = where < 0   ? 0
                   : where > 0 ? gap
                               : gap / 2 + (gap & width & 1); // CPython's rounding
    struct jbuild b;
    jb_init(&b, in, self.s->n);
    jb_fill(&b, fill, left);
    jb_text(&b, self.s);
    jb_fill(&b, fill, gap - left);
    struct jtext *out = jb_done(&b);
    out->markup = self.s->markup;
    return jv_text(out);
}

SELF(str_ljust) {
    return justify(in, self, a, -1);
}

SELF(str_rjust) {
    return justify(in, self, a, 1);
}

SELF(str_center) {
    return justify(in, self, a, 0);
}

SELF(str_zfill) {
    const struct jtext *t = self.s;
    int64_t gap = jinja_arg_int(in, a[0], 0) - (int64_t)jt_chars(in, t);
    size_t sign = t->n && (t->p[0] == '-' || t->p[0] == '+');
    struct jbuild b;
    jb_init(&b, in, t->n);
    jb_slice(&b, t, 0, sign);
    jb_fill(&b, jt_new(in, str_of("0"), TRUST_ALL), gap);
    jb_slice(&b, t, sign, t->n);
    return jv_text(jb_done(&b));
}

SELF(str_expandtabs) {
    const struct jtext *t = self.s;
    int64_t size = jinja_arg_int(in, a[0], 8), column = 0;
    struct jbuild b;
    jb_init(&b, in, t->n);
    for (size_t i = 0, len; i < t->n && !in->failed; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        if (cp == '\t') {
            int64_t gap = size > 0 ? size - column % size : 0;
            jb_fill(&b, jt_new(in, str_of(" "), jt_trusted(t, i) ? TRUST_ALL : TRUST_NONE), gap);
            column += gap;
        } else {
            jb_slice(&b, t, i, i + len);
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
        }
    }
    return jv_text(jb_done(&b));
}

SELF(str_upper) {
    (void)a;
    return jv_text(jinja_upper(in, self.s));
}

SELF(str_lower) {
    (void)a;
    return jv_text(jinja_lower(in, self.s));
}

SELF(str_title) {
    (void)a;
    return jv_text(jinja_title(in, self.s));
}

SELF(str_capitalize) {
    (void)a;
    return jv_text(jinja_capitalize(in, self.s));
}

SELF(str_swapcase) {
    (void)a;
    return jv_text(jinja_swapcase(in, self.s));
}

SELF(str_casefold) {
    (void)a;
    return jv_text(jinja_casefold(in, self.s));
}

/* Whether the text is not empty and all its characters are of a class. */
static struct jvalue all(struct jinja *in, struct jvalue self, bool (*is)(uint32_t cp),
                         bool when_empty) {
    jinja_steps(in, self.s->n);
    for (size_t i = 0, len; i < self.s->n; i += len)
        if (!is(jt_decode(self.s, i, &len)))
            return jv_bool(false);
    return jv_bool(self.s->n > 0 || when_empty);
}

static bool is_alnum(uint32_t cp) {
    return jinja_is_alpha(cp) || jinja_is_numeric(cp);
}

static bool is_ascii(uint32_t cp) {
    return cp < 0x80;
}

#define CLASS(method, test, when_empty)                                                            \
    SELF(method) {                                                                                 \
        (void)a;                                                                                   \
        return all(in, self, test, when_empty);                                                    \
    }
CLASS(str_isalpha, jinja_is_alpha, false)
CLASS(str_isalnum, is_alnum, false)
CLASS(str_isdecimal, jinja_is_decimal, false)
CLASS(str_isdigit, jinja_is_digit, false)
CLASS(str_isnumeric, jinja_is_numeric, false)
CLASS(str_isspace, jt_is_space, false)
CLASS(str_isascii, is_ascii, true)
CLASS(str_isprintable, jinja_is_printable, true)

SELF(str_isupper) {
    (void)a;
    return jv_bool(jinja_is_cased(in, self.s, true));
}

SELF(str_islower) {
    (void)a;
    return jv_bool(jinja_is_cased(in, self.s, false));
}

SELF(str_istitle) {
    (void)a;
    return jv_bool(jinja_is_title(in, self.s));
}

SELF(str_isidentifier) {
    size_t len = 0;
    (void)a;
    jinja_steps(in, self.s->n);
    uint32_t first = self.s->n ? jt_decode(self.s, 0, &len) : '0';
    bool good = first == '_' || jinja_is_alpha(first);
    for (size_t i = len; good && i < self.s->n; i += len) {
        uint32_t cp = jt_decode(self.s, i, &len);
        good = cp == '_' || jinja_is_alpha(cp) || jinja_is_decimal(cp);
    }
    return jv_bool(good);
}

static struct jvalue str_format(struct jinja *in, struct jvalue self, const struct jargs *a) {
    return jinja_format(in, self.s, a);
}

static struct jvalue str_format_map(struct jinja *in, struct jvalue self, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    struct jargs members = {0};
    if (!jinja_bind(in, "format_map", "mapping", 1, a, v))
        return jv_none();
    if (v[0].kind != V_DICT || !jinja_room(in, v[0].d->n * 2 * sizeof(struct jvalue)))
        return jinja_fail(in, "TypeError: format_map() takes a mapping, not %s", jv_type(v[0]));
    members.names = jinja_alloc(in, v[0].d->n * sizeof *members.names);
    members.kw = jinja_alloc(in, v[0].d->n * sizeof *members.kw);
    for (size_t i = 0; i < v[0].d->n; i++)
        if (jv_is_str(v[0].d->pairs[i].key)) {
            members.names[members.n_kw] = jt_view(v[0].d->pairs[i].key.s);
            members.kw[members.n_kw++] = v[0].d->pairs[i].value;
        }
    return jinja_format(in, self.s, &members);
}

static const struct jmethod_info methods[] = {
    {"capitalize", "", 0, str_capitalize, NULL},
    {"casefold", "", 0, str_casefold, NULL},
    {"center", "width fillchar", 1, str_center, NULL},
    {"count", "sub start end", 1, str_count, NULL},
    {"endswith", "suffix start end", 1, str_endswith, NULL},
    {"expandtabs", "tabsize", 0, str_expandtabs, NULL},
    {"find", "sub start end", 1, str_find, NULL},
    {"format", NULL, 0, NULL, str_format},
    {"format_map", NULL, 0, NULL, str_format_map},
    {"index", "sub start end", 1, str_index, NULL},
    {"isalnum", "", 0, str_isalnum, NULL},
    {"isalpha", "", 0, str_isalpha, NULL},
    {"isascii", "", 0, str_isascii, NULL},
    {"isdecimal", "", 0, str_isdecimal, NULL},
    {"isdigit", "", 0, str_isdigit, NULL},
    {"isidentifier", "", 0, str_isidentifier, NULL},
    {"islower", "", 0, str_islower, NULL},
    {"isnumeric", "", 0, str_isnumeric, NULL},
    {"isprintable", "", 0, str_isprintable, NULL},
    {"isspace", "", 0, str_isspace, NULL},
    {"istitle", "", 0, str_istitle, NULL},
    {"isupper", "", 0, str_isupper, NULL},
    {"join", "iterable", 1, str_join, NULL},
    {"ljust", "width fillchar", 1, str_ljust, NULL},
    {"lower", "", 0, str_lower, NULL},
    {"lstrip", "chars", 0, str_lstrip, NULL},
    {"partition", "sep", 1, str_partition, NULL},
    {"removeprefix", "prefix", 1, str_removeprefix, NULL},
    {"removesuffix", "suffix", 1, str_removesuffix, NULL},
    {"replace", "old new count", 2, str_replace, NULL},
    {"rfind", "sub start end", 1, str_rfind, NULL},
    {"rindex", "sub start end", 1, str_rindex, NULL},
    {"rjust", "width fillchar", 1, str_rjust, NULL},
    {"rpartition", "sep", 1, str_rpartition, NULL},
    {"rsplit", "sep maxsplit", 0, str_rsplit, NULL},
    {"rstrip", "chars", 0, str_rstrip, NULL},
    {"split", "sep maxsplit", 0, str_split, NULL},
    {"splitlines", "keepends", 0, str_splitlines, NULL},
    {"startswith", "prefix start end", 1, str_startswith, NULL},
    {"strip", "chars", 0, str_strip, NULL},
    {"swapcase", "", 0, str_swapcase, NULL},
    {"title", "", 0, str_title, NULL},
    {"upper", "", 0, str_upper, NULL},
    {"zfill", "width", 1, str_zfill, NULL},
};

const struct jmethod_info *jinja_str_method(struct str name) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (str_eq(name, methods[i].name))
            return &methods[i];
    return NULL;
}
