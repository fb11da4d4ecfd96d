/* The CPU as a device: threads, the memory of a step, and pages of keys and values. See ops.h.
 *
 * Weights are read where they are, in the mapping. All memory of a step is taken here at once; what
 * a step does is in cpu_step.c and cpu_experts.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "backend/carve.h"
#include "base/big_pages.h"
#include "kernels/tune.h"

enum { WORK_ALIGN = 64 }; // bytes: a vector, and a cache line

static const struct ops cpu_ops;

static struct cpu *cpu_of(struct device *d) {
    return (struct cpu *)d;
}

/* ---- Memory of a step ---- */

static void carve_workspace(struct cpu *cpu, struct carver *c) {
    const struct device_shape *s = &cpu->shape;
    struct cpu_workspace *ws = &cpu->ws;
    size_t rows = s->max_rows, dim = s->hidden_dim, out_dim = s->n_heads * s->v_dim;
    size_t most_in = larger(larger(dim, out_dim), s->ffn_dim);

    cpu->device.x = carve(c, rows, dim, sizeof(float));
    cpu->device.h = carve(c, rows, dim, sizeof(float));
    cpu->device.y = carve(c, rows, dim, sizeof(float));
    ws->qkv = carve(c, rows, cpu_qkv_dim(s), sizeof(float));
    ws->attn = carve(c, rows, out_dim, sizeof(float));
    ws->ffn = carve(c, rows, s->ffn_dim, sizeof(float));
    if (s->n_experts > 0) {
        ws->router = carve(c, rows, s->n_experts, sizeof(float));
        ws->expert_in = carve(c, rows, dim, sizeof(float));
        ws->expert_out = carve(c, rows, dim, sizeof(float));
        ws->expert_weight = carve(c, rows, s->n_experts_used, sizeof(float));
        ws->expert_of = carve(c, rows, s->n_experts_used, sizeof(uint32_t));
        ws->expert_row = carve(c, rows, 1, sizeof(uint32_t));
    }
    for (size_t r = 0; r < s->n_ropes; r++) {
        ws->cosines[r] = carve(c, rows, s->rope_half[r], sizeof(float));
        ws->sines[r] = carve(c, rows, s->rope_half[r], sizeof(float));
    }
    size_t attending =
        attention_scratch(pool_threads(cpu->pool), rows, s->n_heads, s->k_dim, s->v_dim);
    ws->scratch = carve(c, 1, larger(matmul_scratch(rows, most_in), attending), 1);
}

static int make_workspace(struct cpu *cpu, struct err *e) {
    struct carver c = {.align = WORK_ALIGN};
    carve_workspace(cpu, &c);
    if (c.overflow)
        return err_set(e, EXIT_SYSTEM, "%zu rows at once are past what memory can hold",
                       cpu->shape.max_rows);
    cpu->ws_memory =
        xcalloc(1, c.used + WORK_ALIGN - 1); // not xaligned, which would touch every page of it
    c = (struct carver){.base = (unsigned char *)(((uintptr_t)cpu->ws_memory + WORK_ALIGN - 1) &
                                                  ~(uintptr_t)(WORK_ALIGN - 1)),
                        .align = WORK_ALIGN};
    carve_workspace(cpu, &c);
    return 0;
}

/* ---- Opening ---- */

static void cpu_close(struct device *d) {
    struct cpu *c = cpu_of(d);
    free(c->ws_memory);
    if (c->pool)
        pool_free(c->pool);
    free(c);
}

int cpu_open(struct device **d, const struct device_shape *s, size_t n_threads, struct err *e) {
    struct cpu *c = xcalloc(1, sizeof *c);
    c->device.ops = &cpu_ops;
    c->shape = *s;
    c->pool = pool_new(n_threads, e);
    int rc = c->pool ? make_workspace(c, e) : -1;
    if (rc != 0)
        cpu_close(&c->device);
    *d = rc == 0 ? &c->device : NULL;
    return rc;
}

struct pool *cpu_pool(const struct device *d) {
    return d->ops == &cpu_ops ? ((const struct cpu *)d)->pool : NULL;
}

static void cpu_describe(const struct device *d, char *text, size_t size) {
    const char *refused = kernels_refused();
    snprintf(text, size, "%s kernels, %zu threads%s%s", kernels_isa(), pool_threads(cpu_pool(d)),
             refused ? "; no AMX: " : "", refused ? refused : "");
}

/* ---- Keys and values ---- */

static size_t cpu_kv_page_bytes(const struct device *d) {
    const struct device_shape *s = &((const struct cpu *)d)->shape;
    return kv_page_bytes(s->n_kv_heads, s->k_dim, s->v_dim, device_kv_type(s));
}

/* It grows by half, so that it moves seldom. What is not touched takes addresses only. */
static int cpu_kv_grow(struct device *d, struct kv_memory *m, size_t n, size_t most,
                       struct err *e) {
    size_t more = larger(n, m->n + m->n / 2);
    (void)d;
    if (n <= m->n)
        return 0;
    n = round_up_size(n, BIG_PAGE);
    more = larger(n, round_up_size(more < most ? more : most, BIG_PAGE));
    unsigned char *base = big_pages_grow(m->base, m->n, more);
    if (!base && more > n)
        base = big_pages_grow(m->base, m->n, more = n);
    if (!base)
        return err_errno(e, EXIT_SYSTEM,
                         "no memory for %zu bytes of keys and values (fewer sequences with -b, or "
                         "shorter ones with -c, need less)",
                         n);
    *m = (struct kv_memory){base, more};
    return 0;
}

static void cpu_kv_copy(struct device *d, unsigned char *to, const unsigned char *from, size_t n) {
    (void)d;
    memcpy(to, from, n);
}

static void cpu_kv_free(struct device *d, struct kv_memory *m) {
    (void)d;
    if (m->base)
        munmap(m->base, m->n);
    *m = (struct kv_memory){0};
}

/* ---- Memory of the host ---- */

static void *cpu_host_alloc(struct device *d, size_t n) {
    (void)d;
    return malloc(n);
}

static void cpu_host_free(struct device *d, void *p) {
    (void)d;
    free(p);
}

static const struct ops cpu_ops = {
    .close = cpu_close,
    .describe = cpu_describe,
    .kv_page_bytes = cpu_kv_page_bytes,
    .kv_run_bytes = KV_RUN_BYTES,
    .kv_grow = cpu_kv_grow,
    .kv_copy = cpu_kv_copy,
    .kv_free = cpu_kv_free,
    .host_alloc = cpu_host_alloc,
    .host_free = cpu_host_free,
    .begin = cpu_begin,
    .norm = cpu_norm,
    .qkv = cpu_qkv,
    .attend = cpu_attend,
    .gated = cpu_ffn_in,
    .project = cpu_project,
    .experts = cpu_experts,
    .add = cpu_add,
    .fetch = cpu_fetch,
    .head = cpu_head,
};
