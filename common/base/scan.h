/* Reads text many bytes at a time: where a JSON string's plain bytes end, and whether a short
 * string is valid UTF-8.
 *
 * SSE2, which every x86-64 has, compares 16 bytes at once; elsewhere it is 8 in a word. Nothing is
 * read past `end`.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_SCAN_H
#define BASE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for little-endian machines only, as the model files are"
#endif

static inline uint64_t scan_word(const char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The out-of-line rest of scan_plain, for long strings. */
const char *scan_plain_far(const char *p, const char *end, bool spaces, bool *high);

/* Skips the bytes that a JSON string contains unescaped: all but '"', '\\', control bytes and,
 * without `spaces`, a space. Sets *high, if it is not NULL, when it skips a byte past ASCII. Most
 * strings end in the first 16 bytes. */
static inline const char *scan_plain(const char *p, const char *end, bool spaces, bool *high) {
#ifdef __SSE2__
    if (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i special = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')),
                                       _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(spaces ? 0x1F : 0x20)), x);
        unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(special, control));
        if (stop) {
            if (high)
                *high |= ((unsigned)_mm_movemask_epi8(x) & (stop ^ (stop - 1)) >> 1) != 0;
            return p + __builtin_ctz(stop);
        }
    }
#endif
    return scan_plain_far(p, end, spaces, high);
}

/* Counts the digits at p, up to 8, and sets *value to their number unless there are none. 8 bytes
 * at p must be readable. A result of 8 may mean that more follow. */
static inline unsigned scan_digits(const char *p, uint64_t *value) {
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t x = scan_word(p) ^ ones * '0',
             other = ((x + ones * 0x76) | x) & ones * 0x80; // exact up to the first
    unsigned n = other ? (unsigned)__builtin_ctzll(other) / 8 : 8;
    if (n == 0)
        return 0;
    x <<= 64 - 8 * n; // as if zeros came before them
    x = (x * 10) + (x >> 8);
    x = ((x & 0x000000FF000000FF) * 0x000F424000000064 +
         (x >> 16 & 0x000000FF000000FF) * 0x0000271000000001) >>
        32;
    *value = (uint32_t)x;
    return n;
}

/* Whether p[0..n) is UTF-8 that consists of ASCII and of characters of two and three bytes.
 * Characters that begin with E0 or ED have more rules and give false. False means unknown: the full
 * check decides. n <= 16, and 16 bytes at p must be readable. */
static inline bool scan_utf8(const char *p, size_t n) {
#ifdef __SSE2__
    __m128i x = _mm_loadu_si128(
        (const __m128i *)(const void *)p); // as signed bytes: 80..BF -128..-65, C2..DF -62..-33
    unsigned all = (1u << n) - 1;
    unsigned high = (unsigned)_mm_movemask_epi8(x) & all;
    unsigned tails = (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(x, _mm_set1_epi8(-64))) & all;
    unsigned twos =
        (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8(-63)),
                                                  _mm_cmplt_epi8(x, _mm_set1_epi8(-32)))) &
        all;
    unsigned threes = high & ~tails & ~twos;
    __m128i not_three = _mm_or_si128(
        _mm_or_si128(_mm_cmplt_epi8(x, _mm_set1_epi8(-31)), _mm_cmpgt_epi8(x, _mm_set1_epi8(-17))),
        _mm_cmpeq_epi8(x, _mm_set1_epi8(-19)));
    return !(threes & (unsigned)_mm_movemask_epi8(not_three)) &&
           tails == (twos << 1 | threes << 1 | threes << 2);
#else
    size_t i = 0;
    for (; i < n && ((unsigned char)p[i] < 0x80 ||
                     (i + 1 < n && (unsigned char)p[i] >= 0xC2 && (unsigned char)p[i] < 0xE0 &&
                      ((unsigned char)p[i + 1] & 0xC0) == 0x80));)
        i += (unsigned char)p[i] < 0x80 ? 1 : 2;
    return i == n;
#endif
}

/* A mask of 16 bits: bit i is set if a[i] == b[i]. */
static inline unsigned scan_same16(const char *a, const char *b) {
#ifdef __SSE2__
    return (unsigned)_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)a),
                       _mm_loadu_si128((const __m128i *)(const void *)b)));
#else
    unsigned same = 0;
    for (int i = 0; i < 16; i++)
        same |= (unsigned)(a[i] == b[i]) << i;
    return same;
#endif
}

/* Whether a[0..n) and b[0..n) are equal. n <= 16, and 16 bytes of each must be readable. */
static inline bool scan_same(const char *a, const char *b, size_t n) {
    unsigned all = (1u << n) - 1;
    return (scan_same16(a, b) & all) == all;
}

#endif
