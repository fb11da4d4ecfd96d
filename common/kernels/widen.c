/* Rows of layouts that are multiplied in f32, as f32: see widen.h. Keys and values in i8, too.
 *
 * A row is cut into runs that have one scale. E4M3 is converted by shifts; a code of MAT_NF4 is an
 * index into 16 floats, which are in a register or two. A value is exact, and it is multiplied by
 * its scale once, as mat_row does: so every instruction set gives the same bits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/widen.h"

#include "kernels/table.h"
#include "kernels/x86.h"
#include "weights/half.h"

/* ---- For every CPU ---- */

EVERY_ISA void widen_f8(float *to, const uint8_t *codes, size_t n, float scale) {
    for (size_t i = 0; i < n; i++)
        to[i] = f32_from_e4m3(codes[i]) * scale;
}

EVERY_ISA void widen_nf4_bytes(float *to, const uint8_t *codes, size_t n, const float *values,
                               float scale) {
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = values[codes[i] >> 4] * scale;
        to[2 * i + 1] = values[codes[i] & 15] * scale;
    }
}

EVERY_ISA void widen_i8(float *to, const int8_t *codes, size_t n, float scale) {
    for (size_t i = 0; i < n; i++)
        to[i] = (float)codes[i] * scale;
}

EVERY_ISA void widen_i8_each(float *to, const int8_t *codes, size_t n, const float *scales) {
    for (size_t i = 0; i < n; i++)
        to[i] = (float)codes[i] * scales[i];
}

static void f8_c(float *to, const uint8_t *codes, size_t n, float scale) {
    widen_f8(to, codes, n, scale);
}
static void nf4_c(float *to, const uint8_t *codes, size_t n, const float *values, float scale) {
    widen_nf4_bytes(to, codes, n, values, scale);
}
static void i8_c(float *to, const int8_t *codes, size_t n, float scale) {
    widen_i8(to, codes, n, scale);
}
static void i8_each_c(float *to, const int8_t *codes, size_t n, const float *scales) {
    widen_i8_each(to, codes, n, scales);
}
void widen_c_fill(struct kernel_table *t) {
    t->widen = (struct widen_kernels){f8_c, nf4_c};
    t->kv = (struct kv_kernels){i8_c, i8_each_c};
}

#if KERNELS_X86

/* ---- AVX2 ---- */

AVX2 static void f8_avx2(float *to, const uint8_t *codes, size_t n, float scale) {
    widen_f8(to, codes, n, scale);
}

/* The values of 8 indices from 0 to 15, times scale. */
AVX2 EVERY_ISA __m256 look_up_8(__m256i index, __m256 low, __m256 high, __m256 scale) {
    const __m256 a = _mm256_permutevar8x32_ps(low, index),
                 b = _mm256_permutevar8x32_ps(high, index),
                 v = _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
    return _mm256_mul_ps(v, scale);
}
/* 4 bytes at a time: each is spread over two lanes, of which one shifts it down. */
AVX2 static void nf4_avx2(float *to, const uint8_t *codes, size_t n, const float *values,
                          float scale) {
    const __m256 low = _mm256_loadu_ps(values), high = _mm256_loadu_ps(values + 8),
                 all = _mm256_set1_ps(scale);
    const __m256i shifts = _mm256_set_epi32(24, 28, 16, 20, 8, 12, 0, 4);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t four;
        memcpy(&four, codes + i, sizeof four);
        const __m256i index = _mm256_and_si256(
            _mm256_srlv_epi32(_mm256_set1_epi32((int32_t)four), shifts), _mm256_set1_epi32(15));
        _mm256_storeu_ps(to + 2 * i, look_up_8(index, low, high, all));
    }
    widen_nf4_bytes(to + 2 * i, codes + i, n - i, values, scale);
}
AVX2 static void i8_avx2(float *to, const int8_t *codes, size_t n, float scale) {
    widen_i8(to, codes, n, scale);
}
AVX2 static void i8_each_avx2(float *to, const int8_t *codes, size_t n, const float *scales) {
    widen_i8_each(to, codes, n, scales);
}
void widen_avx2_fill(struct kernel_table *t) {
    t->widen = (struct widen_kernels){f8_avx2, nf4_avx2};
    t->kv = (struct kv_kernels){i8_avx2, i8_each_avx2};
}

/* ---- AVX-512 ---- */

AVX512 static void f8_avx512(float *to, const uint8_t *codes, size_t n, float scale) {
    widen_f8(to, codes, n, scale);
}

/* 8 bytes at a time: a byte's high half goes to the lower 32 bits of its lane. */
AVX512 static void nf4_avx512(float *to, const uint8_t *codes, size_t n, const float *values,
                              float scale) {
    const __m512 table = _mm512_loadu_ps(values), all = _mm512_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m512i bytes =
            _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(codes + i)));
        const __m512i index =
            _mm512_or_si512(_mm512_srli_epi64(bytes, 4),
                            _mm512_slli_epi64(_mm512_and_si512(bytes, _mm512_set1_epi64(15)), 32));
        _mm512_storeu_ps(to + 2 * i, _mm512_mul_ps(_mm512_permutexvar_ps(index, table), all));
    }
    widen_nf4_bytes(to + 2 * i, codes + i, n - i, values, scale);
}
AVX512 static void i8_avx512(float *to, const int8_t *codes, size_t n, float scale) {
    widen_i8(to, codes, n, scale);
}
AVX512 static void i8_each_avx512(float *to, const int8_t *codes, size_t n, const float *scales) {
    widen_i8_each(to, codes, n, scales);
}
void widen_avx512_fill(struct kernel_table *t) {
    t->widen = (struct widen_kernels){f8_avx512, nf4_avx512};
    t->kv = (struct kv_kernels){i8_avx512, i8_each_avx512};
}
#endif

/* ---- Rows ---- */

static void f8_row(float *to, const struct mat *w, size_t i) {
    const struct mat_quant *q = w->quant;
    const uint8_t *codes = mat_at(w, i);
    const float *scales = (const float *)q->scales + (w->first + i) / q->block_rows * q->n_groups;
    for (size_t k = 0, n; k < w->n_in; k += n) {
        n = w->n_in - k < q->group ? w->n_in - k : q->group;
        kernel.widen.f8(to + k, codes + k, n, scales[k / q->group]);
    }
}

static void nf4_row(float *to, const struct mat *w, size_t i) {
    const struct mat_quant *q = w->quant;
    const uint8_t *codes = mat_at(w, i);
    const float *scales = q->scales;
    const size_t first = (w->first + i) * w->n_in;
    for (size_t k = 0, n; k < w->n_in; k += n) {
        const size_t to_next = q->group - (first + k) % q->group;
        n = w->n_in - k < to_next ? w->n_in - k : to_next;
        kernel.widen.nf4(to + k, codes + k / 2, n / 2, q->values, scales[(first + k) / q->group]);
    }
}

void widen_rows(float *to, const struct mat *w, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++, to += w->n_in)
        if (w->layout == MAT_F8)
            f8_row(to, w, i);
        else if (w->layout == MAT_NF4 && w->quant->group % 2 == 0)
            nf4_row(to, w, i);
        else
            mat_row(w, i, to);
}
