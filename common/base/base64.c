/* Base64: see base64.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_decode(struct str s, struct buf *out) {
    const uint32_t none = 1u << 31;
    uint32_t digits[256], bits = 0, seen = 0;
    size_t n = s.n, i = 0;
    for (int c = 0; c < 256; c++)
        digits[c] = none;
    for (uint32_t c = 0; alphabet[c]; c++)
        digits[(unsigned char)alphabet[c]] = c;
    buf_reserve(out, n);
    while (n > 0 && n + 2 > s.n && s.p[n - 1] == '=')
        n--;
    const unsigned char *p = (const unsigned char *)s.p;
    char *to = out->p + out->n;
    for (; n - i >= 4; i += 4) {
        bits =
            digits[p[i]] << 18 | digits[p[i + 1]] << 12 | digits[p[i + 2]] << 6 | digits[p[i + 3]];
        seen |= digits[p[i]] | digits[p[i + 1]] | digits[p[i + 2]] | digits[p[i + 3]];
        *to++ = (char)(bits >> 16 & 0xFF);
        *to++ = (char)(bits >> 8 & 0xFF);
        *to++ = (char)(bits & 0xFF);
    }
    for (size_t k = 0; i + k < n; k++) {
        bits = bits << 6 | (digits[p[i + k]] & 0x3F);
        seen |= digits[p[i + k]];
        if (k)
            *to++ = (char)(bits >> (6 - 2 * k) & 0xFF);
    }
    out->n = (size_t)(to - out->p);
    return !(seen & none) && n % 4 != 1;
}

void base64_encode(const void *p, size_t n, struct buf *out) {
    const unsigned char *from = p;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t bits = (uint32_t)from[i] << 16;
        if (left > 1)
            bits |= (uint32_t)from[i + 1] << 8;
        if (left > 2)
            bits |= from[i + 2];
        const char four[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63],
                              left > 1 ? alphabet[bits >> 6 & 63] : '=',
                              left > 2 ? alphabet[bits & 63] : '='};
        buf_add(out, four, 4);
    }
}
