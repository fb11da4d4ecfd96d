/* The table of all filters, and the filters on numbers and on any value, as jinja2/filters.py
 * defines them.
 *
 * pprint, random, urlize and wordwrap are known by name but not supported. A template that reaches
 * one is refused: they make web pages or random text, not prompts.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/filter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

static JINJA_FILTER(jf_default) {
    if (self.kind == V_UNDEF || (jinja_arg_bool(in, a[1], false) && !jv_truth(in, self)))
        return a[0].kind == V_MISSING ? jv_str(in, "") : a[0];
    return self;
}

static JINJA_FILTER(jf_attr) {
    bool found = true;
    struct jtext *name = jinja_arg_str(in, a[0], "");
    if (in->failed)
        return jv_none();
    // Attributes only: an item of that name does not count. In namespaces items are attributes.
    struct jvalue v = jinja_getattr(in, self, jt_view(name));
    struct jvalue item = jinja_subscript(in, self, jv_text(name), &found);
    bool method = v.kind == V_METHOD || v.kind == V_UNDEF || !found || self.kind == V_NAMESPACE;
    (void)item;
    return method ? v
                  : jv_undef(in, "'@ object' has no attribute '#'", jv_type(self), jt_view(name));
}

static JINJA_FILTER(jf_abs) {
    (void)a;
    if (self.kind == V_FLOAT)
        self.f = fabs(self.f);
    else if (self.kind == V_BIG && self.s->p[0] == '-')
        return jinja_too_large(in);
    else if ((self.kind == V_INT && self.i < 0) || self.kind == V_BOOL || !jv_is_number(self))
        return jv_is_number(self) ? jinja_negate(in, self, self.kind == V_INT)
               : self.kind == V_UNDEF
                   ? jinja_undefined(in, self)
                   : jinja_fail(in, "TypeError: bad operand type for abs(): '%s'", jv_type(self));
    return self;
}

/* Copies the text of a number as int() and float() accept it: without white space around it and '_'
 * between its digits. */
static bool plain_number(const struct jtext *t, char *out, size_t cap) {
    size_t from = 0, to = t->n, n = 0, len;
    while (from < to && jt_is_space(jt_decode(t, from, &len)))
        from += len;
    while (to > from && jt_is_space((unsigned char)t->p[to - 1]))
        to--;
    for (size_t i = from; i < to; i++) {
        bool between = t->p[i] == '_' && i > from && i + 1 < to && t->p[i - 1] != '_';
        if (n + 1 >= cap || (unsigned char)t->p[i] >= 0x80)
            return false;
        if (!between)
            out[n++] = t->p[i];
    }
    out[n] = '\0';
    return n > 0;
}

static bool text_to_int(struct jinja *in, const struct jtext *t, int64_t base, int64_t *i) {
    char text[200], *end;
    if (!plain_number(t, text, sizeof text) || base < 0 || base == 1 || base > 36)
        return false;
    const char *p = text + (text[0] == '-' || text[0] == '+');
    int mark = p[0] == '0' && p[1] ? p[1] | 0x20 : 0;
    int prefixed = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (prefixed && (base == 0 || base == prefixed)) {
        p += 2;
        base = prefixed;
    } else if (base == 0) {
        base = 10;
    }
    if (*p == '-' || *p == '+' || *p == '\0' || jt_is_space((unsigned char)*p))
        return false;
    unsigned long long v = strtoull(p, &end, (int)base);
    if (*end || (base == 16 && p == text && (p[1] | 0x20) == 'x'))
        return false;
    if (v > INT64_MAX)
        jinja_too_large(in);
    *i = text[0] == '-' ? -(int64_t)v : (int64_t)v;
    return !in->failed;
}

static bool to_float(struct jvalue v, double *f) {
    char text[400], *end;
    if (jv_float_of(v, f))
        return true;
    if (v.kind != V_STR || !plain_number(v.s, text, sizeof text) || strpbrk(text, "xXpP("))
        return false;
    *f = strtod(text, &end);
    return *end == '\0';
}

static JINJA_FILTER(jf_int) {
    int64_t i;
    double f;
    struct jvalue otherwise = a[0].kind == V_MISSING ? jv_int(0) : a[0], v;
    if (self.kind == V_UNDEF)
        return jinja_undefined(in, self);
    if (self.kind == V_BIG)
        return self;
    jinja_steps(in, jv_is_str(self) ? 64 : 1);
    if (jv_is_str(self) ? text_to_int(in, self.s, jinja_arg_int(in, a[1], 10), &i)
                        : jv_int_of(self, &i)) {
        v = jv_int(i);
    } else if (!to_float(self, &f) || isnan(f) || (isinf(f) && jv_is_str(self))) {
        return otherwise;
    } else {
        if (fabs(f) >= 0x1p63)
            return jinja_fail(in, "OverflowError: a float is too large for an integer of 64 bits");
        v = jv_int((int64_t)f);
    }
    v.foreign = self.foreign || (jv_is_str(self) && !jt_pure(self.s));
    return v;
}

static JINJA_FILTER(jf_float) {
    double f;
    if (self.kind == V_UNDEF)
        return jinja_undefined(in, self);
    if (!to_float(self, &f))
        return a[0].kind == V_MISSING ? jv_float(0) : a[0];
    struct jvalue v = jv_float(f);
    v.foreign = self.foreign || (jv_is_str(self) && !jt_pure(self.s));
    return v;
}

/* Rounds an integer to a power of ten, halves to even. */
static struct jvalue round_int(struct jinja *in, int64_t i, int64_t zeros) {
    int64_t unit = 1;
    for (; zeros > 0 && unit <= INT64_MAX / 10; zeros--)
        unit *= 10;
    if (zeros > 0)
        return zeros == 1 && (i > 5 * unit || i < -5 * unit) ? jinja_too_large(in) : jv_int(0);
    int64_t low = i / unit * unit, rest = i - low, up;
    int64_t half = rest < 0 ? -rest : rest;
    bool odd = (low / unit) % 2 != 0;
    if (half < unit - half || (half == unit - half && !odd))
        return jv_int(low);
    return __builtin_add_overflow(low, rest < 0 ? -unit : unit, &up) ? jinja_too_large(in)
                                                                     : jv_int(up);
}

static JINJA_FILTER(jf_round) {
    int64_t precision = jinja_arg_int(in, a[0], 0), i;
    struct jtext *method = jinja_arg_str(in, a[1], "common");
    bool up = str_eq(jt_view(method), "ceil"), down = str_eq(jt_view(method), "floor");
    double f;
    struct jvalue v;
    if (self.kind == V_UNDEF)
        return jinja_undefined(in, self);
    if (!jv_float_of(self, &f) || in->failed)
        return jinja_fail(in, "TypeError: type %s doesn't define __round__ method", jv_type(self));
    if (!up && !down && !str_eq(jt_view(method), "common"))
        return jinja_fail(in, "FilterArgumentError: method must be common, ceil or floor");
    if (up || down) {
        double scale = pow(10, (double)precision);
        v = jv_float((up ? ceil : floor)(f * scale) / scale);
    } else if (jv_int_of(self, &i)) {
        v = precision >= 0 ? jv_int(i) : round_int(in, i, -precision);
    } else if (self.kind == V_BIG) {
        v = precision >= 0 ? self : jinja_too_large(in);
    } else if (precision >= 0) {
        char text[512];
        snprintf(text, sizeof text, "%.*f", precision > 100 ? 100 : (int)precision, f);
        v = jv_float(isfinite(f) && precision <= 100 ? strtod(text, NULL) : f);
    } else {
        double scale = pow(10, (double)-precision);
        v = jv_float(isfinite(scale) ? nearbyint(f / scale) * scale : 0);
    }
    v.foreign = self.foreign;
    return v;
}

static JINJA_FILTER(jf_filesizeformat) {
    static const char prefixes[] = "kMGTPEZY";
    bool binary = jinja_arg_bool(in, a[0], false);
    double base = binary ? 1024 : 1000, bytes;
    char text[400];
    if (!to_float(self, &bytes))
        return jinja_fail(in, "TypeError: filesizeformat: not a number: %s", jv_type(self));
    if (bytes == 1) {
        snprintf(text, sizeof text, "1 Byte");
    } else if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes));
    } else {
        int i = 0;
        double unit = base * base;
        for (; bytes >= unit && prefixes[i + 1]; i++)
            unit *= base;
        snprintf(text, sizeof text, "%.1f %c%sB", base * bytes / unit,
                 binary && i == 0 ? 'K' : prefixes[i], binary ? "i" : "");
    }
    return jv_text(jt_new(in, arena_str(&in->arena, text, strlen(text)),
                          self.foreign ? TRUST_NONE : TRUST_ALL));
}

static JINJA_FILTER(refused) {
    (void)self, (void)a;
    return jinja_fail(in,
                      "pprint, random, urlize and wordwrap are not supported in chat templates");
}

static const struct jfilter filters[] = {
    {"abs", "", 0, jf_abs, NULL},
    {"attr", "name", 1, jf_attr, NULL},
    {"batch", "linecount fill_with", 1, jf_batch, NULL},
    {"capitalize", "", 0, jf_capitalize, NULL},
    {"center", "width", 0, jf_center, NULL},
    {"count", "", 0, jf_length, NULL},
    {"d", "default_value boolean", 0, jf_default, NULL},
    {"default", "default_value boolean", 0, jf_default, NULL},
    {"dictsort", "case_sensitive by reverse", 0, jf_dictsort, NULL},
    {"e", "", 0, jf_escape, NULL},
    {"escape", "", 0, jf_escape, NULL},
    {"filesizeformat", "binary", 0, jf_filesizeformat, NULL},
    {"first", "", 0, jf_first, NULL},
    {"float", "default", 0, jf_float, NULL},
    {"forceescape", "", 0, jf_forceescape, NULL},
    {"format", NULL, 0, NULL, jf_format},
    {"groupby", "attribute default case_sensitive", 1, jf_groupby, NULL},
    {"indent", "width first blank", 0, jf_indent, NULL},
    {"int", "default base", 0, jf_int, NULL},
    {"items", "", 0, jf_items, NULL},
    {"join", "d attribute", 0, jf_join, NULL},
    {"last", "", 0, jf_last, NULL},
    {"length", "", 0, jf_length, NULL},
    {"list", "", 0, jf_list, NULL},
    {"lower", "", 0, jf_lower, NULL},
    {"map", NULL, 0, NULL, jf_map},
    {"max", "case_sensitive attribute", 0, jf_max, NULL},
    {"min", "case_sensitive attribute", 0, jf_min, NULL},
    {"pprint", "", 0, refused, NULL},
    {"random", "", 0, refused, NULL},
    {"reject", NULL, 0, NULL, jf_reject},
    {"rejectattr", NULL, 0, NULL, jf_rejectattr},
    {"replace", "old new count", 2, jf_replace, NULL},
    {"reverse", "", 0, jf_reverse, NULL},
    {"round", "precision method", 0, jf_round, NULL},
    {"safe", "", 0, jf_safe, NULL},
    {"select", NULL, 0, NULL, jf_select},
    {"selectattr", NULL, 0, NULL, jf_selectattr},
    {"slice", "slices fill_with", 1, jf_slice, NULL},
    {"sort", "reverse case_sensitive attribute", 0, jf_sort, NULL},
    {"string", "", 0, jf_string, NULL},
    {"striptags", "", 0, jf_striptags, NULL},
    {"sum", "attribute start", 0, jf_sum, NULL},
    {"title", "", 0, jf_title, NULL},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, jinja_to_json, NULL},
    {"trim", "chars", 0, jf_trim, NULL},
    {"truncate", "length killwords end leeway", 0, jf_truncate, NULL},
    {"unique", "case_sensitive attribute", 0, jf_unique, NULL},
    {"upper", "", 0, jf_upper, NULL},
    {"urlencode", "", 0, jf_urlencode, NULL},
    {"urlize", "trim_url_limit nofollow target rel extra_schemes", 0, refused, NULL},
    {"wordcount", "", 0, jf_wordcount, NULL},
    {"wordwrap", "width break_long_words wrapstring break_on_hyphens", 0, refused, NULL},
    {"xmlattr", "autospace", 0, jf_xmlattr, NULL},
};

const struct jfilter *jinja_filter(struct str name) {
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (str_eq(name, filters[i].name))
            return &filters[i];
    return NULL;
}
