/* The quantised layouts of struct mat: storing panels, and the reference row. See mat.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/mat_quant.h"

/* ---- Panels ---- */

size_t mat_panel_bytes(enum mat_layout layout, size_t n_in) {
    return mat_has_halves(layout) ? round_up_size(n_in, MAT_G4_BLOCK) / 2 * MAT_PANEL
                                  : round_up_size(n_in, MAT_G8_BLOCK) * MAT_PANEL;
}

/* The byte of row r and input k in a panel of MAT_G8. */
static size_t g8_byte(size_t r, size_t k) {
    return k / MAT_G8_BLOCK * 64 + 4 * r + k % 4;
}

/* The byte of row r and input k in a panel of MAT_G4; it is in the high half if k % 32 >= 16. */
static size_t g4_byte(size_t r, size_t k) {
    return (k / MAT_G4_BLOCK * 4 + k % 16 / 4) * 64 + 4 * r + k % 4;
}

/* Codes of row r -> four vectors of MAT_G4, or one of MAT_G8. Four codes go at a time: those of
 * MAT_G4 are below 16, so that a shift moves none into the next byte. */
static void store_block(enum mat_layout layout, unsigned char *vectors, size_t r,
                        const uint8_t *codes) {
    for (size_t j = 0; j < (mat_has_halves(layout) ? 4 : 1); j++) {
        uint32_t low, high;
        memcpy(&low, codes + 4 * j, sizeof low);
        if (mat_has_halves(layout)) {
            memcpy(&high, codes + 16 + 4 * j, sizeof high);
            low |= high << 4;
        }
        memcpy(vectors + 64 * j + 4 * r, &low, sizeof low);
    }
}

void mat_panel_store(enum mat_layout layout, unsigned char *panel, const uint8_t *codes, size_t ld,
                     size_t n_rows, size_t n_in, uint8_t pad) {
    const size_t block = mat_has_halves(layout) ? MAT_G4_BLOCK : MAT_G8_BLOCK,
                 bytes = mat_has_halves(layout) ? 256 : 64, whole = n_in / block;
    if (n_rows < MAT_PANEL || n_in % block != 0)
        memset(panel, mat_has_halves(layout) ? pad * 0x11 : pad, mat_panel_bytes(layout, n_in));
    for (size_t b = 0; b < whole; b++)
        for (size_t r = 0; r < n_rows; r++)
            store_block(layout, panel + b * bytes, r, codes + r * ld + b * block);
    for (size_t r = 0; r < n_rows && n_in % block != 0; r++) {
        uint8_t last[MAT_G4_BLOCK];
        memset(last, pad, sizeof last);
        memcpy(last, codes + r * ld + whole * block, n_in % block);
        store_block(layout, panel + whole * bytes, r, last);
    }
}

/* ---- The reference ---- */

static float value_at(enum dtype t, const void *values, size_t i) {
    uint16_t half;
    if (t == DT_F32)
        return ((const float *)values)[i];
    memcpy(&half, (const unsigned char *)values + 2 * i, sizeof half);
    return t == DT_BF16 ? f32_from_bf16(half) : f32_from_f16(half);
}

void mat_group(const struct mat *w, size_t i, size_t g, float *scale, float *bias, int32_t *zero) {
    const struct mat_quant *q = w->quant;
    const size_t p = (w->first + i) / MAT_PANEL, r = (w->first + i) % MAT_PANEL,
                 at = (p * q->n_groups + g) * MAT_PANEL + r,
                 supers = w->n_in / MAT_SUPER + (w->n_in % MAT_SUPER > 0),
                 super = (p * supers + g * q->group / MAT_SUPER) * MAT_PANEL + r;
    *bias = 0;
    *zero = q->zeros ? q->zeros[at] : q->zero;
    if (q->steps) {
        *scale = value_at(DT_F16, q->d, super) * (float)q->steps[at];
        if (q->dmin)
            *bias = -(value_at(DT_F16, q->dmin, super) * (float)q->lows[at]);
        return;
    }
    *scale = value_at(q->scale_type, q->scales, at) * q->factor;
    if (q->biases)
        *bias = value_at(q->scale_type, q->biases, at);
}

static void row_of_panel(const struct mat *w, size_t i, float *out) {
    const struct mat_quant *q = w->quant;
    const size_t p = (w->first + i) / MAT_PANEL, r = (w->first + i) % MAT_PANEL;
    const bool g4 = mat_has_halves(w->layout), biased = q->biases || q->dmin;
    float values[16];
    const unsigned char *panel = (const unsigned char *)w->data + p * w->row_bytes * MAT_PANEL;
    for (size_t g = 0; g < q->n_groups; g++) {
        const size_t begin = g * q->group,
                     end = w->n_in - begin < q->group ? w->n_in : begin + q->group;
        float scale, bias;
        int32_t zero;
        mat_group(w, i, g, &scale, &bias, &zero);
        for (int c = 0; c < 16 && g4; c++) {
            const float v = (float)(q->table[c] - zero) * scale;
            values[c] = biased ? v + bias : v;
        }
        for (size_t k = begin; k < end; k++) {
            const unsigned byte = panel[g4 ? g4_byte(r, k) : g8_byte(r, k)];
            float v = (float)((int32_t)byte - zero) * scale;
            if (g4)
                v = values[k % MAT_G4_BLOCK >= 16 ? byte >> 4 : byte & 15];
            else if (biased)
                v += bias;
            out[q->order ? q->order[k] : k] = v;
        }
    }
}

static void row_of_f8(const struct mat *w, size_t row, float *out) {
    const struct mat_quant *q = w->quant;
    const uint8_t *codes = mat_at(w, row - w->first);
    const float *scales = (const float *)q->scales + row / q->block_rows * q->n_groups;
    for (size_t k = 0; k < w->n_in; k++)
        out[k] = f32_from_e4m3(codes[k]) * scales[k / q->group];
}

static void row_of_nf4(const struct mat *w, size_t row, float *out) {
    const struct mat_quant *q = w->quant;
    const uint8_t *codes = mat_at(w, row - w->first);
    const float *scales = q->scales;
    for (size_t k = 0; k < w->n_in; k++) {
        const unsigned code = k % 2 ? codes[k / 2] & 15u : codes[k / 2] >> 4u;
        out[k] = q->values[code] * scales[(row * w->n_in + k) / q->group];
    }
}

void mat_quant_row(const struct mat *w, size_t i, float *out) {
    const size_t row = w->first + i;
    if (w->layout == MAT_F8)
        row_of_f8(w, row, out);
    else if (w->layout == MAT_NF4)
        row_of_nf4(w, row, out);
    else
        row_of_panel(w, i, out);
}
