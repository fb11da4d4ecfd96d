/* Types and panels: see encode.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quantize/encode.h"

#include <math.h>
#include <stdlib.h>

#include "quantize/search.h"
#include "weights/panel_i4.h"
#include "weights/panel_i8.h"

static const struct type {
    const char *name, *ending;
    size_t block;
} types[QUANTIZE_TYPES] = {
    [QUANTIZE_NF4] = {"nf4", ".weight_nf4", 64},
    [QUANTIZE_I4_32] = {"i4_32", ".weight_i4_32", 32},
    [QUANTIZE_I4_16] = {"i4_16", ".weight_i4_16", 16},
    [QUANTIZE_I8] = {"i8", ".weight_i8", PANEL_I8_BLOCK},
    [QUANTIZE_PLAIN] = {"plain", ".weight", 0},
};

const char *quantize_type_name(enum quantize_type t) {
    return types[t].name;
}

const char *quantize_type_ending(enum quantize_type t) {
    return types[t].ending;
}

bool quantize_type_parse(const char *name, enum quantize_type *t) {
    for (size_t i = 0; i < QUANTIZE_TYPES; i++)
        if (strcmp(name, types[i].name) == 0) {
            *t = (enum quantize_type)i;
            return true;
        }
    *t = QUANTIZE_I4_16;
    return strcmp(name, "i4") == 0;
}

size_t quantize_panels(size_t n_out) {
    return n_out / PANEL_ROWS + (n_out % PANEL_ROWS > 0);
}

size_t quantize_panel_bytes(enum quantize_type t, size_t n_in) {
    return t == QUANTIZE_I8 ? panel_i8_bytes(n_in) : panel_i4_bytes(n_in, types[t].block);
}

double quantize_relative(struct quantize_error e) {
    return e.energy > 0 ? sqrt(e.error / e.energy) : 0;
}

/* ---- Encoding ---- */

struct quantizer {
    enum quantize_type type;
    size_t n_in, n_blocks;
    struct search_grid grid;
    struct search *search;
    float *row, *values; // [n_in]
    float scales[PANEL_ROWS];
    int8_t *codes_i8;           // [PANEL_ROWS, n_in]
    uint8_t *codes;             // [PANEL_ROWS, n_in]
    uint8_t *descriptors;       // [PANEL_ROWS, n_blocks]; of i8 m alone
    struct search_row searched; // its arrays have one row
};

static void make_grid(struct search_grid *g, size_t block) {
    *g = (struct search_grid){
        .n_shifts = PANEL_I4_SHIFTS, .max_scale = PANEL_I4_MAX_M, .negative = true, .block = block};
    memcpy(g->table, panel_i4_table(block), sizeof g->table);
    for (int i = 0; i < PANEL_I4_SHIFTS; i++)
        g->shifts[i] = (int8_t)(i * PANEL_I4_SHIFT_STEP);
}

struct quantizer *quantizer_new(enum quantize_type t, size_t n_in) {
    struct quantizer *c = xcalloc(1, sizeof *c);
    c->type = t;
    c->n_in = n_in;
    c->search = search_new(n_in);
    c->row = xcalloc(n_in, sizeof *c->row);
    c->values = xcalloc(n_in, sizeof *c->values);
    make_grid(&c->grid, types[t].block);
    c->n_blocks = search_blocks_of(&c->grid, n_in);
    c->descriptors = xcalloc(c->n_blocks, PANEL_ROWS);
    if (t == QUANTIZE_I8) {
        c->codes_i8 = xcalloc(n_in, PANEL_ROWS);
        return c;
    }
    c->codes = xcalloc(n_in, PANEL_ROWS);
    c->searched.scales = xcalloc(c->n_blocks, 1);
    c->searched.shifts = xcalloc(c->n_blocks, 1);
    return c;
}

void quantizer_free(struct quantizer *c) {
    if (!c)
        return;
    search_free(c->search);
    free(c->row);
    free(c->values);
    free(c->codes_i8);
    free(c->codes);
    free(c->descriptors);
    free(c->searched.scales);
    free(c->searched.shifts);
    free(c);
}

bool quantizer_fits(const struct quantizer *c, enum quantize_type t, size_t n_in) {
    return c && c->type == t && c->n_in == n_in;
}

/* Encodes c->row as row r of the panel, and sets c->values to the values of its codes. */
static void encode_row(struct quantizer *c, size_t r, const struct quantizer_options *o) {
    if (c->type == QUANTIZE_I8) {
        struct search_i8_row y = {.m = c->descriptors + r * c->n_blocks,
                                  .codes = c->codes_i8 + r * c->n_in};
        search_i8(c->search, c->row, o->weight, o->thorough, &y);
        c->scales[r] = y.scale;
        for (size_t i = 0; i < c->n_in; i++) {
            const size_t block = i / PANEL_I8_BLOCK;
            c->values[i] = y.scale * (float)(y.m[block] * y.codes[i]);
        }
        return;
    }
    struct search_row *row = &c->searched;
    row->codes = c->codes + r * c->n_in;
    search_i4(c->search, &c->grid, c->row, o->weight, o->thorough, row);
    search_i4_values(&c->grid, row, c->n_in, c->values);
    c->scales[r] = row->scale;
    for (size_t b = 0; b < c->n_blocks; b++)
        c->descriptors[r * c->n_blocks + b] = panel_i4_descriptor(row->scales[b], row->shifts[b]);
}

/* The sums over c->row, in four chains. */
static void add_error(const struct quantizer *c, const float *weight, struct quantize_error *sum) {
    enum { CHAINS = 4 };
    double error[CHAINS] = {0}, energy[CHAINS] = {0};
    for (size_t i = 0; i < c->n_in; i++) {
        double w = weight ? (double)weight[i] : 1, x = (double)c->row[i],
               d = x - (double)c->values[i];
        error[i % CHAINS] += w * d * d;
        energy[i % CHAINS] += w * x * x;
    }
    sum->error += (error[0] + error[1]) + (error[2] + error[3]);
    sum->energy += (energy[0] + energy[1]) + (energy[2] + energy[3]);
}

static bool all_finite(const float *x, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (f32_bits(x[i]) & 0x7F800000) == 0x7F800000;
    return !bad;
}

static void pack(const struct quantizer *c, size_t n_rows, unsigned char *to) {
    if (c->type == QUANTIZE_I8) {
        panel_i8_pack(to, &(struct panel_i8_rows){.codes = c->codes_i8,
                                                  .ld_codes = c->n_in,
                                                  .m = c->descriptors,
                                                  .ld_m = c->n_blocks,
                                                  .scales = c->scales,
                                                  .n_rows = n_rows,
                                                  .n_in = c->n_in});
        return;
    }
    panel_i4_pack(to, &(struct panel_i4_rows){.codes = c->codes,
                                              .ld_codes = c->n_in,
                                              .descriptors = c->descriptors,
                                              .ld_descriptors = c->n_blocks,
                                              .scales = c->scales,
                                              .n_rows = n_rows,
                                              .n_in = c->n_in,
                                              .block = c->grid.block});
}

int quantizer_panel(struct quantizer *c, const struct mat *w, size_t panel,
                    const struct quantizer_options *o, unsigned char *to,
                    struct quantize_error *sum, struct err *e) {
    size_t first = panel * PANEL_ROWS, left = w->n_out - first,
           n_rows = left < PANEL_ROWS ? left : PANEL_ROWS;
    for (size_t r = 0; r < n_rows; r++) {
        mat_row(w, first + r, c->row);
        if (!all_finite(c->row, c->n_in))
            return err_set(e, EXIT_DATA, "row %zu has a weight that is not finite", first + r);
        encode_row(c, r, o);
        if (!all_finite(c->values, c->n_in)) // rounded up, the largest of f32 is infinite
            return err_set(e, EXIT_DATA, "row %zu has a weight that is too large", first + r);
        add_error(c, o->weight, sum);
    }
    pack(c, n_rows, to);
    return 0;
}
