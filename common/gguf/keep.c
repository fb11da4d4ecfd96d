/* Blocks of a GGUF file -> panels of codes and scales: see keep.h and weights/kept.h. Nothing is
 * computed: codes, scales and minima are moved. The blocks' layouts are those of dequant.c, whose
 * sources it names.
 *
 * A tensor is written part by part, and a part panel by panel.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/keep.h"

#include <stdlib.h>
#include <string.h>

#include "gguf/dequant.h"
#include "weights/kept.h"

/* The fields of one block. */
struct fields {
    uint8_t codes[256]; // as weights/kept.h has them
    uint8_t d[2], dmin[2];
    uint8_t steps[16], lows[16];
};

/* 16 bytes with the codes of 32 inputs: the low halves are the first 16. */
static void half_codes(uint8_t *to, const uint8_t *b) {
    for (size_t i = 0; i < 16; i++) {
        to[i] = b[i] & 15;
        to[16 + i] = b[i] >> 4;
    }
}

static void q4_0_fields(const uint8_t *b, struct fields *f) {
    memcpy(f->d, b, 2);
    half_codes(f->codes, b + 2);
}
static void q4_1_fields(const uint8_t *b, struct fields *f) {
    memcpy(f->d, b, 2);
    memcpy(f->dmin, b + 2, 2);
    half_codes(f->codes, b + 4);
}
static void q8_0_fields(const uint8_t *b, struct fields *f) {
    memcpy(f->d, b, 2);
    for (size_t i = 0; i < 32; i++)
        f->codes[i] = b[2 + i] ^ 0x80;
}
static void q4_k_fields(const uint8_t *b, struct fields *f) {
    memcpy(f->d, b, 2);
    memcpy(f->dmin, b + 2, 2);
    for (int j = 0; j < 8; j++) {
        gguf_k_scale_min(b + 4, j, &f->steps[j], &f->lows[j]);
        for (int i = 0; i < 32; i++) {
            const uint8_t two = b[16 + j / 2 * 32 + i];
            f->codes[32 * j + i] = j % 2 ? two >> 4 : two & 15;
        }
    }
}
static void q6_k_fields(const uint8_t *b, struct fields *f) {
    memcpy(f->d, b + 208, 2);
    memcpy(f->steps, b + 192, 16);
    for (int at = 0; at < 256; at++)
        f->codes[at] = (uint8_t)(gguf_q6_k_code(b, at) + 128 - 32);
}

static const struct {
    uint32_t type;
    enum kept_type kept;
    void (*fields)(const uint8_t *b, struct fields *f);
} kinds[] = {
    {GGML_Q4_0, KEPT_Q4_0, q4_0_fields}, {GGML_Q4_1, KEPT_Q4_1, q4_1_fields},
    {GGML_Q8_0, KEPT_Q8_0, q8_0_fields}, {GGML_Q4_K, KEPT_Q4_K, q4_k_fields},
    {GGML_Q6_K, KEPT_Q6_K, q6_k_fields},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static size_t kind_of(const struct gguf_hf_tensor *t) {
    size_t i = 0;
    while (i < N_KINDS && kinds[i].type != t->from->type)
        i++;
    return i;
}

bool gguf_keep(const struct gguf_hf_tensor *t) {
    static const char ending[] = ".weight";
    const size_t kind = kind_of(t), n = strlen(t->name);
    struct kept_map map;
    return kind < N_KINDS && t->n_dims == 2 && !t->panel && !t->minus_one &&
           t->n_cols <= MAT_QUANT_IN && n > sizeof ending &&
           strcmp(t->name + n - (sizeof ending - 1), ending) == 0 &&
           kept_map(kinds[kind].kept, (size_t)t->n_rows, (size_t)t->n_cols, &map);
}

/* What part `part` has of a block, as bytes of row r of a panel: elements are MAT_PANEL apart. */
static void put_part(unsigned char *to, enum kept_part part, const struct fields *f, size_t r,
                     size_t block, size_t groups) {
    const uint8_t *bytes = part == KEPT_STEPS ? f->steps : f->lows;
    if (part == KEPT_D || part == KEPT_DMIN) {
        memcpy(to + 2 * (block * MAT_PANEL + r), part == KEPT_D ? f->d : f->dmin, 2);
        return;
    }
    for (size_t g = 0; g < groups; g++)
        to[(block * groups + g) * MAT_PANEL + r] = bytes[g];
}

/* Panel p of a part, `bytes` long. */
static void make_panel(const struct gguf_hf_tensor *t, enum kept_part part, size_t p, size_t bytes,
                       unsigned char *to) {
    const size_t kind = kind_of(t), first = p * MAT_PANEL, left = (size_t)t->n_rows - first,
                 rows = left < MAT_PANEL ? left : MAT_PANEL, n_in = (size_t)t->n_cols;
    const struct kept_kind *k = kept_kind(kinds[kind].kept);
    uint8_t *codes = part == KEPT_CODES ? xcalloc(rows, n_in) : NULL;
    struct gguf_layout layout;
    gguf_layout(t->from->type, &layout);
    memset(to, 0, bytes);
    for (size_t r = 0; r < rows; r++) {
        const unsigned char *row = gguf_hf_tensor_blocks(t, first + r);
        for (size_t b = 0; b < n_in / k->block; b++) {
            struct fields f = {0};
            kinds[kind].fields(row + b * layout.n_bytes, &f);
            if (codes)
                memcpy(codes + r * n_in + b * k->block, f.codes, k->block);
            else
                put_part(to, part, &f, r, b, k->block / k->group);
        }
    }
    if (codes)
        mat_panel_store(k->layout, to, codes, n_in, rows, n_in, (uint8_t)k->zero);
    free(codes);
}

/* Piece i of the tensor: a panel of a part, the last with the bytes to a multiple of 64. */
static size_t keep_piece(const void *source, uint64_t i, unsigned char *to) {
    const struct gguf_hf_tensor *t = source;
    struct kept_map map;
    kept_map(kinds[kind_of(t)].kept, (size_t)t->n_rows, (size_t)t->n_cols, &map);
    const size_t part = (size_t)i / map.panels, p = (size_t)i % map.panels,
                 next = part + 1 < KEPT_PARTS ? map.at[part + 1] : map.all,
                 begin = map.at[part] + p * map.panel[part],
                 n = p + 1 < map.panels ? map.panel[part] : next - begin;
    if (map.panel[part] == 0)
        return 0;
    make_panel(t, (enum kept_part)part, p, map.panel[part], to);
    memset(to + map.panel[part], 0, n - map.panel[part]);
    return n;
}

struct convert_item gguf_keep_item(const struct gguf_hf_tensor *t) {
    const enum kept_type type = kinds[kind_of(t)].kept;
    const int module = (int)(strlen(t->name) - strlen(".weight"));
    struct kept_map map;
    kept_map(type, (size_t)t->n_rows, (size_t)t->n_cols, &map);
    size_t most = 0;
    for (size_t i = 0; i < KEPT_PARTS; i++)
        most = larger(most, map.panel[i]);
    return (struct convert_item){.name =
                                     xasprintf("%.*s%s", module, t->name, kept_kind(type)->ending),
                                 .dtype = DT_U8,
                                 .n_dims = 1,
                                 .shape = {map.all},
                                 .n_rows = map.panels * KEPT_PARTS,
                                 .n_cols = most + 64,
                                 .n_bytes = map.all,
                                 .source = t,
                                 .piece = keep_piece};
}
