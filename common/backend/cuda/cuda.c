/* A GPU as a device: see backend/ops.h. Opening, closing, and the table of operations. kernels.c,
 * memory.c and weights.c have what it opens; step.c has the operations of a step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/opt.h"

enum { MOST_PAD = 496 }; // dimensions of a head, padded, that attention on tensor cores can have

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

static const struct ops ops = {.close = close_device,
                               .describe = describe,
                               .load = cuda_load,
                               .load_vector = cuda_load_vector,
                               .load_end = cuda_load_end,
                               .kv_page_bytes = cuda_page_bytes,
                               .kv_run_bytes = 1,
                               .kv_grow = cuda_kv_grow,
                               .kv_copy = cuda_kv_copy,
                               .kv_free = cuda_kv_free,
                               .host_alloc = cuda_host_alloc,
                               .host_free = cuda_host_free,
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
    if (cu_open(&d->c, d->index, e) != 0 || cuda_find_kernels(d, e) != 0)
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
