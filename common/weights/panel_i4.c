/* The i4 layouts: the tables, packing and the reference row. See panel_i4.h.
 *
 * The tables of 16 and 32 inputs were learned from the weights of TinyLlama 1.1B, for the least
 * squared error with four shifts. That of 64 inputs is 112 times NF4's, rounded: the quantiles of a
 * normal distribution (Dettmers et al., QLoRA, 2023). With a shift of 12 its largest value still
 * fits a byte.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/panel_i4.h"

#include <string.h>

#include "base/mem.h"

enum {
    STEP = 4,                               // inputs of a row side by side
    CODES = 32,                             // inputs whose codes are stored together,
    CODE_BYTES = 256,                       // in four lines,
    LINE_BYTES = CODE_BYTES * STEP / CODES, // which are these for 4 inputs
};

const int8_t *panel_i4_table(size_t block) {
    static const int8_t of_32[16] = {-124, -99, -80, -64, -50, -37, -25, -14,
                                     -3,   8,   20,  33,  46,  59,  75,  101},
                        of_16[16] = {-124, -103, -84, -66, -50, -37, -25, -13,
                                     -3,   9,    20,  33,  46,  60,  78,  107},
                        of_64[16] = {-112, -78, -59, -44, -32, -21, -10, 0,
                                     9,    18,  28,  38,  49,  63,  81,  112};
    return block == 16 ? of_16 : block == 32 ? of_32 : of_64;
}

size_t panel_i4_bytes(size_t n_in, size_t block) {
    return panel_bytes(n_in, block, LINE_BYTES);
}

/* Where in the codes of a superblock the byte of row r and input k of the superblock is. */
static size_t code_at(size_t r, size_t k) {
    return k / CODES * CODE_BYTES + k % (CODES / 2) / STEP * PANEL_LINE + r * STEP + k % STEP;
}
static unsigned code_shift(size_t k) {
    return k % CODES < CODES / 2 ? 0 : 4;
}

/* Stores the codes of CODES inputs of row r, STEP of each half at a time. */
static void pack_codes(unsigned char *to, size_t r, const uint8_t *codes) {
    const uint32_t low_bits = 0x0F0F0F0F;
    for (size_t i = 0; i < CODES / 2; i += STEP) {
        uint32_t low, high;
        memcpy(&low, codes + i, STEP);
        memcpy(&high, codes + CODES / 2 + i, STEP);
        low = (low & low_bits) | (high & low_bits) << 4;
        memcpy(to + code_at(r, i), &low, STEP);
    }
}

/* Stores row r of a superblock whose first input is k. */
static void pack_row(unsigned char *to, const struct panel_i4_rows *rows, size_t r, size_t k,
                     const struct panel_super *s) {
    const size_t n = rows->n_in - k < s->n ? rows->n_in - k : s->n;
    const uint8_t *codes = rows->codes + r * rows->ld_codes + k,
                  *descriptors = rows->descriptors + r * rows->ld_descriptors + k / rows->block;
    for (size_t i = 0; i < n; i += CODES) {
        uint8_t last[CODES] = {0};
        if (n - i < CODES)
            memcpy(last, codes + i, n - i);
        pack_codes(to + s->codes + i / CODES * CODE_BYTES, r, n - i < CODES ? last : codes + i);
    }
    for (size_t i = 0; i < n; i += rows->block)
        to[s->at + i / rows->block * PANEL_ROWS + r] = descriptors[i / rows->block];
}

void panel_i4_pack(unsigned char *to, const struct panel_i4_rows *rows) {
    memset(to, 0, panel_i4_bytes(rows->n_in, rows->block));
    memcpy(to, rows->scales, rows->n_rows * sizeof *rows->scales);
    for (size_t k = 0; k < rows->n_in; k += PANEL_SUPER) {
        const struct panel_super s = panel_super_of(k, rows->n_in, rows->block, LINE_BYTES);
        for (size_t r = 0; r < rows->n_rows; r++)
            pack_row(to, rows, r, k, &s);
    }
}

void panel_i4_row(const unsigned char *panel, size_t r, size_t n_in, size_t block, float *out) {
    const int8_t *table = panel_i4_table(block);
    float scale;
    memcpy(&scale, panel + r * sizeof scale, sizeof scale);
    for (size_t k = 0; k < n_in; k += PANEL_SUPER) {
        const struct panel_super s = panel_super_of(k, n_in, block, LINE_BYTES);
        for (size_t i = 0; i < s.n && k + i < n_in; i++) {
            const unsigned code = panel[s.codes + code_at(r, i)] >> code_shift(i) & 15;
            out[k + i] = scale * (float)panel_i4_value(
                                     table, panel[s.at + i / block * PANEL_ROWS + r], code);
        }
    }
}
