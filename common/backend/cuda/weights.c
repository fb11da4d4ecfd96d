/* Weights on the GPU. All are named first (load), so that memory can be planned. Each matrix is
 * uploaded and packed at its first use, so that the first step runs while the file is read: nothing
 * waits for the GPU here. What is queued after an upload begins when it has ended (cuda_run).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

enum { ALIGN = 256 };

static size_t hash_of(const void *data, size_t cap) {
    return (size_t)(((uintptr_t)data >> 4) * 0x9E3779B97F4A7C15u >> 20) & (cap - 1);
}

static struct cuda_mat *place_of(struct cuda_mat *mats, size_t cap, const void *data) {
    size_t i = hash_of(data, cap);
    while (mats[i].data && mats[i].data != data)
        i = (i + 1) & (cap - 1);
    return &mats[i];
}

struct cuda_mat *cuda_mat_of(const struct cuda_device *d, const void *data) {
    struct cuda_mat *m = d->mats_cap > 0 ? place_of(d->mats, d->mats_cap, data) : NULL;
    return m && m->data ? m : NULL;
}

static void grow(struct cuda_device *d) {
    size_t cap = d->mats_cap > 0 ? 2 * d->mats_cap : 256;
    struct cuda_mat *mats = xcalloc(cap, sizeof *mats);
    for (size_t i = 0; i < d->mats_cap; i++)
        if (d->mats[i].data)
            *place_of(mats, cap, d->mats[i].data) = d->mats[i];
    free(d->mats);
    d->mats = mats;
    d->mats_cap = cap;
}

/* The most bytes of a plain matrix: rows are padded, and outputs rounded up to whole tiles. */
static size_t plain_bytes(const struct mat *w) {
    struct carver c = {.align = ALIGN};
    carve(&c, (w->n_out + 15) / 16 * 16, cuda_padded(w->n_in), cuda_size(cuda_type(w->layout)));
    carve(&c, 1, 1, ALIGN);
    return c.overflow ? SIZE_MAX : c.used;
}

static int too_many(struct err *e) {
    return err_set(e, EXIT_SYSTEM, "the model's weights are past what memory can hold");
}

int cuda_load(struct device *device, const struct mat *w, struct err *e) {
    struct cuda_device *d = cuda_of(device);
    bool quantised = w->layout >= MAT_G4;
    if (2 * (d->n_mats + 1) > d->mats_cap)
        grow(d);
    struct cuda_mat *m = place_of(d->mats, d->mats_cap, w->data);
    if (m->data) {
        m->uses++;
        return 0;
    }
    *m = (struct cuda_mat){.data = w->data,
                           .layout = w->layout,
                           .n_out = w->n_out,
                           .n_in = w->n_in,
                           .bytes = quantised ? cuda_quant_bytes(w) : plain_bytes(w),
                           .uses = 1};
    d->n_mats++;
    if (!add_size(d->weights_bytes, m->bytes, &d->weights_bytes))
        return too_many(e);
    if (quantised) {
        d->quantised |= 1u << w->layout;
        d->quantised_bytes += m->bytes;
        return 0;
    }
    d->plain |= 1u << cuda_type(w->layout);
    size_t raw = mat_bytes(w);
    d->largest = raw > d->largest && w->layout != MAT_F32 ? raw : d->largest;
    return 0;
}

int cuda_load_vector(struct device *device, const float **v, size_t n, struct err *e) {
    struct cuda_device *d = cuda_of(device);
    if (d->n_vectors == d->vectors_cap) {
        d->vectors_cap = d->vectors_cap > 0 ? 2 * d->vectors_cap : 64;
        d->vectors = xreallocarray(d->vectors, d->vectors_cap, sizeof *d->vectors);
    }
    d->vectors[d->n_vectors++] = (struct cuda_vector){v, n};
    struct carver c = {.align = ALIGN};
    carve(&c, 1, cuda_padded(n), sizeof(float));
    carve(&c, 1, 1, ALIGN);
    if (c.overflow || !add_size(d->weights_bytes, c.used, &d->weights_bytes))
        return too_many(e);
    return 0;
}

static unsigned bits_of(unsigned n) {
    unsigned count = 0;
    for (; n > 0; n &= n - 1)
        count++;
    return count;
}

/* For each layer and each of gate, up and down: a table for each layout that they may have. */
int cuda_plan_tables(struct cuda_device *d, struct err *e) {
    struct carver c = {.align = ALIGN};
    size_t tables = 0;
    if (d->shape.n_experts == 0)
        return 0;
    carve(&c, 3 * d->shape.n_experts, sizeof(void *), 1);
    carve(&c, 1, 1, ALIGN);
    if (c.overflow || !mul_size(c.used, d->shape.n_layers, &tables) ||
        !mul_size(tables, 3 * (size_t)(bits_of(d->plain) + bits_of(d->quantised)), &tables) ||
        !add_size(d->weights_bytes, tables, &d->weights_bytes))
        return too_many(e);
    return 0;
}

int cuda_upload_vectors(struct cuda_device *d, struct err *e) {
    for (size_t i = 0; i < d->n_vectors; i++) {
        const struct cuda_vector *v = &d->vectors[i];
        size_t bytes = cuda_padded(v->n) * sizeof(float);
        float *to = cuda_weights_take(d, bytes);
        if (!to) {
            *e = d->failed;
            return -1;
        }
        if (cu_upload_rows(d->c, to, bytes, *v->at, v->n * sizeof(float), v->n * sizeof(float), 1,
                           e) != 0)
            return -1;
        *v->at = to;
    }
    free(d->vectors);
    d->vectors = NULL;
    d->n_vectors = d->vectors_cap = 0;
    return 0;
}

void cuda_weights_free(struct cuda_device *d) {
    cu_free(d->c, d->weights);
    cu_free(d->c, d->raw);
    free(d->vectors);
    free(d->mats);
}

void *cuda_weights_take(struct cuda_device *d, size_t bytes) {
    struct err e = {0};
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes > d->weights_bytes - d->weights_used) {
        err_set(&e, EXIT_BUG, "weights of %zu bytes do not fit the %zu that were planned",
                d->weights_used + bytes, d->weights_bytes);
        cuda_fail(d, &e);
        return NULL;
    }
    void *p = d->weights + d->weights_used;
    d->weights_used += bytes;
    d->uploads = true;
    return p;
}

static bool failed(struct cuda_device *d, int rc, const struct err *e) {
    if (rc != 0)
        cuda_fail(d, e);
    return rc != 0;
}

/* Packs matrix `i` of the group, in pieces of the rows that fit d->raw. */
static bool pack(struct cuda_device *d, const struct cuda_group *g, unsigned i, void *packed) {
    struct err e = {0};
    size_t row = g->n_in * 2, rows = d->raw_bytes / row, ld = cuda_padded(g->n_in);
    struct cu_pack_args a = {.pairs = g->pairs,
                             .mat = i,
                             .n_in = (uint32_t)g->n_in,
                             .steps = (uint32_t)(ld / 16),
                             .w = d->raw,
                             .packed = packed};
    for (uint32_t first = 0; first < g->pairs.n_out[i]; first = a.end) {
        size_t left = g->pairs.n_out[i] - first, n = left < rows ? left : rows;
        a.first = first;
        a.end = first + (uint32_t)n;
        if (failed(d,
                   cu_upload(d->c, d->raw, (const unsigned char *)g->data[i] + first * row, n * row,
                             &e),
                   &e))
            return false;
        cu_launch(d->c, d->k.pack,
                  (struct cu_shape){
                      .x = cu_tiles_of(&g->pairs), .y = (a.steps + 7) / 8, .threads = CU_THREADS},
                  &a);
    }
    return true;
}

void *cuda_packed(struct cuda_device *d, const struct cuda_group *g) {
    struct cuda_mat *m = cuda_mat_of(d, g->data[0]);
    if (m && m->device && m->packed)
        return m->device;
    void *packed =
        cuda_weights_take(d, (size_t)cu_tiles_of(&g->pairs) * 16 * cuda_padded(g->n_in) * 2);
    for (unsigned i = 0; i < g->pairs.n_mats && packed; i++)
        if (!pack(d, g, i, packed))
            packed = NULL;
    if (packed && m) {
        m->device = packed;
        m->packed = true;
    }
    return packed;
}

void *cuda_plain(struct cuda_device *d, const void *data, enum mat_layout layout, size_t n_out,
                 size_t n_in) {
    struct cuda_mat *m = cuda_mat_of(d, data);
    struct err e = {0};
    size_t size = cuda_size(cuda_type(layout));
    if (m && m->device)
        return m->device;
    void *p = cuda_weights_take(d, n_out * cuda_padded(n_in) * size);
    if (!p || failed(d,
                     cu_upload_rows(d->c, p, cuda_padded(n_in) * size, data, n_in * size,
                                    n_in * size, n_out, &e),
                     &e))
        return NULL;
    if (m)
        m->device = p;
    return p;
}

/* The places of the table for one expert, whose matrices are x [n_mats]. */
static bool expert_part(struct cuda_device *d, const struct linear *x, unsigned n_mats,
                        void **table) {
    const enum mat_layout layout = x[0].w.layout;
    enum cuda_way way = cuda_way_of(d, layout);
    if (way == CUDA_MMA) { // packed together
        struct cuda_group g = {{.pairing = n_mats == 2 ? CU_GATE_UP : CU_PLAIN, .n_mats = n_mats},
                               {x[0].w.data, n_mats == 2 ? x[1].w.data : NULL},
                               {&x[0].w, n_mats == 2 ? &x[1].w : NULL},
                               layout,
                               x[0].w.n_in,
                               false};
        for (unsigned i = 0; i < n_mats; i++)
            g.pairs.n_out[i] = (uint32_t)x[i].w.n_out;
        table[0] = cuda_packed(d, &g);
        return table[0];
    }
    bool there = true;
    for (unsigned i = 0; i < n_mats && there; i++) {
        const struct mat *w = &x[i].w;
        table[i] = way == CUDA_EXACT ? cuda_plain(d, w->data, w->layout, w->n_out, w->n_in)
                                     : cuda_quant(d, w);
        there = table[i];
    }
    return there;
}

static bool of_layout(const struct linear *x, unsigned n_mats, enum mat_layout layout) {
    return x[0].w.layout == layout && x[n_mats - 1].w.layout == layout;
}

void *cuda_expert_table(struct cuda_device *d, const struct experts_op *o, unsigned first,
                        unsigned n_mats, enum mat_layout layout) {
    // By an address within the experts' list.
    const void *name = (const unsigned char *)o->experts + 1 +
                       (2 * first + n_mats - 1) * (size_t)MAT_LAYOUTS + layout;
    _Static_assert(1 + 6 * MAT_LAYOUTS <= 3 * sizeof(struct linear), "names of tables");
    size_t n = d->shape.n_experts, bytes = 3 * n * sizeof(void *);
    struct cuda_mat *key = cuda_mat_of(d, name);
    struct err e = {0};
    if (key)
        return key->device;
    void **table = xcalloc(3 * n, sizeof *table), *on_device = NULL;
    bool there = true;
    for (size_t x = 0; x < n && there; x++)
        if (of_layout(&o->experts[3 * x + first], n_mats, layout))
            there = expert_part(d, &o->experts[3 * x + first], n_mats, table + 3 * x + first);
    if (there)
        on_device = cuda_weights_take(d, bytes);
    if (on_device && failed(d, cu_upload(d->c, on_device, table, bytes, &e), &e))
        on_device = NULL;
    free(table);
    if (!on_device)
        return NULL;
    if (2 * (d->n_mats + 1) > d->mats_cap)
        grow(d);
    *place_of(d->mats, d->mats_cap, name) = (struct cuda_mat){.data = name, .device = on_device};
    d->n_mats++;
    return on_device;
}
