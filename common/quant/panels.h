/* What formats share: reading scales, and repacking codes into panels. Private to common/quant.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANT_PANELS_H
#define QUANT_PANELS_H

#include "quant/format.h"

/* Scales or biases of a file as [n_out, n_groups]: element row * row_step + group * group_step. */
struct quant_grid {
    const void *data; // NULL: none
    enum dtype type;  // F32, F16, BF16, F8_E4M3 or F8_E8M0
    size_t row_step, group_step;
};

/* What open is asked for. */
struct quant_module {
    const struct mat_source *s;
    const char *name;
    size_t n_out, n_in;
};

/* The grid of a tensor of scales: [n_out, n_groups], [n_out, 1], [n_out], [1] or []. False
 * (EXIT_DATA): it has another shape. */
bool quant_grid_of(const struct tensor *t, size_t n_out, size_t n_groups, struct quant_grid *grid,
                   struct err *e);

/* A matrix in the codes of a file, to be stored as panels. */
struct quant_panels {
    enum mat_layout layout; // MAT_G4 or MAT_G8
    size_t n_out, n_in;
    size_t group; // inputs with one scale
    /* Codes of rows [row, row + n) -> to [n, n_in], each in the layout's bits. n <= MAT_PANEL. */
    void (*codes)(const struct quant_panels *p, size_t row, size_t n, uint8_t *to);
    /* The zero point of a row and group; NULL: `zero` for all. */
    unsigned (*zero_of)(const struct quant_panels *p, size_t row, size_t g);
    const unsigned char *data;  // of codes
    const unsigned char *zeros; // what zero_of reads
    unsigned bits;              // of a code in the file
    size_t stride;              // elements from row to row of data; its meaning is the format's
    bool raw_zeros;
    struct quant_grid scales, biases; // of one type
    int32_t zero;
    float factor;          // of all scales; 0: 1
    const int8_t *table;   // [16] of MAT_G4; NULL: a code is its value
    const uint32_t *order; // [n_in], see mat_quant; or NULL
};

/* Fills m. Codes are copied once, in panels, by all CPUs. With s->measure nothing is copied. -1
 * (EXIT_DATA): a zero point is past 255. */
int quant_repack(const struct mat_source *s, const struct quant_panels *p, struct mat *m,
                 struct err *e);

/* n bytes of s->memory; with s->measure they are only counted, and NULL is returned. */
void *quant_take(const struct mat_source *s, size_t n);

/* A copy of n elements of t as f32; NULL with s->measure. */
const float *quant_floats(const struct mat_source *s, const struct tensor *t, enum dtype type,
                          size_t n);

/* Element i of a little-endian stream of codes of `bits` bits, at most 8. */
static inline unsigned quant_code(const unsigned char *data, size_t i, unsigned bits) {
    const size_t at = i * bits;
    const unsigned shift = (unsigned)(at % 8);
    unsigned v = (unsigned)data[at / 8] >> shift;
    if (shift + bits > 8)
        v |= (unsigned)data[at / 8 + 1] << (8 - shift);
    return v & ((1u << bits) - 1);
}

/* `codes` of quant_panels: rows of `stride` words are streams of codes. With quant_spaced_codes a
 * word has 32 / bits codes, and what is left of its bits is not used. */
void quant_stream_codes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to);
void quant_spaced_codes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to);

/* The first n codes of a word. */
static inline void quant_expand(uint32_t word, unsigned bits, uint8_t *to, size_t n) {
    for (size_t i = 0; i < n; i++, word >>= bits)
        to[i] = (uint8_t)(word & ((1u << bits) - 1));
}

static inline uint32_t quant_word(const unsigned char *data, size_t i) {
    uint32_t w;
    memcpy(&w, data + 4 * i, sizeof w);
    return w;
}

static inline size_t quant_groups(size_t n, size_t group) {
    return n / group + (n % group > 0);
}

/* The group size with which n_in inputs have n_groups groups: the configuration's if it fits, else
 * a power of two. 0 if there is none. */
size_t quant_group(const struct spec_quant *q, size_t n_in, size_t n_groups);

/* MODULE.scales [n_groups, n_out] of floats, and the inputs of a group. NULL (EXIT_DATA): it is
 * missing, or its groups do not fit. */
const struct tensor *quant_group_scales(const struct quant_module *w, size_t *n_groups,
                                        size_t *group, struct err *e);

/* Refuses codes of `bits` bits, in groups, that quantization_config does not say. */
int quant_check(const struct quant_module *w, unsigned bits, size_t group, struct err *e);

/* Marks tensors as used that are not applied here: scales of keys and values, and of activations
 * where those are computed from them in the reference. -1 (EXIT_DATA): the module has a static
 * scale of its activations, or inputs that are multiplied. */
int quant_skip(const struct quant_module *w, struct err *e);

/* ---- Matrices that several formats store alike ---- */

/* codes: E4M3 [n_out, n_in]. scales: one for each block of block[0] rows and block[1] inputs; where
 * block is 0: one for all, or one a row. scale_type: what the bytes of scales are. */
int quant_open_f8(const struct quant_module *w, const struct tensor *codes,
                  const struct tensor *scales, enum dtype scale_type, const size_t block[2],
                  struct mat *m, struct err *e);

/* codes: E2M1 [n_out, n_in / 2] bytes, the first of two in the low half. factor: of all scales. */
int quant_open_e2m1(const struct quant_module *w, const struct tensor *codes,
                    const struct quant_grid *scales, size_t group, float factor, struct mat *m,
                    struct err *e);

/* codes: I8 [n_out, n_in]. zeros: I8 as the scales are; NULL: all are 0. */
int quant_open_i8(const struct quant_module *w, const struct tensor *codes,
                  const struct tensor *zeros, const struct quant_grid *scales, size_t group,
                  float factor, struct mat *m, struct err *e);

/* The order of the inputs by the groups g_idx [n_in] of t, which are groups 0 .. n_groups - 1 of
 * `group` inputs, the last maybe fewer. *order is NULL if the inputs are in that order. Negative
 * numbers count from the last group. -1 (EXIT_DATA): a group does not exist, or has another number
 * of inputs. */
int quant_order(const struct quant_module *w, const struct tensor *t, size_t group, size_t n_groups,
                const uint32_t **order, struct err *e);

#endif
