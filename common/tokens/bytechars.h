/* The byte alphabet of byte-level tokenizers (GPT-2's bytes_to_unicode): each byte has a printable
 * character, which spells it in vocabularies.
 *
 * Printable Latin-1 bytes spell themselves. The other 68 bytes are U+0100 to U+0143, so a space is
 * "Ġ" (U+0120) and a newline is "Ċ" (U+010A).
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

/* Returns the byte that cp spells, or -1 if cp is not in the alphabet. */
static inline int bytechar_byte(uint32_t cp) {
    if (cp >= 256)
        return cp <= 288 ? (int)cp - 256 : cp <= 322 ? (int)cp - 289 + 127 : cp == 323 ? 173 : -1;
    return cp <= 32 || (cp >= 127 && cp <= 160) || cp == 173 ? -1 : (int)cp;
}

/* Writes the bytes that s (valid UTF-8) spells to out, which has room for s.n. Returns their
 * number, or -1 if a character of s is not in the alphabet. */
long bytechars_decode(struct str s, char *out);

/* Spells the bytes of t in the alphabet. */
void bytechars_spell(struct tok_text *t);

#endif
