/* Cutting long words: see bpe_cuts.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bpe_cuts.h"

#include <stdlib.h>

#include "tokens/bytechars.h"
#include "unicode/unicode.h"

enum { PAIR_BITS = 20 };

static size_t pair_bit(uint32_t a, uint32_t b) {
    return (size_t)((((uint64_t)a << 32 | b) * 0x9E3779B97F4A7C15u) >> (64 - PAIR_BITS));
}

static size_t byte_bit(uint32_t a, uint32_t b) { // no text has a character that is not a byte
    return (size_t)(a & 0xFF) << 8 | (b & 0xFF);
}

static bool get(const struct bpe_cuts *c, size_t bit) {
    return c->bits[bit / 64] >> bit % 64 & 1;
}

void bpe_cuts_build(struct bpe_cuts *c, const struct vocab *v) {
    c->bits = xcalloc((size_t)1 << (PAIR_BITS - 6), sizeof *c->bits);
    for (uint32_t k = 0; k < v->count; k++) {
        const struct vocab_entry *en = &v->entries[k];
        uint32_t last = 0;
        for (size_t i = 0, len; i < en->n; i += len) {
            uint32_t cp = uni_next(en->p + i, &len);
            int byte = v->byte_level ? bytechar_byte(cp) : -1;
            cp = byte >= 0 ? (uint32_t)byte : cp;
            if (i > 0) {
                size_t bit = v->byte_level ? byte_bit(last, cp) : pair_bit(last, cp);
                c->bits[bit / 64] |= (uint64_t)1 << bit % 64;
            }
            last = cp;
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        c->known[byte] = vocab_find(v, &text, 1) != NO_ID;
    }
}

void bpe_cuts_free(struct bpe_cuts *c) {
    free(c->bits);
}

/* Cuts are made only between two known characters: an unknown one is encoded together with its
 * neighbours. */
static bool known(const struct bpe_cuts *c, const struct vocab *v, const char *p, size_t len) {
    return len == 1 ? c->known[(unsigned char)*p] : vocab_find(v, p, len) != NO_ID;
}

static size_t next_of_bytes(const struct bpe_cuts *c, struct str word, size_t from) {
    const unsigned char *p = (const unsigned char *)word.p;
    for (size_t i = from + 1; i < word.n; i++)
        if (!get(c, byte_bit(p[i - 1], p[i])) && c->known[p[i - 1]] && c->known[p[i]])
            return i;
    return word.n;
}

size_t bpe_cuts_next(const struct bpe_cuts *c, const struct vocab *v, struct str word,
                     size_t from) {
    if (v->byte_level)
        return next_of_bytes(c, word, from);
    size_t len, before = from;
    uint32_t last = uni_next(word.p + from, &len);
    for (size_t i = from + len; i < word.n; i += len) {
        uint32_t cp = uni_next(word.p + i, &len);
        if (!get(c, pair_bit(last, cp)) && known(c, v, word.p + before, i - before) &&
            known(c, v, word.p + i, len))
            return i;
        last = cp;
        before = i;
    }
    return word.n;
}
