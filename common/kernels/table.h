/* The kernel table: what differs between instruction sets. Private to common/kernels.
 *
 * kernels.c fills it, from the slowest instruction set up: each set's files put their functions in
 * place of what the sets before it have.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TABLE_H
#define KERNELS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/approx.h"
#include "kernels/attn_kernel.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"
#include "kernels/tune.h"

/* Row operations: the functions of kernels.h without `rows_`. */
struct rows_kernels {
    void (*rmsnorm)(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                    const struct rows_norm *norm);
    void (*layernorm)(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                      const struct rows_norm *norm);
    void (*activate)(enum activation a, float *x, size_t ldx, size_t n_rows, size_t n);
    void (*activate_mul)(enum activation a, float *gate, size_t ldg, const float *up, size_t ldu,
                         size_t n_rows, size_t n);
    void (*add_scaled)(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                       float s);
    void (*rope)(float *x, size_t n_heads, size_t head_dim, size_t rotary, const float *cos,
                 const float *sin);
    void (*softcap)(float *x, size_t n, float cap);
};

/* Rows of quantised layouts as f32 (widen.c), n bytes of codes with one scale. */
struct widen_kernels {
    void (*f8)(float *to, const uint8_t *codes, size_t n, float scale);
    void (*nf4)(float *to, const uint8_t *codes, size_t n, const float *values, float scale);
    /* A row of n blocks of panels of 4 bits -> to [32 * n] = table[code]; codes: its first bytes.
     */
    void (*halves)(uint8_t *to, const uint8_t *codes, size_t n, const uint8_t table[16]);
    /* to[i] = (bytes[i] - zero) * scale + *bias, if bias is not NULL. */
    void (*bytes)(float *to, const uint8_t *bytes, size_t n, int32_t zero, float scale,
                  const float *bias);
};

/* Keys and values in i8 as f32 (widen.c): codes [n] times one scale, or times one for each. */
struct kv_kernels {
    void (*i8)(float *to, const int8_t *codes, size_t n, float scale);
    void (*i8_each)(float *to, const int8_t *codes, size_t n, const float *scales);
};

struct kernel_table {
    const char *isa;                              // LLM_ISA's name of it
    struct matmul_kernel matmul[MAT_LAYOUTS];     // of x as it is
    struct matmul_kernel matmul_own[MAT_LAYOUTS]; // of x packed; no multiply: not faster here
    struct matmul_kernel matmul_few[MAT_LAYOUTS]; // the same, below matmul_own's least_rows
    size_t widen_rows, widen_n_in; // W is widened first for widen_rows or more of <= widen_n_in
    size_t row_ahead;              // one row of x: W is prefetched this number of bytes ahead; or 0
    struct attn_kernels attn;
    struct rows_kernels rows;
    struct widen_kernels widen;
    void (*idle)(void);      // called by a thread before it waits for work; or NULL
    const char *amx_refused; // why AMX is not used although the CPU has it; or NULL
    struct kv_kernels kv;
};

extern struct kernel_table kernel; // the one global

typedef void kernel_fill(struct kernel_table *t);
kernel_fill matmul_baseline_fill, matmul_c_fill, matmul_avx2_fill, matmul_avx512_fill,
    matmul_avx512bf16_fill, matmul_amx_emulated_fill, matmul_amx_fill;
kernel_fill matmul_int_baseline_fill, matmul_int_avx2_fill, matmul_int_avxvnni_fill,
    matmul_int_avx512_fill, matmul_int_amx_emulated_fill, matmul_int_amx_fill;
kernel_fill attention_baseline_fill, attention_c_fill, attention_avx2_fill, attention_avx512_fill,
    attention_avx512bf16_fill, attention_amx_emulated_fill, attention_amx_fill;
kernel_fill softmax_c_fill, softmax_avx2_fill, softmax_avx512_fill, softmax_avx512bf16_fill;
kernel_fill rows_c_fill, rows_avx2_fill, rows_avx512_fill;
kernel_fill widen_c_fill, widen_avx2_fill, widen_avx512_fill;

/* The name of the set that LLM_ISA=want chooses on CPU c; want NULL or empty: the default. NULL
 * with EXIT_USAGE where there is no such set, or c cannot run it. */
struct isa_cpu;
const char *kernels_choose(const char *want, const struct isa_cpu *c, struct err *e);

#endif
