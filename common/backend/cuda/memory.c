/* The GPU's memory: the plan, activations, and keys and values. weights.c has the weights.
 *
 * Memory is planned when all weights have been named (cuda_load_end), before any is uploaded:
 * weights, activations, and the KV of one sequence must fit what is free. Activations are one
 * allocation. KV has addresses for all pages that could ever be needed, and gets memory when pages
 * are first used, as on the CPU.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/cuda.h"

enum { LOGITS_BYTES = 64 << 20, PARTIAL_BYTES = 256 << 20, RAW_BYTES = 256 << 20 };

/* ---- the plan ---- */

size_t cuda_page_bytes(const struct device *device) {
    const struct cuda_device *d = (const struct cuda_device *)(const void *)device;
    return d->shape.n_kv_heads * 2 * CU_KV_PAGE * d->kv_pad * (d->shape.precise ? 4 : 2);
}

/* Activations are one allocation. */
static void carve_all(struct cuda_device *d, struct carver *c) {
    const struct device_shape *s = &d->shape;
    size_t rows = d->rows_padded, size = cuda_size(d->type),
           pairs = s->max_rows * s->n_experts_used, pairs_padded = round_up_size(pairs, CU_TILE),
           widest = d->ld_hidden;
    size_t qkv = (s->n_heads + 2 * s->n_kv_heads) * s->k_dim;
    d->base.x = carve(c, rows, d->ld_hidden, 4);
    d->base.h = carve(c, rows, d->ld_hidden, 4);
    d->base.y = carve(c, rows, d->ld_hidden, 4);
    d->normed = carve(c, rows, d->ld_hidden, 4);
    d->hidden = carve(c, rows, d->ld_hidden, 4);
    if (d->type == CU_F32 && !s->precise) { // x of every product is made here
        widest = larger(widest, larger(d->ld_q, d->ld_ffn));
        size_t supers = (widest + 255) / 256;
        d->rounded = carve(c, larger(rows, pairs_padded), widest, 2);
        d->x_scales = carve(c, larger(rows, pairs_padded), supers, 4);
    } else {
        d->rounded = carve(c, rows, d->ld_hidden, size);
    }
    d->qkv = carve(c, rows, cuda_padded(qkv), 4);
    d->attn = carve(c, rows, d->ld_q, size);
    d->ffn = carve(c, rows, d->ld_ffn, size);
    d->logits = carve(c, d->logit_rows, s->vocab_size, 4);
    for (size_t r = 0; r < s->n_ropes; r++) {
        d->cosines[r] = carve(c, s->max_rows, s->rope_half[r], 4);
        d->sines[r] = carve(c, s->max_rows, s->rope_half[r], 4);
    }
    size_t group = s->n_heads / s->n_kv_heads, of_group = (group + CU_QUERIES - 1) / CU_QUERIES;
    d->partial = carve(c, d->few_tiles * s->n_kv_heads * of_group,
                       d->max_spans * CU_QUERIES * (d->kv_pad + 2), 4);
    d->counters = carve(c, d->few_tiles, s->n_kv_heads, 4);
    if (s->n_experts > 0) {
        d->router = carve(c, rows, d->ld_router, 4);
        d->expert_ffn = carve(c, pairs_padded, d->ld_ffn, size);
        d->expert_out = carve(c, pairs, d->ld_hidden, 4);
        d->expert_weights = carve(c, pairs, 1, 4);
        d->experts = carve(c, pairs, 1, 4);
        d->pairs = carve(c, pairs, 1, 4);
        d->offsets = carve(c, s->n_experts + 1, 1, 4);
    }
}

static void dimensions(struct cuda_device *d) {
    const struct device_shape *s = &d->shape;
    size_t group = s->n_heads / s->n_kv_heads, of_group = (group + CU_QUERIES - 1) / CU_QUERIES;
    d->rows_padded = (s->max_rows + CU_TILE - 1) / CU_TILE * CU_TILE;
    d->ld_hidden = cuda_padded(s->hidden_dim);
    d->ld_q = cuda_padded(s->n_heads * s->k_dim);
    d->ld_ffn = cuda_padded(s->ffn_dim);
    d->ld_router = cuda_padded(s->n_experts);
    d->logit_rows = LOGITS_BYTES / (4 * s->vocab_size) / CU_TILE * CU_TILE; // whole blocks of x
    d->logit_rows = d->logit_rows > CU_TILE ? d->logit_rows : CU_TILE;
    d->logit_rows = d->logit_rows < d->rows_padded ? d->logit_rows : d->rows_padded;
    d->max_spans = (s->context + CU_SPAN_PAGES * CU_KV_PAGE - 1) / (CU_SPAN_PAGES * CU_KV_PAGE);
    size_t of_tile = s->n_kv_heads * of_group * d->max_spans * CU_QUERIES * (d->kv_pad + 2) * 4;
    d->few_tiles = PARTIAL_BYTES / of_tile;
    d->few_tiles = d->few_tiles > 0 ? d->few_tiles : 1;
    d->few_tiles = d->few_tiles < s->max_rows ? d->few_tiles : s->max_rows;
}

static int no_room(const struct cuda_device *d, size_t weights, size_t work, size_t kv,
                   size_t free_bytes, struct err *e) {
    return err_set(e, EXIT_SYSTEM,
                   "the model does not fit: weights %.1f MB, activations of %zu rows %.1f MB, KV "
                   "of one sequence of %zu positions %.1f "
                   "MB (-c), of %.1f MB that are free: cuda:%u",
                   (double)weights / 1e6, d->shape.max_rows, (double)work / 1e6, d->shape.context,
                   (double)kv / 1e6, (double)free_bytes / 1e6, d->index);
}

/* Activations are in the type of the matrices if they all have one of 2 bytes, else in f32. */
static void choose_types(struct cuda_device *d) {
    bool f16 = d->plain & 1u << CU_F16, bf16 = d->plain & 1u << CU_BF16;
    d->type = CU_F32;
    if (!d->shape.precise && d->quantised == 0 && d->plain == 1u << CU_BF16)
        d->type = CU_BF16;
    if (!d->shape.precise && d->quantised == 0 && d->plain == 1u << CU_F16)
        d->type = CU_F16;
    d->quant_type = f16 && !bf16 ? CU_F16 : CU_BF16;
}

/* What a model needs, in bytes. False if a size_t cannot count them. */
struct needs {
    size_t weights, work, kv, all;
};
static bool add_needs(const struct cuda_device *d, size_t work, struct needs *n) {
    const struct device_shape *s = &d->shape;
    size_t pages = s->context / CU_KV_PAGE + (s->context % CU_KV_PAGE > 0);
    n->work = work;
    return mul_size(pages, s->n_layers, &n->kv) &&
           mul_size(n->kv, cuda_page_bytes(&d->base), &n->kv) &&
           add_size(d->weights_bytes, d->raw_bytes, &n->weights) &&
           add_size(n->weights, work, &n->all) && add_size(n->all, d->step_bytes, &n->all) &&
           add_size(n->all, n->kv, &n->all);
}

int cuda_load_end(struct device *device, struct err *e) {
    struct cuda_device *d = cuda_of(device);
    struct carver c = {.align = 256};
    struct needs needs;
    size_t free_bytes;
    choose_types(d);
    dimensions(d);
    if (cuda_plan_tables(d, e) != 0)
        return -1;
    carve_all(d, &c);
    d->raw_bytes = d->shape.precise || d->largest == 0 ? 256
                   : d->largest < RAW_BYTES            ? d->largest
                                                       : RAW_BYTES;
    if (cu_free_bytes(d->c, &free_bytes, e) != 0)
        return -1;
    if (c.overflow || !add_needs(d, c.used, &needs))
        return err_set(e, EXIT_SYSTEM,
                       "%zu rows at once and a context of %zu are past what memory can hold",
                       d->shape.max_rows, d->shape.context);
    if (needs.all > free_bytes)
        return no_room(d, needs.weights, needs.work, needs.kv, free_bytes, e);
    void *weights, *memory;
    if (cu_alloc(d->c, d->weights_bytes, "weights", &weights, e) != 0)
        return -1;
    d->weights = weights;
    if (cu_alloc(d->c, d->raw_bytes, "weights on their way", &d->raw, e) != 0 ||
        cu_alloc(d->c, needs.work, "activations", &memory, e) != 0)
        return -1;
    d->memory = memory;
    cu_fill(d->c, memory, needs.work, 0); // the padding of rows stays zero
    carve_all(d, &(struct carver){.base = memory, .align = 256});
    return cuda_upload_vectors(d, e);
}

/* ---- keys and values ---- */

static struct cu_region *region_at(struct cuda_device *d, const unsigned char *base) {
    struct cu_region *r = d->kv;
    while (r->base != base)
        r++;
    return r;
}

/* Addresses for all that the GPU can hold, so that it never moves: graphs have its address. */
static struct cu_region *new_region(struct cuda_device *d, size_t most, struct err *e) {
    size_t memory = cu_info(d->c)->total_bytes;
    struct cu_region *r = d->kv;
    while (r < d->kv + DEVICE_GROUPS && r->base)
        r++;
    if (r == d->kv + DEVICE_GROUPS) {
        err_set(e, EXIT_BUG, "more than %d groups of layers", DEVICE_GROUPS);
        return NULL;
    }
    return cu_reserve(d->c, r, most < memory ? most : memory, e) == 0 ? r : NULL;
}

int cuda_kv_grow(struct device *device, struct kv_memory *m, size_t n, size_t most, struct err *e) {
    struct cuda_device *d = cuda_of(device);
    struct cu_region *r = m->base ? region_at(d, m->base) : new_region(d, most, e);
    if (!r)
        return -1;
    size_t before = r->committed;
    int rc = cu_commit(d->c, r, n, e);
    *m = (struct kv_memory){r->base, r->committed};
    if (rc == 0 && r->committed > before)
        cu_fill(d->c, m->base + before, r->committed - before, 0);
    return rc;
}

void cuda_kv_copy(struct device *device, unsigned char *to, const unsigned char *from, size_t n) {
    cu_copy(cuda_of(device)->c, to, from, n);
}

void cuda_kv_free(struct device *device, struct kv_memory *m) {
    struct cuda_device *d = cuda_of(device);
    if (m->base)
        cu_unreserve(d->c, region_at(d, m->base));
    *m = (struct kv_memory){0};
}

/* ---- the host ---- */

void *cuda_host_alloc(struct device *device, size_t n) {
    struct err e = {0};
    void *p = NULL;
    if (cu_pinned_alloc(cuda_of(device)->c, n, "logits", &p, &e) != 0)
        die_err(&e); // as where the system has no memory
    return p;
}

void cuda_host_free(struct device *device, void *p) {
    cu_pinned_free(cuda_of(device)->c, p);
}
