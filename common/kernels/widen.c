/* Rows of layouts that are multiplied in f32, as f32: see widen.h. Keys and values in i8, too.
 *
 * A row is cut into runs that have one scale. E4M3 is converted by shifts; a code of MAT_NF4 is an
 * index into 16 floats, which are in a register or two. A row of panels becomes bytes first. A
 * value is exact, and it is multiplied by its scale once, as mat_row does: so every instruction set
 * gives the same bits.
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

EVERY_ISA void widen_bytes(float *to, const uint8_t *bytes, size_t n, int32_t zero, float scale,
                           const float *bias) {
    if (bias)
        for (size_t i = 0; i < n; i++)
            to[i] = (float)((int32_t)bytes[i] - zero) * scale + *bias;
    else
        for (size_t i = 0; i < n; i++)
            to[i] = (float)((int32_t)bytes[i] - zero) * scale;
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
/* A row has 4 bytes of each vector of 64: their low halves, and their high ones 16 inputs on. */
static void halves_c(uint8_t *to, const uint8_t *codes, size_t n, const uint8_t table[16]) {
    for (size_t v = 0; v < 4 * n; v++)
        for (size_t i = 0; i < 4; i++) {
            to[v / 4 * 32 + v % 4 * 4 + i] = table[codes[64 * v + i] & 15];
            to[v / 4 * 32 + v % 4 * 4 + i + 16] = table[codes[64 * v + i] >> 4];
        }
}
static void bytes_c(float *to, const uint8_t *bytes, size_t n, int32_t zero, float scale,
                    const float *bias) {
    widen_bytes(to, bytes, n, zero, scale, bias);
}
void widen_c_fill(struct kernel_table *t) {
    t->widen = (struct widen_kernels){f8_c, nf4_c, halves_c, bytes_c};
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
/* The four words of a block of 32 inputs. */
AVX2 static void halves_avx2(uint8_t *to, const uint8_t *codes, size_t n, const uint8_t table[16]) {
    const __m128i values = _mm_loadu_si128((const __m128i *)(const void *)table),
                  low = _mm_set1_epi8(15);
    for (size_t b = 0; b < n; b++) {
        int32_t words[4];
        for (size_t v = 0; v < 4; v++)
            memcpy(&words[v], codes + 256 * b + 64 * v, sizeof *words);
        const __m128i all = _mm_setr_epi32(words[0], words[1], words[2], words[3]),
                      first = _mm_and_si128(all, low),
                      last = _mm_and_si128(_mm_srli_epi16(all, 4), low);
        __m128i *out = (__m128i *)(void *)(to + 32 * b);
        _mm_storeu_si128(out, _mm_shuffle_epi8(values, first));
        _mm_storeu_si128(out + 1, _mm_shuffle_epi8(values, last));
    }
}
AVX2 static void bytes_avx2(float *to, const uint8_t *bytes, size_t n, int32_t zero, float scale,
                            const float *bias) {
    widen_bytes(to, bytes, n, zero, scale, bias);
}
AVX2 static void i8_avx2(float *to, const int8_t *codes, size_t n, float scale) {
    widen_i8(to, codes, n, scale);
}
AVX2 static void i8_each_avx2(float *to, const int8_t *codes, size_t n, const float *scales) {
    widen_i8_each(to, codes, n, scales);
}
void widen_avx2_fill(struct kernel_table *t) {
    t->widen = (struct widen_kernels){f8_avx2, nf4_avx2, halves_avx2, bytes_avx2};
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
AVX512 static void bytes_avx512(float *to, const uint8_t *bytes, size_t n, int32_t zero,
                                float scale, const float *bias) {
    widen_bytes(to, bytes, n, zero, scale, bias);
}
AVX512 static void i8_avx512(float *to, const int8_t *codes, size_t n, float scale) {
    widen_i8(to, codes, n, scale);
}
AVX512 static void i8_each_avx512(float *to, const int8_t *codes, size_t n, const float *scales) {
    widen_i8_each(to, codes, n, scales);
}
void widen_avx512_fill(struct kernel_table *t) {
    t->widen = (struct widen_kernels){f8_avx512, nf4_avx512, halves_avx2, bytes_avx512};
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

enum {
    PIECE = 512,        // inputs of a row of panels at a time: whole blocks
    TABLE_OFFSET = 128, // so that a table's values are bytes without a sign
};

/* Row i's inputs [k, k + n) of the panels: codes, or what the table has for them plus TABLE_OFFSET.
 */
static void panel_codes(uint8_t *to, const struct mat *w, size_t i, size_t k, size_t n) {
    const struct mat_quant *q = w->quant;
    const size_t row = w->first + i, r = row % MAT_PANEL;
    const uint8_t *panel = (const uint8_t *)w->data + (row - r) * w->row_bytes;
    if (!mat_has_halves(w->layout)) {
        for (size_t v = 0; v < n; v += MAT_G8_BLOCK)
            memcpy(to + v, panel + (k + v) * MAT_PANEL + MAT_G8_BLOCK * r, MAT_G8_BLOCK);
        return;
    }
    uint8_t table[16];
    for (size_t c = 0; c < sizeof table; c++)
        table[c] = (uint8_t)(q->table[c] + TABLE_OFFSET);
    kernel.widen.halves(to, panel + k / 2 * MAT_PANEL + 4 * r,
                        n / MAT_G4_BLOCK + (n % MAT_G4_BLOCK > 0), table);
}

static void panel_row(float *to, const struct mat *w, size_t i) {
    const struct mat_quant *q = w->quant;
    const int32_t offset = mat_has_halves(w->layout) ? TABLE_OFFSET : 0;
    const bool biased = q->biases || q->dmin;
    uint8_t codes[PIECE];
    float piece[PIECE], scale = 0, bias = 0;
    int32_t zero = 0;
    size_t next = 0; // the first input of the group after the one of scale, bias and zero
    for (size_t k = 0, n; k < w->n_in; k += n) {
        n = w->n_in - k < PIECE ? w->n_in - k : PIECE;
        panel_codes(codes, w, i, k, n);
        float *out = q->order ? piece : to + k;
        for (size_t j = 0, part; j < n; j += part) {
            if (k + j == next) {
                mat_group(w, i, next / q->group, &scale, &bias, &zero);
                next += q->group;
            }
            part = next - (k + j) < n - j ? next - (k + j) : n - j;
            kernel.widen.bytes(out + j, codes + j, part, zero + offset, scale,
                               biased ? &bias : NULL);
        }
        for (size_t j = 0; q->order && j < n; j++)
            to[q->order[k + j]] = piece[j];
    }
}

static bool has_groups(const struct mat *w) {
    return w->layout == MAT_G4 || w->layout == MAT_G8 || w->layout == MAT_K4 || w->layout == MAT_K8;
}

void widen_rows(float *to, const struct mat *w, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++, to += w->n_in)
        if (w->layout == MAT_F8)
            f8_row(to, w, i);
        else if (w->layout == MAT_NF4 && w->quant->group % 2 == 0)
            nf4_row(to, w, i);
        else if (has_groups(w))
            panel_row(to, w, i);
        else
            mat_row(w, i, to);
}
