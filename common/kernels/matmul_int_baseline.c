/* The integer layouts in C, for every CPU: the reference of the other kernels.
 *
 * A vector is 16 lanes in memory, which compilers make vectors of. Lanes are unsigned where they
 * wrap.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define TARGET
enum { PLANES = 0, LANES = 16, PANELS = 1, FEW = 2, MANY = 2, FEW_HALVES = 2, FEW_BYTES = 2 };

#include "kernels/matmul_int.h"
#include "kernels/table.h"

typedef struct int_lanes {
    uint32_t lane[LANES];
} ivec;
typedef struct float_lanes {
    float lane[LANES];
} fvec;
struct parts {
    ivec all;
};
typedef ivec wvec; // bytes [LANES, 4]
typedef struct int_x {
    int16_t x0, x2, x1, x3;
} xvec;

/* Defines name(a, b), lane by lane. */
#define LANES_OF(type, name, lanes)                                                                \
    EVERY_ISA type name(type a, type b) {                                                          \
        for (size_t i = 0; i < LANES; i++)                                                         \
            a.lane[i] = lanes;                                                                     \
        return a;                                                                                  \
    }                                                                                              \
    struct int_lanes
LANES_OF(ivec, iv_add, a.lane[i] + b.lane[i]);
LANES_OF(ivec, iv_sub, a.lane[i] - b.lane[i]);
LANES_OF(ivec, iv_mul, a.lane[i] * b.lane[i]);
LANES_OF(fvec, fv_add, a.lane[i] + b.lane[i]);
LANES_OF(fvec, fv_mul, a.lane[i] * b.lane[i]);

EVERY_ISA int32_t lane_low(uint32_t v) {
    return (int16_t)(uint16_t)v;
}
EVERY_ISA int32_t lane_high(uint32_t v) {
    return (int16_t)(uint16_t)(v >> 16);
}

EVERY_ISA ivec iv_load(const void *p) {
    ivec v;
    memcpy(&v, p, sizeof v);
    return v;
}
EVERY_ISA ivec iv_set(int32_t value) {
    ivec v;
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] = (uint32_t)value;
    return v;
}
EVERY_ISA ivec spread(const unsigned char *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return iv_set(value);
}
EVERY_ISA ivec iv_sub8(ivec a, ivec b) {
    unsigned char bytes[LANES * INT_STEP], less[LANES * INT_STEP];
    memcpy(bytes, &a, sizeof bytes);
    memcpy(less, &b, sizeof less);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(bytes[i] - less[i]);
    return iv_load(bytes);
}
EVERY_ISA ivec iv_shl(ivec v, unsigned n) {
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] <<= n;
    return v;
}
EVERY_ISA ivec iv_sra16(ivec v) {
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] = (uint32_t)lane_high(v.lane[i]);
    return v;
}
EVERY_ISA ivec iv_low16(ivec v) {
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] &= 0xFFFF;
    return v;
}
EVERY_ISA ivec iv_dot16(ivec sum, ivec a, ivec b) {
    for (size_t i = 0; i < LANES; i++)
        sum.lane[i] += (uint32_t)(lane_low(a.lane[i]) * lane_low(b.lane[i])) +
                       (uint32_t)(lane_high(a.lane[i]) * lane_high(b.lane[i]));
    return sum;
}
EVERY_ISA ivec iv_bytes(const unsigned char *p) {
    ivec v;
    for (size_t i = 0; i < LANES; i++)
        v.lane[i] = p[i];
    return v;
}
EVERY_ISA ivec iv_choose(const unsigned char *four, ivec index) {
    for (size_t i = 0; i < LANES; i++)
        memcpy(&index.lane[i], four + index.lane[i] % 4 * sizeof *index.lane, sizeof *index.lane);
    return index;
}
EVERY_ISA void i4_fields(const unsigned char *descriptors, ivec *m, ivec *shift) {
    for (size_t i = 0; i < LANES; i++) {
        m->lane[i] = (uint32_t)panel_i4_m(descriptors[i]);
        shift->lane[i] = descriptors[i] >> 6;
    }
}
EVERY_ISA ivec iv_table(const int8_t *table, int add) {
    unsigned char bytes[LANES * INT_STEP];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(table[i % 16] + add);
    return iv_load(bytes);
}
EVERY_ISA ivec look_up(ivec codes, ivec table, size_t high) {
    unsigned char bytes[LANES * INT_STEP], of[16];
    memcpy(bytes, &codes, sizeof bytes);
    memcpy(of, &table, sizeof of);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = of[high ? bytes[i] >> 4 : bytes[i] & 15];
    return iv_load(bytes);
}
/* Four bytes of each lane as int16: 0, 2 of all lanes, then 1, 3. */
EVERY_ISA size_t pair_at(size_t i) {
    return i % 2 * LANES * 2 + i / 4 * 2 + i % 4 / 2;
}
EVERY_ISA void store_pairs(unsigned char *to, ivec bytes, ivec factors) {
    int16_t pairs[LANES * INT_STEP];
    int8_t b[LANES * INT_STEP];
    memcpy(b, &bytes, sizeof b);
    for (size_t i = 0; i < LANES * INT_STEP; i++)
        pairs[pair_at(i)] = (int16_t)(b[i] * (lane_low(factors.lane[i / 4]) / 256));
    memcpy(to, pairs, sizeof pairs);
}
EVERY_ISA void store_wide(unsigned char *to, ivec bytes, ivec zeros) {
    int16_t pairs[LANES * INT_STEP];
    unsigned char b[LANES * INT_STEP];
    memcpy(b, &bytes, sizeof b);
    for (size_t i = 0; i < LANES * INT_STEP; i++)
        pairs[pair_at(i)] = (int16_t)(b[i] - lane_low(zeros.lane[i / 4]));
    memcpy(to, pairs, sizeof pairs);
}

EVERY_ISA fvec fv_load(const float *p) {
    fvec v;
    memcpy(&v, p, sizeof v);
    return v;
}
EVERY_ISA void panel_f16(float *to, const void *from) {
    uint16_t half[PANEL_ROWS];
    memcpy(half, from, sizeof half);
    for (size_t i = 0; i < PANEL_ROWS; i++)
        to[i] = f32_from_f16(half[i]);
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
EVERY_ISA fvec fv_of(ivec v) {
    fvec f;
    for (size_t i = 0; i < LANES; i++)
        f.lane[i] = (float)(int32_t)v.lane[i];
    return f;
}
/* Of whole numbers with fewer than 53 bits. */
EVERY_ISA fvec fv_fma(fvec a, fvec b, fvec c) {
    for (size_t i = 0; i < LANES; i++)
        a.lane[i] = (float)((double)a.lane[i] * (double)b.lane[i] + (double)c.lane[i]);
    return a;
}

EVERY_ISA wvec w_of(ivec bytes) {
    return bytes;
}
EVERY_ISA xvec load_x(const unsigned char *p) {
    xvec x;
    memcpy(&x, p, sizeof x);
    return x;
}
EVERY_ISA struct parts sum_begin(ivec first) {
    return (struct parts){first};
}
EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    unsigned char b[LANES * INT_STEP];
    memcpy(b, &w, sizeof b);
    for (size_t i = 0; i < LANES; i++)
        s->all.lane[i] += (uint32_t)(b[4 * i] * x.x0 + b[4 * i + 1] * x.x1 + b[4 * i + 2] * x.x2 +
                                     b[4 * i + 3] * x.x3);
}
EVERY_ISA ivec sum_of(const struct parts *s) {
    return s->all;
}

#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_baseline_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
