/* What matmul_tile.h and mix_tile.h need, in C, for registers of STEP floats: tiles_c.c includes
 * this with ISA, TARGET, STEP and the tiles' sizes defined.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
typedef float NAME(floats) __attribute__((vector_size(STEP * 4)));
typedef uint32_t NAME(bits) __attribute__((vector_size(STEP * 4)));
typedef uint16_t NAME(half) __attribute__((vector_size(STEP * 2)));

TARGET EVERY_ISA NAME(floats) NAME(load_x)(const float *p, size_t n) {
    NAME(floats) v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}
TARGET EVERY_ISA void NAME(store_x)(float *p, NAME(floats) v, size_t n) {
    memcpy(p, &v, n * sizeof *p);
}
TARGET EVERY_ISA NAME(floats) NAME(load_w)(enum wtype type, const unsigned char *p, size_t n) {
    if (type == W_F32)
        return NAME(load_x)((const float *)(const void *)p, n);
    NAME(half) h = {0};
    memcpy(&h, p, n * 2);
    NAME(bits) u = __builtin_convertvector(h, NAME(bits));
    if (type == W_BF16)
        return (NAME(floats))(u << 16);
    // As vec_f32_from_f16.
    NAME(bits) rest = (u & 0x7FFF) << 13, special = (NAME(bits))((u & 0x7C00) == 0x7C00);
    NAME(bits) f = (NAME(bits))((NAME(floats))rest * f32_from_bits((127u + 112u) << 23));
    return (NAME(floats))((u & 0x8000) << 16 | (special & (rest | 0x7F800000)) | (~special & f));
}
/* (0+1) + (2+3), and with eight lanes that + ((4+5) + (6+7)), of each of n vectors. */
TARGET EVERY_ISA void NAME(sums)(float *y, const NAME(floats) * v, size_t n) {
    UNROLLED for (size_t i = 0; i < n; i++) {
        y[i] = (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
#if STEP == 8
        y[i] += (v[i][4] + v[i][5]) + (v[i][6] + v[i][7]);
#endif
    }
}

#define vec                     NAME(floats)
#define x_type                  float
#define zero()                  ((vec){0})
#define sums                    NAME(sums)
#define load_x                  NAME(load_x)
#define store_x                 NAME(store_x)
#define load_w                  NAME(load_w)
#define spread(f)               ((f) - (vec){0})
#define lower(v)                ((vec)((NAME(bits))(v) << 16))
#define upper(v)                ((vec)((NAME(bits))(v)&0xFFFF0000))
#define multiply(v, w)          ((v) * (w))
#define multiply_add(acc, x, w) ((acc) + (x) * (w))
#define OUTS_1                  4
#include "kernels/matmul_tile.h"
#include "kernels/attend_tile_tmpl.h"

#define UNPACK(type)                                                                               \
    TARGET static void GLUE(unpack_##type, ISA)(float *to, const unsigned char *w, size_t n) {     \
        size_t i = 0;                                                                              \
        for (; i + STEP <= n; i += STEP)                                                           \
            store_x(to + i, load_w(type, w + i * 2, STEP), STEP);                                  \
        store_x(to + i, load_w(type, w + i * 2, n - i), n - i);                                    \
    }
UNPACK(W_BF16)
UNPACK(W_F16)
#undef UNPACK

static void NAME(fill)(struct kernel_table *t) {
    NAME(matmul_fill)(t->matmul);
    t->unpack[W_BF16] = GLUE(unpack_W_BF16, ISA);
    t->unpack[W_F16] = GLUE(unpack_W_F16, ISA);
    t->mix_f32 = NAME(mix_f32);
    t->mix_pairs = NAME(mix_pairs);
}
#include "kernels/tile_end.h"
