/* The operations that take the time, each with variants for the instruction sets that one binary
 * may meet.
 *
 * kernels_init fills the table from the scalar up by what the CPU has, capped by LLM_ISA
 * (c, avx2, avx512, avx512bf16): the only global of the program. Sums run in a fixed order for each
 * output element whatever the number of rows, the cut into tiles or the threads: the same inputs
 * give the same bits. Different variants may differ in the last bits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/pool.h"
#include "spec/kinds.h"
#include "weights/mat.h"

int kernels_init(struct err *e); // EXIT_USAGE where LLM_ISA names none, or one that this CPU lacks
const char *kernels_isa(void);   // of the table in use
const char *const *kernels_isas(void); // those that this CPU has, slowest first, NULL-terminated
void kernels_use(const char *isa);     // for tests: one of kernels_isas()

/* y [n_rows, n_out] (stride ldy) = x [n_rows, n_in] (stride ldx) W^T + bias [n_out] (NULL: none),
 * all f32. precise: activations stay f32; otherwise they may be rounded to bf16 where W is BF16 and
 * that is faster. scratch: matmul_scratch(n_rows, n_in) bytes, 64-byte aligned, not shared between
 * concurrent calls. */
void matmul(struct pool *p, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
            const struct mat *w, const float *bias, bool precise, void *scratch);
size_t matmul_scratch(size_t n_rows, size_t n_in);

/* Several matrices of one n_in with the same x, in one job: x is rounded once, and threads wait for
 * each other once. The results are those of matmul on each. */
struct product {
    float *y; // [n_rows, w->n_out], stride ldy
    size_t ldy;
    const struct mat *w;
    const float *bias; // or NULL
    // y = act(x W^T + bias) * (x up^T + up_bias), while it is in a cache; NULL: without
    const enum activation *act;
    const struct mat *up; // as w; or NULL, without act too
    const float *up_bias; // or NULL
};
void matmul_many(struct pool *p, const struct product *products, size_t n, const float *x,
                 size_t ldx, size_t n_rows, bool precise, void *scratch);

/* The KV pages of one layer. A page holds, of each KV head in turn, KV_PAGE positions: keys
 * [head_dim, KV_PAGE], then values [KV_PAGE, head_dim], as f32. As bf16, rows 2i and 2i + 1 of
 * either stand side by side: keys [(head_dim + 1) / 2, KV_PAGE, 2], values [KV_PAGE / 2, head_dim,
 * 2]. `run` pages lie side by side, that a step may read them in one go. */
enum { KV_PAGE = 64 };
struct kv_layer {
    unsigned char *base;
    size_t run, run_stride; // pages in a run, and bytes from run to run
    size_t n_kv_heads, head_dim;
    bool f32; // else bf16
};
static inline size_t kv_key_bytes(size_t head_dim, bool f32) { // of one head in a page
    return KV_PAGE * (f32 ? head_dim * 4 : (head_dim + 1) / 2 * 4);
}
static inline size_t kv_page_bytes(size_t n_kv_heads, size_t head_dim, bool f32) {
    return n_kv_heads * (kv_key_bytes(head_dim, f32) + KV_PAGE * head_dim * (f32 ? 4u : 2u));
}
/* Where a page lies, in bytes from where page 0 does. */
static inline size_t kv_page_offset(size_t run, size_t run_stride, size_t page_bytes,
                                    uint32_t page) {
    return page / run * run_stride + page % run * page_bytes;
}

/* One query row. It sees positions [first, last], and its own key and value are stored at pos,
 * which need not be the last that it sees (an encoder's row sees later ones). All three are
 * absolute; pages[p / KV_PAGE] is position p's page. */
struct attn_row {
    const uint32_t *pages;
    uint32_t first, last, pos;
};

/* Stores row i's k and v [n_rows, n_kv_heads * head_dim] (strides ldk, ldv) at position
 * rows[i].pos. Writes nothing else: other threads may store other rows meanwhile. */
void kv_store(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k,
              size_t ldk, const float *v, size_t ldv);

/* out [n_rows, n_heads * head_dim] (stride ldo) = softmax(scale * q k^T) v with q [n_rows, n_heads
 * * head_dim] (stride ldq), query head h reading KV head h / (n_heads / n_kv_heads). softcap > 0:
 * scores become softcap * tanh(score / softcap) (Gemma 2). Online softmax (Milakov and Gimelshein
 * 2018) over pages in order, so nothing of size [n, n] is held. With pages in bf16, q and the
 * probabilities may be rounded to bf16 too, where that is faster. scratch:
 * attention_scratch(threads, ...) bytes. */
void attention(struct pool *p, const struct kv_layer *kv, const struct attn_row *rows,
               size_t n_rows, float *out, size_t ldo, const float *q, size_t ldq, size_t n_heads,
               float scale, float softcap, void *scratch);
size_t attention_scratch(size_t n_threads, size_t n_rows, size_t n_heads, size_t head_dim);

/* Row operations: x, y [n_rows, n] with the strides named, f32. */
void rmsnorm(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
             const float *weight /* [n] */, float weight_offset /* 1 for Gemma's (1 + w) */,
             float eps);
void layernorm(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
               const float *weight, const float *bias /* or NULL */, float eps);
void activate(enum activation a, float *x, size_t ldx, size_t n_rows, size_t n); // x = act(x)
void activate_mul(enum activation a, float *gate, size_t ldg, const float *up, size_t ldu,
                  size_t n_rows,
                  size_t n); // gate = act(gate) * up
void add_scaled(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                float s); // y += s * x
/* x [n_heads, head_dim]: rotates the first `rotary` of every head by cos, sin [rotary / 2], pairing
 * i with i + rotary / 2 (the "half" layout of transformers). */
void rope(float *x, size_t n_heads, size_t head_dim, size_t rotary, const float *cos,
          const float *sin);
void softcap(float *x, size_t n, float cap);

#endif
