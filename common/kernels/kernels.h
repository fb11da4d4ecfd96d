/* The operations of the CPU that take the time, with variants for several instruction sets.
 *
 * kernels_init fills a table, the only global of the program, with the variants for this CPU
 * (isa.h); LLM_ISA names another instruction set. Sums run in an order that is fixed for each
 * output element: the number of rows, the cut into tiles and the threads do not change it. So the
 * same inputs give the same bits. Variants of different instruction sets may differ in the last
 * bits.
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

/* Chooses the instruction set. EXIT_USAGE if LLM_ISA names none, or one that this CPU lacks. */
int kernels_init(struct err *e);
const char *kernels_isa(void);         // the name of the one in use
const char *kernels_refused(void);     // why AMX is not used though the CPU has it; else NULL
const char *const *kernels_isas(void); // those of this CPU, in the table's order, NULL-terminated
void kernels_use(const char *isa);     // for tests: one of kernels_isas()

/* ---- Matrix multiplication ---- */

/* y [n_rows, w->n_out] = x W^T + bias. Where act is not ACT_NONE, act() of that; where there is
 * `up`, also times (x up^T + up_bias). Both are done while the outputs are in a cache. */
struct matmul_product {
    float *y; // stride ldy
    size_t ldy;
    const struct mat *w;
    const float *bias; // [n_out] or NULL
    enum activation act;
    const struct mat *up; // of the shape of w; or NULL
    const float *up_bias; // [n_out] or NULL
};

/* What is multiplied: x [n_rows, n_in] f32. */
struct matmul_input {
    const float *x; // stride ldx
    size_t ldx, n_rows;
    bool precise;  // else x may be rounded where that is faster: to bf16 where W is BF16, to the
                   // sum of two bf16 where W is F16 or E4M3, to 15 bits where W has integers
    void *scratch; // matmul_scratch() bytes, 64-byte aligned, of this call alone
};

/* n products of one n_in with the same x, in one job: x is packed once, and threads wait for each
 * other once. Each gives the bits that it gives alone. */
void matmul(struct pool *p, const struct matmul_product *products, size_t n,
            const struct matmul_input *in);
/* For the instruction set in use. SIZE_MAX if it overflows. */
size_t matmul_scratch(size_t n_rows, size_t n_in);

/* ---- Keys and values ---- */

/* The KV pages of one layer. A page holds, for each KV head, KV_PAGE positions: keys
 * [k_dim, KV_PAGE], then values [KV_PAGE, v_dim], as f32. As bf16, rows 2i and 2i + 1 of either are
 * side by side: keys [(k_dim + 1) / 2, KV_PAGE, 2], values [KV_PAGE / 2, v_dim, 2]. As i8, the
 * codes of keys [k_dim, KV_PAGE], their scales [groups, KV_PAGE], the codes of values [KV_PAGE,
 * v_dim], their scales [KV_PAGE, groups]: KV_I8_GROUP dimensions of a position are a bf16 scale
 * times codes from -127 to 127. `run` pages are side by side, so that a step can read them as one
 * stream.
 *
 * Pages from KV_MAPPED on are in files that are mapped, and are only read: page is KV_MAPPED + the
 * offset from `mapped`, in units of KV_MAPPED_UNIT bytes. */
enum { KV_PAGE = 64, KV_I8_GROUP = 32, KV_MAPPED_UNIT = 64 };
#define KV_MAPPED UINT32_C(0x80000000)
enum kv_type { KV_BF16, KV_F32, KV_I8 };
struct kv_layer {
    unsigned char *base, *mapped;    // mapped NULL: there are no such pages
    size_t run, run_stride;          // pages in a run, and bytes from run to run
    size_t n_kv_heads, k_dim, v_dim; // of one head: its key, its value
    enum kv_type type;
};
static inline size_t kv_i8_groups(size_t dim) { // of a key or a value
    return (dim + KV_I8_GROUP - 1) / KV_I8_GROUP;
}
static inline size_t kv_i8_bytes(size_t dim) {
    return dim + 2 * kv_i8_groups(dim);
}
static inline size_t kv_key_bytes(size_t k_dim, enum kv_type t) { // of one head in a page
    return KV_PAGE * (t == KV_F32  ? k_dim * 4
                      : t == KV_I8 ? kv_i8_bytes(k_dim)
                                   : (k_dim + 1) / 2 * 4);
}
static inline size_t kv_value_bytes(size_t v_dim, enum kv_type t) {
    return KV_PAGE * (t == KV_F32 ? v_dim * 4 : t == KV_I8 ? kv_i8_bytes(v_dim) : v_dim * 2);
}
static inline size_t kv_page_bytes(size_t n_kv_heads, size_t k_dim, size_t v_dim, enum kv_type t) {
    return n_kv_heads * (kv_key_bytes(k_dim, t) + kv_value_bytes(v_dim, t));
}
/* The offset of a page below KV_MAPPED from page 0, in bytes. */
static inline size_t kv_page_offset(size_t run, size_t run_stride, size_t page_bytes,
                                    uint32_t page) {
    return page / run * run_stride + page % run * page_bytes;
}
static inline size_t kv_mapped_offset(uint32_t page) { // from `mapped`
    return (size_t)(page - KV_MAPPED) * KV_MAPPED_UNIT;
}

/* One query row. It sees positions [first, last], and its own key and value are stored at pos,
 * which need not be the last that it sees (an encoder's row sees later ones). All three are
 * absolute; pages[p / KV_PAGE] is position p's page. */
struct attn_row {
    const uint32_t *pages;
    uint32_t first, last, pos;
};

/* Stores row i's k [n_rows, n_kv_heads * k_dim] and v [n_rows, n_kv_heads * v_dim] (strides ldk,
 * ldv) at position rows[i].pos. Writes nothing else: other threads may store other rows at the same
 * time. */
void kv_store(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k,
              size_t ldk, const float *v, size_t ldv);

/* ---- Attention ---- */

/* out [n_rows, n_heads * v_dim] = softmax(scale * q k^T) v. Query head h reads KV head
 * h / (n_heads / n_kv_heads). softcap > 0: a score becomes softcap * tanh(score / softcap)
 * (Gemma 2). With pages in bf16, q and the probabilities may be rounded to bf16 too, where that is
 * faster. Pages in i8 are widened to f32. */
struct attn_call {
    const struct kv_layer *kv;
    const struct attn_row *rows; // [n_rows]
    size_t n_rows;
    float *out; // stride ldo
    size_t ldo;
    const float *q; // [n_rows, n_heads * k_dim], stride ldq
    size_t ldq, n_heads;
    float scale, softcap;
    void *scratch; // attention_scratch() bytes, 64-byte aligned, of this call alone
};
void attention(struct pool *p, const struct attn_call *a);
/* SIZE_MAX if it overflows. */
size_t attention_scratch(size_t n_threads, size_t n_rows, size_t n_heads, size_t k_dim,
                         size_t v_dim);

/* ---- Row operations: x and y [n_rows, n] f32, with the strides named ---- */

struct rows_norm {
    const float *weight, *bias; // [n]; bias: layernorm alone, or NULL
    float offset;               // rmsnorm multiplies by weight + offset: 1 for Gemma
    float eps;
};
void rows_rmsnorm(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                  const struct rows_norm *norm);
void rows_layernorm(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                    const struct rows_norm *norm);
/* x = act(x) */
void rows_activate(enum activation a, float *x, size_t ldx, size_t n_rows, size_t n);
/* gate = act(gate) * up */
void rows_activate_mul(enum activation a, float *gate, size_t ldg, const float *up, size_t ldu,
                       size_t n_rows, size_t n);
/* y += s * x */
void rows_add_scaled(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                     float s);
/* x [n_heads, head_dim]: rotates the first `rotary` elements of each head by cos, sin [rotary / 2].
 * Element i is paired with i + rotary / 2 (the "half" layout of transformers). */
void rows_rope(float *x, size_t n_heads, size_t head_dim, size_t rotary, const float *cos,
               const float *sin);
/* x = cap * tanh(x / cap) */
void rows_softcap(float *x, size_t n, float cap);

#endif
