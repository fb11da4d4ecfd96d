/* Properties of characters for the tokenizer's steps: one table, two look-ups.
 *
 * The parts of the reference follow different versions of Unicode. The table (unicode_table.c) has
 * the answer of each part. So a letter is what the reference's regular expressions call a letter,
 * and punctuation is what its BERT rules call punctuation.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_UNICODE_H
#define UNICODE_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNI_BLOCK = 128, UNI_CATEGORY = 31 };

/* General categories, the low five bits. */
enum uni_category {
    UNI_CN,
    UNI_LU,
    UNI_LL,
    UNI_LT,
    UNI_LM,
    UNI_LO,
    UNI_MN,
    UNI_MC,
    UNI_ME,
    UNI_ND,
    UNI_NL,
    UNI_NO,
    UNI_PC,
    UNI_PD,
    UNI_PS,
    UNI_PE,
    UNI_PI,
    UNI_PF,
    UNI_PO,
    UNI_SM,
    UNI_SC,
    UNI_SK,
    UNI_SO,
    UNI_ZS,
    UNI_ZL,
    UNI_ZP,
    UNI_CC,
    UNI_CF,
    UNI_CO,
};

/* The other bits. */
enum {
    UNI_SPACE = 1 << 5,        // White_Space: \s and Rust's is_whitespace
    UNI_WORD = 1 << 6,         // \w of Oniguruma
    UNI_RUST_WORD = 1 << 7,    // \w of Rust's regex
    UNI_NUMERIC = 1 << 8,      // Rust's is_numeric (Digits)
    UNI_PUNCT = 1 << 9,        // Punctuation, BertPreTokenizer
    UNI_CONTROL = 1 << 10,     // removed by BertNormalizer's clean_text
    UNI_ACCENT = 1 << 11,      // removed by StripAccents
    UNI_BERT_ACCENT = 1 << 12, // removed by BertNormalizer's strip_accents
    UNI_CJK = 1 << 13,         // BertNormalizer puts spaces around it
};

extern const uint16_t uni_index[0x110000 / UNI_BLOCK];
extern const uint16_t uni_blocks[];

static inline unsigned uni_bits(uint32_t cp) {
    return uni_blocks[(size_t)uni_index[cp / UNI_BLOCK] * UNI_BLOCK + cp % UNI_BLOCK];
}

/* A set of general categories: UNI_IN(bits, UNI_LETTERS). */
#define UNI_SET(category) (1u << (category))
#define UNI_IN(bits, set) ((set) >> ((bits)&UNI_CATEGORY) & 1u)
#define UNI_LETTERS                                                                                \
    (UNI_SET(UNI_LU) | UNI_SET(UNI_LL) | UNI_SET(UNI_LT) | UNI_SET(UNI_LM) | UNI_SET(UNI_LO))
#define UNI_NUMBERS (UNI_SET(UNI_ND) | UNI_SET(UNI_NL) | UNI_SET(UNI_NO))
#define UNI_MARKS   (UNI_SET(UNI_MN) | UNI_SET(UNI_MC) | UNI_SET(UNI_ME))

/* The character at p, which must be valid UTF-8, and its length. */
static inline uint32_t uni_next(const char *p, size_t *len) {
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0x80) {
        *len = 1;
        return u[0];
    }
    if (u[0] < 0xE0) {
        *len = 2;
        return (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
    }
    if (u[0] < 0xF0) {
        *len = 3;
        return (u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
    }
    *len = 4;
    return (u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
}

/* Length in bytes of the character that begins with this byte. */
static inline size_t uni_len(char first) {
    unsigned char c = (unsigned char)first;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* Whether this byte is inside a character, not its beginning. */
static inline bool uni_inside(char byte) {
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* The beginning of the character that ends before byte i; i > 0. */
static inline size_t uni_before(const char *p, size_t i) {
    do
        i--;
    while (i > 0 && uni_inside(p[i]));
    return i;
}

#endif
