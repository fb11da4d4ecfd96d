/* Nmt: the nmt rules of SentencePiece. Control characters are dropped. Other white space and
 * invisible characters become a space.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/norm.h"
#include "tokens/norm_chars.h"

static int map(uint32_t cp, char *out) {
    if ((cp >= 0x01 && cp <= 0x08) || cp == 0x0B || (cp >= 0x0E && cp <= 0x1F) || cp == 0x7F ||
        cp == 0x8F || cp == 0x9F)
        return 0;
    out[0] = ' ';
    switch (cp) {
    case 0x09:
    case 0x0A:
    case 0x0C:
    case 0x0D:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x2581:
    case 0xFEFF:
    case 0xFFFD:
        return 1;
    default:
        return cp >= 0x200B && cp <= 0x200F ? 1 : CHAR_KEEP;
    }
}

static int apply(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    norm_map(t, map);
    return 0;
}

const struct tok_norm_kind norm_nmt = {"Nmt", NULL, NULL, apply};
