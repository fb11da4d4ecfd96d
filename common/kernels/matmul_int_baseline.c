/* The integer layouts in C, for every CPU: the reference of the other kernels.
 *
 * A vector is 16 lanes in memory, which compilers make vectors of.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define TARGET
enum { PLANES = 0, LANES = 16, ROWS = 2, PANELS = 1 };

#include "kernels/matmul_int.h"
#include "kernels/table.h"

typedef struct int_lanes {
    int32_t lane[LANES];
} ivec;
typedef struct float_lanes {
    float lane[LANES];
} fvec;
struct parts {
    ivec all;
};
typedef const unsigned char *wvec; // [LANES, 4]
typedef struct int_x {
    int16_t x0, x2, x1, x3;
} xvec;

EVERY_ISA ivec iv_zero(void) {
    return (ivec){{0}};
}
EVERY_ISA ivec iv_load(const void *p) {
    ivec v;
    memcpy(&v, p, sizeof v);
    return v;
}
EVERY_ISA fvec fv_load(const float *p) {
    fvec v;
    memcpy(&v, p, sizeof v);
    return v;
}
EVERY_ISA void fv_store(float *p, fvec v) {
    memcpy(p, &v, sizeof v);
}
EVERY_ISA fvec fv_set(float f) {
    fvec v;
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] = f;
    return v;
}
EVERY_ISA fvec fv_add(fvec a, fvec b) {
    for (size_t i = 0; i < LANES; i++)
        a.lane[i] += b.lane[i];
    return a;
}
EVERY_ISA fvec fv_mul(fvec a, fvec b) {
    for (size_t i = 0; i < LANES; i++)
        a.lane[i] *= b.lane[i];
    return a;
}
EVERY_ISA wvec load_w(const unsigned char *p) {
    return p;
}
EVERY_ISA xvec load_x(const unsigned char *p) {
    xvec x;
    memcpy(&x, p, sizeof x);
    return x;
}
EVERY_ISA struct parts sum_begin(const unsigned char *corrections) {
    struct parts s;
    int32_t all = 0;
    if (corrections)
        memcpy(&all, corrections, sizeof all);
    for (size_t i = 0; i < LANES; i++)
        s.all.lane[i] = all;
    return s;
}
EVERY_ISA struct parts sum_zeros(const int32_t *x, ivec zeros) {
    struct parts s;
    for (size_t i = 0; i < LANES; i++)
        s.all.lane[i] = x[0] * zeros.lane[i];
    return s;
}
EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    for (size_t i = 0; i < LANES; i++, w += INT_STEP)
        s->all.lane[i] += w[0] * x.x0 + w[1] * x.x1 + w[2] * x.x2 + w[3] * x.x3;
}
EVERY_ISA void sum_merge(struct parts *s, struct parts o) {
    for (size_t i = 0; i < LANES; i++)
        s->all.lane[i] += o.all.lane[i];
}
/* A sum of 32 products has up to 27 bits. It is cut in two, so that times m and added up either
 * part fits 32. */
EVERY_ISA void add_block(ivec *low, ivec *high, const struct parts *s, ivec m) {
    for (size_t i = 0; i < LANES; i++) {
        low->lane[i] += (s->all.lane[i] & (INT_HIGH - 1)) * m.lane[i];
        high->lane[i] += (s->all.lane[i] >> 7) * m.lane[i];
    }
}
EVERY_ISA void add_total(float *y, ivec low, ivec high, float f) {
    for (size_t i = 0; i < LANES; i++)
        y[i] += (float)((double)high.lane[i] * INT_HIGH + (double)low.lane[i]) * f;
}
EVERY_ISA fvec sum_value(const struct parts *s) {
    fvec v;
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] = (float)s->all.lane[i];
    return v;
}
EVERY_ISA void unpack_lines(unsigned char *to, const unsigned char *codes, const int8_t *table,
                            const unsigned char *low, const unsigned char *high) {
    for (size_t i = 0; i < 4 * (size_t)PANEL_LINE; i++) {
        const size_t row = i % PANEL_LINE / INT_STEP;
        to[i] = (unsigned char)(table[codes[i] & 15] + low[row]);
        to[4 * PANEL_LINE + i] = (unsigned char)(table[codes[i] >> 4] + high[row]);
    }
}

#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_baseline_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
