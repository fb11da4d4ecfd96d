/* How values are written: Python's str() and repr().
 *
 * The output keeps the value's origin. The bytes of a foreign string are foreign. So are the
 * digits, brackets and quotes of foreign numbers and containers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jinja/run.h"

/* Writes the shortest digits that read back as f, in Python's form: with an exponent below 1e-4 and
 * from 1e16. */
void jv_float_text(double f, char out[40]) {
    if (isnan(f) || isinf(f)) {
        snprintf(out, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char e[40];
    int precision = 0;
    do
        snprintf(e, sizeof e, "%.*e", precision, f);
    while (strtod(e, NULL) != f && ++precision < 17);
    char *mark = strchr(e, 'e');
    long exponent = strtol(mark + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        *mark = '\0';
        snprintf(out, 40, "%.30se%c%02d", e, exponent < 0 ? '-' : '+', abs((int)exponent) % 1000);
    } else {
        int decimals = precision - (int)exponent;
        snprintf(out, 40, "%.*f", decimals > 0 ? decimals : 1, f);
    }
}

/* Writes one character as repr does inside quotes of that kind. */
static void repr_char(struct jbuild *b, const struct jtext *t, size_t at, size_t len, uint32_t cp,
                      char quote) {
    bool trusted = jt_trusted(t, at);
    char text[16];
    if (cp == '\\' || cp == (uint32_t)quote)
        snprintf(text, sizeof text, "\\%c", (char)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (jinja_is_printable(cp)) {
        jb_slice(b, t, at, at + len);
        return;
    } else
        snprintf(text, sizeof text,
                 cp < 0x100     ? "\\x%02" PRIx32
                 : cp < 0x10000 ? "\\u%04" PRIx32
                                : "\\U%08" PRIx32,
                 cp);
    jb_str(b, text, trusted);
}

static void repr_str(struct jbuild *b, const struct jtext *t) {
    bool pure = jt_pure(t);
    bool single = memchr(t->p, '\'', t->n) != NULL, twice = memchr(t->p, '"', t->n) != NULL;
    char quote = single && !twice ? '"' : '\'';
    if (t->markup)
        jb_str(b, "Markup(", pure);
    jb_add(b, &quote, 1, pure);
    for (size_t i = 0, len; i < t->n; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        repr_char(b, t, i, len, cp, quote);
    }
    jb_add(b, &quote, 1, pure);
    if (t->markup)
        jb_str(b, ")", pure);
}

static void write_repr(struct jbuild *b, struct jvalue v);

static void repr_items(struct jbuild *b, struct jvalue v, const char *open, const char *close) {
    jb_str(b, open, !v.foreign);
    for (size_t i = 0; i < v.l->n && !b->in->failed; i++) {
        if (i)
            jb_str(b, ", ", !v.foreign);
        write_repr(b, v.l->v[i]);
    }
    if (v.kind == V_TUPLE && v.l->n == 1)
        jb_str(b, ",", !v.foreign);
    jb_str(b, close, !v.foreign);
}

static void repr_pairs(struct jbuild *b, struct jvalue v) {
    jb_str(b, "{", !v.foreign);
    for (size_t i = 0; i < v.d->n && !b->in->failed; i++) {
        if (i)
            jb_str(b, ", ", !v.foreign);
        write_repr(b, v.d->pairs[i].key);
        jb_str(b, ": ", !v.foreign);
        write_repr(b, v.d->pairs[i].value);
    }
    jb_str(b, "}", !v.foreign);
}

static void repr_range(struct jbuild *b, const struct jrange *r) {
    char text[100];
    snprintf(text, sizeof text,
             r->step == 1 ? "range(%" PRId64 ", %" PRId64 ")"
                          : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
             r->start, r->stop, r->step);
    jb_str(b, text, true);
}

/* Python prints an address here, so no template can depend on it. */
static void repr_other(struct jbuild *b, struct jvalue v) {
    jb_str(b, "<", true);
    jb_str(b, jv_type(v), true);
    if (v.kind == V_MACRO) {
        jb_str(b, " '", true);
        jb_add(b, v.macro->node->name.p, v.macro->node->name.n, true);
        jb_str(b, "'", true);
    } else {
        jb_str(b, " object", true);
    }
    jb_str(b, ">", true);
}

static void write_loop(struct jbuild *b, struct jloop *l) {
    char text[80];
    int64_t n = 0;
    jinja_loop_length(b->in, l, &n);
    snprintf(text, sizeof text, "<LoopContext %" PRId64 "/%" PRId64 ">", l->index0 + 1, n);
    jb_str(b, text, true);
}

/* Writes numbers, none and booleans, for which str() and repr() are the same. */
static bool write_scalar(struct jbuild *b, struct jvalue v) {
    char text[40];
    switch (v.kind) {
    case V_NONE:
        jb_str(b, "None", !v.foreign);
        return true;
    case V_BOOL:
        jb_str(b, v.b ? "True" : "False", !v.foreign);
        return true;
    case V_INT:
        snprintf(text, sizeof text, "%" PRId64, v.i);
        jb_str(b, text, !v.foreign);
        return true;
    case V_BIG:
        jb_text(b, v.s);
        return true;
    case V_FLOAT:
        jv_float_text(v.f, text);
        jb_str(b, text, !v.foreign);
        return true;
    default:
        return false;
    }
}

static void write_repr(struct jbuild *b, struct jvalue v) {
    static const char *const views[] = {"dict_keys(", "dict_values(", "dict_items("};
    struct jvalue list;
    if (!jinja_steps(b->in, 2) || write_scalar(b, v) || !jinja_deeper(b->in))
        return;
    switch (v.kind) {
    case V_STR:
        repr_str(b, v.s);
        break;
    case V_UNDEF:
        jb_str(b, "Undefined", true);
        break;
    case V_LIST:
        repr_items(b, v, "[", "]");
        break;
    case V_TUPLE:
        repr_items(b, v, "(", ")");
        break;
    case V_NAMESPACE:
        jb_str(b, "<Namespace ", true);
        repr_pairs(b, v);
        jb_str(b, ">", true);
        break;
    case V_DICT:
        repr_pairs(b, v);
        break;
    case V_VIEW:
        list = jinja_to_list(b->in, v, V_LIST);
        list.foreign = v.foreign;
        jb_str(b, views[v.sub], !v.foreign);
        repr_items(b, list, "[", "]");
        jb_str(b, ")", !v.foreign);
        break;
    case V_RANGE:
        repr_range(b, v.range);
        break;
    case V_LOOP:
        write_loop(b, v.loop);
        break;
    default:
        repr_other(b, v);
    }
    b->in->depth--;
}

struct jtext *jv_repr(struct jinja *in, struct jvalue v) {
    struct jbuild b;
    jb_init(&b, in, 64);
    write_repr(&b, v);
    return jb_done(&b);
}

struct jtext *jv_to_str(struct jinja *in, struct jvalue v) {
    if (v.kind == V_STR)
        return v.s;
    if (v.kind == V_UNDEF)
        return jt_new(in, str_of(""), TRUST_ALL);
    struct jtext *own = jv_own_text(v);
    return own ? own : jv_repr(in, v);
}
