/* Weight matrices: views, sizes and the reference row. See mat.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/mat.h"

#include <assert.h>

#include "weights/mat_quant.h"
#include "weights/panel_i4.h"

bool mat_layout_of(enum dtype t, enum mat_layout *out) {
    if (t != DT_F32 && t != DT_F16 && t != DT_BF16)
        return false;
    *out = t == DT_F32 ? MAT_F32 : t == DT_F16 ? MAT_F16 : MAT_BF16;
    return true;
}

const char *mat_layout_name(enum mat_layout layout) {
    static const char *const names[] = {"f32",
                                        "f16",
                                        "bf16",
                                        "4-bit groups",
                                        "8-bit groups",
                                        "fp8",
                                        "4-bit table",
                                        "4-bit scaled groups",
                                        "8-bit scaled groups",
                                        "i8",
                                        "i4_32",
                                        "i4_16",
                                        "nf4"};
    return names[layout];
}

static size_t element_bytes(enum mat_layout layout) {
    return layout == MAT_F32 ? 4 : 2;
}

struct mat mat_plain(const void *data, enum dtype t, size_t n_out, size_t n_in) {
    struct mat w = {.n_out = n_out, .n_in = n_in};
    size_t all;
    mat_layout_of(t, &w.layout);
    if (mul_size(n_in, element_bytes(w.layout), &w.row_bytes) && mul_size(n_out, w.row_bytes, &all))
        w.data = data;
    return w;
}

size_t mat_panel_rows(enum mat_layout layout) {
    return layout == MAT_I8 || mat_i4_block(layout) > 0 ? PANEL_ROWS : 1;
}

struct mat mat_panels(const void *data, enum mat_layout layout, size_t n_out, size_t n_in) {
    struct mat w = {.layout = layout, .n_out = n_out, .n_in = n_in, .data = data};
    const size_t bytes =
        layout == MAT_I8 ? panel_i8_bytes(n_in) : panel_i4_bytes(n_in, mat_i4_block(layout));
    w.row_bytes = bytes / PANEL_ROWS;
    if (bytes == SIZE_MAX || mat_bytes(&w) == SIZE_MAX)
        w.data = NULL;
    return w;
}

struct mat mat_rows(const struct mat *w, size_t first, size_t n) {
    struct mat view = *w;
    assert(first % mat_panel_rows(w->layout) == 0);
    view.n_out = n;
    if (w->quant)
        view.first += first;
    else
        view.data = w->data ? (const unsigned char *)w->data + first * w->row_bytes : NULL;
    return view;
}

/* Row i of a layout of panels. */
static void panel_row(const struct mat *w, size_t i, float *out) {
    const size_t r = i % PANEL_ROWS;
    const unsigned char *panel = (const unsigned char *)w->data + (i - r) * w->row_bytes;
    if (w->layout == MAT_I8)
        panel_i8_row(panel, r, w->n_in, out);
    else
        panel_i4_row(panel, r, w->n_in, mat_i4_block(w->layout), out);
}

void mat_row(const struct mat *w, size_t i, float *out) {
    const unsigned char *row = mat_at(w, i);
    if (w->quant) {
        mat_quant_row(w, i, out);
        return;
    }
    if (mat_panel_rows(w->layout) > 1) {
        panel_row(w, i, out);
        return;
    }
    if (w->layout == MAT_F32) {
        memcpy(out, row, w->row_bytes);
        return;
    }
    for (size_t k = 0; k < w->n_in; k++) {
        uint16_t half;
        memcpy(&half, row + 2 * k, sizeof half);
        out[k] = w->layout == MAT_BF16 ? f32_from_bf16(half) : f32_from_f16(half);
    }
}

size_t mat_bytes(const struct mat *w) {
    const size_t rows = mat_panel_rows(w->layout);
    size_t n = 0, all = w->n_out;
    if (!w->data)
        return 0;
    if (all % rows > 0 && !add_size(all, rows - all % rows, &all))
        return SIZE_MAX;
    return mul_size(all, w->row_bytes, &n) ? n : SIZE_MAX;
}
