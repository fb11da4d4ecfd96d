/* Words of texts: see words.h.
 *
 * The hash is FNV-1a with 64 bits (the IETF's draft-eastlake-fnv), of which the high 48 stay. It is
 * part of the file format, so it has no secret key. Words whose hashes are equal count as one.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "index/words.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "unicode/unicode.h"
#include "wire/bytes.h"

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static uint64_t hash_char(uint64_t hash, uint32_t cp) {
    char bytes[4];
    const size_t n = utf8_encode(cp, bytes);
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * FNV_PRIME;
    return hash;
}

static bool is_word(uint32_t cp) {
    if (cp < 0x80)
        return (cp >= '0' && cp <= '9') || (cp >= 'A' && cp <= 'Z') || (cp >= 'a' && cp <= 'z') ||
               cp == '_';
    return UNI_IN(uni_bits(cp), UNI_LETTERS | UNI_NUMBERS | UNI_MARKS);
}

/* The lower case where it is a character that UTF-8 can have; the character otherwise. */
static uint32_t lower(uint32_t cp) {
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    utf8proc_int32_t low = utf8proc_tolower((utf8proc_int32_t)cp);
    return low > 0 ? (uint32_t)low : cp;
}

static void add_word(struct words *w, uint64_t hash) {
    if (w->length == w->cap) {
        w->cap = 2 * w->cap + 64;
        w->at = xreallocarray(w->at, w->cap, sizeof *w->at);
    }
    w->at[w->length++] = hash & ~UINT64_C(0xFFFF);
}

static int by_value(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Equal hashes, which are side by side, become one with their count. */
static void count_equal(struct words *w) {
    w->n = 0;
    for (size_t i = 0, next; i < w->length; i = next) {
        for (next = i + 1; next < w->length && w->at[next] == w->at[i]; next++)
            ;
        size_t count = next - i < WORDS_MOST_COUNT ? next - i : WORDS_MOST_COUNT;
        w->at[w->n++] = w->at[i] | count;
    }
}

void words_read(struct words *w, struct str text) {
    uint64_t hash = 0; // of the word so far; 0: none
    w->length = 0;
    for (size_t at = 0; at < text.n;) {
        uint32_t cp;
        size_t n = utf8_decode(text.p + at, text.n - at, &cp);
        at += n ? n : 1;
        if (n && is_word(cp)) {
            hash = hash_char(hash ? hash : FNV_START, lower(cp));
        } else if (hash) {
            add_word(w, hash);
            hash = 0;
        }
    }
    if (hash)
        add_word(w, hash);
    if (w->length)
        qsort(w->at, w->length, sizeof *w->at, by_value);
    count_equal(w);
}

void words_free(struct words *w) {
    free(w->at);
    *w = (struct words){0};
}

uint32_t words_count(const unsigned char *p, size_t n, uint64_t hash) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        uint64_t at = get_u64(p + mid * 8);
        if ((at & ~UINT64_C(0xFFFF)) == hash)
            return (uint32_t)(at & 0xFFFF);
        if (at < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}
