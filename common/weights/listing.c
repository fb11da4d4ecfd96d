/* Weights as a table and as JSON: see listing.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/listing.h"

#include <inttypes.h>
#include <math.h>

#include "base/json.h"
#include "base/utf8.h"

static const char *file_name(const struct weights *w, size_t i) {
    const char *slash = strrchr(w->files[i].path, '/');
    return slash ? slash + 1 : w->files[i].path;
}

/* ---- Totals ---- */

struct total {
    uint64_t n_tensors, n_elements, n_bytes;
};

/* Adds up by_dtype [DT_COUNT]; returns the total. All bytes are mapped, so no sum overflows. */
static struct total count_totals(const struct weights *w, struct total *by_dtype) {
    struct total all = {0};
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        struct total *both[] = {&by_dtype[t->dtype], &all};
        for (size_t k = 0; k < 2; k++) {
            both[k]->n_tensors++;
            both[k]->n_elements += t->n_elements;
            both[k]->n_bytes += t->n_bytes;
        }
    }
    return all;
}

/* ---- The table ---- */

enum { DTYPE_WIDTH = 11 }; // F8_E4M3FNUZ

struct widths {
    int name, shape, bytes, offset;
};

static int digits(uint64_t v) {
    return snprintf(NULL, 0, "%" PRIu64, v);
}

static void widen(int *width, size_t n) {
    if (n > (size_t)*width)
        *width = (int)n;
}

/* "[288,64]": one word, so that awk counts columns correctly. */
static char *shape_word(const struct tensor *t, char out[static 200]) {
    char *to = tensor_shape_text(t, out);
    for (const char *from = out; *from; from++)
        if (*from != ' ')
            *to++ = *from;
    *to = '\0';
    return out;
}

static struct widths measure(const struct weights *w) {
    struct widths width = {.name = 4, .shape = 5, .bytes = 5, .offset = 6}; // of the heading
    char shape[200];
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        widen(&width.name, strlen(t->name));
        widen(&width.shape, strlen(shape_word(t, shape)));
        widen(&width.bytes, (size_t)digits(t->n_bytes));
        widen(&width.offset, (size_t)digits(t->offset));
    }
    return width;
}

static void table_stats(FILE *out, const struct stats_tensor *s) {
    const double values[] = {s->min, s->max, s->mean, s->std};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (!isnan(values[i]))
            fprintf(out, "  %12.6g", values[i]);
        else
            fprintf(out, "  %12s", "-");
    fprintf(out, "  %5" PRIu64 "  %5" PRIu64, s->n_nan, s->n_inf);
}

static void table_total(FILE *out, const char *name, const struct total *t,
                        const struct total *all) {
    fprintf(out, "%-*s  %*" PRIu64 " tensors  %*" PRIu64 " parameters  %*" PRIu64 " bytes\n",
            DTYPE_WIDTH, name, digits(all->n_tensors), t->n_tensors, digits(all->n_elements),
            t->n_elements, digits(all->n_bytes), t->n_bytes);
}

static void table_totals(FILE *out, const struct weights *w) {
    struct total by_dtype[DT_COUNT] = {0}, all = count_totals(w, by_dtype);
    for (int d = 0; d < DT_COUNT; d++)
        if (by_dtype[d].n_tensors)
            table_total(out, dtype_name((enum dtype)d), &by_dtype[d], &all);
    table_total(out, "total", &all, &all);
}

void listing_table(FILE *out, const struct weights *w, const struct stats_tensor *stats) {
    struct widths width = measure(w);
    char shape[200];
    fprintf(out, "%-*s  %-*s  %-*s  %*s  %*s", width.name, "NAME", DTYPE_WIDTH, "DTYPE",
            width.shape, "SHAPE", width.bytes, "BYTES", width.offset, "OFFSET");
    if (stats)
        fprintf(out, "  %12s  %12s  %12s  %12s  %5s  %5s", "MIN", "MAX", "MEAN", "STD", "NAN",
                "INF");
    fprintf(out, "%s\n", w->n_files > 1 ? "  FILE" : "");
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        fprintf(out, "%-*s  %-*s  %-*s  %*" PRIu64 "  %*" PRIu64, width.name, t->name, DTYPE_WIDTH,
                dtype_name(t->dtype), width.shape, shape_word(t, shape), width.bytes, t->n_bytes,
                width.offset, t->offset);
        if (stats)
            table_stats(out, &stats[i]);
        if (w->n_files > 1)
            fprintf(out, "  %s", file_name(w, t->file));
        fputc('\n', out);
    }
    fputc('\n', out);
    table_totals(out, w);
}

/* ---- JSON ---- */

/* Writes s as a JSON string. Bytes that are not UTF-8, as in a file's name, become U+FFFD. */
static void json_text(FILE *out, const char *s) {
    struct buf good = {0}, text = {0};
    utf8_repair(&good, s, strlen(s));
    json_write_str(&text, buf_view(&good));
    fputs(text.p, out);
    buf_free(&good);
    buf_free(&text);
}

static void json_total(FILE *out, const struct total *t) {
    fprintf(out, "{\"tensors\": %" PRIu64 ", \"parameters\": %" PRIu64 ", \"bytes\": %" PRIu64 "}",
            t->n_tensors, t->n_elements, t->n_bytes);
}

static void json_file(FILE *out, const struct weights *w, size_t i) {
    const struct st_file *f = &w->files[i];
    fputs("{\"file\": ", out);
    json_text(out, file_name(w, i));
    fprintf(out, ", \"bytes\": %zu, \"header_bytes\": %zu, \"metadata\": %s}", f->map.n,
            f->header_bytes, f->metadata_json ? f->metadata_json : "null");
}

static void json_stats(FILE *out, const struct stats_tensor *s) {
    static const char *const names[] = {"min", "max", "mean", "std"};
    const double values[] = {s->min, s->max, s->mean, s->std};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (isfinite(values[i]))
            fprintf(out, ", \"%s\": %.17g", names[i], values[i]);
        else
            fprintf(out, ", \"%s\": null", names[i]);
    fprintf(out, ", \"nan\": %" PRIu64 ", \"inf\": %" PRIu64, s->n_nan, s->n_inf);
}

static void json_tensor(FILE *out, const struct weights *w, const struct tensor *t,
                        const struct stats_tensor *s) {
    char shape[200];
    fputs("{\"name\": ", out);
    json_text(out, t->name);
    fprintf(out,
            ", \"dtype\": \"%s\", \"shape\": %s, \"parameters\": %" PRIu64 ", \"bytes\": %" PRIu64,
            dtype_name(t->dtype), tensor_shape_text(t, shape), t->n_elements, t->n_bytes);
    fprintf(out, ", \"offset\": %" PRIu64 ", \"file\": ", t->offset);
    json_text(out, file_name(w, t->file));
    if (s)
        json_stats(out, s);
    fputc('}', out);
}

void listing_json(FILE *out, const struct weights *w, const struct stats_tensor *stats) {
    struct total by_dtype[DT_COUNT] = {0}, all = count_totals(w, by_dtype);
    fputs("{\n\"files\": [", out);
    for (size_t i = 0; i < w->n_files; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        json_file(out, w, i);
    }
    fputs("],\n\"tensors\": [", out);
    for (size_t i = 0; i < w->n_tensors; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        json_tensor(out, w, &w->tensors[i], stats ? &stats[i] : NULL);
    }
    fputs("],\n\"dtypes\": {", out);
    const char *comma = "";
    for (int d = 0; d < DT_COUNT; d++)
        if (by_dtype[d].n_tensors) {
            fprintf(out, "%s\"%s\": ", comma, dtype_name((enum dtype)d));
            json_total(out, &by_dtype[d]);
            comma = ", ";
        }
    fputs("},\n\"total\": ", out);
    json_total(out, &all);
    fprintf(out, ",\n\"fingerprint\": \"%016" PRIx64 "\"\n}\n", w->fingerprint);
}
