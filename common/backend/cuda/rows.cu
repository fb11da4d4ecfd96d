/* The kernels that work row by row: embeddings and angles, norms, residual sums, and the norms and
 * rotations of queries and keys.
 *
 * The result of a row depends on that row alone. Sums run in an order that the row's length fixes
 * (norm.h, and below those of the heads). Everything else has the CPU's operations in the CPU's
 * order, and so the CPU's bits. A grid may have more rows than the step has.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "backend/cuda/norm.h"
#include "backend/cuda/quant.h"
#include "backend/cuda/store.h"

/* Sine and cosine of an f32 angle below 2^28, each with a relative error below 1.3e-16.
 *
 * With n = the nearest whole number to x / (pi / 2), r = x - n pi / 2 is within pi / 4 (Cody and
 * Waite 1980). pi / 2 is the sum of three doubles. x - n first is exact, because both are multiples
 * of 2^-52; the others give r and what its rounding left out, `low`. Both functions of r are their
 * Taylor series, to r^17 and r^16; the next terms are below 1e-19 and 3e-18. */
DEVICE void sine_cosine(double x, double *sine, double *cosine) {
    const double magic = 0x1.8p52; // adding it rounds to whole
    const double first = 0x1.921fb54442d18p+0, second = 0x1.1a62633145c07p-54,
                 third = -0x1.f1976b7ed8fbcp-110;
    double shifted = fma(x, 0x1.45f306dc9c883p-1, magic), n = shifted - magic; // 2 / pi
    uint64_t quarter;
    memcpy(&quarter, &shifted, sizeof quarter); // its last bits are those of n

    double d = fma(-n, first, x);
    double r = fma(-n, second, d);
    double low = fma(-n, third, fma(-n, second, d - r));
    double z = r * r, z_low = fma(r, r, -z), half = 0.5 * z;

    double s = 1.0 / 355687428096000;
    s = fma(s, z, -1.0 / 1307674368000);
    s = fma(s, z, 1.0 / 6227020800);
    s = fma(s, z, -1.0 / 39916800);
    s = fma(s, z, 1.0 / 362880);
    s = fma(s, z, -1.0 / 5040);
    s = fma(s, z, 1.0 / 120);
    s = fma(s, z, -1.0 / 6);
    double sin_r = r + fma(s, r * z, fma(-half, low, low));

    double c = 1.0 / 20922789888000;
    c = fma(c, z, -1.0 / 87178291200);
    c = fma(c, z, 1.0 / 479001600);
    c = fma(c, z, -1.0 / 3628800);
    c = fma(c, z, 1.0 / 40320);
    c = fma(c, z, -1.0 / 720);
    c = fma(c, z, 1.0 / 24);
    double high = 1.0 - half, rest = fma(-r, low, 1.0 - high - half);
    double cos_r = high + fma(c, z * z, fma(-0.5, z_low, rest));

    bool swap = quarter & 1;
    double a = swap ? cos_r : sin_r, b = swap ? sin_r : cos_r;
    *sine = quarter & 2 ? -a : a;
    *cosine = (quarter + 1) & 2 ? -b : b;
}

DEVICE float4 halves_to_f32(uint32_t type, uint32_t low, uint32_t high) {
    float4 v;
    bool bf16 = type == CU_BF16;
    v.x = bf16 ? f32_of_bf16((uint16_t)low) : f32_of_f16((uint16_t)low);
    v.y = bf16 ? f32_of_bf16((uint16_t)(low >> 16)) : f32_of_f16((uint16_t)(low >> 16));
    v.z = bf16 ? f32_of_bf16((uint16_t)high) : f32_of_f16((uint16_t)high);
    v.w = bf16 ? f32_of_bf16((uint16_t)(high >> 16)) : f32_of_f16((uint16_t)(high >> 16));
    return v;
}

/* Elements i to i + 3 of a row of plain weights [.., ld], i a multiple of 4; zeros from dim on. */
DEVICE float4 table_load4(const void *table, uint32_t type, uint32_t ld, uint32_t row, uint32_t i,
                          uint32_t dim) {
    size_t at = (size_t)row * ld + i;
    bool inside = i + 4 <= dim && ld % 4 == 0;
    if (type == CU_F32)
        return quad_load((const float *)table + (size_t)row * ld, i, dim,
                         inside && (uintptr_t)table % 16 == 0);
    if (inside && (uintptr_t)table % 8 == 0) {
        uint2 h = *(const uint2 *)((const uint16_t *)table + at);
        return halves_to_f32(type, h.x, h.y);
    }
    float4 v;
    v.x = i < dim ? load_as_f32(table, type, at) : 0;
    v.y = i + 1 < dim ? load_as_f32(table, type, at + 1) : 0;
    v.z = i + 2 < dim ? load_as_f32(table, type, at + 2) : 0;
    v.w = i + 3 < dim ? load_as_f32(table, type, at + 3) : 0;
    return v;
}

/* The same of a matrix of plain pairs that k_pack has packed. In a tile of 16 outputs by 16 k, lane
 * 4 g + t has four words: k = 2 t of outputs g and g + 8, then k = 2 t + 8 of both. */
DEVICE float4 packed_load4(const void *packed, uint32_t type, uint32_t ld, uint32_t row,
                           uint32_t i) {
    size_t tile = (size_t)(row / 16) * (ld / 16) + i / 16;
    uint32_t lane = row % 8 * 4 + i % 8 / 2, word = i % 16 / 8 * 2 + row % 16 / 8;
    const uint32_t *w = (const uint32_t *)packed + (tile * 32 + lane) * 4 + word;
    return halves_to_f32(type, w[0], w[4]);
}

/* Grid: rows. Angles are one f32 product, as on the CPU (common/model/rope.c). */
KERNEL(CU_THREADS, 4) k_begin(PARAM(struct cu_begin_args) a) {
    grid_launch_next();
    grid_wait();
    uint32_t row = blockIdx.x;
    if (row >= a.step.header->n_rows)
        return;
    uint32_t id = a.step.rows[row].id, pos = a.step.rows[row].pos;
    bool aligned = quad_aligned(a.x, a.ldx);

    for (uint32_t i = 4 * threadIdx.x; i < a.dim; i += 4 * CU_THREADS) {
        float4 v = a.embed_quant    ? quant_load4((const struct cu_quant *)a.embed, id, i)
                   : a.embed_packed ? packed_load4(a.embed, a.embed_type, a.embed_ld, id, i)
                                    : table_load4(a.embed, a.embed_type, a.embed_ld, id, i, a.dim);
        v.x *= a.scale, v.y *= a.scale, v.z *= a.scale, v.w *= a.scale;
        if (a.positions && a.positions_quant)
            v = quad_add(v, quant_load4((const struct cu_quant *)a.positions, pos, i), 1);
        else if (a.positions)
            v = quad_add(
                v, table_load4(a.positions, a.positions_type, a.positions_ld, pos, i, a.dim), 1);
        quad_store(a.x + (size_t)row * a.ldx, i, a.dim, aligned, v);
    }
    for (uint32_t n = 0; n < a.n_ropes; n++) {
        uint32_t half = a.half[n], freq = a.step.rows[row].freq[n];
        float scale = a.rope_scale[n], *cosines = a.cosines[n] + (size_t)row * half,
              *sines = a.sines[n] + (size_t)row * half;
        for (uint32_t i = threadIdx.x; i < half; i += CU_THREADS) {
            float angle = (float)pos * __uint_as_float(a.step.words[freq + i]);
            double sine, cosine;
            sine_cosine((double)angle, &sine, &cosine);
            cosines[i] = (float)cosine * scale;
            sines[i] = (float)sine * scale;
        }
    }
}

/* Elements i to i + 3 of a normed row, which are zeros from dim on. */
DEVICE void norm_store4(const struct cu_norm_args *a, uint32_t row, uint32_t i, bool aligned,
                        float4 v) {
    if (a->y)
        quad_store(a->y + (size_t)row * a->ldy, i, a->dim, aligned, v);
    if (!a->rounded || i >= a->ld_rounded)
        return;
    if (a->rounded_type == CU_F32) {
        *(float4 *)((float *)a->rounded + (size_t)row * a->ld_rounded + i) = v;
        return;
    }
    uint2 h;
    h.x = pack_as(a->rounded_type, v.x, v.y);
    h.y = pack_as(a->rounded_type, v.z, v.w);
    *(uint2 *)((uint16_t *)a->rounded + cu_x_at(row, i, a->ld_rounded)) =
        h; // all four are in one piece of 16 bytes
}

/* Grid: rows / 8, rounded up. */
KERNEL(CU_THREADS, 2) k_norm(PARAM(struct cu_norm_args) a) {
    enum { AHEAD = 4, STEP = 32 * 4 }; // loads in flight; elements that a warp has at a time
    grid_launch_next();
    grid_wait();
    uint32_t lane = threadIdx.x % 32, row = blockIdx.x * (CU_THREADS / 32) + threadIdx.x / 32,
             dim = a.dim;
    if (row >= (a.wanted ? a.step.header->n_want : a.step.header->n_rows))
        return;
    const float *x = a.x + (size_t)(a.wanted ? a.step.rows[row].want : row) * a.ldx;
    const float *weight = a.norm.kind == CU_NORM_NONE ? NULL : a.norm.weight;
    const float *bias = a.norm.kind == CU_NORM_LAYER ? a.norm.bias : NULL;
    bool aligned = quad_aligned(a.x, a.ldx) && (!a.y || quad_aligned(a.y, a.ldy)) &&
                   quad_aligned(weight, 0) && quad_aligned(bias, 0);

    float mean = 0, scale = 1;
    if (a.norm.kind == CU_NORM_LAYER)
        mean = norm_mean(norm_warp_sum(x, lane, dim, NORM_PLAIN, 0), dim);
    if (a.norm.kind != CU_NORM_NONE)
        scale = norm_scale(norm_warp_sum(x, lane, dim, NORM_SQUARES, mean), dim, a.norm.eps);

    const float4 zeros = {0, 0, 0, 0};
    uint32_t i = 4 * lane, end = a.rounded && a.ld_rounded > dim ? a.ld_rounded : dim;
    for (; aligned && i + (AHEAD - 1) * STEP + 4 <= dim; i += AHEAD * STEP) {
        float4 v[AHEAD], w[AHEAD];
        UNROLL for (uint32_t n = 0; n < AHEAD; n++) {
            v[n] = *(const float4 *)(x + i + n * STEP);
            w[n] = weight ? *(const float4 *)(weight + i + n * STEP) : zeros;
        }
        UNROLL for (uint32_t n = 0; n < AHEAD; n++) {
            float4 b = bias ? *(const float4 *)(bias + i + n * STEP) : zeros;
            norm_store4(&a, row, i + n * STEP, true,
                        norm_element4(v[n], w[n], b, scale, mean, &a.norm));
        }
    }
    for (; i < end; i += STEP) {
        float4 v = norm_apply4(quad_load(x, i, dim, aligned), i, dim, scale, mean, &a.norm);
        norm_store4(&a, row, i, aligned, v);
    }
}

/* Grid: rows. */
KERNEL(CU_THREADS, 4) k_add(PARAM(struct cu_add_args) a) {
    grid_launch_next();
    grid_wait();
    if (blockIdx.x >= a.step.header->n_rows)
        return;
    const float *x = a.x + (size_t)blockIdx.x * a.ldx;
    float *y = a.y + (size_t)blockIdx.x * a.ldy, scale = a.scale;
    uint32_t quads = quad_aligned(a.x, a.ldx) && quad_aligned(a.y, a.ldy) ? a.dim / 4 * 4 : 0;
    for (uint32_t i = 4 * threadIdx.x; i < quads; i += 4 * CU_THREADS)
        *(float4 *)(y + i) = quad_add(*(const float4 *)(y + i), *(const float4 *)(x + i), scale);
    for (uint32_t i = quads + threadIdx.x; i < a.dim; i += CU_THREADS)
        y[i] += scale * x[i];
}

/* The sum over a warp, in each of its lanes. */
DEVICE float warp_sum(float part) {
    UNROLL for (int other = 16; other > 0; other /= 2) part +=
        __shfl_xor_sync(ALL_LANES, part, other);
    return part;
}
/* The sum over a block, in each of its threads; warps [CU_THREADS / 32] is shared. */
DEVICE float block_sum(float part, float *warps) {
    part = warp_sum(part);
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = part;
    __syncthreads();
    float sum = warps[0];
    UNROLL for (uint32_t w = 1; w < CU_THREADS / 32; w++) sum += warps[w];
    __syncthreads(); // it is written again
    return sum;
}
/* One thread's part of a sum over x [n] that n_threads share, each with every n_threads-th element.
 */
DEVICE float strided_sum(const float *x, uint32_t thread, uint32_t n_threads, uint32_t n,
                         enum norm_sum what, float mean) {
    float sum = 0;
    for (uint32_t i = thread; i < n; i += n_threads)
        sum = norm_add(sum, x[i], what, mean);
    return sum;
}

struct qk_scale {
    float scale, mean;
};
/* Of x [head_dim], by a warp: lane l adds elements l, l + 32, ... and the lanes are added as a
 * tree. */
DEVICE struct qk_scale head_scale(const float *x, uint32_t lane, uint32_t n, uint32_t kind,
                                  float eps) {
    struct qk_scale s = {1, 0};
    if (kind == CU_NORM_LAYER)
        s.mean = norm_mean(warp_sum(strided_sum(x, lane, 32, n, NORM_PLAIN, 0)), n);
    s.scale = norm_scale(warp_sum(strided_sum(x, lane, 32, n, NORM_SQUARES, s.mean)), n, eps);
    return s;
}
/* Of all heads at once, x [n], by a block: the same with all its threads, then its warps from the
 * first to the last. */
DEVICE struct qk_scale all_scale(const float *x, uint32_t n, uint32_t kind, float eps,
                                 float *warps) {
    struct qk_scale s = {1, 0};
    if (kind == CU_NORM_LAYER)
        s.mean = norm_mean(
            block_sum(strided_sum(x, threadIdx.x, CU_THREADS, n, NORM_PLAIN, 0), warps), n);
    s.scale = norm_scale(
        block_sum(strided_sum(x, threadIdx.x, CU_THREADS, n, NORM_SQUARES, s.mean), warps), n, eps);
    return s;
}

/* x [head_dim], a head of q or of k, by a warp: normed, rotated, written, and stored if it is a
 * key. */
DEVICE void qk_head(const struct cu_qk_args *a, float *x, uint32_t row, uint32_t lane,
                    const struct cu_norm *norm, struct qk_scale s, bool is_key, uint32_t head,
                    struct cu_place place) {
    uint32_t half = a->rotary_half, dim = a->kv.head_dim;
    const float *cosines = a->cosines + (size_t)row * half, *sines = a->sines + (size_t)row * half;
    for (uint32_t i = lane; i < half; i += 32) {
        float p = norm_apply(x[i], i, s.scale, s.mean, norm),
              q = norm_apply(x[i + half], i + half, s.scale, s.mean, norm);
        float turned_p = p * cosines[i] - q * sines[i], turned_q = q * cosines[i] + p * sines[i];
        x[i] = turned_p;
        x[i + half] = turned_q;
        if (is_key) {
            store_key_at(&a->kv, place, head, i, turned_p);
            store_key_at(&a->kv, place, head, i + half, turned_q);
        }
    }
    for (uint32_t i = 2 * half + lane; i < dim; i += 32) {
        float p = norm_apply(x[i], i, s.scale, s.mean, norm);
        x[i] = p;
        if (is_key)
            store_key_at(&a->kv, place, head, i, p);
    }
}

/* Grid: rows, and in y any number of blocks that share a row's heads; 1 for CU_QK_ALL. A warp has a
 * head of q, k or v at a time. */
KERNEL(CU_THREADS, 2) k_qk(PARAM(struct cu_qk_args) a) {
    SHARED float warps[CU_THREADS / 32];
    grid_launch_next();
    grid_wait();
    uint32_t row = blockIdx.x, lane = threadIdx.x % 32, dim = a.kv.head_dim;
    uint32_t n_heads = a.n_heads, n_kv_heads = a.kv.n_kv_heads, n_qk = n_heads + n_kv_heads;
    if (row >= a.step.header->n_rows)
        return;
    struct cu_place place = store_place(&a.kv, &a.step, row);
    float *q = a.qkv + (size_t)row * a.ld, *k = q + (size_t)n_heads * dim;

    struct qk_scale all_q = {1, 0}, all_k = {1, 0};
    if (a.qk_norm == CU_QK_ALL) {
        all_q = all_scale(q, n_heads * dim, a.q_norm.kind, a.q_norm.eps, warps);
        all_k = all_scale(k, n_kv_heads * dim, a.k_norm.kind, a.k_norm.eps, warps);
    }
    for (uint32_t h = blockIdx.y * (CU_THREADS / 32) + threadIdx.x / 32; h < n_qk + n_kv_heads;
         h += gridDim.y * (CU_THREADS / 32)) {
        float *x = q + (size_t)h * dim;
        if (h >= n_qk) {
            for (uint32_t i = lane; i < dim; i += 32)
                store_value_at(&a.kv, place, h - n_qk, i, x[i]);
            continue;
        }
        bool is_key = h >= n_heads, own = a.qk_norm == CU_QK_EACH || a.qk_norm == CU_QK_ALL;
        uint32_t head = is_key ? h - n_heads : h, first = own ? head * dim : 0; // of its weights
        const float *bias = is_key ? a.k_norm.bias : a.q_norm.bias;
        struct cu_norm norm;
        norm.kind = a.qk_norm == CU_QK_NONE ? (uint32_t)CU_NORM_NONE
                    : is_key                ? a.k_norm.kind
                                            : a.q_norm.kind;
        norm.weight = (is_key ? a.k_norm.weight : a.q_norm.weight) + first;
        norm.bias = bias && a.qk_norm != CU_QK_EACH ? bias + first : NULL;
        norm.eps = is_key ? a.k_norm.eps : a.q_norm.eps;
        norm.offset = is_key ? a.k_norm.offset : a.q_norm.offset;
        struct qk_scale s = is_key ? all_k : all_q;
        if (a.qk_norm == CU_QK_HEAD || a.qk_norm == CU_QK_EACH)
            s = head_scale(x, lane, dim, norm.kind, norm.eps);
        qk_head(&a, x, row, lane, &norm, s, is_key, head, place);
    }
}
