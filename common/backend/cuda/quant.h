/* Elements of quantised matrices as f32, by the operations of mat_row (weights/mat.h) in its order,
 * so that they have its bits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_QUANT_H
#define BACKEND_CUDA_QUANT_H

#include "backend/cuda/device.h"

enum { QUANT_PANEL = 16, QUANT_SUPER = 256 }; // rows of a panel, inputs of a superblock

/* The rows of x that k_round and k_int_x have. */
DEVICE uint32_t quant_x_rows(const struct cu_x_args *a) {
    uint32_t n = a->step.header->n_want;
    if (!a->wanted)
        return a->step.header->n_rows * a->times;
    n = n > a->wanted_first ? n - a->wanted_first : 0;
    return n < a->most ? n : a->most;
}

/* Inputs that share a descriptor of our own layouts. */
DEVICE uint32_t quant_block(uint32_t layout) {
    return layout == CU_I4_16 ? 16 : layout == CU_I4_64 ? 64 : 32;
}

/* Where the inputs of a superblock of our own layouts are in a panel (weights/panel_i8.h). */
struct quant_super {
    uint32_t at, codes, n; // bytes: of the descriptors, of the codes; inputs
};
DEVICE uint32_t quant_descriptor_bytes(uint32_t n, uint32_t block) {
    return (n / block * QUANT_PANEL + 63) / 64 * 64;
}
DEVICE struct quant_super quant_super_of(uint32_t layout, uint32_t number, uint32_t n_in) {
    uint32_t block = quant_block(layout), line = layout == CU_I8 ? 64 : 32,
             left = (n_in + 63) / 64 * 64 - number * QUANT_SUPER;
    struct quant_super s;
    s.at = 64 + number * (quant_descriptor_bytes(QUANT_SUPER, block) + QUANT_SUPER / 4 * line);
    s.n = left < QUANT_SUPER ? left : (uint32_t)QUANT_SUPER;
    s.codes = s.at + quant_descriptor_bytes(s.n, block);
    return s;
}

/* The m of a descriptor byte. */
DEVICE int32_t quant_m(uint32_t layout, uint32_t descriptor) {
    return layout == CU_I8 ? (int32_t)descriptor : (int32_t)((descriptor & 63) ^ 32) - 32;
}

/* Of our own layouts. */
DEVICE float quant_own_value(const struct cu_quant *q, uint32_t row, uint32_t k) {
    const unsigned char *panel = q->data + row / QUANT_PANEL * q->panel_bytes;
    struct quant_super s = quant_super_of(q->layout, k / QUANT_SUPER, q->n_in);
    uint32_t r = row % QUANT_PANEL, i = k % QUANT_SUPER;
    uint32_t descriptor = panel[s.at + i / quant_block(q->layout) * QUANT_PANEL + r];
    int32_t w;
    if (q->layout == CU_I8) {
        w = (int32_t)panel[s.codes + i / 4 * 64 + r * 4 + i % 4] - 128;
    } else {
        uint32_t byte = panel[s.codes + i / 32 * 256 + i % 16 / 4 * 64 + r * 4 + i % 4];
        w = q->table[i % 32 < 16 ? byte & 15 : byte >> 4] + (int32_t)(descriptor >> 6) * 4;
    }
    return ((const float *)panel)[r] * (float)(quant_m(q->layout, descriptor) * w);
}

/* E4M3 without infinities: its bits moved to where f32 has them, times the difference of the
 * exponents' biases. */
DEVICE float quant_e4m3(uint32_t b) {
    float f = __uint_as_float((b & 0x7F) << 20) * __uint_as_float((127u + 120u) << 23);
    return __uint_as_float((b & 0x80) << 24 |
                           ((b & 0x7F) == 0x7F ? 0x7FC00000u : __float_as_uint(f)));
}

/* The scale, zero point and bias that inputs [k, end) of a row share; k counts in the order of the
 * panels. layout: q's. */
struct quant_scale {
    float scale, zero, bias;
    uint32_t end;
};
DEVICE struct quant_scale quant_scale_of(const struct cu_quant *q, uint32_t layout, uint32_t row,
                                         uint32_t k) {
    struct quant_scale s = {0, 0, 0, 0};
    if (layout == CU_NF4) {
        uint64_t first = (uint64_t)row * q->n_in, g = (first + k) / q->group;
        s.scale = ((const float *)q->scales)[g];
        s.end = (uint32_t)((g + 1) * q->group - first);
        return s;
    }
    uint32_t g = k / q->group;
    s.end = (g + 1) * q->group;
    if (layout == CU_F8) {
        s.scale = ((const float *)q->scales)[(size_t)(row / q->block_rows) * q->n_groups + g];
        return s;
    }
    size_t at = ((size_t)(row / QUANT_PANEL) * q->n_groups + g) * QUANT_PANEL + row % QUANT_PANEL;
    s.zero = (float)(q->zeros ? (int32_t)q->zeros[at] : q->zero);
    if (layout == CU_K4 || layout == CU_K8) {
        size_t super = ((size_t)(row / QUANT_PANEL) * ((q->n_in + QUANT_SUPER - 1) / QUANT_SUPER) +
                        g * q->group / QUANT_SUPER) *
                           QUANT_PANEL +
                       row % QUANT_PANEL;
        s.scale = load_as_f32(q->scales, CU_F16, super) * (float)q->steps[at];
        if (q->biases)
            s.bias = -(load_as_f32(q->biases, CU_F16, super) * (float)q->lows[at]);
        return s;
    }
    s.scale = load_as_f32(q->scales, q->scale_type, at) * q->factor;
    s.bias = q->biases ? load_as_f32(q->biases, q->scale_type, at) : 0;
    return s;
}

/* (code's value - zero) * scale + bias, where value and zero are whole. */
DEVICE float quant_dequantise(float value, const struct quant_scale *s, bool biased) {
    float v = (value - s->zero) * s->scale;
    return biased ? v + s->bias : v;
}

/* Element [row, k], k < n_in. */
DEVICE float quant_value(const struct cu_quant *q, uint32_t row, uint32_t k) {
    if (q->layout >= CU_I8)
        return quant_own_value(q, row, k);
    uint32_t p = q->place ? q->place[k] : k;
    struct quant_scale s = quant_scale_of(q, q->layout, row, p);
    if (q->layout == CU_F8)
        return quant_e4m3(q->data[row * q->panel_bytes + p]) * s.scale;
    if (q->layout == CU_NF4) {
        uint32_t byte = q->data[row * q->panel_bytes + p / 2];
        return q->values[p % 2 ? byte & 15 : byte >> 4] * s.scale;
    }
    const unsigned char *panel = q->data + row / QUANT_PANEL * q->panel_bytes;
    uint32_t r = row % QUANT_PANEL;
    if (q->layout == CU_G8 || q->layout == CU_K8)
        return quant_dequantise((float)panel[p / 4 * 64 + 4 * r + p % 4], &s, q->biases);
    uint32_t byte = panel[(p / 32 * 4 + p % 16 / 4) * 64 + 4 * r + p % 4];
    return quant_dequantise((float)q->table[p % 32 < 16 ? byte & 15 : byte >> 4], &s, q->biases);
}

/* Elements k to k + 3; zeros from n_in on. */
DEVICE float4 quant_load4(const struct cu_quant *q, uint32_t row, uint32_t k) {
    float4 v;
    v.x = k < q->n_in ? quant_value(q, row, k) : 0;
    v.y = k + 1 < q->n_in ? quant_value(q, row, k + 1) : 0;
    v.z = k + 2 < q->n_in ? quant_value(q, row, k + 2) : 0;
    v.w = k + 3 < q->n_in ? quant_value(q, row, k + 3) : 0;
    return v;
}

#endif
