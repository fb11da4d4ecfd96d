/* Chooses the experts of each row, sorts the pairs (row, its k-th expert) by expert for the matrix
 * products, and adds up the experts' results.
 *
 * Pair p is row p / n_used. Sorted, pairs of one expert follow each other, in order of rows:
 *
 *   pairs     3 6 | 0 | | 1 4 7 | ...
 *   offsets   0     2   3 3       6        expert e has pairs offsets[e] to offsets[e + 1] - 1
 *
 * A warp chooses the experts of a row. A warp sorts the pairs of an expert: it counts the pairs of
 * the experts before its own, which gives its offset, and then reads the pairs in ascending order.
 * So the result does not depend on the order in which warps run.
 *
 * Few rows: one block of k_route does both. Many: a grid of k_route chooses, and k_route_sort
 * sorts.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/approx.h"
#include "backend/cuda/quad.h"

enum { ROUTE_THREADS = 1024, MAX_USED = 64 };

/* The sorting key of an expert: the larger logit first, then the smaller number; never 0. NaN comes
 * last. */
DEVICE uint64_t rank_key(float logit, uint32_t expert) {
    uint32_t bits = __float_as_uint(logit + 0.0f); // -0 is 0
    uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)(logit == logit ? ordered : 1) << 32 | (0xFFFFFFFFu - expert);
}
DEVICE uint32_t key_expert(uint64_t key) {
    return 0xFFFFFFFFu - (uint32_t)key;
}

/* The best of n experts whose key is below `last`, found by a warp. */
DEVICE uint64_t next_best(const float *logits, uint32_t n, uint32_t lane, uint64_t last) {
    uint64_t best = 0;
    for (uint32_t x = lane; x < n; x += 32) {
        uint64_t key = rank_key(logits[x], x);
        best = key < last && key > best ? key : best;
    }
    UNROLL for (int other = 16; other > 0; other /= 2) {
        uint64_t high = __shfl_xor_sync(ALL_LANES, (uint32_t)(best >> 32), other);
        uint64_t theirs = high << 32 | __shfl_xor_sync(ALL_LANES, (uint32_t)best, other);
        best = theirs > best ? theirs : best;
    }
    return best;
}

/* The experts of a row and their weights, as common/backend/cpu_experts.c computes them: the
 * softmax over all experts; renormalised, the weights sum to 1. Lane l adds the exponentials of
 * experts l, l + 32, ... and the lanes are added as a tree. */
DEVICE void choose(const struct cu_route_args *a, uint32_t row, uint32_t lane) {
    const float *logits = a->logits + (size_t)row * a->ld;
    uint64_t best = next_best(logits, a->n_experts, lane, ~(uint64_t)0);
    float max = logits[key_expert(best)], sum = 0;
    for (uint32_t x = lane; x < a->n_experts; x += 32)
        sum += approx_exp(logits[x] - max);
    UNROLL for (int other = 16; other > 0; other /= 2) sum +=
        __shfl_xor_sync(ALL_LANES, sum, other);

    uint32_t expert_low = 0, expert_high = 0; // lane l keeps the l-th and the (l + 32)-th
    float weight_low = 0, weight_high = 0, kept = 0;
    for (uint32_t k = 0; k < a->n_used; k++) {
        uint32_t expert = key_expert(best);
        float weight = approx_exp(logits[expert] - max) / sum;
        kept += weight;
        if (k == lane)
            expert_low = expert, weight_low = weight;
        if (k == lane + 32)
            expert_high = expert, weight_high = weight;
        if (k + 1 < a->n_used)
            best = next_best(logits, a->n_experts, lane, best);
    }
    size_t at = (size_t)row * a->n_used;
    float divisor = a->renormalise ? kept : 1;
    if (lane < a->n_used) {
        a->experts[at + lane] = expert_low;
        a->weights[at + lane] = weight_low / divisor;
    }
    if (lane + 32 < a->n_used) {
        a->experts[at + lane + 32] = expert_high;
        a->weights[at + lane + 32] = weight_high / divisor;
    }
}

/* offsets[expert] and the expert's pairs, by a warp. */
DEVICE void sort_expert(const struct cu_route_args *a, uint32_t n_pairs, uint32_t expert,
                        uint32_t lane) {
    uint32_t before = 0, own = 0;
    for (uint32_t p = lane; p < n_pairs; p += 32) {
        uint32_t e = a->experts[p];
        before += e < expert;
        own += e == expert;
    }
    UNROLL for (int other = 16; other > 0; other /= 2) {
        before += __shfl_xor_sync(ALL_LANES, before, other);
        own += __shfl_xor_sync(ALL_LANES, own, other);
    }
    if (lane == 0) {
        a->offsets[expert] = before;
        if (expert + 1 == a->n_experts)
            a->offsets[expert + 1] = n_pairs;
    }
    uint32_t *pairs = a->pairs + before;
    for (uint32_t first = 0, done = 0; done < own; first += 32) {
        uint32_t p = first + lane;
        bool mine = p < n_pairs && a->experts[p] == expert;
        uint32_t lanes = __ballot_sync(ALL_LANES, mine);
        if (mine)
            pairs[done + (uint32_t)__popc(lanes & ((1u << lane) - 1))] = p;
        done += (uint32_t)__popc(lanes);
    }
}

/* Grid: 1, which also sorts; or rows / 32, rounded up, and then k_route_sort. 1,024 threads. */
KERNEL(ROUTE_THREADS, 1) k_route(PARAM(struct cu_route_args) a) {
    enum { WARPS = ROUTE_THREADS / 32 };
    grid_launch_next();
    grid_wait();
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_rows = a.step.header->n_rows;
    for (uint32_t row = blockIdx.x * WARPS + warp; row < n_rows; row += gridDim.x * WARPS)
        choose(&a, row, lane);
    if (gridDim.x > 1)
        return;
    __syncthreads();
    for (uint32_t expert = warp; expert < a.n_experts; expert += WARPS)
        sort_expert(&a, n_rows * a.n_used, expert, lane);
}

/* Grid: experts / 8, rounded up. The arguments of k_route. */
KERNEL(CU_THREADS, 4) k_route_sort(PARAM(struct cu_route_args) a) {
    grid_launch_next();
    grid_wait();
    uint32_t expert = blockIdx.x * (CU_THREADS / 32) + threadIdx.x / 32;
    if (expert < a.n_experts)
        sort_expert(&a, a.step.header->n_rows * a.n_used, expert, threadIdx.x % 32);
}

/* Grid: rows, and in y any number of blocks that share a row's elements. */
KERNEL(CU_THREADS, 4) k_combine(PARAM(struct cu_combine_args) a) {
    SHARED uint32_t pairs[MAX_USED]; // of the row, by number of expert
    SHARED float weights[MAX_USED];
    grid_launch_next();
    grid_wait();
    uint32_t row = blockIdx.x, n = a.n_used, k = threadIdx.x;
    if (row >= a.step.header->n_rows)
        return;
    if (k < n) {
        const uint32_t *experts = a.experts + (size_t)row * n;
        uint32_t place = 0;
        for (uint32_t other = 0; other < n; other++)
            place += experts[other] < experts[k] || (experts[other] == experts[k] && other < k);
        pairs[place] = row * n + k;
        weights[place] = a.weights[(size_t)row * n + k];
    }
    __syncthreads();
    const float *x = a.x;
    float *y = a.y + (size_t)row * a.ldy;
    uint32_t first = blockIdx.y * CU_THREADS + threadIdx.x, step = CU_THREADS * gridDim.y;
    uint32_t quads = quad_aligned(x, a.ldx) && quad_aligned(a.y, a.ldy) ? a.dim / 4 * 4 : 0;
    for (uint32_t i = 4 * first; i < quads; i += 4 * step) {
        float4 sum = {0, 0, 0, 0};
        for (uint32_t p = 0; p < n; p++)
            sum = quad_add(sum, *(const float4 *)(x + (size_t)pairs[p] * a.ldx + i), weights[p]);
        *(float4 *)(y + i) = sum;
    }
    for (uint32_t i = quads + first; i < a.dim; i += step) {
        float sum = 0;
        for (uint32_t p = 0; p < n; p++)
            sum += weights[p] * x[(size_t)pairs[p] * a.ldx + i];
        y[i] = sum;
    }
}
