/* Statistics of activations: see collect.h.
 *
 * A matrix is known by where its data is. Matrices that read the same input, such as q, k and v,
 * share the sums of the first of them. The device calls see on the thread that runs the step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/collect.h"

#include <math.h>
#include <stdlib.h>

#include "model/internal.h"
#include "weights/st_write.h"

/* whole + part / 2^64 */
struct sum {
    uint64_t whole, part;
};

struct entry {
    const struct layers_matrix *matrix;
    struct sum *sums;         // [n_in], NULL: no row yet, or those of `same` count
    const struct entry *same; // reads what this one reads, or NULL
    uint64_t rows;
    bool infinite; // some input was not finite
};

struct collect {
    struct model *model;
    struct entry *entries; // [n] by the address of their data
    size_t n;
};

static int by_data(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->matrix->w.data, q = (uintptr_t)y->matrix->w.data;
    return p < q ? -1 : p > q;
}

static struct entry *find(const struct collect *c, const struct mat *w) {
    const struct layers_matrix matrix = {.w = *w};
    const struct entry key = {.matrix = &matrix};
    return bsearch(&key, c->entries, c->n, sizeof *c->entries, by_data);
}

/* Squares from 2^-64 on count. Those past 2^60 count as 2^60: no model has them. */
static void add_square(struct sum *s, float x) {
    double v = (double)x * (double)x;
    v = v < 0x1p60 ? v : 0x1p60;
    const uint64_t whole = (uint64_t)v;
    // cppcheck-suppress floatConversionOverflow // a fraction is below 1
    const uint64_t part = (uint64_t)((v - (double)whole) * 0x1p64);
    s->part += part;
    s->whole += whole + (s->part < part);
}

/* Rows x [n_rows, n_in] that w reads; `first` reads them too, and was seen before, or is NULL. */
static void see(void *ctx, const struct mat *w, const struct mat *first, const float *x,
                size_t n_rows) {
    struct collect *c = ctx;
    struct entry *y = find(c, w);
    const struct entry *same = first ? find(c, first) : NULL;
    if (!y || same) { // half of a fused matrix; or known
        if (y)
            y->same = same;
        return;
    }
    if (!y->sums)
        y->sums = xcalloc(w->n_in, sizeof *y->sums);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < w->n_in; i++) {
            float v = x[r * w->n_in + i];
            if (isfinite(v))
                add_square(&y->sums[i], v);
            else
                y->infinite = true;
        }
    y->rows += n_rows;
}

int collect_start(struct collect **out, struct model *m, struct err *e) {
    *out = NULL;
    if (!cpu_pool(m->device))
        return err_set(e, EXIT_USAGE, "activations are collected on the CPU only");
    struct collect *c = xcalloc(1, sizeof *c);
    c->model = m;
    c->n = m->layers.n_matrices;
    c->entries = xcalloc(c->n, sizeof *c->entries);
    for (size_t i = 0; i < c->n; i++)
        c->entries[i].matrix = &m->layers.matrices[i];
    qsort(c->entries, c->n, sizeof *c->entries, by_data);
    m->device->watch = (struct device_watch){see, c};
    *out = c;
    return 0;
}

void collect_free(struct collect *c) {
    if (!c)
        return;
    c->model->device->watch = (struct device_watch){0};
    for (size_t i = 0; i < c->n; i++)
        free(c->entries[i].sums);
    free(c->entries);
    free(c);
}

/* ---- The file ---- */

/* The entry whose sums count for this one, or NULL. */
static const struct entry *counted(const struct entry *y) {
    const struct entry *from = y->same ? y->same : y;
    return from->sums ? from : NULL;
}

static void announce(struct st_writer *w, const struct entry *y) {
    uint64_t n_in = y->matrix->w.n_in;
    char *sums = xasprintf("%s.sum_squares", y->matrix->module);
    char *rows = xasprintf("%s.rows", y->matrix->module);
    st_writer_add(w, sums, DT_F32, 1, &n_in);
    st_writer_add(w, rows, DT_I64, 1, &(uint64_t){1});
    free(sums);
    free(rows);
}

static int put(struct st_writer *w, uint64_t bits, size_t n_bytes, struct err *e) {
    unsigned char bytes[8];
    for (size_t b = 0; b < n_bytes; b++)
        bytes[b] = (unsigned char)(bits >> (8 * b));
    return st_writer_data(w, bytes, n_bytes, e);
}

static int write_entry(struct st_writer *w, const struct entry *from, struct err *e) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < from->matrix->w.n_in; i++) {
        double sum = (double)from->sums[i].whole + (double)from->sums[i].part * 0x1p-64;
        rc = put(w, f32_bits((float)sum), 4, e);
    }
    return rc == 0 ? put(w, from->rows, 8, e) : -1;
}

int collect_write(const struct collect *c, const char *path, struct err *e) {
    size_t n = 0;
    struct st_writer *w = st_writer_new("{\"format\":\"tokpipe-activations\",\"version\":\"1\"}");
    int rc = 0;
    for (size_t i = 0; i < c->n && rc == 0; i++) {
        const struct entry *y = &c->entries[i];
        if (y->infinite)
            rc = err_set(e, EXIT_DATA, "an activation is not finite: input of '%s'",
                         y->matrix->module);
        if (!counted(y))
            continue;
        announce(w, y);
        n++;
    }
    if (rc == 0 && n == 0)
        rc = err_set(e, EXIT_DATA, "there is no text to collect activations from: %s", path);
    if (rc == 0)
        rc = st_writer_begin(w, path, e);
    for (size_t i = 0; i < c->n && rc == 0; i++)
        if (counted(&c->entries[i]))
            rc = write_entry(w, counted(&c->entries[i]), e);
    if (rc == 0)
        return st_writer_commit(w, e);
    st_writer_abort(w);
    return -1;
}
