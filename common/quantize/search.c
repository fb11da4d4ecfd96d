/* The search of scales: see search.h.
 *
 * Loops over a block have a length that the compiler knows, and sums are added as a tree, so that
 * it makes vector code of them although no sum may be reordered.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quantize/search.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "weights/half.h"

#define INLINE static inline __attribute__((always_inline))

/* One shift: the value of each code, and the borders between codes. */
struct levels {
    int16_t first;                  // of code 0
    int16_t step[SEARCH_CODES - 1]; // from a code to the next
    int16_t half[SEARCH_CODES - 1]; // twice the middle between a code and the next
    float lowest, highest;
};

/* The sums of a block for one choice of codes: weight x q and weight q^2. */
struct sums {
    float xq, qq;
};

/* What the search found for a block with one shift. */
struct found {
    float scale; // the best scale of these codes
    float gain;  // error removed
    float qq;
    float tried; // the scale for which the codes were chosen
};

struct block_functions;

struct search {
    const struct block_functions *f;
    size_t n_in;
    float *x;            // [n_in] the row, times a power of two: the largest is in [1, 2)
    float *weight;       // [n_in]
    float *wx;           // [n_in] weight * x
    float unit;          // what 1 of x is in the row
    struct found *found; // [n_in / 16][SEARCH_MAX_SHIFTS]
    uint8_t *best;       // [n_in / 16] index of the best shift
};

static void make_levels(struct levels *l, const struct search_grid *g, size_t shift) {
    const int c = g->shifts[shift]; // NOLINT(bugprone-signed-char-misuse,cert-str34-c): a number
    l->first = (int16_t)(g->table[0] + c);
    for (size_t k = 0; k + 1 < SEARCH_CODES; k++) {
        l->step[k] = (int16_t)(g->table[k + 1] - g->table[k]);
        l->half[k] = (int16_t)(g->table[k + 1] + g->table[k] + 2 * c);
    }
    l->lowest = (float)(g->table[0] + c);
    l->highest = (float)(g->table[SEARCH_CODES - 1] + c);
}

size_t search_blocks_of(const struct search_grid *g, size_t n_in) {
    return n_in / g->block + (n_in % g->block > 0);
}

/* ---- One block, for one scale ---- */

/* The sum of v [n] in a fixed order; v is overwritten. */
INLINE float tree_sum(float *v, size_t n) {
    for (size_t half = n / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
}

enum {
    LANES = 16, // values at a time
    TRIES = 4   // scales at a time
};
enum { I8_MOST = 127, I8_BLOCK = 32 };

/* The i8 code of v. */
INLINE float rounded(float v) {
    const float magic = 12582912.0f; // 1.5 * 2^23: floats near it are whole numbers
    v = v < (float)I8_MOST ? v : (float)I8_MOST;
    v = v > -(float)I8_MOST ? v : -(float)I8_MOST;
    return (v + magic) - magic;
}

typedef int16_t lanes __attribute__((vector_size(32)));
typedef int16_t shorts __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(32)));
typedef float floats __attribute__((vector_size(32)));
#define EITHER(mask, a, b) ((floats)(((mask) & (ints)(a)) | (~(mask) & (ints)(b)))) // a where set

/* The work on one block, compiled for an instruction set. */
struct block_functions {
    void (*sums_16)(const float *x, const float *wx, const float *weight, const struct levels *l,
                    const float inverse[TRIES], struct sums out[TRIES]);
    void (*sums_32)(const float *x, const float *wx, const float *weight, const struct levels *l,
                    const float inverse[TRIES], struct sums out[TRIES]);
    void (*sums_64)(const float *x, const float *wx, const float *weight, const struct levels *l,
                    const float inverse[TRIES], struct sums out[TRIES]);
    void (*codes)(const float *x, size_t n, const struct levels *l, float inverse, uint8_t *codes);
    struct sums (*sums_i8)(const float *x, const float *wx, const float *weight, float inverse);
};

#define TARGET
#define NAME(f) f##_c
#include "quantize/block_tmpl.h"
#undef TARGET
#undef NAME
static const struct block_functions functions_c = {sums_16_c, sums_32_c, sums_64_c, codes_c,
                                                   sums_i8_c};

#if defined(__x86_64__)
#define TARGET  __attribute__((target("avx2")))
#define NAME(f) f##_avx2
#include "quantize/block_tmpl.h"
#undef TARGET
#undef NAME
static const struct block_functions functions_avx2 = {sums_16_avx2, sums_32_avx2, sums_64_avx2,
                                                      codes_avx2, sums_i8_avx2};
#endif

static const struct block_functions *block_functions(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return &functions_avx2;
#endif
    return &functions_c;
}

enum { SMALLEST_BLOCK = 16 };

struct search *search_new(size_t n_in) {
    struct search *s = xcalloc(1, sizeof *s);
    size_t padded = round_up_size(n_in, SEARCH_MAX_BLOCK), n_blocks = padded / SMALLEST_BLOCK;
    s->f = block_functions();
    s->n_in = n_in;
    s->x = xcalloc(padded, sizeof *s->x); // what is past n_in stays 0
    s->weight = xcalloc(padded, sizeof *s->weight);
    s->wx = xcalloc(padded, sizeof *s->wx);
    s->found = xcalloc(n_blocks * SEARCH_MAX_SHIFTS, sizeof *s->found);
    s->best = xcalloc(n_blocks, sizeof *s->best);
    return s;
}

void search_free(struct search *s) {
    if (!s)
        return;
    free(s->x);
    free(s->weight);
    free(s->wx);
    free(s->found);
    free(s->best);
    free(s);
}

/* A block of a row: its part of x, weight * x and weight. */
struct block {
    const struct block_functions *f;
    const float *x, *wx, *weight;
    size_t n;
};

/* The sums for several scales. */
static void sums_at(const struct block *b, const struct levels *l, const float scales[TRIES],
                    struct sums out[TRIES]) {
    float inverse[TRIES];
    for (size_t i = 0; i < TRIES; i++)
        inverse[i] = 1 / scales[i];
    (b->n == 16   ? b->f->sums_16
     : b->n == 32 ? b->f->sums_32
                  : b->f->sums_64)(b->x, b->wx, b->weight, l, inverse, out);
}

/* ---- The best scale of a block ---- */

/* The least scale, in size, of this sign with which every value of the block fits between the outer
 * levels. */
static float covering(float low, float high, const struct levels *l, bool negative) {
    float a = negative ? -low : high, b = negative ? -high : low;
    float up = a / l->highest, down = b / l->lowest, size = up > down ? up : down;
    return negative ? -size : size;
}

/* First scales of COARSE_FROM of the covering one and more, with every shift, then scales near the
 * best one with its shift. More of either gain less than a thousandth of the error. */
#define COARSE_FROM 0.75f
#define COARSE_STEP 0.1f
#define FINE_STEP   0.03f
enum { COARSE_STEPS = TRIES, FINE_STEPS = TRIES / 2 }; // fine ones on each side

static void try_scales(const struct block *b, const struct levels *l, const float scales[TRIES],
                       struct found *best) {
    struct sums sums[TRIES];
    sums_at(b, l, scales, sums);
    for (size_t i = 0; i < TRIES; i++) {
        const struct sums s = sums[i];
        if (s.qq > 0 && s.xq * s.xq > best->gain * s.qq)
            *best = (struct found){s.xq / s.qq, s.xq * s.xq / s.qq, s.qq, scales[i]};
    }
}

static struct found search_coarse(const struct block *b, const struct levels *l, float low,
                                  float high, bool with_negative) {
    struct found best = {0};
    for (int sign = 0; sign < (with_negative ? 2 : 1); sign++) {
        float cover = covering(low, high, l, sign), scales[COARSE_STEPS];
        for (int i = 0; i < COARSE_STEPS; i++)
            scales[i] = cover * (COARSE_FROM + COARSE_STEP * (float)i);
        try_scales(b, l, scales, &best);
    }
    return best;
}

static void search_fine(const struct block *b, const struct levels *l, struct found *best) {
    float scales[2 * FINE_STEPS];
    if (best->tried == 0)
        return;
    for (int i = 0; i < FINE_STEPS; i++) {
        scales[i] = best->tried * (1 - FINE_STEP * (float)(FINE_STEPS - i));
        scales[FINE_STEPS + i] = best->tried * (1 + FINE_STEP * (float)(i + 1));
    }
    try_scales(b, l, scales, best);
}

/* The least and the largest of x [n] and 0, in chains that vectors hold. */
static void limits(const float *x, size_t n, float *low, float *high) {
    enum { CHAINS = 8 };
    float least[CHAINS] = {0}, most[CHAINS] = {0};
    size_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS)
        for (size_t k = 0; k < CHAINS; k++) {
            least[k] = x[i + k] < least[k] ? x[i + k] : least[k];
            most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
        }
    for (size_t k = 0; i < n; i++, k++) {
        least[k] = x[i] < least[k] ? x[i] : least[k];
        most[k] = x[i] > most[k] ? x[i] : most[k];
    }
    *low = *high = 0;
    for (size_t k = 0; k < CHAINS; k++) {
        *low = least[k] < *low ? least[k] : *low;
        *high = most[k] > *high ? most[k] : *high;
    }
}

/* ---- A row ---- */

struct row_search {
    struct search *s;
    const struct search_grid *g;
    struct levels levels[SEARCH_MAX_SHIFTS];
    size_t n_blocks;
};

static struct block block_at(const struct row_search *r, size_t i) {
    size_t n = r->g->block;
    return (struct block){r->s->f, r->s->x + i * n, r->s->wx + i * n, r->s->weight + i * n, n};
}

static struct found *found_at(const struct row_search *r, size_t block) {
    return r->s->found + block * SEARCH_MAX_SHIFTS;
}

/* Fills found and best of each block. Tiny values are zeros: their squares have no digits left. */
static void search_blocks(struct row_search *r, bool thorough) {
    const float tiny = 1e-18f;
    for (size_t i = 0; i < r->n_blocks; i++) {
        struct block b = block_at(r, i);
        struct found *f = found_at(r, i);
        float low, high;
        size_t best = 0;
        limits(b.x, b.n, &low, &high);
        for (size_t c = 0; c < r->g->n_shifts; c++) {
            const struct levels *l = &r->levels[c];
            f[c] = (struct found){0};
            if (high - low < tiny)
                continue;
            if (thorough) {
                f[c] = search_coarse(&b, l, low, high, r->g->negative);
                best = f[c].gain > f[best].gain ? c : best;
                continue;
            }
            f[c].scale = covering(low, high, l, false);
            float other = covering(low, high, l, true);
            if (r->g->negative && -other < f[c].scale)
                f[c].scale = other;
            best = fabsf(f[c].scale) < fabsf(f[best].scale) ? c : best;
        }
        if (thorough)
            search_fine(&b, &r->levels[best], &f[best]);
        r->s->best[i] = (uint8_t)best;
    }
}

static int nearest_scale(const struct search_grid *g, float quotient) {
    float m = roundf(quotient);
    m = m > (float)g->max_scale ? (float)g->max_scale : m;
    float least = g->negative ? -(float)g->max_scale : 0;
    return (int)(m > least ? m : least);
}

/* The error that rounding all block scales to multiples of scale adds. */
static double rounding_error(const struct row_search *r, float scale) {
    double sum = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct found *f = found_at(r, i) + r->s->best[i];
        double d = (double)f->scale - (double)scale * (double)nearest_scale(r->g, f->scale / scale);
        sum += (double)f->qq * d * d;
    }
    return sum;
}

/* The row's scale: of those with which the largest block scale is max_scale or a few less. */
static float row_scale(const struct row_search *r, bool thorough) {
    float most = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        float size = fabsf(found_at(r, i)[r->s->best[i]].scale);
        most = size > most ? size : most;
    }
    float first = most / (float)r->g->max_scale, best = first;
    if (!thorough || !(first > 0))
        return first;
    double error = rounding_error(r, first);
    for (int i = -4; i <= 8; i++) {
        float scale = first * (1 + 0.01f * (float)i);
        double e = rounding_error(r, scale);
        if (e < error) {
            error = e;
            best = scale;
        }
    }
    return best;
}

/* Chooses m and the shift of block i for the row's scale, and gives their sums. */
static struct sums refit_block(const struct row_search *r, size_t i, struct search_row *out) {
    enum { AROUND = 1 }; // 3 of TRIES
    struct block b = block_at(r, i);
    const struct found *f = found_at(r, i);
    struct sums sums = {0};
    double best = 0; // the error of a block of zeros
    out->scales[i] = 0;
    out->shifts[i] = 0;
    for (size_t c = 0; c < r->g->n_shifts; c++) {
        int first = nearest_scale(r->g, f[c].scale / out->scale) - AROUND;
        float scales[TRIES];
        struct sums of[TRIES];
        for (int k = 0; k < TRIES; k++)
            scales[k] = (float)((double)out->scale * (first + k));
        sums_at(&b, &r->levels[c], scales, of);
        for (int k = 0; k <= 2 * AROUND; k++) {
            int m = first + k;
            if (m == 0 || m > r->g->max_scale || m < (r->g->negative ? -r->g->max_scale : 1))
                continue;
            double scale = (double)out->scale * m;
            double error = scale * (scale * (double)of[k].qq - 2 * (double)of[k].xq);
            if (error < best) {
                best = error;
                sums = of[k];
                out->scales[i] = (int8_t)m;
                out->shifts[i] = (uint8_t)c;
            }
        }
    }
    return sums;
}

/* Without a search: the scale of the best shift, rounded. */
static void round_block(const struct row_search *r, size_t i, struct search_row *out) {
    size_t c = r->s->best[i];
    out->scales[i] = (int8_t)nearest_scale(r->g, found_at(r, i)[c].scale / out->scale);
    out->shifts[i] = (uint8_t)c;
}

/* The codes nearest to x for the row's scale, m and shift. */
static void assign_codes(const struct row_search *r, size_t i, struct search_row *out) {
    size_t n = r->g->block;
    size_t n_codes = r->s->n_in - i * n < n ? r->s->n_in - i * n : n; // of the last block
    uint8_t codes[SEARCH_MAX_BLOCK] = {0};
    const struct levels *l = &r->levels[out->shifts[i]];
    float scale = out->scale * (float)out->scales[i];
    memset(out->codes + i * n, 0, n_codes);
    if (scale == 0)
        return;
    r->s->f->codes(r->s->x + i * n, n, l, 1 / scale, codes);
    memcpy(out->codes + i * n, codes, n_codes);
}

/* The best scale of the row for the codes that its blocks have now. */
static float refit_row(const struct row_search *r, struct search_row *out) {
    double xq = 0, qq = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        struct sums s = refit_block(r, i, out);
        double m = out->scales[i];
        xq += m * (double)s.xq;
        qq += m * m * (double)s.qq;
    }
    return qq > 0 ? (float)(xq / qq) : out->scale;
}

/* to [n] = x [n] * 2^k, rounded once. */
static void scale_by_power(float *to, const float *x, size_t n, int k) {
    if (k >= FLT_MIN_EXP - 1 && k < FLT_MAX_EXP) { // 2^k is a normal float
        const float by = ldexpf(1, k);
        for (size_t i = 0; i < n; i++)
            to[i] = x[i] * by;
        return;
    }
    for (size_t i = 0; i < n; i++)
        to[i] = ldexpf(x[i], k);
}

/* Copies the row, scaled so that no square overflows or vanishes. False: a row of zeros. */
static bool prepare(struct search *s, const float *x, const float *weight) {
    float low, high;
    int exponent = 0;
    limits(x, s->n_in, &low, &high);
    frexpf(high > -low ? high : -low, &exponent);
    s->unit = ldexpf(1, exponent - 1);
    scale_by_power(s->x, x, s->n_in, 1 - exponent);
    for (size_t i = 0; i < s->n_in; i++) {
        s->weight[i] = weight ? weight[i] : 1;
        s->wx[i] = s->weight[i] * s->x[i];
    }
    return high > low;
}

void search_i4(struct search *s, const struct search_grid *g, const float *x, const float *weight,
               bool thorough, struct search_row *out) {
    struct row_search r = {.s = s, .g = g, .n_blocks = search_blocks_of(g, s->n_in)};
    bool zeros = !prepare(s, x, weight);
    for (size_t c = 0; c < g->n_shifts; c++)
        make_levels(&r.levels[c], g, c);
    search_blocks(&r, thorough);
    out->scale = zeros ? 0 : row_scale(&r, thorough);
    if (!(out->scale > 0)) {
        out->scale = 0;
        memset(out->scales, 0, r.n_blocks);
        memset(out->shifts, 0, r.n_blocks);
        memset(out->codes, 0, s->n_in);
        return;
    }
    if (thorough)
        out->scale = refit_row(&r, out);
    for (size_t i = 0; i < r.n_blocks; i++) {
        if (!thorough)
            round_block(&r, i, out);
        assign_codes(&r, i, out);
    }
    out->scale *= s->unit;
}

void search_i4_values(const struct search_grid *g, const struct search_row *row, size_t n_in,
                      float *out) {
    for (size_t at = 0, b = 0; at < n_in; at += g->block, b++) {
        const size_t n = n_in - at < g->block ? n_in - at : g->block;
        float values[SEARCH_CODES];
        for (size_t k = 0; k < SEARCH_CODES; k++)
            values[k] =
                row->scale * (float)(row->scales[b] * (g->table[k] + g->shifts[row->shifts[b]]));
        for (size_t i = 0; i < n; i++)
            out[at + i] = values[row->codes[at + i]];
    }
}

/* ---- i8 ---- */

static struct sums sums_i8(const struct block *b, float inverse) {
    return b->f->sums_i8(b->x, b->wx, b->weight, inverse);
}

static struct block i8_block(const struct search *s, size_t i) {
    return (struct block){.f = s->f,
                          .x = s->x + i * I8_BLOCK,
                          .wx = s->wx + i * I8_BLOCK,
                          .weight = s->weight + i * I8_BLOCK,
                          .n = I8_BLOCK};
}

/* The scale with which the block's largest value gets the largest code. */
static float i8_scale(const struct search *s, size_t i) {
    float low, high;
    limits(s->x + i * I8_BLOCK, I8_BLOCK, &low, &high);
    return (high > -low ? high : -low) / (float)I8_MOST;
}

/* Chooses m of block i: the least that covers it, or in a search the best of those around. A larger
 * m has a coarser grid, but another one: of many, one is near the values that count most.
 * bench/NOTES.md has what it gains. */
static void i8_choose(const struct search *s, size_t i, bool thorough, struct search_i8_row *out,
                      double *xq, double *qq) {
    enum { BELOW = 8, ABOVE = 56 };
    struct block b = i8_block(s, i);
    int cover = (int)ceilf(i8_scale(s, i) / out->scale - 1e-3f);
    cover = cover < SEARCH_I8_MAX_M ? cover : SEARCH_I8_MAX_M;
    out->m[i] = (uint8_t)cover;
    double best = 0;
    for (int m = cover - BELOW; m <= cover + ABOVE && thorough; m++) {
        if (m <= 0 || m > SEARCH_I8_MAX_M)
            continue;
        double scale = (double)out->scale * m;
        struct sums sums = sums_i8(&b, 1 / (float)scale);
        double error = scale * (scale * (double)sums.qq - 2 * (double)sums.xq);
        if (error < best) {
            best = error;
            out->m[i] = (uint8_t)m;
        }
    }
    struct sums sums =
        out->m[i] ? sums_i8(&b, 1 / (out->scale * (float)out->m[i])) : (struct sums){0};
    *xq += out->m[i] * (double)sums.xq;
    *qq += (double)out->m[i] * out->m[i] * (double)sums.qq;
}

void search_i8(struct search *s, const float *x, const float *weight, bool thorough,
               struct search_i8_row *out) {
    size_t n_blocks = search_i8_blocks(s->n_in);
    double xq = 0, qq = 0;
    bool zeros = !prepare(s, x, weight);
    float most = 0;
    for (size_t i = 0; i < n_blocks; i++) {
        float scale = i8_scale(s, i);
        most = scale > most ? scale : most;
    }
    out->scale = zeros ? 0 : most / SEARCH_I8_MAX_M;
    memset(out->m, 0, n_blocks);
    for (size_t i = 0; i < n_blocks && !zeros; i++)
        i8_choose(s, i, thorough, out, &xq, &qq);
    if (thorough && qq > 0)
        out->scale = (float)(xq / qq);
    for (size_t i = 0; i < s->n_in; i++) {
        const size_t block = i / I8_BLOCK;
        float scale = out->scale * (float)out->m[block];
        out->codes[i] = (int8_t)(scale > 0 ? rounded(s->x[i] * (1 / scale)) : 0);
    }
    out->scale *= s->unit;
}

size_t search_i8_blocks(size_t n_in) {
    return n_in / I8_BLOCK + (n_in % I8_BLOCK > 0);
}
