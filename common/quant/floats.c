/* Matrices that several formats store alike: bytes of E4M3, halves of E2M1, and int8. See panels.h.
 *
 * E4M3 is read from the mapping; its scales are copied as f32. E2M1 and int8 are repacked into
 * panels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

/* ---- E4M3 ---- */

/* Copies [block rows, block inputs] scales; a scale for all of them, or one a row, is spread. */
static const float *f8_scales(const struct mat_source *s, const struct tensor *t, enum dtype type,
                              size_t n) {
    if (t->n_elements == n)
        return quant_floats(s, t, type, n);
    float *to = quant_take(s, n * sizeof *to);
    for (size_t i = 0; to && i < n; i++)
        to[i] = (float)dtype_value(type, t->data, 0);
    return to;
}

int quant_open_f8(const struct quant_module *w, const struct tensor *codes,
                  const struct tensor *scales, enum dtype scale_type, const size_t block[2],
                  struct mat *m, struct err *e) {
    const size_t n_out = w->n_out, n_in = w->n_in;
    const bool one = scales->n_elements == 1 && scales->n_dims <= 2,
               by_row = scales->n_elements == n_out && scales->n_dims > 0 && scales->n_dims <= 2 &&
                        scales->shape[0] == n_out;
    size_t rows = one ? n_out : 1, inputs = n_in;
    char found[200];
    if (block[0] > 0 && !(one && block[0] >= n_out && block[1] >= n_in)) {
        rows = block[0];
        inputs = block[1] < n_in ? block[1] : n_in;
        const size_t across = quant_groups(n_in, inputs), down = quant_groups(n_out, rows);
        if (scales->n_dims != 2 || scales->shape[0] != down || scales->shape[1] != across)
            return err_set(e, EXIT_DATA, "tensor '%s': expected [%zu, %zu], found %s", scales->name,
                           down, across, tensor_shape_text(scales, found));
    } else if (!one && !by_row) {
        return err_set(e, EXIT_DATA, "tensor '%s': expected [1] or [%zu, 1], found %s",
                       scales->name, n_out, tensor_shape_text(scales, found));
    }
    struct mat_quant *q = mat_memory_take(w->s->memory, sizeof *q);
    *q = (struct mat_quant){.group = inputs,
                            .n_groups = quant_groups(n_in, inputs),
                            .scale_type = DT_F32,
                            .factor = 1,
                            .block_rows = rows};
    q->scales = f8_scales(w->s, scales, scale_type, quant_groups(n_out, rows) * q->n_groups);
    *m = (struct mat){.layout = MAT_F8,
                      .n_out = n_out,
                      .n_in = n_in,
                      .row_bytes = n_in,
                      .data = codes->data,
                      .quant = q};
    return 0;
}

/* ---- E2M1 ---- */

/* Rows of half bytes, the first in the low half. */
static void half_bytes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    for (size_t r = 0; r < n; r++) {
        const unsigned char *from = p->data + (row + r) * p->stride;
        for (size_t k = 0; k < p->n_in; k++)
            to[r * p->n_in + k] = from[k / 2] >> 4 * (k % 2) & 15;
    }
}

int quant_open_e2m1(const struct quant_module *w, const struct tensor *codes,
                    const struct quant_grid *scales, size_t group, float factor, struct mat *m,
                    struct err *e) {
    // Twice the value: 0, 0.5, 1, 1.5, 2, 3, 4, 6, and the same negated.
    static const int8_t table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const struct quant_panels p = {.layout = MAT_G4,
                                   .n_out = w->n_out,
                                   .n_in = w->n_in,
                                   .group = group,
                                   .codes = half_bytes,
                                   .data = codes->data,
                                   .stride = quant_groups(w->n_in, 2),
                                   .scales = *scales,
                                   .factor = factor / 2,
                                   .table = table};
    return quant_repack(w->s, &p, m, e);
}

/* ---- int8 ---- */

static void signed_bytes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    for (size_t i = 0; i < n * p->n_in; i++)
        to[i] = p->data[row * p->n_in + i] ^ 0x80;
}

/* zeros: I8 as the scales are. */
static unsigned signed_zero(const struct quant_panels *p, size_t row, size_t g) {
    return p->zeros[row * p->scales.row_step + g * p->scales.group_step] ^ 0x80u;
}

int quant_open_i8(const struct quant_module *w, const struct tensor *codes,
                  const struct tensor *zeros, const struct quant_grid *scales, size_t group,
                  float factor, struct mat *m, struct err *e) {
    const struct quant_panels p = {.layout = MAT_G8,
                                   .n_out = w->n_out,
                                   .n_in = w->n_in,
                                   .group = group,
                                   .codes = signed_bytes,
                                   .zero_of = zeros ? signed_zero : NULL,
                                   .data = codes->data,
                                   .zeros = zeros ? zeros->data : NULL,
                                   .scales = *scales,
                                   .zero = 128,
                                   .factor = factor};
    return quant_repack(w->s, &p, m, e);
}
