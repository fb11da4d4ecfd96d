/* A tensor's values as text: see values.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/values.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/num.h"

/* ---- Slices ---- */

/* The text before the next `end` in *rest, which moves past it; all of *rest if there is none. */
static struct str cut(struct str *rest, char end) {
    const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
    struct str part = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
    size_t used = part.n + (at != NULL);
    *rest = (struct str){rest->p + used, rest->n - used};
    return part;
}

/* An end of a range. Empty gives `none`; a negative number counts from the end; numbers outside are
 * clamped. */
static bool parse_end(struct str s, uint64_t dim, uint64_t none, uint64_t *out) {
    int64_t v;
    *out = none;
    if (s.n == 0)
        return true;
    if (!parse_i64(s, -INT64_MAX, INT64_MAX, &v))
        return false;
    uint64_t size = v < 0 ? (uint64_t)-v : (uint64_t)v;
    *out = v < 0 ? (size < dim ? dim - size : 0) : (size < dim ? size : dim);
    return true;
}

static bool parse_range(struct str s, uint64_t dim, struct values_axis *axis) {
    struct str first = cut(&s, ':'), last = cut(&s, ':'), step = s;
    uint64_t stop;
    axis->step = 1;
    if (!parse_end(first, dim, 0, &axis->first) || !parse_end(last, dim, dim, &stop) ||
        (step.n && !parse_u64(step, 1, INT64_MAX, &axis->step)))
        return false;
    axis->count = stop > axis->first ? (stop - axis->first - 1) / axis->step + 1 : 0;
    return true;
}

static bool parse_axis(struct str s, uint64_t dim, struct values_axis *axis) {
    int64_t v;
    if (s.n && memchr(s.p, ':', s.n))
        return parse_range(s, dim, axis);
    if (!parse_i64(s, -INT64_MAX, INT64_MAX, &v))
        return false;
    uint64_t size = v < 0 ? (uint64_t)-v : (uint64_t)v;
    if (v < 0 ? size > dim : size >= dim)
        return false;
    *axis = (struct values_axis){
        .first = v < 0 ? dim - size : size, .step = 1, .count = 1, .dropped = true};
    return true;
}

int values_slice_parse(struct values_slice *s, struct str text, const struct tensor *t,
                       struct err *e) {
    char shape[200];
    size_t n = 0;
    *s = (struct values_slice){.n_elements = 1};
    for (struct str rest = text; rest.n > 0; n++) {
        bool ends_in_comma = memchr(rest.p, ',', rest.n) == rest.p + rest.n - 1;
        struct str part = cut(&rest, ',');
        if (n == t->n_dims || ends_in_comma || !parse_axis(part, t->shape[n], &s->axes[n]))
            return err_set(e, EXIT_USAGE, "'%.*s' is not a slice of '%.200s', whose shape is %s",
                           text.n > 200 ? 200 : (int)text.n, text.p, t->name,
                           tensor_shape_text(t, shape));
    }
    for (; n < t->n_dims; n++)
        s->axes[n] = (struct values_axis){.step = 1, .count = t->shape[n]};
    for (size_t i = 0; i < t->n_dims; i++)
        s->n_elements *= s->axes[i].count; // at most t->n_elements, or a factor is 0
    return 0;
}

/* ---- One value ---- */

/* Whether the type's values are all float32 values, so that fewer digits name them. */
static bool fits_f32(enum dtype t) {
    return t != DT_F64;
}

static void float_text(double v, bool as_f32, char *out, size_t size) {
    if (isnan(v) || isinf(v)) {
        snprintf(out, size, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    for (int digits = as_f32 ? 6 : 15; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, v);
        if (as_f32 ? strtof(out, NULL) == (float)v : strtod(out, NULL) == v)
            return;
    }
}

char *values_text(const struct tensor *t, uint64_t i, char out[static 64]) {
    int64_t whole;
    double v;
    switch (t->dtype) {
    case DT_I64:
    case DT_U64: // a double has only 53 bits
        memcpy(&whole, (const char *)t->data + 8 * i, sizeof whole);
        if (t->dtype == DT_I64)
            snprintf(out, 64, "%" PRId64, whole);
        else
            snprintf(out, 64, "%" PRIu64, (uint64_t)whole);
        return out;
    case DT_C64: { // pairs of float32, so that its parts are a float32 array
        double re = dtype_value(DT_F32, t->data, 2 * i),
               im = dtype_value(DT_F32, t->data, 2 * i + 1);
        float_text(re, true, out, 30);
        size_t n = strlen(out);
        if (!(im < 0))
            out[n++] = '+';
        float_text(im, true, out + n, 30);
        strcat(out, "j");
        return out;
    }
    case DT_BOOL:
        snprintf(out, 64, dtype_value(t->dtype, t->data, i) != 0 ? "true" : "false");
        return out;
    case DT_U8:
    case DT_I8:
    case DT_I16:
    case DT_U16:
    case DT_I32:
    case DT_U32:
        snprintf(out, 64, "%.0f", dtype_value(t->dtype, t->data, i));
        return out;
    default:
        v = dtype_value(t->dtype, t->data, i);
        float_text(v, fits_f32(t->dtype), out, 64);
        return out;
    }
}

/* As values_text, in JSON. */
static void json_value(FILE *out, const struct tensor *t, uint64_t i) {
    char text[64];
    values_text(t, i, text);
    if (t->dtype == DT_C64) {
        struct tensor parts = *t;
        parts.dtype = DT_F32;
        fputc('[', out);
        json_value(out, &parts, 2 * i);
        fputs(", ", out);
        json_value(out, &parts, 2 * i + 1);
        fputc(']', out);
    } else if (strstr(text, "nan") || strstr(text, "inf")) {
        fprintf(out, "\"%s\"", text);
    } else {
        fputs(text, out);
    }
}

/* ---- All of a slice ---- */

/* Elements between neighbours along axis d (row-major). */
static uint64_t stride(const struct tensor *t, size_t d) {
    uint64_t n = 1;
    for (size_t i = d + 1; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

/* How many axes after d the slice keeps. */
static size_t axes_after(const struct tensor *t, const struct values_slice *s, size_t d) {
    size_t n = 0;
    for (size_t i = d + 1; i < t->n_dims; i++)
        n += !s->axes[i].dropped;
    return n;
}

/* Writes axes d and on. base is the element that the axes before d select. Depth is at most
 * TENSOR_MAX_DIMS. */
static void print_axis(FILE *out, const struct tensor *t, const struct values_slice *s, size_t d,
                       uint64_t base) {
    char text[64];
    if (d == t->n_dims) {
        fputs(values_text(t, base, text), out);
        return;
    }
    const struct values_axis *a = &s->axes[d];
    size_t after = axes_after(t, s, d);
    for (uint64_t i = 0; i < a->count; i++) {
        if (i > 0)
            fputs(after == 0 ? " " : after == 1 ? "\n" : "\n\n", out);
        print_axis(out, t, s, d + 1, base + (a->first + i * a->step) * stride(t, d));
    }
}

void values_print(FILE *out, const struct tensor *t, const struct values_slice *s) {
    if (s->n_elements == 0)
        return;
    print_axis(out, t, s, 0, 0);
    fputc('\n', out);
}

static void print_axis_json(FILE *out, const struct tensor *t, const struct values_slice *s,
                            size_t d, uint64_t base) {
    if (d == t->n_dims) {
        json_value(out, t, base);
        return;
    }
    const struct values_axis *a = &s->axes[d];
    if (!a->dropped)
        fputc('[', out);
    for (uint64_t i = 0; i < a->count; i++) {
        if (i > 0)
            fputs(", ", out);
        print_axis_json(out, t, s, d + 1, base + (a->first + i * a->step) * stride(t, d));
    }
    if (!a->dropped)
        fputc(']', out);
}

void values_print_json(FILE *out, const struct tensor *t, const struct values_slice *s) {
    if (s->n_elements == 0)
        fputs("[]", out);
    else
        print_axis_json(out, t, s, 0, 0);
}
