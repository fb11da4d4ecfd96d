/* Operators, as Python defines them on its data types. Integers have 64 bits: a larger result is
 * refused, while Python would go on.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "jinja/lex.h"
#include "jinja/run.h"

static struct jvalue unsupported(struct jinja *in, uint8_t op, struct jvalue a, struct jvalue b) {
    if (a.kind == V_UNDEF || b.kind == V_UNDEF)
        return jinja_undefined(in, (a.kind == V_UNDEF ? a : b));
    if (op == T_ADD && (a.kind == V_STR || a.kind == V_LIST || a.kind == V_TUPLE))
        return jinja_fail(in, "TypeError: can only concatenate %s (not \"%s\") to %s", jv_type(a),
                          jv_type(b), jv_type(a));
    return jinja_fail(in, "TypeError: unsupported operand type(s) for %s: '%s' and '%s'",
                      jinja_token_name(op), jv_type(a), jv_type(b));
}

struct jvalue jinja_too_large(struct jinja *in) {
    return jinja_fail(in, "OverflowError: an integer is larger than 64 bits");
}

/* Division that rounds towards minus infinity. */
static int64_t floor_div(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static struct jvalue int_power(struct jinja *in, int64_t base, int64_t exponent) {
    int64_t v = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(v, base, &v))
            return jinja_too_large(in);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            return jinja_too_large(in);
    }
    return jv_int(v);
}

static struct jvalue int_op(struct jinja *in, uint8_t op, int64_t a, int64_t b) {
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case T_ADD:
        over = __builtin_add_overflow(a, b, &v);
        break;
    case T_SUB:
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case T_MUL:
        over = __builtin_mul_overflow(a, b, &v);
        break;
    case T_DIV:
        if (b != 0)
            return jv_float((double)a / (double)b);
        return jinja_fail(in, "ZeroDivisionError: division by zero");
    case T_POW:
        if (b >= 0)
            return int_power(in, a, b);
        if (a == 0)
            return jinja_fail(in, "ZeroDivisionError: 0.0 cannot be raised to a negative power");
        return jv_float(pow((double)a, (double)b));
    default: // T_FLOORDIV, T_MOD
        if (b == 0)
            return jinja_fail(in, "ZeroDivisionError: integer division or modulo by zero");
        over = b == -1 && a == INT64_MIN;
        v = over ? 0 : op == T_MOD ? a - floor_div(a, b) * b : floor_div(a, b);
        over = over && op == T_FLOORDIV;
    }
    return over ? jinja_too_large(in) : jv_int(v);
}

/* Python's float modulo has the sign of the divisor. */
static double float_mod(double a, double b) {
    double m = fmod(a, b);
    if (m != 0)
        return (b < 0) != (m < 0) ? m + b : m;
    return copysign(0.0, b);
}

static double float_floor_div(double a, double b) {
    double m = fmod(a, b), q = (a - m) / b;
    if (m != 0 && (b < 0) != (m < 0))
        q -= 1;
    if (q == 0)
        return copysign(0.0, a / b);
    double whole = floor(q);
    return q - whole > 0.5 ? whole + 1 : whole;
}

static struct jvalue float_op(struct jinja *in, uint8_t op, double a, double b) {
    double x;
    if (b == 0 && (op == T_DIV || op == T_FLOORDIV || op == T_MOD))
        return jinja_fail(in, "ZeroDivisionError: float division by zero");
    switch (op) {
    case T_ADD:
        return jv_float(a + b);
    case T_SUB:
        return jv_float(a - b);
    case T_MUL:
        return jv_float(a * b);
    case T_DIV:
        return jv_float(a / b);
    case T_FLOORDIV:
        return jv_float(float_floor_div(a, b));
    case T_MOD:
        return jv_float(float_mod(a, b));
    default:
        if (a == 0 && b < 0)
            return jinja_fail(in, "ZeroDivisionError: 0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            return jinja_fail(in, "ValueError: a power would be a complex number");
        x = pow(a, b);
        if (isinf(x) && isfinite(a) && isfinite(b))
            return jinja_fail(in, "OverflowError: (34, 'Numerical result out of range')");
        return jv_float(x);
    }
}

static struct jvalue number_op(struct jinja *in, uint8_t op, struct jvalue a, struct jvalue b) {
    int64_t i, k;
    double x = 0, y = 0;
    struct jvalue v;
    if (jv_int_of(a, &i) && jv_int_of(b, &k)) {
        v = int_op(in, op, i, k);
    } else if ((a.kind == V_BIG || b.kind == V_BIG) && op != T_DIV && a.kind != V_FLOAT &&
               b.kind != V_FLOAT) {
        return jinja_too_large(in);
    } else {
        jv_float_of(a, &x);
        jv_float_of(b, &y);
        v = float_op(in, op, x, y);
    }
    v.foreign = a.foreign || b.foreign;
    return v;
}

static struct jvalue add(struct jinja *in, struct jvalue a, struct jvalue b) {
    if (a.kind == V_STR) {
        bool markup = a.s->markup || b.s->markup;
        struct jtext *left = markup ? jinja_escape(in, a.s) : a.s,
                     *right = markup ? jinja_escape(in, b.s) : b.s;
        struct jtext *sum = jt_concat(in, left, right);
        sum->markup = markup;
        return jv_text(sum);
    }
    struct jvalue list = jv_list(in, (enum jkind)a.kind, a.l->n + b.l->n);
    for (size_t i = 0; i < a.l->n && !in->failed; i++)
        jv_push(in, list.l, a.l->v[i]);
    for (size_t i = 0; i < b.l->n && !in->failed; i++)
        jv_push(in, list.l, b.l->v[i]);
    jinja_steps(in, (a.l->n + b.l->n) / 8);
    return list;
}

static struct jvalue repeat(struct jinja *in, struct jvalue v, int64_t times) {
    size_t n;
    if (v.kind == V_STR) {
        struct jbuild b;
        jb_init(&b, in, 0);
        jb_fill(&b, v.s, times);
        struct jtext *t = jb_done(&b);
        t->markup = v.s->markup;
        return jv_text(t);
    }
    if (times < 0)
        times = 0;
    if (!mul_size(v.l->n, (size_t)times, &n) || n > in->max_memory / sizeof(struct jvalue))
        n = in->max_memory / sizeof(struct jvalue);
    struct jvalue list = jv_list(in, (enum jkind)v.kind, n);
    for (int64_t i = 0; v.l->n && i < times && jinja_steps(in, v.l->n); i++)
        for (size_t k = 0; k < v.l->n; k++)
            jv_push(in, list.l, v.l->v[k]);
    return list;
}

static bool is_sequence(struct jvalue v) {
    return v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE;
}

struct jvalue jinja_binary(struct jinja *in, uint8_t op, struct jvalue a, struct jvalue b) {
    int64_t times;
    if (jv_is_number(a) && jv_is_number(b))
        return number_op(in, op, a, b);
    if (op == T_ADD && a.kind == V_STR && jv_own_text(b))
        b = jv_text(jv_own_text(b));
    else if (op == T_ADD && b.kind == V_STR && jv_own_text(a))
        a = jv_text(jv_own_text(a));
    if (op == T_ADD && a.kind == b.kind && is_sequence(a))
        return add(in, a, b);
    if (op == T_MUL && is_sequence(a) && jv_int_of(b, &times))
        return repeat(in, a, times);
    if (op == T_MUL && is_sequence(b) && jv_int_of(a, &times))
        return repeat(in, b, times);
    if (op == T_MOD && a.kind == V_STR)
        return jinja_percent(in, a.s, b);
    return unsupported(in, op, a, b);
}

struct jvalue jinja_negate(struct jinja *in, struct jvalue v, bool minus) {
    int64_t i;
    struct jvalue out;
    if (v.kind == V_UNDEF)
        return jinja_undefined(in, v);
    if (v.kind == V_FLOAT)
        out = jv_float(minus ? -v.f : v.f);
    else if (v.kind == V_BIG && !minus)
        out = v;
    else if (v.kind == V_BIG || (minus && v.kind == V_INT && v.i == INT64_MIN))
        return jinja_too_large(in);
    else if (jv_int_of(v, &i))
        out = jv_int(minus ? -i : i);
    else
        return jinja_fail(in, "TypeError: bad operand type for unary %s: '%s'", minus ? "-" : "+",
                          jv_type(v));
    out.foreign = v.foreign;
    return out;
}

bool jinja_contains(struct jinja *in, struct jvalue item, struct jvalue container) {
    struct jiter it;
    struct jvalue v;
    switch (container.kind) {
    case V_STR:
        if (item.kind == V_STR)
            return jt_find(in, container.s, jt_view(item.s), 0, container.s->n) != SIZE_MAX;
        jinja_fail(in, "TypeError: 'in <string>' requires string as left operand, not %s",
                   jv_type(item));
        return false;
    case V_DICT:
        return jv_hashable(in, item) && jv_get(in, container.d, item) != NULL;
    case V_VIEW:
        if (container.sub == VIEW_KEYS)
            return jv_hashable(in, item) && jv_get(in, container.d, item) != NULL;
        break;
    default:
        break;
    }
    if (!jinja_iterable(container)) {
        jinja_fail(in, "TypeError: argument of type '%s' is not iterable", jv_type(container));
        return false;
    }
    jinja_iter(in, container, &it);
    while (jinja_next(in, &it, &v))
        if (jv_equal(in, v, item))
            return true;
    return false;
}

bool jinja_compare(struct jinja *in, uint8_t op, struct jvalue a, struct jvalue b) {
    int c;
    switch (op) {
    case T_EQ:
        return jv_equal(in, a, b);
    case T_NE:
        return !jv_equal(in, a, b);
    case T_IN:
        return jinja_contains(in, a, b);
    case T_NOT_IN:
        return !jinja_contains(in, a, b);
    default:
        c = jv_order(in, a, b, jinja_token_name(op));
        if (c == 2)
            return false;
        return op == T_LT ? c < 0 : op == T_LE ? c <= 0 : op == T_GT ? c > 0 : c >= 0;
    }
}

/* Computes the bounds of x[from:to:step] on n items, as Python's slice.indices does. */
static bool slice_bounds(struct jinja *in, const struct jvalue bounds[3], int64_t n, int64_t *from,
                         int64_t *to, int64_t *step) {
    int64_t v[3] = {0, 0, 1};
    for (int i = 0; i < 3; i++)
        if (bounds[i].kind != V_NONE && !jv_int_of(bounds[i], &v[i])) {
            if (bounds[i].kind == V_UNDEF)
                jinja_undefined(in, bounds[i]);
            jinja_fail(
                in,
                "TypeError: slice indices must be integers or None or have an __index__ method");
            return false;
        }
    *step = v[2];
    if (*step == 0) {
        jinja_fail(in, "ValueError: slice step cannot be zero");
        return false;
    }
    // A step past all items is as good as any other. The limit avoids overflow.
    const int64_t far = (int64_t)1 << 40;
    *step = *step > far ? far : *step < -far ? -far : *step;
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    int64_t *out[2] = {from, to};
    for (int i = 0; i < 2; i++) {
        if (bounds[i].kind == V_NONE)
            v[i] = (i == 0) == (*step > 0) ? low : high;
        else if (v[i] < 0)
            v[i] = v[i] + n < low ? low : v[i] + n;
        else if (v[i] > high)
            v[i] = high;
        *out[i] = v[i];
    }
    return true;
}

static struct jvalue slice_text(struct jinja *in, struct jtext *t, int64_t from, int64_t to,
                                int64_t step) {
    if (step == 1)
        return jv_text(from < to ? jt_slice(in, t, jt_byte_at(in, t, (size_t)from),
                                            jt_byte_at(in, t, (size_t)to))
                                 : jt_slice(in, t, 0, 0));
    size_t n = jt_chars(in, t);
    if (!jinja_room(in, (n + 1) * sizeof(size_t)) || !jinja_steps(in, n))
        return jv_none();
    size_t *at = jinja_alloc(in, (n + 1) * sizeof *at), k = 0;
    for (size_t i = 0; i < t->n; i++)
        if (((unsigned char)t->p[i] & 0xC0) != 0x80)
            at[k++] = i;
    at[k] = t->n;
    struct jbuild b;
    jb_init(&b, in, 0);
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        jb_slice(&b, t, at[i], at[i + 1]);
    return jv_text(jb_done(&b));
}

struct jvalue jinja_slice(struct jinja *in, struct jvalue obj, const struct jvalue bounds[3]) {
    int64_t n, from, to, step;
    if (obj.kind == V_UNDEF)
        return jinja_undefined(in, obj);
    if (!is_sequence(obj) && obj.kind != V_RANGE)
        return jinja_fail(in,
                          obj.kind == V_DICT ? "TypeError: unhashable type: 'slice'"
                                             : "TypeError: '%s' object is not subscriptable",
                          jv_type(obj));
    jv_len(in, obj, &n);
    if (!slice_bounds(in, bounds, n, &from, &to, &step))
        return jv_none();
    if (obj.kind == V_STR)
        return slice_text(in, obj.s, from, to, step);
    if (obj.kind == V_RANGE) {
        struct jrange *r = jinja_alloc(in, sizeof *r), *old = obj.range;
        r->n = step > 0 ? (from < to ? (to - from - 1) / step + 1 : 0)
                        : (from > to ? (from - to - 1) / -step + 1 : 0);
        r->start = old->start + from * old->step;
        r->step = r->n > 1 ? old->step * step : old->step;
        r->stop = old->start + to * old->step;
        return (struct jvalue){.kind = V_RANGE, .range = r};
    }
    struct jvalue list = jv_list(in, (enum jkind)obj.kind, 0);
    for (int64_t i = from; (step > 0 ? i < to : i > to) && jinja_steps(in, 1); i += step)
        jv_push(in, list.l, obj.l->v[i]);
    return list;
}
