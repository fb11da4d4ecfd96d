/* bitsandbytes: NF4 and FP4, read from the mapping, and int8.
 *
 *     MODULE.weight [n_out * n_in / 2] bytes     half bytes, row after row, the first one high
 *     MODULE.weight.absmax F32 [n_blocks], of runs of blocksize elements
 *     MODULE.weight.quant_map F32 [16], the value of each code
 *     MODULE.weight.quant_state.bitsandbytes__nf4 (or __fp4), JSON: blocksize, shape, ...
 *
 * W = value * absmax. Nested: absmax is U8, codes of nested_quant_map F32 [256], which are
 * multiplied by nested_absmax F32 (one for each nested_blocksize of them); nested_offset is added.
 *
 *     MODULE.weight I8 [n_out, n_in], MODULE.SCB F32 [n_out]: W = code * SCB / 127
 *
 * Source: bitsandbytes functional.py (QuantState), nn/modules.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/json.h"
#include "quant/panels.h"

static const char nf4_state[] = ".weight.quant_state.bitsandbytes__nf4",
                  fp4_state[] = ".weight.quant_state.bitsandbytes__fp4";

static const struct tensor *state_of(const struct mat_source *s, const char *module) {
    const struct tensor *t = mat_source_peek(s, module, nf4_state);
    return t ? t : mat_source_peek(s, module, fp4_state);
}

static bool bnb_claims(const struct mat_source *s, const char *module) {
    const struct tensor *t = mat_source_peek(s, module, ".weight");
    return s->config && s->config->store == QUANT_BNB && t &&
           (state_of(s, module) || t->dtype == DT_I8);
}

/* ---- NF4 and FP4 ---- */

/* What the JSON text says. */
struct bnb_state {
    size_t blocksize, nested_blocksize;
    double nested_offset;
    size_t shape[2], n_dims;
};

static void read_shape(struct json *j, struct bnb_state *b) {
    json_enter_array(j);
    while (json_item(j)) {
        const uint64_t n = json_u64(j);
        if (b->n_dims < 2)
            b->shape[b->n_dims] = (size_t)n;
        b->n_dims++;
        if (json_failed(j))
            return;
    }
}

static int read_state(const struct tensor *t, struct bnb_state *b, struct err *e) {
    struct json j;
    struct str key;
    if (t->dtype != DT_U8)
        return err_set(e, EXIT_DATA, "tensor '%s': expected U8, found %s", t->name,
                       dtype_name(t->dtype));
    *b = (struct bnb_state){.nested_blocksize = 256};
    json_init(&j, t->name, t->data, (size_t)t->n_bytes, e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq(key, "blocksize"))
            b->blocksize = (size_t)json_u64(&j);
        else if (str_eq(key, "nested_blocksize"))
            b->nested_blocksize = (size_t)json_u64(&j);
        else if (str_eq(key, "nested_offset"))
            b->nested_offset = json_f64(&j);
        else if (str_eq(key, "shape"))
            read_shape(&j, b);
        else
            json_skip(&j);
    }
    json_end(&j);
    json_free(&j);
    if (json_failed(&j))
        return -1;
    if (b->blocksize == 0 || b->nested_blocksize == 0)
        return err_set(e, EXIT_DATA, "tensor '%s': the block size is missing", t->name);
    return 0;
}

/* The scales [n] as f32: those of the file, or nested ones resolved. NULL and -1: e is set. */
static int take_absmax(const struct quant_module *w, const struct bnb_state *b, size_t n,
                       const void **scales, struct err *e) {
    const struct mat_source *s = w->s;
    const struct tensor *t = mat_source_shaped(s, w->name, ".weight.absmax", n, 0, e);
    if (!t)
        return -1;
    if (t->dtype == DT_F32) {
        *scales = quant_floats(s, t, DT_F32, n);
        return 0;
    }
    const struct tensor *absmax = mat_source_typed(s, w->name, ".weight.nested_absmax", DT_F32,
                                                   quant_groups(n, b->nested_blocksize), 0, e),
                        *map = absmax ? mat_source_typed(s, w->name, ".weight.nested_quant_map",
                                                         DT_F32, 256, 0, e)
                                      : NULL;
    if (!map)
        return -1;
    if (t->dtype != DT_U8)
        return err_set(e, EXIT_DATA, "tensor '%s': expected F32 or U8, found %s", t->name,
                       dtype_name(t->dtype));
    float *to = quant_take(s, n * sizeof *to);
    for (size_t i = 0; to && i < n; i++) {
        const uint8_t code = ((const uint8_t *)t->data)[i];
        to[i] = (float)dtype_value(DT_F32, map->data, code) *
                    (float)dtype_value(DT_F32, absmax->data, i / b->nested_blocksize) +
                (float)b->nested_offset;
    }
    *scales = to;
    return 0;
}

static int open_4bit(const struct quant_module *w, struct mat *m, struct err *e) {
    const struct mat_source *s = w->s;
    const struct tensor *codes = mat_source_find(s, w->name, ".weight"),
                        *state = state_of(s, w->name);
    struct bnb_state b = {0};
    size_t n;
    s->used[state - s->weights->tensors] = true;
    if (read_state(state, &b, e) != 0)
        return -1;
    if (b.n_dims != 2 || b.shape[0] != w->n_out || b.shape[1] != w->n_in)
        return err_set(e, EXIT_DATA, "tensor '%s': expected the shape [%zu, %zu]", state->name,
                       w->n_out, w->n_in);
    if (!mul_size(w->n_out, w->n_in, &n) || w->n_in % 2 != 0 || codes->n_bytes != n / 2)
        return err_set(e, EXIT_DATA, "tensor '%s': expected %zu bytes, found %zu", codes->name,
                       n / 2, (size_t)codes->n_bytes);
    const struct tensor *map = mat_source_typed(s, w->name, ".weight.quant_map", DT_F32, 16, 0, e);
    if (!map)
        return -1;
    struct mat_quant *q = mat_memory_take(s->memory, sizeof *q);
    *q = (struct mat_quant){.group = b.blocksize, .scale_type = DT_F32, .factor = 1};
    q->n_groups = quant_groups(w->n_in, b.blocksize);
    for (size_t i = 0; i < 16; i++)
        q->values[i] = (float)dtype_value(DT_F32, map->data, i);
    if (take_absmax(w, &b, quant_groups(n, b.blocksize), &q->scales, e) != 0)
        return -1;
    *m = (struct mat){.layout = MAT_NF4,
                      .n_out = w->n_out,
                      .n_in = w->n_in,
                      .row_bytes = w->n_in / 2,
                      .data = codes->data,
                      .quant = q};
    return 0;
}

/* ---- int8 ---- */

static int open_8bit(const struct quant_module *w, struct mat *m, struct err *e) {
    const struct tensor *codes =
                            mat_source_typed(w->s, w->name, ".weight", DT_I8, w->n_out, w->n_in, e),
                        *scb = codes
                                   ? mat_source_typed(w->s, w->name, ".SCB", DT_F32, w->n_out, 0, e)
                                   : NULL,
                        *form = mat_source_find(w->s, w->name, ".weight_format");
    if (!scb)
        return -1;
    if (form && (form->n_elements != 1 || dtype_value(form->dtype, form->data, 0) != 0))
        return err_set(e, EXIT_DATA, "tensor '%s': only 0 (rows) is supported", form->name);
    const struct quant_grid grid = {scb->data, DT_F32, 1, 0};
    return quant_open_i8(w, codes, NULL, &grid, w->n_in, 1.0f / 127, m, e);
}

static int bnb_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                    struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    return state_of(s, module) ? open_4bit(&w, m, e) : open_8bit(&w, m, e);
}

const struct mat_format mat_bnb_format = {"bitsandbytes", bnb_claims, bnb_open};
