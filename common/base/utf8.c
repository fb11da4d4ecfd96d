/* UTF-8: see utf8.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/utf8.h"

/* The bounds of the second byte, which rule out overlong forms, surrogates and values past
 * U+10FFFF. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xBF;
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF)
        return 2;
    if (c >= 0xE0 && c <= 0xEF) {
        if (c == 0xE0)
            *low = 0xA0;
        if (c == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        if (c == 0xF0)
            *low = 0x90;
        if (c == 0xF4)
            *high = 0x8F;
        return 4;
    }
    return 0;
}

/* How many bytes at p are the well-formed beginning of a character of length *len (0 if none begins
 * with p[0]). */
static size_t well_formed(const char *p, size_t n, size_t *len) {
    unsigned char low, high;
    *len = lead((unsigned char)p[0], &low, &high);
    if (*len == 0)
        return 0;
    size_t i = 1;
    for (; i < *len && i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < low || c > high)
            break;
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

size_t utf8_decode(const char *p, size_t n, uint32_t *cp) {
    unsigned char c = (unsigned char)p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t len;
    if (well_formed(p, n, &len) != len || len == 0)
        return 0;
    uint32_t v = len == 2 ? c & 0x1Fu : len == 3 ? c & 0x0Fu : c & 0x07u;
    for (size_t i = 1; i < len; i++)
        v = v << 6 | ((unsigned char)p[i] & 0x3Fu);
    *cp = v;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

size_t utf8_valid(const char *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        unsigned char c = (unsigned char)p[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        if (c >= 0xC2 && c <= 0xDF && n - i >= 2 && ((unsigned char)p[i + 1] & 0xC0) == 0x80) {
            i += 2;
            continue;
        }
        if (c >= 0xE1 && c <= 0xEF && c != 0xED && n - i >= 3 &&
            ((unsigned char)p[i + 1] & 0xC0) == 0x80 && ((unsigned char)p[i + 2] & 0xC0) == 0x80) {
            i += 3;
            continue;
        }
        uint32_t cp;
        size_t len = utf8_decode(p + i, n - i, &cp);
        if (len == 0)
            return i;
        i += len;
    }
    return n;
}

size_t utf8_bad(const char *p, size_t n, bool *cut) {
    size_t len;
    size_t good = well_formed(p, n, &len);
    *cut = good == n && good < len;
    return good ? good : 1;
}

size_t utf8_repair(struct buf *out, const char *p, size_t n) {
    size_t replaced = 0;
    for (;;) {
        size_t good = utf8_valid(p, n);
        buf_add(out, p, good);
        if (good == n)
            return replaced;
        bool cut;
        size_t bad = utf8_bad(p + good, n - good, &cut);
        buf_add(out, "\xEF\xBF\xBD", 3);
        replaced++;
        p += good + bad;
        n -= good + bad;
    }
}

bool utf8_has_control(struct str s) {
    unsigned suspect = 0;
    for (size_t i = 0; i < s.n;
         i++) { // without a branch, so that it is vectorised: such bytes are rare
        unsigned char c = (unsigned char)s.p[i];
        suspect |= (unsigned)(c < 0x20) | (unsigned)(c == 0x7f) | (unsigned)(c == 0xc2);
    }
    for (size_t i = 0; suspect && i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0))
            return true;
    }
    return false;
}
