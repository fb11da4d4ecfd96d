/* Statistics of activations: see stats.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quantize/stats.h"

#include <math.h>
#include <stdlib.h>

static const char sums_ending[] = ".sum_squares", rows_ending[] = ".rows";

static int check_tensor(const struct weights *w, const struct tensor *t, struct err *e) {
    const char *path = w->files[t->file].path;
    struct str name = str_of(t->name);
    if (str_ends_with(name, rows_ending) && t->dtype == DT_I64 && t->n_elements == 1)
        return 0;
    if (!str_ends_with(name, sums_ending) || (t->dtype != DT_F32 && t->dtype != DT_F64) ||
        t->n_dims != 1)
        return err_set(e, EXIT_DATA,
                       "expected MODULE%s, F32 [n], and MODULE%s, I64 [1], found '%s', %s: %s",
                       sums_ending, rows_ending, t->name, dtype_name(t->dtype), path);
    for (size_t i = 0; i < t->n_elements; i++) {
        double v = dtype_value(t->dtype, t->data, i);
        if (!(v >= 0) || !isfinite(v))
            return err_set(e, EXIT_DATA, "element %zu of '%s' is not a sum of squares: %g: %s", i,
                           t->name, v, path);
    }
    return 0;
}

static int check(struct quantize_stats *s, struct err *e) {
    size_t n = 0;
    for (size_t i = 0; i < s->file.n_tensors; i++) {
        if (check_tensor(&s->file, &s->file.tensors[i], e) != 0)
            return -1;
        n += str_ends_with(str_of(s->file.tensors[i].name), sums_ending);
    }
    return n > 0 ? 0
                 : err_set(e, EXIT_DATA, "there are no statistics in the file: %s",
                           s->file.n_files ? s->file.files[0].path : "");
}

static int checked(struct quantize_stats *s, int rc, struct err *e) {
    if (rc == 0 && check(s, e) != 0) {
        weights_close(&s->file);
        rc = -1;
    }
    return rc;
}

int quantize_stats_open(struct quantize_stats *s, const char *path, struct err *e) {
    return checked(s, weights_open(&s->file, path, e), e);
}

int quantize_stats_from_bytes(struct quantize_stats *s, const char *name, const void *p, size_t n,
                              struct err *e) {
    return checked(s, weights_from_bytes(&s->file, name, p, n, n, e), e);
}

void quantize_stats_close(struct quantize_stats *s) {
    weights_close(&s->file);
}

int quantize_stats_weights(const struct quantize_stats *s, const char *module, size_t n_in,
                           float *out, struct err *e) {
    const double least = 1e-3, most = 1e6; // of the mean
    char *name = xasprintf("%s%s", module, sums_ending);
    const struct tensor *t = weights_find(&s->file, name);
    free(name);
    if (!t)
        return 0;
    if (t->n_elements != n_in)
        return err_set(e, EXIT_DATA, "'%s' has %zu sums, but the matrix %zu inputs: %s", t->name,
                       (size_t)t->n_elements, n_in, s->file.files[t->file].path);
    double sum = 0;
    for (size_t i = 0; i < n_in; i++)
        sum += dtype_value(t->dtype, t->data, i) / (double)n_in;
    if (!(sum > 0) || !isfinite(sum))
        return 0;
    for (size_t i = 0; i < n_in; i++) {
        double v = dtype_value(t->dtype, t->data, i) / sum;
        out[i] = (float)(v < least ? least : v < most ? v : most);
    }
    return 1;
}
