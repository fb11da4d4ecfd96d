/* Top k against a plain sort, and distributions against sums that can be done by hand.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/rank.h"

#include <math.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "sample/chain.h"

static void distributions(void) {
    static const float even[] = {2, 2, 2, 2}, one[] = {-INFINITY, 5, -INFINITY},
                       skewed[] = {0, 1.0986123f};
    struct rank_distribution d = rank_distribution(even, 4);
    CHECK(fabs(d.entropy - log(4)) < 1e-12 && fabs(d.log_sum - (2 + log(4))) < 1e-12);
    d = rank_distribution(one, 3);
    CHECK(d.entropy == 0 && d.log_sum == 5);
    d = rank_distribution(skewed, 2); // 1/4 and 3/4
    CHECK(fabs(d.entropy - (0.25 * log(4) + 0.75 * log(4.0 / 3))) < 1e-7);
    CHECK(fabs(exp((double)skewed[1] - d.log_sum) - 0.75) < 1e-7);
    static const float large[] = {1e30f, 1e30f};
    CHECK(fabs(rank_distribution(large, 2).entropy - log(2)) < 1e-12);
}

static void no_numbers(void) {
    static const float nan_first[] = {NAN, 1, 2}, inf[] = {1, INFINITY},
                       nothing[] = {-INFINITY, -INFINITY};
    CHECK(isnan(rank_distribution(nan_first, 3).log_sum));
    CHECK(isnan(rank_distribution(inf, 2).log_sum));
    CHECK(isnan(rank_distribution(nothing, 2).log_sum));
    uint32_t ids[3];
    CHECK_INT(rank_top(nan_first, 3, ids, 3), 3);
    CHECK(ids[0] == 2 && ids[1] == 1 && ids[2] == 0);
    CHECK_INT(rank_first(nan_first, 3), 2);
}

static void top(void) {
    enum { N = 500 };
    float logits[N];
    uint32_t ids[N], want[N];
    for (uint32_t i = 0; i < N; i++)
        logits[i] = (float)(int)(100 * sample_uniform(1, i, 0)); // with many ties
    for (uint32_t i = 0; i < N; i++) {
        uint32_t at = i;
        for (; at > 0 && logits[want[at - 1]] < logits[i]; at--)
            want[at] = want[at - 1];
        want[at] = i;
    }
    static const size_t ks[] = {0, 1, 2, 3, 7, 64, 499, 500, 600};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        size_t k = ks[i] < N ? ks[i] : N;
        CHECK_INT(rank_top(logits, N, ids, k), k);
        CHECK_MSG(memcmp(ids, want, k * sizeof *ids) == 0, "k = %zu", k);
    }
    CHECK_INT(rank_first(logits, N), want[0]);
}

int main(void) {
    RUN(distributions);
    RUN(no_numbers);
    RUN(top);
    return check_done();
}
