/* x as the integer kernels read it: rounded to 15 bits, one f32 scale for 256 inputs.
 *
 * A code is a whole number from -16256 to 16256. A block of 256 inputs has the scale
 * max |x| / 16256. Eight bits are too few: with scales for 256 inputs the activations of
 * SmolLM2-135M alone have a mean KL of 2e-2, and with scales for 32 inputs of 3e-3.
 *
 *     row: | pairs | planes | scales f32 [supers] | corrections int32 [blocks, 4] |
 *
 * Pairs and planes are both the codes, in 8 bytes for 4 inputs. Pairs of int16 are for vpmaddwd and
 * vpdpwssd: inputs (0, 2), then (1, 3). Planes are for few rows and vpdpbusd: 4 bytes are the low
 * parts, from -64 to 63, and 4 the high ones; code = 128 * high + low. Only those that are read are
 * written.
 *
 * Few rows take weights as bytes with an offset of 128, so a sum of products is too large by 128
 * times X, the sum of the block's codes. An i4 block's shift adds c = 0, 4, 8 or 12 to each weight.
 * The corrections are (c - 128) * X for each of the four: for each block of 32 inputs, then of 16.
 *
 * Inputs are padded with codes 0 to a multiple of 64. A block that holds an infinity or a NaN has
 * the scale NaN; one without a value of at least 2^-100 has the scale 0; the codes of both are 0.
 * Rounding is to nearest even. Every step is one IEEE operation, so every instruction set gives the
 * same codes and scales.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_MATMUL_INT_H
#define KERNELS_MATMUL_INT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/every_isa.h"
#include "kernels/matmul.h"
#include "weights/half.h"
#include "weights/panel_i4.h"

enum {
    INT_STEP = 4,       // inputs whose codes are side by side,
    INT_STEP_BYTES = 8, // in this many bytes
    INT_HIGH = 128,     // the value of 1 in a high part
    INT_MAX_CODE = 127 * INT_HIGH,
    INT_SUM_BYTES = PANEL_I4_SHIFTS * sizeof(int32_t), // of a block's corrections
};

/* The places in a packed row, in bytes. */
struct int_row {
    size_t planes, scales, sums32, sums16, stride;
};
EVERY_ISA struct int_row int_row_of(size_t n_in) {
    const size_t k = panel_inputs(n_in), supers = (k + PANEL_SUPER - 1) / PANEL_SUPER;
    struct int_row r = {.planes = k / INT_STEP * INT_STEP_BYTES};
    r.scales = 2 * r.planes;
    r.sums32 = r.scales + supers * sizeof(float);
    r.sums16 = r.sums32 + k / 32 * INT_SUM_BYTES;
    r.stride = round_up_size(r.sums16 + k / 16 * INT_SUM_BYTES, PANEL_LINE);
    return r;
}

/* Bytes of n_rows; SIZE_MAX if they overflow. */
EVERY_ISA size_t int_x_bytes(size_t n_rows, size_t n_in) {
    size_t n;
    if (n_in > SIZE_MAX / 16 || !mul_size(n_rows, int_row_of(n_in).stride, &n))
        return SIZE_MAX;
    return n;
}

/* The scale of n values, and what they are multiplied by. */
EVERY_ISA float int_scale(const float *x, size_t n, float *inverse) {
    const uint32_t infinite = 0x7F800000, tiny = (127 - 100) << 23; // 2^-100
    uint32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7FFFFFFF;
        max = bits > max ? bits : max;
    }
    float most;
    memcpy(&most, &max, sizeof most);
    *inverse = 0;
    if (max >= infinite)
        return NAN;
    if (max < tiny)
        return 0;
    *inverse = INT_MAX_CODE / most;
    return most / INT_MAX_CODE;
}

/* codes [n] = x * inverse, rounded to nearest even. */
EVERY_ISA void int_codes(int32_t *codes, const float *x, size_t n, float inverse) {
    const float whole = 12582912; // 1.5 * 2^23: floats near it are whole numbers
    if (inverse == 0) {
        memset(codes, 0, n * sizeof *codes);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const float rounded = x[i] * inverse + whole;
        codes[i] = (int32_t)(rounded - whole);
    }
}

/* The high part: the low part is at least -64 and below 64. */
EVERY_ISA int32_t int_high(int32_t code) {
    return (code + INT_HIGH / 2) >> 7;
}

/* The corrections of n codes, a multiple of block. X has at most 20 bits, so they fit. */
EVERY_ISA void int_sums(unsigned char *to, const int32_t *codes, size_t n, size_t block) {
    for (size_t k = 0; k < n; k += block, to += INT_SUM_BYTES) {
        int32_t x = 0, sums[PANEL_I4_SHIFTS];
        for (size_t i = k; i < k + block; i++)
            x += codes[i];
        for (int32_t c = 0; c < PANEL_I4_SHIFTS; c++)
            sums[c] = (c * PANEL_I4_SHIFT_STEP - PANEL_I8_OFFSET) * x;
        memcpy(to, sums, sizeof sums);
    }
}
/* X of a block. */
EVERY_ISA int32_t int_sum(const unsigned char *corrections) {
    int32_t first;
    memcpy(&first, corrections, sizeof first);
    return first / -PANEL_I8_OFFSET;
}

/* n codes, a multiple of 4, as they are stored. */
EVERY_ISA void int_store(unsigned char *to, const int32_t *codes, size_t n, bool planes) {
    for (size_t i = 0; i < n; i += INT_STEP, to += INT_STEP_BYTES) {
        const int32_t *c = codes + i;
        if (!planes) {
            const int16_t pairs[] = {(int16_t)c[0], (int16_t)c[2], (int16_t)c[1], (int16_t)c[3]};
            memcpy(to, pairs, sizeof pairs);
            continue;
        }
        for (size_t l = 0; l < INT_STEP; l++) {
            const int32_t high = int_high(c[l]);
            to[l] = (unsigned char)(c[l] - INT_HIGH * high);
            to[INT_STEP + l] = (unsigned char)high;
        }
    }
}

/* One row of x -> to. order: see struct matmul_pack. pairs, planes: what is wanted. */
EVERY_ISA void int_pack_row(unsigned char *to, const float *x, size_t n_in, const uint32_t *order,
                            bool pairs, bool planes) {
    const struct int_row at = int_row_of(n_in);
    const size_t padded = panel_inputs(n_in);
    int32_t codes[PANEL_SUPER];
    float ordered[PANEL_SUPER];
    for (size_t k = 0; k < padded; k += PANEL_SUPER) {
        const size_t n = padded - k < PANEL_SUPER ? padded - k : PANEL_SUPER,
                     real = n_in - k < n ? n_in - k : n;
        const float *from = order ? ordered : x + k;
        for (size_t i = 0; order && i < real; i++)
            ordered[i] = x[order[k + i]];
        float inverse;
        const float scale = int_scale(from, real, &inverse);
        int_codes(codes, from, real, inverse);
        memset(codes + real, 0, (n - real) * sizeof *codes);
        memcpy(to + at.scales + k / PANEL_SUPER * sizeof scale, &scale, sizeof scale);
        int_sums(to + at.sums32 + k / 32 * INT_SUM_BYTES, codes, n, 32);
        int_sums(to + at.sums16 + k / 16 * INT_SUM_BYTES, codes, n, 16);
        if (pairs)
            int_store(to + k / INT_STEP * INT_STEP_BYTES, codes, n, false);
        if (planes)
            int_store(to + at.planes + k / INT_STEP * INT_STEP_BYTES, codes, n, true);
    }
}

#endif
