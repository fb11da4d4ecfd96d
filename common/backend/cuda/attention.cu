/* Attention over bf16 pages (attention.h) as two kernels with the same bits.
 *
 * A tile is up to 16 queries that share a KV head: some rows of one sequence, each with the query
 * heads of the group. Pages of 64 positions are joined, in order, into spans of CU_SPAN_PAGES, and
 * spans, in order, into the result. Spans are at absolute positions.
 *
 *   k_attend_few_*   grid (tiles, KV heads, slots), 128 threads. A block does spans z, z + slots
 *                    and so on, a warp a page. If a tile has more than one span, their sums go to
 *                    `partial`, and the last block to finish joins them.
 *   k_attend_many_*  grid (tiles / 4, KV heads), 128 threads. Each warp does a whole tile. Needs
 *                    attend_many_shared(pad) bytes.
 *
 * The suffix is pad (head_dim rounded up to 16) where that is 64, 96, 128 or 256; _any takes every
 * pad up to 512.
 *
 * The step (header, rows, tiles, words) and the pages' addresses are read before grid_wait: no
 * kernel writes them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/attention.h"

enum {
    ANY_TILES = 16, // of 8 dimensions, that k_attend_many_any sums at a time
    MOST_STEPS = 32 // of 16 dimensions, of k_attend_few_any: pad 512
};

/* The scores of a page. q: operands [pad / 16, 32 lanes] in shared memory. RING parts of the keys
 * are in flight or in use. The outer loop must stay a loop: unrolled, the compiler would begin more
 * loads than there are registers for. */
template <int D, int RING>
DEVICE void scores_of(float s[8][4], const unsigned char *keys, uint32_t pad, const uint4 *q) {
    uint32_t parts = pad / 32 * 2;
    uint4 k[RING][4];
    UNROLL
    for (int i = 0; i < 8; i++)
        s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0;
    q += threadIdx.x % 32;
    UNROLL
    for (uint32_t i = 0; i < RING - 1; i++)
        if (i < parts)
            attend_load_keys(k[i], keys, pad, i);
    ROLLED
    for (uint32_t first = 0; first < parts; first += RING) {
        UNROLL
        for (uint32_t i = 0; i < RING; i++) {
            uint32_t part = first + i, next = part + RING - 1;
            if (next < parts)
                attend_load_keys(k[(i + RING - 1) % RING], keys, pad, next);
            if ((D != 0 && D / 16 % RING == 0) || part < parts)
                attend_add_keys(s, k[i], q + part / 2 * 64, i % 2);
        }
    }
    if (D == 0 && pad % 32 != 0)
        attend_add_last_keys(s, keys, pad, q + pad / 32 * 64);
}

/* ---- few rows: a block a span ---- */

/* Where k_attend_few stores the sums of a span: [pad / 8, 32 lanes] float4, then the maxima and the
 * sums of 16 queries. */
DEVICE float *partial_of(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                         uint32_t span) {
    uint64_t of_group =
        (w.group + CU_QUERIES - 1) / CU_QUERIES; // 1, unless a group has more heads than a tile
    uint64_t i = ((uint64_t)blockIdx.x * a.kv.n_kv_heads + w.head) * of_group + from / CU_QUERIES;
    return a.partial + (i * a.max_spans + span) * (CU_QUERIES * (a.kv.pad + 2));
}
DEVICE struct attend_total load_total(const float *max_and_sum) {
    uint32_t g = threadIdx.x % 32 / 4;
    struct attend_total t = {{max_and_sum[g], max_and_sum[g + 8]},
                             {max_and_sum[16 + g], max_and_sum[24 + g]}};
    return t;
}
DEVICE void store_total(float *max_and_sum, const struct attend_total &t) {
    uint32_t g = threadIdx.x % 32 / 4;
    if (threadIdx.x % 4 == 0)
        for (uint32_t h = 0; h < 2; h++) {
            max_and_sum[g + 8 * h] = t.max[h];
            max_and_sum[16 + g + 8 * h] = t.sum[h];
        }
}

/* Joins the spans of a tile and stores its output; of each 16 tiles of 8 dimensions, every warp
 * does four. */
DEVICE void join_spans(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                       uint32_t n_spans) {
    enum { AHEAD = 4 }; // spans whose loads are in flight together
    uint32_t lane = threadIdx.x % 32, n_tiles = a.kv.pad / 8;
    bool mine = lane / 4 < w.n * w.group - from;
    for (uint32_t first = threadIdx.x / 32; first < n_tiles; first += 16) {
        struct attend_total total = attend_no_total();
        float4 sums[4];
        UNROLL
        for (int i = 0; i < 4; i++)
            sums[i] = make_float4(0, 0, 0, 0);
        for (uint32_t span = 0; span < n_spans; span += AHEAD) {
            float4 v[AHEAD][4];
            struct attend_total t[AHEAD];
            UNROLL
            for (int s = 0; s < AHEAD; s++) {
                const float *p = partial_of(a, w, from, span + (uint32_t)s);
                bool there = mine && span + (uint32_t)s < n_spans;
                t[s] = there ? load_total(p + CU_QUERIES * a.kv.pad) : attend_no_total();
                UNROLL
                for (int i = 0; i < 4; i++) {
                    uint32_t tile = first + 4 * (uint32_t)i;
                    v[s][i] = there && tile < n_tiles ? ((const float4 *)p)[tile * 32 + lane]
                                                      : make_float4(0, 0, 0, 0);
                }
            }
            UNROLL
            for (int s = 0; s < AHEAD; s++) {
                struct attend_factors f = attend_join(&total, t[s]);
                UNROLL
                for (int i = 0; i < 4; i++)
                    sums[i] = attend_joined(sums[i], v[s][i], f);
            }
        }
        struct attend_out o = attend_out_of(a, w, from, total);
        UNROLL
        for (int i = 0; i < 4; i++)
            attend_store(a, o, first + 4 * (uint32_t)i, sums[i]);
    }
}

/* The pages of a span, [page, page + n), whose sums are in shared memory: sums [4 warps][TILES][32]
 * float4, totals [4][32]. */
template <int TILES> struct few_shared {
    uint4 *queries;   // [pad / 16, 32]
    float4 *sums;     // [4, TILES, 32]
    float *totals;    // [4, 2 * CU_QUERIES]
    uint32_t *before; // blocks that were done before this one
    struct attend_tile *tile;
};

/* One span of a tile, for queries from .. + 15. Its sums go to `partial`, or to the output if it is
 * the only span. */
template <int D, int TILES>
DEVICE void few_span(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                     uint32_t span, bool only, const struct few_shared<TILES> &shared) {
    enum { RING = 4 }; // tiles of values in flight or in use
    static_assert(TILES % RING == 0, "the ring is where it was when the next TILES begin");
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, pad = D ? D : a.kv.pad;
    uint32_t begin = w.lo / CU_KV_PAGE, end = w.hi / CU_KV_PAGE + 1,
             span_page = (w.lo / ATTEND_SPAN + span) * CU_SPAN_PAGES;
    begin = begin > span_page ? begin : span_page; // pages of the span: the first warps have them
    end = end < span_page + CU_SPAN_PAGES ? end : span_page + CU_SPAN_PAGES;
    uint32_t n_pages = end - begin, page = begin + warp;
    bool busy = warp < n_pages;
    uint32_t p[8][2];
    uint4 v[RING][2], kept[2];
    const unsigned char *values = NULL;
    if (busy) {
        const unsigned char *keys = attend_page(a, w, page);
        float s[8][4];
        struct attend_total own;
        values = keys + pad * CU_KV_PAGE * 2;
        scores_of<D, 4>(s, keys, pad, shared.queries);
        UNROLL
        for (uint32_t i = 0; i < RING - 1; i++)
            if (D != 0 || i < pad / 8)
                attend_load_values(v[i], values, i);
        attend_weights(s, a, w, from, page, p, &own);
        attend_kept(kept, 1, w, page);
        store_total(shared.totals + warp * 2 * CU_QUERIES, own);
    } else { // never used; without it the compiler holds registers for them from the kernel's start
        UNROLL
        for (int i = 0; i < 8; i++)
            p[i][0] = p[i][1] = 0;
        kept[0] = kept[1] = make_uint4(0, 0, 0, 0);
        UNROLL
        for (int i = 0; i < RING; i++)
            v[i][0] = v[i][1] = make_uint4(0, 0, 0, 0);
    }
    float *out = partial_of(a, w, from, span);
    for (uint32_t first = 0; first < pad / 8; first += TILES) {
        uint32_t end_tile = pad / 8 - first < TILES ? pad / 8 : first + TILES;
        if (busy)
            ROLLED
        for (uint32_t round = first; round < end_tile; round += RING)
            UNROLL
        for (uint32_t i = 0; i < RING; i++) {
            uint32_t tile = round + i, next = tile + RING - 1;
            if (next < pad / 8)
                attend_load_values(v[(i + RING - 1) % RING], values, next);
            if (tile >= end_tile)
                continue;
            attend_keep(v[i], kept, 1);
            shared.sums[(warp * TILES + tile - first) * 32 + lane] = attend_values(p, v[i]);
        }
        __syncthreads();
        struct attend_total total = load_total(shared.totals);
        struct attend_factors f[CU_SPAN_PAGES - 1];
        UNROLL
        for (uint32_t i = 1; i < CU_SPAN_PAGES; i++)
            if (i < n_pages)
                f[i - 1] = attend_join(&total, load_total(shared.totals + i * 2 * CU_QUERIES));
        ROLLED
        for (uint32_t tile = warp; tile < TILES && first + tile < pad / 8; tile += 4) {
            float4 v = shared.sums[tile * 32 + lane];
            UNROLL
            for (uint32_t i = 1; i < CU_SPAN_PAGES; i++)
                if (i < n_pages)
                    v = attend_joined(v, shared.sums[(i * TILES + tile) * 32 + lane], f[i - 1]);
            if (only)
                attend_store(a, attend_out_of(a, w, from, total), first + tile, v);
            else
                ((float4 *)out)[(first + tile) * 32 + lane] = v;
        }
        if (!only && warp == 0 && first == 0)
            store_total(out + CU_QUERIES * pad, total);
        __syncthreads();
    }
}

template <int D, int TILES>
DEVICE void attend_few(const struct cu_attend_args &a, const struct few_shared<TILES> &shared) {
    uint32_t tile = blockIdx.x, warp = threadIdx.x / 32, pad = D ? D : a.kv.pad;
    grid_launch_next();
    if (tile >= a.step.header->n_tiles) {
        grid_wait();
        return;
    }
    if (threadIdx.x == 0)
        *shared.tile = attend_tile_of(a, tile, blockIdx.y);
    __syncthreads();
    const struct attend_tile &w = *shared.tile;
    uint32_t n_spans = w.hi / ATTEND_SPAN - w.lo / ATTEND_SPAN + 1,
             blocks = n_spans < gridDim.z ? n_spans : gridDim.z;
    if (blockIdx.z >= blocks) {
        grid_wait();
        return;
    }
    uint32_t page = (w.lo / ATTEND_SPAN + blockIdx.z) * CU_SPAN_PAGES + warp;
    if (page >= w.lo / CU_KV_PAGE && page <= w.hi / CU_KV_PAGE)
        attend_prefetch(attend_page(a, w, page), pad);
    grid_wait();
    for (uint32_t from = 0; from < w.n * w.group; from += CU_QUERIES) {
        for (uint32_t step = warp; step < pad / 16; step += 4)
            shared.queries[step * 32 + threadIdx.x % 32] =
                attend_query_operand(a, w, from + threadIdx.x % 32 / 4, step);
        __syncthreads();
        for (uint32_t span = blockIdx.z; span < n_spans; span += blocks)
            few_span<D, TILES>(a, w, from, span, n_spans == 1, shared);
    }
    if (n_spans > 1) {
        uint32_t *counter = a.counters + tile * a.kv.n_kv_heads + w.head;
        __threadfence(); // the sums are visible before the count
        __syncthreads();
        if (threadIdx.x == 0)
            *shared.before = count_up(counter);
        __syncthreads();
        if (*shared.before != blocks - 1)
            return;
        __threadfence();
        if (threadIdx.x == 0)
            *counter = 0;
        for (uint32_t from = 0; from < w.n * w.group; from += CU_QUERIES)
            join_spans(a, w, from, n_spans);
    }
    attend_store_padding(a, w, threadIdx.x, ATTEND_THREADS);
}

#define FEW(name, d, tiles, steps, blocks)                                                         \
    KERNEL(ATTEND_THREADS, blocks) name(PARAM(struct cu_attend_args) a) {                          \
        SHARED uint4 queries[(steps)*32];                                                          \
        SHARED float4 sums[4 * (tiles)*32];                                                        \
        SHARED float totals[4 * 2 * CU_QUERIES];                                                   \
        SHARED uint32_t before;                                                                    \
        SHARED struct attend_tile tile;                                                            \
        struct few_shared<tiles> shared = {                                                        \
            queries, sums, totals, &before, &tile                                                  \
        };                                                                                         \
        attend_few<d, tiles>(a, shared);                                                           \
    }
FEW(k_attend_few_64, 64, 8, 4, 3)
FEW(k_attend_few_96, 96, 16, 6, 3)
FEW(k_attend_few_128, 128, 16, 8, 3)
FEW(k_attend_few_256, 256, 16, 16, 3)
FEW(k_attend_few_any, 0, 8, MOST_STEPS, 2)

/* ---- many rows: a warp a tile ---- */

/* Shared memory of one warp, which serves its lanes as more registers. */
struct many_shared {
    float4 *sums;             // [TILES, 32] of all spans so far
    uint4 *kept;              // [2, 32]
    uint4 *queries;           // [pad / 16, 32]
    struct attend_tile *tile; // the only part that the lanes share
};

/* Dimensions [first * 8, first * 8 + TILES * 8) of a tile's output for queries from .. + 15. */
template <int D, int TILES, int RING>
DEVICE void many_part(const struct cu_attend_args &a, const struct attend_tile &w, uint32_t from,
                      uint32_t first, const struct many_shared &shared) {
    uint32_t lane = threadIdx.x % 32, pad = D ? D : a.kv.pad;
    struct attend_total total = attend_no_total();
    uint32_t page = w.lo / CU_KV_PAGE, end = w.hi / CU_KV_PAGE + 1;
    while (page < end) {
        uint32_t span_end = (page / CU_SPAN_PAGES + 1) * CU_SPAN_PAGES;
        bool is_first = page == w.lo / CU_KV_PAGE;
        struct attend_total span = attend_no_total();
        float4 span_sums[TILES];
        UNROLL
        for (int i = 0; i < TILES; i++)
            span_sums[i] = make_float4(0, 0, 0, 0);
        for (; page < end && page < span_end; page++) {
            const unsigned char *keys = attend_page(a, w, page),
                                *values = keys + pad * CU_KV_PAGE * 2;
            float s[8][4];
            uint32_t p[8][2];
            struct attend_total own;
            scores_of<D, RING>(s, keys, pad, shared.queries);
            uint4 v[RING][2];
            UNROLL
            for (int i = 0; i < RING - 1; i++)
                if (D != 0 || first + (uint32_t)i < pad / 8)
                    attend_load_values(v[i], values, first + (uint32_t)i);
            attend_weights(s, a, w, from, page, p, &own);
            struct attend_factors f = attend_join(&span, own);
            bool is_end = attend_is_end(w, page);
            if (is_end)
                attend_kept(shared.kept + lane, 32, w, page);
            UNROLL
            for (int i = 0; i < TILES; i++) {
                if (i + RING - 1 < TILES && (D != 0 || first + (uint32_t)(i + RING - 1) < pad / 8))
                    attend_load_values(v[(i + RING - 1) % RING], values,
                                       first + (uint32_t)(i + RING - 1));
                __syncwarp(); // loads are not moved over it, so that fewer wait for registers
                if (D == 0 && first + (uint32_t)i >= pad / 8)
                    break;
                if (is_end)
                    attend_keep(v[i % RING], shared.kept + lane, 32);
                span_sums[i] = attend_joined(span_sums[i], attend_values(p, v[i % RING]), f);
            }
        }
        struct attend_factors f = attend_join(&total, span);
        UNROLL
        for (int i = 0; i < TILES; i++) {
            float4 *at = shared.sums + i * 32 + lane;
            *at = is_first ? span_sums[i] : attend_joined(*at, span_sums[i], f);
        }
    }
    struct attend_out o = attend_out_of(a, w, from, total);
    ROLLED
    for (int i = 0; i < TILES; i++)
        attend_store(a, o, first + (uint32_t)i, shared.sums[i * 32 + lane]);
}

template <int D, int TILES, int RING>
DEVICE void attend_many(const struct cu_attend_args &a, unsigned char *memory) {
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, pad = D ? D : a.kv.pad;
    struct many_shared shared;
    shared.sums = (float4 *)memory + warp * TILES * 32;
    shared.kept = (uint4 *)memory + (4 * TILES + warp * 2) * 32;
    shared.queries = (uint4 *)memory + (4 * TILES + 8 + warp * (pad / 16)) * 32;
    shared.tile = (struct attend_tile *)((uint4 *)memory + (4 * TILES + 8 + pad / 4) * 32) + warp;
    uint32_t n_tiles = a.step.header->n_tiles, i = blockIdx.x * 4 + warp;
    grid_launch_next();
    grid_wait();
    if (i >= n_tiles)
        return;
    if (lane == 0)
        *shared.tile = attend_tile_of(
            a, n_tiles - 1 - i, blockIdx.y); // a prompt's last rows see most: they begin first
    __syncwarp();
    const struct attend_tile &w = *shared.tile;
    for (uint32_t from = 0; from < w.n * w.group; from += CU_QUERIES) {
        for (uint32_t step = 0; step < pad / 16; step++)
            shared.queries[step * 32 + lane] = attend_query_operand(a, w, from + lane / 4, step);
        for (uint32_t first = 0; first < pad / 8; first += TILES)
            many_part<D, TILES, RING>(a, w, from, first, shared);
    }
    attend_store_padding(a, w, lane, 32);
}

#define MANY(name, d, tiles, ring, blocks)                                                         \
    KERNEL(ATTEND_THREADS, blocks) name(PARAM(struct cu_attend_args) a) {                          \
        SHARED_DYNAMIC(shared);                                                                    \
        attend_many<d, tiles, ring>(a, shared);                                                    \
    }
MANY(k_attend_many_64, 64, 8, 4, 3)
MANY(k_attend_many_96, 96, 12, 4, 2)
MANY(k_attend_many_128, 128, 16, 4, 2)
MANY(k_attend_many_256, 256, 32, 2, 2)
MANY(k_attend_many_any, 0, ANY_TILES, 2, 2)
