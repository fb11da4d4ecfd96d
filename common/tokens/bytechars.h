/* The byte alphabet of byte-level tokenizers (GPT-2's bytes_to_unicode): every byte has a printable
 * character that stands for it in vocabularies. Printable Latin-1 bytes stand for themselves, the
 * other 68 are U+0100 .. U+0143.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BYTECHARS_H
#define TOKENS_BYTECHARS_H

#include <stdint.h>

#include "base/mem.h"
#include "tokens/text.h"

static inline uint32_t bytechar(unsigned char byte) {
    if (byte <= 32)
        return 256u + byte;
    if (byte >= 127 && byte <= 160)
        return 289u + byte - 127u;
    return byte == 173 ? 323 : byte;
}

/* The byte that cp stands for; -1 where it is none of the alphabet. */
static inline int bytechar_byte(uint32_t cp) {
    if (cp >= 256)
        return cp <= 288 ? (int)cp - 256 : cp <= 322 ? (int)cp - 289 + 127 : cp == 323 ? 173 : -1;
    return cp <= 32 || (cp >= 127 && cp <= 160) || cp == 173 ? -1 : (int)cp;
}

/* Writes the bytes that s (valid UTF-8) spells to out, which has room for s.n; returns how many, or
 * -1 where a character of s is none of the alphabet. */
long bytechars_decode(struct str s, char *out);

/* Spells t in the alphabet. */
void bytechars_spell(struct tok_text *t);

#endif
