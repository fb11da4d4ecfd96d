/* Attention over one page of bf16 keys and values, by one warp and for up to 16 queries; what
 * attend_few and attend_many share.
 *
 *   S [16, 64] = Q K^T
 *   p = e^(S - maximum of the page)
 *   sums = p V [16, head_dim], with the sum of p and the maximum
 *
 * mma.sync computes both products. Keys and values go from global memory straight to its operands,
 * 16 bytes of a row at a time. This works because the order of k is free as long as A and B agree.
 * Of 32 dimensions, lane t of four has 8t .. 8t + 7; two mma use the first and the last four of
 * them. Columns of S map to positions in the same way:
 *
 *   column 2t + e of tile 4j + h is position 32j + 8t + 2h + e (e < 2, h < 4, j < 2)
 *
 * So the accumulators of S, rounded in pairs, are operand A of p V without a shuffle, and 16 bytes
 * of a row of V^T are operand B.
 *
 * A page's sums begin at zero; attend_join adds them to others. Joining a page of which the query
 * saw no position changes no bit. So a query's bits depend only on the positions that it sees, not
 * on its tile, nor on the warps that computed its pages.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_ATTENTION_H
#define BACKEND_CUDA_ATTENTION_H

#include "backend/cuda/approx.h"

enum {
    ATTEND_SPAN = CU_SPAN_PAGES * CU_KV_PAGE, // positions
    ATTEND_THREADS = 128
};

DEVICE float attend_nothing(void) {      // the maximum of no scores
    return __uint_as_float(0xff800000u); // -infinity
}

/* A tile's queries for one KV head, and the positions that they see. */
struct attend_tile {
    uint32_t row, n;           // rows
    uint32_t head, group;      // the KV head; query heads that share it
    uint32_t lo, hi;           // [lo, hi] is seen by a row,
    uint32_t all_from, all_to; // [all_from, all_to] by all
    uint32_t table;
};
DEVICE struct attend_tile attend_tile_of(const struct cu_attend_args &a, uint32_t tile,
                                         uint32_t head) {
    struct cu_tile rows = a.step.tiles[tile];
    const struct cu_row *row = a.step.rows + rows.row;
    uint32_t g = a.kv.group;
    struct attend_tile w = {rows.row,      rows.n,       head,          a.n_heads / a.kv.n_kv_heads,
                            row->first[g], row->last[g], row->first[g], row->last[g],
                            row->table[g]};
    for (uint32_t i = 1; i < rows.n; i++) {
        uint32_t first = row[i].first[g], last = row[i].last[g];
        w.lo = first < w.lo ? first : w.lo;
        w.hi = last > w.hi ? last : w.hi;
        w.all_from = first > w.all_from ? first : w.all_from;
        w.all_to = last < w.all_to ? last : w.all_to;
    }
    return w;
}
/* The keys of a page; its values follow them. */
DEVICE const unsigned char *attend_page(const struct cu_attend_args &a, const struct attend_tile &w,
                                        uint32_t page) {
    uint64_t head_bytes = (uint64_t)a.kv.pad * CU_KV_PAGE * (a.kv.f32 ? 8 : 4);
    return a.kv.base + a.step.words[w.table + page] * a.kv.page_stride + w.head * head_bytes;
}

/* Query i of a tile. Where a group has more than CU_QUERIES heads, i goes on past them. */
struct attend_query {
    uint32_t row, head;
    bool valid;
};
DEVICE struct attend_query attend_query_of(const struct attend_tile &w, uint32_t i) {
    struct attend_query q = {w.row + i / w.group, w.head * w.group + i % w.group,
                             i < w.n * w.group};
    return q;
}
/* Its dimensions d .. d + 3 times the scale. q is 16-byte aligned and ldq a multiple of 4. */
DEVICE float4 attend_query_part(const struct cu_attend_args &a, struct attend_query q, uint32_t d) {
    float4 v = make_float4(0, 0, 0, 0);
    uint32_t n = a.kv.head_dim;
    const float *from = a.q + (size_t)q.row * a.ldq + (size_t)q.head * n + d;
    if (!q.valid || d >= n)
        return v;
    if (n % 4 == 0) {
        v = *(const float4 *)from;
    } else {
        v.x = from[0];
        v.y = d + 1 < n ? from[1] : 0;
        v.z = d + 2 < n ? from[2] : 0;
        v.w = d + 3 < n ? from[3] : 0;
    }
    return make_float4(v.x * a.scale, v.y * a.scale, v.z * a.scale, v.w * a.scale);
}
/* The operand A of 16 dimensions, step `step` of the product with the keys, for queries i and i + 8
 * of this lane. */
DEVICE uint4 attend_query_operand(const struct cu_attend_args &a, const struct attend_tile &w,
                                  uint32_t i, uint32_t step) {
    uint32_t t = threadIdx.x % 4, whole = a.kv.pad / 32 * 2;
    uint32_t d = step < whole ? step / 2 * 32 + 8 * t + step % 2 * 4 : step * 16 + 4 * t;
    float4 x = attend_query_part(a, attend_query_of(w, i), d),
           y = attend_query_part(a, attend_query_of(w, i + 8), d);
    return make_uint4(pack_bf16(x.x, x.y), pack_bf16(y.x, y.y), pack_bf16(x.z, x.w),
                      pack_bf16(y.z, y.w));
}

/* 32 dimensions of the keys of 32 positions: part 2c + j is dimensions 32c .. + 31, positions 32j
 * .. + 31, tiles 4j .. + 3 of S. */
DEVICE void attend_load_keys(uint4 k[4], const unsigned char *keys, uint32_t pad, uint32_t part) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, row_bytes = pad * 2;
    const unsigned char *at = keys + (8 * (g / 2) + g % 2) * row_bytes + t * 16 + part / 2 * 64 +
                              part % 2 * 32 * row_bytes;
    UNROLL
    for (uint32_t h = 0; h < 4; h++)
        k[h] = *(const uint4 *)(at + 2 * h * row_bytes);
}
/* s += q k of these; q: this lane's operands of the two steps, 32 apart. */
DEVICE void attend_add_keys(float s[8][4], const uint4 k[4], const uint4 *q, uint32_t j) {
    uint4 a = q[0], b = q[32];
    UNROLL
    for (uint32_t h = 0; h < 4; h++)
        mma_bf16(s[4 * j + h], a.x, a.y, a.z, a.w, k[h].x, k[h].y);
    UNROLL
    for (uint32_t h = 0; h < 4; h++)
        mma_bf16(s[4 * j + h], b.x, b.y, b.z, b.w, k[h].z, k[h].w);
}
/* The last 16 dimensions, where pad is no multiple of 32. */
DEVICE void attend_add_last_keys(float s[8][4], const unsigned char *keys, uint32_t pad,
                                 const uint4 *q) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, row_bytes = pad * 2;
    const unsigned char *at = keys + (8 * (g / 2) + g % 2) * row_bytes + (pad - 16) * 2 + t * 8;
    uint4 a = q[0];
    UNROLL
    for (int i = 0; i < 8; i++) {
        uint2 k = *(const uint2 *)(at + (uint32_t)(32 * (i / 4) + 2 * (i % 4)) * row_bytes);
        mma_bf16(s[i], a.x, a.y, a.z, a.w, k.x, k.y);
    }
}

/* Scores of positions that a query does not see become -infinity. */
DEVICE void attend_hide(float s[8][4], const struct cu_attend_args &a, const struct attend_tile &w,
                        uint32_t from, uint32_t page) {
    uint32_t p = page * CU_KV_PAGE + threadIdx.x % 4 * 8;
    UNROLL
    for (int h = 0; h < 2; h++) {
        struct attend_query q = attend_query_of(w, from + threadIdx.x % 32 / 4 + 8 * (uint32_t)h);
        const struct cu_row *row = a.step.rows + (q.valid ? q.row : w.row);
        uint32_t first = row->first[a.kv.group], last = row->last[a.kv.group];
        UNROLL
        for (int i = 0; i < 8; i++)
            UNROLL
        for (int e = 0; e < 2; e++) {
            uint32_t at = p + (uint32_t)(32 * (i / 4) + 2 * (i % 4) + e);
            if (at < first || at > last)
                s[i][2 * h + e] = attend_nothing();
        }
    }
}
/* Whether a page has positions that some query of the tile does not see, or that none sees. */
DEVICE bool attend_is_edge(const struct attend_tile &w, uint32_t page) {
    return page * CU_KV_PAGE < w.all_from || page * CU_KV_PAGE + CU_KV_PAGE - 1 > w.all_to;
}
DEVICE bool attend_is_end(const struct attend_tile &w, uint32_t page) {
    return page * CU_KV_PAGE < w.lo || page * CU_KV_PAGE + CU_KV_PAGE - 1 > w.hi;
}

/* The maximum and sum of a lane's two queries. */
struct attend_total {
    float max[2], sum[2];
};
DEVICE struct attend_total attend_no_total(void) {
    struct attend_total t = {{attend_nothing(), attend_nothing()}, {0, 0}};
    return t;
}

/* s becomes softmax's numerators, rounded in p as operands. two: queries 8 .. 15 exist. */
DEVICE void attend_softmax(const float s[8][4], uint32_t p[8][2], struct attend_total *own,
                           bool two) {
    *own = attend_no_total();
    UNROLL
    for (int h = 0; h < 2; h++) {
        if (h == 1 && !two) {
            UNROLL
            for (int i = 0; i < 8; i++)
                p[i][h] = 0;
            continue;
        }
        float top = attend_nothing();
        UNROLL
        for (int i = 0; i < 8; i++)
            top = fmaxf(top, fmaxf(s[i][2 * h], s[i][2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
        own->max[h] = top;
        float base = top == attend_nothing() ? 0 : top,
              all = 0; // no position seen: p = 0, not e^(infinity - infinity)
        UNROLL
        for (int i = 0; i < 8; i++) {
            float x = attend_exp(s[i][2 * h] - base, 0.0f),
                  y = attend_exp(s[i][2 * h + 1] - base, 0.0f);
            all += x;
            all += y;
            p[i][h] = pack_bf16(x, y);
        }
        all += __shfl_xor_sync(ALL_LANES, all, 1);
        all += __shfl_xor_sync(ALL_LANES, all, 2);
        own->sum[h] = all;
    }
}
/* The scores are in a ring of registers, so that this can be a loop. Unrolled, it would be most of
 * a kernel's code. */
DEVICE void attend_softcap(float s[8][4], float cap) {
    float inverse = 1.0f / cap;
    ROLLED
    for (int n = 0; n < 4; n++) {
        float now[2][4];
        UNROLL
        for (int i = 0; i < 8; i++)
            UNROLL
        for (int e = 0; e < 4; e++) {
            if (i < 2)
                now[i][e] = cap * attend_tanh(s[i][e] * inverse);
            s[i][e] = i < 6 ? s[i + 2][e] : now[i - 6][e];
        }
    }
}
/* From a page's scores to p: softcap, then the mask of unseen positions, then softmax. */
DEVICE void attend_weights(float s[8][4], const struct cu_attend_args &a,
                           const struct attend_tile &w, uint32_t from, uint32_t page,
                           uint32_t p[8][2], struct attend_total *own) {
    if (a.softcap > 0)
        attend_softcap(s, a.softcap);
    if (attend_is_edge(w, page))
        attend_hide(s, a, w, from, page);
    attend_softmax(s, p, own, w.n * w.group - from > 8);
}

/* A mask for this lane's 16 positions, in the order of attend_load_values: all ones where the tile
 * sees a position. The other positions of a page are left over from other sequences and may be NaN,
 * and NaN times zero is NaN. */
DEVICE uint32_t attend_kept_pair(const struct attend_tile &w, uint32_t at) {
    return (at >= w.lo && at <= w.hi ? 0x0000ffffu : 0) |
           (at + 1 >= w.lo && at + 1 <= w.hi ? 0xffff0000u : 0);
}
DEVICE void attend_kept(uint4 *kept, uint32_t stride, const struct attend_tile &w, uint32_t page) {
    UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint32_t at = page * CU_KV_PAGE + 32 * j + threadIdx.x % 4 * 8;
        kept[j * stride] = make_uint4(attend_kept_pair(w, at), attend_kept_pair(w, at + 2),
                                      attend_kept_pair(w, at + 4), attend_kept_pair(w, at + 6));
    }
}
/* Values of dimensions tile * 8 .. + 7 at all positions: v[0] of positions 0 .. 31, v[1] of the
 * others. */
DEVICE void attend_load_values(uint4 v[2], const unsigned char *values, uint32_t tile) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const unsigned char *at = values + (tile * 8 + g) * (CU_KV_PAGE * 2) + t * 16;
    v[0] = *(const uint4 *)at;
    v[1] = *(const uint4 *)(at + CU_KV_PAGE);
}
DEVICE void attend_keep(uint4 v[2], const uint4 *kept, uint32_t stride) {
    UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint4 k = kept[j * stride];
        v[j] = make_uint4(v[j].x & k.x, v[j].y & k.y, v[j].z & k.z, v[j].w & k.w);
    }
}
/* The page's sums in these 8 dimensions. */
DEVICE float4 attend_values(const uint32_t p[8][2], const uint4 v[2]) {
    float d[4] = {0, 0, 0, 0};
    UNROLL
    for (int j = 0; j < 2; j++) {
        mma_bf16(d, p[4 * j][0], p[4 * j][1], p[4 * j + 1][0], p[4 * j + 1][1], v[j].x, v[j].y);
        mma_bf16(d, p[4 * j + 2][0], p[4 * j + 2][1], p[4 * j + 3][0], p[4 * j + 3][1], v[j].z,
                 v[j].w);
    }
    return make_float4(d[0], d[1], d[2], d[3]);
}

/* The factor of sums when others join them. */
struct attend_factors {
    float own[2], other[2];
};
/* The factor is exactly 1 if the maximum stays. It is -0 for sums that saw no position, which are
 * +0. So x * 1 + -0 is x, whatever x is. */
DEVICE struct attend_factors attend_join(struct attend_total *own,
                                         const struct attend_total &other) {
    struct attend_factors f;
    UNROLL
    for (int h = 0; h < 2; h++) {
        float top = fmaxf(own->max[h], other.max[h]);
        float less = attend_exp(fminf(own->max[h], other.max[h]) - top, -0.0f);
        f.own[h] = own->max[h] == top ? 1.0f : less;
        f.other[h] = other.max[h] == top ? 1.0f : less;
        own->sum[h] = fmaf(own->sum[h], f.own[h], other.sum[h] * f.other[h]);
        own->max[h] = top;
    }
    return f;
}
DEVICE float4 attend_joined(float4 own, float4 other, const struct attend_factors &f) {
    return make_float4(
        fmaf(own.x, f.own[0], other.x * f.other[0]), fmaf(own.y, f.own[0], other.y * f.other[0]),
        fmaf(own.z, f.own[1], other.z * f.other[1]), fmaf(own.w, f.own[1], other.w * f.other[1]));
}

/* Where the results of a lane's two queries are stored, and the factor of their sums. */
struct attend_out {
    float inverse[2];
    uint32_t row[2], k[2];
    bool valid[2];
};
DEVICE struct attend_out attend_out_of(const struct cu_attend_args &a, const struct attend_tile &w,
                                       uint32_t from, const struct attend_total &total) {
    struct attend_out o;
    UNROLL
    for (int h = 0; h < 2; h++) {
        struct attend_query q = attend_query_of(w, from + threadIdx.x % 32 / 4 + 8 * (uint32_t)h);
        o.inverse[h] = 1.0f / total.sum[h];
        o.row[h] = q.row;
        o.k[h] = q.head * a.kv.head_dim;
        o.valid[h] = q.valid;
    }
    return o;
}
/* Stores the results in dimensions tile * 8 .. + 7. */
DEVICE void attend_store(const struct cu_attend_args &a, const struct attend_out &o, uint32_t tile,
                         float4 v) {
    uint32_t d = tile * 8 + threadIdx.x % 4 * 2, n = a.kv.head_dim;
    UNROLL
    for (int h = 0; h < 2; h++) {
        float x = (h ? v.z : v.x) * o.inverse[h], y = (h ? v.w : v.y) * o.inverse[h];
        uint32_t k = o.k[h] + d;
        if (!o.valid[h] || d >= n)
            continue;
        if (n % 2 != 0) {
            store_x(a.out, a.out_type, a.ld_out, o.row[h], k, x);
            if (d + 1 < n)
                store_x(a.out, a.out_type, a.ld_out, o.row[h], k + 1, y);
        } else if (a.out_type == CU_F32) {
            *(float2 *)((float *)a.out + (size_t)o.row[h] * a.ld_out + k) = make_float2(x, y);
        } else {
            *(uint32_t *)((uint16_t *)a.out + cu_x_at(o.row[h], k, a.ld_out)) =
                pack_as(a.out_type, x, y);
        }
    }
}
/* Writes zeros to the padding of the rows of `out`. Only the blocks of KV head 0 do it, with
 * `threads` threads, of which this is number i. */
DEVICE void attend_store_padding(const struct cu_attend_args &a, const struct attend_tile &w,
                                 uint32_t i, uint32_t threads) {
    if (w.head == 0)
        for (uint32_t r = w.row; r < w.row + w.n; r++)
            for (uint32_t k = a.n_heads * a.kv.head_dim + i; k < a.ld_out; k += threads)
                store_x(a.out, a.out_type, a.ld_out, r, k, 0);
}

/* Prefetches a page's keys and values to L2. Has no result, so it may be called before grid_wait.
 */
DEVICE void attend_prefetch(const unsigned char *page, uint32_t pad) {
    for (uint32_t at = threadIdx.x % 32 * 128; at < pad * CU_KV_PAGE * 4; at += 32 * 128) {
#ifdef CUDA_SHIM
        (void)*(const volatile unsigned char *)(page + at);
#else
        asm volatile("prefetch.global.L2 [%0];" ::"l"(page + at));
#endif
    }
}

#endif
