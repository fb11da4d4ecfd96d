/* common/backend/cuda/experts.cu: the choice of experts, and the sums of their results.
 *
 * The choice and its order have the CPU's bits. Weights are within the error of their sums: n terms
 * added in f32 in any order are off by at most (n + 2) * 2^-24 * sum |terms| (Higham 2002, 3.5).
 * Outputs are full of NaN before a run, and what no row owns has to stay so.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/cuda_values.h"
#include "kernels/approx.h"
#include "kernels/kernels.h"

/* Whether expert a is chosen before b: the larger logit, then the smaller number; NaN comes last.
 */
static bool sooner(const float *logits, uint32_t a, uint32_t b) {
    bool nan_a = isnan(logits[a]), nan_b = isnan(logits[b]);
    if (nan_a != nan_b)
        return nan_b;
    return nan_a || logits[a] == logits[b] ? a < b : logits[a] > logits[b];
}

/* experts [n_used] and weights of one row: as choose_experts in the CPU's step, with the
 * exponentials added as lanes do. */
static void plain_choice(const float *logits, uint32_t n, uint32_t n_used, bool renormalise,
                         uint32_t *experts, float *weights) {
    float lane[32] = {0}, kept = 0;
    double all = 0, used = 0;
    for (uint32_t k = 0; k < n_used; k++) {
        uint32_t best = n;
        for (uint32_t x = 0; x < n; x++)
            if ((best == n || sooner(logits, x, best)) &&
                (k == 0 || sooner(logits, experts[k - 1], x)))
                best = x;
        experts[k] = best;
    }
    float max = logits[experts[0]];
    for (uint32_t x = 0; x < n; x++) {
        lane[x % 32] += approx_exp(logits[x] - max);
        all += exp((double)logits[x] - (double)max);
    }
    for (size_t far = 16; far > 0; far /= 2)
        for (size_t l = 0; l < far; l++)
            lane[l] += lane[l + far];
    for (uint32_t k = 0; k < n_used; k++) {
        kept += weights[k] = approx_exp(logits[experts[k]] - max) / lane[0];
        used += exp((double)logits[experts[k]] - (double)max);
    }
    for (uint32_t k = 0; k < n_used; k++) {
        weights[k] = renormalise ? weights[k] / kept : weights[k];
        // e^d has 2 ulp and the rounding of d, each sum n roundings
        double x = (double)logits[experts[k]] - (double)max,
               want = exp(x) / (renormalise ? used : all);
        double most = want * 0x1p-23 * ((double)n + 10 + fabs(x)) + 2e-38;
        CHECK_MSG(isnan(max) || isnan(want) || !(fabs((double)weights[k] - want) > most),
                  "weight %u of %u is %g, not %g", k, n, (double)weights[k], want);
    }
}

static void route_once(uint32_t n_rows, uint32_t n, uint32_t n_used, uint32_t kind) {
    uint32_t ld = n + below(4), n_pairs = n_rows * n_used, at = 0;
    float *logits = random_floats((size_t)n_rows * ld);
    for (size_t i = 0; i < (size_t)n_rows * ld; i++)
        logits[i] = kind == 1 ? truncf(logits[i] * 3) : logits[i] * 9; // ties, also of 0 and -0
    if (kind == 2)
        for (uint32_t i = 0; i < n_rows; i++)
            logits[i * ld + below(n)] = below(2) ? NAN : below(2) ? -INFINITY : -NAN;
    struct cu_row *rows = xcalloc(n_rows, sizeof *rows);
    struct dev_step s = dev_step(rows, n_rows, 0, NULL, 0);
    struct dev_buf dl = dev_new(logits, (size_t)n_rows * ld * 4);
    bool renormalise = below(2);
    uint32_t *experts = xcalloc(n_pairs, 4), *offsets = xcalloc(n + 1, 4),
             *pairs = xcalloc(n_pairs, 4);
    float *weights = xcalloc(n_pairs, 4);
    for (uint32_t i = 0; i < n_rows; i++)
        plain_choice(logits + (size_t)i * ld, n, n_used, renormalise, experts + i * n_used,
                     weights + i * n_used);
    for (uint32_t x = 0; x < n; x++) {
        for (uint32_t p = 0; p < n_pairs; p++)
            if (experts[p] == x)
                pairs[at++] = p;
        offsets[x + 1] = at;
    }
    for (int many = 0; many < 2; many++) {
        struct dev_buf dw = dev_new(NULL, n_pairs * 4), de = dev_new(NULL, n_pairs * 4),
                       dof = dev_new(NULL, (n + 1) * 4);
        struct dev_buf dp = dev_new(NULL, n_pairs * 4);
        struct cu_route_args a = {.step = s.step,
                                  .logits = dl.p,
                                  .ld = ld,
                                  .n_experts = n,
                                  .n_used = n_used,
                                  .renormalise = renormalise,
                                  .weights = dw.p,
                                  .experts = de.p,
                                  .offsets = dof.p,
                                  .pairs = dp.p};
        dev_launch("k_route", many ? (n_rows + 31) / 32 + 1 : 1, 1, 1024, &a);
        if (many)
            dev_launch("k_route_sort", (n + 7) / 8, 1, CU_THREADS, &a);
        float *w = dev_read_floats(&dw);
        for (uint32_t p = 0; p < n_pairs; p++)
            if (!(isnan(w[p]) && isnan(weights[p])) && w[p] != weights[p]) {
                CHECK_MSG(0, "weight of pair %u is %a, not %a", p, (double)w[p],
                          (double)weights[p]);
                break;
            }
        free(w);
        dev_free(&dw);
        check_bytes(&de, memcpy(xmalloc(n_pairs * 4), experts, n_pairs * 4), "experts");
        check_bytes(&dof, memcpy(xmalloc((n + 1) * 4), offsets, (n + 1) * 4), "offsets");
        check_bytes(&dp, memcpy(xmalloc(n_pairs * 4), pairs, n_pairs * 4), "pairs");
    }
    dev_free(&dl);
    dev_step_free(&s);
    free(logits);
    free(rows);
    free(experts);
    free(offsets);
    free(pairs);
    free(weights);
}

static void routes(void) {
    for (uint32_t i = 0; i < 45; i++) {
        uint32_t n = 1 + below(i % 5 == 0 ? 300 : 40), most = n < 64 ? n : 64;
        route_once(1 + below(i % 4 == 0 ? 90 : 6), n,
                   1 + below(i % 3 == 0 ? most
                             : most < 8 ? most
                                        : 8),
                   i % 3);
    }
    route_once(2, 4096, 64, 1);
    route_once(3, 64, 64, 0);
}

static void combines(void) {
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t n = 1 + below(6), n_used = i % 8 == 0 ? 64 : 1 + below(9),
                 n_experts = n_used + below(9), dim = 1 + below(i % 4 ? 200 : 2500);
        uint32_t ldx = below(2) ? round_up(dim, CU_PAD) : dim + below(3),
                 ldy = below(2) ? round_up(dim, CU_PAD) : dim + below(3);
        uint32_t n_pairs = n * n_used;
        float *x = random_floats((size_t)n_pairs * ldx), *weights = random_floats(n_pairs),
              *want = poisoned((size_t)n * ldy, 4);
        uint32_t *experts = xcalloc(n_pairs, 4);
        for (uint32_t r = 0; r < n; r++) {
            uint32_t all[80];
            for (uint32_t k = 0; k < n_experts; k++)
                all[k] = k;
            for (uint32_t k = 0; k < n_used; k++) { // any n_used of them
                uint32_t with = k + below(n_experts - k), was = all[k];
                experts[r * n_used + k] = all[k] = all[with];
                all[with] = was;
            }
            memset(want + (size_t)r * ldy, 0, dim * 4);
            for (uint32_t e = 0; e < n_experts; e++)
                for (uint32_t p = r * n_used; p < (r + 1) * n_used; p++)
                    if (experts[p] == e)
                        rows_add_scaled(want + (size_t)r * ldy, ldy, x + (size_t)p * ldx, ldx, 1,
                                        dim, weights[p]);
        }
        struct cu_row *rows = xcalloc(n, sizeof *rows);
        struct dev_step s = dev_step(rows, n, 0, NULL, 0);
        struct dev_buf dx = dev_new(x, (size_t)n_pairs * ldx * 4),
                       dw = dev_new(weights, n_pairs * 4), de = dev_new(experts, n_pairs * 4);
        struct dev_buf dy = dev_new(NULL, (size_t)n * ldy * 4);
        struct cu_combine_args a = {.step = s.step,
                                    .y = dy.p,
                                    .x = dx.p,
                                    .weights = dw.p,
                                    .experts = de.p,
                                    .dim = dim,
                                    .ldy = ldy,
                                    .ldx = ldx,
                                    .n_used = n_used};
        dev_launch("k_combine", n + 1, 1 + below(3), CU_THREADS, &a);
        check_bytes(&dy, want, "y");
        dev_free(&dx);
        dev_free(&dw);
        dev_free(&de);
        dev_step_free(&s);
        free(x);
        free(weights);
        free(experts);
        free(rows);
    }
}

int main(int argc, char **argv) {
    struct err e = {0};
    (void)argc;
    dev_open(argv);
    dev_must(kernels_init(&e), &e);
    RUN(routes);
    RUN(combines);
    cu_close(dev);
    return check_done();
}
