/* A GPU as a device: see backend/ops.h. Opening, memory, and the table of operations; weights.c and
 * step.c have the rest.
 *
 * Memory is planned when all weights have been named (load_end), before any is uploaded: weights,
 * activations, and the KV of one sequence must fit what is free. Activations are one allocation. KV
 * has addresses for all pages that could ever be needed, and gets memory when pages are first used,
 * as on the CPU.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/opt.h"

enum { LOGITS_BYTES = 64 << 20, PARTIAL_BYTES = 256 << 20, RAW_BYTES = 256 << 20, MOST_PAD = 496 };

void cuda_fail(struct cuda_device *d, const struct err *e) {
    if (d->failed.code == 0)
        d->failed = *e;
}

static void close_device(struct device *device) {
    struct cuda_device *d = cuda_of(device);
    if (d->c) {
        cuda_records_free(d);
        cuda_weights_free(d);
        cu_free(d->c, d->memory);
        cu_free(d->c, d->step_device);
        cu_pinned_free(d->c, d->step_host);
        cu_close(d->c);
    }
    free(d->step_sent);
    free(d->seqs);
    free(d);
}

static void describe(const struct device *device, char *text, size_t size) {
    const struct cuda_device *d = (const struct cuda_device *)(const void *)device;
    const struct cu_info *i = cu_info(d->c);
    int n = snprintf(
        text, size, "cuda:%u %s (sm_%d), %s, %.1f MB of weights", d->index, i->name, i->sm,
        d->shape.precise || (d->plain == 1u << CU_F32 && d->quantised == 0) ? "in f32"
                                                                            : "tensor cores",
        (double)d->weights_bytes / 1e6);
    if (d->quantised_bytes > 0 && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, ", of which %.1f MB are quantised",
                 (double)d->quantised_bytes / 1e6);
}

/* ---- kernels ---- */

static const struct cu_kernel *find(struct cuda_device *d, const char *name, size_t shared,
                                    struct err *e) {
    return e->code ? NULL : cu_kernel(d->c, name, shared, e);
}

static int find_attention(struct cuda_device *d, struct err *e) {
    static const unsigned pads[] = {64, 96, 128, 256};
    char few[40] = "k_attend_few_any", many[40] = "k_attend_many_any";
    for (size_t i = 0; i < sizeof pads / sizeof *pads; i++)
        if (d->kv_pad == pads[i]) {
            snprintf(few, sizeof few, "k_attend_few_%u", pads[i]);
            snprintf(many, sizeof many, "k_attend_many_%u", pads[i]);
        }
    if (d->shape.precise) {
        d->k.attend_f32 = find(d, "k_attend_f32", 0, e);
        return e->code ? -1 : 0;
    }
    d->k.attend_few = find(d, few, 0, e);
    d->k.attend_many = find(d, many, CU_ATTEND_MANY_SHARED(d->kv_pad), e);
    return e->code ? -1 : 0;
}

/* On Hopper, the kernels for it, if the build has them. */
static void find_wgmma(struct cuda_device *d) {
    struct err none = {0};
    if (cu_info(d->c)->sm != 90)
        return;
    d->k.tile_wgmma[CU_BF16] = cu_kernel(d->c, "k_tile_wgmma_bf16", CU_WGMMA_SHARED, &none);
    d->k.tile_wgmma[CU_F16] = cu_kernel(d->c, "k_tile_wgmma_f16", CU_WGMMA_SHARED, &none);
}

static void find_quantised(struct cuda_device *d, struct err *e) {
    static const char *const own[] = {"i8", "i4_32", "i4_16"}, *const others[] = {"g4", "g8", "f8",
                                                                                  "nf4"};
    struct cuda_kernels *k = &d->k;
    char name[40];
    k->round = find(d, "k_round", 0, e);
    k->int_x = find(d, "k_int_x", 0, e);
    k->exact_quant = find(d, "k_exact_quant", 0, e);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        snprintf(name, sizeof name, "k_int8_%s", own[i]);
        k->int8[i] = find(d, name, 0, e);
        snprintf(name, sizeof name, "k_int32_%s", own[i]);
        k->int32[i] = find(d, name, 0, e);
        snprintf(name, sizeof name, "k_int_many_%s", own[i]);
        k->int_many[i] = find(d, name, 0, e);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(name, sizeof name, "k_quant8_%s", others[i]);
        k->quant8[i] = find(d, name, 0, e);
        snprintf(name, sizeof name, "k_quant32_%s", others[i]);
        k->quant32[i] = find(d, name, 0, e);
    }
}

static int find_kernels(struct cuda_device *d, struct err *e) {
    struct cuda_kernels *k = &d->k;
    size_t shared = cu_info(d->c)->shared_bytes - 4096; // the most that any launch asks for
    k->begin = find(d, "k_begin", 0, e);
    k->norm = find(d, "k_norm", 0, e);
    k->add = find(d, "k_add", 0, e);
    k->qk = find(d, "k_qk", 0, e);
    k->pack = find(d, "k_pack", 0, e);
    k->route = find(d, "k_route", 0, e);
    k->route_sort = find(d, "k_route_sort", 0, e);
    k->combine = find(d, "k_combine", 0, e);
    k->exact[CU_F32] = find(d, "k_exact_f32", 0, e);
    k->exact[CU_BF16] = find(d, "k_exact_bf16", 0, e);
    k->exact[CU_F16] = find(d, "k_exact_f16", 0, e);
    for (int t = CU_BF16; t <= CU_F16; t++) {
        const char *type = t == CU_BF16 ? "bf16" : "f16";
        const struct {
            const struct cu_kernel **to;
            const char *name;
            size_t shared;
        } each[] = {{&k->few8[t], "k_few8", shared},
                    {&k->few16[t], "k_few16", shared},
                    {&k->few32[t], "k_few32", shared},
                    {&k->few_norm[t], "k_few_norm", shared},
                    {&k->tile[t], "k_tile", CU_TILE_SHARED}};
        for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
            char name[40];
            snprintf(name, sizeof name, "%s_%s", each[i].name, type);
            *each[i].to = find(d, name, each[i].shared, e);
        }
    }
    find_wgmma(d);
    find_quantised(d, e);
    return e->code ? -1 : find_attention(d, e);
}

/* ---- memory ---- */

static size_t page_bytes(const struct device *device) {
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
    return mul_size(pages, s->n_layers, &n->kv) && mul_size(n->kv, page_bytes(&d->base), &n->kv) &&
           add_size(d->weights_bytes, d->raw_bytes, &n->weights) &&
           add_size(n->weights, work, &n->all) && add_size(n->all, d->step_bytes, &n->all) &&
           add_size(n->all, n->kv, &n->all);
}

static int load_end(struct device *device, struct err *e) {
    struct cuda_device *d = cuda_of(device);
    struct carver c = {.align = 256};
    struct needs needs;
    size_t free_bytes;
    choose_types(d);
    dimensions(d);
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
    return cu_sync(d->c, e);
}

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

static int kv_grow(struct device *device, struct kv_memory *m, size_t n, size_t most,
                   struct err *e) {
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

static void kv_copy(struct device *device, unsigned char *to, const unsigned char *from, size_t n) {
    cu_copy(cuda_of(device)->c, to, from, n);
}

static void kv_free(struct device *device, struct kv_memory *m) {
    struct cuda_device *d = cuda_of(device);
    if (m->base)
        cu_unreserve(d->c, region_at(d, m->base));
    *m = (struct kv_memory){0};
}

static void *host_alloc(struct device *device, size_t n) {
    struct err e = {0};
    void *p = NULL;
    if (cu_pinned_alloc(cuda_of(device)->c, n, "logits", &p, &e) != 0)
        die_err(&e); // as where the system has no memory
    return p;
}
static void host_free(struct device *device, void *p) {
    cu_pinned_free(cuda_of(device)->c, p);
}

/* ---- opening ---- */

static const struct ops ops = {.close = close_device,
                               .describe = describe,
                               .load = cuda_load,
                               .load_vector = cuda_load_vector,
                               .load_end = load_end,
                               .kv_page_bytes = page_bytes,
                               .kv_run_bytes = 1,
                               .kv_grow = kv_grow,
                               .kv_copy = kv_copy,
                               .kv_free = kv_free,
                               .host_alloc = host_alloc,
                               .host_free = host_free,
                               .begin = cuda_begin,
                               .norm = cuda_norm,
                               .qkv = cuda_qkv,
                               .attend = cuda_attend,
                               .gated = cuda_gated,
                               .project = cuda_project,
                               .experts = cuda_experts,
                               .add = cuda_add,
                               .fetch = cuda_fetch,
                               .head = cuda_head};

/* The bytes of a step's rows. False if a size_t cannot count them. */
static bool step_bytes(struct cuda_device *d) {
    size_t rows = 0, words = 0, fixed = sizeof(struct cu_header) + 1024;
    return add_size(d->shape.max_rows, CUDA_GRAPH_ROWS, &rows) &&
           mul_size(rows, sizeof(struct cu_row) + sizeof(struct cu_tile), &rows) &&
           mul_size(d->words_cap, sizeof(uint32_t), &words) &&
           add_size(rows, words, &d->step_bytes) && add_size(d->step_bytes, fixed, &d->step_bytes);
}

static int open_parts(struct cuda_device *d, struct err *e) {
    const struct device_shape *s = &d->shape;
    size_t pages = s->context / CU_KV_PAGE + 1,
           n_seqs = s->max_sequences < s->max_rows ? s->max_sequences : s->max_rows;
    void *step, *host;
    if (s->v_dim != s->k_dim)
        return err_set(
            e, EXIT_SYSTEM,
            "heads with %zu dimensions of keys and %zu of values are not supported on a GPU",
            s->k_dim, s->v_dim);
    if (d->kv_pad > MOST_PAD && !s->precise)
        return err_set(e, EXIT_SYSTEM,
                       "heads of %zu dimensions need --precise on a GPU (%d at most)", s->k_dim,
                       MOST_PAD);
    if (cu_open(&d->c, d->index, e) != 0 || find_kernels(d, e) != 0)
        return -1;
    d->seqs = cuda_seqs_new(n_seqs);
    size_t of_seq = 0;
    if (!mul_size(s->n_groups, pages + CUDA_TABLE_PAGES, &of_seq) ||
        !add_size(of_seq, s->n_ropes * (s->rope_half[0] + s->rope_half[1]), &of_seq) ||
        !mul_size(n_seqs, of_seq, &d->words_cap) || !step_bytes(d))
        return err_set(e, EXIT_SYSTEM, "%zu rows at once are past what memory can hold",
                       s->max_rows);
    if (cu_alloc(d->c, d->step_bytes, "a step's rows", &step, e) != 0)
        return -1;
    d->step_device = step;
    if (cu_pinned_alloc(d->c, d->step_bytes, "a step's rows", &host, e) != 0)
        return -1;
    d->step_host = host;
    d->step_sent = xmalloc(d->step_bytes);
    return 0;
}

int cuda_open(struct device **out, const struct device_shape *s, unsigned index, struct err *e) {
    *out = NULL;
    if (s->kv_i8)
        return err_set(e, EXIT_SYSTEM,
                       "keys and values in i8 are not supported on a GPU: use --device cpu");
    struct cuda_device *d = xcalloc(1, sizeof *d);
    d->base.ops = &ops;
    d->shape = *s;
    d->index = index;
    d->clock.wanted = opt_verbose();
    d->kv_pad = (uint32_t)((s->k_dim + 15) / 16 * 16);
    if (open_parts(d, e) != 0) {
        close_device(&d->base);
        return -1;
    }
    *out = &d->base;
    return 0;
}

int cuda_list(FILE *out, struct err *e) {
    return cu_list(out, e);
}
