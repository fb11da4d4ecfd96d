/* Attention over f32 pages, for --precise: plain f32 sums.
 *
 * Grid (tiles, KV heads), CU_THREADS threads. A block takes its tile's pages in order. Of a page it
 * computes the scores [16, 64] into shared memory, makes them softmax's numerators with the maximum
 * so far, and adds the values that they weigh to sums in registers. A thread has 4 queries and up
 * to 4 dimensions; head_dim above 256 goes round again from the scores on.
 *
 * Each sum of a query has an order of its own: dimensions and positions from the first to the last.
 * A page or position that a query does not see is left out for it alone, so that its bits do not
 * depend on the other queries of its tile.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/attention.h"

enum {
    F32_QUERIES = 4, // of a thread: 64 threads a quarter of the tile
    F32_DIMS = 4     // of a thread, 64 apart
};

struct f32_shared {
    float (*scores)[CU_KV_PAGE]; // [CU_QUERIES], then numerators
    float *max, *sum, *factor;   // [CU_QUERIES]; factor: of the sums before this page
};

/* Scores of a page: a thread has one position and 4 queries. */
DEVICE void f32_scores(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                       const float *keys, const struct f32_shared &shared) {
    uint32_t at = threadIdx.x % CU_KV_PAGE, quarter = threadIdx.x / CU_KV_PAGE;
    const float *key = keys + at * a.kv.pad;
    float s[F32_QUERIES] = {0, 0, 0, 0};
    ROLLED
    for (uint32_t d = 0; d < a.kv.pad; d += 4) {
        float4 k = *(const float4 *)(key + d);
        UNROLL
        for (uint32_t i = 0; i < F32_QUERIES; i++) {
            float4 q =
                attend_query_part(a, attend_query_of(w, from + quarter * F32_QUERIES + i), d);
            s[i] = fmaf(q.x, k.x, s[i]);
            s[i] = fmaf(q.y, k.y, s[i]);
            s[i] = fmaf(q.z, k.z, s[i]);
            s[i] = fmaf(q.w, k.w, s[i]);
        }
    }
    UNROLL
    for (uint32_t i = 0; i < F32_QUERIES; i++)
        shared.scores[quarter * F32_QUERIES + i][at] =
            a.softcap > 0 ? a.softcap * attend_tanh(s[i] / a.softcap) : s[i];
}

/* Scores become numerators: a warp has two queries, a lane of it two positions. */
DEVICE void f32_softmax(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                        uint32_t page, const struct f32_shared &shared) {
    uint32_t lane = threadIdx.x % 32;
    for (uint32_t i = threadIdx.x / 32; i < CU_QUERIES; i += CU_THREADS / 32) {
        struct attend_query q = attend_query_of(w, from + i);
        const struct cu_row *row = a.step.rows + (q.valid ? q.row : w.row);
        uint32_t first = row->first[a.kv.group], last = row->last[a.kv.group],
                 at = page * CU_KV_PAGE + lane;
        bool x_seen = at >= first && at <= last, y_seen = at + 32 >= first && at + 32 <= last;
        float x = x_seen ? shared.scores[i][lane] : attend_nothing(),
              y = y_seen ? shared.scores[i][lane + 32] : attend_nothing();
        float top = fmaxf(x, y), before = shared.max[i];
        UNROLL
        for (int step = 16; step > 0; step /= 2)
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, step));
        top = fmaxf(top, before);
        float base = top == attend_nothing() ? 0 : top;
        x = attend_exp(x - base, 0.0f);
        y = attend_exp(y - base, 0.0f);
        float all = x + y;
        UNROLL
        for (int step = 16; step > 0; step /= 2)
            all += __shfl_xor_sync(ALL_LANES, all, step);
        shared.scores[i][lane] = x;
        shared.scores[i][lane + 32] = y;
        __syncwarp();
        if (lane == 0) {
            float factor = before == top ? 1.0f : attend_exp(before - top, 0.0f);
            shared.max[i] = top;
            shared.sum[i] = fmaf(shared.sum[i], factor, all);
            shared.factor[i] = factor;
        }
    }
}

/* sums = factor * sums + numerators * values. Numerators of zero, all that is not seen among them,
 * add nothing: an unseen value may be NaN. */
DEVICE void f32_values(float sums[F32_QUERIES][F32_DIMS], const struct cu_attend_args &a,
                       uint32_t first, const float *values, const struct f32_shared &shared) {
    uint32_t quarter = threadIdx.x / CU_KV_PAGE * F32_QUERIES;
    UNROLL
    for (uint32_t c = 0; c < F32_DIMS; c++) {
        uint32_t d = first + c * CU_KV_PAGE + threadIdx.x % CU_KV_PAGE;
        if (d >= a.kv.head_dim)
            break;
        UNROLL
        for (uint32_t i = 0; i < F32_QUERIES; i++)
            sums[i][c] *= shared.factor[quarter + i];
        ROLLED
        for (uint32_t at = 0; at < CU_KV_PAGE; at += 4) {
            float4 v = *(const float4 *)(values + d * CU_KV_PAGE + at);
            UNROLL
            for (uint32_t i = 0; i < F32_QUERIES; i++) {
                float4 p = *(const float4 *)&shared.scores[quarter + i][at];
                sums[i][c] = p.x != 0 ? fmaf(p.x, v.x, sums[i][c]) : sums[i][c];
                sums[i][c] = p.y != 0 ? fmaf(p.y, v.y, sums[i][c]) : sums[i][c];
                sums[i][c] = p.z != 0 ? fmaf(p.z, v.z, sums[i][c]) : sums[i][c];
                sums[i][c] = p.w != 0 ? fmaf(p.w, v.w, sums[i][c]) : sums[i][c];
            }
        }
    }
}

/* Dimensions first .. + 255 of the output of queries from .. + 15. */
DEVICE void f32_part(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                     uint32_t first, const struct f32_shared &shared) {
    float sums[F32_QUERIES][F32_DIMS];
    UNROLL
    for (uint32_t i = 0; i < F32_QUERIES; i++)
        UNROLL
    for (uint32_t c = 0; c < F32_DIMS; c++)
        sums[i][c] = 0;
    if (threadIdx.x < CU_QUERIES) {
        shared.max[threadIdx.x] = attend_nothing();
        shared.sum[threadIdx.x] = 0;
    }
    for (uint32_t page = w.lo / CU_KV_PAGE; page <= w.hi / CU_KV_PAGE; page++) {
        const float *keys = (const float *)attend_page(a, w, page);
        f32_scores(a, w, from, keys, shared);
        __syncthreads();
        f32_softmax(a, w, from, page, shared);
        __syncthreads();
        f32_values(sums, a, first, keys + a.kv.pad * CU_KV_PAGE, shared);
        __syncthreads();
    }
    UNROLL
    for (uint32_t i = 0; i < F32_QUERIES; i++) {
        uint32_t number = threadIdx.x / CU_KV_PAGE * F32_QUERIES + i;
        struct attend_query q = attend_query_of(w, from + number);
        float inverse = 1.0f / shared.sum[number];
        UNROLL
        for (uint32_t c = 0; c < F32_DIMS; c++) {
            uint32_t d = first + c * CU_KV_PAGE + threadIdx.x % CU_KV_PAGE;
            if (q.valid && d < a.kv.head_dim)
                store_x(a.out, a.out_type, a.ld_out, q.row, q.head * a.kv.head_dim + d,
                        sums[i][c] * inverse);
        }
    }
    __syncthreads(); // before the maxima are new
}

KERNEL(CU_THREADS, 2) k_attend_f32(PARAM(struct cu_attend_args) a) {
    SHARED float4 scores[CU_QUERIES * CU_KV_PAGE / 4];
    SHARED float max[CU_QUERIES], sum[CU_QUERIES], factor[CU_QUERIES];
    struct f32_shared shared = {(float(*)[CU_KV_PAGE])scores, max, sum, factor};
    grid_launch_next();
    grid_wait();
    if (blockIdx.x >= a.step.header->n_tiles)
        return;
    struct attend_tile w = attend_tile_of(a, blockIdx.x, blockIdx.y);
    for (uint32_t from = 0; from < w.n * w.group; from += CU_QUERIES)
        for (uint32_t first = 0; first < a.kv.head_dim; first += F32_DIMS * CU_KV_PAGE)
            f32_part(a, w, from, first, shared);
    attend_store_padding(a, w, threadIdx.x, CU_THREADS);
}
