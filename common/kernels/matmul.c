/* Matrix multiplication: y = x W^T + bias, with W as it lies in the mapping.
 *
 * The order of every sum is fixed: output element (r, o) has one vector of LANES partial sums; k runs upwards in
 * steps of LANES, product k going to lane k % LANES; at the end the lanes are added in one tree. Neither the
 * number of rows nor the cut into tiles or threads changes that.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/vec.h"

enum { LANES = 8 };

/* LANES values of a weight row, the last ones zero where fewer are left. */
EVERY_ISA void load_lanes(float *out, enum wtype t, const unsigned char *w, size_t n) {
    uint16_t h[LANES] = {0};
    if (t == W_F32) {
        float f[LANES] = {0};
        memcpy(f, w, n * 4);
        memcpy(out, f, sizeof f);
        return;
    }
    memcpy(h, w, n * 2);
    for (size_t l = 0; l < LANES; l++)
        out[l] = t == W_BF16 ? vec_f32_from_bf16(h[l]) : vec_f32_from_f16(h[l]);
}

EVERY_ISA float sum_lanes(const float *s) {
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

EVERY_ISA float dot(enum wtype t, const float *x, const unsigned char *w, size_t n) {
    size_t size = t == W_F32 ? 4 : 2, k = 0;
    float acc[LANES] = {0}, wl[LANES];
    for (; k + LANES <= n; k += LANES) {
        load_lanes(wl, t, w + k * size, LANES);
        for (size_t l = 0; l < LANES; l++)
            acc[l] += x[k + l] * wl[l];
    }
    if (k < n) {
        load_lanes(wl, t, w + k * size, n - k);
        for (size_t l = 0; l < n - k; l++)
            acc[l] += x[k + l] * wl[l];
    }
    return sum_lanes(acc);
}

EVERY_ISA void direct_c(enum wtype t, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
                        const unsigned char *w, size_t n_out, size_t n_in, const float *bias) {
    size_t stride = n_in * (t == W_F32 ? 4 : 2);
    for (size_t o = 0; o < n_out; o++, w += stride)
        for (size_t r = 0; r < n_rows; r++)
            y[r * ldy + o] = dot(t, x + r * ldx, w, n_in) + (bias ? bias[o] : 0);
}

#define DIRECT(name, wtype)                                                                                     \
    static void name(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, const unsigned char *w,   \
                     size_t n_out, size_t n_in, const float *bias) {                                            \
        direct_c(wtype, y, ldy, x, ldx, n_rows, w, n_out, n_in, bias);                                          \
    }
DIRECT(direct_f32_c, W_F32)
DIRECT(direct_f16_c, W_F16)
DIRECT(direct_bf16_c, W_BF16)

void matmul_fill(struct kernel_table *t, enum isa isa) {
    if (isa == ISA_C) {
        t->direct[W_F32] = direct_f32_c;
        t->direct[W_F16] = direct_f16_c;
        t->direct[W_BF16] = direct_bf16_c;
    }
}

struct matmul_job {
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx, n_rows;
    const struct mat *w;
    enum wtype type;
    const float *bias;
};

static void run_direct(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    size_t stride = j->w->n_in * (j->type == W_F32 ? 4 : 2);
    (void)thread;
    kernel.direct[j->type](j->y + begin, j->ldy, j->x, j->ldx, j->n_rows,
                           (const unsigned char *)j->w->data + begin * stride, end - begin, j->w->n_in,
                           j->bias ? j->bias + begin : NULL);
}

void matmul(struct pool *p, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, const struct mat *w,
            const float *bias, bool precise, void *scratch) {
    struct matmul_job j = {y, ldy, x, ldx, n_rows, w, W_BF16, bias};
    (void)precise;
    (void)scratch;
    j.type = w->dtype == DT_F32 ? W_F32 : w->dtype == DT_F16 ? W_F16 : W_BF16;
    pool_run(p, run_direct, &j, w->n_out, 32);
}

size_t matmul_scratch(size_t n_rows, size_t n_in) {
    return n_rows * n_in * sizeof(float) + 64;
}
