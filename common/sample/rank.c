/* Statistics of a row of logits: see rank.h. Sums are in double, in the order of ids.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/rank.h"

#include <math.h>

uint32_t rank_first(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best] || isnan(logits[best]))
            best = i;
    return (uint32_t)best;
}

struct rank_distribution rank_distribution(const float *logits, size_t n) {
    double largest = n ? (double)logits[rank_first(logits, n)] : NAN, sum = 0, weighted = 0;
    for (size_t i = 0; i < n; i++) {
        // If the largest is infinite or NaN, so are the sums.
        double d = (double)logits[i] - largest, w = exp(d);
        sum += w;
        weighted += d > -INFINITY ? w * d : w;
    }
    return (struct rank_distribution){largest + log(sum), log(sum) - weighted / sum};
}

static bool before(const float *logits, uint32_t a, uint32_t b) {
    if (isnan(logits[a]) || isnan(logits[b]))
        return isnan(logits[a]) ? isnan(logits[b]) && a < b : true;
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Puts id into the heap ids [n] at `at`. The lowest-ranking id is the first. */
static void sift_down(const float *logits, uint32_t *heap, size_t n, size_t at, uint32_t id) {
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && before(logits, heap[child], heap[child + 1]);
        if (before(logits, heap[child], id))
            break;
        heap[at] = heap[child];
    }
    heap[at] = id;
}

/* A heap of the best k, which is then sorted by taking the lowest-ranking id out first. */
size_t rank_top(const float *logits, size_t n, uint32_t *ids, size_t k) {
    k = k < n ? k : n;
    for (size_t i = 0; i < k; i++)
        ids[i] = (uint32_t)i;
    for (size_t i = k / 2; i-- > 0;)
        sift_down(logits, ids, k, i, ids[i]);
    for (size_t i = k; k > 0 && i < n; i++)
        if (before(logits, (uint32_t)i, ids[0]))
            sift_down(logits, ids, k, 0, (uint32_t)i);
    for (size_t left = k; left > 1;) {
        uint32_t last = ids[0], moved = ids[--left];
        sift_down(logits, ids, left, 0, moved);
        ids[left] = last;
    }
    return k;
}
