/* Formatting: "%-5d" % v and "{:>5}".format(v), as Python defines both.
 *
 * The format's text keeps its trust, and so does each value. Padding has the trust of the format.
 * Fields of {} reach attributes and items through the template's own sandbox. Widths past the
 * memory limit are refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "jinja/run.h"

struct spec {
    struct jtext *fill; // NULL: spaces
    char align, sign, type, group;
    bool alternate, zero;
    int64_t width, precision; // precision -1: not given
};

enum { MAX_PRECISION = 100 };

struct jtext *jinja_format_float(struct jinja *in, double f, int precision, char type,
                                 bool alternate) {
    char form[8] = "%", text[512];
    size_t n = 1;
    if (alternate)
        form[n++] = '#';
    memcpy(form + n, ".*", 2);
    form[n + 2] = type == 'F' ? 'f' : type;
    form[n + 3] = '\0';
    // `form` is one of six formats, made by this function.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int length = snprintf(text, sizeof text, form, precision, f);
#pragma GCC diagnostic pop
    if (length < 0 || (size_t)length >= sizeof text)
        return jinja_fail(in, "ValueError: a formatted number is too long"),
               jt_new(in, str_of(""), TRUST_ALL);
    return jt_new(in, arena_str(&in->arena, text, (size_t)length), TRUST_ALL);
}

/* Formats like Python's repr with a limit on the digits: like %g, but a whole number keeps its
 * ".0". */
static struct jtext *format_short(struct jinja *in, double f, int precision) {
    precision = precision ? precision : 1;
    struct jtext *t = jinja_format_float(in, f, precision, 'g', false);
    bool plain = isfinite(f) != 0;
    size_t digits = 0;
    for (size_t i = 0; i < t->n; i++) {
        plain = plain && t->p[i] != '.' && t->p[i] != 'e';
        digits += t->p[i] >= '0' && t->p[i] <= '9';
    }
    if (!plain)
        return t;
    struct jbuild b;
    jb_init(&b, in, t->n + 8);
    if ((int)digits < precision) {
        jb_text(&b, t);
        jb_str(&b, ".0", true);
        return jb_done(&b);
    }
    t = jinja_format_float(in, f, precision - 1, 'e', false);
    size_t mark = jt_find(in, t, str_of("e"), 0, t->n), end = mark;
    while (end > 0 && memchr(t->p, '.', mark) && t->p[end - 1] == '0')
        end--;
    end -= end > 0 && t->p[end - 1] == '.';
    jb_slice(&b, t, 0, end);
    jb_slice(&b, t, mark, t->n);
    return jb_done(&b);
}

static struct jtext *format_int(struct jinja *in, int64_t i, const struct spec *s) {
    char digits[80], *p = digits + sizeof digits;
    uint64_t v = i < 0 ? -(uint64_t)i : (uint64_t)i;
    unsigned base = s->type == 'b' ? 2 : s->type == 'o' ? 8 : (s->type | 0x20) == 'x' ? 16 : 10;
    do
        *--p = (s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
    while ((v /= base) > 0);
    if (s->alternate && base != 10) {
        *--p = s->type;
        *--p = '0';
    }
    if (i < 0)
        *--p = '-';
    return jt_new(in, arena_str(&in->arena, p, (size_t)(digits + sizeof digits - p)), TRUST_ALL);
}

/* Returns the number as text, with "-" as its only sign and without padding. */
static struct jtext *format_number(struct jinja *in, struct jvalue v, const struct spec *s) {
    int64_t i = 0;
    double f = 0;
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    char type = s->type;
    bool whole = v.kind != V_FLOAT;
    if (s->precision > MAX_PRECISION) {
        jinja_fail(in, "ValueError: a precision of more than %d digits", MAX_PRECISION);
        return jt_new(in, str_of(""), TRUST_ALL);
    }
    if (whole && (type == '\0' || strchr("bdoxXn", type))) {
        if (v.kind == V_BIG && type != '\0' && strchr("boxX", type))
            jinja_too_large(in);
        if (v.kind == V_BIG)
            return v.s;
        jv_int_of(v, &i);
        return format_int(in, i, s);
    }
    jv_float_of(v, &f);
    if (type == '\0' && s->precision < 0)
        return jv_repr(in, jv_float(f));
    if (type == '\0')
        return format_short(in, f, precision);
    if (type == '%') {
        struct jtext *t = jinja_format_float(in, f * 100, precision, 'f', s->alternate);
        return jt_concat(in, t, jt_new(in, str_of("%"), TRUST_ALL));
    }
    return jinja_format_float(in, f, precision, type == 'n' ? 'g' : type, s->alternate);
}

/* Groups the digits of the whole part by three. */
static struct jtext *group(struct jinja *in, struct jtext *t, char mark) {
    size_t from = t->n && t->p[0] == '-', to = from;
    while (to < t->n && t->p[to] >= '0' && t->p[to] <= '9')
        to++;
    struct jbuild b;
    jb_init(&b, in, t->n * 2);
    for (size_t i = 0; i < t->n; i++) {
        if (i > from && i < to && (to - i) % 3 == 0)
            jb_add(&b, &mark, 1, true);
        jb_slice(&b, t, i, i + 1);
    }
    return jb_done(&b);
}

/* Writes t, padded to the spec's width. With '=' alignment the padding goes after the sign. */
static void pad(struct jbuild *b, const struct jtext *t, const struct spec *s, char align,
                bool trusted) {
    struct jinja *in = b->in;
    int64_t gap = s->width - (int64_t)jt_chars(in, t), left = 0;
    struct jtext *fill =
        s->fill ? s->fill
                : jt_new(in, str_of(s->zero ? "0" : " "), trusted ? TRUST_ALL : TRUST_NONE);
    size_t from = 0;
    gap = gap < 0 ? 0 : gap;
    if (align == '=') {
        from = t->n && (t->p[0] == '-' || t->p[0] == '+' || t->p[0] == ' ');
        from += t->n > from + 1 && t->p[from] == '0' && strchr("xXob", t->p[from + 1]) ? 2 : 0;
    }
    left = align == '<' ? 0 : align == '^' ? gap / 2 : gap;
    jb_slice(b, t, 0, from);
    jb_fill(b, fill, left);
    jb_slice(b, t, from, t->n);
    jb_fill(b, fill, gap - left);
}

static void put_number(struct jbuild *b, struct jvalue v, const struct spec *s, bool trusted) {
    struct jinja *in = b->in;
    struct jtext *t = format_number(in, v, s);
    if (s->group)
        t = group(in, t, s->group);
    if ((s->sign == '+' || s->sign == ' ') && t->n && t->p[0] != '-')
        t = jt_concat(in, jt_new(in, str_of(s->sign == '+' ? "+" : " "), TRUST_ALL), t);
    if (v.foreign) {
        t = jt_slice(in, t, 0, t->n);
        t->trust = TRUST_NONE;
    }
    pad(b, t, s, s->align ? s->align : s->zero ? '=' : '>', trusted);
}

static void put_text(struct jbuild *b, struct jtext *t, const struct spec *s, char align,
                     bool trusted) {
    if (s->precision >= 0)
        t = jt_slice(b->in, t, 0, jt_byte_at(b->in, t, (size_t)s->precision));
    pad(b, t, s, align, trusted);
}

/* [[fill]align][sign][#][0][width][,_][.precision][type] */
static bool parse_spec(struct jinja *in, const struct jtext *t, struct spec *s) {
    size_t i = 0, len = 0;
    *s = (struct spec){.precision = -1};
    if (t->n)
        jt_decode(t, 0, &len);
    if (len && len < t->n && strchr("<>=^", t->p[len])) {
        s->fill = jt_slice(in, t, 0, len);
        i = len;
    }
    if (i < t->n && strchr("<>=^", t->p[i]))
        s->align = t->p[i++];
    if (i < t->n && strchr("+- ", t->p[i]))
        s->sign = t->p[i++];
    if (i < t->n && t->p[i] == '#') {
        s->alternate = true;
        i++;
    }
    if (i < t->n && t->p[i] == '0') {
        s->zero = !s->fill;
        i++;
    }
    for (; i < t->n && t->p[i] >= '0' && t->p[i] <= '9' && s->width < INT32_MAX; i++)
        s->width = s->width * 10 + (t->p[i] - '0');
    if (i < t->n && (t->p[i] == ',' || t->p[i] == '_'))
        s->group = t->p[i++];
    if (i + 1 < t->n && t->p[i] == '.' && t->p[i + 1] >= '0' && t->p[i + 1] <= '9')
        for (s->precision = 0, i++;
             i < t->n && t->p[i] >= '0' && t->p[i] <= '9' && s->precision < INT32_MAX; i++)
            s->precision = s->precision * 10 + (t->p[i] - '0');
    if (i < t->n)
        s->type = t->p[i++];
    if (i == t->n && (s->type == '\0' || strchr("sbcdoxXneEfFgG%", s->type)))
        return true;
    jinja_fail(in, "ValueError: Invalid format specifier '%.*s'", t->n > 60 ? 60 : (int)t->n, t->p);
    return false;
}

/* format(v, spec) */
static void put_value(struct jbuild *b, struct jvalue v, const struct jtext *spec) {
    struct jinja *in = b->in;
    struct spec s;
    if (spec->n == 0) {
        jb_text(b, jv_to_str(in, v));
        return;
    }
    if (!parse_spec(in, spec, &s))
        return;
    bool number = jv_is_number(v), trusted = jt_pure(spec);
    bool fits = number ? s.type != 's' && s.type != 'c' &&
                             (v.kind != V_FLOAT || !s.type || !strchr("bdoxX", s.type))
                       : v.kind == V_STR && (s.type == 's' || s.type == '\0') && !s.sign &&
                             !s.alternate && s.align != '=';
    if (!fits)
        jinja_fail(in, "ValueError: Unknown format code '%c' for object of type '%s'",
                   s.type ? s.type : ' ', jv_type(v));
    else if (number)
        put_number(b, v, &s, trusted);
    else
        put_text(b, v.s, &s, s.align ? s.align : '<', trusted);
}

struct formatter {
    const struct jtext *t;
    const struct jargs *a;
    size_t next; // the next automatic number
    int depth;
};

static struct jvalue field_root(struct jinja *in, struct formatter *f, struct str name) {
    uint64_t at = f->next;
    bool number = name.n == 0 || parse_u64(name, 0, INT32_MAX, &at);
    f->next += name.n == 0;
    if (number && at < f->a->n)
        return f->a->pos[at];
    for (size_t i = 0; !number && i < f->a->n_kw; i++)
        if (str_same(f->a->names[i], name))
            return f->a->kw[i];
    return jinja_fail(
        in,
        number ? "IndexError: Replacement index %.*s out of range for positional args tuple"
               : "KeyError: '%.*s'",
        name.n > 60 ? 60 : (int)name.n, name.p);
}

/* Evaluates the field name.attribute[item]... in [from, to) of the format. */
static struct jvalue field(struct jinja *in, struct formatter *f, size_t from, size_t to) {
    const char *p = f->t->p;
    size_t i = from;
    while (i < to && p[i] != '.' && p[i] != '[')
        i++;
    struct jvalue v = field_root(in, f, (struct str){p + from, i - from});
    while (i < to && !in->failed) {
        size_t start = ++i;
        bool attribute = p[start - 1] == '.';
        while (i < to && (attribute ? p[i] != '.' && p[i] != '[' : p[i] != ']'))
            i++;
        struct str name = {p + start, i - start};
        int64_t index;
        if (attribute)
            v = jinja_getattr(in, v, name);
        else if (parse_i64(name, 0, INT64_MAX, &index))
            v = jinja_getitem(in, v, jv_int(index));
        else
            v = jinja_getitem(in, v, jv_text(jt_new(in, name, TRUST_ALL)));
        i += !attribute;
    }
    return v;
}

static void format_range(struct jbuild *b, struct formatter *f, size_t from, size_t to);

/* Writes one replacement field, [from, to) between its '{' and '}'. */
static void put_field(struct jbuild *b, struct formatter *f, size_t from, size_t to) {
    struct jinja *in = b->in;
    const char *p = f->t->p;
    size_t colon = from, brackets = 0;
    for (; colon < to && (brackets || (p[colon] != ':' && p[colon] != '!')); colon++)
        brackets = p[colon] == '[' ? 1 : p[colon] == ']' ? 0 : brackets;
    size_t name_end = colon;
    char conversion = '\0';
    if (colon < to && p[colon] == '!') {
        conversion = colon + 1 < to ? p[colon + 1] : '?';
        colon += 2;
        if (!strchr("rs", conversion) || (colon < to && p[colon] != ':')) {
            jinja_fail(in, "ValueError: Unknown conversion specifier '%c'", conversion);
            return;
        }
    }
    struct jvalue v = field(in, f, from, name_end);
    if (conversion)
        v = jv_text(conversion == 'r' ? jv_repr(in, v) : jv_to_str(in, v));
    struct jbuild spec;
    jb_init(&spec, in, 16);
    if (colon < to)
        format_range(&spec, f, colon + 1, to);
    if (!in->failed)
        put_value(b, v, jb_done(&spec));
}

static void format_range(struct jbuild *b, struct formatter *f, size_t from, size_t to) {
    const char *p = f->t->p;
    if (++f->depth > 2) {
        jinja_fail(b->in, "ValueError: Max string recursion exceeded");
        return;
    }
    for (size_t i = from; i < to && !b->in->failed;) {
        size_t plain = i;
        while (i < to && p[i] != '{' && p[i] != '}')
            i++;
        jb_slice(b, f->t, plain, i);
        if (i < to && i + 1 < to && p[i] == p[i + 1]) {
            jb_slice(b, f->t, i, i + 1);
            i += 2;
        } else if (i < to) {
            size_t end = i + 1, open = 1;
            for (; p[i] == '{' && end < to && open; end++)
                open += (size_t)(p[end] == '{') - (size_t)(p[end] == '}');
            if (open) {
                jinja_fail(b->in, "ValueError: Single '%c' encountered in format string", p[i]);
                return;
            }
            put_field(b, f, i + 1, end - 1);
            i = end;
        }
    }
    f->depth--;
}

struct jvalue jinja_format(struct jinja *in, struct jtext *format, const struct jargs *a) {
    struct formatter f = {.t = format, .a = a};
    struct jbuild b;
    jb_init(&b, in, format->n + 32);
    format_range(&b, &f, 0, format->n);
    return jv_text(jb_done(&b));
}

/* Reads a number of a % field: digits, or * for the next argument. */
static int64_t percent_number(struct jinja *in, const struct jtext *t, size_t *i,
                              struct jiter *args, int64_t otherwise) {
    struct jvalue v;
    int64_t n = 0;
    if (*i < t->n && t->p[*i] == '*') {
        ++*i;
        return jinja_next(in, args, &v) ? jinja_arg_int(in, v, 0) : otherwise;
    }
    if (*i >= t->n || t->p[*i] < '0' || t->p[*i] > '9')
        return otherwise;
    for (; *i < t->n && t->p[*i] >= '0' && t->p[*i] <= '9' && n < INT32_MAX; ++*i)
        n = n * 10 + (t->p[*i] - '0');
    return n;
}

static void put_percent(struct jbuild *b, struct jvalue v, struct spec *s, bool left,
                        bool trusted) {
    struct jinja *in = b->in;
    uint32_t cp;
    int64_t i;
    if (s->type == 's' || s->type == 'r' || s->type == 'a') {
        put_text(b, s->type == 's' ? jv_to_str(in, v) : jv_repr(in, v), s, left ? '<' : '>',
                 trusted);
    } else if (s->type == 'c' && (v.kind == V_STR || jv_int_of(v, &i))) {
        struct jbuild c;
        jb_init(&c, in, 4);
        cp = v.kind == V_STR ? 0 : i > 0 && i < 0x110000 ? (uint32_t)i : 0xFFFD;
        if (v.kind == V_STR)
            jb_text(&c, v.s);
        else
            jb_char(&c, cp, !v.foreign);
        put_text(b, jb_done(&c), s, left ? '<' : '>', trusted);
    } else if (!jv_is_number(v) || !strchr("diuoxXeEfFgG", s->type)) {
        jinja_fail(in, "TypeError: %%%c format: a real number is required, not %s", s->type,
                   jv_type(v));
    } else if (v.kind == V_FLOAT && strchr("oxX", s->type)) {
        jinja_fail(in, "TypeError: %%%c format: an integer is required, not float", s->type);
    } else {
        if (strchr("diu", s->type) && v.kind == V_FLOAT) {
            if (!(fabs(v.f) < 0x1p63)) {
                jinja_too_large(in);
                return;
            }
            v.kind = V_INT;
            v.i = (int64_t)v.f;
        }
        s->type = strchr("diu", s->type) ? 'd' : s->type;
        s->zero = s->zero && !left;
        s->align = left ? '<' : '\0';
        put_number(b, v, s, trusted);
    }
}

/* Writes one field of a % format. t->p[*i] is the byte after its '%'. */
static void percent_field(struct jbuild *b, const struct jtext *t, size_t *i, struct jvalue values,
                          struct jiter *args) {
    struct jinja *in = b->in;
    struct spec s = {.precision = -1};
    struct jvalue v = {.kind = V_MISSING}, *member;
    bool left = false;
    size_t from = *i;
    if (*i < t->n && t->p[*i] == '(') {
        size_t end = jt_find(in, t, str_of(")"), *i, t->n);
        if (end == SIZE_MAX || values.kind != V_DICT) {
            jinja_fail(in, "TypeError: format requires a mapping");
            return;
        }
        member = jv_get_str(in, values.d, (struct str){t->p + *i + 1, end - *i - 1});
        if (!member)
            jinja_fail(in, "KeyError: '%.*s'", (int)(end - *i - 1 > 60 ? 60 : end - *i - 1),
                       t->p + *i + 1);
        v = member ? *member : jv_none();
        *i = end + 1;
    }
    for (; *i < t->n && strchr("-+ #0", t->p[*i]) && t->p[*i]; ++*i) {
        left |= t->p[*i] == '-';
        s.alternate |= t->p[*i] == '#';
        s.zero |= t->p[*i] == '0';
        s.sign = t->p[*i] == '+' || (t->p[*i] == ' ' && !s.sign) ? t->p[*i] : s.sign;
    }
    s.width = percent_number(in, t, i, args, 0);
    if (*i < t->n && t->p[*i] == '.') {
        ++*i;
        s.precision = percent_number(in, t, i, args, 0);
    }
    s.type = *i < t->n ? t->p[(*i)++] : '\0';
    if (s.type == '%') {
        jb_slice(b, t, *i - 1, *i);
    } else if (s.type == '\0' || !strchr("srcadiuoxXeEfFgG", s.type)) {
        jinja_fail(in,
                   s.type ? "ValueError: unsupported format character '%c'"
                          : "ValueError: incomplete format",
                   s.type);
    } else if (v.kind == V_MISSING && !jinja_next(in, args, &v)) {
        jinja_fail(in, "TypeError: not enough arguments for format string");
    } else if (!in->failed) {
        struct jtext *spec = jt_slice(in, t, from, *i);
        put_percent(b, v, &s, left, jt_pure(spec));
    }
}

struct jvalue jinja_percent(struct jinja *in, struct jtext *format, struct jvalue v) {
    struct jbuild b;
    struct jiter args;
    struct jvalue tuple = v, rest;
    if (v.kind != V_TUPLE) {
        tuple = jv_list(in, V_TUPLE, 1);
        jv_push(in, tuple.l, v);
    }
    jinja_iter(in, tuple, &args);
    jb_init(&b, in, format->n + 32);
    for (size_t i = 0; i < format->n && !in->failed;) {
        size_t to = jt_find(in, format, str_of("%"), i, format->n);
        jb_slice(&b, format, i, to == SIZE_MAX ? format->n : to);
        i = to == SIZE_MAX ? format->n : to + 1;
        if (to != SIZE_MAX)
            percent_field(&b, format, &i, v, &args);
    }
    // A value that has [] need not be used.
    bool mapping = v.kind == V_DICT || v.kind == V_LIST || v.kind == V_UNDEF;
    if (!in->failed && !mapping && jinja_next(in, &args, &rest))
        jinja_fail(in, "TypeError: not all arguments converted during string formatting");
    struct jtext *t = jb_done(&b);
    t->markup = format->markup;
    return jv_text(t);
}
