/* Vectors as panels of i8: see scan_i8.h.
 *
 * The largest value of a vector gets m = 255 and a code of 127. The m of another block is rounded
 * up, so that no code is more than 127.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "index/scan_i8.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

enum { MOST_CODE = 127 };

void scan_i8_init(struct scan_i8 *s, size_t dim) {
    *s = (struct scan_i8){.dim = dim, .n_blocks = (dim + PANEL_I8_BLOCK - 1) / PANEL_I8_BLOCK};
    s->codes = xcalloc(PANEL_ROWS, dim);
    s->m = xcalloc(PANEL_ROWS, s->n_blocks);
    s->panel = xmalloc(panel_i8_bytes(dim));
}

void scan_i8_free(struct scan_i8 *s) {
    free(s->codes);
    free(s->m);
    free(s->panel);
    *s = (struct scan_i8){0};
}

static double largest(const float *v, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)v[i]));
    return most;
}

static double limited(double v, double most) {
    return v > most ? most : v < -most ? -most : v;
}

double scan_i8_add(struct scan_i8 *s, const float *row) {
    const size_t r = s->n++;
    const float scale = (float)(largest(row, s->dim) / (MOST_CODE * PANEL_I8_MAX_M));
    int8_t *codes = s->codes + r * s->dim;
    double error = 0;
    s->scales[r] = scale;
    for (size_t b = 0, k = 0; b < s->n_blocks; b++) {
        const size_t left = s->dim - k, end = k + (left < PANEL_I8_BLOCK ? left : PANEL_I8_BLOCK);
        const double most = largest(row + k, end - k),
                     m = scale > 0
                             ? limited(ceil(most / ((double)scale * MOST_CODE)), PANEL_I8_MAX_M)
                             : 0,
                     step = (double)scale * m;
        s->m[r * s->n_blocks + b] = (uint8_t)m;
        for (; k < end; k++) {
            const double code = step > 0 ? limited(rint((double)row[k] / step), MOST_CODE) : 0,
                         d = (double)row[k] - code * step;
            codes[k] = (int8_t)code;
            error += d * d;
        }
    }
    return sqrt(error);
}

const unsigned char *scan_i8_take(struct scan_i8 *s) {
    const struct panel_i8_rows rows = {.codes = s->codes,
                                       .ld_codes = s->dim,
                                       .m = s->m,
                                       .ld_m = s->n_blocks,
                                       .scales = s->scales,
                                       .n_rows = s->n,
                                       .n_in = s->dim};
    panel_i8_pack(s->panel, &rows);
    s->n = 0;
    return s->panel;
}
