/* The rest of scan_plain, for long strings: see scan.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/scan.h"

/* Reads eight bytes at a time while none of them is special. Mycroft's test: the top bit of a byte
 * of (x - 1) & ~x is set where that byte of x is 0. */
const char *scan_plain_far(const char *p, const char *end, bool spaces, bool *high) {
    const uint64_t ones = UINT64_MAX / 255, tops = ones << 7;
    const uint64_t least = spaces ? 0x20 : 0x21;
    uint64_t seen = 0;
#ifdef __SSE2__
    const __m128i quotes = _mm_set1_epi8('"'), escapes = _mm_set1_epi8('\\'),
                  controls = _mm_set1_epi8((char)(least - 1));
    for (unsigned stop = 0; stop == 0 && end - p >= 16;) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        stop = (unsigned)_mm_movemask_epi8(
            _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quotes), _mm_cmpeq_epi8(x, escapes)),
                         _mm_cmpeq_epi8(_mm_min_epu8(x, controls), x)));
        unsigned n = stop ? (unsigned)__builtin_ctz(stop) : 16;
        seen |= (unsigned)_mm_movemask_epi8(x) & ((1u << n) - 1) ? tops : 0;
        p += n;
    }
#endif
    for (; end - p >= 8; p += 8) {
        uint64_t x = scan_word(p), quote = x ^ ones * '"', escape = x ^ ones * '\\';
        uint64_t special =
            ((x - ones * least) & ~x) | ((quote - ones) & ~quote) | ((escape - ones) & ~escape);
        if (special & tops)
            break; // then look at each byte: a borrow can make the test wrong after the first
        seen |= x;
    }
    for (; p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= least; p++)
        seen |= (unsigned char)*p;
    if (high)
        *high |= (seen & tops) != 0;
    return p;
}
